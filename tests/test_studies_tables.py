"""Chapters ask the studies for their tables: what is read, put side by side and compared, on small tables with known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from studies import compression, directions

COMPRESSION = """run,laziness,treatment,budget,share,accuracy,gain,gain_error
mlp512-cifar10-alpha5-seed0,5,none,none,1,0.50,0,0
mlp512-cifar10-alpha5-seed0,5,svd,0.5,0.5,0.20,-0.30,0.02
mlp512-cifar10-alpha0.5-seed0,0.5,none,none,1,0.56,0,0
mlp512-cifar10-alpha0.5-seed0,0.5,edge,edge,0.25,0.51,-0.05,0.01
mlp512-cifar10-alpha0.5-seed0,0.5,svd,edge,0.25,0.52,-0.04,0.01
mlp512-cifar10-alpha0.5-seed0,0.5,svd,0.5,0.5,0.54,-0.02,0.01
"""
CONVOLUTIONS = """run,laziness,treatment,budget,share,accuracy,gain,gain_error
minialexnet-cifar10-alpha1-seed0-epochs5,1,none,none,1,0.75,0,0
minialexnet-cifar10-alpha1-seed0-epochs5,1,svd,0.5,0.5,0.68,-0.07,0.01
"""
TIMES = """n_out,n_in,batch,kind,share,times_faster
512,3072,1,factored,0.25,7.0
512,3072,32,factored,0.25,3.0
512,3072,1,pruned,0.25,0.3
512,3072,32,pruned,0.25,0.8
512,512,1,factored,0.25,9.0
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "compression.csv").write_text(COMPRESSION)
    (tmp_path / "compression_minialexnet.csv").write_text(CONVOLUTIONS)
    (tmp_path / "factored_forward.csv").write_text(TIMES)
    return tmp_path


def test_compressed_networks_are_read_with_their_regimes_and_in_per_cent(folder):
    table = compression.read(folder)
    assert list(table["network"]) == ["mlp512"] * 6 + ["minialexnet"] * 2
    assert list(table["regime"]) == ["lazy"] * 2 + ["rich"] * 4 + ["typical"] * 2
    np.testing.assert_allclose(table["accuracy"], [50, 20, 56, 51, 52, 54, 75, 68])
    np.testing.assert_allclose(table["share"], [100, 50, 100, 25, 25, 50, 100, 50])
    np.testing.assert_allclose(table.loc[1, ["gain", "gain_error"]].astype(float), [-30, 2])


def test_treatments_stand_side_by_side(folder):
    gain = compression.by_treatment(compression.read(folder), "gain")
    assert list(gain.columns) == ["edge", "svd"]
    assert list(gain.index) == [
        ("minialexnet", "typical", "0.5"),
        ("mlp512", "rich", "0.5"),
        ("mlp512", "rich", "edge"),
        ("mlp512", "lazy", "0.5"),
    ]
    np.testing.assert_allclose(gain["svd"], [-7, -2, -4, -30])
    np.testing.assert_allclose(gain["edge"], [np.nan, np.nan, -5, np.nan])


def test_times_of_one_shape_are_read(folder):
    times = compression.times_faster((512, 3072), folder)
    assert list(times.columns) == [0.25]
    assert times[0.25].to_dict() == {("factored", 1): 7.0, ("factored", 32): 3.0, ("pruned", 1): 0.3, ("pruned", 32): 0.8}
    with pytest.raises(ValueError, match=r"shape must be one of \(512, 512\), \(512, 3072\); got \(3, 4\)"):
        compression.times_faster((3, 4), folder)


@pytest.fixture
def carried(tmp_path):
    """Two tenths of one layer in two networks; only rows of trained weights about the mean are compared with losses."""
    rows = [
        {"about": about, "weights": weights, "decile": decile, "run": run, "laziness": alpha, "layer": "dense1"}
        | {"energy": energy, "low": 0.9, "high": 1.1, "nu2": nu2, "response": energy * nu2}
        for run, alpha, energies in (("a", 0.5, (0.5, 1.5)), ("b", 5.0, (1.0, 1.1)))
        for about in ("mean", "zero")
        for weights in ("trained", "initial")
        for decile, (energy, nu2) in enumerate(zip(energies, (0.3, 0.7), strict=True))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "directions.csv", index=False)
    losses = pd.DataFrame({"run": ["a", "a", "b", "b", "b", "b"], "layer": ["dense1"] * 5 + ["all"]})
    losses = losses.assign(value=[0, 1, 0, 1, 1, 1], treatment=["decile"] * 4 + ["plain", "decile"])
    losses = losses.assign(gain=[-0.01, -0.20, 0.0, -0.02, -0.5, -0.6], gain_error=0.001)
    losses.to_csv(tmp_path / "mlp512.csv", index=False)
    return tmp_path


def test_directions_are_outside_where_random_ones_seldom_are(carried):
    table = directions.read(carried / "directions.csv")
    outside = table["outside"]["mean", "trained"]
    assert outside.to_dict() == {
        ("rich", "dense1", 0): True,
        ("rich", "dense1", 1): True,
        ("lazy", "dense1", 0): False,
        ("lazy", "dense1", 1): False,
    }
    assert table.index.is_monotonic_increasing


def test_losses_belong_to_the_tenths_that_were_removed(carried):
    table = directions.losses(directions.read(carried / "directions.csv"), carried / "mlp512.csv")
    assert list(table.index.names) == ["regime", "layer", "decile"]
    assert table["loss"].to_dict() == {
        ("rich", "dense1", 0): 0.01,
        ("rich", "dense1", 1): 0.20,
        ("lazy", "dense1", 0): 0.0,
        ("lazy", "dense1", 1): 0.02,
    }
    np.testing.assert_allclose(table.loc[("rich", "dense1", 1), ["energy", "nu2", "loss_error"]], [1.5, 0.7, 0.001])


def test_rank_correlations_are_those_of_each_regime_and_of_all(carried):
    table = directions.losses(directions.read(carried / "directions.csv"), carried / "mlp512.csv")
    ranked = directions.rank_correlations(table)
    assert list(ranked.index) == ["rich", "lazy", "all"]
    assert ranked.loc["rich", "energy"] == ranked.loc["lazy", "nu2"] == pytest.approx(1)
    expected = spearmanr([0.5, 1.5, 1.0, 1.1], [0.01, 0.20, 0.0, 0.02]).statistic
    assert ranked.loc["all", "energy"] == pytest.approx(expected)
