"""Slow reference values of the number variance and the rigidity: every interval is looked at on its own.

Counts are taken on a fine grid of positions, and the line through the staircase is fitted by quadrature and not by a formula.
Run it to print the values that tests/test_number_variance.py compares with.
"""

from __future__ import annotations

import numpy as np


def levels(k: int = 60) -> np.ndarray:
    """Ascending levels of mean spacing about 1 that need no random numbers."""
    i = np.arange(k)
    return np.sort(i + 0.45 * np.sin(1.7 * i) + 0.4 * np.sin(0.3 * i**2 + 1))


def number_variance(xi, L: float, steps: int = 100_000) -> float:
    """Variance of the number of levels over equally spaced positions (midpoint rule)."""
    step = (xi[-1] - L - xi[0]) / steps
    counts = np.array([np.count_nonzero((xi > x) & (xi <= x + L)) for x in xi[0] + step * (np.arange(steps) + 0.5)])
    return float(np.mean((counts - counts.mean()) ** 2))


def number_variance_on_levels(xi, L: float) -> float:
    """Mean of (N - L)^2 over the levels whose interval lies inside the spectrum."""
    squares = []
    for x in xi:
        if x - L / 2 >= xi[0] and x + L / 2 <= xi[-1]:
            squares.append((np.count_nonzero((xi >= x - L / 2) & (xi <= x + L / 2)) - L) ** 2)
    return float(np.mean(squares))


def line_distance(y, L: float) -> float:
    """Mean square distance of the staircase of levels y from its best line on (-L/2, L/2), integrated step by step."""
    ends = np.concatenate(([-L / 2], y, [L / 2]))
    gram, moment, square = np.zeros((2, 2)), np.zeros(2), 0.0
    for height, (low, high) in enumerate(zip(ends, ends[1:], strict=False)):
        powers = [(high**p - low**p) / p for p in (1, 2, 3)]
        gram += [[powers[0], powers[1]], [powers[1], powers[2]]]
        moment += [height * powers[0], height * powers[1]]
        square += height**2 * powers[0]
    return float(square - moment @ np.linalg.solve(gram, moment)) / L


def rigidity(xi, L: float, steps: int = 10_000) -> float:
    """Mean distance of the staircase from its best line over equally spaced positions (midpoint rule)."""
    step = (xi[-1] - L - xi[0]) / steps
    total = 0.0
    for x in xi[0] + step * (np.arange(steps) + 0.5):
        total += line_distance(xi[(xi > x) & (xi <= x + L)] - x - L / 2, L)
    return total / steps


if __name__ == "__main__":
    xi = levels()
    print("L, number variance (uniform), number variance (levels), rigidity")
    for L in (0.4, 1.0, 2.5, 7.0, 20.0):
        print(L, f"{number_variance(xi, L):.6f}, {number_variance_on_levels(xi, L):.6f}, {rigidity(xi, L):.6f}")
