"""Sentences that say "random": spacings, number variance and bulk of one layer, by the criteria of ``paper.toml``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

import rmtlib
from rmtlib import laws
from rmtlib.claims import Outcome

from . import noise as of_noise
from . import verdicts

__all__ = [
    "every_layer",
    "exceeding",
    "initial_spectrum",
    "number_variance",
    "one_network",
    "spacings_like",
    "spacings_none",
    "trained_spectrum",
    "variance_ratio",
]

Levels = Mapping[int, np.ndarray]
INDEPENDENT = 2 * np.log(2) - 1  # mean ratio of gaps of independent levels
PAPER_LEVEL = 0.30  # of N4


def spacings_like(initial: Levels, trained: Levels, noise: pd.DataFrame | None = None) -> Outcome:
    """C1-like: the share of the way to independent levels, of initial and of trained matrices.

    Parameters
    ----------
    initial, trained : mapping of int to array
        Singular values of one layer of every network, ascending, from `studies.regimes.levels`.
    noise : pandas.DataFrame, optional
        From `studies.noise.read`.
    """
    ratio = _noise(noise)["ratio"]
    way = ratio.mean() - INDEPENDENT
    found = ([rmtlib.spacing_ratios(nu).mean() for nu in levels.values()] for levels in (initial, trained))
    shares = [verdicts.known_interval((ratio.mean() - np.array(own)) / way, ratio.std() / way) for own in found]
    return Outcome(
        verdicts.typical_ratio(shares, verdicts.margin("C1-like")),
        says="share of the way to independent levels: before training {}, after it {}".format(*(x.words("+.3f") for x in shares)),
    )


def spacings_none(id: str, pvalues: pd.Series, levels: Mapping | pd.Series, *, trained=None) -> Outcome:
    """No calibrated p below the level over their number: C1-none and all that is decided like it.

    Parameters
    ----------
    id : str
        Of the sentence, for its level.
    pvalues : pandas.Series
        Calibrated p of the spacings, one a matrix.
    levels : pandas.Series
        Number of levels of each.
    trained : pandas.Series of bool, optional
        Which of them are trained: only these could hold independent levels; by default all.
    """
    pvalues, levels = pvalues.astype(float), pd.Series(levels)
    allowed = verdicts.level(id) / len(pvalues)
    could = levels if trained is None else levels[trained]
    seen = {share: 1 - float(np.prod([1 - of_noise.power(int(m), share, len(pvalues)) for m in could])) for share in (0.05, 0.10)}
    return Outcome(
        verdicts.bonferroni(pvalues, seen[0.10], verdicts.level(id)),
        says=(
            f"smallest calibrated p of {len(pvalues)}: {pvalues.min():.3f}, allowed {allowed:.4f}; 5 % of independent levels "
            f"would be seen with probability {seen[0.05]:.2f}, 10 % with {seen[0.10]:.2f}"
        ),
    )


def every_layer(table: pd.DataFrame) -> Outcome:
    """N4: scipy's p of all layers of one network above the paper's level.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``p, scipy`` and ``p, calibrated``.
    """
    smallest, calibrated = table["p, scipy"].astype(float).min(), table["p, calibrated"].astype(float).min()
    above = smallest > PAPER_LEVEL
    word = "reproduced" if above else "inconclusive"
    if calibrated < verdicts.level("N4") / len(table):
        word = "not reproduced"
    return Outcome(word, value=smallest, layers=len(table), calibrated=calibrated)


def one_network(spacings: pd.DataFrame) -> dict[str, Outcome]:
    """N4, C1-none and T2-mlp512: all hidden layers of one network.

    Parameters
    ----------
    spacings : pandas.DataFrame
        From `studies.layers.spacings_table`, by "initial" or "trained" and layer.
    """
    trained = spacings.loc["trained"]
    p, levels = spacings["p, calibrated"], spacings["levels"]
    after = pd.Series(spacings.index.get_level_values(0) == "trained", spacings.index)
    return {
        "N4": every_layer(trained),
        "C1_none": spacings_none("C1-none", p, levels, trained=after),
        "T2_mlp512": spacings_none("T2-mlp512", trained["p, calibrated"], trained["levels"]),
    }


def number_variance(ratios: pd.Series, noise: pd.DataFrame | None = None) -> Outcome:
    """C2: number variance over its filtered law, L from 1 to 10, the mean over the networks of one regime.

    Parameters
    ----------
    ratios : pandas.Series
        `variance_ratio` of every network.
    noise : pandas.DataFrame, optional
        From `studies.noise.read`.
    """
    ratio = verdicts.known_interval(ratios, _noise(noise)["variance_ratio"].std())
    return Outcome(
        verdicts.equivalent(ratio, 1.0, verdicts.margin("C2")),
        says=f"number variance over the filtered law, L from 1 to 10: {ratio.words('.3f')}",
    )


def variance_ratio(nu, *, a: int = 15, longest: float = 10.0) -> float:
    """Mean over L = 1 to 10, or to ``longest``, of the number variance of levels over its filtered law."""
    L = np.arange(1.0, longest + 0.25, 0.5)
    return float(np.mean(rmtlib.number_variance(rmtlib.unfold(nu, a=a), L) / laws.number_variance_unfolded(L, a)))


def initial_spectrum(levels: Levels, shape: tuple[int, int], noise: pd.DataFrame | None = None) -> Outcome:
    """C3: initial matrices against the Marchenko-Pastur law of Glorot's variance, no parameter fitted.

    Parameters
    ----------
    levels : mapping of int to array
        Singular values of the initial layer of every network.
    shape : tuple of int
        Of the layer.
    noise : pandas.DataFrame, optional
        From `studies.noise.read`. Its number of draws bounds the p of a deviation: with too few of them nothing can be rejected
        by it, and without another rejection the verdict is *inconclusive*.
    """
    noise, sigma = _noise(noise), np.sqrt(2 / sum(shape))
    found = pd.DataFrame([of_noise.bulk_against_law(nu, shape, sigma) for nu in levels.values()])
    p = np.concatenate([exceeding(noise["deviation"], found["deviation"]), found["largest_p"]])
    allowed = verdicts.level("C3") / len(p)
    uneven = exceeding(noise["deviation"], noise["deviation_uneven"])
    seen = (uneven < allowed) | (noise["largest_p_uneven"] < allowed)
    power, least = float(1 - (1 - seen.mean()) ** len(levels)), 1 / (1 + len(noise))
    few = f"; a deviation has p of at least {least:.4f}, as there are {len(noise)} draws of noise" if least >= allowed else ""
    return Outcome(
        verdicts.bonferroni(p, 0.0 if few else 1.0, verdicts.level("C3")),
        says=(
            f"smallest p of {len(p)} tests {p.min():.3f}, allowed {allowed:.3f}; a tenth of the rows larger by 5 % would be seen "
            f"with probability {power:.2f}{few}"
        ),
    )


def trained_spectrum(trained: pd.DataFrame) -> Outcome:
    """F2a: the fit of the bulk of trained layers, their outliers left out, and whether there are outliers."""
    decided = {suffix: _fitted(trained, suffix) for suffix in ("", "_biwhitened")}
    word, p, outliers = decided[""]
    return Outcome(
        word,
        says=(
            f"smallest p of the fit of {len(trained)} bulks {p:.2f}, outliers {outliers.words('.1f')}; without sizes of neurons "
            f"{decided['_biwhitened'][1]:.2f}, {decided['_biwhitened'][2].words('.1f')}: {decided['_biwhitened'][0]}"
        ),
    )


def _fitted(trained, suffix):
    p, outliers = trained[f"bulk_p{suffix}"].min(), verdicts.interval(trained[f"outliers{suffix}"])
    if p < verdicts.level("F2a") / len(trained):
        return "not reproduced", p, outliers
    return ("compatible" if outliers.low > 0 else "inconclusive"), p, outliers


def exceeding(noise, values):
    """Probability that noise is at least as large, counted among the draws."""
    noise = np.sort(np.asarray(noise, dtype=float))
    return (1 + len(noise) - np.searchsorted(noise, np.asarray(values, dtype=float))) / (1 + len(noise))


def _noise(table):
    return of_noise.read() if table is None else table
