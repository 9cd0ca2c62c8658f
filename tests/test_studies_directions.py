"""Activations of a network of the digits along its singular vectors, and the table of the book."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rmtlib
from rmtlib.learning import TrainingConfig, load_dataset, load_run, train
from studies.directions import measure

from .builders import activations, trained_weights

DATA = Path(__file__).parents[1] / "data"


def read(path):
    return pd.read_csv(path).to_dict("records")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(TrainingConfig(epochs=2, learning_rate=0.003), folder=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def directions(run, digits):
    return measure(run, digits, draws=200).to_dict("records")


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
    assert all([row["decile"] for row in part] == list(range(10)) for part in groups.values())
    return groups


def test_an_energy_is_the_mean_square_of_the_inputs_along_the_vectors(run, digits, directions):
    weights = trained_weights(run)
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


def test_measured_directions_are_those_of_the_filtered_networks():
    rows = read(DATA / "filtering" / "directions.csv")
    assert {row["run"] for row in rows} == {row["run"] for row in read(DATA / "filtering" / "mlp512.csv")}
    row = next(row for row in rows if (row["layer"], row["weights"], row["decile"]) == ("dense2", "trained", 9))
    nu = rmtlib.spectrum(rmtlib.load_weights(load_run(row["run"], folder=DATA / "runs"))["dense2"].matrix).nu
    assert float(row["nu2"]) == pytest.approx(np.sum(nu[-52:] ** 2) / np.sum(nu**2), rel=1e-4)
