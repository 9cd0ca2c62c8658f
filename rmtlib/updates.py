r"""The update that a training made of a layer: how many directions are beyond noise, and what the grid of its numbers hides.

An update is the tuned matrix minus the base. Its null is noise of unequal rows and columns. Two things make updates unlike
weights. Stored numbers lie on a *grid*, whose spacing grows with the number: changes below half a spacing vanish, and the rest is
rounded, by independent errors of a size that the numbers tell. And an update may have *no noise at all*: the product of an
adapter's two factors has levels and, beyond them, nothing but rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from . import checks, departures, wording
from .biwhitening import BiwhitenError, biwhiten
from .layer_levels import fitted_bulk
from .marchenko_pastur import FEWEST_FITTED, edge_and_scale, fit_noise, middle_levels
from .spectra import spectrum
from .unfolding import half_window

__all__ = ["Grid", "UpdateRank", "grid", "update_rank"]

MANTISSA = {"bfloat16": 7, "float16": 10, "float32": 23, "float64": 52}
SMALLEST = {"bfloat16": -126, "float16": -14, "float32": -126, "float64": -1022}  # exponents, below which the spacing stays
ROUNDED = 1.5  # times the rounding that the numbers tell: noise up to here is rounding
MARGIN = 1.05  # of the bound on the largest level of rounding


@dataclass(frozen=True)
class Grid:
    """The numbers that the entries of a matrix are taken from.

    Attributes
    ----------
    dtype : {"bfloat16", "float16", "float32", "float64"}
        The coarsest that holds every entry, whatever the matrix is stored as.
    half_spacing : float
        Half the distance of neighbouring numbers, root mean square over the entries and relative to theirs: changes that are
        smaller than this share of an entry mostly vanish.
    row_sums, column_sums : numpy.ndarray
        Sums of the variances of rounding, a twelfth of the squared spacing, over each row and each column.
    unit : float
        Of the numbers whose squares these sums are: a power of two, and 1 unless the squares would leave the range of floats.
    """

    dtype: str
    half_spacing: float
    row_sums: np.ndarray
    column_sums: np.ndarray
    unit: float = 1.0

    @property
    def rms(self) -> float:
        """Root mean square of a rounding error."""
        return self.unit * float(np.sqrt(self.row_sums.sum() / (len(self.row_sums) * len(self.column_sums))))

    @property
    def edge(self) -> float:
        """Largest singular value that independent rounding errors show."""
        return self.unit * edge_of_variances(self.row_sums, self.column_sums)


@dataclass(frozen=True)
class UpdateRank:
    """How many directions of an update are beyond noise.

    Attributes
    ----------
    rank : int or None
        Their number; None where it cannot be said.
    pvalue : float or None
        Probability that noise of the shape shows a level as large as the largest one (Tracy-Widom). Sizes that are fitted take
        some of the fluctuations of noise with them: it is below 0.05 for one noise in a hundred.
    noise : float or None
        Standard deviation of an entry of the noise, a geometric mean over rows and columns; 0 for an update that has none.
    settled : bool
        Whether noise and directions could be told apart, see `rmtlib.Biwhitened`.
    words : str
        What its levels are compared with.
    """

    rank: int | None
    pvalue: float | None
    noise: float | None
    settled: bool
    words: str


def grid(W) -> Grid:
    r"""The coarsest floating-point format whose numbers the entries of a matrix are, and how far apart these lie.

    Parameters
    ----------
    W : array_like of shape (n_out, n_in)
        A real matrix. One that was half precision once is known by its values.

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        If ``W`` is not a finite real matrix of at least 2 x 2.

    Notes
    -----
    A number :math:`x` with p bits behind the point has neighbours at a distance of :math:`2^{\lfloor \log_2 |x| \rfloor - p}`: p
    is 7 for bfloat16, 10 for float16, 23 for float32. Rounding to the nearest one makes an error that is uniform over a spacing.

    Examples
    --------
    >>> found = grid(np.array([[1.0, 1.5], [0.75, 1.25]], dtype="float32"))
    >>> found.dtype
    'bfloat16'
    """
    W = checks.matrix(W)
    dtype, unit = _coarsest(W), checks.unit(W)
    exponents = np.frexp(W)[1]
    exponents = np.maximum(exponents - 1, SMALLEST[dtype]) - math.frexp(unit)[1] + 1
    spacing = np.where(W == 0, 0.0, np.ldexp(1.0, exponents - MANTISSA[dtype]))
    np.square(spacing, out=spacing)
    mean, size = spacing.mean(), float(np.mean(np.square(checks.divided(W, unit), dtype=np.float64)))
    spacing /= 12
    return Grid(dtype, float(np.sqrt(mean / 4 / size)) if size else 0.0, spacing.sum(axis=1), spacing.sum(axis=0), unit)


def _coarsest(W):
    with np.errstate(over="ignore"):
        if W.dtype == np.float64 and not np.array_equal(W, W.astype(np.float32)):
            return "float64"
    single = W.astype(np.float32, copy=False)
    if not np.any(np.ascontiguousarray(single).view(np.uint32) & np.uint32(0xFFFF)):
        return "bfloat16"
    with np.errstate(over="ignore"):
        return "float16" if np.array_equal(single, single.astype(np.float16)) else "float32"


def edge_of_variances(row_sums, column_sums) -> float:
    r"""Largest singular value of independent entries of any variances: :math:`\max_i r_i + \max_j c_j`.

    With :math:`r_i^2` and :math:`c_j^2` the sums of the variances over rows and columns; exact where all rows and all columns
    have the same sum, and too large otherwise (Bandeira and van Handel, Ann. Probab. 44, 2479 (2016)).
    """
    return float(np.sqrt(np.max(row_sums)) + np.sqrt(np.max(column_sums)))


def update_rank(D, *grids: Grid) -> UpdateRank:
    r"""Count the directions of an update that noise does not show, once the sizes of its rows and columns are taken out.

    Parameters
    ----------
    D : array_like of shape (n_out, n_in)
        Tuned minus base.
    *grids : Grid
        Of the matrices whose difference it is: errors of rounding are no directions.

    Returns
    -------
    UpdateRank

    Raises
    ------
    ValueError
        If ``D`` is not a finite real matrix of at least 2 x 2.

    Notes
    -----
    Empty rows and columns, of a token that never came up, are left out. Then one of four nulls applies.

    *Rounding.* If the noise, by the lower half of the levels, is at most 1.5 times what ``grids`` tell of rounding, it is taken
    for that. Levels above :math:`\max_i r_i + \max_j c_j` count, with :math:`r_i^2, c_j^2` the sums of the variances of rounding
    over rows and columns, so that no size need be fitted. This holds for adapters that were merged, and for adapters alone,
    whose products are rounded to the numbers of float32.

    *Zeros.* If at least half of the entries did not change, which is what a coarse grid makes of a small update, the levels are
    compared with those of the same entries in random order and with random signs (`rmtlib.departures.sparse_null`).

    *Noise.* Otherwise with noise of the fitted variance after `rmtlib.biwhiten` with noise sizes: the Tracy-Widom edge of
    `rmtlib.fit_marchenko_pastur`, which one noise matrix in a hundred exceeds.

    *Too few.* With fewer than 16 rows or columns that changed there is no noise to compare with.

    Examples
    --------
    >>> from rmtlib.ensembles import gaussian, spiked
    >>> update_rank(gaussian((300, 200), 0)).rank
    0
    >>> update_rank(spiked((300, 200), 0, strengths=[3.0, 30.0]).matrix).rank
    2
    >>> update_rank(gaussian((300, 4), 0) @ gaussian((4, 200), 1)).words
    'exactly rank 4, without noise'
    """
    D = checks.matrix(D)
    kept = D.any(axis=1), D.any(axis=0)
    if not kept[0].any():
        return UpdateRank(0, 1.0, 0.0, True, "unchanged")
    D = D[kept[0]][:, kept[1]]
    rows, columns = D.shape
    if min(D.shape) < checks.FEWEST_LEVELS:
        words = f"only {rows} row{'s' * (rows > 1)} and {columns} column{'s' * (columns > 1)} changed, too few for a null"
        return UpdateRank(None, None, None, False, words)
    unit = checks.unit(D)
    D = checks.divided(D, unit)
    nu = _levels(D)
    found = _exact(nu, D.shape) or _rounded(nu, D.shape, kept, grids, unit) or _sparse(nu, D) or _noisy(D)
    return found if found.noise is None else replace(found, noise=unit * found.noise)


def _levels(D):
    return spectrum(D, vectors=False, deficient=True).nu


def _exact(nu, shape):
    if len(nu) > min(shape) / 2 and len(nu) >= FEWEST_FITTED:
        return None
    return UpdateRank(len(nu), 0.0, 0.0, True, f"exactly rank {len(nu)}, without noise")


def _rounded(nu, shape, kept, grids, unit):
    """The rank of an update whose noise is that of rounding, or None."""
    sums = [sum(part[k] for part in parts) for k, parts in zip(kept, _sums(grids, unit), strict=True)]
    rounding = float(np.sqrt(np.sum(sums[0]) / np.prod(shape)))
    noise = fit_noise(nu, (max(shape), len(nu)), middle_levels(len(nu)))
    if not noise.sigma <= ROUNDED * rounding:
        return None
    edge = MARGIN * edge_of_variances(*sums) * max(1.0, noise.sigma / rounding)
    rank = int(np.count_nonzero(nu > edge))
    dtype = max(grids, key=lambda found: found.rms).dtype
    sigma = edge / (np.sqrt(shape[0]) + np.sqrt(shape[1]))
    return UpdateRank(rank, level_pvalue(nu[-1], sigma, shape), rounding, True, f"all noise in it is the rounding of {dtype}")


def _sums(grids, unit):
    """Sums of the variances in squares of this unit."""
    with np.errstate(over="ignore", under="ignore"):
        factors = [np.square(np.float64(found.unit / unit)) for found in grids]
        return [
            [getattr(found, side) * f for found, f in zip(grids, factors, strict=True)] for side in ("row_sums", "column_sums")
        ]


def _sparse(nu, D):
    if departures.zero_share(D) < departures.SPARSE:
        return None
    rank = int(np.count_nonzero(nu > departures.sparse_null(D).edge))
    words = f"{departures.zero_share(D):.0%} of its entries are zero, and noise is taken to have the same zeros"
    return UpdateRank(rank, None, float(np.sqrt(np.mean(D**2))), True, words)


def _noisy(D):
    missing: dict[str, str] = {}
    try:
        taken = biwhiten(D)
    except BiwhitenError as error:
        return UpdateRank(None, None, None, False, str(error))
    nu = _levels(taken.matrix)
    bulk = fitted_bulk(nu, D.shape, half_window(len(nu)), missing)
    if bulk is None:
        return UpdateRank(None, None, None, False, missing["bulk, outliers"])
    if wording.uncounted(bulk):
        words = f"the bulk of its levels holds {bulk.bulk_fraction:.0%} of them, which is none to lie outside of"
        return UpdateRank(None, None, None, False, words)
    size = float(np.exp(np.log(taken.row_sizes).mean()) * bulk.sigma)
    words = "noise of its own" if taken.settled else "noise and directions could not be told apart for certain"
    return UpdateRank(bulk.n_outliers, level_pvalue(nu[-1], bulk.sigma, D.shape), size, taken.settled, words)


def level_pvalue(nu: float, sigma: float, shape: tuple[int, int]) -> float:
    """Probability that noise of a shape has a level as large as ``nu`` (Johnstone, Ann. Stat. 29, 295 (2001))."""
    from .laws import tracy_widom

    root, scale = edge_and_scale(*checks.sides(shape))
    return float(tracy_widom.sf(((nu / sigma) ** 2 - root**2) / scale))
