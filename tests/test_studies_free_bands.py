"""Trained layers within bands of fresh noise plus update: on runs of the digits, and on rows that are made up."""

import numpy as np
import pandas as pd
import pytest

from rmtlib import load_weights
from rmtlib.runs import initial
from studies import free_bands

ROW = {
    **{"run": "one", "layer": "dense2", "draws": 200, "turns": 20},
    **{"lower": 0.5, "lower_initial": 0.3, "lower_mean": 0.4, "lower_low": 0.39, "lower_high": 0.41, "lower_turned": 19},
    **{"outliers": 20, "outliers_initial": 0, "outliers_mean": 9, "outliers_low": 8, "outliers_high": 11, "outliers_turned": 20},
}


@pytest.fixture(scope="module")
def run():
    from rmtlib.runs import find_runs

    return find_runs(network="mlp512", seed=0, laziness=5, epochs=100, learning_rate=0.001)[0]


def test_a_run_is_measured_against_draws_of_its_noise(run):
    row = free_bands.measure(run, draws=40, turns=2, rng=1).loc[0]
    start = initial(run, "dense2").astype(float)
    nu = {"lower_initial": np.linalg.svd(start, compute_uv=False)}
    nu["lower"] = np.linalg.svd(load_weights(run)["dense2"].matrix.astype(float), compute_uv=False)
    for column, levels in nu.items():
        lower = np.sort(levels)[: round(0.6 * 512)]
        assert row[column] == pytest.approx(np.mean(lower**2) / (512 * 2 / 1024), rel=1e-6)
    assert row["lower_low"] < row["lower_mean"] < row["lower_high"]
    assert (row["run"], row["layer"], row["draws"], row["turns"]) == (run.name, "dense2", 40, 2)
    assert 0 <= row["lower_turned"] <= 2
    assert row["outliers_turned"] == 2  # a lazy layer has none, and its noise none


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "not reproduced"),
        ({"lower": 0.4, "outliers": 11}, "reproduced"),
        ({"lower": 0.4}, "not reproduced"),
        ({"outliers": 8}, "not reproduced"),
    ],
)
def test_both_numbers_of_every_network_have_to_lie_in_their_bands(change, verdict):
    inside = ROW | {"lower": 0.4, "outliers": 9}
    assert free_bands.judged(pd.DataFrame([inside, ROW | change])).verdict == verdict


def test_the_evidence_says_what_share_is_predicted():
    says = str(free_bands.judged(pd.DataFrame([ROW])).numbers["says"])
    assert "lower levels of 0, outliers of 0 of 1 networks" in says
    assert "50% of the change" in says
    assert "of 20 random turns of each update 98% are in the band" in says


@pytest.mark.parametrize(("options", "message"), [({"draws": 39}, "draws must be"), ({"turns": 0}, "turns must be")])
def test_too_few_draws_have_no_band(options, message):
    with pytest.raises(ValueError, match=message):
        free_bands.measure(None, **options)
