r"""What pure noise gives: null laws of the tests by Monte Carlo.

A Kolmogorov-Smirnov p value assumes independent draws from a law that is fixed in advance. The two tests of this
library break the assumption, each in its own way, and both breaks are repaired here.

Spacings
    Neighbouring spacings repel (correlation -0.27) and unfolding uses the levels themselves, so the statistic
    :math:`D` is smaller than for independent spacings and scipy's p value is far too large: noise gives
    :math:`p < 0.05` once in several hundred matrices. The law of :math:`\sqrt{n} D` depends on the number of spacings
    and on the unfolding; it hardly depends on the aspect ratio or on the law of the entries.
Entries of singular vectors
    A singular vector has length 1, so the scale of its entries is not free. For a Gaussian vector of fixed length
    the limiting process is a Brownian bridge whose variance at :math:`\Phi(x) = t` is lowered from
    :math:`t(1-t)` to :math:`t(1-t) - x^2\phi(x)^2/2`. Both have the maximum 1/4 at :math:`t = 1/2`, with curvatures
    2 and 3; hence the true tail probability is scipy's times :math:`\sqrt{2/3} = 0.816`, however small it is.

Tables for common sizes are in ``rmtlib/null_laws``; ``tests/reference/nulls.py`` writes them.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import scipy.linalg

from . import checks
from .files import atomic_file

__all__ = [
    "NullLaw",
    "noise_singular_values",
    "simulate_spacing_null",
    "spacing_null",
    "vector_pvalue",
]

FEWEST_SPACINGS = 16
FEWEST_ENTRIES = 8
DRAWS = 2000
MOST_LEVELS = 2**16  # of a matrix whose null is known or simulated


@dataclass(frozen=True)
class NullLaw:
    """Law of a Kolmogorov-Smirnov statistic under noise, as points of its exceedance probability.

    Attributes
    ----------
    n : int
        Number of spacings that the statistic compares with their law.
    statistic : numpy.ndarray of shape (points,)
        Ascending values of the statistic, a distance between cumulatives from 0 to 1.
    exceedance : numpy.ndarray of shape (points,)
        Probability that noise gives a statistic at least as large; descending. The last is the smallest
        p value that this law can give.
    """

    n: int
    statistic: np.ndarray
    exceedance: np.ndarray

    def pvalue(self, statistic):
        """Probability of a statistic at least as large, log-linear between the points.

        Parameters
        ----------
        statistic : float or array
            Kolmogorov-Smirnov statistic of ``n`` spacings.

        Returns
        -------
        float or numpy.ndarray
            Never below ``exceedance[-1]``, never 0.
        """
        log_p = np.interp(checks.reals(statistic, "statistic"), self.statistic, np.log(self.exceedance), left=0.0)
        return np.exp(log_p)

    def critical(self, level: float) -> float:
        """The statistic that noise exceeds with probability ``level``, log-linear between the points.

        Parameters
        ----------
        level : float
            Probability above 0. Beyond ``exceedance`` at either end, the statistic there is given.

        Returns
        -------
        float
            In the unit of ``statistic``.
        """
        return float(np.interp(np.log(checks.positive(level, "level")), np.log(self.exceedance[::-1]), self.statistic[::-1]))


def noise_singular_values(shape: tuple[int, int], rng) -> np.ndarray:
    r"""Singular values of a Gaussian matrix with unit variance, without the matrix.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns, in either order.
    rng : seed or numpy.random.Generator
        Passed to `numpy.random.default_rng`.

    Returns
    -------
    numpy.ndarray
        Shape ``(min(shape),)``, ascending, in units of the standard deviation of an entry.

    Raises
    ------
    ValueError
        If the smaller side is not a whole number of at least 2.

    Notes
    -----
    Householder reflections turn a Gaussian matrix into a bidiagonal one with independent chi entries, of
    :math:`n, n-1, \dots` degrees of freedom on the diagonal and :math:`m-1, m-2, \dots` beside it. Its singular
    values take :math:`O(m^2)` operations: 3 ms for m = 512 and 0.2 s for m = 4096 on one core.

    References
    ----------
    Dumitriu and Edelman, J. Math. Phys. 43, 5830 (2002).
    """
    n, m = checks.sides(shape)
    m = checks.integer(m, "min(shape)", at_least=2)
    rng = checks.generator(rng)
    diagonal = rng.chisquare(n - np.arange(m))
    beside = rng.chisquare(m - 1 - np.arange(m - 1))
    gram = diagonal.copy()
    gram[1:] += beside
    eigenvalues = scipy.linalg.eigvalsh_tridiagonal(gram, np.sqrt(diagonal[:-1] * beside), lapack_driver="sterf")
    return np.sqrt(np.maximum(eigenvalues, 0))


def spacing_null(n: int, *, method: str = "broadened", a: int = 15, degree: int = 7) -> NullLaw:
    r"""Null law of the spacing test for ``n`` spacings, unfolded by the given method.

    Parameters
    ----------
    n : int
        Number of spacings, at least 16.
    method, a, degree
        As in `rmtlib.unfold`. Tabulated are "broadened" with a = 15 and a = 7, "marchenko_pastur", and
        "polynomial" of degree 7; other recipes are simulated once by `simulate_spacing_null` and cached.

    Returns
    -------
    NullLaw

    Raises
    ------
    ValueError
        If ``n`` is below 16 or beyond the table, or an option is out of range: a matrix with these spacings must have at most
        as many levels as the table, 65,536, and a polynomial at most as many degrees as there are spacings but one.

    Notes
    -----
    The tables hold quantiles of :math:`\sqrt{n} D` on a grid of n, interpolated in log n. Half of the matrices are
    square, half have twice as many rows as columns. Quantiles of probability below 0.01 lie on
    :math:`\ln p = c - b n D^2`, the tail of a locally Brownian process, fitted to the draws between 0.1 and 0.002;
    the smallest p value is 1e-6. A simulation of 2000 square matrices takes seconds for 100 levels, half a minute for
    512 and ten minutes for 4096.
    """
    n = checks.integer(n, "n", at_least=FEWEST_SPACINGS)
    method, a, degree = _recipe(n, method, a, degree)
    recipe = method + {"broadened": f" a={a}", "polynomial": f" degree={degree}"}.get(method, "")
    probabilities, tables = _read_table("spacings.csv")
    if recipe not in tables or n < tables[recipe][0][0]:
        m = n + 1 + 4 * a * (method == "broadened")
        if m > MOST_LEVELS:
            widest = (MOST_LEVELS - n - 1) // 4
            wrong = f"a must be an integer from 1 to {widest} for {n} spacings; got {a}" if widest > 0 else f"n is too large: {n}"
            msg = f"{wrong}: that takes matrices of {m} levels, and nulls are simulated for up to {MOST_LEVELS}"
            raise ValueError(msg)
        return simulate_spacing_null((m, m), method=method, a=a, degree=degree)
    sizes, quantiles = tables[recipe]
    if n > sizes[-1]:
        msg = f"n must be at most {sizes[-1]:.0f}, the end of the table of nulls; got {n}"
        raise ValueError(msg)
    scaled = [np.interp(np.log(n), np.log(sizes), column) for column in quantiles.T]
    return NullLaw(n, np.array(scaled) / np.sqrt(n), probabilities)


def simulate_spacing_null(
    shape: tuple[int, int], *, entries: Callable | None = None, draws: int | None = None, rng=0, **unfolding
) -> NullLaw:
    """Null law of the spacing test for noise of one shape, law of the entries and unfolding, by Monte Carlo.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the weight matrix.
    entries : callable, optional
        ``entries(shape, rng)`` returns one noise matrix, as the functions of `rmtlib.ensembles` do. Gaussian by
        default, which needs no matrix and is fast.
    draws : int, optional
        Number of matrices, 2000 by default; the smallest p value of the law is ``1 / (draws + 1)``.
    rng : seed or numpy.random.Generator
        Passed to `numpy.random.default_rng`.
    **unfolding
        Options of `rmtlib.unfold`: ``method``, ``a``, ``degree``, ``edges``.

    Returns
    -------
    NullLaw
        With one point a draw.

    Raises
    ------
    ValueError
        If ``draws`` is not a whole number of at least 20, or the noise cannot be unfolded as asked: an option is
        unknown, or the shape has too few levels.

    Notes
    -----
    With Gaussian entries and an integer seed the draws are kept in the user's cache folder. A progress bar appears
    on standard error when the simulation takes more than a few seconds. Gaussian singular values are drawn without
    their matrix, by `noise_singular_values`.

    References
    ----------
    Dumitriu and Edelman, J. Math. Phys. 43, 5830 (2002).
    """
    from tqdm import tqdm

    n, m = checks.sides(shape)
    draws, seeded = checks.integer(DRAWS if draws is None else draws, "draws", at_least=20), checks.generator(rng)
    cached = None
    if entries is None and isinstance(rng, int | np.integer):
        cached = _cache_file(shape=[m, n], draws=draws, seed=int(rng), **unfolding)
    found = _read_cached(cached, draws)
    if found is None:
        with tqdm(range(draws), desc=f"null of {shape[0]} x {shape[1]}", unit="matrix", delay=5) as steps:
            found = np.sort([_noise_statistic(shape, entries, seeded, unfolding) for _ in steps], axis=0)
        _write_cached(cached, found)
    return NullLaw(int(found[0, 0]), found[:, 1], np.arange(draws, 0, -1) / (draws + 1))


def vector_pvalue(pvalues, m: int) -> np.ndarray:
    r"""Turn scipy's Kolmogorov-Smirnov p values of normalised vectors into exact ones.

    Parameters
    ----------
    pvalues : array_like of any shape
        Probabilities of the statistics of vectors of length 1 against a normal law of variance ``1/m``, as
        `scipy.stats.kstest` gives them.
    m : int
        Number of entries of a vector, at least 8.

    Returns
    -------
    numpy.ndarray
        Of the shape of ``pvalues``; uniform on [0, 1] for random vectors.

    Raises
    ------
    ValueError
        If ``m`` is not a whole number of at least 8, there is no p value, or one is nan or outside [0, 1].

    Notes
    -----
    From one million normalised Gaussian vectors for each m of the table. The ratio to scipy's value is nearly the
    same for every m: 0.99 at p = 0.99, 0.88 at 0.5, 0.85 at 0.05. Below p = 0.001 it runs, linearly in log p, to
    its limit :math:`\sqrt{2/3}` at 1e-6. There is no floor other than the smallest floating-point number.

    References
    ----------
    Durbin, Ann. Stat. 1, 279 (1973), for the limiting process of laws with estimated parameters.
    """
    m = checks.integer(m, "m", at_least=FEWEST_ENTRIES)
    pvalues = checks.probabilities(pvalues)
    grid, tables = _read_table("vectors.csv")
    sizes, ratios = tables["vectors"]
    ratio = np.array([np.interp(np.log(m), np.log(sizes), column) for column in ratios.T])
    with np.errstate(divide="ignore"):
        log_p = np.log(pvalues)
    return pvalues * np.interp(log_p, np.log(grid), ratio)


def ks_statistic(u: np.ndarray) -> np.ndarray:
    """Kolmogorov-Smirnov distances from the uniform law of ``u``, sorted along its last axis."""
    n = u.shape[-1]
    below = np.arange(n) / n
    return np.maximum((below + 1 / n - u).max(axis=-1), (u - below).max(axis=-1))


def _noise_statistic(shape, entries, rng, unfolding) -> tuple[int, float]:
    from .laws import wigner_surmise
    from .unfolding import unfold

    if unfolding.get("method") == "marchenko_pastur":
        unfolding = {"shape": shape, **unfolding}
    # A polynomial fails on a few per cent of noise; the null is that of spectra which can be unfolded.
    for attempt in range(1, 21):
        nu = noise_singular_values(shape, rng) if entries is None else np.sort(scipy.linalg.svdvals(entries(shape, rng)))
        try:
            s = np.sort(np.diff(unfold(nu, **unfolding)))
        except ValueError:
            if attempt == 20 or unfolding.get("method") != "polynomial":
                raise
        else:
            break
    return len(s), float(ks_statistic(wigner_surmise.cdf(s)))


def _recipe(n: int, method: str, a: int, degree: int) -> tuple[str, int, int]:
    """The options of an unfolding, checked."""
    from .unfolding import METHODS

    method = checks.choice(method, "method", METHODS)
    a, degree = checks.integer(a, "a", at_least=1), checks.integer(degree, "degree", at_least=1)
    if method == "polynomial" and degree >= n:
        msg = f"degree must be below the number of spacings, {n}; got {degree}"
        raise ValueError(msg)
    return method, a, degree


@functools.lru_cache
def _read_table(name: str) -> tuple[np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Column heads, and for each recipe its sizes and its rows."""
    lines = list(csv.reader((resources.files(__package__) / "null_laws" / name).read_text().splitlines()))
    heads = np.array(lines[0][2:], dtype=float)
    tables = {}
    for recipe in dict.fromkeys(line[0] for line in lines[1:]):
        rows = np.array([line[1:] for line in lines[1:] if line[0] == recipe], dtype=float)
        tables[recipe] = (rows[:, 0], rows[:, 1:])
    return heads, tables


def _cache_file(**key) -> Path:
    import pooch

    from . import __version__

    digest = hashlib.sha256(repr((__version__, sorted(key.items()))).encode()).hexdigest()[:16]
    return Path(pooch.os_cache("rmtlib")) / "nulls" / f"spacings-{digest}.npy"


def _read_cached(path: Path | None, draws: int) -> np.ndarray | None:
    if path is None:
        return None
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == (draws, 2) and np.isfinite(found).all() else None


def _write_cached(path: Path | None, found: np.ndarray) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as part, open(part, "xb") as file:
            np.save(file, found)
    except OSError as error:
        warnings.warn(
            f"the simulated null could not be kept in {str(path.parent)!r} ({error}); it will be simulated again", stacklevel=3
        )
