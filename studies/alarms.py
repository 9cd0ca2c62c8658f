r"""How often noise would be called a finding by the criteria of ``paper.toml``, and how often a stated departure would be seen.

Networks of noise are drawn from ``noise.csv``, initial matrices of seeds that nobody trained, five a regime. Differences of
accuracy, for which no noise network exists, are normal numbers with the scatter of the book's networks and the least
favourable mean: the one at the bound of the margin. Of two leads that both have to be there, of which one network is the same,
the least favourable ones are none and a large one. Layers with their update are those of ``free_addition.csv``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pandas as pd

from . import free_bands, verdicts
from .measured import FEW
from .noise import power
from .randomness import INDEPENDENT, exceeding

__all__ = ["alarms"]

SEEDS = 5
SCATTER = 0.3  # points of accuracy, from one network to the next
LARGE = 10.0  # points, a lead that nobody misses
DIP = 1 / 3  # mean p of a departure at one end
REFUTED, REPRODUCED = "not reproduced", "reproduced"


def alarms(noise: pd.DataFrame, *, draws: int = 1000, rng=0) -> pd.DataFrame:
    """False alarms and power of every statistical criterion.

    Parameters
    ----------
    noise : pandas.DataFrame
        From `studies.noise.draw` or `studies.noise.read`.
    draws : int
        Of sets of networks.
    rng : seed or numpy.random.Generator

    Returns
    -------
    pandas.DataFrame
        A row a criterion: ``false alarms, %``, what is one (``called``), the stated ``level, %``, a ``departure``, and how
        often it is ``seen, %``.
    """
    rng, rows = np.random.default_rng(rng), {}
    for id, (called, level, null, departure, other) in _criteria(noise, rng).items():
        rate, seen = (np.mean([word == wanted for word in _repeat(case, draws)]) for wanted, case in ((called, null), other))
        shown = {"false alarms, %": 100 * rate, "called": called, "level, %": 100 * level}
        rows[id] = shown | {"departure": departure, "seen, %": 100 * seen}
    return pd.DataFrame(rows).T


def _repeat(case: Callable[[], str], draws: int) -> Iterator[str]:
    return (case() for _ in range(draws))


def _criteria(noise, rng):
    ratio, sd = noise["ratio"], noise["ratio"].std()
    way, rigid = ratio.mean() - INDEPENDENT, noise["variance_ratio"]
    wide = rng.choice(noise["wide_variance_ratio"], (1000, SEEDS)).mean(axis=1)

    chance, bands = cache(power), free_bands.read()

    def some(column, n=SEEDS):
        return noise[column].to_numpy()[rng.choice(len(noise), n, replace=False)]

    def end(mean=0.5, n=SEEDS):
        column = rng.choice(["output_large", "output_small", "input_large", "input_small"])
        return verdicts.end(float(np.mean(some(column, n))) - (0.5 - mean), FEW * n)

    def accuracies(mean, of_one):
        values = rng.normal(mean, SCATTER, SEEDS) - (rng.normal(0, SCATTER) if of_one else 0)
        return verdicts.interval(values, of_one=of_one)

    def number(mean):
        return verdicts.equivalent(accuracies(mean, True), 0, verdicts.margin("N1"))

    def like(share):
        found = [verdicts.known_interval(share + (ratio.mean() - some("ratio")) / way, sd / way) for _ in range(2)]
        return verdicts.typical_ratio(found, verdicts.margin("C1-like"))

    def spacings(share, tests, holding):
        """One of several layers is rejected, some of them holding a share of independent levels."""
        found = [rng.random() < chance(512, share if k < holding else 0.0, tests) for k in range(tests)]
        return REFUTED if any(found) else "compatible"

    def variance(departure):
        return verdicts.equivalent(verdicts.known_interval(some("variance_ratio") + departure, rigid.std()), 1, 0.10)

    def spectrum(suffix=""):
        rows = noise.iloc[rng.choice(len(noise), SEEDS, replace=False)]
        rest = noise.drop(rows.index)["deviation"]
        p = np.concatenate([exceeding(rest, rows[f"deviation{suffix}"]), rows[f"largest_p{suffix}"]])
        return verdicts.bonferroni(p, 1.0)

    def lazy(growth):
        grown = growth * some("sigma") / some("sigma")
        return verdicts.unchanged(
            [end() for _ in range(4)], verdicts.interval(grown), verdicts.counted(some("outliers")), verdicts.margin("C6")
        )

    def slower(departure):
        rich, lazy = some("long_variance"), some("long_variance") * (1 + departure)
        return verdicts.above(verdicts.interval((lazy - rich) / rich.mean()), -verdicts.margin("C7"))

    def more(outliers):
        return verdicts.above(verdicts.interval(some("outliers") + rng.poisson(outliers, SEEDS) - some("outliers")))

    def leads(*means):
        typical = rng.normal(0, SCATTER, SEEDS)
        found = (verdicts.interval(typical + mean - rng.normal(0, SCATTER, SEEDS)) for mean in means)
        return verdicts.worst(verdicts.above(lead) for lead in found)

    def added(larger):
        """A trained layer of every network that is one more draw of noise plus update, or has larger lower levels."""
        lower = rng.normal((1 + larger) * bands["lower_mean"], bands["lower_sd"])
        outliers = np.rint(rng.normal(bands["outliers_mean"], bands["outliers_sd"]))
        return REPRODUCED if free_bands.inside(bands.assign(lower=lower, outliers=outliers)).all(axis=None) else REFUTED

    def linear(mean):
        return verdicts.equivalent(accuracies(mean, False), 0, verdicts.margin("C9"))

    def family():
        return "dip" if "dip" in [end() for _ in range(12)] else "no dip"

    def band(departure):
        return verdicts.within_band(float(np.mean(some("wide_variance_ratio"))) + departure, wide)[0]

    def fit(suffix):
        return none(some(f"bulk_p{suffix}"), 1)

    none = verdicts.bonferroni
    return {
        "N1, N2, N3": (REPRODUCED, 0.05, lambda: number(1.5), "no difference", (REPRODUCED, lambda: number(0))),
        "N4": (REFUTED, 0.05, lambda: spacings(0, 3, 0), "10 % of independent levels", (REFUTED, lambda: spacings(0.1, 3, 3))),
        "C1-like": (REFUTED, 0.05, lambda: like(0), "a fifth of the way", (REFUTED, lambda: like(0.2))),
        "C1-none": (REFUTED, 0.05, lambda: spacings(0, 6, 0), "10 % in 3 of 6", (REFUTED, lambda: spacings(0.1, 6, 3))),
        "F3b": (REFUTED, 0.05, lambda: spacings(0, 15, 0), "10 % in all", (REFUTED, lambda: spacings(0.1, 15, 15))),
        "C2": (REFUTED, 0.05, lambda: variance(0), "larger by a quarter", (REFUTED, lambda: variance(0.25))),
        "C3": (REFUTED, 0.05, spectrum, "a tenth of the rows larger by 5 %", (REFUTED, lambda: spectrum("_uneven"))),
        "dips, 12 ends": ("dip", 0.05, family, "mean p of one third", ("dip", lambda: end(DIP))),
        "C4, C5, dip of one seed": ("dip", 0.05 / 12, lambda: end(n=1), "mean p of one third", ("dip", lambda: end(DIP, 1))),
        "C6": (REFUTED, 0.05, lambda: lazy(1), "sigma larger by 7 %", (REFUTED, lambda: lazy(1.07))),
        "C7": (REFUTED, 0.05, lambda: slower(0), "lower by a quarter", (REFUTED, lambda: slower(-0.25))),
        "C8": (REPRODUCED, 0.05, lambda: leads(0, LARGE), "ahead of both by a point", (REPRODUCED, lambda: leads(1, 1))),
        "E8": (
            REPRODUCED,
            0.05,
            lambda: verdicts.above(accuracies(2, False), 2),
            "a gap of 3",
            (REPRODUCED, lambda: verdicts.above(accuracies(3, False), 2)),
        ),
        "F1b": (REFUTED, 0.05, lambda: band(0), "larger by a fifth", (REFUTED, lambda: band(0.2))),
        "C9, E7": (REPRODUCED, 0.05, lambda: linear(2), "no gap", (REPRODUCED, lambda: linear(0))),
        "C10": (REPRODUCED, 0.05, lambda: more(0), "three outliers more", (REPRODUCED, lambda: more(3))),
        "B-free-addition": (REFUTED, 0.05, lambda: added(0), "lower levels larger by 1 %", (REFUTED, lambda: added(0.01))),
        "F2a": (REFUTED, 0.05, lambda: fit(""), "half of the rows larger by 30 %", (REFUTED, lambda: fit("_uneven"))),
    }
