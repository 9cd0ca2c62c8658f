"""Trained layers within bands of fresh noise plus update: on runs of the digits, and on rows that are made up."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rmtlib import load_weights
from rmtlib.runs import initial
from studies import free_bands

ROW = {
    **{"run": "one", "layer": "dense2", "draws": 200, "turns": 20, "bands": 30},
    **{"lower": 0.5, "lower_initial": 0.3, "lower_mean": 0.4, "lower_low": 0.39, "lower_high": 0.41, "lower_turned": 19},
    **{"outliers": 20, "outliers_initial": 0, "outliers_mean": 9, "outliers_low": 8, "outliers_high": 11, "outliers_turned": 20},
}


@pytest.fixture(scope="module")
def run():
    from rmtlib.runs import find_runs

    return find_runs(network="mlp512", seed=0, laziness=5, epochs=100, learning_rate=0.001)[0]


def test_a_run_is_measured_against_draws_of_its_noise(run):
    row = free_bands.measure(run, draws=60, turns=2, rng=1).loc[0]
    start = initial(run, "dense2").astype(float)
    nu = {"lower_initial": np.linalg.svd(start, compute_uv=False)}
    nu["lower"] = np.linalg.svd(load_weights(run)["dense2"].matrix.astype(float), compute_uv=False)
    for column, levels in nu.items():
        lower = np.sort(levels)[: round(0.6 * 512)]
        assert row[column] == pytest.approx(np.mean(lower**2) / (512 * 2 / 1024), rel=1e-6)
    assert row["lower_low"] < row["lower_mean"] < row["lower_high"]
    assert (row["run"], row["layer"], row["draws"], row["turns"]) == (run.name, "dense2", 60, 2)
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


@pytest.mark.parametrize(("bands", "missed"), [(1, 0.05), (30, 0.05 / 30)])
def test_a_value_that_is_noise_misses_its_band_as_seldom_as_thirty_of_them_ask_for(bands, missed, run, monkeypatch):
    """The bands that `measure` makes of 40 normal draws, where Student's t matters, against one further draw of each."""
    rng, cases = np.random.default_rng(2), 1000
    numbers = iter(rng.normal(3, 2, (43 * cases, 2)))
    layer = SimpleNamespace(draw=lambda rng: 0, trained_nu=0, start_nu=0)
    monkeypatch.setattr(free_bands.bulk_origin, "of_run", lambda run, layer_name: layer)
    monkeypatch.setattr(free_bands.bulk_origin, "turned", lambda origin, rng: layer)
    monkeypatch.setattr(
        free_bands.bulk_origin, "statistics", lambda nu, origin: dict(zip(free_bands.STATISTICS, next(numbers), strict=True))
    )
    rows = pd.concat([free_bands.measure(run, draws=40, turns=1, bands=bands) for _ in range(cases)])
    outside = ~free_bands.inside(rows.assign(bands=10**6)).to_numpy()
    error = np.sqrt(missed * (1 - missed) / outside.size)
    assert outside.mean() == pytest.approx(missed, abs=3.5 * error)


def test_bands_are_for_as_many_networks_as_there_are():
    fifteen = pd.DataFrame([ROW] * 15)
    assert len(free_bands.inside(fifteen)) == 15
    with pytest.raises(ValueError, match="bands of at least 32 for 16 networks; got 30"):
        free_bands.inside(pd.DataFrame([ROW] * 16))


def test_the_evidence_says_what_share_is_predicted():
    says = str(free_bands.judged(pd.DataFrame([ROW])).numbers["says"])
    assert "lower levels of 0, outliers of 0 of 1 networks" in says
    assert "50% of the change" in says
    assert "of 20 random turns of each update 98% are in the band" in says


@pytest.mark.parametrize(("options", "message"), [({"draws": 39}, "draws must be"), ({"turns": 0}, "turns must be")])
def test_too_few_draws_have_no_band(options, message):
    with pytest.raises(ValueError, match=message):
        free_bands.measure(None, **options)
