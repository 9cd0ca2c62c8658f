r"""Singular values of noise plus an update: rectangular free addition, with nothing fitted.

A trained layer is its initial matrix plus an update, :math:`W = W_0 + dW`. If the update knew nothing of the noise that it is
added to, the singular values of the sum would follow from those of the update and the variance of the noise alone. For Gaussian
noise this is the model of information plus noise. With the n x m noise of standard deviation :math:`\sigma`,
:math:`d_k` the m singular values of the update, and

.. math:: S(w) = \sigma^2 \sum_k \frac{1}{w - d_k^2}, \qquad z(w) = w (1 + S)^2 + (n - m) \sigma^2 (1 + S),

the squares of the singular values have the Stieltjes transform :math:`-S / (m \sigma^2 (1 + S))` at :math:`z(w)` (Dozier and
Silverstein; Vallet, Loubaton and Mestre).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from . import checks
from .laws import Law

__all__ = ["FreeAddition", "free_addition"]

POINTS = 400  # along the radius of the noise, and as many along the whole axis
FINE = 6  # and so many in each standard deviation of an entry, around levels of the update
REACH = 2.0  # in such standard deviations: the width of the band that a single level of the update makes
LOW = 1e-6  # height above the real axis that counts as zero
CHUNK = 2**21  # complex numbers at a time


@dataclass(frozen=True, eq=False)
class FreeAddition(Law):
    r"""Law of the singular values of noise plus update, as a table that `free_addition` makes.

    Attributes
    ----------
    nu_update : numpy.ndarray of shape (m,)
        Singular values of the update, ascending.
    shape : tuple of int
        Of the matrix, in either order.
    sigma : float
        Standard deviation of an entry of the noise.
    nu, density, probability : numpy.ndarray of shape (points,)
        The law at points that are dense where it changes fast.
    edges : numpy.ndarray of shape (bands, 2)
        Ends of the intervals that hold the levels. A strong direction of the update has a narrow one of its own.
    """

    nu_update: np.ndarray
    shape: tuple[int, int]
    sigma: float
    nu: np.ndarray = field(repr=False)
    density: np.ndarray = field(repr=False)
    probability: np.ndarray = field(repr=False)
    edges: np.ndarray = field(repr=False)

    @property
    def levels(self) -> np.ndarray:
        """The m singular values that the law predicts in ascending order, its quantiles at ``(k - 1/2) / m``."""
        m = min(self.shape)
        return self.ppf((np.arange(m) + 0.5) / m)

    @property
    def noise_edge(self) -> float:
        r"""Where the singular values of the noise alone end, :math:`\sigma (\sqrt n + \sqrt m)`."""
        return float(self.sigma * np.sqrt(self.shape).sum())

    def outliers(self, edge: float | None = None) -> float:
        """Predicted number of singular values above an edge; by default above ``noise_edge``."""
        return min(self.shape) * float(self.sf(self.noise_edge if edge is None else checks.positive(edge, "edge")))

    def mean(self) -> float:
        """Expectation value."""
        return float(self._weights @ (self.nu[1:] + self.nu[:-1]) / 2)

    def var(self) -> float:
        """Variance."""
        unit = checks.unit(self.nu)
        low, high = ((nu - self.mean()) / unit for nu in (self.nu[:-1], self.nu[1:]))
        return unit * (unit * float(self._weights @ (low**2 + low * high + high**2) / 3))

    @property
    def _weights(self):
        """Probability between neighbouring points, as ``cdf`` spreads it: evenly."""
        return np.diff(self.probability)

    def support(self):
        return float(self.edges[0, 0]), float(self.edges[-1, 1])

    def _pdf(self, nu):
        return np.interp(nu, self.nu, self.density)

    def _cdf(self, nu):
        return np.interp(nu, self.nu, self.probability)

    def _ppf(self, p):
        return np.interp(p, self.probability, self.nu)


def free_addition(nu_update, shape: tuple[int, int], sigma: float) -> FreeAddition:
    r"""Law of the singular values of Gaussian noise plus an update that is free from it.

    Parameters
    ----------
    nu_update : array_like of shape (k,)
        Singular values of the update, ascending; up to m of them, the others are 0.
    shape : tuple of int
        Rows and columns, in either order; m is the smaller one.
    sigma : float
        Standard deviation of an entry of the noise.

    Returns
    -------
    FreeAddition
        With ``pdf``, ``cdf``, ``ppf``, ``edges``, ``levels`` and ``outliers``. Nothing is fitted.

    Raises
    ------
    ValueError
        If the levels are negative, not ascending or more than m, the shape is no pair of whole numbers, or ``sigma`` is not
        above 0.

    Notes
    -----
    The law is that of large matrices, and of noise with independent entries of one variance, Gaussian or not. It is the mean
    over all ways to turn the noise against the update. An update that was learned with the initial weights may be aligned with
    them, and what a trained spectrum differs from this law by is that alignment.

    With :math:`w = \omega^2` and :math:`\omega = u + iv`, the real axis of :math:`z` is the image of a curve :math:`v(u)`,
    along which the singular value :math:`\sqrt z` increases with u (for square matrices this is Biane's curve). Above it lies
    the domain of the law. So each point of the table is one root in one unknown. The probability needs no integral:

    .. math:: 1 - F = \frac{1}{\pi m \sigma^2} \operatorname{Im} \Big[ \sigma^2 \sum_k \ln(w - d_k^2) + w S^2
              + (n - m) \sigma^2 \big(S - \ln(1 + S)\big) \Big].

    References
    ----------
    Dozier and Silverstein, J. Multivariate Anal. 98, 678 (2007). Vallet, Loubaton and Mestre, IEEE Trans. Inf. Theory 58, 1043
    (2012). Benaych-Georges, Probab. Theory Relat. Fields 144, 471 (2009). Biane, Indiana Univ. Math. J. 46, 705 (1997).

    Examples
    --------
    An update of zero leaves the Marchenko-Pastur law; one strong direction makes one outlier.

    >>> law = free_addition([0.0], (900, 400), sigma=0.1)
    >>> law.edges.round(3).tolist()
    [[1.0, 5.0]]
    >>> planted = free_addition([9.0], (900, 400), sigma=0.1)
    >>> round(planted.outliers(), 3), planted.edges[-1].round(1).tolist()
    (1.0, [9.6, 9.9])
    """
    n, m = checks.sides(shape)
    sigma = checks.positive(sigma, "sigma")
    given = checks.levels(nu_update, "nu_update", at_least=1)
    if given[0] < 0:
        msg = f"nu_update must hold singular values, at least 0; got {given[0]:g}"
        raise ValueError(msg)
    if len(given) > m:
        msg = f"nu_update must hold at most {m} levels, the smaller side of shape {tuple(shape)}; got {len(given)}"
        raise ValueError(msg)
    d = np.concatenate([np.zeros(m - len(given)), given])
    model = _Model((d / sigma) ** 2, n - m)
    u, bands = _axis(model, d / sigma, n, m)
    nu, density, probability = (np.concatenate(parts) for parts in zip(*map(model.at, _chunks(u, m)), strict=True))
    edges = np.interp(bands, u, nu)
    if n == m and bands[0, 0] == u[0]:
        nu[0] = edges[0, 0] = 0.0  # bands of square matrices may reach down to 0
    order = np.maximum.accumulate(nu)
    values = (sigma * order, density / sigma, np.maximum.accumulate(probability))
    return FreeAddition(d, checks.pair(shape), sigma, *values, sigma * edges)


class _Model:
    """Noise of unit variance: squared levels of the update, and by how much the matrix is longer than wide."""

    def __init__(self, squares: np.ndarray, excess: int):
        # equal levels count once, with their number
        self.squares, self.number = np.unique(squares, return_counts=True)
        self.excess, self.m = excess, len(squares)

    def angle(self, u, v):
        """Argument of the square root of z: above 0 in the domain of the law, below 0 under the curve."""
        p, h, _ = self._solve(u + 1j * v)
        return np.angle(p) + np.angle(h)

    def curve(self, u, top: float) -> np.ndarray:
        """The height of the curve, 0 outside the bands."""
        from scipy.optimize import elementwise

        v = np.zeros(len(u))
        inside = self.angle(u, LOW) < 0
        if inside.any():
            with np.errstate(invalid="ignore"):  # a step of the root finder that it does not take
                root = elementwise.find_root(lambda v, u: self.angle(u, v), (LOW, top), args=(u[inside],))
            v[inside] = root.x
        return v

    def at(self, u):
        """Singular value, density and probability at points of the curve."""
        v = self.curve(u, np.sqrt(self.m + self.excess) + 1.0)
        p, h, w = self._solve(u + 1j * np.maximum(v, 1e-12))
        S, nu = h - 1, (p * h).real
        density = np.where(v > 0, 2 * nu * (-S / h).imag / (np.pi * self.m), 0.0)
        logarithms = (np.log(w[:, None] - self.squares) @ self.number).imag
        above = logarithms + (w * S**2 + self.excess * (S - np.log(h))).imag
        return nu, density, 1 - above / (np.pi * self.m)

    def _solve(self, omega):
        w = omega**2
        h = 1 + (1 / (w[..., None] - self.squares)) @ self.number
        return np.sqrt(w + self.excess / h), h, w


def _axis(model: _Model, d, n: int, m: int):
    """Points u, ascending, and the ends of the bands among them."""
    # no band reaches farther than with all levels of the update at the largest one
    radius = (n * m) ** 0.25
    top = 1.001 * (d[-1] + radius)
    wide = np.concatenate([np.linspace(0, end, POINTS + 1)[1:] for end in (radius, top)])
    near = np.unique(np.round(d[:, None] * FINE + np.arange(-REACH * FINE, REACH * FINE + 1)))
    u = np.unique(np.concatenate([[1e-6 * radius], wide, near[(near > 0) & (near < top * FINE)] / FINE]))
    inside = np.concatenate([model.angle(part, LOW) < 0 for part in _chunks(u, m)])
    turns = np.flatnonzero(inside[1:] != inside[:-1])
    low, high = u[turns], u[turns + 1]
    for _ in range(50):
        middle = (low + high) / 2
        same = np.concatenate([model.angle(part, LOW) < 0 for part in _chunks(middle, m)]) == inside[turns]
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    ends = np.concatenate([u[:1] if inside[0] else [], (low + high) / 2])
    bands = ends.reshape(-1, 2)
    # the density rises like a root: points close in on each end quadratically
    length = np.minimum(bands[:, 1:] - bands[:, :1], 2 * top / POINTS) / 2
    steps = (np.arange(17) / 16) ** 2 * length
    return np.unique(np.concatenate([u, *(bands[:, :1] + steps), *(bands[:, 1:] - steps)])), bands


def _chunks(u, m: int):
    return np.array_split(u, max(1, len(u) * m // CHUNK))
