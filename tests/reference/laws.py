"""Reference values for tests/test_laws.py, by other routes than rmtlib takes: ``python tests/reference/laws.py`` prints them.

Spacings: all eigenvalues of the sine kernel on the full interval, every second one kept, derivatives by differences.
Tracy-Widom: the Hastings-McLeod solution of Painleve II. Number variance and rigidity: integrals over the two-level cluster
function. Filtered number variance: a midpoint sum over wave numbers up to 200. Marchenko-Pastur: quadrature of the density.
"""

from __future__ import annotations

import numpy as np
import scipy.integrate
import scipy.special

NODES, WEIGHTS = np.polynomial.legendre.leggauss(60)


def integral(function, low, high, panels=1):
    """Gauss-Legendre quadrature on equal panels."""
    edges = np.linspace(low, high, panels + 1)
    half = (edges[1] - edges[0]) / 2
    return half * sum(WEIGHTS @ function(edge + half * (1 + NODES)) for edge in edges[:-1])


def empty_interval(s):
    """Probability that an interval of length s holds no level of the orthogonal ensemble: product over even eigenfunctions."""
    root = np.sqrt(WEIGHTS)
    kernel = s / 2 * np.sinc(s / 2 * (NODES[:, None] - NODES))
    eigenvalues = np.linalg.eigvalsh(root[:, None] * kernel * root)[::-1]
    return np.prod(1 - eigenvalues[::2])


def goe_spacing(s, h=0.03):
    """cdf and pdf from central differences of eighth order."""
    values = np.array([empty_interval(s + k * h) for k in range(-4, 5)])
    first = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])
    second = np.array([-1 / 560, 8 / 315, -1 / 5, 8 / 5, -205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560])
    return 1 + first @ values / h, second @ values / h**2


def tracy_widom(points, start=8.0):
    """F1 and F2 at descending points below 8."""

    def slope(x, y):
        q, dq, _, minus_j_slope, _ = y
        return [dq, x * q + 2 * q**3, minus_j_slope, q**2, -q]

    # y = q, q', J = int (t - x) q^2 dt, J' = -int q^2 dt, I = int q dt, with q = Ai far to the right
    ai, dai, _, _ = scipy.special.airy(start)
    tails = [
        integral(lambda t: (t - start) * scipy.special.airy(t)[0] ** 2, start, start + 10),
        -integral(lambda t: scipy.special.airy(t)[0] ** 2, start, start + 10),
        integral(lambda t: scipy.special.airy(t)[0], start, start + 10),
    ]
    solution = scipy.integrate.solve_ivp(
        slope, (start, points[-1]), [ai, dai, *tails], t_eval=points, method="DOP853", rtol=1e-13, atol=1e-18
    )
    f2 = np.exp(-solution.y[2])
    return np.sqrt(f2) * np.exp(-solution.y[4] / 2), f2


def cluster_goe(r):
    """Two-level cluster function of the orthogonal ensemble; r > 0."""
    x = np.pi * r
    derivative = np.cos(x) / r - np.sin(x) / (np.pi * r**2)
    return np.sinc(r) ** 2 + derivative * (0.5 - scipy.special.sici(x)[0] / np.pi)


def cluster_gue(r):
    return np.sinc(r) ** 2


def number_variance(cluster, L):
    return L - 2 * integral(lambda r: (L - r) * cluster(r), 0, L, panels=int(2 * L) + 1)


def rigidity(cluster, L):
    def weighted(r):
        return (L - r) ** 3 * (2 * L**2 - 9 * L * r - 3 * r**2) * cluster(r)

    return L / 15 - integral(weighted, 0, L, panels=int(2 * L) + 1) / (15 * L**4)


def number_variance_unfolded(L, a, cutoff=200, steps=4_000_000):
    """Midpoint sum over wave numbers; beyond the cutoff the power is 1 and sin^2 is 1/2 on average."""
    f = (np.arange(steps) + 0.5) * cutoff / steps
    with np.errstate(invalid="ignore", divide="ignore"):
        power = np.where(f < 1, 2 * f - f * np.log(1 + 2 * f), 2 - f * np.log((2 * f + 1) / (2 * f - 1)))
    x = 2 * np.pi * a * f
    response = 1 - np.exp(-(x**2) / 2) * (1 + x * np.sin(x))
    integrand = power * response**2 * (np.sin(np.pi * f * L) / (np.pi * f)) ** 2
    return 2 * integrand.sum() * cutoff / steps + 1 / (np.pi**2 * cutoff)


def marchenko_pastur_cdf(nu, q):
    """nu = middle - half width * cos(phi) takes the square roots away from the ends of the support."""
    middle, half = 1.0, np.sqrt(q)

    def density(phi):
        x = middle - half * np.cos(phi)
        return np.sqrt(((1 + half) ** 2 - x**2) * (x**2 - (1 - half) ** 2)) / (np.pi * q * x) * half * np.sin(phi)

    return integral(density, 0, np.arccos((middle - nu) / half), panels=20)


if __name__ == "__main__":
    print("goe_spacing: s, cdf, pdf")
    for s in (0.2, 0.7, 1.0, 1.5, 2.5, 4.0):
        print("   ", s, *(f"{v:.12f}" for v in goe_spacing(s)))
    print("tracy_widom: x, F1, F2")
    points = np.array([4.0, 2.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0])
    for x, f1, f2 in zip(points, *tracy_widom(points), strict=True):
        print("   ", x, f"{f1:.11f} {f2:.11f}")
    print("number variance: L, GOE, GUE; rigidity: GOE, GUE")
    for L in (0.1, 1.0, 2.0, 5.0, 10.0, 20.0):
        clusters = (cluster_goe, cluster_gue)
        values = [number_variance(c, L) for c in clusters] + [rigidity(c, L) for c in clusters]
        print("   ", L, *(f"{v:.11f}" for v in values))
    print("number_variance_unfolded: L, a, value")
    for L, a in ((1, 15), (5, 15), (10, 15), (20, 15), (10, 7), (3, 1)):
        print("   ", L, a, f"{number_variance_unfolded(L, a):.8f}")
    print("marchenko_pastur: q, nu, cdf at sigma = 1")
    for q, nu in ((0.1, 0.9), (0.5, 0.6), (0.5, 1.0), (0.9, 1.5), (1.0, 0.5), (1.0, 1.9)):
        print("   ", q, nu, f"{marchenko_pastur_cdf(nu, q):.12f}")
