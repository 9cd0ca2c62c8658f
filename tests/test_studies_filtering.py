"""A network of the digits whose singular values are cut, and the table of the book."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

import rmtlib
from rmtlib.filtering import filter_network
from rmtlib.learning import TrainingConfig, load_dataset, load_run, train
from rmtlib.runs import RunError
from studies import filtering
from studies.filtering import measure

from .builders import activations, trained_weights

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(TrainingConfig(epochs=1), folder=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def table(run, digits):
    return measure(run, digits)


def accuracy_with(run, digits, change):
    """Accuracy on the test images when some matrices are replaced by what a function of their decomposition gives."""
    weights = trained_weights(run)
    for name, new_levels in change.items():
        U, nu, V = np.linalg.svd(weights[f"{name}.weight"], full_matrices=False)
        weights[f"{name}.weight"] = (U * new_levels(nu)) @ V
    return np.mean(activations(weights, digits.test_images)[1].argmax(1) == digits.test_labels)


def row(table, layer, treatment, value):
    (found,) = table[(table["layer"] == layer) & (table["treatment"] == treatment) & (table["value"] == value)].to_dict("records")
    return found


def test_the_first_row_is_the_network_as_it_was_trained(run, table):
    assert table.iloc[0][["layer", "treatment"]].tolist() == ["none", "none"]
    np.testing.assert_allclose(table.loc[0, "accuracy"], run.test_accuracy, atol=1e-12)
    np.testing.assert_allclose((table["first_half"] + table["second_half"]) / 2, table["accuracy"], atol=1e-5)
    np.testing.assert_allclose(table["accuracy"] - run.test_accuracy, table["gain"], atol=1e-12)
    assert set(table["layer"]) == {"none", "dense1", "dense2", "dense3", "all"}


def test_a_tenth_of_the_levels_is_set_to_zero(run, digits, table):
    # in descending order, as numpy has them, the last tenth of the ascending levels are the first 52 of 512
    def without_the_largest(nu):
        return np.where(np.arange(len(nu)) < len(nu) - 9 * len(nu) // 10, 0, nu)

    for layers, name in ((["dense2"], "dense2"), (["dense1", "dense2", "dense3"], "all")):
        expected = accuracy_with(run, digits, dict.fromkeys(layers, without_the_largest))
        found = row(table, name, "decile", 9)
        assert found["accuracy"] == pytest.approx(expected, abs=1.5 / len(digits.test_labels))
        assert found["gain"] < -0.1


def test_the_largest_levels_are_kept(run, digits, table):
    found = row(table, "dense3", "plain", 8)
    expected = accuracy_with(run, digits, {"dense3": lambda nu: np.where(np.arange(len(nu)) < 8, nu, 0)})
    assert found["accuracy"] == pytest.approx(expected, abs=1.5 / len(digits.test_labels))
    assert found["kept"] == 8
    assert abs(row(table, "dense2", "plain", 512)["gain"]) < 0.01


@pytest.mark.parametrize("shrink", ["frobenius", "inverse"])
def test_the_cut_at_the_outliers_is_that_of_the_library(shrink, run, digits, table):
    weights = trained_weights(run)
    result = filter_network(weights, layers=["dense1"], shrink=shrink, progress=False)
    found = row(table, "dense1", shrink, 0)
    outliers = rmtlib.fit_marchenko_pastur(rmtlib.spectrum(weights["dense1.weight"]).nu, (512, 64)).n_outliers
    assert found["outliers"] == outliers
    assert found["kept"] == (outliers or 64)
    logits = activations(dict(result.weights), digits.test_images)[1]
    accuracy = np.mean(logits.argmax(1) == digits.test_labels)
    assert found["accuracy"] == pytest.approx(accuracy, abs=1.5 / len(digits.test_labels))


def test_the_error_of_a_gain_is_that_of_a_paired_difference(digits, table):
    # Of n images a are right in the changed network alone and b in the trained one alone: (a + b - (a - b)^2 / n) / n / (n - 1).
    n = len(digits.test_labels)
    for found in table.sample(20, random_state=0).to_dict("records"):
        total = found["gain_error"] ** 2 * n * (n - 1) + (found["gain"] * n) ** 2 / n
        assert total == pytest.approx(round(total), abs=1e-6)
        assert round(total) >= abs(round(found["gain"] * n))


def test_a_run_with_centred_logits_is_refused(digits, tmp_path):
    centred = train(TrainingConfig(epochs=1, batch_size=480, centred=True), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="run must have logits that are not centred; got 'mlp512.*centred'"):
        measure(centred, digits)


def test_a_run_that_keeps_one_layer_is_refused(run, digits, tmp_path):
    from studies.keep import keep

    kept = keep(run, tmp_path, tensors="layer")
    with pytest.raises(RunError, match=r"keeps no trained dense1.weight, dense1.bias, dense3.weight, .* train the run again"):
        measure(kept, digits)


# The table of the book


def measured():
    return pd.read_csv(DATA / "filtering" / "mlp512.csv").to_dict("records")


def test_the_measured_networks_are_the_runs_that_ship():
    rows = measured()
    whole = {row["run"]: row["accuracy"] for row in rows if row["layer"] == "none"}
    assert len(whole) == 3
    for name, accuracy in whole.items():
        run = load_run(name, folder=DATA / "runs")
        assert accuracy == pytest.approx(run.test_accuracy, abs=3e-4)
        W = rmtlib.load_weights(run)["dense2"].matrix
        expected = rmtlib.fit_marchenko_pastur(rmtlib.spectrum(W, vectors=False).nu, W.shape).n_outliers
        assert {row["outliers"] for row in rows if (row["run"], row["layer"]) == (name, "dense2")} == {expected}
    for row in rows:
        assert row["gain"] == pytest.approx(row["accuracy"] - whole[row["run"]], abs=2e-6)
        assert row["accuracy"] == pytest.approx((row["first_half"] + row["second_half"]) / 2, abs=2e-6)


@pytest.mark.skipif("RMTLIB_DATA" not in os.environ, reason="needs CIFAR-10: set RMTLIB_DATA")
def test_a_measured_accuracy_is_measured_again():
    from rmtlib.learning import build_network
    from rmtlib.learning.training import accuracy

    run = load_run("mlp512-cifar10-alpha0.5-seed0", folder=DATA / "runs")
    wanted = {"run": run.name, "layer": "dense2", "treatment": "frobenius", "value": 0}
    (row,) = [row for row in measured() if wanted.items() <= row.items()]
    tensors = load_file(run.weights_file)
    trained = {name.removeprefix("trained."): tensor for name, tensor in tensors.items() if name.startswith("trained.")}
    result = filter_network(trained, layers=["dense2"], progress=False)
    assert result.report["rank"].tolist() == [row["kept"]]
    data = load_dataset("cifar10", standardization=run.config["standardization"])
    network = build_network("mlp512", shape=data.shape, n_classes=data.n_classes)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in result.weights.items()})
    again = accuracy(network, data.test_images, data.test_labels)
    assert again == pytest.approx(row["accuracy"], abs=4e-4)


def rows_of(laziness, layer, treatment, values, first, second, *, whole=0.5, outliers=2, error=0.01):
    accuracy = (np.asarray(first) + np.asarray(second)) / 2
    known = {"laziness": laziness, "layer": layer, "treatment": treatment, "outliers": outliers, "gain_error": error}
    halves = {"value": values, "first_half": first, "second_half": second}
    return pd.DataFrame({**known, **halves, "accuracy": accuracy, "gain": accuracy - whole})


def test_gains_at_the_edge_and_of_chosen_cuts_stand_side_by_side():
    table = pd.concat(
        [
            rows_of(1.0, "none", "none", [0], [0.4], [0.6]),
            rows_of(1.0, "dense1", "plain", [0, 1, 2], [0.5, 0.3, 0.5], [0.5, 0.7, 0.6]),
            rows_of(1.0, "dense1", "frobenius", [0, 1], [0.6, 0.45], [0.6, 0.65]),
            rows_of(1.0, "all", "plain", [0, 1], [0.7, 0.4], [0.7, 0.6], outliers=-1),
            rows_of(1.0, "dense1", "decile", [0], [0.1], [0.1]),
        ],
        ignore_index=True,
    )
    edge = filtering.at_the_edge(table)
    assert edge.loc[(1.0, "dense1", "2"), "frobenius"] == pytest.approx(0.1)
    assert edge.loc[(1.0, "all", ""), "plain"] == pytest.approx(0.2)
    assert set(filtering.cuts(table)["treatment"]) == {"plain", "frobenius"}
    chosen = filtering.chosen_gains(table)
    # The first half chooses the second cut, which gains nothing on the second; the second half the first, which loses 0.1.
    assert chosen.loc[(1.0, "dense1"), "plain"] == pytest.approx(-0.05)
    assert chosen.loc[(1.0, "dense1"), "frobenius"] == pytest.approx(0.05)
    assert chosen.loc[(1.0, "all"), "plain"] == pytest.approx(0)


def regimes(chosen=0.52):
    lower = [0.5, 0.46, 0.54, 0.5, 0.48]
    parts = [rows_of(laziness, "none", "none", [0], [0.5], [0.5]) for laziness in (0.5, 1.0, 5.0)]
    for laziness, edge in ((0.5, 0.4), (1.0, 0.3), (5.0, 0.5)):
        halves = [edge, 0.45, 0.48]
        parts.append(rows_of(laziness, "dense2", "frobenius", [0, 1, 2], halves, halves))
        parts.append(rows_of(laziness, "all", "plain", [1], [chosen], [chosen], outliers=-1, error=0.004))
    parts += [
        rows_of(1.0, "dense1", "decile", range(10), [*lower, 0, 0, 0, 0, 0.2], [*lower, 0, 0, 0, 0, 0.2]),
        rows_of(5.0, "dense1", "decile", range(10), [0.4] * 10, [0.4] * 10),
        rows_of(5.0, "all", "decile", range(10), [0.0] * 10, [0.0] * 10),
    ]
    return pd.concat(parts, ignore_index=True)


def test_what_the_book_says_of_three_regimes_is_read_off_the_table():
    found = filtering.outcomes(regimes())
    verdict = found.pop("B-filtering-clean")
    assert verdict.verdict == "reproduced"
    half = 1.645 * 0.4 / np.sqrt(3)
    assert verdict.numbers["says"].endswith(f"3 networks: +2.00 (+{2 - half:.2f} to +{2 + half:.2f}), points")
    assert found == pytest.approx(
        {
            "edge-typical": -20,
            "edge-rich": -10,
            "best-honest": 2,
            "cuts": 12,
            "best-z": 5,
            "top-decile-typical": 30,
            "bottom-deciles": 10,
            "bottom-clear": 7,
            "bottom-clear-lazy": 5,
        }
    )
    assert filtering.outcomes(regimes(chosen=0.495))["B-filtering-clean"].verdict == "not reproduced"
    assert filtering.outcomes(regimes(chosen=0.503))["B-filtering-clean"].verdict == "inconclusive"


def test_numbers_of_the_page_are_those_of_filters_and_tails():
    kept = {"frobenius": SimpleNamespace(rank=3)}
    assert filtering.recovery(SimpleNamespace(rank=0), kept, {"frobenius": 1.0, "inverse": 1.1, False: 1.4}) == {
        "filter-noise-rank": 0,
        "filter-planted-rank": 3,
        "filter-error": 1.0,
        "filter-error-inverse": 1.1,
        "filter-error-cut": 1.4,
    }
    tails = pd.DataFrame({"exponent": [6.5, 3.5], "p": [0.1, 0.2], "levels": [40, 60]}, index=["initial", "rich"])
    assert filtering.tail_numbers(tails.loc["initial"], tails.loc["rich"]) == {
        "tail-initial": 6.5,
        "tail-initial-p": 0.1,
        "tail-rich": 3.5,
        "tail-rich-p": 0.2,
        "tail-rich-levels": 60,
    }
