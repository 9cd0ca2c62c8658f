"""One layer before and after a training: how large the update is, which directions are beyond noise, what stays of the base."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import checks, subspaces, updates
from .biwhitening import BiwhitenError, biwhiten
from .layer_levels import exponent, exponent_of_noise, fitted_bulk
from .spectra import Spectrum, frobenius, spectrum, stable_rank
from .subspaces import Intruders, Overlap
from .unfolding import half_window
from .updates import Grid, UpdateRank
from .wording import counted

__all__ = ["LayerComparison", "Levels", "compare_layer"]

LEVEL = 0.05
ALIGNED = 0.05  # cosine from which on words speak of it
DEPARTED = 0.9  # overlap below which they do
CERTAIN = 1e-10  # p values below this are not told apart
HIDDEN = 0.05  # share of unchanged entries from which on they speak of the grid


@dataclass(frozen=True, eq=False)
class Levels:
    """What the singular values of one side say.

    Attributes
    ----------
    outliers : int or None
        Levels above the bulk once the sizes of the noise in rows and columns are taken out.
    sigma : float or None
        Standard deviation of an entry of the noise, as the matrix is.
    stable_rank : float
        As in `rmtlib.spectra.stable_rank`.
    alpha : float or None
        Exponent of the power law closest to the upper eigenvalues.
    """

    outliers: int | None
    sigma: float | None
    stable_rank: float
    alpha: float | None


@dataclass(frozen=True, eq=False)
class LayerComparison:
    r"""One layer before and after.

    Attributes
    ----------
    name : str
    shape : tuple of int
        ``(n_out, n_in)``.
    dtypes : tuple of str
        As what it is stored in base and tuned.
    size : float
        :math:`\|\Delta W\| / \|W\|`, Frobenius norms.
    unchanged : float
        Share of the entries that are the same, bit for bit.
    grid : Grid
        The coarser of the grids that the entries of both lie on; its ``half_spacing`` is the change of an entry that is hidden.
    update : UpdateRank
        Directions of the update beyond noise.
    alignment, alignment_pvalue : float
        Cosine of update and base as vectors of entries, negative where the base shrinks; and the probability of one as large, of
        either sign, if every entry of the update had a random sign.
    overlap : Overlap
        Of the top subspaces.
    intruders : Intruders or None
        If they were asked for.
    base, tuned : Levels
    """

    name: str
    shape: tuple[int, int]
    dtypes: tuple[str, str]
    size: float
    unchanged: float
    grid: Grid
    update: UpdateRank
    alignment: float
    alignment_pvalue: float
    overlap: Overlap
    intruders: Intruders | None
    base: Levels
    tuned: Levels

    @property
    def summary(self) -> str:
        """What the update did, in one line."""
        if self.size == 0:
            return f"{self.name}: unchanged"
        said = [f"changed by {self.size:.2g} of its size", _directions(self.update)]
        if abs(self.alignment) > ALIGNED and self.alignment_pvalue < LEVEL:
            way = "along the base, which grows" if self.alignment > 0 else "against the base, which shrinks"
            said.append(f"the update points {way} (cosine {self.alignment:.2f})")
        if self.overlap.value < DEPARTED:
            kept = f"{self.overlap.value:.0%} of the top {self.overlap.k} directions left"
            said.append(f"{kept} (random ones: {self.overlap.random:.0%})")
        if self.intruders is not None:
            found = self.intruders
            count = f"{found.count or 'none'} of the top {len(found.cosines)} vectors"
            said.append(
                f"{count} new beyond noise of the update's sizes (noise: {found.expected:.1f}, p = {found.count_pvalue:.2g})"
            )
        if self.dtypes[0] != self.dtypes[1]:
            said.append(f"stored as {self.dtypes[0]} before and {self.dtypes[1]} after")
        if self.grid.dtype in ("bfloat16", "float16") and self.unchanged > HIDDEN:
            hidden = f"the numbers of {self.grid.dtype} hide changes below {self.grid.half_spacing:.1%} of an entry"
            said.append(f"{hidden}, and {self.unchanged:.0%} of the entries did not change")
        return f"{self.name}: " + "; ".join(said)

    def row(self) -> dict[str, Any]:
        """The comparison as one row of a table.

        Returns
        -------
        dict
            Values by the names of their columns. What could not be said is None.

        Notes
        -----
        ``layer``, ``shape``, ``levels``, ``dtype_base``, ``dtype_tuned``
            Name in the tuned network, ``(n_out, n_in)``, number of singular values, and as what both are stored.
        ``update_size``
            Norm of the update over that of the base.
        ``unchanged``, ``grid``
            Share of the entries that did not change, and half the distance of neighbouring numbers relative to an entry: smaller
            changes are hidden.
        ``rank``, ``rank_pvalue``, ``update_noise``
            Directions of the update beyond noise, the p of the largest, and the standard deviation of an entry of this noise.
        ``rank_settled``
            Whether noise and directions of the update could be told apart.
        ``alignment``, ``alignment_pvalue``
            Cosine of update and base, and its p against random signs.
        ``overlap``, ``overlap_random``, ``overlap_pvalue``
            Mean squared cosine of the top subspaces of base and tuned, its mean for random subspaces, and the probability that
            these overlap as much.
        ``intruders``, ``intruders_noise``, ``intruders_pvalue``
            Top vectors that are new at p < 0.05, the mean number in noise of the update's sizes, and the p of the number.
        ``outliers_base``, ``outliers_tuned``, ``sigma_base``, ``sigma_tuned``, ``stable_rank_base``, ``stable_rank_tuned``, \
        ``alpha_base``, ``alpha_tuned``
            `Levels` of both sides. Outliers are counted without the sizes of the noise.
        ``alpha_noise``, ``alpha_noise_sd``
            Mean and standard deviation of alpha in noise of the shape.
        ``summary``
            What the update did, in one line.
        """
        found, sides = self.intruders, {"base": self.base, "tuned": self.tuned}
        noise = exponent_of_noise(self.shape) if self.base.alpha is not None else None
        return {
            "layer": self.name,
            "shape": self.shape,
            "levels": min(self.shape),
            "dtype_base": self.dtypes[0],
            "dtype_tuned": self.dtypes[1],
            "update_size": self.size,
            "unchanged": self.unchanged,
            "grid": self.grid.half_spacing,
            "rank": self.update.rank,
            "rank_pvalue": self.update.pvalue,
            "rank_settled": self.update.settled,
            "update_noise": self.update.noise,
            "alignment": self.alignment,
            "alignment_pvalue": self.alignment_pvalue,
            "overlap": self.overlap.value,
            "overlap_random": self.overlap.random,
            "overlap_pvalue": self.overlap.pvalue,
            "intruders": getattr(found, "count", None),
            "intruders_noise": getattr(found, "expected", None),
            "intruders_pvalue": getattr(found, "count_pvalue", None),
            **{
                f"{what}_{side}": getattr(levels, what)
                for what in ("outliers", "sigma", "stable_rank", "alpha")
                for side, levels in sides.items()
            },
            "alpha_noise": getattr(noise, "mean", None),
            "alpha_noise_sd": getattr(noise, "standard_deviation", None),
            "summary": self.summary,
        }


def compare_layer(
    base,
    tuned,
    *,
    name: str = "matrix",
    dtypes: tuple[str, str] | None = None,
    adapter: bool = False,
    top: int = subspaces.TOP,
    rng=None,
) -> LayerComparison:
    """Compare one layer with what a training made of it.

    Parameters
    ----------
    base, tuned : array_like of shape (n_out, n_in)
        Before and after, real matrices of at least 16 rows and columns.
    name : str
    dtypes : tuple of str, optional
        As what they are stored; by default those of the arrays.
    adapter : bool
        ``tuned`` is the update itself.
    top : int
        As in `rmtlib.compare`.
    rng : seed or numpy.random.Generator, optional
        Of the noise that intruders are compared with; None asks for none.

    Returns
    -------
    LayerComparison

    Raises
    ------
    ValueError
        If a matrix is not real and finite, has fewer than 16 rows or columns, is zero, or the shapes differ.
    """
    W, after = checks.matrix(base, "base"), checks.matrix(tuned, "tuned")
    if W.shape != after.shape:
        msg = f"tuned must have the shape of base, {W.shape}; got {after.shape}"
        raise ValueError(msg)
    if min(W.shape) < checks.FEWEST_LEVELS:
        msg = f"base must have at least {checks.FEWEST_LEVELS} rows and columns; got shape {W.shape}"
        raise ValueError(msg)
    dtypes = (W.dtype.name, after.dtype.name) if dtypes is None else dtypes
    grids = (updates.grid(after),) if adapter else (updates.grid(W), updates.grid(after))
    D = after.astype(np.float64) if adapter else after.astype(np.float64) - W
    after = W + D if adapter else after
    before = spectrum(W, deficient=True)
    later = before if not D.any() else spectrum(after, deficient=True)
    top = max(1, min(top, len(before.nu) // 4, len(later.nu)))
    cosine, pvalue = _alignment(W, D)
    levels = _levels(W, before)
    return LayerComparison(
        name=name,
        shape=(int(W.shape[0]), int(W.shape[1])),
        dtypes=dtypes,
        size=frobenius(D) / frobenius(W),
        unchanged=float(np.mean(D == 0)),
        grid=max(grids, key=lambda found: found.half_spacing),
        update=updates.update_rank(D, *grids),
        alignment=cosine,
        alignment_pvalue=pvalue,
        overlap=subspaces.overlap(before, later, top),
        intruders=None if rng is None else subspaces.intruders(W, D, rng=rng, base=before, top=top),
        base=levels,
        tuned=levels if later is before else _levels(after, later),
    )


def _alignment(W, D) -> tuple[float, float]:
    """Cosine of update and base, and its probability if every entry of the update had a random sign."""
    W, D = (checks.divided(X, checks.unit(X)) for X in (W, D))
    products = W * D
    spread = float(np.linalg.norm(products))
    if spread == 0:
        return 0.0, 1.0
    total = float(products.sum())
    return total / (frobenius(W) * frobenius(D)), math.erfc(abs(total) / spread / math.sqrt(2))


def _levels(W, found: Spectrum) -> Levels:
    nu, m = found.nu, min(W.shape)
    full = len(nu) >= 0.9 * m
    bulk = fitted_bulk(nu, W.shape, half_window(len(nu)), {}) if full else None
    return Levels(
        _outliers(W) if full else None, getattr(bulk, "sigma", None), stable_rank(nu), exponent(nu, {}) if full else None
    )


def _outliers(W) -> int | None:
    try:
        taken = biwhiten(W)
    except BiwhitenError:
        return None
    nu = spectrum(taken.matrix, vectors=False, deficient=True).nu
    return counted(fitted_bulk(nu, W.shape, half_window(len(nu)), {}), "n_outliers")


def _directions(update: UpdateRank) -> str:
    if update.rank is None:
        return f"its directions cannot be counted: {update.words}"
    if update.noise == 0:
        return f"the update has {update.words}"
    count = f"{update.rank or 'no'} direction{'s' * (update.rank != 1)} beyond noise"
    p = "" if update.pvalue is None else f" (p = {update.pvalue:.2g})" if update.pvalue > CERTAIN else f" (p < {CERTAIN:g})"
    return f"{count}{p}" if update.words == "noise of its own" else f"{count}{p}: {update.words}"
