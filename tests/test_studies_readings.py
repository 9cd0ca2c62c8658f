"""Readings of the recipe, side by side, on evidence whose verdicts are known."""

import re

import numpy as np
import pytest

from rmtlib.claims import Outcome
from rmtlib.runs import RunError
from studies import readings
from studies.readings import Reading, read, read_all

from .evidence import networks, words


@pytest.fixture
def runs(monkeypatch):
    """Runs of which the evidence is made: the recipe as stated, a fast reading that holds, and one without lazy networks."""
    asked = []

    def runs_of(*, alphas, **settings):
        ((regime, alpha),) = alphas.items()
        asked.append((regime, alpha, settings))
        if settings.get("decay_every") == 10 and regime == "lazy" or settings.get("centred"):
            msg = "no finished run"
            raise RunError(msg)
        return {regime: settings.get("learning_rate", 0.001)}

    def evidence(runs, layer, *, a, gaps):
        fast = set(runs.values()) == {0.004}
        found = networks(seeds=3 if fast else 5, **({} if fast else {"rich": {"output_small": 0.6}}))
        missing = [regime for regime in ("rich", "typical", "lazy") if regime not in runs]
        parts = (getattr(found, name).drop(missing, level="regime") for name in ("accuracy", "gaps"))
        return readings.Evidence(found.trained.drop(missing, level="regime"), found.initial, *parts)

    monkeypatch.setattr(readings, "runs_of", runs_of)
    monkeypatch.setattr(readings, "evidence", evidence)
    return asked


def test_readings_are_judged_by_the_criteria_of_the_verdicts(runs):
    stated = read({})
    assert {id: outcome.verdict for id, outcome in stated.decided.items()} == words(networks(rich={"output_small": 0.6}))
    assert stated.verdict == "not reproduced"
    assert stated.those("not reproduced") == ["C5"]


def test_every_reading_with_networks_is_there_and_those_without_are_not(runs):
    found = read_all({})
    assert list(found) == [name for name in readings.READINGS if name != "centred logits"]
    assert found["four times the rate"].verdict == "reproduced"
    assert found["staircase"].decided["C6"].verdict == "not tested here"
    assert dict(found["staircase"].seeds) == {"rich": 5, "typical": 5}
    assert ("lazy", 2.5, {"network": "mlp512", "folder": None}) in runs


def test_a_reading_is_inconclusive_without_some_of_its_networks():
    decided = {"C4": Outcome("reproduced"), "C6": Outcome("not tested here", says="")}
    assert Reading(networks(), decided).verdict == "inconclusive"
    assert Reading(networks(), {"C4": Outcome("compatible")}).verdict == "reproduced"


def test_tables_have_a_row_or_a_column_for_each(runs):
    found = read_all({})
    accuracy = readings.accuracies(found)
    assert accuracy.loc["four times the rate", "networks"] == "3, 3, 3"
    assert accuracy.loc["staircase", "networks"] == "5, 5, 0"
    assert accuracy.loc["paper"].tolist() == ["1, 1, 1", 52.7, 55.2, 50.4]
    verdicts = readings.verdicts_table(found)
    assert verdicts.loc["all of them"].tolist() == [reading.verdict for reading in found.values()]
    page = readings.marks(found).to_html()
    for word in ("reproduced", "not reproduced", "not tested here"):
        cells = re.findall(rf'<td [^>]*class="[^"]* verdict {word.replace(" ", "-")}"[^>]*>(.*?)</td>', page)
        assert cells == [readings.MARKS[word]] * int((verdicts == word).to_numpy().sum())
    assert "✗ not reproduced" in page
    assert "compatible" not in page


def test_ends_are_those_of_the_evidence_with_the_scatter_of_noise(runs, monkeypatch):
    found = {name: reading for name, reading in read_all({}).items() if name in ("as stated", "four times the rate")}
    for reading in found.values():
        for end in ("large", "small"):
            reading.evidence.trained[f"output_{end}_total"] = 0.7
    table = readings.ends(found)
    row = table.loc[("four times the rate", "rich", "small")]
    assert row[["as it is", "noise sizes", "total sizes"]].tolist() == pytest.approx([0.2, 0.2, 0.7])
    assert row["sd"] == pytest.approx(1 / np.sqrt(12 * 45))
    sizes = readings.sizes(found)
    assert sizes["small_as_is"] == pytest.approx(0.2)
    assert sizes["small_so"] == "direction"
    assert sizes["stated_large_total"] == pytest.approx(0.7)


def test_one_reading_that_holds_is_enough(runs):
    outcome = readings.one_reading(read_all({}))
    assert outcome.verdict == "reproduced"
    assert outcome.numbers["says"].startswith("the recipe as stated contradicts C5; ")
    assert "four times the rate brings all together" in outcome.numbers["says"]


def test_without_the_recipe_as_stated_nothing_is_compared(runs):
    with pytest.raises(RunError, match="of 'centred logits' there are none"):
        read_all({}, {"centred logits": {"centred": True}})


def test_the_nearest_reading_contradicts_least_and_then_leaves_least_open():
    def reading(*words):
        return Reading(networks(), {str(i): Outcome(word, says="") for i, word in enumerate(words)})

    found = {
        "one wrong": reading("not reproduced", "reproduced", "reproduced"),
        "one open": reading("inconclusive", "reproduced", "compatible"),
        "two open": reading("inconclusive", "inconclusive", "reproduced"),
        "no networks": reading("reproduced", "not tested here", "reproduced"),
    }
    assert readings.nearest(found) == "one open"
    del found["one open"]
    assert readings.nearest(found) == "two open"
