"""The tools that compress networks, and that measure what singular vectors carry, on a network of the digits."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import rmtlib
from rmtlib.filtering import low_rank_factors
from rmtlib.learning import TrainingConfig, load_dataset, load_run, train

ROOT = Path(__file__).parents[1]
FILTERING = ROOT / "data" / "filtering"
HIDDEN = ("dense1", "dense2", "dense3")


def read(path):
    with open(path, newline="") as lines:
        return list(csv.DictReader(lines))


def measure(tool, run, output, *arguments):
    command = [sys.executable, ROOT / "tools" / tool, "--runs", run.path.parent, "--output", output, *arguments, run.name]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return read(output)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(TrainingConfig(epochs=2, learning_rate=0.003), folder=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def compression(run, tmp_path_factory):
    return measure("measure_compression.py", run, tmp_path_factory.mktemp("out") / "new" / "compression.csv")


@pytest.fixture(scope="module")
def directions(run, tmp_path_factory):
    return measure("measure_directions.py", run, tmp_path_factory.mktemp("out") / "directions.csv", "--draws", "200")


def weights_of(run):
    return {
        name.removeprefix("trained."): W.astype(np.float64) for name, W in load_file(run.weights_file).items() if name[0] == "t"
    }


def activations(weights, images):
    """Inputs of each dense layer, and the logits."""
    found = [images.astype(np.float64)]
    for i in range(1, 5):
        logits = found[-1] @ weights[f"dense{i}.weight"].T + weights[f"dense{i}.bias"]
        found.append(np.maximum(logits, 0))
    return found[:-1], logits


def accuracy_with(run, digits, change):
    """Accuracy on the test images when each hidden matrix is replaced by change(W, its inputs on the training images)."""
    weights = weights_of(run)
    inputs, _ = activations(weights, digits.train_images)
    changed = {f"{name}.weight": change(weights[f"{name}.weight"], x) for name, x in zip(HIDDEN, inputs, strict=False)}
    return np.mean(activations(weights | changed, digits.test_images)[1].argmax(1) == digits.test_labels)


def rank_of(W, share):
    return int(share * W.size / sum(W.shape))


def truncated(W, x):
    return low_rank_factors(W, rank_of(W, 0.4)).matrix


def weighted(W, x):
    """The truncated decomposition of W C^(1/2), written out."""
    values, axes = np.linalg.eigh(x.T @ x / len(x))
    root = np.sqrt(np.maximum(values, 0))
    U, s, V = np.linalg.svd((W @ axes) * root, full_matrices=False)
    rank = rank_of(W, 0.4)
    inverse = np.where(root > 1e-6 * root.max(), 1 / np.maximum(root, 1e-300), 0)
    return (U[:, :rank] * s[:rank]) @ (V[:rank] * inverse) @ axes.T


def pruned(W, x):
    kept = rank_of(W, 0.4) * sum(W.shape)
    return np.where(np.abs(W) >= np.sort(np.abs(W), axis=None)[-kept], W, 0)


def test_the_first_row_is_the_network_as_it_was_trained(run, compression):
    first = compression[0]
    assert first["treatment"] == "none"
    assert float(first["accuracy"]) == pytest.approx(run.test_accuracy, abs=1e-6)
    assert int(first["parameters"]) == int(first["multiply_adds"]) == 512 * (64 + 512 + 512)


@pytest.mark.parametrize(("treatment", "change"), [("svd", truncated), ("aware", weighted), ("pruned", pruned)])
def test_a_compressed_network_has_the_accuracy_of_its_definition(treatment, change, run, digits, compression):
    (row,) = [row for row in compression if (row["treatment"], row["budget"]) == (treatment, "0.4")]
    # one image may lie on the boundary of float32
    assert accuracy_with(run, digits, change) == pytest.approx(float(row["accuracy"]), abs=1.5 / len(digits.test_labels))


def test_all_treatments_of_one_budget_keep_equally_many_numbers_and_no_more_than_it_allows(compression):
    for budget in {row["budget"] for row in compression} - {"none", "edge"}:
        rows = [row for row in compression if row["budget"] == budget]
        assert {row["treatment"] for row in rows} == {"svd", "aware", "pruned", "pruned-global"}
        (number,) = {int(row["parameters"]) for row in rows}
        assert 0.9 * float(budget) < number / 557056 <= float(budget)
        assert all(float(row["share"]) == pytest.approx(number / 557056, rel=1e-5) for row in rows)


def test_a_layer_without_outliers_stays_as_it_is(run, compression):
    matrices = [rmtlib.load_weights(run)[name].matrix for name in HIDDEN]
    outliers = [rmtlib.fit_marchenko_pastur(rmtlib.spectrum(W).nu, W.shape).n_outliers for W in matrices]
    edges = [row for row in compression if row["treatment"] in ("edge", "shrunk")]
    assert len(edges) == 2
    assert all(list(map(int, row["ranks"].split())) == outliers for row in edges)
    sizes = [min(rank * sum(W.shape), W.size) if rank else W.size for rank, W in zip(outliers, matrices, strict=True)]
    assert {int(row["parameters"]) for row in edges} == {sum(sizes)}


def test_gains_are_differences_from_the_trained_network(compression):
    whole = float(compression[0]["accuracy"])
    for row in compression:
        assert float(row["gain"]) == pytest.approx(float(row["accuracy"]) - whole, abs=2e-6)
        assert float(row["accuracy"]) == pytest.approx((float(row["first_half"]) + float(row["second_half"])) / 2, abs=2e-6)


def test_convolutions_are_compressed_as_matrices(tmp_path):
    run = train(TrainingConfig(network="minialexnet", epochs=1, batch_size=256), folder=tmp_path / "runs", progress=False)
    rows = measure("measure_compression.py", run, tmp_path / "out.csv", "--images", "50", "--budgets", "0.5", "--")
    (row,) = [row for row in rows if row["treatment"] == "aware" and row["budget"] == "0.5"]
    shapes = [(300, 25), (150, 7500), (384, 150), (192, 384)]
    ranks = [n * m // (2 * (n + m)) for n, m in shapes]
    assert row["ranks"] == " ".join(map(str, ranks))
    sizes = [rank * sum(shape) for rank, shape in zip(ranks, shapes, strict=True)]
    assert int(row["parameters"]) == sum(sizes)
    # pictures have sides of 7 after the crop, of 3 after the first pooling
    assert int(row["multiply_adds"]) == 49 * sizes[0] + 9 * sizes[1] + sizes[2] + sizes[3]


def test_energies_of_a_complete_basis_average_to_one(directions):
    rows = collect(directions)
    assert len(rows) == 3 * 2 * 2
    m = {"dense1": 64, "dense2": 512, "dense3": 512}
    for (layer, _, _), part in rows.items():
        numbers = np.diff(np.arange(11) * m[layer] // 10)
        energies = np.array([float(row["energy"]) for row in part])
        assert numbers @ energies / m[layer] == pytest.approx(1, rel=1e-4)
        for share in ("nu2", "response"):
            assert sum(float(row[share]) for row in part) == pytest.approx(1, rel=1e-4)


def collect(directions):
    groups = {}
    for row in directions:
        groups.setdefault((row["layer"], row["weights"], row["about"]), []).append(row)
    assert all([row["decile"] for row in part] == list("0123456789") for part in groups.values())
    return groups


def test_an_energy_is_the_mean_square_of_the_inputs_along_the_vectors(run, digits, directions):
    weights = weights_of(run)
    x = activations(weights, digits.train_images)[0][1]
    V = rmtlib.spectrum(weights["dense2.weight"]).input_vectors
    along = x @ V.T
    for about, energy in (("zero", np.mean(along**2, 0)), ("mean", along.var(0))):
        part = collect(directions)["dense2", "trained", about]
        expected = energy[-52:].mean() / energy.mean()
        assert float(part[9]["energy"]) == pytest.approx(expected, rel=1e-3)


def test_vectors_that_know_nothing_of_the_images_stay_within_the_band_of_random_ones(directions):
    # deeper layers do not: the layers before them have been trained through their weights
    rows = [row for row in directions if (row["layer"], row["weights"]) == ("dense1", "initial")]
    assert len(rows) == 20
    assert all(float(row["low"]) <= float(row["energy"]) <= float(row["high"]) for row in rows)


# The tables of the book


def test_the_compressed_networks_are_the_runs_that_ship():
    whole = {row["run"]: row for row in read(FILTERING / "compression.csv") if row["treatment"] == "none"}
    mlp512 = [row for name, row in whole.items() if name.startswith("mlp512-")]
    assert len(mlp512) == 3
    for row in mlp512:
        run = load_run(row["run"], folder=ROOT / "data" / "runs")
        assert float(row["accuracy"]) == pytest.approx(run.test_accuracy, abs=3e-4)
        assert int(row["parameters"]) == 512 * (3072 + 512 + 512)


def test_measured_directions_are_those_of_the_filtered_networks():
    rows = read(FILTERING / "directions.csv")
    assert {row["run"] for row in rows} == {row["run"] for row in read(FILTERING / "mlp512.csv")}
    row = next(row for row in rows if (row["layer"], row["weights"], row["decile"]) == ("dense2", "trained", "9"))
    nu = rmtlib.spectrum(rmtlib.load_weights(load_run(row["run"], folder=ROOT / "data" / "runs"))["dense2"].matrix).nu
    assert float(row["nu2"]) == pytest.approx(np.sum(nu[-52:] ** 2) / np.sum(nu**2), rel=1e-4)
