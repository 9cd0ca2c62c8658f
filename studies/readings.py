"""Readings of the paper's recipe, judged side by side: does one of them bring all the sentences about the regimes together?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from pandas.io.formats.style import Styler

from rmtlib.claims import Outcome
from rmtlib.runs import Run, RunError

from .measured import FEW
from .regimes import PAPER_ACCURACY, REGIMES, Evidence, evidence, runs_of
from .sentences import SENTENCES, judge
from .verdicts import end as end_is
from .verdicts import explained

__all__ = [
    "READINGS",
    "Reading",
    "accuracies",
    "ends",
    "marks",
    "nearest",
    "one_reading",
    "read",
    "read_all",
    "sizes",
    "verdicts_table",
]

HALF = dict(zip(REGIMES, (0.3, 0.5, 2.5), strict=True))
READINGS: dict[str, dict] = {
    "as stated": {},
    "about half of each α": {"alphas": HALF},
    "four times the rate, 60 epochs": {"learning_rate": 0.004, "epochs": 60},
    "four times the rate": {"learning_rate": 0.004},
    "per channel": {"standardization": "channel"},
    "staircase": {"decay_every": 10},
    "centred logits": {"centred": True},
}
MARKS = {"reproduced": "✓", "compatible": "(✓)", "inconclusive": "?", "not reproduced": "✗", "not tested here": "–"}


@dataclass(frozen=True, eq=False)
class Reading:
    """What the networks of one reading show.

    Attributes
    ----------
    evidence : Evidence
    decided : dict of str to Outcome
        From `studies.sentences.judge`.
    """

    evidence: Evidence
    decided: Mapping[str, Outcome]

    @property
    def verdict(self) -> str:
        """Reproduced if every sentence is reproduced or compatible, not reproduced if one is not, else inconclusive."""
        words = {outcome.verdict for outcome in self.decided.values()}
        if words <= {"reproduced", "compatible"}:
            return "reproduced"
        return "not reproduced" if "not reproduced" in words else "inconclusive"

    def those(self, word: str) -> list[str]:
        """Ids of the sentences with this verdict."""
        return [id for id, outcome in self.decided.items() if outcome.verdict == word]

    @property
    def seeds(self) -> pd.Series:
        """Number of networks of every regime."""
        return self.evidence.accuracy.groupby(level="regime", sort=False).size()


def read(
    gaps: Mapping[str, float],
    stated: Evidence | None = None,
    *,
    network: str = "mlp512",
    layer: str = "dense2",
    a: int = 15,
    space: str = "output",
    folder=None,
    **settings,
) -> Reading | None:
    """Judge the networks of one reading; None if no network of it has been trained.

    Parameters
    ----------
    gaps : mapping of str to float
        By run: column ``gap`` of `studies.linearized.read`.
    stated : Evidence, optional
        Of the recipe as stated, whose scatter counts where there are fewer than three networks; by default the reading's own.
    network, layer : str
    a : int
        Half window of the unfolding.
    space : {"output", "input"}
        Of the paper's vectors.
    folder : path, optional
        Folder of runs; by default the book's.
    **settings
        ``alphas``, and settings of the runs where they differ from the recipe: see `studies.regimes.runs_of`.
    """
    alphas = settings.pop("alphas", REGIMES)
    runs: dict[str, list[Run]] = {}
    for regime, alpha in alphas.items():
        try:
            runs |= runs_of(network=network, alphas={regime: alpha}, folder=folder, **settings)
        except RunError:
            continue
    if not runs:
        return None
    found = evidence(runs, layer, a=a, gaps=gaps)
    return Reading(found, judge(found, stated, space=space))


def read_all(gaps: Mapping[str, float], readings: Mapping[str, dict] = READINGS, **options) -> dict[str, Reading]:
    """Every reading of which networks are there; the first is the recipe as stated. Options as for `read`."""
    first, *others = readings
    stated = read(gaps, **readings[first], **options)
    if stated is None:
        msg = f"readings must begin with one whose networks are there; of {first!r} there are none"
        raise RunError(msg)
    found = {name: read(gaps, stated.evidence, **readings[name], **options) for name in others}
    return {first: stated} | {name: reading for name, reading in found.items() if reading is not None}


def accuracies(readings: Mapping[str, Reading]) -> pd.DataFrame:
    """Mean test accuracies of every reading in per cent, with the numbers of its networks; the paper's in the last row."""
    rows = {name: {"networks": _numbers(reading)} | _means(reading) for name, reading in readings.items()}
    return pd.DataFrame(rows | {"paper": {"networks": "1, 1, 1"} | PAPER_ACCURACY}).T


