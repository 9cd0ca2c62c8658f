"""Entries of singular vectors against the Porter-Thomas law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from . import _checks

__all__ = ["PorterThomasTest", "participation_ratio", "porter_thomas"]


@dataclass(frozen=True)
class PorterThomasTest:
    statistic: np.ndarray
    pvalue: np.ndarray
    calibrated_pvalue: np.ndarray
    qvalue: np.ndarray
    positions: np.ndarray
    moving_mean: np.ndarray
    band: tuple[float, float]


def porter_thomas(vectors, *, window: int = 15) -> PorterThomasTest:
    vectors = _checks.matrix(vectors, "vectors")
    k, m = vectors.shape
    u = scipy.special.ndtr(np.sort(vectors * np.sqrt(m), axis=1))
    i = np.arange(m)
    statistic = np.maximum(((i + 1) / m - u).max(axis=1), (u - i / m).max(axis=1))
    p = scipy.stats.kstwo.sf(statistic, m)
    mean = np.convolve(p, np.ones(window) / window, "valid")
    return PorterThomasTest(
        statistic, p, p, scipy.stats.false_discovery_control(p), np.arange(len(mean)) + window // 2, mean, (0.27, 0.73)
    )


def participation_ratio(vectors) -> np.ndarray:
    vectors = _checks.matrix(vectors, "vectors")
    return 1 / np.sum(vectors**4, axis=1)
