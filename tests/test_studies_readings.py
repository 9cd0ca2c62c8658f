"""Readings of the recipe, on small matrices that stand for runs."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import rmtlib
from studies import readings, regimes
from studies.readings import Reading, read
from studies.regimes import REGIMES, SENTENCES

ACCURACY = {"rich": 0.527, "typical": 0.56, "lazy": 0.40}


def matrix(regime, seed):
    """Noise, from which a rich network moves far, a typical one less and a lazy one not at all."""
    noise = rmtlib.ensembles.glorot_uniform((120, 120), [seed, 2])
    learned = np.diag(({"rich": [7, 6, 5, 4], "typical": [5, 4], "lazy": []}[regime] + 120 * [0])[:120])
    U, V = (np.linalg.qr(np.random.default_rng([seed, i]).standard_normal((120, 120)))[0] for i in (10, 11))
    return (noise + U @ learned @ V.T).astype(np.float32)


@pytest.fixture
def runs(monkeypatch):
    """Runs of two seeds that all regimes have, and of one that the rich ones have alone."""
    seeds = {"rich": (0, 1, 2), "typical": (0, 1), "lazy": (0, 1)}

    def run(regime, seed):
        accuracy = ACCURACY[regime] + 0.01 * seed
        return SimpleNamespace(name=f"{regime}{seed}", config={"seed": seed}, test_accuracy=accuracy, regime=regime)

    found = {regime: [run(regime, seed) for seed in own] for regime, own in seeds.items()}
    asked = {}

    def runs_of(**settings):
        asked.update(settings)
        return found

    monkeypatch.setattr(readings, "runs_of", runs_of)
    monkeypatch.setattr(regimes, "initial", lambda run, layer: matrix("lazy", run.config["seed"]))
    load = rmtlib.load_weights
    monkeypatch.setattr(regimes, "load_weights", lambda run: load({"dense2": matrix(run.regime, run.config["seed"])}))
    return SimpleNamespace(found=found, asked=asked)


GAPS = {f"{regime}{seed}": gap for regime, gap in (("rich", 0.1), ("typical", 0.05), ("lazy", 0.04)) for seed in range(3)}


def test_a_reading_tells_what_its_networks_show(runs):
    reading = read(GAPS, spread=0.1, a=7)
    assert reading.seeds == (0, 1)
    assert reading.accuracy.to_dict() == pytest.approx({"rich": 53.2, "typical": 56.5, "lazy": 40.5})
    numbers = {sentence: held for sentence, held in reading.verdicts.items() if sentence[0] == "N"}
    assert numbers == {"N1, lazy accuracy": False, "N2, rich accuracy": True, "N3, typical accuracy": True}
    assert reading.verdicts["C8, typical is best"]
    assert reading.verdicts["C9, no gap when lazy"]
    assert reading.verdicts["C10"]


def test_sentences_are_those_of_the_layers_analysed_one_by_one(runs):
    reading = read(GAPS, spread=0.1, a=7)
    layers = {(regime, seed): rmtlib.analyse(matrix(regime, seed), a=7) for regime in REGIMES for seed in (0, 1)}
    largest = {seed: np.linalg.norm(matrix("lazy", seed), 2) for seed in (0, 1)}
    table, tests = regimes.describe(layers, largest), rmtlib.end_tests(layers)
    for side in ("output", "input"):
        held = regimes.sentences(table, tests, side=side, spread=0.1)
        for id in SENTENCES:
            assert reading.verdicts[f"{id}, {side}" if id in ("C4", "C5", "C6") else id] == held[id]
    lazy = [layers["lazy", seed] for seed in (0, 1)]
    edges = [s.bulk.nu_plus / largest[seed] for seed, s in enumerate(lazy)]
    assert reading.lazy_edge == pytest.approx(np.mean(edges), rel=1e-5)
    assert reading.lazy_dips == tests.dips.loc["lazy"].sum()
    long_range = {
        regime: np.mean([layers[regime, seed].number_variance.values[20:].mean() for seed in (0, 1)]) for regime in REGIMES
    }
    assert reading.lazy_long_range == pytest.approx(long_range["lazy"] / long_range["rich"])


@pytest.mark.parametrize(("gap", "closes"), [(0.04, True), (0.06, False)])
def test_a_gap_closes_if_it_is_less_than_half_of_the_rich_one(gap, closes, runs):
    gaps = GAPS | {"lazy0": gap, "lazy1": gap}
    assert read(gaps, spread=0.1, a=7).verdicts["C9, no gap when lazy"] == closes


def test_settings_are_those_of_the_runs(runs):
    alphas = {"rich": 0.3, "typical": 0.5, "lazy": 2.5}
    read(GAPS, alphas=alphas, spread=0.1, a=7, epochs=60)
    assert runs.asked == {"alphas": alphas, "epochs": 60}


def test_what_fails_is_told_for_one_space():
    verdicts = {"C4, output": True, "C4, input": False, "C7": False, "N1, lazy accuracy": False, "N2, rich accuracy": True}
    reading = Reading((0,), pd.Series(dtype=float), pd.Series(verdicts), 1.0, 0, 1.0)
    assert reading.failing("output") == ["C7", "N1"]
    assert reading.failing("input") == ["C4", "C7", "N1"]


def test_runs_without_a_common_seed_are_refused(runs):
    for run in runs.found["lazy"]:
        run.config["seed"] += 10
    with pytest.raises(ValueError, match=r"share a seed; there are rich \[0, 1, 2\], typical \[0, 1\], lazy \[10, 11\]"):
        read(GAPS, spread=0.1)


def test_a_run_that_was_not_linearised_is_named(runs):
    gaps = {name: gap for name, gap in GAPS.items() if name != "typical1"}
    with pytest.raises(ValueError, match="gaps must have a value for every run; there is none for typical1"):
        read(gaps, spread=0.1)
