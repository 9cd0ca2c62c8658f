r"""Departures from the null that no size of a row or column takes out, each found by a test of its own.

The null of this book is noise of independent entries whose variance is a product of a row's and a column's size. Pruned weights,
products, filters of neighbouring pixels, blocks and few-bit numbers are none, with or without information in them, and an outlier
or a vector that is not random means less there. Every function looks for one such departure and says nothing about noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc, stdtr

from . import checks
from .porter_thomas import unit_rows_test
from .spectra import spectrum

__all__ = ["Blocks", "Correlation", "SparseNull", "blocks", "coarse", "correlation", "gap", "sparse_null", "zero_share"]

LEVEL = 1e-4  # of each test: there are several a layer
SPARSE = 0.5
LEAST_CORRELATION = 0.05
GAP = 8.0  # mean spacings of the levels beside it
SAMPLE = 2**16
FEWEST_BLOCKED = 18
DRAWS = 5
FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True)
class SparseNull:
    """The entries of a sparse matrix in random order among the places that are not zero.

    Attributes
    ----------
    edge : float
        Upper limit of the levels.
    rejected : dict of str to int
        Vectors of each space that are not random at a false discovery rate of 5 %, in one draw.
    """

    edge: float
    rejected: dict[str, int]


@dataclass(frozen=True)
class Correlation:
    """Mean correlation of neighbouring rows and columns beyond that of distant ones, and its probability in noise."""

    rows: float
    rows_pvalue: float
    columns: float
    columns_pvalue: float

    @property
    def found(self) -> dict[str, float]:
        """Sides whose correlation is larger than 0.05 in size and has a p below 0.0001."""
        sides = {"rows": (self.rows, self.rows_pvalue), "columns": (self.columns, self.columns_pvalue)}
        return {side: value for side, (value, p) in sides.items() if p < LEVEL and abs(value) > LEAST_CORRELATION}


@dataclass(frozen=True, eq=False)
class Blocks:
    """Mean squares of three by three blocks of a matrix, and the probability in noise that they differ as much."""

    mean_squares: np.ndarray
    pvalue: float

    @property
    def found(self) -> bool:
        """Whether p is below 0.0001."""
        return self.pvalue < LEVEL


def zero_share(W) -> float:
    """Share of the entries that are exactly zero."""
    W = checks.matrix(W)
    return 1 - np.count_nonzero(W) / W.size


def sparse_null(W, rng=0) -> SparseNull:
    """What noise with the same zeros would show.

    Parameters
    ----------
    W : array_like of shape (n_out, n_in)
        A real matrix with zeros.
    rng : seed or numpy.random.Generator

    Returns
    -------
    SparseNull

    Raises
    ------
    ValueError
        If ``W`` is not a finite real matrix of at least 2 x 2, or is zero.

    Notes
    -----
    The entries that are not zero change places among themselves, so that their law is kept, and get random signs. The edge is the
    largest level of 5 draws and twice their range: one matrix of noise in 100 has a level above it.
    """
    W, rng = checks.matrix(W), checks.generator(rng)
    place = np.nonzero(W)
    values, largest, rejected = W[place], [], {}
    for draw in range(DRAWS):
        noise = np.zeros_like(W)
        noise[place] = rng.permutation(values) * rng.choice([-1, 1], len(values))
        found = spectrum(noise, vectors=draw == 0, deficient=True)
        largest.append(found.nu[-1])
        if draw == 0:
            for side, vectors in (("input", found.input_vectors), ("output", found.output_vectors)):
                qvalue = unit_rows_test(vectors, 1).qvalue
                rejected[side] = int(np.count_nonzero(qvalue < FALSE_DISCOVERY_RATE))
    return SparseNull(float(max(largest) + 2 * np.ptp(largest)), rejected)


def correlation(W) -> Correlation:
    r"""Test whether neighbouring rows, or neighbouring columns, of a matrix point the same way.

    Parameters
    ----------
    W : array_like of shape (n_out, n_in)
        A real matrix; rows and columns of zeros are left out.

    Returns
    -------
    Correlation

    Raises
    ------
    ValueError
        If ``W`` is not a finite real matrix of at least 2 x 2.

    Notes
    -----
    Of every row the cosine with the next one is compared with that with the row a third of the matrix away, which a direction
    common to all rows raises as well. Over the k differences, which are uncorrelated in noise of any sizes,
    :math:`\sum d / \sqrt{\sum d^2}` is close to Student's t.
    """
    W = checks.matrix(W)
    W = checks.divided(W, checks.unit(W))
    rows, columns = _neighbours(W), _neighbours(W.T)
    return Correlation(*rows, *columns)


def blocks(X) -> Blocks:
    """Test whether the variance of a biwhitened matrix is the same in three by three blocks.

    Parameters
    ----------
    X : array_like of shape (n_out, n_in)
        The matrix of ``rmtlib.biwhiten(W, sizes="total")``, with at least 18 rows and columns.

    Returns
    -------
    Blocks

    Raises
    ------
    ValueError
        If ``X`` is not a finite real matrix of at least 18 x 18.

    Notes
    -----
    Mean squares of a finer grid, of twelve by twelve cells (six by six below 72 levels), are analysed for variance: what the
    blocks differ by beyond rows and columns against what cells differ by within them, Fisher's F. Heavy tails raise both. Only
    blocks of neighbouring rows and columns are seen: variances that alternate from row to row are not.
    """
    X = checks.matrix(X, "X")
    if min(X.shape) < FEWEST_BLOCKED:
        msg = f"X must have at least {FEWEST_BLOCKED} rows and columns; got shape {X.shape}"
        raise ValueError(msg)
    grid, unit = 12 if min(X.shape) >= 72 else 6, checks.unit(X)
    X = checks.divided(X, unit)
    cells = _cell_means(X, grid)
    deviations = cells - cells.mean(axis=0) - cells.mean(axis=1, keepdims=True) + cells.mean()
    side = grid // 3
    means = deviations.reshape(3, side, 3, side).mean(axis=(1, 3))
    between = side**2 * np.sum(means**2)
    within = np.sum(deviations**2) - between
    df = (grid - 1) ** 2 - 4
    pvalue = float(fdtrc(4, df, between / 4 / (within / df))) if within > 0 else 1.0
    with np.errstate(over="ignore", under="ignore"):
        return Blocks(cells.reshape(3, side, 3, side).mean(axis=(1, 3)) * unit * unit, pvalue)


def gap(nu, a: int) -> int | None:
    """Where the levels are torn apart: a gap of 8 mean spacings with at least 2 a levels on either side.

    Parameters
    ----------
    nu : array_like of shape (m,)
        Levels, ascending.
    a : int
        Half window of the unfolding, which drops 2 a levels at either end.

    Returns
    -------
    int or None
        Number of levels below the widest such gap.

    Raises
    ------
    ValueError
        If ``nu`` is not ascending and finite, or ``a`` is no whole number above 0.

    Notes
    -----
    The mean spacing is the larger one of the ``a`` spacings below and above. Spacings of noise that exceed 8 of them are rarer
    than one in 10**20; 2 a levels at the ends take no part, where isolated levels are outliers and no gap.
    """
    nu, a = checks.levels(nu, "nu"), checks.integer(a, "a", at_least=1)
    k = np.arange(2 * a - 1, len(nu) - 2 * a)
    if len(k) == 0:
        return None
    beside = np.maximum(nu[k] - nu[k - a], nu[k + 1 + a] - nu[k + 1]) / a
    width = nu[k + 1] - nu[k]
    ratio = np.divide(width, beside, out=np.zeros_like(width), where=beside > 0)
    worst = int(np.argmax(ratio))
    return int(k[worst] + 1) if ratio[worst] > GAP else None


def coarse(W) -> int | None:
    """How many values the entries of a matrix take, if they lie on a grid.

    Parameters
    ----------
    W : array_like
        A real matrix.

    Returns
    -------
    int or None
        Number of distinct values, zero apart, among at most 65,536 entries from all over the matrix, if it is less than half of
        theirs; continuous entries, float32 included, hardly ever coincide.

    Raises
    ------
    ValueError
        If ``W`` is not a finite real matrix of at least 2 x 2.
    """
    entries = checks.matrix(W).ravel()
    entries = entries[:: -(-len(entries) // SAMPLE)]
    entries = entries[entries != 0]
    values = len(np.unique(entries))
    return values if 2 * values < len(entries) else None


def _neighbours(W):
    lengths = np.sqrt(np.einsum("ij,ij->i", W, W, dtype=np.float64))
    if not lengths.all():
        W, lengths = W[lengths > 0], lengths[lengths > 0]
    lag = len(W) // 3  # half of the rows would pair each of them with the same other one twice
    if lag < 2:
        return 0.0, 1.0

    def cosines(apart):
        return np.einsum("ij,ij->i", W[:-apart], W[apart:], dtype=np.float64) / (lengths[:-apart] * lengths[apart:])

    differences = cosines(1) - np.concatenate([cosines(lag), cosines(len(W) - lag)])[:-1]
    k, squares = len(differences), differences @ differences
    if squares == 0:
        return 0.0, 1.0
    z2 = differences.sum() ** 2 / squares
    t = np.sqrt(z2 * (k - 1) / max(k - z2, 1e-12))
    return float(differences.mean()), float(2 * stdtr(k - 1, -t))


def _cell_means(X, grid):
    rows, columns = (np.linspace(0, side, grid + 1).astype(int) for side in X.shape)
    cells = np.empty((grid, grid))
    for i, (begin, end) in enumerate(zip(rows[:-1], rows[1:], strict=True)):
        squares = np.einsum("ij,ij->j", X[begin:end], X[begin:end], dtype=np.float64) / (end - begin)
        cells[i] = np.add.reduceat(squares, columns[:-1]) / np.diff(columns)
    return cells
