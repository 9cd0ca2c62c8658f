"""How far a network of the digits is linear in a layer."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from rmtlib.learning import TrainingConfig, load_dataset, train
from rmtlib.runs import RunError
from studies.keep import keep
from studies.linearized import measure, read

from .builders import activations, trained_weights

RICH = TrainingConfig(laziness=0.05, epochs=4, batch_size=96, learning_rate=0.002, seed=7)
LAZY = TrainingConfig(laziness=20.0, epochs=4, batch_size=96, learning_rate=0.003, seed=7)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {config: train(config, folder=folder, progress=False) for config in (RICH, LAZY)}


@pytest.fixture(scope="module")
def rows(runs, digits):
    return {config: measure(run, digits).iloc[0] for config, run in runs.items()}


def initial(run, name):
    return load_file(run.weights_file)[f"initial.{name}"].astype(np.float64)


def logits_by_hand(run, images, layer=2):
    """Logits trained, with the layer set back, and linearised: each activation with its derivative along the update."""
    weights = trained_weights(run)
    W0 = initial(run, f"dense{layer}.weight")
    z = activations(weights, images)[1]
    z_reset = activations(weights | {f"dense{layer}.weight": W0}, images)[1]
    a, da = images.astype(np.float64), np.zeros(images.shape)
    for i in range(1, 5):
        W, b = weights[f"dense{i}.weight"], weights[f"dense{i}.bias"]
        start = W0 if i == layer else W
        y, dy = a @ start.T + b, a @ (W - start).T + da @ start.T
        a, da = np.maximum(y, 0), dy * (y > 0)
    return z, y + dy, z_reset


@pytest.mark.parametrize("layer", [2, 3])
def test_errors_and_accuracies_are_those_of_logits_written_out(layer, runs, digits):
    run = runs[RICH]
    row = measure(run, digits, layer=f"dense{layer}").iloc[0]
    z, linear, reset = logits_by_hand(run, digits.test_images, layer)
    assert row["logit_error"] == pytest.approx(np.linalg.norm(z - linear) / np.linalg.norm(z - reset), rel=1e-4)
    assert row["logit_error_total"] == pytest.approx(np.linalg.norm(z - linear) / np.linalg.norm(z), rel=1e-4)
    one = 1.5 / len(digits.test_labels)
    assert row["linearized_test_accuracy"] == pytest.approx(np.mean(linear.argmax(1) == digits.test_labels), abs=one)
    assert row["reset_test_accuracy"] == pytest.approx(np.mean(reset.argmax(1) == digits.test_labels), abs=one)
    reset_train = logits_by_hand(run, digits.train_images, layer)[2]
    expected = np.mean(reset_train.argmax(1) == digits.train_labels)
    assert row["reset_train_accuracy"] == pytest.approx(expected, abs=1.5 / len(digits.train_labels))
    W, W0 = trained_weights(run)[f"dense{layer}.weight"], initial(run, f"dense{layer}.weight")
    assert row["update_size"] == pytest.approx(np.sqrt(np.sum((W - W0) ** 2) / np.sum(W0**2)), rel=1e-5)


def test_a_lazy_network_moves_less_and_is_nearer_to_its_linearisation(rows):
    assert rows[LAZY]["update_size"] < 0.05 < rows[RICH]["update_size"]
    assert rows[LAZY]["logit_error"] < 0.1 < rows[RICH]["logit_error"]


def test_what_the_run_recorded_stands_beside(runs, rows):
    for config, run in runs.items():
        assert (rows[config]["run"], rows[config]["layer"]) == (run.name, "dense2")
        assert (rows[config]["train_accuracy"], rows[config]["test_accuracy"]) == (run.train_accuracy, run.test_accuracy)


def test_around_the_last_layer_nothing_is_left_out(runs, digits):
    row = measure(runs[RICH], digits, layer="dense4").iloc[0]
    assert row["logit_error"] < 1e-4
    assert row["linearized_test_accuracy"] == pytest.approx(row["test_accuracy"], abs=0.003)


def test_initial_weights_that_were_not_kept_follow_from_the_seed(runs, digits, tmp_path):
    kept = keep(runs[RICH], tmp_path, tensors="all", layer="dense3")
    assert "initial.dense2.weight" not in load_file(kept.weights_file)
    assert measure(kept, digits).equals(measure(runs[RICH], digits))


def test_logits_of_a_centred_run_are_those_beyond_the_initial_network(digits, tmp_path):
    config = TrainingConfig(epochs=2, batch_size=480, learning_rate=0.01, laziness=5, centred=True)
    run = train(config, folder=tmp_path, progress=False)
    row = measure(run, digits).iloc[0]
    start = {name: initial(run, name) for name in trained_weights(run)}
    z0 = activations(start, digits.test_images)[1]
    z, linear, reset = logits_by_hand(run, digits.test_images)
    assert row["logit_error_total"] == pytest.approx(np.linalg.norm(z - linear) / np.linalg.norm(z - z0), rel=1e-3)
    assert row["logit_error"] == pytest.approx(np.linalg.norm(z - linear) / np.linalg.norm(z - reset), rel=1e-3)
    expected = np.mean((reset - z0).argmax(1) == digits.test_labels)
    assert row["reset_test_accuracy"] == pytest.approx(expected, abs=1.5 / len(digits.test_labels))


def test_a_run_that_keeps_one_layer_is_refused(runs, digits, tmp_path):
    kept = keep(runs[RICH], tmp_path, tensors="layer")
    with pytest.raises(RunError, match="keeps no trained dense1.weight"):
        measure(kept, digits)


def test_an_unknown_layer_is_refused(runs, digits):
    with pytest.raises(ValueError, match="layer must be one of dense1, dense2, dense3, dense4"):
        measure(runs[RICH], digits, layer="dense9")


def test_the_table_of_one_layer_is_read_with_its_gaps(tmp_path):
    (tmp_path / "table.csv").write_text(
        "run,layer,test_accuracy,linearized_test_accuracy,logit_error\na,dense2,0.5,0.25,\na,dense1,0.5,0.5,0.1\nb,dense2,0.75,0.5,0.2\n"
    )
    table = read("dense2", tmp_path / "table.csv")
    assert table["gap"].to_dict() == {"a": 0.25, "b": 0.25}
    assert np.isnan(table.loc["a", "logit_error"])
    assert table.loc["b", "logit_error"] == 0.2
