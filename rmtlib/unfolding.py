from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from . import _checks

__all__ = ["unfold"]


def unfold(nu, *, a: int = 15, method: str = "broadened", shape=None, sigma=None, degree: int = 9, edges: str = "drop") -> np.ndarray:
    nu = _checks.levels(nu, "nu")
    m = len(nu)
    if method == "broadened":
        if edges == "drop":
            k = np.arange(a, m - a)
            x = nu[2 * a : m - 2 * a]
        else:
            k, x = np.arange(m), nu
        width = (nu[np.minimum(k + a, m - 1)] - nu[np.maximum(k - a, 0)]) / 2
        return ndtr((x[:, None] - nu[k]) / width).sum(axis=1)
    if method == "polynomial":
        return np.polynomial.Polynomial.fit(nu, np.arange(m) + 0.5, degree)(nu)
    from . import laws

    n, m = max(shape), min(shape)
    if sigma is None:
        sigma = np.sqrt(np.sum(nu**2) / (n * m))
    return m * laws.marchenko_pastur(m / n, sigma * np.sqrt(n)).cdf(nu)
