"""The paper's sentences about rich, typical and lazy networks, judged by the criteria of ``paper.toml`` on one layer of each.

Every function takes the tables of `studies.regimes.Evidence` and returns an outcome: one of five words, and what decided it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rmtlib.claims import Outcome

from . import verdicts
from .measured import FEW, MANY
from .randomness import number_variance
from .regimes import NUMBERS, PAPER_ACCURACY, Evidence

__all__ = ["NEEDS", "SENTENCES", "accuracies", "ends_table", "figures", "judge", "outliers_table", "verdicts_table"]

NEEDS = {
    "N1": ("lazy",),
    "N2": ("rich",),
    "N3": ("typical",),
    "C4": ("typical",),
    "C5": ("rich",),
    "C6": ("lazy",),
    "C7": ("lazy", "rich"),
    "C8": ("typical", "rich", "lazy"),
    "E7": ("lazy",),
    "C10": ("rich", "typical"),
}
SENTENCES = {
    "N1": "lazy networks: 50.4 %",
    "N2": "rich networks: 52.7 %",
    "N3": "typical networks: 55.2 %",
    "C4": "typical: not random at large singular values alone",
    "C5": "rich: not random at small singular values too",
    "C6": "lazy: random vectors, spectrum unchanged",
    "C7": "number variance grows no more slowly when lazy",
    "C8": "typical networks classify best",
    "E7": "lazy: as good as the linearised network",
    "C10": "rich: more large singular values than typical",
}


def judge(found: Evidence, stated: Evidence | None = None, *, space: str = "output") -> dict[str, Outcome]:
    """Every sentence about the three regimes.

    Parameters
    ----------
    found : Evidence
        Of the networks of one reading.
    stated : Evidence, optional
        Of the recipe as stated, whose scatter counts where a reading has fewer than three networks; by default ``found``.
    space : {"output", "input"}
        Of the paper's vectors.

    Returns
    -------
    dict of str to Outcome
        By id. A sentence about networks that are not there is not tested here.
    """
    stated, there = stated or found, set(found.accuracy.index.unique("regime"))
    decided = {}
    for id, needs in NEEDS.items():
        if missing := [regime for regime in needs if regime not in there]:
            decided[id] = _untested(f"no {' and no '.join(missing)} network was trained yet")
        elif id in NUMBERS:
            decided[id] = _number(id, found, stated)
        else:
            decided[id] = _SENTENCES[id](found, stated, space)
    return decided


def verdicts_table(decided: Mapping[str, Outcome]) -> pd.DataFrame:
    """Sentences, their verdicts and what decided them, a row an id; of an accuracy with half of its interval."""
    rows = {}
    for id, outcome in decided.items():
        number = "" if outcome.value is None else f"{outcome.value:.1f} ± {outcome.error:.1f} %"
        decisive = outcome.numbers.get("says", number)
        rows[id] = {"what the paper says": SENTENCES[id], "verdict": outcome.verdict, "what decides": decisive}
    return pd.DataFrame(rows).T


def accuracies(found: Evidence) -> pd.DataFrame:
    """Test accuracies in per cent, and the interval of one more network minus the paper's, which N1 to N3 ask for."""
    rows = {}
    for regime in NUMBERS.values():
        values = found.accuracy.loc[regime]
        away = verdicts.interval(values - PAPER_ACCURACY[regime], of_one=True)
        scatter = {"lowest": values.min(), "highest": values.max()}
        mean = {"networks": len(values), "test accuracy, %": values.mean()}
        rows[regime] = mean | scatter | {"minus paper, from": away.low, "to": away.high}
    return pd.DataFrame(rows).T


def ends_table(trained: pd.DataFrame) -> pd.DataFrame:
    """Mean p of the vectors at either end, regime by regime and space by space, and what each of them is.

    Parameters
    ----------
    trained : pandas.DataFrame
        From `studies.measured.table`.

    Returns
    -------
    pandas.DataFrame
        ``mean p`` of fifteen vectors over all seeds, what it ``is``, the same without noise sizes, what both say, and the
        mean of 31 vectors, which decides nothing.
    """
    rows = {}
    for regime, own in trained.groupby(level="regime", sort=False):
        for space, end in ((space, end) for space in ("output", "input") for end in ("large", "small")):
            name, n = f"{space}_{end}", FEW * len(own)
            as_is, without = own[name].mean(), own[f"{name}_biwhitened"].mean()
            words = [verdicts.end(mean, n) for mean in (as_is, without)]
            rows[regime, space, end] = {
                "mean p": as_is,
                "is": words[0],
                "without sizes": without,
                "is then": words[1],
                "so": verdicts.explained(*words),
                f"of {MANY}": own[f"{name}_{MANY}"].mean(),
            }
    return pd.DataFrame(rows).T


