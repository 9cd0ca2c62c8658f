from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from . import _checks

__all__ = ["Spectrum", "spectrum"]


@dataclass(frozen=True, eq=False)
class Spectrum:
    nu: np.ndarray
    input_vectors: np.ndarray | None
    output_vectors: np.ndarray | None
    shape: tuple[int, int]


def spectrum(W, vectors: bool = True) -> Spectrum:
    W = _checks.matrix(W).astype(np.float64)
    if vectors:
        U, nu, Vt = scipy.linalg.svd(W, full_matrices=False)
        return Spectrum(nu[::-1], Vt[::-1], U.T[::-1], W.shape)
    return Spectrum(scipy.linalg.svdvals(W)[::-1], None, None, W.shape)
