"""Many tests at once: false discovery rates, and bands that a whole curve stays within."""

from __future__ import annotations

import functools

import numpy as np

from . import checks

__all__ = ["benjamini_hochberg", "moving_mean_band"]


def benjamini_hochberg(pvalues) -> np.ndarray:
    """Benjamini-Hochberg q values: reject all below q and the expected share of false discoveries is at most q.

    Parameters
    ----------
    pvalues : array
        Probabilities in [0, 1] of one family of tests, of any shape.

    Returns
    -------
    numpy.ndarray
        q values, in the shape of ``pvalues``.

    Raises
    ------
    ValueError
        If there is no p value, or one is nan or outside [0, 1].

    References
    ----------
    Benjamini and Hochberg, J. R. Stat. Soc. B 57, 289 (1995).

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.5])
    array([0.04      , 0.05333333, 0.05333333, 0.5       ])
    """
    pvalues = checks.probabilities(pvalues)
    order = np.argsort(pvalues, axis=None)
    qvalues = np.empty(pvalues.size)
    # a smaller p value never has a larger q value: minima from the largest p value down
    scaled = pvalues.ravel()[order] * (pvalues.size / np.arange(1, pvalues.size + 1))
    qvalues[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return np.minimum(qvalues, 1).reshape(pvalues.shape)


def moving_mean_band(k: int, *, window: int = 15, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Band that a whole moving-mean curve of ``k`` random p values stays within, with probability ``level``.

    Parameters
    ----------
    k : int
        Number of p values.
    window : int
        Number of neighbours that are averaged.
    level : float
        Probability that neither the minimum nor the maximum of the curve leaves the band.
    draws, seed : int
        Number of simulated curves of independent uniform p values, and their seed.

    Returns
    -------
    tuple of float
        Lower and upper level, symmetric about 0.5.

    Raises
    ------
    ValueError
        If the window is larger than ``k``, or ``level`` is not between 0 and 1, or ``draws`` or ``seed`` is no whole number.

    Examples
    --------
    >>> low, high = moving_mean_band(512)
    >>> round(low, 2), round(high, 2)
    (0.24, 0.76)
    """
    window = checks.integer(window, "window", at_least=1)
    k = checks.integer(k, "k", at_least=1)
    if window > k:
        msg = f"window must be at most the number of vectors, {k}; got {window}"
        raise ValueError(msg)
    level, seed = checks.share(level, "level"), checks.integer(seed, "seed", at_least=0)
    half = float(np.quantile(_largest_deviations(k, window, checks.integer(draws, "draws", at_least=100), seed), level))
    return 0.5 - half, 0.5 + half


def moving_mean(x: np.ndarray, window: int) -> np.ndarray:
    """Means over ``window`` neighbours along the last axis, complete windows only."""
    total = np.cumsum(x, axis=-1)
    total = np.concatenate([np.zeros_like(total[..., :1]), total], axis=-1)
    return (total[..., window:] - total[..., :-window]) / window


@functools.lru_cache(maxsize=64)
def _largest_deviations(k: int, window: int, draws: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    batches = [min(200, draws - done) for done in range(0, draws, 200)]
    return np.concatenate([np.abs(moving_mean(rng.random((batch, k)), window) - 0.5).max(axis=1) for batch in batches])
