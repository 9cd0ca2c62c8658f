r"""Nearest-neighbour spacings, spacing ratios, and the test of the spacings against the Wigner surmise.

With unfolded levels :math:`\xi_i` of mean spacing 1 the spacings are :math:`s_i = \xi_{i+1} - \xi_i`. Singular values
of random matrices have the spacings of the Gaussian orthogonal ensemble (GOE), very nearly those of the surmise

.. math:: P(s) = \frac{\pi s}{2} e^{-\pi s^2/4}.

Ratios of consecutive gaps of the singular values themselves need no unfolding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import checks, kolmogorov, null_laws

__all__ = ["SpacingTest", "spacing_ratios", "spacing_test", "spacings"]


@dataclass(frozen=True)
class SpacingTest:
    """Kolmogorov-Smirnov test of the spacings against the Wigner surmise.

    Attributes
    ----------
    statistic : float
        Largest distance between the empirical cumulative of the spacings and the surmise's.
    pvalue : float
        scipy's, as the paper quotes it; it assumes independent spacings and is far too large.
    calibrated_pvalue : float
        Share of noise matrices with a statistic at least as large. Uniform on [0, 1] for noise.
    n : int
        Number of spacings.
    """

    statistic: float
    pvalue: float
    calibrated_pvalue: float
    n: int


def spacings(xi) -> np.ndarray:
    """Distances between neighbouring unfolded levels.

    Parameters
    ----------
    xi : array of shape (k,)
        Unfolded levels, ascending, of mean spacing 1, as `rmtlib.unfold` returns them.

    Returns
    -------
    numpy.ndarray
        ``k - 1`` spacings, in units of the mean spacing. They are not divided by their mean again.

    Raises
    ------
    ValueError
        If ``xi`` is not ascending, not finite, not one-dimensional, or not unfolded.

    Examples
    --------
    >>> spacings([0.2, 1.0, 2.5, 3.1])
    array([0.8, 1.5, 0.6])
    """
    return np.diff(checks.unfolded(xi))


def spacing_ratios(nu) -> np.ndarray:
    r"""Ratios :math:`\tilde r_i = \min(g_i, g_{i+1}) / \max(g_i, g_{i+1})` of neighbouring gaps, without unfolding.

    Parameters
    ----------
    nu : array of shape (m,)
        Levels, ascending; singular values or unfolded levels in any unit.

    Returns
    -------
    numpy.ndarray
        ``m - 2`` ratios in [0, 1].

    Raises
    ------
    ValueError
        If there are fewer than three levels, they are not ascending or not finite, or three coincide.

    Notes
    -----
    The mean is 0.5307 for the GOE and 2 ln 2 - 1 = 0.3863 for independent levels; a single ratio of the GOE has
    standard deviation 0.27. The ratio assumes that the density changes little over three levels. The smallest
    singular values of a square matrix and the isolated ones above the bulk break this.

    References
    ----------
    Oganesyan and Huse, Phys. Rev. B 75, 155111 (2007). Atas et al., Phys. Rev. Lett. 110, 084101 (2013).

    Examples
    --------
    >>> spacing_ratios([0.0, 1.0, 3.0, 4.0])
    array([0.5, 0.5])
    """
    gaps = np.diff(checks.levels(nu, "nu", at_least=3))
    larger = np.maximum(gaps[1:], gaps[:-1])
    if not larger.all():
        msg = "nu must not hold three equal levels in a row; the ratio of two vanishing gaps is undefined"
        raise ValueError(msg)
    return np.minimum(gaps[1:], gaps[:-1]) / larger


def spacing_test(
    xi, *, method: str = "broadened", a: int = 15, degree: int = 7, null: null_laws.NullLaw | None = None
) -> SpacingTest:
    """Compare the spacings with the Wigner surmise by a one-sample Kolmogorov-Smirnov test.

    Parameters
    ----------
    xi : array of shape (k,)
        Unfolded levels of one matrix, ascending, in mean spacings; at least 17.
    method, a, degree
        How ``xi`` was unfolded, with the words of `rmtlib.unfold`; they select the null law.
    null : NullLaw, optional
        A null law of your own, from `rmtlib.null_laws.simulate_spacing_null`, for example with another law of
        the entries. By default `rmtlib.null_laws.spacing_null`.

    Returns
    -------
    SpacingTest

    Raises
    ------
    ValueError
        If there are fewer than 17 levels, they are not unfolded, ``null`` is no law for as many spacings, or as
        `rmtlib.null_laws.spacing_null`.

    Notes
    -----
    scipy's p value takes the spacings for independent. They repel, and the levels unfold themselves, so that noise
    gives ``pvalue < 0.05`` in fewer than 1 of 100 matrices: a large ``pvalue`` says nothing. The surmise itself
    differs from the exact law by 0.0066; the null law contains this, scipy's p value does not. A low-rank signal
    plus noise keeps the spacings of noise: to pass is weak evidence that there is no information.

    References
    ----------
    Massey, J. Am. Stat. Assoc. 46, 68 (1951), for the test; Thamm, Staats and Rosenow, Phys. Rev. E 106, 054124
    (2022), for its use on weights.

    Examples
    --------
    >>> import rmtlib
    >>> nu = rmtlib.null_laws.noise_singular_values((400, 300), 0)
    >>> test = spacing_test(rmtlib.unfold(nu))
    >>> test.n, test.calibrated_pvalue > 0.05
    (239, True)
    """
    s = np.diff(checks.unfolded(xi, at_least=null_laws.FEWEST_SPACINGS + 1))
    if null is None:
        null = null_laws.spacing_null(len(s), method=method, a=a, degree=degree)
    elif not isinstance(null, null_laws.NullLaw):
        msg = f"null must be a NullLaw, of rmtlib.null_laws.simulate_spacing_null; got {type(null).__name__}"
        raise ValueError(msg)
    elif null.n != len(s):
        msg = f"null must be the law for {len(s)} spacings, as xi has; got the law for {null.n}"
        raise ValueError(msg)
    from .laws import wigner_surmise

    statistic = float(null_laws.ks_statistic(wigner_surmise.cdf(np.sort(s))))
    pvalue = kolmogorov.pvalue(np.array([statistic]), len(s))
    return SpacingTest(statistic, float(pvalue[0]), float(null.pvalue(statistic)), len(s))
