"""Runs of the regimes, and the sentences about them judged on numbers whose verdict is known."""

import doctest
import json
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from safetensors.numpy import save_file

import rmtlib
from rmtlib.runs import RunError
from studies import regimes, sentences
from studies.regimes import PAPER_ACCURACY, RECIPE, REGIMES, Evidence, evidence, runs_of, runs_of_seed

from .evidence import networks, words


def test_the_papers_picture_makes_all_sentences_true():
    assert set(words(networks()).values()) == {"reproduced"}


@pytest.mark.parametrize(
    ("id", "changes", "word"),
    [
        ("N1", {"lazy": {"accuracy": 48.0}}, "not reproduced"),
        ("N2", {"rich": {"accuracy": 54.1}}, "inconclusive"),
        ("C4", {"typical": {"output_small": 0.2}}, "not reproduced"),
        ("C4", {"typical": {"output_large": 0.5}}, "not reproduced"),
        ("C4", {"typical": {"output_large": 0.42}}, "inconclusive"),
        ("C5", {"rich": {"output_small": 0.6}}, "not reproduced"),
        ("C6", {"lazy": {"input_small": 0.2}}, "not reproduced"),
        ("C6", {"lazy": {"sigma": 1.1}}, "not reproduced"),
        ("C6", {"lazy": {"sigma": 1.0498}}, "inconclusive"),
        ("C6", {"lazy": {"outliers": 2}}, "not reproduced"),
        ("C7", {"lazy": {"long_variance": 0.6}}, "not reproduced"),
        ("C8", {"rich": {"accuracy": 56.0}}, "not reproduced"),
        ("E7", {"lazy": {"gap": 4.0}}, "not reproduced"),
        ("C10", {"rich": {"outliers": 5}}, "not reproduced"),
        ("C10", {"rich": {"outliers": 8}}, "inconclusive"),
    ],
)
def test_each_sentence_can_fail(id, changes, word):
    found = words(networks(**changes))
    assert found[id] == word
    others = {"C8", "E7", "N1", "N2", "N3", "C4", "C5", "C6", "C7", "C10"} - {id, "N2" if id == "C8" else id, "C8"}
    assert {found[other] for other in others} == {"reproduced"}


def test_regimes_that_were_not_trained_are_not_judged():
    found = networks()
    trained, accuracy, gaps = (table.drop("lazy", level="regime") for table in (found.trained, found.accuracy, found.gaps))
    part = Evidence(trained, found.initial, accuracy, gaps)
    decided = sentences.judge(part, found)
    assert {id for id, outcome in decided.items() if outcome.verdict == "not tested here"} == {"N1", "C6", "C7", "C8", "E7"}
    assert decided["C6"].numbers["says"] == "no lazy network was trained yet"


def test_a_single_network_borrows_the_scatter_of_the_recipe_as_stated():
    one, stated = networks(seeds=1), networks()
    decided = sentences.judge(one, stated)
    assert "scatter of the stated recipe" in decided["C6"].numbers["says"]
    assert decided["N1"].error == pytest.approx(2.132 * stated.accuracy.loc["lazy"].std() * np.sqrt(2), rel=1e-3)
    assert decided["C8"].verdict == "reproduced"
    with pytest.raises(ValueError, match="at least 3 networks"):
        sentences.judge(one)


def test_one_network_with_two_outliers_does_not_refute_what_five_without_any_show():
    stated = networks()
    few = networks(seeds=1, lazy={"outliers": 2})
    outcome = sentences.judge(few, stated)["C6"]
    assert outcome.verdict == "inconclusive"
    assert "outliers 2.0 (0.4 to 6.3; 1 seed, scatter of the stated recipe)" in outcome.numbers["says"]  # Garwood's for 2
    assert "outliers 0.0 (0.0 to 0.6; 5 seeds)" in sentences.judge(stated)["C6"].numbers["says"]


def test_the_share_of_sizes_has_its_interval_over_seeds():
    found = networks()
    without = [50, 48, 51, 47, 52]
    found.trained.loc["rich", "outliers_biwhitened"] = without
    shares = 100 * (1 - np.array(without) / 60)
    low, high = scipy.stats.t.interval(0.9, 4, shares.mean(), scipy.stats.sem(shares))
    says = sentences.judge(found)["C10"].numbers["says"]
    assert says.endswith(
        f"sizes explain rich {shares.mean():.0f} % ({low:.0f} to {high:.0f}; 5 seeds), typical 25 % (25 to 25; 5 seeds)"
    )
    assert "typical none of 0" in sentences.judge(networks(typical={"outliers": 0}))["C10"].numbers["says"]


def test_the_other_space_has_verdicts_of_its_own():
    assert words(networks(), space="input")["C4"] == "not reproduced"


def test_tables_say_what_decides():
    found = networks(rich={"output_small_biwhitened": 0.7})
    ends = sentences.ends_table(found.trained)
    assert ends.loc[("rich", "output", "small"), "so"] == "size of neurons"
    assert ends.loc[("rich", "output", "large"), "so"] == "direction"
    outliers = sentences.outliers_table(found.trained)
    assert outliers.loc["rich", "share of sizes, %"] == pytest.approx(100 / 6)
    assert np.isnan(outliers.loc["lazy", "share of sizes, %"])
    shown = sentences.verdicts_table(sentences.judge(found))
    assert shown.loc["C5", "verdict"] == "reproduced"
    assert "size of neurons" in shown.loc["C5", "what decides"]


def test_a_panel_is_as_good_as_the_worst_of_its_sentences(monkeypatch):
    monkeypatch.setattr(
        "studies.noise.read", lambda: pd.DataFrame({"variance_ratio": np.random.default_rng(0).normal(1, 0.05, 500)})
    )
    found = networks(lazy={"sigma": 1.1})
    panels = {id: outcome.verdict for id, outcome in sentences.figures(sentences.judge(found), found).items()}
    assert panels == {"F3a": "not reproduced", "F3c": "reproduced", "F3d": "reproduced"}


