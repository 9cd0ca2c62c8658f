"""The scripts behind the make verbs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

import rmtlib
from rmtlib.learning import TrainingConfig, build_network, load_dataset, load_run, train
from rmtlib.learning.training import accuracy

TOOLS = Path(__file__).parents[1] / "tools"


def run_tool(name, *arguments, cwd):
    command = [sys.executable, TOOLS / name, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(TrainingConfig(epochs=1), folder=tmp_path_factory.mktemp("runs"), progress=False)


def test_a_kept_run_is_smaller_and_whole(trained, tmp_path):
    run_tool("keep_runs.py", trained.path, cwd=tmp_path)
    kept = load_run(trained.name, folder=tmp_path / "data" / "runs")
    before, after = load_file(trained.weights_file), load_file(kept.weights_file)
    assert {name for name in before if name not in after} == {
        f"initial.dense{i}.{part}" for i in (1, 3, 4) for part in ("weight", "bias")
    }
    assert all(np.array_equal(before[name], after[name]) for name in after)
    assert len(rmtlib.load_weights(kept, min_levels=2)) == 4


@pytest.mark.parametrize(("keep", "layers"), [("half", {"dense1", "dense2", "dense3", "dense4"}), ("layer", {"dense2"})])
def test_a_run_may_be_kept_in_half_precision(trained, tmp_path, keep, layers):
    run_tool("keep_runs.py", "--keep", keep, trained.path, cwd=tmp_path)
    kept = load_run(trained.name, folder=tmp_path / "data" / "runs")
    before, after = load_file(trained.weights_file), load_file(kept.weights_file)
    assert {tuple(name.split(".")[:2]) for name in after} == {("trained", layer) for layer in layers}
    for name, tensor in after.items():
        assert tensor.dtype == np.float16
        np.testing.assert_allclose(tensor, before[name], rtol=2**-11, atol=2**-25)


def test_the_registry_names_the_command_of_every_file(trained, tmp_path):
    run_tool("keep_runs.py", trained.path, cwd=tmp_path)
    lines = (tmp_path / "data" / "registry.txt").read_text().splitlines()
    assert lines[0] == "# file sha256 origin"
    assert {line.split()[0].rsplit("/", 1)[1] for line in lines[1:]} == {"run.json", "history.csv", "weights.safetensors"}
    assert all("-p laziness 1.0" in line and "-p seed 0" in line for line in lines[1:])


def test_an_altered_run_is_not_kept(trained, tmp_path):
    record = json.loads((trained.path / "run.json").read_text())
    copy = tmp_path / trained.name
    copy.mkdir()
    for file in trained.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    record["sha256"]["history.csv"] = "0" * 64
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.raises(subprocess.CalledProcessError) as failure:
        run_tool("keep_runs.py", copy, cwd=tmp_path)
    assert "history.csv differs from the file that the run wrote" in failure.value.stderr


def test_executed_chapters_are_dropped_when_an_input_changes_and_kept_otherwise(tmp_path):
    source, cache = tmp_path / "input.py", tmp_path / "_build" / ".jupyter_cache"
    source.write_text("1")
    run_tool("drop_stale_cache.py", "input.py", cwd=tmp_path)
    cache.mkdir()
    run_tool("drop_stale_cache.py", "input.py", cwd=tmp_path)
    assert cache.exists()
    source.write_text("2")
    run_tool("drop_stale_cache.py", "input.py", cwd=tmp_path)
    assert not cache.exists()


def test_rivals_of_filtering_are_the_epochs_and_the_averages_of_their_weights(tmp_path):
    options = ("epochs=3", "label_noise=0.2")
    run_tool("measure_rivals.py", "runs", "rivals.csv", *options, cwd=tmp_path)
    run = load_run("mlp512-digits-alpha1-seed0-epochs3-noise0.2", folder=tmp_path / "runs")
    others = (tmp_path / "rivals.csv").read_text().replace("seed0", "seed1")
    (tmp_path / "rivals.csv").write_text(others)
    run_tool("measure_rivals.py", "runs", "rivals.csv", *options, cwd=tmp_path)
    both = pd.read_csv(tmp_path / "rivals.csv")
    assert both["run"].value_counts().to_dict() == {run.name: 6, run.name.replace("seed0", "seed1"): 6}
    table = both[both["run"] == run.name].pivot(index="epoch", columns="kind", values="accuracy")
    np.testing.assert_allclose(table["stop"], run.history["test_accuracy"], atol=1e-5)
    assert table.loc[3, "average"] == table.loc[3, "stop"]
    epochs = [load_file(run.path / "epochs" / f"{epoch:04}.safetensors") for epoch in (2, 3)]
    data = load_dataset("digits")
    network = build_network("mlp512", shape=data.shape, n_classes=data.n_classes)
    network.load_state_dict({key: torch.from_numpy((epochs[0][key] + epochs[1][key]) / 2) for key in epochs[0]})
    assert abs(table.loc[2, "average"] - accuracy(network, data.test_images, data.test_labels)) < 0.003


def test_filtering_is_measured_against_the_network_as_it_was_trained(trained, tmp_path):
    run_tool("measure_filtering.py", "--runs", trained.path.parent, "--output", "table.csv", trained.name, cwd=tmp_path)
    table = pd.read_csv(tmp_path / "table.csv")
    np.testing.assert_allclose(table[table["layer"] == "none"]["accuracy"], trained.test_accuracy, atol=1e-6)
    np.testing.assert_allclose((table["first_half"] + table["second_half"]) / 2, table["accuracy"], atol=1e-5)
    np.testing.assert_allclose(table["accuracy"] - trained.test_accuracy, table["gain"], atol=1e-5)
    levels = rmtlib.load_weights(trained)["dense2"].matrix.shape[0]
    whole = table[(table["layer"] == "dense2") & (table["treatment"] == "plain") & (table["value"] == levels)]
    assert len(whole) == 1
    assert abs(whole["gain"].item()) < 0.01
    assert set(table["layer"]) == {"none", "dense1", "dense2", "dense3", "all"}
    assert table[(table["treatment"] == "decile") & (table["value"] == 9)]["gain"].min() < -0.1
