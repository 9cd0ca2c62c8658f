r"""Modified Marchenko-Pastur fit: how much of a spectrum is random bulk, where the bulk ends, and what lies beyond.

The singular values of a random n x m matrix, n >= m, follow the Marchenko-Pastur law with edges
:math:`\sigma(\sqrt n \pm \sqrt m)`. What the bulk of a trained matrix is follows from its update (`rmtlib.free_addition`), which
is not always known; the paper keeps the form of the law and frees its parameters,

.. math:: y(\nu) = \frac{A}{\nu} \sqrt{(\nu_+^2 - \nu^2)(\nu^2 - \nu_-^2)}, \qquad
          f = \int y \, d\nu = \frac{\pi A}{4} (\nu_+ - \nu_-)^2,

so that f is the share of the levels in the bulk. Two edges are kept apart: :math:`\nu_+` is where the fitted curve ends, and
``outlier_edge`` is the largest singular value that noise of the fitted variance would show, fluctuations included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.optimize

from . import checks, laws

__all__ = ["MarchenkoPasturFit", "Noise", "fit_marchenko_pastur", "fit_noise"]

METHODS = {"counting": 0.5, "density": 0.7}
GRID_POINTS = 400
LEVEL = 0.01
QUANTILE = 2.0234492813801235  # tracy_widom.ppf(1 - LEVEL), known without the table of the law, which takes 0.3 s to make
TRACY_WIDOM = -1.2065335745820, 1.2680340580063  # its mean and standard deviation
MISCOUNTED = 0.5  # levels, by which the count of few levels may be off as a whole
FEW = 32
FEWEST_FITTED = 10  # levels that a curve or sigma can be fitted to


@dataclass(frozen=True)
class MarchenkoPasturFit:
    r"""A bulk fitted to singular values, and the levels outside it.

    Attributes
    ----------
    nu_minus, nu_plus : float
        Edges of the fitted curve, in units of ``nu``.
    amplitude : float
        A of the curve, in inverse squared units of ``nu``; infinite or 0 where floats end.
    bulk_fraction : float
        f, the integral of the curve; close to 1 for noise, where it fluctuates around 1.
    share_below_edge : float
        Share of the singular values that are at most ``nu_plus``.
    sigma : float
        Standard deviation of an entry of the noise, from the middle of the bulk. It does not follow from ``nu_plus``: the
        modified fit leaves the edges, the width and the weight of the bulk independent of each other.
    sigma_error : float
        Relative error of ``sigma`` that the limits below allow for; next to nothing from 128 levels on.
    outlier_edge : float
        Upper limit of noise with this ``sigma``; above it a level is an outlier.
    outlier_edge_below : float
        Lower limit; 0 for matrices so close to square that noise reaches down to 0.
    n_outliers, n_outliers_below : int
        Levels above ``outlier_edge`` and below ``outlier_edge_below``.
    shape : tuple of int
        Shape of the matrix.
    method : str
        How the curve was fitted.
    reflect : bool
        Whether the density was reflected at zero.
    """

    nu_minus: float
    nu_plus: float
    amplitude: float
    bulk_fraction: float
    share_below_edge: float
    sigma: float
    sigma_error: float
    outlier_edge: float
    outlier_edge_below: float
    n_outliers: int
    n_outliers_below: int
    shape: tuple[int, int]
    method: str
    reflect: bool

    def pdf(self, nu) -> np.ndarray:
        """The fitted curve y at ``nu``, zero outside the edges; it integrates to ``bulk_fraction``."""
        return self.bulk_fraction * _law(self.nu_minus, self.nu_plus).pdf(nu)

    def cdf(self, nu) -> np.ndarray:
        """Integral of the fitted curve up to ``nu``; ``bulk_fraction`` from ``nu_plus`` on."""
        return self.bulk_fraction * _law(self.nu_minus, self.nu_plus).cdf(nu)

    def largest_pvalue(self, largest: float) -> float:
        """Probability that the largest level of noise of this ``sigma`` is at least ``largest``, by the Tracy-Widom law.

        Parameters
        ----------
        largest : float
            In units of ``nu``; at ``outlier_edge`` the probability is the ``level`` of the fit.
        """
        outside = self.n_outliers + self.n_outliers_below
        n, m = max(self.shape) - outside, min(self.shape) - outside
        root, scale = edge_and_scale(n, m)
        mean, _ = TRACY_WIDOM
        widened = ((largest / self.sigma) ** 2 - root**2) / scale
        return float(laws.tracy_widom.sf(mean + (widened - mean) / _widening(2 * self.sigma_error * root**2 / scale)))


def fit_marchenko_pastur(
    nu,
    shape: tuple[int, int],
    *,
    a: int = 15,
    method: str = "counting",
    reflect: bool | None = None,
    keep: float | None = None,
    level: float = LEVEL,
) -> MarchenkoPasturFit:
    r"""Fit the modified Marchenko-Pastur law to singular values and count the levels beyond the bulk.

    Parameters
    ----------
    nu : array_like, shape (m,)
        Singular values of a matrix, ascending, all of them.
    shape : tuple of int
        Shape of the matrix, in either order; its smaller side is m.
    a : int
        Half window of the Gaussian broadening, in levels per side; below m/2.
    method : {"counting", "density"}
        "density" is the paper's recipe: the curve is fitted to the broadened density, with :math:`\nu_-` the smallest singular
        value. "counting" fits the integral of the curve to the number of levels below each level, with :math:`\nu_-` free
        too (0 for a square matrix); the broadened density only chooses the levels that are used.
    reflect : bool, optional
        Mirror the spectrum at zero before it is broadened, so that no weight leaks to negative values. By default for
        m/n of at least 0.95. The paper's fit is ``method="density", reflect=False``.
    keep : float, optional
        Share of the largest density above which the curve is fitted; everything left of the maximum is used as well. By
        default 0.7 (the paper) for "density" and 0.5 for "counting".
    level : float
        Probability that the largest level of pure noise is called an outlier; the same below the bulk.

    Returns
    -------
    MarchenkoPasturFit

    Raises
    ------
    ValueError
        If ``nu`` is not ascending and finite with m entries, has negative, no positive or many coinciding levels, an option is
        out of range, or the levels have no upper edge that the curve could meet.

    Notes
    -----
    *Curve.* All m kernels have the width :math:`(\nu_{k+a} - \nu_{k-a})/2`, with indices clipped to the spectrum. On noise the
    broadening shifts the edge that "density" finds, most for square matrices, whose kernels leak through zero; the counting
    function needs no broadening. Mean and standard deviation of :math:`\nu_+` over the exact edge, 50 Gaussian matrices each:

    ==============================  ===============  ===============  ===============
    fit                             512 x 512        1024 x 512       4096 x 1000
    ==============================  ===============  ===============  ===============
    counting (default)              0.998 ± 0.008    1.000 ± 0.006    1.000 ± 0.002
    density, reflect=True           1.007 ± 0.015
    density, reflect=False (paper)  1.070 ± 0.020    1.013 ± 0.013    1.003 ± 0.005
    ==============================  ===============  ===============  ===============

    With fewer than 128 levels the edge is uncertain: 0.97 ± 0.09 for 64 x 64. A smallest singular value below the bulk spoils
    "density", whose curve begins there.

    *Noise and outliers.* With r levels outside, the others are taken as the spectrum of an (n - r) x (m - r) noise matrix; its
    ``sigma`` makes their quantiles those of the Marchenko-Pastur law over the fitted window (1.000 ± 0.002 for 512 x 512). The
    largest level of such noise follows the Tracy-Widom law around :math:`\sigma(\sqrt{n-1} + \sqrt m)`; ``outlier_edge`` is its
    quantile 1 - ``level``. r begins at 0 and is counted again until it stays the same. The smallest level has a Tracy-Widom law
    of its own, which is used up to m/n = 0.9.

    *Few levels* leave ``sigma`` itself uncertain, by 7 % for 16 x 16, where the edge for a sigma that is known leaves one matrix
    in twelve an outlier. The quantile is therefore that of a Tracy-Widom variable plus an error of its own: what half a level
    does to ``sigma`` if all counts are off by it, for up to 32 levels, and less by (32/m)^2 for more, which need no such margin.
    Of 600 noise matrices of each of 20 shapes of 16 to 300 levels, 0.3 to 2 % had an outlier above and at most 1.8 % one below.

    Costs 400 m kernels: 1 % of the decomposition for m = 2048.

    References
    ----------
    Thamm, Staats and Rosenow, Phys. Rev. E 106, 054124 (2022); Johnstone, Ann. Stat. 29, 295 (2001);
    Ma, Bernoulli 18, 322 (2012).

    Examples
    --------
    >>> from rmtlib.ensembles import spiked
    >>> planted = spiked((800, 400), 0, strengths=[1.5, 2.0, 3.0], sigma=0.1)
    >>> nu = np.linalg.svd(planted.matrix, compute_uv=False)[::-1]
    >>> fit = fit_marchenko_pastur(nu, (800, 400))
    >>> fit.n_outliers, fit.n_outliers_below, round(fit.sigma, 3)
    (3, 0, 0.1)
    """
    nu, n, m = checks.singular_values(nu, shape, at_least=FEWEST_FITTED)
    a = checks.integer(a, "a", at_least=1)
    if 2 * a >= m:
        msg = f"a must be below half of the {m} levels; got {a}: a smaller half window broadens less"
        raise ValueError(msg)
    method = checks.choice(method, "method", tuple(METHODS))
    reflect = checks.choice(reflect, "reflect", (None, True, False))
    reflect = m / n >= 0.95 if reflect is None else bool(reflect)
    keep = METHODS[method] if keep is None else checks.share(keep, "keep")
    level = checks.share(level, "level")
    unit = checks.unit(nu)
    nu = checks.divided(nu, unit)

    grid, density = broadened_density(nu, a, reflect)
    peak = np.argmax(density)
    used = (grid <= grid[peak]) | (density > keep * density[peak])
    window = np.flatnonzero(np.interp(nu, grid, used) > 0.5)
    window = window[nu[window] <= grid[-1]]
    if len(window) < 5:
        msg = f"nu has only {len(window)} levels in the peak of its density: no bulk to fit; a larger a broadens more"
        raise ValueError(msg)
    if method == "density":
        lower = 0.0 if n == m and reflect else nu[0]
        lower, upper, fraction = _fit_curve("pdf", grid[used], density[used], lower)
    else:
        lower = 0.0 if n == m else (0.0, nu[window[len(window) // 2]])
        lower, upper, fraction = _fit_curve("cdf", nu[window], (window + 0.5) / m, lower)
    sigma, error, edges, below, above = _noise(nu, n, m, window, level)
    return MarchenkoPasturFit(
        nu_minus=unit * lower,
        nu_plus=unit * upper,
        amplitude=amplitude(fraction, upper - lower, unit),
        bulk_fraction=fraction,
        share_below_edge=float(np.mean(nu <= upper)),
        sigma=unit * sigma,
        sigma_error=error,
        outlier_edge=unit * edges[1],
        outlier_edge_below=unit * edges[0],
        n_outliers=above,
        n_outliers_below=below,
        shape=checks.pair(shape),
        method=method,
        reflect=reflect,
    )


def amplitude(fraction: float, width: float, unit: float = 1.0) -> float:
    """A of the curve that holds a share of the levels, from its width in units."""
    return float(4 * fraction / (np.pi * width**2)) / unit / unit


@dataclass(frozen=True)
class Noise:
    """Noise that some of the levels were taken for, and the levels outside it.

    Attributes
    ----------
    sigma : float
        Standard deviation of an entry.
    sigma_error : float
        Its relative error, as far as the limits allow for it.
    outlier_edge, outlier_edge_below : float
        Limits of the levels of such noise; the lower one is 0 for matrices so close to square that noise reaches down to 0.
    n_outliers, n_outliers_below : int
        Levels beyond them.
    """

    sigma: float
    sigma_error: float
    outlier_edge: float
    outlier_edge_below: float
    n_outliers: int
    n_outliers_below: int


def middle_levels(m: int) -> np.ndarray:
    """Indices of the levels that sigma is taken from where no curve can be fitted: from a tenth of them to six tenths."""
    return np.arange(int(0.1 * m), int(0.6 * m))


def fit_noise(nu, shape: tuple[int, int], window, *, level: float = LEVEL) -> Noise:
    """Noise whose levels are those of a window, and the levels outside it, as `rmtlib.fit_marchenko_pastur` counts them.

    Parameters
    ----------
    nu : array_like, shape (m,)
        Singular values of a matrix, ascending, all of them.
    shape : tuple of int
        Shape of the matrix, in either order.
    window : array_like of int
        Indices of the levels that are noise, ascending. Levels within it, and below its middle one or above it, are never counted
        as outliers above or below.
    level : float
        Probability that the largest level of pure noise is called an outlier; the same below the bulk.

    Returns
    -------
    Noise

    Raises
    ------
    ValueError
        If ``nu`` is not ascending and finite with m entries, or ``window`` or ``level`` is out of range.
    """
    nu, n, m = checks.singular_values(nu, shape, at_least=FEWEST_FITTED)
    given, window = window, checks.indices(window, "window")
    if window.ndim != 1 or len(window) == 0 or np.any(np.diff(window) < 1):
        msg = f"window must hold indices of levels, ascending; got {given!r}"
        raise ValueError(msg)
    if window[0] < 0 or window[-1] >= m:
        msg = f"window must hold indices from 0 to {m - 1}; got {window[0]} to {window[-1]}"
        raise ValueError(msg)
    unit = checks.unit(nu)
    sigma, error, edges, below, above = _noise(checks.divided(nu, unit), n, m, window, checks.share(level, "level"))
    return Noise(unit * sigma, error, unit * edges[1], unit * edges[0], above, below)


def _law(lower, upper):
    """The Marchenko-Pastur law with these edges, the modified law divided by its weight."""
    return laws.marchenko_pastur(((upper - lower) / (upper + lower)) ** 2, (upper + lower) / 2)


def broadened_density(nu, a, reflect):
    """Grid over the bulk and the broadened density on it."""
    m = len(nu)
    levels = np.concatenate([-nu[::-1], nu]) if reflect else nu
    k = np.arange(len(levels) - m, len(levels))
    width = (levels[np.minimum(k + a, len(levels) - 1)] - levels[np.maximum(k - a, 0)]) / 2
    quartiles = np.quantile(nu, [0.25, 0.5, 0.75])
    # a Marchenko-Pastur bulk of any shape lies within this reach of its median; large outliers must not make the grid coarse
    reach = 2 * (quartiles[2] - quartiles[0])
    if min(width.min(), reach) < 1e-6 * nu.mean():
        place = nu[np.argmin(width)]
        msg = f"nu has too many coinciding levels near {place:.3g}: is the matrix rank-deficient or orthogonal?"
        raise ValueError(msg)
    bottom, top = 0.0 if reflect else max(nu[0], quartiles[1] - reach), min(nu[-1], quartiles[1] + reach)
    # midpoints: the curve starts at the smallest level like a square root, where its derivative would be infinite
    grid = bottom + (top - bottom) * (np.arange(GRID_POINTS) + 0.5) / GRID_POINTS
    near_zero = nu < 8 * width if reflect else np.zeros(m, bool)
    centers, widths = np.concatenate([nu, -nu[near_zero]]), np.concatenate([width, width[near_zero]])
    scales, heights, density = np.sqrt(2) * widths, 1 / (np.sqrt(2 * np.pi) * m * widths), []
    for points in np.split(grid, GRID_POINTS // 16):
        exponent = ((points[:, None] - centers) / scales) ** 2
        np.minimum(exponent, 50.0, out=exponent)  # far smaller values are slow to compute
        density.append(np.exp(-exponent) @ heights)
    return grid, np.concatenate(density)


def _fit_curve(function, x, y, lower):
    """Edges and weight for which weight * law.pdf or .cdf is closest to y; the lower edge is fixed or a pair of bounds."""
    span = x[-1] - x[0]
    x, y = x / span, y * span if function == "pdf" else y

    def projected(edges):
        """The curve enters linearly: its best weight follows from the edges."""
        curve = getattr(_law(*edges), function)(x)
        weight = (curve @ y) / (curve @ curve)
        return weight, y - weight * curve

    start, low, high = [x[-1] + 0.25], [x[-1]], [x[-1] + 20]
    if isinstance(lower, tuple):
        first, last = np.divide(lower, span)
        start, low, high = [np.clip(x[0], 1e-3 * last, 0.999 * last), *start], [first, *low], [last, *high]
        given = []
    else:
        given = [lower / span]
    options = {"ftol": 1e-12, "xtol": 1e-12, "gtol": 1e-12}
    solution = scipy.optimize.least_squares(lambda edges: projected([*given, *edges])[1], start, bounds=(low, high), **options)
    edges = [*given, *solution.x]
    if edges[1] > x[-1] + 19:
        msg = (
            "nu has no upper edge of a bulk: its density does not bend down towards larger singular values "
            "(for method='density' a smallest singular value below the bulk has this effect too)"
        )
        raise ValueError(msg)
    return float(span * edges[0]), float(span * edges[1]), float(projected(edges)[0])


def _noise(nu, n, m, window, level):
    """Standard deviation of the noise, its edges, and the numbers of levels below and above them, consistent with each other."""
    quantile = QUANTILE if level == LEVEL else laws.tracy_widom.ppf(1 - level)
    sample = window[:: max(1, len(window) // 200)]
    seen, outside = [], (0, 0)
    # from no outliers on: starting from all levels above the fitted edge finds up to five times as many false ones
    while outside not in seen:
        seen.append(outside)
        below, above = outside
        rows, columns = n - below - above, m - below - above
        inside = sample[sample >= below]
        law = laws.marchenko_pastur(columns / rows, np.sqrt(rows))
        expected = law.ppf((inside - below + 0.5) / columns)
        sigma = (nu[inside] @ expected) / (expected @ expected)
        error = _sigma_error(expected, law.pdf(expected), columns)
        edges = (
            float(sigma * _lower_edge(rows, columns, quantile, error)),
            float(sigma * _upper_edge(rows, columns, quantile, error)),
        )
        # levels beside the fitted window only, so that enough of them stay to estimate the noise from
        outside = int(np.sum(nu[: window[len(window) // 2]] < edges[0])), int(np.sum(nu[window[-1] + 1 :] > edges[1]))
    return float(sigma), float(error), edges, *outside


def _sigma_error(nu, density, m):
    """Relative error of sigma from these expected levels of m; nothing to speak of from 128 levels on."""
    miscounted = MISCOUNTED * min(1, FEW / m) ** 2
    return miscounted * (nu / density).sum() / (m * (nu @ nu))


def _upper_edge(n, m, quantile, error):
    """Quantile of the largest singular value of an n x m matrix of unit noise over a sigma that has this relative error."""
    root, scale = edge_and_scale(n, m)
    return np.sqrt(root**2 + _widened(quantile, 2 * error * root**2 / scale) * scale)


def edge_and_scale(n, m):
    """Square root of the middle, and scale of the law of the largest squared singular value of unit noise."""
    root = np.sqrt(n - 1) + np.sqrt(m)
    return root, root * (1 / np.sqrt(n - 1) + 1 / np.sqrt(m)) ** (1 / 3)


def _lower_edge(n, m, quantile, error):
    """Quantile of the smallest singular value, which is log-normal-like; 0 where noise reaches down to 0."""
    if m > 0.9 * n:
        return 0.0
    root = np.sqrt(n - 0.5) - np.sqrt(m - 0.5)
    scale = (1 / np.sqrt(m - 0.5) - 1 / np.sqrt(n - 0.5)) ** (1 / 3) / root
    return root * np.exp((scale**2 / 8 - _widened(quantile, 2 * error / scale) * scale) / 2)


def _widened(quantile, error):
    """The quantile of a Tracy-Widom variable plus an independent error, in units of the former's scale."""
    mean, _ = TRACY_WIDOM
    return mean + (quantile - mean) * _widening(error)


def _widening(error):
    """How much wider a Tracy-Widom variable is with an independent error, in units of its scale."""
    _, deviation = TRACY_WIDOM
    return np.hypot(1, error / deviation)
