"""The runs that ship with the book are whole and are what their records say."""

import csv
import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import rmtlib
from rmtlib.files import file_sha256
from rmtlib.learning import TrainingConfig, find_runs, linearized_accuracy, load_dataset, load_run
from rmtlib.notebooks.sweep import read_grid

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
RUNS = sorted(path.name for path in (DATA / "runs").iterdir())
REGISTRY = [line.split(maxsplit=2) for line in (DATA / "registry.txt").read_text().splitlines()[1:]]


def test_registry_lists_every_file_with_its_hash():
    listed = {name: digest for name, digest, _ in REGISTRY}
    files = [path for path in DATA.rglob("*") if path.is_file() and path.name not in ("README.md", "registry.txt")]
    there = {str(path.relative_to(DATA)): file_sha256(path) for path in files}
    assert listed == there


def test_readme_explains_every_file():
    text = (DATA / "README.md").read_text()
    names = {path.name if "runs" in path.parts else str(path.relative_to(DATA)) for path in DATA.rglob("*") if path.is_file()}
    assert [name for name in sorted(names - {"README.md"}) if f"`{name}`" not in text] == []


def test_data_stays_small():
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 100e6


@pytest.mark.parametrize("name", RUNS)
def test_run_is_complete_and_its_record_agrees_with_its_history(name):
    run = load_run(name, folder=DATA / "runs")
    assert len(run.history["epoch"]) == run.config["epochs"]
    assert run.history["test_accuracy"][-1] == run.test_accuracy


def test_the_runs_are_those_of_the_grid_that_makes_them(monkeypatch):
    monkeypatch.chdir(ROOT)
    settings = {field.name for field in dataclasses.fields(TrainingConfig)}
    asked = {}
    for parameters in read_grid("sweeps/book.yaml").runs.values():
        config = TrainingConfig(**{name: value for name, value in parameters.items() if name in settings})
        asked[config.name] = dataclasses.asdict(config)
    # Runs that are still being trained are asked for and not there yet.
    assert {name: asked.get(name) for name in RUNS} == {name: load_run(name, folder=DATA / "runs").config for name in RUNS}


def test_the_name_of_a_run_tells_its_configuration():
    for name in RUNS:
        run = load_run(name, folder=DATA / "runs")
        assert name == TrainingConfig(**run.config).name == json.loads((run.path / "run.json").read_text())["name"]


def test_initial_second_layer_follows_from_the_seed():
    kept = [run for run in find_runs(folder=DATA / "runs") if "initial.dense2.weight" in load_file(run.weights_file)]
    assert len(kept) >= 3
    for run in kept:
        W0 = rmtlib.load_weights(run, initial=True)["dense2"].matrix
        np.testing.assert_array_equal(W0, rmtlib.ensembles.glorot_uniform(W0.shape, [run.config["seed"], 2]))


def test_half_precision_moves_no_level_by_a_fiftieth_of_a_spacing():
    for laziness in ("0.5", "1", "5"):
        W = rmtlib.load_weights(load_run(f"mlp512-cifar10-alpha{laziness}-seed0", folder=DATA / "runs"))["dense2"].matrix
        nu, rounded = (rmtlib.spectrum(matrix, vectors=False).nu for matrix in (W, W.astype(np.float16).astype(np.float32)))
        assert 0 < np.abs(rounded - nu).max() < np.diff(nu).mean() / 50


def linearized():
    with open(DATA / "linearized.csv", newline="") as lines:
        return list(csv.DictReader(lines))


def test_every_run_of_the_second_layer_is_linearised():
    assert {row["run"] for row in linearized()} == {name for name in RUNS if name.startswith("mlp512-") and "noise" not in name}
    for row in linearized():
        run = load_run(row["run"], folder=DATA / "runs")
        assert (float(row["train_accuracy"]), float(row["test_accuracy"])) == (run.train_accuracy, run.test_accuracy)


@pytest.mark.skipif("RMTLIB_DATA" not in os.environ, reason="needs CIFAR-10: set RMTLIB_DATA")
def test_linearised_accuracies_are_measured_again():
    row = next(row for row in linearized() if row["run"] == "mlp512-cifar10-alpha5-seed0")
    run = load_run(row["run"], folder=DATA / "runs")
    again = linearized_accuracy(run, row["layer"], load_dataset("cifar10", standardization=run.config["standardization"]))
    assert again.train == pytest.approx(float(row["linearized_train_accuracy"]), abs=2e-4)
    assert again.test == pytest.approx(float(row["linearized_test_accuracy"]), abs=4e-4)


def test_motion_ends_at_the_run_it_recorded():
    with safe_open(DATA / "motion.safetensors", framework="np") as file:
        config = json.loads(file.metadata()["config"])
        nu, p = file.get_tensor("nu"), file.get_tensor("output_pvalue")
    run = load_run(TrainingConfig(**config).name, folder=DATA / "runs")
    assert run.config == dataclasses.asdict(TrainingConfig(**config))
    s = rmtlib.spectrum(rmtlib.load_weights(run)["dense2"].matrix)
    assert len(nu) == config["epochs"] + 1
    # The run is stored in half precision, which mixes vectors of levels that nearly meet.
    np.testing.assert_allclose(nu[-1], s.nu, atol=1e-4)
    assert np.mean(np.abs(p[-1] - rmtlib.porter_thomas(s.output_vectors).calibrated_pvalue)) < 0.03
    start = rmtlib.ensembles.glorot_uniform((512, 512), [config["seed"], 2])
    np.testing.assert_allclose(nu[0], rmtlib.spectrum(start, vectors=False).nu, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", [0])
def test_regimes_differ_in_laziness_alone(seed):
    configs = [load_run(f"mlp512-cifar10-alpha{a}-seed{seed}", folder=DATA / "runs").config for a in ("0.5", "1", "5")]
    assert [config.pop("laziness") for config in configs] == [0.5, 1, 5]
    assert configs[0] == configs[1] == configs[2]
    assert configs[0] | {"dataset": "cifar10", "epochs": 100, "learning_rate": 0.001} == configs[0]
