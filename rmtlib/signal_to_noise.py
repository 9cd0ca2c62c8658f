r"""How much of a spectrum is signal: the ratio by which Spectrum chooses layers, and the same with a calibrated edge.

The signal-to-noise ratio is the sum of the levels above an edge over the sum of those below, divided by the largest. Spectrum
(Hartford et al., arXiv:2406.06623), which chooses by it the layers to be fine-tuned, takes :math:`\sigma = \mathrm{IQR}/1.349`
from the quartiles of the levels and the edge :math:`\sigma (1 + \sqrt\beta)`, with :math:`\beta` the ratio of the sides. Levels
are no sample of a normal law, and noise has no edge there: a large part of pure noise, up to all of it, counts as signal. ``snr``
has the same form with a calibrated edge, that of a fitted bulk, which the largest level of noise passes in one matrix of a
hundred (Tracy-Widom). It is 0 for noise. Nobody has shown that layers chosen by it fine-tune better.
"""

from __future__ import annotations

import math
from numbers import Real

import numpy as np

from . import checks, laws

__all__ = ["ratio_of_noise", "signal_to_noise", "spectrum_ratio"]

QUANTILES = 4096  # levels of noise, at most


def signal_to_noise(nu, edge: float) -> float:
    """Sum of the levels above an edge over the sum of those below, divided by the largest.

    Parameters
    ----------
    nu : array_like, shape (m,)
        Singular values, ascending, the largest above 0.
    edge : float
        Where noise ends, in units of ``nu``.

    Returns
    -------
    float
        In inverse units of ``nu``; infinite if nothing lies below.

    Raises
    ------
    ValueError
        If ``nu`` is not ascending and finite, or its largest is not above 0.

    Examples
    --------
    >>> signal_to_noise([1.0, 1.0, 4.0], 2.0)
    0.5
    """
    nu = checks.levels(nu, "nu")
    if nu[-1] <= 0:
        msg = f"nu must have a level above 0; the largest is {nu[-1]:g}"
        raise ValueError(msg)
    if not isinstance(edge, Real) or math.isnan(edge):
        msg = f"edge must be a number, where noise ends; got {edge!r}"
        raise ValueError(msg)
    above, below = float(nu[nu > edge].sum()), float(nu[nu <= edge].sum())
    return above / below / float(nu[-1]) if below > 0 else math.inf


def spectrum_ratio(nu, shape: tuple[int, int]) -> float:
    r"""The signal-to-noise ratio by which Spectrum chooses layers.

    Parameters
    ----------
    nu : array_like, shape (m,)
        Singular values, ascending, all of them.
    shape : tuple of int
        Shape of the matrix, in either order.

    Returns
    -------
    float
        In inverse units of ``nu``.

    Raises
    ------
    ValueError
        If ``nu`` does not hold the singular values of a matrix of this shape.

    Notes
    -----
    The edge is :math:`\sigma (1 + \sqrt{m/n})`, with :math:`\sigma` the interquartile range of the levels over 1.349.

    References
    ----------
    Hartford, Atkins, Fernandes Neto and Golchinfar, arXiv:2406.06623 (2024).

    Examples
    --------
    Noise of aspect ratio 4 is all signal:

    >>> from rmtlib import ensembles
    >>> nu = np.linalg.svd(ensembles.gaussian((400, 100), 0), compute_uv=False)[::-1]
    >>> spectrum_ratio(nu, (400, 100))
    inf
    """
    return _spectrum_ratio(*checks.singular_values(nu, shape))


def ratio_of_noise(shape: tuple[int, int], sigma: float) -> float:
    """Spectrum's number of noise, from the quantiles of the Marchenko-Pastur law.

    Parameters
    ----------
    shape : tuple of int
        Shape of the matrix, in either order.
    sigma : float
        Standard deviation of an entry.

    Returns
    -------
    float
        In inverse units of ``sigma``; infinite where every level of noise counts as signal.

    Raises
    ------
    ValueError
        If ``sigma`` is not above 0.
    """
    sigma = checks.positive(sigma, "sigma")
    n, m = checks.sides(shape)
    count = min(m, QUANTILES)
    nu = laws.marchenko_pastur(m / n, sigma * math.sqrt(n)).ppf((np.arange(count) + 0.5) / count)
    return _spectrum_ratio(nu, n, m)


def _spectrum_ratio(nu, n, m):
    lower, upper = np.quantile(nu, [0.25, 0.75])
    return signal_to_noise(nu, (upper - lower) / 1.349 * (1 + math.sqrt(m / n)))
