"""Sentences about regimes, decided by tests of their layers."""

import doctest
import json
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from safetensors.numpy import save_file

import rmtlib
from rmtlib import end_tests
from rmtlib.null_laws import noise_singular_values
from rmtlib.runs import RunError
from studies import regimes
from studies.regimes import (
    PAPER_ACCURACY,
    RECIPE,
    REGIMES,
    SENTENCES,
    describe,
    largest_initial,
    long_range_spread,
    runs_of,
    runs_of_seed,
    sentences,
)

LARGEST = {seed: 2.0 for seed in range(40)}


def layer(rng, *, large=1.0, small=1.0, side="output", m=60, edge=2.0, above=0, long_range=1.0):
    """What the tests read of an analysed layer; p-values of one space are multiplied at the ends of the spectrum."""
    vectors = {name: SimpleNamespace(calibrated_pvalue=rng.random(m)) for name in ("input", "output")}
    vectors[side].calibrated_pvalue[-15:] *= large
    vectors[side].calibrated_pvalue[:15] *= small
    nu = np.linspace(0.1, 1.9, m)
    nu[m - above :] = 2.5
    return SimpleNamespace(
        nu=nu,
        spacing=SimpleNamespace(pvalue=0.6, calibrated_pvalue=0.5),
        number_variance=SimpleNamespace(L=np.array([5.0, 15.0, 20.0]), values=np.array([9.0, long_range, long_range])),
        bulk=SimpleNamespace(bulk_fraction=1.0, nu_plus=edge),
        **vectors,
    )


def unfitted():
    return SimpleNamespace(**(vars(layer(np.random.default_rng(0))) | {"bulk": None}))


def networks(rng=0, seeds=5, **regimes):
    rng = np.random.default_rng(rng)
    return {
        (regime, seed): layer(rng, **regimes.get(regime, {})) for regime in ("rich", "typical", "lazy") for seed in range(seeds)
    }


def decided(layers, side="output", spread=0.08):
    return sentences(describe(layers, LARGEST), end_tests(layers), side=side, spread=spread)


def test_the_papers_picture_makes_all_sentences_true():
    layers = networks(
        7, rich={"large": 0.3, "small": 0.3, "above": 12}, typical={"large": 0.3, "above": 5}, lazy={"long_range": 0.95}
    )
    assert decided(layers) == dict.fromkeys(SENTENCES, True)
    assert decided(layers, "input") == dict.fromkeys(SENTENCES, True) | {"C4": False, "C5": False}


@pytest.mark.parametrize(
    ("wrong", "regimes"),
    [
        ("C4", {"typical": {"large": 0.3, "small": 0.3, "above": 5}}),
        ("C4", {"typical": {"above": 5}}),
        ("C5", {"rich": {"large": 0.3, "above": 12}}),
        ("C6", {"lazy": {"large": 0.3}}),
        ("C6", {"lazy": {"edge": 2.2}}),
        ("C7", {"lazy": {"long_range": 0.8}}),
        ("C10", {"typical": {"large": 0.3, "above": 12}}),
    ],
)
def test_each_sentence_can_be_false(wrong, regimes):
    picture = {"rich": {"large": 0.3, "small": 0.3, "above": 12}, "typical": {"large": 0.3, "above": 5}, "lazy": {}}
    found = decided(networks(6, **(picture | regimes)))
    assert found == dict.fromkeys(SENTENCES, True) | {wrong: False}


def test_noise_grows_slower_than_noise_in_one_case_of_twenty():
    rng, spread = np.random.default_rng(8), 0.08
    slower = []
    for _ in range(300):
        layers = networks(rng, seeds=1)
        for layer_ in layers.values():
            layer_.number_variance.values[1:] += rng.normal(0, spread)
        slower.append(not decided(layers, spread=spread)["C7"])
    assert 0.02 < np.mean(slower) < 0.09


@pytest.mark.parametrize(("errors", "no_slower"), [(-0.01, True), (0.01, False)])
def test_number_variance_may_differ_by_what_chance_gives_in_nineteen_of_twenty_cases(errors, no_slower):
    layers = networks(10, seeds=6)
    for seed in range(2, 6):
        del layers["lazy", seed]
    by_chance = (scipy.stats.norm.ppf(0.95) + errors) * np.sqrt(0.08**2 / 2 + 0.08**2 / 6)
    for seed in range(2):
        layers["lazy", seed].number_variance.values[1:] -= by_chance
    assert decided(layers, spread=0.08)["C7"] == no_slower


def test_spread_of_noise_is_that_of_other_noise():
    L = np.linspace(0.5, 20, 40)
    rng = np.random.default_rng(9)
    spectra = [noise_singular_values((300, 200), rng) for _ in range(200)]
    means = [rmtlib.number_variance(rmtlib.unfold(nu), L[L > 10]).mean() for nu in spectra]
    assert long_range_spread((300, 200), rng=1) == pytest.approx(np.std(means), rel=0.2)


def test_rows_of_real_layers_are_counted_from_the_initial_spectrum():
    planted = rmtlib.ensembles.spiked((150, 150), 0, strengths=[2, 3, 4]).matrix
    row = describe({("rich", 0): rmtlib.analyse(planted)}, {0: 2.1}).loc["rich", 0]
    assert row["levels above initial largest"] == 3
    assert row["fitted edge over initial largest"] == pytest.approx(2 / 2.1, abs=0.06)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: describe({}, {}), "layers must hold at least one"),
        (
            lambda: describe(networks() | {("rich", 0): unfitted()}, LARGEST),
            r"a bulk that can be fitted; \('rich', 0\) have none",
        ),
        (lambda: describe(networks(), {0: 2.0}), "a value for every seed; there is none for 1, 2, 3, 4"),
        (lambda: decided({k: s for k, s in networks().items() if (k[0] == "rich") == (k[1] < 2)}), "of the same seed"),
        (lambda: decided(networks(), spread=0.0), "spread must be a number above 0; got 0.0"),
        (lambda: long_range_spread((512, 512), draws=1), "draws must be an integer of at least 2; got 1"),
        (lambda: decided(networks(), "both"), "side must be one of 'output', 'input'; got 'both'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


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
    write_run(folder, "rich-again", laziness=0.5, batch_size=16)
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


def test_initial_levels_are_those_of_the_streams_of_the_seeds(folder):
    for run in folder.iterdir():
        save_file({"trained.dense3.weight": np.zeros((90, 60), np.float32)}, run / "weights.safetensors")
    runs = [run for found in runs_of(folder=folder).values() for run in found]
    found = largest_initial(runs, "dense3")
    assert set(found) == {0, 1}
    for seed, value in found.items():
        limit = np.sqrt(6 / 150)
        W = np.random.default_rng([seed, 3]).uniform(-limit, limit, (90, 60))
        assert value == pytest.approx(np.linalg.norm(W, 2), rel=1e-6)


def test_the_accuracies_are_those_that_the_paper_gives():
    criteria = tomllib.loads((Path(__file__).parents[1] / "paper.toml").read_text())
    given = {"lazy": "N1", "rich": "N2", "typical": "N3"}
    assert PAPER_ACCURACY == {regime: criteria[id]["paper"] for regime, id in given.items()}
