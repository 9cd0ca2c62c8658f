"""Networks of the digits that are followed epoch by epoch: rivals of filtering, and a layer in motion."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import rmtlib
from rmtlib.learning import TrainingConfig, load_dataset, train
from rmtlib.runs import RunError
from studies import motion, rivals
from studies.epochs import epoch_weights, train_keeping_epochs

from .builders import activations, trained_weights

CONFIG = TrainingConfig(epochs=3, label_noise=0.2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_keeping_epochs(CONFIG, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def test_the_kept_weights_begin_and_end_with_those_of_the_run(run):
    for when, epoch in (("initial", 0), ("trained", 3)):
        kept = epoch_weights(run, epoch)
        for name, tensor in load_file(run.weights_file).items():
            if name.startswith(when):
                np.testing.assert_array_equal(kept.pop(name.removeprefix(f"{when}.")), tensor)
        assert kept == {}


def test_some_layers_are_kept_alone(tmp_path):
    run = train_keeping_epochs(TrainingConfig(epochs=1), tmp_path, layers=["dense2"])
    assert set(epoch_weights(run, 1)) == {"dense2.weight", "dense2.bias"}


def test_rivals_are_the_epochs_and_the_averages_of_their_weights(run, digits):
    table = rivals.measure(run, digits)
    assert table["label_noise"].unique().tolist() == [0.2]
    accuracy = table.pivot(index="epoch", columns="kind", values="accuracy")
    np.testing.assert_allclose(accuracy["stop"], run.history["test_accuracy"], atol=1e-12)
    epochs = {epoch: {name: W.numpy().astype(float) for name, W in epoch_weights(run, epoch).items()} for epoch in (1, 2, 3)}
    for first in (1, 2, 3):
        mean = {name: np.mean([epochs[epoch][name] for epoch in range(first, 4)], axis=0) for name in epochs[3]}
        expected = np.mean(activations(mean, digits.test_images)[1].argmax(1) == digits.test_labels)
        assert accuracy.loc[first, "average"] == pytest.approx(expected, abs=1.5 / len(digits.test_labels))


def test_motion_is_the_spectrum_after_every_epoch(run):
    table = motion.measure(run, layer="dense3")
    assert table.groupby("epoch").size().to_dict() == {0: 512, 1: 512, 2: 512, 3: 512}
    last = table[table["epoch"] == 3]
    U, nu, V = np.linalg.svd(trained_weights(run)["dense3.weight"])
    np.testing.assert_allclose(last["nu"], nu[::-1], atol=1e-5)
    for column, vectors in (("input_pvalue", V[::-1]), ("output_pvalue", U.T[::-1])):
        p = rmtlib.porter_thomas(vectors).calibrated_pvalue
        assert np.median(np.abs(last[column] - p)) < 0.002


def test_motion_is_written_with_one_row_an_epoch(run, tmp_path):
    table = motion.measure(run)
    motion.write(tmp_path / "motion.safetensors", table, run)
    with safe_open(tmp_path / "motion.safetensors", framework="np") as file:
        metadata = file.metadata()
        nu = file.get_tensor("nu")
        assert set(file.keys()) == {"nu", "input_pvalue", "output_pvalue"}
    assert (nu.dtype, nu.shape) == (np.float32, (4, 512))
    np.testing.assert_allclose(nu[2], table.loc[table["epoch"] == 2, "nu"], rtol=1e-6)
    assert TrainingConfig(**json.loads(metadata["config"])) == CONFIG
    assert metadata["layer"] == "dense2"


def test_a_run_whose_epochs_were_not_kept_is_refused(digits, tmp_path):
    run = train(TrainingConfig(epochs=1), folder=tmp_path, progress=False)
    for measure in (rivals.measure, motion.measure):
        with pytest.raises(RunError, match=r"keeps no weights of epoch \d, .* delete its folder '.*' first, then"):
            measure(run, digits)
    # Asked for again without that, the finished run comes back as it was; after it, its epochs are kept.
    train_keeping_epochs(TrainingConfig(epochs=1), tmp_path)
    with pytest.raises(RunError):
        epoch_weights(run, 1)
    shutil.rmtree(run.path)
    assert epoch_weights(train_keeping_epochs(TrainingConfig(epochs=1), tmp_path), 1)


def test_methods_choose_on_one_half_and_are_judged_on_the_other():
    def row(layer, treatment, value, first, second):
        mean = (first + second) / 2
        halves = {"first_half": first, "second_half": second, "accuracy": mean, "gain": mean - 0.5}
        return {"layer": layer, "treatment": treatment, "value": value} | halves

    cuts = pd.DataFrame(
        [
            row("none", "none", 0, 0.4, 0.6),
            row("all", "frobenius", 0, 0.5, 0.6),
            row("all", "plain", 8, 0.4, 0.9),
            row("dense3", "frobenius", 0, 0.6, 0.6),
            row("dense3", "decile", 0, 1.0, 1.0),
        ]
    )
    epochs = [("stop", 0.5, 0.7), ("stop", 0.3, 0.8), ("average", 0.6, 0.6)]
    found = rivals.methods(cuts, pd.DataFrame(epochs, columns=["kind", "first_half", "second_half"]))
    assert found == pytest.approx(
        {
            "trained to the end": 50,
            "edge, all layers": 55,
            "edge, layer 3": 60,
            # The first half chooses the edge, 0.6 - 0.6 on the second; the second chooses the eight, 0.4 - 0.4 on the first.
            "chosen cut, all layers": 50,
            "chosen cut, one layer": 60,
            # The first half chooses 0.5, 0.7 - 0.6 on the second; the second chooses 0.8, 0.3 - 0.4 on the first.
            "early stopping": 50,
            "average of weights": 60,
        }
    )