def verdicts_table(readings: Mapping[str, Reading]) -> pd.DataFrame:
    """Verdicts of every sentence, a column a reading; the last row is the reading's own."""
    columns = {name: {id: out.verdict for id, out in reading.decided.items()} for name, reading in readings.items()}
    table = pd.DataFrame(columns).rename(index=lambda id: f"{id}: {SENTENCES[id]}")
    table.loc["all of them"] = {name: reading.verdict for name, reading in readings.items()}
    return table


def marks(readings: Mapping[str, Reading]) -> Styler:
    """`verdicts_table` for the eye: a mark in place of each word, and below the table what the marks say."""
    table = verdicts_table(readings)
    classes = table.map(lambda word: f"verdict {word.replace(' ', '-')}")
    shown = set(table.to_numpy().ravel())
    legend = ", ".join(f"{mark} {word}" for word, mark in MARKS.items() if word in shown)
    marked = table.style.format(lambda word: MARKS[word]).set_td_classes(classes)
    return marked.set_table_attributes('class="readings"').set_caption(legend)


def ends(readings: Mapping[str, Reading], space: str = "output") -> pd.DataFrame:
    """Mean p at both ends with and without sizes of neurons, and the standard deviation that noise gives it.

    Returns
    -------
    pandas.DataFrame
        A row for every reading, regime and end: ``as it is``, ``noise sizes``, ``total sizes`` and ``sd``.
    """
    rows = {}
    for name, reading in readings.items():
        for regime, own in reading.evidence.trained.groupby(level="regime", sort=False):
            for end in ("large", "small"):
                means = {
                    label: own[f"{space}_{end}{suffix}"].mean()
                    for label, suffix in (("as it is", ""), ("noise sizes", "_biwhitened"), ("total sizes", "_total"))
                }
                rows[name, regime, end] = means | {"sd": (12 * FEW * len(own)) ** -0.5}
    return pd.DataFrame(rows).T.rename_axis(["reading", "regime", "end"])


def one_reading(readings: Mapping[str, Reading]) -> Outcome:
    """Whether one reading brings all sentences together, and in words which of them every reading contradicts or cannot tell."""
    names = {name: name.replace("as stated", "the recipe as stated").replace(", ", " for ") for name in readings}
    told = [f"{names[name]} {_told(reading)}" for name, reading in readings.items()]
    words = [reading.verdict for reading in readings.values()]
    best = "reproduced" if "reproduced" in words else "inconclusive" if "inconclusive" in words else "not reproduced"
    return Outcome(best, says="; ".join(told))


def nearest(readings: Mapping[str, Reading]) -> str:
    """The reading that contradicts the fewest sentences, and of these the one that leaves the fewest untested and open."""
    words = "not reproduced", "not tested here", "inconclusive"
    return min(readings, key=lambda name: [len(readings[name].those(word)) for word in words])


def sizes(readings: Mapping[str, Reading], space: str = "output") -> dict[str, float | str]:
    """Ends of the rich networks with and without sizes, for the ledger: at four times the rate, and as stated."""
    fast = next(name for name in ("four times the rate", "four times the rate, 60 epochs") if name in readings)
    rows = ends({name: readings[name] for name in ("as stated", fast)}, space)
    small, large, stated = (
        rows.loc[fast, "rich", "small"],
        rows.loc[fast, "rich", "large"],
        rows.loc["as stated", "rich", "large"],
    )
    n = FEW * int(readings[fast].seeds["rich"])
    found: dict[str, float | str] = {
        f"{end}_{short}": float(row[column])
        for end, row in (("small", small), ("large", large), ("stated_large", stated))
        for short, column in (("as_is", "as it is"), ("noise", "noise sizes"), ("total", "total sizes"))
    }
    return found | {"small_so": explained(*(end_is(small[column], n) for column in ("as it is", "noise sizes")))}


def _told(reading):
    parts = {
        "contradicts": reading.those("not reproduced"),
        "cannot tell": reading.those("inconclusive"),
        "has no networks for": reading.those("not tested here"),
    }
    listed = {word: " and ".join(filter(None, (", ".join(ids[:-1]), ids[-1]))) for word, ids in parts.items() if ids}
    return ", and ".join(f"{word} {ids}" for word, ids in listed.items()) or "brings all together"


def _numbers(reading):
    return ", ".join(str(reading.seeds.get(regime, 0)) for regime in REGIMES)


def _means(reading):
    return reading.evidence.accuracy.groupby(level="regime", sort=False).mean().to_dict()
