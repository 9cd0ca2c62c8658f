r"""Unfolding: singular values become levels :math:`\xi` of mean spacing 1, so that layers of any size can be compared.

A level is mapped by a smooth version :math:`F` of the staircase that counts the levels below it, :math:`\xi_i = F(\nu_i)`.
The choice of :math:`F` is part of every statistic of the :math:`\xi`. Three are offered:

- ``"broadened"``, the paper's: each level is smeared into a Gaussian over its neighbours, so that :math:`F` follows the
  spectrum itself. It needs no model, but hides fluctuations of the spectrum that are longer than the half window ``a``.
- ``"marchenko_pastur"``, the exact law of a random matrix: the control for initial weights. It hides nothing, and shows the
  departure of the density from the law as if it were a fluctuation.
- ``"polynomial"``, a fit to the staircase.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from . import checks

__all__ = ["half_window", "unfold"]

METHODS = ("broadened", "marchenko_pastur", "polynomial")
REACH = 8.3  # widths beyond which a Gaussian cumulative is 0 or 1 to less than float64's rounding


def unfold(
    nu,
    *,
    a: int = 15,
    method: str = "broadened",
    shape: tuple[int, int] | None = None,
    sigma: float | None = None,
    degree: int = 7,
    edges: str = "drop",
) -> np.ndarray:
    r"""Map levels to unit mean spacing.

    Parameters
    ----------
    nu : array of shape (m,)
        Singular values (or other levels), ascending.
    a : int
        Half window of the broadening, in levels per side.
    method : {"broadened", "marchenko_pastur", "polynomial"}
        Which smooth staircase maps the levels.
    shape : tuple of int
        Shape of the matrix, in either order; needed by, and only used by, ``"marchenko_pastur"``.
    sigma : float, optional
        Standard deviation of an entry of the matrix, for ``"marchenko_pastur"``. Without it, the scale at which the quantiles
        of the law fit the middle 80 % of the singular values best: large outliers leave it alone.
    degree : int
        Degree of the ``"polynomial"``.
    edges : {"drop", "keep"}
        What ``"broadened"`` does with the levels near the ends. The paper drops them. ``"keep"`` maps all levels, with windows
        cut off at the ends.

    Returns
    -------
    numpy.ndarray
        Unfolded levels, ascending, counted from the lower end of the spectrum: ``m - 4 * a`` of them for ``"broadened"`` with
        ``edges="drop"``, else ``m``.

    Raises
    ------
    ValueError
        If ``nu`` is not ascending or too short (``4 * a + 2`` levels for ``"broadened"``, ``2 * a + 1`` where the edges are kept,
        ``degree + 2`` for ``"polynomial"``), if ``2 * a + 1`` levels coincide, if ``shape`` is missing or does not fit, or if
        the polynomial is not monotone.

    Notes
    -----
    The broadened staircase is a sum of Gaussian cumulatives, one for each level that has ``a`` neighbours on both sides,

    .. math:: F(\nu) = \sum_{k=a+1}^{m-a} \Phi\!\left(\frac{\nu - \nu_k}{\sigma_k}\right),
              \qquad \sigma_k = \frac{\nu_{k+a} - \nu_{k-a}}{2},

    evaluated at the levels that have ``a`` of these on both sides: for ``m = 512`` and ``a = 15`` 482 kernels and 452 levels, so
    that the 30 smallest and the 30 largest singular values take no part. About one width inside the outermost kernel the density
    of the outermost levels is still underestimated (spacings near 0.85 instead of 1 at the ends, on noise). With
    ``edges="keep"`` spacings are 0.6 to 1.2 at the ends, and near 1 about 2 a levels inside. Kernels are
    evaluated within 8.3 widths only, which changes nothing beyond rounding and costs ``O(a m)`` instead of ``O(m**2)``.

    The polynomial is refused where it falls from one level to the next, or by more than one level within a gap.

    Marchenko-Pastur levels beyond the ends of the law map to 0 or m exactly: several outliers coincide there, with spacing 0.

    References
    ----------
    Thamm, Staats and Rosenow, Phys. Rev. E 106, 054124 (2022). Bruus and Anglès d'Auriac, Phys. Rev. B 55, 9142 (1997).

    Examples
    --------
    >>> xi = unfold(np.linspace(1, 2, 200) ** 2)
    >>> len(xi), np.allclose(np.diff(xi)[40:-40], 1, atol=0.01)
    (140, True)
    """
    nu = checks.levels(nu, "nu")
    method = checks.choice(method, "method", METHODS)
    if method == "broadened":
        return _broadened(nu, checks.integer(a, "a", at_least=1), checks.choice(edges, "edges", ("drop", "keep")))
    if method == "marchenko_pastur":
        return _marchenko_pastur(nu, shape, sigma)
    return _polynomial(nu, checks.integer(degree, "degree", at_least=1))


def half_window(levels: int) -> int:
    """Half window of the broadening that a spectrum of so many levels can afford.

    Parameters
    ----------
    levels : int
        Number of singular values, at least 5.

    Returns
    -------
    int
        15 from 77 levels on and 7 from 45 on, so that 16 spacings are left after unfolding; below, where only the density of the
        bulk is broadened, an eighth of the levels and at least 2.

    Raises
    ------
    ValueError
        If ``levels`` is not a whole number of at least 5.

    Examples
    --------
    >>> [half_window(m) for m in (512, 77, 76, 45, 44, 16)]
    [15, 15, 7, 7, 5, 2]
    """
    levels = checks.integer(levels, "levels", at_least=5)
    return 15 if levels >= 77 else 7 if levels >= 45 else max(2, levels // 8)


def _broadened(nu, a, edges):
    m = len(nu)
    needed, words = (4 * a + 2, "4 a + 2") if edges == "drop" else (2 * a + 1, "2 a + 1")
    if m < needed:
        msg = f"nu must hold at least {words} = {needed} levels to be broadened over a = {a} neighbours; got {m}"
        raise ValueError(msg)
    kernels = np.arange(a, m - a) if edges == "drop" else np.arange(m)
    levels = nu[2 * a : m - 2 * a] if edges == "drop" else nu
    widths = (nu[np.minimum(kernels + a, m - 1)] - nu[np.maximum(kernels - a, 0)]) / 2
    narrow = np.argmin(widths)
    if widths[narrow] <= 8 * np.finfo(np.float64).eps * np.abs(nu[[0, -1]]).max():
        msg = (
            f"nu holds coinciding levels: the {a} levels on either side of nu = {nu[kernels[narrow]]:.6g} have no width, "
            "and a degenerate spectrum has no level spacing"
        )
        raise ValueError(msg)
    return _staircase(levels, nu[kernels], widths)


def _staircase(levels, centers, widths):
    """Sum of Gaussian cumulatives at ascending levels."""
    first = np.searchsorted(levels, centers - REACH * widths)
    last = np.searchsorted(levels, centers + REACH * widths)
    partial = np.zeros(len(levels))
    for center, width, i, j in zip(centers, widths, first, last, strict=True):
        partial[i:j] += ndtr((levels[i:j] - center) / width)
    complete = np.bincount(last, minlength=len(levels) + 1)[:-1]
    return partial + np.cumsum(complete)


def _marchenko_pastur(nu, shape, sigma):
    from . import laws

    if shape is None:
        msg = "shape of the matrix, (n_out, n_in), is needed by method='marchenko_pastur'; got None"
        raise ValueError(msg)
    n, m = checks.sides(shape)
    if m != len(nu):
        msg = f"shape must be (n_out, n_in) of a matrix with as many singular values as nu, {len(nu)}; got {shape}"
        raise ValueError(msg)
    nu, n, m = checks.singular_values(nu, shape)
    if sigma is None:
        middle, unit = slice(m // 10, m - m // 10), checks.unit(nu)
        quantiles = laws.marchenko_pastur(m / n).ppf((np.arange(m)[middle] + 0.5) / m)
        scale = unit * (checks.divided(nu[middle], unit) @ quantiles) / (quantiles @ quantiles)
        if scale == 0:
            msg = "nu must have levels above 0 in the middle of the spectrum, which sigma is taken from; give sigma"
            raise ValueError(msg)
    else:
        scale = checks.positive(sigma, "sigma") * np.sqrt(n)
    return m * laws.marchenko_pastur(m / n, float(scale)).cdf(nu)


def _polynomial(nu, degree):
    m = len(nu)
    if m < degree + 2:
        msg = f"nu must hold at least degree + 2 = {degree + 2} levels; got {m}"
        raise ValueError(msg)
    if nu[0] == nu[-1]:
        msg = f"nu holds {m} coinciding levels: a degenerate spectrum has no level spacing"
        raise ValueError(msg)
    fit = np.polynomial.Polynomial.fit(nu, np.arange(m) + 0.5, degree)
    xi = fit(nu)
    turns = fit.deriv().roots()
    turns = turns[np.isreal(turns) & (turns.real > nu[0]) & (turns.real < nu[-1])].real
    visited = np.union1d(nu, turns)
    falls = np.concatenate((nu[:-1][(np.diff(xi) <= 0) & (np.diff(nu) > 0)], visited[:-1][np.diff(fit(visited)) < -1]))
    if len(falls):
        msg = (
            f"the polynomial of degree {degree} is no staircase: it falls above nu = {falls[0]:.6g}; "
            "take a lower degree, or leave out the outliers"
        )
        raise ValueError(msg)
    return xi
