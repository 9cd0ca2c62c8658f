"""Argument checks shared by all modules: each returns the checked value or raises one clear ``ValueError``."""

from __future__ import annotations

import math
from numbers import Real
from typing import TypeVar

import numpy as np

Chosen = TypeVar("Chosen")
FEWEST_LEVELS = 16  # of a matrix in which noise can be told from directions


def matrix(W, name: str = "W") -> np.ndarray:
    """A real, finite, two-dimensional array of at least 2 x 2, as float64 unless it is float32 already."""
    W = _unmasked(W, name)
    if W.ndim != 2:
        msg = f"{name} must be a two-dimensional matrix; got {W.ndim} dimension{'s' * (W.ndim != 1)}, shape {W.shape}"
        raise ValueError(msg)
    if W.size == 0 or min(W.shape) < 2:
        msg = f"{name} must have at least two rows and two columns; got shape {W.shape}"
        raise ValueError(msg)
    if not np.issubdtype(W.dtype, np.floating):
        msg = f"{name} must hold real floating-point numbers; got dtype {W.dtype}"
        raise ValueError(msg)
    if W.dtype not in (np.float32, np.float64):
        W = W.astype(np.float64)
    finite = np.isfinite(W)
    if not finite.all():
        msg = f"{name} must be finite; {W.size - np.count_nonzero(finite)} of {W.size} entries are nan or infinite"
        raise ValueError(msg)
    return W


def levels(x, name: str, *, at_least: int = 2) -> np.ndarray:
    """A one-dimensional, finite, ascending float64 array of at least ``at_least`` levels."""
    x = _unmasked(x, name)
    if np.iscomplexobj(x):
        msg = f"{name} must be real; got dtype {x.dtype}"
        raise ValueError(msg)
    x = x.astype(np.float64, copy=False)
    if x.ndim != 1:
        msg = f"{name} must be one-dimensional; got shape {x.shape}"
        raise ValueError(msg)
    if len(x) < at_least:
        msg = f"{name} must hold at least {at_least} levels; got {len(x)}"
        raise ValueError(msg)
    if not np.isfinite(x).all():
        msg = f"{name} must be finite; got nan or infinite levels"
        raise ValueError(msg)
    if np.any(np.diff(x) < 0):
        msg = f"{name} must be sorted in ascending order"
        raise ValueError(msg)
    return x


def sides(shape) -> tuple[int, int]:
    """Larger and smaller side of a matrix, from its shape in either order."""
    try:
        n, m = (integer(side, "shape", at_least=1) for side in sorted(shape, reverse=True))
    except (TypeError, ValueError):
        msg = f"shape must be the two whole numbers of rows and columns; got {shape!r}"
        raise ValueError(msg) from None
    return n, m


def unfolded(xi, name: str = "xi", *, at_least: int = 2) -> np.ndarray:
    """Ascending levels with a mean spacing of about 1 (0.6 to 1.25), as unfolding gives them: 17 levels may have 0.7."""
    xi = levels(xi, name, at_least=at_least)
    spacing = (xi[-1] - xi[0]) / (len(xi) - 1)
    if not 0.6 < spacing < 1.25:
        msg = f"{name} must be unfolded to a mean spacing of 1; got {spacing:.3g}: call rmtlib.unfold first"
        raise ValueError(msg)
    return xi


def probabilities(pvalues) -> np.ndarray:
    """A float64 array of at least one p value, each from 0 to 1."""
    pvalues = np.asarray(pvalues, dtype=np.float64)
    if pvalues.size == 0:
        msg = "pvalues must hold at least one p value; got none"
        raise ValueError(msg)
    if not ((pvalues >= 0) & (pvalues <= 1)).all():
        msg = "pvalues must lie in [0, 1]; got nan or values outside"
        raise ValueError(msg)
    return pvalues


def _unmasked(values, name: str) -> np.ndarray:
    if isinstance(values, np.ma.MaskedArray):
        msg = f"{name} must not be a masked array: a spectrum has no place for missing entries; fill it or leave them out first"
        raise ValueError(msg)
    return np.asarray(values)


def positive(value, name: str) -> float:
    """A finite number above zero."""
    if not isinstance(value, Real) or not math.isfinite(value) or value <= 0:
        msg = f"{name} must be a finite number above 0; got {value!r}"
        raise ValueError(msg)
    return float(value)


def integer(value, name: str, *, at_least: int) -> int:
    """An integer of at least ``at_least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < at_least:
        msg = f"{name} must be an integer of at least {at_least}; got {value!r}"
        raise ValueError(msg)
    return int(value)


def choice(value: Chosen, name: str, options: tuple[Chosen, ...]) -> Chosen:
    """One of the given words, or other values."""
    if value not in options:
        msg = f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}"
        raise ValueError(msg)
    return value
