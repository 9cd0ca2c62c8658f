"""Networks of the digits that are compressed, and the table of the book."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rmtlib
from rmtlib.filtering import low_rank_factors
from rmtlib.learning import TrainingConfig, load_dataset, load_run, train
from studies.compression import boundary_outcome, measure

from .builders import activations, trained_weights

DATA = Path(__file__).parents[1] / "data"
HIDDEN = ("dense1", "dense2", "dense3")


def read(path):
    return pd.read_csv(path).to_dict("records")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(TrainingConfig(epochs=2, learning_rate=0.003), folder=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def compression(run, digits):
    return measure(run, digits).astype({"budget": str}).to_dict("records")


def accuracy_with(run, digits, change):
    """Accuracy on the test images when each hidden matrix is replaced by change(W, its inputs on the training images)."""
    weights = trained_weights(run)
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
    rows = measure(run, load_dataset("digits"), images=50, budgets=[0.5]).to_dict("records")
    (row,) = [row for row in rows if row["treatment"] == "aware" and row["budget"] == "0.5"]
    shapes = [(300, 25), (150, 7500), (384, 150), (192, 384)]
    ranks = [n * m // (2 * (n + m)) for n, m in shapes]
    assert row["ranks"] == " ".join(map(str, ranks))
    sizes = [rank * sum(shape) for rank, shape in zip(ranks, shapes, strict=True)]
    assert int(row["parameters"]) == sum(sizes)
    # pictures have sides of 7 after the crop, of 3 after the first pooling
    assert int(row["multiply_adds"]) == 49 * sizes[0] + 9 * sizes[1] + sizes[2] + sizes[3]


# The tables of the book


def test_the_compressed_networks_are_the_runs_that_ship():
    whole = {row["run"]: row for row in read(DATA / "filtering" / "compression.csv") if row["treatment"] == "none"}
    mlp512 = [row for name, row in whole.items() if name.startswith("mlp512-")]
    assert len(mlp512) == 3
    for row in mlp512:
        run = load_run(row["run"], folder=DATA / "runs")
        assert float(row["accuracy"]) == pytest.approx(run.test_accuracy, abs=3e-4)
        assert int(row["parameters"]) == 512 * (3072 + 512 + 512)


def test_the_best_rival_of_the_boundary_may_be_pruning():
    lead = np.array([2.0, 2.1, 1.9, 2.0])
    networks = pd.DataFrame({"edge": 50 + lead, "svd": 50.0, "aware": 48.0, "pruned": 40.0, "pruned-global": 50.0 - lead})
    assert boundary_outcome(networks).verdict == "reproduced"
    for rival in ("svd", "aware", "pruned", "pruned-global"):
        better = networks.assign(**{rival: 53.0 + lead})
        assert boundary_outcome(better).verdict == "not reproduced"
        assert boundary_outcome(better, [name for name in networks if name not in ("edge", rival)]).verdict == "reproduced"
