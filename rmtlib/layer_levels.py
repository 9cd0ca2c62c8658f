r"""What the levels of one layer can say: which rows and columns count, whether the rank is full, the bulk, the exponent.

`rmtlib.analyse` and `rmtlib.scan` begin with these. Each takes the dictionary ``missing``, and names there what cannot be said.
"""

from __future__ import annotations

import numpy as np

from . import checks, wording
from .marchenko_pastur import MarchenkoPasturFit, amplitude, fit_marchenko_pastur, fit_noise, middle_levels
from .tails import NoiseExponent, fit_power_law, noise_exponent

FEWEST_UNFOLDED = 45
SCALES = 1e-305, 1e302  # of the largest entry, for which levels and their density are ordinary numbers
FULL = 0.9  # of the levels are not zero: the others are a few dimensions that noise has lost, and no low rank
ALPHA_LEVELS = 64, 4096  # that `rmtlib.tails.noise_exponent` knows


def without_empty(W: np.ndarray, missing: dict[str, str]) -> np.ndarray:
    """The matrix without rows and columns of zeros; a ValueError if fewer than 16 of either are left, or floats end near it."""
    kept = [W.any(axis=axis) for axis in (1, 0)]
    empty = {what: int(np.count_nonzero(~k)) for what, k in zip(("row", "column"), kept, strict=True)}
    if not kept[0].any():
        msg = "W is zero: it has no spectrum to analyse"
        raise ValueError(msg)
    largest = max(-float(W.min()), float(W.max()))
    if not SCALES[0] < largest < SCALES[1]:
        msg = f"W must have a largest entry between {SCALES[0]:g} and {SCALES[1]:g} in size; got {largest:.3g}: take other units"
        raise ValueError(msg)
    for what, count in empty.items():
        if count:
            missing[f"{what}s of zeros"] = (
                f"{count} left out: {'it has' if count == 1 else 'they have'} no size and no part in a vector"
            )
    W = W[kept[0]][:, kept[1]] if any(empty.values()) else W
    if min(W.shape) < checks.FEWEST_LEVELS:
        but = " without its empty rows and columns" if any(empty.values()) else ""
        msg = f"W must have at least {checks.FEWEST_LEVELS} levels to be analysed; got {min(W.shape)}{but}"
        raise ValueError(msg)
    return W


def is_full(rank: int, shape: tuple[int, int], missing: dict[str, str]) -> bool:
    """Whether the rank is so nearly full that noise of a slightly smaller shape is the null; what is zero is named."""
    m = min(shape)
    if rank < FULL * m or rank < checks.FEWEST_LEVELS:
        missing[wording.NEED_FULL_RANK] = f"they need a full spectrum, and the matrix has rank {rank} of {m}"
        return False
    if rank < m:
        zero = "1 level that is zero is" if rank == m - 1 else f"{m - rank} levels that are zero are"
        missing["zero levels"] = f"{zero} left out, with {'its' if rank == m - 1 else 'their'} vectors"
    return True


def fitted_bulk(nu: np.ndarray, shape: tuple[int, int], a: int, missing: dict[str, str]) -> MarchenkoPasturFit | None:
    """The bulk of levels, zeros left out; of fewer than 45 that have no edge, the bulk of noise with their sigma."""
    n, m = max(shape), len(nu)
    shape = shape if m == min(shape) else (n, m)
    try:
        return fit_marchenko_pastur(nu, shape, a=a)
    except ValueError as error:
        # Everything that is wrong with the matrix itself was refused before: this spectrum has no edge. The rest can be said.
        if m >= FEWEST_UNFOLDED:
            missing["bulk, outliers"] = str(error)
            return None
    missing["edges of the bulk"] = f"{m} levels do not bend down enough to fit them: those of noise are given"
    noise, unit = fit_noise(nu, shape, middle_levels(m)), checks.unit(nu)
    lower, upper = (noise.sigma * (np.sqrt(n) + sign * np.sqrt(m)) for sign in (-1, 1))
    fraction = 1 - (noise.n_outliers + noise.n_outliers_below) / m
    return MarchenkoPasturFit(
        nu_minus=float(lower),
        nu_plus=float(upper),
        amplitude=amplitude(fraction, (upper - lower) / unit, unit),
        bulk_fraction=fraction,
        share_below_edge=float(np.mean(nu <= upper)),
        **vars(noise),
        shape=shape,
        method="noise",
        reflect=False,
    )


def exponent_of_noise(shape: tuple[int, int]) -> NoiseExponent:
    """`rmtlib.noise_exponent` of a shape, or of one with fewer levels that it is known for: a layer that lacks some has those."""
    return noise_exponent((max(shape), min(*shape, ALPHA_LEVELS[1])))


def exponent(nu: np.ndarray | None, missing: dict[str, str]) -> float | None:
    """Exponent of the power law closest to the upper eigenvalues, where noise of as many levels is known."""
    if nu is None:
        return None
    if not ALPHA_LEVELS[0] <= len(nu) <= ALPHA_LEVELS[1]:
        missing["alpha"] = f"there is a null from {ALPHA_LEVELS[0]} to {ALPHA_LEVELS[1]} levels; this layer has {len(nu)}"
        return None
    return fit_power_law(checks.divided(nu, checks.unit(nu)) ** 2).exponent
