"""Tables of simulated noise by the shape of the matrix, read from ``rmtlib/null_laws`` and interpolated."""

from __future__ import annotations

import functools
from importlib import resources

import numpy as np

from . import checks


def lookup(name: str, shape: tuple[int, int]) -> np.ndarray:
    """Values of a table at one shape.

    Parameters
    ----------
    name : str
        File of the table. Its first two columns are the ratio m/n and the smaller side m, of every pair of some ratios and
        sizes; all values are above 0.
    shape : tuple of int
        Rows and columns, in either order.

    Returns
    -------
    numpy.ndarray
        One value for each further column. Logarithms are interpolated, of values, ratios and sizes alike; beyond the ratios of
        the table its end holds.

    Raises
    ------
    ValueError
        If the smaller side lies outside the table.
    """
    _, ratios, sizes, logs = _read(name)
    n, m = checks.sides(shape)
    m = checks.integer(m, "min(shape)", at_least=int(sizes[0]))
    if m > sizes[-1]:
        msg = f"min(shape) must be at most {sizes[-1]:.0f}, the end of the table; got {m}"
        raise ValueError(msg)
    by_ratio = [[np.interp(np.log(m), np.log(sizes), column) for column in part.T] for part in logs]
    return np.exp([np.interp(np.log(m / n), np.log(ratios), column) for column in np.transpose(by_ratio)])


def columns(name: str) -> list[str]:
    """Heads of the columns of values."""
    return _read(name)[0]


@functools.lru_cache
def _read(name):
    lines = (resources.files(__package__) / "null_laws" / name).read_text().splitlines()
    rows = np.array([line.split(",") for line in lines[1:]], dtype=float)
    ratios, sizes = np.unique(rows[:, 0]), np.unique(rows[:, 1])
    return lines[0].split(",")[2:], ratios, sizes, np.log(rows[:, 2:]).reshape(len(ratios), len(sizes), -1)
