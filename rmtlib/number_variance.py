from __future__ import annotations

import numpy as np

from . import _checks

__all__ = ["number_variance", "rigidity"]


def number_variance(xi, L, *, centers: str = "uniform") -> np.ndarray:
    xi = _checks.unfolded(xi)
    L = np.asarray(L, dtype=float)
    out = [_one(xi, x, centers) for x in L.ravel()]
    return np.reshape(out, L.shape)


def _one(xi, L, centers):
    if centers == "levels":
        inside = xi[(xi - L / 2 >= xi[0]) & (xi + L / 2 <= xi[-1])]
        N = np.searchsorted(xi, inside + L / 2, "right") - np.searchsorted(xi, inside - L / 2)
        return np.mean((N - L) ** 2)
    x = np.union1d(xi, xi - L)
    x = x[(x >= xi[0]) & (x <= xi[-1] - L)]
    w = np.diff(x)
    mid = x[:-1] + w / 2
    N = np.searchsorted(xi, mid + L) - np.searchsorted(xi, mid)
    mean = np.average(N, weights=w)
    return np.average((N - mean) ** 2, weights=w)


def rigidity(xi, L) -> np.ndarray:
    xi = _checks.unfolded(xi)
    L = np.asarray(L, dtype=float)
    out = []
    for length in L.ravel():
        vals = []
        for x in np.linspace(xi[0], xi[-1] - length, 2000):
            y = xi[(xi >= x) & (xi < x + length)] - x - length / 2
            n = len(y)
            i = np.arange(1, n + 1)
            s2 = np.sum(y**2)
            vals.append(n**2 / 16 - y.sum() ** 2 / length**2 + 1.5 * n * s2 / length**2 - 3 * s2**2 / length**4
                        + np.sum((n - 2 * i + 1) * y) / length)
        out.append(np.mean(vals))
    return np.reshape(out, L.shape)
