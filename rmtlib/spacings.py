r"""Nearest-neighbour spacings, spacing ratios, and the test of the spacings against the Wigner surmise.

With unfolded levels :math:`\xi_i` of mean spacing 1 the spacings are :math:`s_i = \xi_{i+1} - \xi_i`. Real random
matrices follow the GOE, whose spacings are very nearly those of the Wigner surmise,

.. math:: P(s) = \frac{\pi s}{2} e^{-\pi s^2/4}.

Ratios of consecutive gaps need no unfolding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from . import _checks

__all__ = ["SpacingTest", "spacing_ratios", "spacing_test", "spacings"]


@dataclass(frozen=True)
class SpacingTest:
    statistic: float
    pvalue: float
    calibrated_pvalue: float
    n: int


def spacings(xi) -> np.ndarray:
    return np.diff(_checks.unfolded(xi))


def spacing_ratios(nu) -> np.ndarray:
    gaps = np.diff(_checks.levels(nu, "nu", at_least=3))
    return np.minimum(gaps[1:], gaps[:-1]) / np.maximum(gaps[1:], gaps[:-1])


def spacing_test(xi, *, a: int = 15, method: str = "broadened", null=None) -> SpacingTest:
    from . import laws

    s = spacings(xi)
    test = scipy.stats.kstest(s, laws.wigner_surmise.cdf)
    return SpacingTest(float(test.statistic), float(test.pvalue), float(test.pvalue), len(s))
