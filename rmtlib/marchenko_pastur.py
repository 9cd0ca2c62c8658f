r"""Modified Marchenko-Pastur fit to singular values: random bulk, its edge, and what lies beyond it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from . import _checks

__all__ = ["MarchenkoPasturFit", "fit_marchenko_pastur"]


@dataclass(frozen=True)
class MarchenkoPasturFit:
    nu_minus: float
    nu_plus: float
    sigma: float
    amplitude: float
    bulk_fraction: float
    share_below_edge: float
    outlier_edge: float
    n_outliers: int
    n_outliers_below: int
    shape: tuple[int, int]
    method: str

    def pdf(self, nu) -> np.ndarray:
        """The fitted curve; its integral is ``bulk_fraction``."""
        return _curve(np.asarray(nu, dtype=np.float64), self.nu_minus, self.nu_plus, self.amplitude)


def _curve(nu, lower, upper, amplitude):
    inside = (nu > lower) & (nu < upper)
    x = np.where(inside, nu, 1.0)
    root = np.sqrt(np.clip(upper**2 - x**2, 0, None)) * np.sqrt(np.clip(x**2 - lower**2, 0, None))
    return np.where(inside, amplitude * root / x, 0.0)


def fit_marchenko_pastur(nu, shape, *, a: int = 15, method: str = "auto", level: float = 0.01) -> MarchenkoPasturFit:
    nu = _checks.levels(nu, "nu", at_least=8)
    a = _checks.integer(a, "a", at_least=1)
    n, m = max(shape), min(shape)
    if m != len(nu):
        raise ValueError(f"shape {tuple(shape)} needs {m} singular values; got {len(nu)} in nu")
    if nu[0] < 0 or nu[-1] == 0:
        raise ValueError("nu must hold singular values: none negative, not all zero")
    if 4 * a >= m:
        raise ValueError(f"a must be below a quarter of the {m} levels; got {a}")
    if method == "auto":
        method = "reflected" if n == m else "modified"
    levels = np.concatenate([-nu[::-1], nu]) if method == "reflected" else nu
    centers = levels[a:-a]
    widths = (levels[2 * a :] - levels[: -2 * a]) / 2
    lower = 0.0 if method == "reflected" else nu[0]
    grid = np.linspace(lower, np.quantile(nu, 0.97), 200)[1:]
    density = np.exp(-(((grid[:, None] - centers) / widths) ** 2) / 2) / (np.sqrt(2 * np.pi) * widths)
    density = density.sum(axis=1) / m
    peak = np.argmax(density)
    use = (np.arange(len(grid)) <= peak) | (density > 0.7 * density[peak])
    x, y = grid[use], density[use]

    def residual(upper):
        shape_ = _curve(x, lower, upper, 1.0)
        return y - shape_ * (shape_ @ y) / (shape_ @ shape_)

    start = nu[int(0.9 * m)] * 1.15
    upper = float(scipy.optimize.least_squares(lambda p: residual(p[0] * start), [1.0], bounds=(x[-1] / start * 1.0001, 10)).x[0] * start)
    shape_ = _curve(x, lower, upper, 1.0)
    amplitude = float((shape_ @ y) / (shape_ @ shape_))
    sigma = upper / (np.sqrt(n) + np.sqrt(m))
    edge = sigma * (np.sqrt(n) + np.sqrt(m)) * (1 + 1 / m ** (2 / 3))
    return MarchenkoPasturFit(float(lower), upper, sigma, amplitude, amplitude * np.pi * (upper - lower) ** 2 / 4,
                              float(np.mean(nu <= upper)), float(edge), int(np.sum(nu > edge)), 0, (int(shape[0]), int(shape[1])), method)
