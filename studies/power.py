"""What tests of the spacings of several layers say together: how often noise fails them, and how often a departure would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

import rmtlib
from rmtlib import null_laws

from .randomness import PAPER_LEVEL

__all__ = ["any_below", "partly_independent", "surmise_verdict", "without_rejection"]


def partly_independent(shape: tuple[int, int], share: float, rng) -> np.ndarray:
    """Levels of noise of which a share is replaced by independent levels of the same density.

    Parameters
    ----------
    shape : tuple of int
    share : float
        From 0 to 1.
    rng : seed or numpy.random.Generator

    Returns
    -------
    numpy.ndarray of shape (min(shape),)
        Ascending, in units of the standard deviation of an entry.

    Raises
    ------
    ValueError
        If the share is outside 0 to 1.
    """
    if not 0 <= share <= 1:
        msg = f"share must be from 0 to 1; got {share!r}"
        raise ValueError(msg)
    rng = np.random.default_rng(rng)
    nu = null_laws.noise_singular_values(shape, rng)
    m = len(nu)
    places = rng.choice(m, round(share * m), replace=False)
    if len(places):
        # places anywhere between the levels of other noise: independent of each other, with the density of noise
        other = null_laws.noise_singular_values(shape, rng)
        nu[places] = np.interp(rng.uniform(0, m - 1, len(places)), np.arange(m), other)
    return np.sort(nu)


def any_below(
    levels: Iterable[int],
    bound: float,
    *,
    calibrated: bool = True,
    independent: float = 0.0,
    draws: int = 200,
    a: int = 15,
    rng=0,
) -> float:
    """Probability that the p of the spacings of at least one layer falls below a bound.

    Parameters
    ----------
    levels : iterable of int
        Number of levels of each layer, on which alone the spacings of noise depend.
    bound : float
    calibrated : bool
        Whether the calibrated p is meant, or scipy's.
    independent : float
        Share of independent levels in each layer (`partly_independent`); 0 is noise.
    draws : int
        Matrices for each number of levels.
    a : int
        Half window of the unfolding.
    rng : seed or numpy.random.Generator

    Returns
    -------
    float
        Of independent layers: one minus the product of the probabilities that they do not.

    Raises
    ------
    ValueError
        If there is no layer, or one has too few levels to be tested.
    """
    layers, rng = Counter(levels), np.random.default_rng(rng)
    if not layers:
        msg = "levels must have a number for each layer; got none"
        raise ValueError(msg)
    none = 1.0
    for m, number in layers.items():
        spectra = (partly_independent((2 * m, m), independent, rng) for _ in range(draws))
        tests = (rmtlib.spacing_test(rmtlib.unfold(nu, a=a), a=a) for nu in spectra)
        below = float(np.mean([(test.calibrated_pvalue if calibrated else test.pvalue) < bound for test in tests]))
        none *= (1 - below) ** number
    return float(1 - none)


def without_rejection(pvalues, power: float, *, level: float = 0.05) -> str:
    """The verdict on a sentence that no layer is rejected, by the criterion C1-none of ``paper.toml``.

    Parameters
    ----------
    pvalues : array_like
        Calibrated p of the layers.
    power : float
        Probability that ten per cent of independent levels in every layer would be seen.
    level : float
        Of all layers together.

    Returns
    -------
    str
        Not reproduced if a p is below the level over their number, otherwise compatible, or inconclusive with a power below
        one half.
    """
    pvalues = np.asarray(pvalues, dtype=float)
    if pvalues.min() < level / len(pvalues):
        return "not reproduced"
    return "compatible" if power >= 0.5 else "inconclusive"


def surmise_verdict(scipys, calibrated, *, level: float = 0.05) -> str:
    """The verdict by the criterion of N4 of ``paper.toml``, from scipy's and from the calibrated p of the layers.

    Reproduced if the smallest of scipy's p is above 0.30, not reproduced if a calibrated p is below the level over their number,
    otherwise inconclusive.
    """
    calibrated = np.asarray(calibrated, dtype=float)
    if calibrated.min() < level / len(calibrated):
        return "not reproduced"
    return "reproduced" if np.min(scipys) > PAPER_LEVEL else "inconclusive"
