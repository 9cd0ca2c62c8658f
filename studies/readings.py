"""Readings of the paper's recipe: does one of them bring all the sentences about the regimes together?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

import rmtlib
from rmtlib.claims import Outcome

from .regimes import (
    NEAR,
    NUMBERS,
    PAPER_ACCURACY,
    REGIMES,
    SENTENCES,
    analyses,
    describe,
    largest_initial,
    long_range_spread,
    runs_of,
    sentences,
)

__all__ = ["Reading", "accuracies", "outcomes", "read"]

OF_VECTORS = ("C4", "C5", "C6")  # sentences about vectors: each space has its own verdict
SIDES = ("output", "input")


@dataclass(frozen=True, eq=False)
class Reading:
    """What the networks of one reading show.

    Attributes
    ----------
    seeds : tuple of int
        Seeds that all three regimes have; the others are left out.
    accuracy : pandas.Series
        Mean test accuracy of each regime over the seeds, in per cent.
    verdicts : pandas.Series of bool
        Sentences of ``SENTENCES``, those about vectors once for each space (``"C4, output"``); C8, whether the typical networks
        are best; C9, whether the gap to the linearisation closes; N1 to N3, whether an accuracy is near the paper's.
    lazy_edge : float
        Fitted edge of the lazy networks over the largest initial level.
    lazy_dips : int
        Ends, in both spaces, at which the vectors of the lazy networks are not random.
    lazy_long_range : float
        Number variance of the lazy networks beyond L = 10, over that of the rich ones.
    """

    seeds: tuple[int, ...]
    accuracy: pd.Series
    verdicts: pd.Series
    lazy_edge: float
    lazy_dips: int
    lazy_long_range: float

    def failing(self, space: str) -> list[str]:
        """Ids of what does not hold, in the space (``"output"`` or ``"input"``) of the paper's vectors."""
        (other,) = set(SIDES) - {space}
        failed = [sentence for sentence in self.verdicts.index[~self.verdicts] if not sentence.endswith(f", {other}")]
        return [sentence.split(",")[0] for sentence in failed]


def read(
    gaps: Mapping[str, float],
    *,
    alphas: Mapping[str, float] = REGIMES,
    layer: str = "dense2",
    a: int = 15,
    spread: float | None = None,
    **settings,
) -> Reading:
    """Ask all sentences about the regimes of the networks of one reading.

    Parameters
    ----------
    gaps : mapping of str to float
        By run: its test accuracy minus that of its linearisation (column ``gap`` of `studies.linearized.read`).
    alphas : mapping of str to float
        Laziness of rich, typical and lazy networks, as this reading has it.
    layer : str
        The layer to analyse.
    a : int
        Half window of the unfolding.
    spread : float, optional
        From `studies.regimes.long_range_spread` for the shape of the layer; by default it is simulated.
    **settings
        Of the runs, where they differ from the recipe as stated: see `studies.regimes.runs_of`.

    Returns
    -------
    Reading

    Raises
    ------
    RunError
        If a regime has no run.
    ValueError
        If no seed was trained in all regimes, or a run was not linearised.

    Notes
    -----
    C8 holds if the mean accuracy of the typical networks is the highest; C9 if the mean gap of the lazy networks is less than
    half of that of the rich ones; N1 to N3 if the mean lies within one and a half points of the paper's. Thresholds are ours.
    """
    found = {regime: {run.config["seed"]: run for run in runs} for regime, runs in runs_of(alphas=alphas, **settings).items()}
    seeds = sorted(set.intersection(*(set(own) for own in found.values())))
    if not seeds:
        there = ", ".join(f"{regime} {sorted(own)}" for regime, own in found.items())
        msg = f"settings must tell runs that share a seed; there are {there}"
        raise ValueError(msg)
    runs = {(regime, seed): own[seed] for regime, own in found.items() for seed in seeds}
    if missing := [run.name for run in runs.values() if run.name not in gaps]:
        msg = f"gaps must have a value for every run; there is none for {', '.join(missing)}"
        raise ValueError(msg)
    layers = analyses({regime: [runs[regime, seed] for seed in seeds] for regime in found}, layer, a=a)
    table, tests = describe(layers, largest_initial(runs.values(), layer)), rmtlib.end_tests(layers)
    spread = long_range_spread(next(iter(layers.values())).shape, a=a) if spread is None else spread
    held = {side: sentences(table, tests, side=side, spread=spread) for side in SIDES}
    of_runs = pd.DataFrame({key: {"accuracy": 100 * run.test_accuracy, "gap": gaps[run.name]} for key, run in runs.items()}).T
    mean = of_runs.groupby(level=0, sort=False).mean()
    verdicts = {f"{id}, {side}" if id in OF_VECTORS else id: held[side][id] for id in SENTENCES for side in SIDES}
    verdicts["C8, typical is best"] = mean["accuracy"].idxmax() == "typical"
    verdicts["C9, no gap when lazy"] = bool(mean["gap"]["lazy"] < 0.5 * mean["gap"]["rich"])
    for id, regime in NUMBERS.items():
        verdicts[f"{id}, {regime} accuracy"] = bool(abs(mean["accuracy"][regime] - PAPER_ACCURACY[regime]) < NEAR)
    by_regime = table.groupby(level="regime").mean()
    edge, long_range = by_regime["fitted edge over initial largest"], by_regime["number variance beyond L = 10"]
    return Reading(
        tuple(seeds),
        mean["accuracy"],
        pd.Series(verdicts, dtype=bool),
        float(edge["lazy"]),
        int(tests.dips.loc["lazy"].sum()),
        float(long_range["lazy"] / long_range["rich"]),
    )


def accuracies(readings: Mapping[str, Reading]) -> pd.DataFrame:
    """Mean test accuracies of every reading in per cent, with the number of its seeds; the paper's in the last row."""
    table = pd.DataFrame({name: reading.accuracy for name, reading in readings.items()}).T
    table.insert(0, "seeds", [str(len(reading.seeds)) for reading in readings.values()])
    table.loc["paper"] = {"seeds": "1"} | PAPER_ACCURACY
    return table


def outcomes(readings: Mapping[str, Reading], *, space: str) -> dict[str, Outcome | str | float]:
    """Whether one of three readings brings all sentences together, and the numbers of the last one, as entries of a ledger.

    Parameters
    ----------
    readings : mapping of str to Reading
        As stated, about half of each laziness, and a higher rate, in this order.
    space : {"output", "input"}
        That of the paper's vectors.
    """
    short = {name: ", ".join(reading.failing(space)) for name, reading in readings.items()}
    _, half, fast = short
    higher = readings[fast]
    return {
        "end_sd": float(1 / np.sqrt(12 * 15)),
        "rate_seeds": len(higher.seeds),
        "rate_edge": higher.lazy_edge,
        "rate_lazy_dips": higher.lazy_dips,
        "rate_c7": higher.lazy_long_range,
        "rate_far": (higher.accuracy - pd.Series(PAPER_ACCURACY)).abs().max(),
        "half_alpha": short[half],
        "higher_rate": short[fast],
        "one_reading": Outcome("" in short.values(), fails="; ".join(f"{name} fails {ids}" for name, ids in short.items())),
    }
