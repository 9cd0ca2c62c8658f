"""Argument checks shared by all modules: each returns the checked value or raises one clear ``ValueError``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import TypeVar

import numpy as np

Chosen = TypeVar("Chosen")
FEWEST_LEVELS = 16  # of a matrix in which noise can be told from directions
ORDINARY = 2.0**-200, 2.0**200  # largest numbers whose squares, and the squares of these, are floating-point numbers


def array(values, name: str) -> np.ndarray:
    """An array of anything that numpy or torch holds in memory, in its own dtype where numpy has it; no masked array."""
    if isinstance(values, np.ma.MaskedArray):
        msg = f"{name} must not be a masked array: missing entries have no place here; fill it or leave them out first"
        raise ValueError(msg)
    if hasattr(values, "detach"):
        return _of_tensor(values, name)
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError):
        msg = f"{name} must be an array of numbers, with rows of one length; got {type(values).__name__}"
        raise ValueError(msg) from None


def _of_tensor(tensor, name):
    """The values of a tensor of torch, whatever its device; types that numpy lacks, such as bfloat16, as float32."""
    if getattr(tensor, "is_meta", False):
        msg = f"{name} must hold values; got a tensor of shape {tuple(tensor.shape)} on the meta device, which has none"
        raise ValueError(msg)
    try:
        tensor = tensor.detach().cpu().resolve_neg().resolve_conj()
        tensor = tensor.dequantize() if tensor.is_quantized else tensor.to_dense()
        try:
            return tensor.numpy()
        except TypeError:
            return tensor.float().numpy()
    except (TypeError, ValueError, RuntimeError, NotImplementedError, AttributeError) as error:
        msg = f"{name} must be an array, or a tensor that can be read here; got {type(tensor).__name__} ({error})"
        raise ValueError(msg) from None


def reals(values, name: str) -> np.ndarray:
    """A float64 array of any shape; complex numbers, text and masked arrays are refused, nan is not."""
    x = array(values, name)
    if x.dtype.kind in "biuf":
        return x.astype(np.float64, copy=False)
    try:
        if x.dtype == object:
            return x.astype(np.float64)
    except (TypeError, ValueError):
        pass
    got = f"dtype {x.dtype}" if x.dtype != object else "entries of other types" if x.ndim else type(values).__name__
    msg = f"{name} must hold real numbers; got {got}"
    raise ValueError(msg)


def unit(x: np.ndarray) -> float:
    """A power of two near the largest entry, 1 if that is ordinary: without it no square over- or underflows."""
    largest = max(-float(x.min()), float(x.max()), 0.0) if x.size else 0.0
    if largest == 0 or not math.isfinite(largest) or ORDINARY[0] < largest < ORDINARY[1]:
        return 1.0
    return math.ldexp(1.0, math.frexp(largest)[1] - 1)


def divided(x: np.ndarray, unit: float) -> np.ndarray:
    """``x / unit``, and ``x`` itself where the unit is 1."""
    return x if unit == 1 else x / unit


def matrix(W, name: str = "W") -> np.ndarray:
    """A real, finite, two-dimensional array of at least 2 x 2, as float64 unless it is float32 already."""
    W = array(W, name)
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
    x = reals(x, name)
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


def pair(shape) -> tuple[int, int]:
    """Rows and columns of a matrix, in the order in which they were given."""
    sides(shape)
    rows, columns = shape
    return int(rows), int(columns)


def singular_values(nu, shape, *, at_least: int = 2) -> tuple[np.ndarray, int, int]:
    """All singular values of a matrix, ascending, not negative and not all zero; and the larger and the smaller side."""
    nu = levels(nu, "nu", at_least=at_least)
    n, m = sides(shape)
    if len(nu) != m:
        msg = f"nu must hold all {m} singular values of a matrix of shape {tuple(shape)}; got {len(nu)}"
        raise ValueError(msg)
    if nu[0] < 0:
        msg = f"nu must hold singular values, which are not negative; got {nu[0]:.3g}"
        raise ValueError(msg)
    if nu[-1] == 0:
        msg = "nu must not be all zero: the matrix is empty of weights"
        raise ValueError(msg)
    return nu, n, m


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
    pvalues = reals(pvalues, "pvalues")
    if pvalues.size == 0:
        msg = "pvalues must hold at least one p value; got none"
        raise ValueError(msg)
    if not ((pvalues >= 0) & (pvalues <= 1)).all():
        msg = "pvalues must lie in [0, 1]; got nan or values outside"
        raise ValueError(msg)
    return pvalues


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


def indices(values, name: str) -> np.ndarray:
    """Whole numbers, of which no arithmetic can leave the range, as an array of any shape."""
    found = array(values, name)
    if found.dtype.kind not in "iu":
        msg = f"{name} must hold whole numbers; got {values!r}"
        raise ValueError(msg)
    return found.astype(np.int64)


def share(value, name: str) -> float:
    """A number above 0 and below 1."""
    if not 0 < positive(value, name) < 1:
        msg = f"{name} must be between 0 and 1; got {value!r}"
        raise ValueError(msg)
    return float(value)


def choice(value: Chosen, name: str, options: Sequence[Chosen]) -> Chosen:
    """One of the given words, or other values: the option itself, also for a number of numpy that equals it."""
    if isinstance(value, np.ndarray) or value not in options:
        msg = f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}"
        raise ValueError(msg)
    return options[options.index(value)]


def generator(rng, name: str = "rng") -> np.random.Generator:
    """A generator of random numbers, from a seed or as it is."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        msg = f"{name} must be a seed, whole numbers of at least 0, or a numpy.random.Generator; got {rng!r}"
        raise ValueError(msg) from None
