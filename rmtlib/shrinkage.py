r"""What noise does to the singular values of a planted matrix, and how to undo it.

An n x m matrix :math:`W = \sigma\sqrt n \sum_i t_i u_i v_i^T + \sigma G`, :math:`n \ge m`, ``c = m/n``, shows a planted strength
:math:`t > c^{1/4}` at the singular value :math:`\nu = \sigma\sqrt n\, y`, pushed up by the levels of the noise
(`rmtlib.ensembles.spiked_singular_value`). The map is inverted by

.. math:: t^2 = \tfrac12 \left(y^2 - 1 - c + \sqrt{(y^2 - 1 - c)^2 - 4c}\right), \qquad y > 1 + \sqrt c,

and the singular value that brings :math:`u v^T` as found closest to :math:`t\, u v^T` as planted, in the Frobenius norm, is

.. math:: \eta(y) = \frac1y \sqrt{(y^2 - 1 - c)^2 - 4c} ,

smaller than t by the overlaps of the singular vectors. Levels inside the bulk tell nothing, and their best estimate is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import checks, spectra

__all__ = ["LowRankFactors", "low_rank_factors", "shrink_singular_values", "spiked_strength", "truncate"]

SHRINKERS = ("frobenius", "inverse")


@dataclass(frozen=True, eq=False)
class LowRankFactors:
    """A matrix of low rank as a product, ``left @ right``: two thin layers instead of one.

    Attributes
    ----------
    left : numpy.ndarray
        Shape ``(n_out, rank)``; its columns are orthogonal.
    right : numpy.ndarray
        Shape ``(rank, n_in)``; its rows are orthogonal, and as long as the columns of ``left``.
    """

    left: np.ndarray
    right: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """The product, of shape ``(n_out, n_in)``."""
        return self.left @ self.right

    @property
    def parameters(self) -> int:
        """Entries of both factors, which is also the number of multiply-adds of a forward pass."""
        return self.left.size + self.right.size


def spiked_strength(nu, c: float):
    r"""Planted strength that a singular value comes from in noise of variance 1/n.

    The inverse of `rmtlib.ensembles.spiked_singular_value`.

    Parameters
    ----------
    nu : float or array_like
        Singular values in units of :math:`\sigma\sqrt n`, not negative.
    c : float
        m/n, above 0 and at most 1.

    Returns
    -------
    numpy.ndarray or float
        t, above :math:`c^{1/4}`; 0 for singular values up to the edge :math:`1 + \sqrt c` of the bulk.

    Raises
    ------
    ValueError
        If a singular value is negative or not finite, or ``c`` out of range.

    Examples
    --------
    >>> spiked_strength([1.9, 2.5], 1.0)
    array([0., 2.])
    """
    y, c = _scaled(nu, c)
    total, root = _roots(y, c)
    return np.where(y > 1 + np.sqrt(c), np.sqrt(np.maximum(total + root, 0) / 2), 0.0)[()]


def shrink_singular_values(nu, shape: tuple[int, int], *, sigma: float, kind: str = "frobenius") -> np.ndarray:
    r"""Singular values as they would be without the noise, whose size is known.

    Parameters
    ----------
    nu : array_like
        Singular values, in any order and number: each is shrunk by itself, so that many of them draw the curve.
    shape : tuple of int
        Shape of the noise, in either order.
    sigma : float
        Standard deviation of an entry of the noise.
    kind : {"frobenius", "inverse"}
        "frobenius" minimises the distance of the filtered matrix from the planted one. "inverse" gives the planted strengths,
        as `spiked_strength` does: right for the singular values, too large for the matrix, since the vectors are wrong as well.

    Returns
    -------
    numpy.ndarray
        In the units of ``nu``; 0 for levels within the bulk, up to :math:`\sigma(\sqrt n + \sqrt m)`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Exact for large n at fixed m/n and rank. For square matrices "inverse" is the best shrinker in the operator norm.

    References
    ----------
    Gavish and Donoho, IEEE Trans. Inf. Theory 63, 2137 (2017); for "inverse" Staats, Thamm and Rosenow, Phys. Rev. E 108,
    L022302 (2023).

    Examples
    --------
    >>> shrink_singular_values([30.0, 50.0], (400, 400), sigma=1.0)
    array([ 0., 30.])
    """
    checks.choice(kind, "kind", SHRINKERS)
    scale = checks.positive(sigma, "sigma")
    n, m = checks.sides(shape)
    scale *= np.sqrt(n)
    y, c = _scaled(checks.reals(nu, "nu") / scale, m / n)
    if kind == "inverse":
        return scale * spiked_strength(y, c)
    outside = y > 1 + np.sqrt(c)
    return scale * np.where(outside, _roots(y, c)[1] / np.where(outside, y, 1), 0.0)


def truncate(W, rank: int) -> np.ndarray:
    """The matrix of the given rank that is closest to ``W``: its largest singular values alone.

    Parameters
    ----------
    W : array_like of shape (n_out, n_in)
        At least 2 x 2, of floating-point numbers.
    rank : int
        From 1 to the smaller side of ``W``.

    Returns
    -------
    numpy.ndarray
        float64, of the shape of ``W`` and in its units.

    Raises
    ------
    ValueError
        If ``W`` is not a finite real matrix, or ``rank`` is out of range.

    References
    ----------
    Eckart and Young, Psychometrika 1, 211 (1936).

    Examples
    --------
    >>> truncate(np.diag([3.0, 2.0, 1.0]), 2).round(10)
    array([[3., 0., 0.],
           [0., 2., 0.],
           [0., 0., 0.]])
    """
    return low_rank_factors(W, rank).matrix


def low_rank_factors(W, rank: int) -> LowRankFactors:
    """Two thin matrices whose product is `truncate` of ``W``; both get the square roots of the singular values.

    Parameters
    ----------
    W : array_like of shape (n_out, n_in)
    rank : int
        From 1 to the smaller side of ``W``.

    Returns
    -------
    LowRankFactors
        They have fewer entries than ``W`` for ranks below ``n_out * n_in / (n_out + n_in)``.

    Raises
    ------
    ValueError
        If ``W`` is not a finite real matrix, or ``rank`` is out of range.
    """
    W = checks.matrix(W)
    rank = checks.integer(rank, "rank", at_least=1)
    if rank > min(W.shape):
        msg = f"rank must be at most the smaller side of W, {min(W.shape)}; got {rank}"
        raise ValueError(msg)
    nu, inputs, outputs = spectra.decompose(W)
    root = np.sqrt(nu[-rank:])[::-1]
    return LowRankFactors(outputs[-rank:][::-1].T * root, root[:, None] * inputs[-rank:][::-1])


def _scaled(nu, c):
    if checks.positive(c, "c") > 1:
        msg = f"c = m/n must be at most 1; got {c!r}"
        raise ValueError(msg)
    y = checks.reals(nu, "nu")
    if not (np.isfinite(y) & (y >= 0)).all():
        msg = "nu must hold finite singular values that are not negative"
        raise ValueError(msg)
    return y, float(c)


def _roots(y, c):
    """Sum and difference of t^2 and c / t^2; inside the bulk the difference is 0."""
    total = y**2 - 1 - c
    return total, np.sqrt(np.maximum((total - 2 * np.sqrt(c)) * (total + 2 * np.sqrt(c)), 0))
