"""Updates that are known, counts by a threshold, and what bfloat16 hides."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import rmtlib
from rmtlib.runs import load_run
from rmtlib.subspaces import Intruders
from studies import comparisons

from . import builders


def test_an_update_has_the_noise_and_the_directions_that_it_was_told():
    network = {"a": 3 * builders.gaussian(300, 200), "b": builders.gaussian(100, 150)}
    for name, W in comparisons.with_update(network, noise=0.1, rank=3, times=20, seed=1).items():
        D = W - network[name].astype(float)
        levels = np.linalg.svd(D, compute_uv=False)
        unit = 0.1 * network[name].std()
        # Benaych-Georges and Nadakuditi: a direction of strength s has the level sqrt((s^2 + n)(s^2 + m)) / s.
        n, m = D.shape
        squared = 400 * np.sqrt(n * m)
        assert levels[:3] / unit == pytest.approx([np.sqrt((squared + n) * (squared + m) / squared)] * 3, rel=0.02)
        assert levels[3] / unit == pytest.approx(np.sqrt(n) + np.sqrt(m), rel=0.05)
    again = comparisons.with_update(network, noise=0.1, rank=3, times=20, seed=1)
    assert np.array_equal(again["b"], W)
    noise = comparisons.with_update(network, noise=0.2)["a"] - network["a"]
    assert np.linalg.norm(noise) / np.linalg.norm(network["a"]) == pytest.approx(0.2, rel=0.02)


def test_counts_by_a_threshold_are_those_below_it():
    found = Intruders(np.array([0.3, 0.6, 0.9]), np.array([[0.4, 0.45, 0.7], [0.6, 0.7, 0.95]]), np.ones(3), 1, 0.5, 0.25)
    counts = comparisons.by_threshold(found)
    assert counts.loc["cosine < 0.5"].tolist() == [1, 1.0]
    assert counts.loc["cosine < 0.8"].tolist() == [2, 2.5]
    assert counts.loc["p < 0.05"].tolist() == [1, 0.25]


def test_rounding_is_that_of_bfloat16():
    W = np.concatenate([builders.gaussian(100, 100).ravel(), [1 + 2**-8, 1 + 3 * 2**-8, -1e-30, 0.0]]).astype(np.float32)
    assert np.array_equal(comparisons.in_bfloat16(W), builders.bfloat16(W).astype(np.float32))


def test_a_coarse_grid_hides_small_updates():
    start, change = builders.gaussian(120, 80), 0.1 * builders.gaussian(120, 80, seed=1)
    change += builders.gaussian(120, 2, seed=2) @ builders.gaussian(2, 80, seed=3) * 0.1
    table = comparisons.hidden(start, start + change, shares=(1.0, 0.01))
    assert table["size"][1.0] / table["size"][0.01] == pytest.approx(100, rel=1e-3)
    assert table["unchanged"][1.0] < 0.05 < 0.5 < table["unchanged"][0.01]
    assert table["directions"].tolist() == [2, 2]
    assert table["directions, rounded"][1.0] == 2


def test_the_initial_network_is_that_of_the_run():
    run = load_run("mlp512-cifar10-alpha5-seed0")
    start = comparisons.before(run)
    assert list(start) == ["dense1", "dense2", "dense3"]
    kept = rmtlib.load_weights(run, initial=True)["dense2"].matrix
    assert np.array_equal(start["dense2"], kept)


def test_numbers_are_those_of_the_layer():
    W = {name: builders.gaussian(60, 50, seed=seed) for seed, name in enumerate("ab")}
    table = rmtlib.compare(W, comparisons.with_update(W, noise=0.2), progress=False).table
    found = comparisons.numbers(table, "b", "it")
    assert found["it-size"] == 100 * table["update_size"][1]
    assert found["it-kept"] == 100 * table["overlap"][1]
    levels = [np.linalg.norm(X) ** 2 / np.linalg.norm(X, 2) ** 2 for X in (W["b"], comparisons.with_update(W, noise=0.2)["b"])]
    assert found["it-stable-rank"] == pytest.approx(levels[1] / levels[0], rel=1e-4)


def test_numbers_of_the_page_are_those_of_its_tables():
    null, planted = (
        SimpleNamespace(table=pd.DataFrame({"rank": ranks, "update_size": sizes}))
        for ranks, sizes in (([0, 1, 0], [0.1, 0.2, 0.3]), ([4, 3, 4], [0.2, 0.2, 0.5]))
    )
    assert comparisons.counted(null, planted) == pytest.approx(
        {"null-directions": 1, "null-layers": 3, "planted-right": 2, "null-size": 20.0, "planted-size": 30.0}
    )
    counts = {"rich": pd.DataFrame({"update": [9, 2], "noise": [7.5, 1.0]}, index=["cosine < 0.5", "p < 0.05"])}
    assert comparisons.intruder_numbers(counts, {"rich": SimpleNamespace(count_pvalue=0.3)}) == {
        "rich-fixed": 9,
        "rich-fixed-noise": 7.5,
        "rich-new": 2,
        "rich-new-p": 0.3,
    }
    coarse = pd.DataFrame({"unchanged": [0.5, 0.25], "directions": [3, 2], "directions, rounded": [3, 1]}, index=[0.1, 0.01])
    assert comparisons.hidden_numbers(coarse) == {
        "hidden-tenth": 50,
        "hidden-hundredth": 25,
        "hidden-directions": 2,
        "hidden-directions-left": 1,
    }