def test_evidence_is_what_the_analyses_say(folder):
    rng = np.random.default_rng(0)
    for run in folder.iterdir():
        save_file({"trained.dense2.weight": rng.normal(size=(100, 100)).astype(np.float32)}, run / "weights.safetensors")
    found = evidence(runs_of(folder=folder), a=7, gaps={"rich0": 0.05})
    W = rmtlib.load_weights(runs_of(folder=folder)["typical"][1])["dense2"].matrix
    s = rmtlib.analyse(W, a=7)
    assert found.trained.loc[("typical", 1), "sigma"] == s.bulk.sigma
    start = rmtlib.analyse(rmtlib.ensembles.glorot_uniform((100, 100), [1, 2]).astype(np.float32), a=7)
    assert found.growth("typical")[1] == pytest.approx(s.bulk.sigma / start.bulk.sigma)
    assert found.accuracy["rich", 0] == 50
    assert found.gaps["rich", 0] == pytest.approx(5)
    assert np.isnan(found.gaps["rich", 1])


# Which runs they are


def write_run(folder, name, **config):
    """A finished run of which the record alone is real."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "history.csv").write_text("epoch\n1\n")
    (path / "weights.safetensors").touch()
    settings = RECIPE | {"network": "mlp512", "seed": 0} | config
    results = {"train_accuracy": 1.0, "test_accuracy": 0.5, "sha256": {}}
    (path / "run.json").write_text(json.dumps({"status": "completed", "config": settings} | results))


@pytest.fixture
def folder(tmp_path):
    for regime, alpha in REGIMES.items():
        for seed in (1, 0):
            write_run(tmp_path, f"{regime}{seed}", laziness=alpha, seed=seed)
        write_run(tmp_path, f"{regime}-fast", laziness=alpha, learning_rate=0.004)
        write_run(tmp_path, f"{regime}-wide", laziness=alpha, network="mlp1024")
    return tmp_path


def names(found):
    return {regime: [run.name for run in runs] for regime, runs in found.items()}


def test_the_runs_of_the_recipe_are_found_in_the_order_of_their_seeds(folder):
    assert names(runs_of(folder=folder)) == {regime: [f"{regime}0", f"{regime}1"] for regime in ("rich", "typical", "lazy")}


def test_settings_lead_to_other_readings(folder):
    assert names(runs_of(folder=folder, learning_rate=0.004)) == {regime: [f"{regime}-fast"] for regime in REGIMES}
    assert names(runs_of(folder=folder, network="mlp1024")) == {regime: [f"{regime}-wide"] for regime in REGIMES}
    halved = {"rich": 0.5, "typical": 0.5, "lazy": 1.0}
    assert names(runs_of(folder=folder, alphas=halved))["lazy"] == ["typical0", "typical1"]


def test_one_seed_is_one_run_of_each_regime(folder):
    assert {regime: run.name for regime, run in runs_of_seed(1, folder=folder).items()} == {r: f"{r}1" for r in REGIMES}


def test_a_seed_that_several_runs_share_is_refused(folder):
    write_run(folder, "rich-again", laziness=0.5, bulk_variance=True)
    with pytest.raises(
        RunError, match="settings must tell one rich run with seed 0; there are rich-again, rich0|rich0, rich-again"
    ):
        runs_of_seed(0, folder=folder)


def test_a_regime_without_a_run_is_refused(folder):
    with pytest.raises(RunError, match="no finished run"):
        runs_of(folder=folder, seed=7)


def test_the_examples_of_the_documentation_are_right():
    result = doctest.testmod(regimes)
    assert result.attempted >= 2
    assert result.failed == 0


def test_levels_are_those_of_the_streams_of_the_seeds(folder):
    for run in folder.iterdir():
        save_file({"trained.dense3.weight": np.eye(90, 60, dtype=np.float32)}, run / "weights.safetensors")
    found = regimes.levels(runs_of(folder=folder)["rich"], "dense3", trained=False)
    assert set(found) == {0, 1}
    for seed, nu in found.items():
        limit = np.sqrt(6 / 150)
        W = np.random.default_rng([seed, 3]).uniform(-limit, limit, (90, 60))
        assert nu[-1] == pytest.approx(np.linalg.norm(W, 2), rel=1e-6)
    assert regimes.levels(runs_of(folder=folder)["rich"], "dense3")[0] == pytest.approx(np.ones(60))


def test_the_accuracies_are_those_that_the_paper_gives():
    criteria = tomllib.loads((Path(__file__).parents[1] / "paper.toml").read_text())
    given = {"lazy": "N1", "rich": "N2", "typical": "N3"}
    assert PAPER_ACCURACY == {regime: criteria[id]["paper"] for regime, id in given.items()}


def test_two_runs_with_one_seed_are_no_evidence():
    own = [SimpleNamespace(name=name, config={"seed": 0}) for name in ("short", "long")]
    with pytest.raises(RunError, match="runs must tell one rich run with seed 0; there are short and long"):
        evidence({"rich": own})


def test_the_recipe_as_stated_is_told_from_every_other(tmp_path):
    write_run(tmp_path, "stated", laziness=1.0)
    for i, other in enumerate(({"batch_size": 64}, {"momentum": 0.9}, {"learning_rate_decay": 0.9}, {"weight_decay": 1e-4})):
        write_run(tmp_path, f"other{i}", laziness=1.0, **other)
    assert names(runs_of(folder=tmp_path, alphas={"typical": 1.0})) == {"typical": ["stated"]}
