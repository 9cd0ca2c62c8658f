r"""Does the bulk follow the Marchenko-Pastur law? How far the count of levels strays from it, and what noise would show.

The levels of noise keep so close to their law that the number of them below any point of the bulk has a standard deviation of
less than one level, :math:`\sqrt{\ln m - 1}/\pi` in good approximation. A bulk that is not noise shows long before the eye sees
it in a histogram. The law has one free parameter here, sigma; a curve with free edges and weight fits nearly everything.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from . import checks, laws, shape_tables
from .marchenko_pastur import MarchenkoPasturFit, fit_noise

__all__ = ["BulkTest", "OutlierRange", "bulk_null", "bulk_test", "outlier_range"]

WINDOW = 0.1, 0.6
THIRDS = (0.1, 0.35), (0.35, 0.6), (0.1, 0.6)
LEVELS = 0.001, 0.01, 0.1


@dataclass(frozen=True, eq=False)
class BulkTest:
    r"""Departure of the bulk from the Marchenko-Pastur law.

    Attributes
    ----------
    statistic : float
        Largest deviation of the number of levels from the law, over its standard deviation :math:`\sqrt{\ln m - 1}/\pi`.
    pvalue : float
        Probability that noise deviates at least as much.
    sigma : float
        Standard deviation of an entry for which the law fits the window best.
    levels : int
        Levels without the outliers.
    nu : numpy.ndarray of shape (k,)
        The levels in the window.
    deviation : numpy.ndarray of shape (k,)
        Number of levels up to each of them minus the number by the law, in levels.
    """

    statistic: float
    pvalue: float
    sigma: float
    levels: int
    nu: np.ndarray
    deviation: np.ndarray

    @property
    def where(self) -> float:
        """The level at which the deviation is largest, in the units of ``nu``."""
        return float(self.nu[np.argmax(np.abs(self.deviation))])


def bulk_test(nu, shape: tuple[int, int], *, outliers: tuple[int, int] = (0, 0)) -> BulkTest:
    r"""Compare the lower part of the bulk with the Marchenko-Pastur law, its outliers left out.

    Parameters
    ----------
    nu : array_like, shape (m,)
        Singular values of the matrix, ascending, all of them.
    shape : tuple of int
        Shape of the matrix, in either order.
    outliers : tuple of int
        Numbers of levels below and above the bulk, which are left out: ``n_outliers_below`` and ``n_outliers`` of
        `rmtlib.fit_marchenko_pastur`.

    Returns
    -------
    BulkTest

    Raises
    ------
    ValueError
        If ``nu`` does not hold the singular values of a matrix of this shape, the outliers are no two whole numbers, fewer than
        16 levels are left without them, or more than the table holds.

    Notes
    -----
    With r outliers the others are compared with an (n - r) x (m - r) noise matrix. The window holds the lower 10 to 60 % of them;
    sigma makes their squared distances from the quantiles of the law least. The top of the bulk is left out, where levels that
    were not counted as outliers would show, and so is the bottom, where sizes of neurons do.
    p values come from `bulk_null`: of 1000 noise matrices each of 128 x 128, 256 x 128 and 512 x 512 entries, whose outliers were
    counted and left out, 6.0, 5.4 and 5.5 % had one below 0.05. A second block is found with probability .9 where half of the
    rows of 400 x 400 entries are 1.4 times as large (.35 at 1.3), or 1.3 times in 1024 x 512; few levels need more, 128 x 128 a
    factor of 2 for .5. Sizes of neurons fail the test: take them out first (`rmtlib.biwhiten`). What then fails it are
    correlations; variances that are no products of row and column sizes do not, for the law holds whenever the mean variance of
    all rows and of all columns is the same.

    Examples
    --------
    >>> from rmtlib.ensembles import gaussian
    >>> W = gaussian((400, 300), 0)
    >>> uneven = np.where(np.arange(400) < 200, 1.0, 1.6)[:, None] * W
    >>> for matrix in (W, uneven):
    ...     nu = np.linalg.svd(matrix, compute_uv=False)[::-1]
    ...     print(bulk_test(nu, (400, 300)).pvalue < 0.01)
    False
    True
    """
    nu, *sides = checks.singular_values(nu, shape)
    below, above = _counts(outliers)
    n, m = (side - below - above for side in sides)
    if m < checks.FEWEST_LEVELS:
        msg = f"nu must leave at least {checks.FEWEST_LEVELS} levels without the outliers; got {m}"
        raise ValueError(msg)
    inside = nu[below : len(nu) - above]
    sigma, window, deviation = bulk_deviation(inside, (n, m))
    statistic = float(np.abs(deviation).max() / counting_deviation(m))
    heights, exceedance = bulk_null((n, m))
    pvalue = float(np.exp(np.interp(statistic, heights, np.log(exceedance), left=0.0)))
    return BulkTest(statistic, pvalue, sigma, m, inside[window], deviation)


def bulk_deviation(nu, shape: tuple[int, int]) -> tuple[float, np.ndarray, np.ndarray]:
    """Best sigma of all m levels of a shape, the indices of the window, and the deviation of the counts there, in levels."""
    n, m = checks.sides(shape)
    window, law, quantiles = _expected(n, m)
    unit = checks.unit(nu)
    seen = checks.divided(nu[window], unit)
    sigma = float((seen @ quantiles) / (quantiles @ quantiles))
    return unit * sigma, window, window + 0.5 - m * law.cdf(seen / sigma)


def _counts(outliers):
    try:
        below, above = (checks.integer(count, "outliers", at_least=0) for count in outliers)
    except (TypeError, ValueError):
        msg = f"outliers must be two whole numbers, of levels below and above the bulk; got {outliers!r}"
        raise ValueError(msg) from None
    return below, above


@functools.lru_cache(maxsize=16)
def _expected(n, m):
    window = np.arange(int(WINDOW[0] * m), int(np.ceil(WINDOW[1] * m)))
    law = laws.marchenko_pastur(m / n, np.sqrt(n))
    return window, law, law.ppf((window + 0.5) / m)


def counting_deviation(m: int) -> float:
    """Standard deviation of the number of levels below a point of the window, sigma fitted: .52 for m = 32, .8 for m = 1024."""
    return float(np.sqrt(np.log(m) - 1) / np.pi)


def bulk_null(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    r"""Law of the statistic of `bulk_test` for noise of one shape.

    Parameters
    ----------
    shape : tuple of int
        Shape without the outliers, in either order.

    Returns
    -------
    statistic, exceedance : numpy.ndarray
        Ascending values, and the probability that noise exceeds them; the last is the smallest p value, 1e-6.

    Raises
    ------
    ValueError
        If the smaller side is below 16 or beyond the table.

    Notes
    -----
    From Gaussian matrices of 10 sizes, a third of them square, a third 2:1 and a third 20:1: the law hardly depends on the aspect
    ratio (5 % points 3.54, 3.55 and 3.55 for m = 256 and ratios of 100, 20 and 2). Probabilities below 0.02 lie on
    :math:`\ln p = c - b z^2` through the draws between 0.1 and 0.002.
    ``tests/reference/bulk.py`` makes the table.
    """
    return shape_tables.lookup("bulk.csv", shape), np.array(shape_tables.columns("bulk.csv"), dtype=float)


@dataclass(frozen=True)
class OutlierRange:
    """How certain a number of outliers is.

    Attributes
    ----------
    low, high : int
        Least and largest number by refits.
    """

    low: int
    high: int


def outlier_range(nu, fit: MarchenkoPasturFit) -> OutlierRange:
    """Numbers of outliers above the bulk that other, equally good choices would have given.

    Parameters
    ----------
    nu : array_like, shape (m,)
        Singular values of the matrix, ascending, all of them.
    fit : MarchenkoPasturFit
        Of `rmtlib.fit_marchenko_pastur`.

    Returns
    -------
    OutlierRange
        ``low <= fit.n_outliers <= high``.

    Raises
    ------
    ValueError
        If ``nu`` does not belong to ``fit``, or has fewer than 16 levels.

    Notes
    -----
    The noise is estimated from the lower 10 to 35, 35 to 60 and 10 to 60 % of the levels, and the edge is the one that the
    largest level of noise exceeds with probability 0.001, 0.01 and 0.1: nine counts beside that of the fit. Where the bulk is
    noise they differ by a level or two, from spikes near the edge and from the scatter of the edge itself; where it is not,
    windows disagree about sigma, and the range says how much hangs on the choice.
    """
    if not isinstance(fit, MarchenkoPasturFit):
        msg = f"fit must be a MarchenkoPasturFit, of fit_marchenko_pastur; got {type(fit).__name__}"
        raise ValueError(msg)
    nu, _, m = checks.singular_values(nu, fit.shape)
    if m < checks.FEWEST_LEVELS:
        msg = f"nu must hold at least {checks.FEWEST_LEVELS} levels; got {m}"
        raise ValueError(msg)
    windows = [np.arange(int(low * m), int(np.ceil(high * m))) for low, high in THIRDS]
    counts = [fit_noise(nu, fit.shape, window, level=level).n_outliers for window in windows for level in LEVELS]
    return OutlierRange(min(*counts, fit.n_outliers), max(*counts, fit.n_outliers))
