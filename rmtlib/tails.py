r"""Power-law tails: how heavy the upper end of a spectrum is, and whether a power law is a fair description of it.

A power law has the density :math:`p(x) \propto x^{-\alpha}` for :math:`x \ge x_\mathrm{min}`; the larger its exponent
:math:`\alpha > 1`, the lighter the tail. Singular values :math:`\nu` and the eigenvalues :math:`\lambda = \nu^2` of
:math:`W^T W` are two views of one tail, with :math:`\alpha_\nu = 2 \alpha_\lambda - 1`: say which one an exponent belongs to. The
literature on heavy-tailed weights uses :math:`\lambda`.

Any sample has a best power law. `hill` and `fit_power_law` find it, `power_law_test` asks whether it fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from . import checks, shape_tables

__all__ = [
    "HillEstimate",
    "NoiseExponent",
    "PowerLawFit",
    "PowerLawTest",
    "fit_power_law",
    "hill",
    "noise_exponent",
    "power_law_test",
]

BLOCK = 2**15  # entries of a table of distances at a time: few enough for the processor's cache


@dataclass(frozen=True)
class HillEstimate:
    """Exponent of the tail from its k largest levels.

    Attributes
    ----------
    k : int or numpy.ndarray
        Number of levels used.
    threshold : float or numpy.ndarray
        The next smaller level, above which they lie.
    exponent, standard_error : float or numpy.ndarray
        The exponent of the density, and its error ``(exponent - 1) / sqrt(k)`` for independent levels.
    """

    k: int | np.ndarray
    threshold: float | np.ndarray
    exponent: float | np.ndarray
    standard_error: float | np.ndarray


@dataclass(frozen=True)
class PowerLawFit:
    """The power law closest to the upper end of a sample.

    Attributes
    ----------
    exponent : float
        Of the density above ``xmin``, by maximum likelihood.
    standard_error : float
        ``(exponent - 1) / sqrt(n_tail)``, for independent levels and a given ``xmin``.
    xmin : float
        Where the power law begins: one of the levels.
    n_tail : int
        Levels of at least ``xmin``.
    statistic : float
        Kolmogorov-Smirnov distance between the tail and its power law.
    n : int
        All levels.
    """

    exponent: float
    standard_error: float
    xmin: float
    n_tail: int
    statistic: float
    n: int


@dataclass(frozen=True, eq=False)
class PowerLawTest:
    """A power law and how often a true one fits no better.

    Attributes
    ----------
    fit : PowerLawFit
    pvalue : float
        Share of the synthetic samples whose distance is at least that of the data, the data counted among them. Small values
        reject the power law; Clauset, Shalizi and Newman do so up to 0.1.
    statistics : numpy.ndarray
        Distances of the synthetic samples, in the order in which they were drawn.
    """

    fit: PowerLawFit
    pvalue: float
    statistics: np.ndarray


def hill(x, k) -> HillEstimate:
    r"""Exponent of the tail from the largest levels, by Hill's estimator.

    Parameters
    ----------
    x : array_like, shape (n,)
        Levels, ascending: singular values, or their squares. The largest ``k + 1`` of them must be above 0.
    k : int or array_like of int
        How many of the largest levels are used, from 1 to n - 1. Several values make a Hill plot.

    Returns
    -------
    HillEstimate
        Of numbers, or of arrays in the shape of ``k``.

    Raises
    ------
    ValueError
        If ``x`` is not ascending and finite, ``k`` is out of range, or the levels used are not above 0 or all equal.

    Notes
    -----
    With :math:`x_{(0)} \ge x_{(1)} \ge \dots` the exponent is :math:`1 + 1/\gamma`, where
    :math:`\gamma = \frac1k \sum_{i<k} \ln (x_{(i)} / x_{(k)})`.
    An estimate exists for every sample: only a plateau of the Hill plot speaks for a power law.

    References
    ----------
    Hill, Ann. Stat. 3, 1163 (1975).

    Examples
    --------
    >>> x = (1 - (np.arange(1000) + 0.5) / 1000) ** -0.5
    >>> hill(x, [50, 500]).exponent.round(1)
    array([3., 3.])
    """
    x = checks.levels(x, "x")
    counts = checks.indices(k, "k")
    if counts.size == 0 or counts.min() < 1 or counts.max() >= len(x):
        msg = f"k must be whole numbers from 1 to {len(x) - 1}, one less than there are levels; got {k!r}"
        raise ValueError(msg)
    threshold = x[-1 - counts]
    if threshold.min() <= 0:
        msg = f"x must be above 0 where it is used; level {counts.max()} from the top is {threshold.min():.3g}"
        raise ValueError(msg)
    descending = np.log(x[-counts.max() - 1 :][::-1])
    excess = np.cumsum(descending)[counts - 1] / counts - descending[counts]
    if excess.min() <= 1e-14 * np.abs(descending).max():
        but = "" if counts.min() == len(x) - 1 else "; use a larger k"
        msg = f"x has equal levels at its upper end: there is no tail to measure{but}"
        raise ValueError(msg)
    return HillEstimate(*(part[()] for part in (counts, threshold, 1 + 1 / excess, 1 / (excess * np.sqrt(counts)))))


def fit_power_law(x, *, xmin: float | None = None, min_tail: int = 50) -> PowerLawFit:
    r"""Fit a power law to the upper end of a sample; where it begins is chosen by the fit.

    Parameters
    ----------
    x : array_like, shape (n,)
        Levels, ascending: singular values, or their squares.
    xmin : float, optional
        Where the power law begins, above 0. By default the level for which the distance of the tail from its power law is least.
    min_tail : int
        Fewest levels that a tail may have, at least 2. Fewer than about 50 determine neither exponent nor beginning: a power law
        fits the ten largest levels of almost anything.

    Returns
    -------
    PowerLawFit

    Raises
    ------
    ValueError
        If ``x`` is not ascending and finite, an option is out of range, or fewer than ``min_tail`` levels are left.

    Notes
    -----
    The exponent of the tail :math:`x_i \ge x_\mathrm{min}` is :math:`1 + n_\mathrm{tail} / \sum_i \ln (x_i / x_\mathrm{min})`.
    The chosen tail is short where no power law fits, and its exponent then large: look at ``n_tail``. Costs :math:`O(n^2)`.

    References
    ----------
    Clauset, Shalizi and Newman, SIAM Rev. 51, 661 (2009).

    Examples
    --------
    >>> x = np.sort((1 - np.random.default_rng(0).random(2000)) ** -0.5)
    >>> fit = fit_power_law(x, xmin=1.0)
    >>> round(fit.exponent, 1), round(fit.standard_error, 2)
    (3.0, 0.04)
    """
    x, min_tail = _sample(x, min_tail)
    if xmin is None:
        return _fit(x, _candidates(x, min_tail))
    xmin = checks.positive(xmin, "xmin")
    tail = x[np.searchsorted(x, xmin) :]
    if len(tail) < min_tail or tail[-1] == xmin:
        msg = f"xmin must leave at least {min_tail} levels that are not all equal to it; {xmin:g} leaves {len(tail)}"
        raise ValueError(msg)
    exponent, statistic = _exponents_and_distances(np.log(np.concatenate([[xmin], tail])), np.array([0]), drop_first=True)
    return _result(exponent[0], statistic[0], xmin, len(tail), len(x))


def power_law_test(
    x, *, rng, xmin: float | None = None, draws: int = 1000, min_tail: int = 50, progress: bool = True
) -> PowerLawTest:
    """Test whether a power law describes the upper end of a sample, by a semi-parametric bootstrap.

    Parameters
    ----------
    x : array_like, shape (n,)
        Levels, ascending: singular values, or their squares.
    rng : seed or numpy.random.Generator
        Passed to `numpy.random.default_rng`.
    xmin : float, optional
        As in `fit_power_law`. Where it is given, only the tail is tested.
    draws : int
        Number of synthetic samples; the error of a p value near 0.1 is 0.01 with 1000.
    min_tail : int
        As in `fit_power_law`.
    progress : bool
        Show a progress bar over the draws.

    Returns
    -------
    PowerLawTest

    Raises
    ------
    ValueError
        As `fit_power_law`, or if ``draws`` is not a whole number above 0.

    Notes
    -----
    Each synthetic sample has n levels: with probability ``n_tail / n`` from the power law, else from the data below ``xmin``.
    It is fitted like the data, its beginning included; one with fewer than ``min_tail`` levels above 0 is drawn again. The
    draws are independent, and the levels of a matrix are not: they repel each other and keep closer to a smooth curve, so that
    for a spectrum p is too large and a power law rejected too rarely. A large p says that n levels cannot tell; it does not
    say that there is a power law. The bulk of Gaussian noise is no power law, and with 512 levels the test notices: p was
    below 0.1 for 24 matrices of 512 x 512, and at most 0.15 for 24 of 1024 x 512.

    Costs ``draws`` fits: 1000 draws take about 3 seconds for 512 levels and 2 minutes for 4096.

    References
    ----------
    Clauset, Shalizi and Newman, SIAM Rev. 51, 661 (2009).
    """
    fit = fit_power_law(x, xmin=xmin, min_tail=min_tail)
    draws = checks.integer(draws, "draws", at_least=1)
    rng, x = checks.generator(rng), checks.levels(x, "x")
    below = x[: len(x) - fit.n_tail] if xmin is None else x[:0]
    statistics = np.empty(draws)
    with tqdm(range(draws), desc="bootstrap", disable=not progress) as steps:
        for i in steps:
            synthetic = below[:0]
            while np.count_nonzero(synthetic > 0) < min_tail:
                n_tail = rng.binomial(fit.n, fit.n_tail / fit.n) if xmin is None else fit.n_tail
                # 1 - random() lies in (0, 1]: no level is infinite
                tail = fit.xmin * (1 - rng.random(n_tail)) ** (-1 / (fit.exponent - 1))
                synthetic = np.sort(np.concatenate([rng.choice(below, fit.n - n_tail), tail])) if len(below) else np.sort(tail)
            statistics[i] = fit_power_law(synthetic, xmin=xmin, min_tail=min_tail).statistic
    pvalue = (1 + np.count_nonzero(statistics >= fit.statistic)) / (1 + draws)
    return PowerLawTest(fit, float(pvalue), statistics)


@dataclass(frozen=True)
class NoiseExponent:
    """Exponent that `fit_power_law` finds in the eigenvalues of noise.

    Attributes
    ----------
    mean, standard_deviation : float
        Over matrices of the shape.
    """

    mean: float
    standard_deviation: float


def noise_exponent(shape: tuple[int, int]) -> NoiseExponent:
    r"""What the best power law of pure noise looks like: mean and standard deviation of its exponent.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the matrix, in either order.

    Returns
    -------
    NoiseExponent
        Of the eigenvalues :math:`\lambda = \nu^2`, by ``fit_power_law(nu**2)`` with its defaults.

    Raises
    ------
    ValueError
        If the smaller side is below 64 or above 4096.

    Notes
    -----
    The bulk of noise is no power law; a fit finds one all the same, and its exponent depends on the shape more than on anything
    that is learned: 1.5 for 64 x 64 and 8 for 1024 x 1024. An exponent means something beside that of noise of its shape, and
    only once the sizes of neurons are taken out (`rmtlib.biwhiten`), which make tails of their own. Interpolated between Gaussian
    matrices of 13 sizes and 5 aspect ratios down to 1/100; ``tests/reference/bulk.py`` makes the table.

    Examples
    --------
    >>> nu = np.linalg.svd(np.random.default_rng(0).standard_normal((400, 200)), compute_uv=False)[::-1]
    >>> noise = noise_exponent((400, 200))
    >>> bool(abs(fit_power_law(nu**2).exponent - noise.mean) < 3 * noise.standard_deviation)
    True
    """
    return NoiseExponent(*(float(value) for value in shape_tables.lookup("tails.csv", shape)))


def _sample(x, min_tail):
    min_tail = checks.integer(min_tail, "min_tail", at_least=2)
    return checks.levels(x, "x", at_least=min_tail), min_tail


def _candidates(x, min_tail):
    """Indices of levels at which a tail of enough levels, not all equal, can begin."""
    first = np.flatnonzero(np.diff(x, prepend=-np.inf))
    found = first[(first <= len(x) - min_tail) & (x[first] > 0) & (x[first] < x[-1])]
    if len(found) == 0:
        msg = f"x must have at least {min_tail} levels above 0 that are not all equal, for a tail to begin there"
        raise ValueError(msg)
    return found


def _fit(x, starts):
    logs = np.log(x[starts[0] :])
    exponents, distances = _exponents_and_distances(logs, starts - starts[0])
    best = int(np.argmin(distances))
    return _result(exponents[best], distances[best], x[starts[best]], len(x) - starts[best], len(x))


def _result(exponent, distance, xmin, n_tail, n):
    error = (exponent - 1) / np.sqrt(n_tail)
    return PowerLawFit(float(exponent), float(error), float(xmin), int(n_tail), float(distance), int(n))


def _exponents_and_distances(logs, starts, *, drop_first: bool = False):
    """Exponent and Kolmogorov-Smirnov distance of the tails that begin at these indices of ascending logarithms."""
    counts = len(logs) - starts - drop_first
    sums = np.cumsum(logs[::-1])[::-1]
    means = (sums[starts] - drop_first * logs[starts]) / counts - logs[starts]
    distances = np.empty(len(starts))
    step = max(1, BLOCK // len(logs))
    for begin in range(0, len(starts), step):
        rows = slice(begin, begin + step)
        first, count = starts[rows, None], counts[rows, None]
        columns = np.arange(starts[begin], len(logs))
        law = -np.expm1(np.minimum(logs[first] - logs[columns], 0) / means[rows, None])
        rank = columns - first - drop_first
        gap = np.maximum((rank + 1) / count - law, law - rank / count)
        distances[rows] = np.where(rank >= 0, gap, 0).max(axis=1)
    return 1 + 1 / means, distances
