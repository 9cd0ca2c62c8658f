"""The runs that ship with the book are whole and are what their records say."""

from pathlib import Path

import numpy as np
import pytest

import rmtlib
from rmtlib.learning import load_run
from rmtlib.learning.runs import file_sha256

DATA = Path(__file__).parents[1] / "data"
RUNS = sorted(path.name for path in (DATA / "runs").iterdir())
REGISTRY = [line.split(maxsplit=2) for line in (DATA / "registry.txt").read_text().splitlines()[1:]]


def test_registry_lists_every_file_with_its_hash():
    listed = {name: digest for name, digest, _ in REGISTRY}
    there = {str(path.relative_to(DATA)): file_sha256(path) for path in (DATA / "runs").glob("*/*")}
    assert listed == there


def test_data_stays_small():
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 80e6


@pytest.mark.parametrize("name", RUNS)
def test_run_is_complete_and_its_record_agrees_with_its_history(name):
    run = load_run(name, folder=DATA / "runs")
    assert len(run.history["epoch"]) == run.config["epochs"]
    assert run.history["test_accuracy"][-1] == run.test_accuracy


@pytest.mark.parametrize("name", [name for name in RUNS if name.startswith("mlp512-")])
def test_initial_second_layer_follows_from_the_seed(name):
    run = load_run(name, folder=DATA / "runs")
    W0 = rmtlib.load_weights(run, initial=True)["dense2"].matrix
    np.testing.assert_array_equal(W0, rmtlib.ensembles.glorot_uniform(W0.shape, [run.config["seed"], 2]))


@pytest.mark.parametrize("seed", [0])
def test_regimes_differ_in_laziness_alone(seed):
    configs = [load_run(f"mlp512-cifar10-alpha{a}-seed{seed}", folder=DATA / "runs").config for a in ("0.5", "1", "5")]
    assert [config.pop("laziness") for config in configs] == [0.5, 1, 5]
    assert configs[0] == configs[1] == configs[2]
    assert configs[0] | {"dataset": "cifar10", "epochs": 100, "learning_rate": 0.001} == configs[0]
