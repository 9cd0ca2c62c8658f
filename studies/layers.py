"""Many matrices through the same tests, each as one row of a table."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

import rmtlib
from rmtlib import laws, null_laws, tails
from rmtlib.porter_thomas import PorterThomasTest
from rmtlib.spacings import SpacingTest

__all__ = [
    "LENGTHS",
    "LevelStatistics",
    "fewest_levels",
    "layers_table",
    "level_statistics",
    "levels_table",
    "spacings_table",
    "tails_table",
    "update_sizes",
    "vector_test",
]

LENGTHS = np.linspace(0.5, 20, 30)  # of the intervals of a number variance that is drawn


@dataclass(frozen=True, eq=False)
class LevelStatistics:
    """What the levels of one matrix show.

    Attributes
    ----------
    nu : numpy.ndarray of shape (m,)
        Singular values, ascending.
    xi : numpy.ndarray of shape (m - 4 * a,)
        Unfolded levels, in mean spacings.
    spacing : SpacingTest
    L : numpy.ndarray of shape (k,)
        Lengths of intervals, in mean spacings.
    number_variance : numpy.ndarray of shape (k,)
    ratio : float
        Mean over ``L`` of the number variance over the law as the unfolding filters it.
    """

    nu: np.ndarray
    xi: np.ndarray
    spacing: SpacingTest
    L: np.ndarray
    number_variance: np.ndarray
    ratio: float


def level_statistics(W, *, a: int = 15, L=LENGTHS) -> LevelStatistics:
    """Spacings and number variance of the singular values of a matrix; its vectors are not looked at.

    Parameters
    ----------
    W : array of shape (n, m) or (m, n)
    a : int
        Half window of the unfolding.
    L : array of shape (k,)
        Lengths of intervals.

    Returns
    -------
    LevelStatistics

    Raises
    ------
    ValueError
        If the unfolding leaves too few levels (`fewest_levels`), or an interval is longer than they reach.
    """
    nu = rmtlib.spectrum(W, vectors=False).nu
    xi = rmtlib.unfold(nu, a=a)
    variance = np.asarray(rmtlib.number_variance(xi, L))
    ratio = float(np.mean(variance / laws.number_variance_unfolded(L, a)))
    return LevelStatistics(nu, xi, rmtlib.spacing_test(xi, a=a), np.asarray(L), variance, ratio)


def levels_table(statistics: Mapping[Hashable, LevelStatistics]) -> pd.DataFrame:
    """Levels that were tested, scipy's p of the spacings and the calibrated one, a row each."""
    rows = {
        key: {"levels tested": len(s.xi), "p, scipy": s.spacing.pvalue, "p, calibrated": s.spacing.calibrated_pvalue}
        for key, s in statistics.items()
    }
    return pd.DataFrame(rows).T


def fewest_levels(a: int = 15) -> int:
    """Levels that a matrix needs for its spacings to be tested, when the unfolding drops ``4 a`` of them."""
    return 4 * a + null_laws.FEWEST_SPACINGS + 1


def layers_table(layers: Mapping[Hashable, rmtlib.LayerAnalysis], space: str = "output") -> pd.DataFrame:
    """Levels, spacings, outliers and the vectors at both ends of one space, a row a layer."""
    rows = {}
    for key, s in layers.items():
        ends = rmtlib.end_means(getattr(s, space))
        rows[key] = {
            "levels": len(s.nu),
            "p, scipy": s.spacing.pvalue if s.spacing else np.nan,
            "p, calibrated": s.spacing.calibrated_pvalue if s.spacing else np.nan,
            "beyond the edge": s.bulk.n_outliers if s.bulk else np.nan,
            "large end": ends.large,
            "small end": ends.small,
        }
    return pd.DataFrame(rows).T


def spacings_table(layers: Mapping[Hashable, rmtlib.Layer], *, a: int = 15) -> pd.DataFrame:
    """Spacings of every layer, a row each; a layer that cannot be tested has the reason in ``left out because`` instead."""
    rows: dict[Hashable, dict[str, object]] = {}
    for key, layer in layers.items():
        try:
            nu = rmtlib.spectrum(layer.matrix, vectors=False).nu
            test = rmtlib.spacing_test(rmtlib.unfold(nu, a=a), a=a)
        except ValueError as error:
            rows[key] = {"left out because": str(error)}
            continue
        rows[key] = {
            "levels": len(nu),
            "p, scipy": test.pvalue,
            "p, calibrated": test.calibrated_pvalue,
            "mean ratio": rmtlib.spacing_ratios(nu).mean(),
        }
    return pd.DataFrame(rows).T


def tails_table(matrices: Mapping[Hashable, np.ndarray], *, draws: int, rng=0, largest=(25, 100)) -> pd.DataFrame:
    """Power laws of the largest eigenvalues ``nu**2``: fitted exponent with its test, and Hill's for some numbers of levels."""
    rows: dict[Hashable, dict[str, float]] = {}
    for key, W in matrices.items():
        values = rmtlib.spectrum(W, vectors=False).nu ** 2
        test = tails.power_law_test(values, rng=rng, draws=draws, progress=False)
        fit = {"exponent": test.fit.exponent, "error": test.fit.standard_error, "levels": test.fit.n_tail, "p": test.pvalue}
        rows[key] = fit | {f"Hill, {k} levels": float(tails.hill(values, k).exponent) for k in largest}
    return pd.DataFrame(rows).T


def update_sizes(trained: Mapping[str, rmtlib.Layer], initial: Mapping[str, rmtlib.Layer]) -> dict[str, float]:
    """Relative size of the update, ``|W - W0| / |W0|`` in Frobenius norms, of every layer that both hold."""
    pairs = {name: (trained[name].matrix, initial[name].matrix) for name in trained if name in initial}
    return {name: float(np.linalg.norm(W - W0) / np.linalg.norm(W0)) for name, (W, W0) in pairs.items()}


def vector_test(W, space: str = "output") -> PorterThomasTest:
    """Porter-Thomas test of the singular vectors of one space, ``"output"`` or ``"input"``."""
    return rmtlib.porter_thomas(getattr(rmtlib.spectrum(W), f"{space}_vectors"))
