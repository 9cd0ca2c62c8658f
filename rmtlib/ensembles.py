"""Seeded null matrices: what a weight matrix looks like when it holds no information.

Every function takes a seed or a `numpy.random.Generator` and returns a new array.
"""

from __future__ import annotations

import numpy as np

__all__ = ["glorot_uniform"]


def glorot_uniform(shape: tuple[int, ...], rng) -> np.ndarray:
    r"""Uniform entries on :math:`\pm\sqrt{6/(n_\mathrm{in} + n_\mathrm{out})}`, the paper's initial weights.

    Parameters
    ----------
    shape : tuple of int
        ``(n_out, n_in)`` for a dense layer, ``(n_out, n_in, height, width)`` for a convolution, as torch
        stores them. The fan of a convolution is multiplied by the size of its kernel.
    rng : seed or numpy.random.Generator
        Passed to `numpy.random.default_rng`.

    Returns
    -------
    numpy.ndarray
        float32, of the given shape; the variance of an entry is ``2 / (n_in + n_out)``.

    References
    ----------
    Glorot and Bengio, AISTATS 9, 249 (2010).
    """
    receptive = int(np.prod(shape[2:]))
    bound = np.sqrt(6 / ((shape[0] + shape[1]) * receptive))
    return np.random.default_rng(rng).uniform(-bound, bound, shape).astype(np.float32)