def outliers_table(trained: pd.DataFrame) -> pd.DataFrame:
    """Outliers: mean, what refits give, without noise sizes, in noise of the same total sizes, and the share of sizes."""
    rows = {}
    for regime, own in trained.groupby(level="regime", sort=False):
        share = _of_sizes(own)
        rows[regime] = {
            "outliers": own["outliers"].mean(),
            "refits, from": own["outliers_low"].mean(),
            "to": own["outliers_high"].mean(),
            "without sizes": own["outliers_biwhitened"].mean(),
            "noise of the same sizes": own["outliers_profile"].mean(),
            "share of sizes, %": share.mean() if len(share) else np.nan,
        }
    return pd.DataFrame(rows).T


def _of_sizes(own):
    """Per cent of the outliers that sizes explain, a number a network that has any."""
    with_some = own[own["outliers"] > 0]
    return 100 - 100 * with_some["outliers_biwhitened"] / with_some["outliers"]


def figures(decided: Mapping[str, Outcome], found: Evidence) -> dict[str, Outcome]:
    """F3a, F3c and F3d: the worst of their sentences; F3c asks C2 of every regime.

    Parameters
    ----------
    decided : mapping of str to Outcome
        From `judge`.
    found : Evidence
    """
    rigid = {regime: number_variance(own["variance_ratio"]) for regime, own in found.trained.groupby(level="regime", sort=False)}
    of_figures = {id: {name: decided[name] for name in names} for id, names in FIGURES.items()}
    of_figures["F3c"] |= {f"C2 {regime}": outcome for regime, outcome in rigid.items()}
    of_figures["F3d"] |= {"vectors of C6": Outcome(_random_ends(found.trained.loc["lazy"]))}
    return {
        id: Outcome(
            verdicts.worst(str(outcome.verdict) for outcome in parts.values()),
            says=", ".join(f"{name} {outcome.verdict}" for name, outcome in parts.items()),
        )
        for id, parts in of_figures.items()
    }


FIGURES = {"F3a": ("C6", "C10"), "F3c": ("C7",), "F3d": ("C4", "C5")}


def _untested(why):
    return Outcome("not tested here", says=why)


def _number(id, found, stated):
    regime = NUMBERS[id]
    values, others = (own.accuracy.loc[regime] - PAPER_ACCURACY[regime] for own in (found, stated))
    away = verdicts.interval(values, others=others, of_one=True)
    word = verdicts.equivalent(away, 0.0, verdicts.margin(id))
    return Outcome(word, value=away.mean + PAPER_ACCURACY[regime], error=(away.high - away.low) / 2)


def _means(own, space):
    """Mean p at both ends, as it is and biwhitened, and what each end is."""
    n, means = FEW * len(own), {}
    for suffix in ("", "_biwhitened"):
        for end in ("large", "small"):
            means[end + suffix] = own[f"{space}_{end}{suffix}"].mean()
    return means, {name: verdicts.end(mean, n) for name, mean in means.items()}


def _in_ends(means, words, *ends):
    shown = ", ".join(f"{end} end {means[end]:.2f} ({words[end]})" for end in ("large", "small"))
    then = ", ".join(f"{means[f'{end}_biwhitened']:.2f} ({words[f'{end}_biwhitened']})" for end in ("large", "small"))
    together = ", ".join(f"{end} end: {verdicts.explained(words[end], words[f'{end}_biwhitened'])}" for end in ends)
    return f"{shown}; without sizes {then}; {together}"


def _c4(found, stated, space):
    means, words = _means(found.trained.loc["typical"], space)
    return Outcome(verdicts.large_end_alone(words["large"], words["small"]), says=_in_ends(means, words, "large"))


