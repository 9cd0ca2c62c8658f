r"""Entries of singular vectors against the Porter-Thomas law, and how many entries take part.

In a random matrix every singular vector points anywhere: its m entries are those of a normalised Gaussian vector,
close to normal with mean 0 and variance 1/m (their squares then follow the Porter-Thomas law). A vector that carries
information deviates. Each vector is tested by Kolmogorov and Smirnov's statistic; p values of neighbours in the
spectrum are averaged, because learned structure spreads over several of them.
"""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy

from . import _checks, calibration

__all__ = ["PorterThomasTest", "participation_ratio", "porter_thomas"]

_BLOCK = 2**18
_FEW = 200


@dataclass(frozen=True)
class PorterThomasTest:
    """Tests of the k singular vectors of one space, in the order in which they were given.

    Attributes
    ----------
    statistic : numpy.ndarray
        Kolmogorov-Smirnov distance of the entries of each vector from the normal law of variance ``1/m``.
    pvalue : numpy.ndarray
        scipy's, for that law; its mean for noise is 0.54, because a normalised vector is closer to the law.
    calibrated_pvalue : numpy.ndarray
        From normalised Gaussian vectors; uniform on [0, 1] for noise.
    qvalue : numpy.ndarray
        Benjamini-Hochberg q values of ``calibrated_pvalue``.
    positions : numpy.ndarray
        Index of the vector in the middle of each window, shape ``(k - window + 1,)``.
    moving_mean : numpy.ndarray
        Mean of ``calibrated_pvalue`` over the window around each position.
    band : tuple of float
        Lower and upper level that the whole curve of noise stays within, with probability 0.95.
    """

    statistic: np.ndarray
    pvalue: np.ndarray
    calibrated_pvalue: np.ndarray
    qvalue: np.ndarray
    positions: np.ndarray
    moving_mean: np.ndarray
    band: tuple[float, float]


def porter_thomas(vectors, *, window: int = 15) -> PorterThomasTest:
    r"""Test the entries of every singular vector of one space against :math:`N(0, 1/m)`.

    Parameters
    ----------
    vectors : array of shape (k, m)
        Normalised vectors as rows, in the order of their singular values, at least 8 entries each: the
        ``input_vectors`` or ``output_vectors`` of `rmtlib.spectrum`.
    window : int
        Odd number of neighbours in the moving mean of the p values, at most k.

    Returns
    -------
    PorterThomasTest

    Raises
    ------
    ValueError
        If ``vectors`` is not two-dimensional, finite and normalised, has fewer than 8 columns, or ``window`` is
        even or larger than k.

    Notes
    -----
    The statistic does not depend on the sign of a vector, which is free. The vectors of one matrix are orthogonal;
    this changes neither the scatter of the moving mean nor its band within the Monte-Carlo error.
    Cost: mostly one sort of k m numbers. scipy's exact p value takes up to 4 ms for a vector of 4096 entries; beyond
    200 vectors it is read from a cubic spline of its logarithm, which agrees to a relative 1e-4.

    References
    ----------
    Porter and Thomas, Phys. Rev. 104, 483 (1956).
    """
    vectors = _unit_rows(vectors)
    k, m = vectors.shape
    if m < calibration.FEWEST_ENTRIES:
        raise ValueError(f"vectors must have at least {calibration.FEWEST_ENTRIES} entries each; got {m}")
    if _checks.integer(window, "window", at_least=1) % 2 == 0:
        raise ValueError(f"window must be odd, to have a vector in its middle; got {window}")
    band = calibration.moving_mean_band(k, window=window)
    rows = max(1, _BLOCK // m)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        statistic = np.concatenate(list(pool.map(_statistic, (vectors[start : start + rows] for start in range(0, k, rows)))))
    pvalue = _scipy_pvalue(statistic, m)
    calibrated = calibration.vector_pvalue(pvalue, m)
    return PorterThomasTest(
        statistic=statistic,
        pvalue=pvalue,
        calibrated_pvalue=calibrated,
        qvalue=calibration.benjamini_hochberg(calibrated),
        positions=np.arange(window // 2, k - window // 2),
        moving_mean=calibration.moving_mean(calibrated, window),
        band=band,
    )


def participation_ratio(vectors) -> np.ndarray:
    r"""Number of entries that take part in each vector, :math:`1 / \sum_i v_i^4`.

    Parameters
    ----------
    vectors : array of shape (k, m)
        Normalised vectors as rows.

    Returns
    -------
    numpy.ndarray
        Shape (k,), between 1 (a single entry) and m (all of equal size); ``(m + 2) / 3`` for noise, as
        ``1 / mean(1 / ratio)``.

    Raises
    ------
    ValueError
        If ``vectors`` is not two-dimensional, finite and normalised.

    Examples
    --------
    >>> participation_ratio(np.array([[1.0, 0.0], [0.6, 0.8]]))
    array([1.        , 1.85459941])
    """
    vectors = _unit_rows(vectors)
    return 1 / np.sum(np.square(vectors, dtype=np.float64) ** 2, axis=1)


def _statistic(vectors: np.ndarray) -> np.ndarray:
    entries = vectors.astype(np.float64)
    entries.sort(axis=1)
    entries *= np.sqrt(entries.shape[1])
    return calibration.ks_statistic(scipy.special.ndtr(entries, out=entries))


def _scipy_pvalue(statistic: np.ndarray, m: int) -> np.ndarray:
    if len(statistic) <= _FEW or m < 128:
        return _exact_pvalue(statistic, m)
    z = statistic * np.sqrt(m)
    first, last, log_pvalue = _log_pvalue(m)
    inside = (z >= first) & (z <= last)
    pvalue = np.empty(len(z))
    pvalue[inside] = np.exp(log_pvalue(z[inside]))
    pvalue[~inside] = _exact_pvalue(statistic[~inside], m)
    return pvalue


@functools.lru_cache
def _log_pvalue(m: int):
    """Spline through the logarithm of scipy's p value against ``sqrt(m) D``, and its ends."""
    # Below 0.3 the p value is 1 to five digits; beyond 16 it soon underflows, and near D = 1 it is no longer smooth.
    knots = np.r_[np.arange(0.3, 3, 0.02), np.arange(3, 16, 0.2)]
    knots = knots[knots < 0.5 * np.sqrt(m)]
    return knots[0], knots[-1], scipy.interpolate.CubicSpline(knots, np.log(_exact_pvalue(knots / np.sqrt(m), m)))


def _exact_pvalue(statistic: np.ndarray, m: int) -> np.ndarray:
    return np.clip(scipy.stats.kstwo.sf(statistic, m), 0, 1)


def _unit_rows(vectors) -> np.ndarray:
    vectors = _checks.matrix(vectors, "vectors")
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    worst = int(np.argmax(np.abs(lengths - 1)))
    if abs(lengths[worst] - 1) > 1e-3:
        raise ValueError(f"vectors must be normalised rows of length 1; row {worst} has length {lengths[worst]:.4g}")
    return vectors