def _c5(found, stated, space):
    means, words = _means(found.trained.loc["rich"], space)
    return Outcome(verdicts.small_end(words["small"]), says=_in_ends(means, words, "large", "small"))


def _four_ends(own):
    return {f"{space} {end}": _means(own, space)[1][end] for space in ("output", "input") for end in ("large", "small")}


def _random_ends(own):
    nothing = verdicts.Interval(0.0, 0.0, 0.0, len(own))
    return verdicts.unchanged(list(_four_ends(own).values()), verdicts.Interval(1.0, 1.0, 1.0, len(own)), nothing, 0.05)


def _c6(found, stated, space):
    own = found.trained.loc["lazy"]
    ends = _four_ends(own)
    ratio = verdicts.interval(found.growth("lazy"), others=stated.growth("lazy"))
    outliers = verdicts.counted(own["outliers"], others=stated.trained.loc["lazy"]["outliers"])
    dips = [name for name, word in ends.items() if word == "dip"]
    return Outcome(
        verdicts.unchanged(list(ends.values()), ratio, outliers, verdicts.margin("C6")),
        says=(
            f"ends that dip: {', '.join(dips) or 'none'}; sigma over its initial value {ratio.words('.3f')}; "
            f"outliers {outliers.words('.1f')}"
        ),
    )


def _c7(found, stated, space):
    values, others = (_slower(own.trained) for own in (found, stated))
    share, bound = verdicts.interval(values, others=others), -verdicts.margin("C7")
    word, more = verdicts.above(share, bound), ""
    if word == "inconclusive" and not share.borrowed:
        more = f"; {verdicts.seeds_to_decide(values, bound) or 'more than a thousand'} seeds would decide"
    return Outcome(word, says=f"lazy minus rich, over rich: {share.words('+.3f')}, bound {bound:.2f}{more}")


def _slower(trained):
    far = trained["long_variance"]
    return (far.loc["lazy"] - far.loc["rich"]).dropna() / far.loc["rich"].mean()


def _c8(found, stated, space):
    leads = {}
    for other in ("rich", "lazy"):
        values, others = (_difference(own.accuracy, "typical", other) for own in (found, stated))
        leads[other] = verdicts.interval(values, others=others)
    return Outcome(
        verdicts.worst(verdicts.above(lead) for lead in leads.values()),
        says=", ".join(f"typical minus {other} {lead.words()}" for other, lead in leads.items()) + ", points",
    )


def _e7(found, stated, space):
    gaps, others = (own.gaps.dropna() for own in (found, stated))
    if "lazy" not in gaps.index.unique("regime"):
        return _untested("its linearisation was not measured yet")
    gap = verdicts.interval(gaps.loc["lazy"], others=others.loc["lazy"])
    return Outcome(verdicts.equivalent(gap, 0.0, verdicts.margin("E7")), says=f"gap of the lazy networks {gap.words()} points")


def _c10(found, stated, space):
    more = {}
    for suffix in ("", "_biwhitened"):
        values, others = (_difference(own.trained[f"outliers{suffix}"], "rich", "typical") for own in (found, stated))
        more[suffix] = verdicts.interval(values, others=others)
    shown = outliers_table(found.trained)
    counts = ", ".join(
        f"{regime} {row['outliers']:.1f} (refits {row['refits, from']:.0f} to {row['to']:.0f})"
        for regime, row in shown.iterrows()
    )
    shares = ", ".join(f"{regime} {_share_in_words(regime, found, stated)}" for regime in NEEDS["C10"])
    return Outcome(
        verdicts.above(more[""]),
        says=(
            f"outliers: {counts}; rich minus typical {more[''].words('+.0f')}, without sizes of neurons "
            f"{more['_biwhitened'].words('+.0f')}; "
            f"sizes explain {shares}"
        ),
    )


def _share_in_words(regime, found, stated):
    share, others = (_of_sizes(own.trained.loc[regime]) for own in (found, stated))
    if share.empty:
        return "none of 0"
    return verdicts.interval(share, others=others).words(".0f", " %")


def _difference(values, more, less):
    return (values.loc[more] - values.loc[less]).dropna()


_SENTENCES = {"C4": _c4, "C5": _c5, "C6": _c6, "C7": _c7, "C8": _c8, "E7": _e7, "C10": _c10}
