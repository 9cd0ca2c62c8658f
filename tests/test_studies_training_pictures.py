"""The drawings of the chapters about training show what their texts say."""

from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

import rmtlib
from rmtlib import figures
from rmtlib.runs import find_runs, load_run
from studies import bulk_origin, laziness, linearized, noise_growth, regimes
from studies import training_pictures as pictures
from studies.layers import level_statistics


@pytest.fixture(autouse=True)
def style():
    figures.set_style()


@pytest.fixture(scope="module")
def networks():
    return {regime: rmtlib.load_weights(run)["dense2"] for regime, run in regimes.runs_of_seed(0).items()}


@pytest.fixture(scope="module")
def origin():
    return bulk_origin.of_run(load_run("mlp512-cifar10-alpha0.5-seed0"))


def parsed(shown):
    """The drawings of a row, or the one drawing, as elements."""
    return [ElementTree.fromstring(one.svg) for one in getattr(shown, "drawings", [shown])]


def words(svg):
    return " ".join(svg.itertext())


def strokes(svg):
    """How often the marker that is used most is used."""
    uses = [use.get("href") for use in svg.iter("use")]
    return max(map(uses.count, set(uses)))


def test_paths_have_the_distance_and_the_accuracy_of_each_network():
    runs = regimes.runs_of_seed(0)
    [svg] = parsed(pictures.paths(runs))
    for regime, run in runs.items():
        before, after = (rmtlib.load_weights(run, initial=flag)["dense2"].matrix for flag in (True, False))
        moved = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert f"{regime} {100 * moved:.0f}" in svg.get("aria-label")
        assert f"{100 * run.test_accuracy:.0f} % of images right" in words(svg)


def test_history_shows_cost_and_both_accuracies():
    run = load_run("mlp512-cifar10-alpha1-seed0")
    cost, accuracy = parsed(pictures.history(run.history))
    assert "the cost falls" in words(cost)
    assert "training images" in words(accuracy)
    assert "test images" in words(accuracy)


def test_spectra_have_a_stroke_for_each_outlier(networks):
    spectra, _ = parsed(
        pictures.apart(
            trained := {regime: rmtlib.analyse(layer) for regime, layer in networks.items()},
            rmtlib.analyse(rmtlib.ensembles.glorot_uniform((512, 512), 0)),
            {regime: [layer.output] for regime, layer in trained.items()},
        )
    )
    counts = {regime: int((layer.nu > layer.bulk.outlier_edge).sum()) for regime, layer in trained.items()}
    assert counts["lazy"] == 0
    assert f"rich: {counts['rich']} outliers; typical: {counts['typical']} outliers; lazy: no outlier" in spectra.get(
        "aria-label"
    )
    assert strokes(spectra) == sum(counts.values())


def test_vectors_of_noise_are_called_neither_more_gaussian_nor_not_random():
    flat = SimpleNamespace(moving_mean=np.full(86, 0.5), positions=np.arange(7, 93), pvalue=np.full(100, 0.5), band=(0.2, 0.8))
    falling = SimpleNamespace(**vars(flat) | {"moving_mean": np.r_[np.full(76, 0.95), np.full(10, 0.05)]})
    layers = {name: rmtlib.analyse(rmtlib.ensembles.gaussian((100, 100), seed)) for seed, name in enumerate(("one", "two"))}
    _, svg = parsed(pictures.apart(layers, layers["one"], {"one": [falling] * 4, "two": [flat] * 4}))
    assert "one: 12 % of the curve below the band of noise, 88 % above it" in svg.get("aria-label")
    assert words(svg).count("not random") == words(svg).count("more Gaussian than noise") == 1
    assert words(svg).count("all within the band of noise") == 1


def test_what_is_alike_is_two_drawings():
    layer = rmtlib.analyse(rmtlib.ensembles.gaussian((120, 120), 0))
    spacings, variance = parsed(pictures.alike({"one": layer}, layer))
    assert "Wigner surmise" in words(spacings)
    assert "exact law" in words(variance)


def test_ridges_count_the_outliers_of_each_network():
    runs = find_runs(**regimes.RECIPE, network="mlp512", seed=0)
    [svg] = parsed(pictures.ridges(runs))
    text = svg.get("aria-label")
    assert [run.config["laziness"] for run in runs] == sorted(run.config["laziness"] for run in runs)
    assert "alpha 0.5: 63 outliers" in text  # as analyse counts them
    assert "alpha 10: no outlier" in text


def test_sweep_tells_the_gap_at_both_ends():
    table = laziness.sweep(linearized.read("dense2"))
    test, training = parsed(pictures.sweep(table))
    richest = table[table["laziness"] == table["laziness"].min()]
    gap = 100 * (richest["test_accuracy"] - richest["linearized_test_accuracy"]).mean()
    assert f"is {gap:.0f} points for the richest" in test.get("aria-label")
    assert "training images" in training.get("aria-label")


def test_ends_have_a_panel_for_every_regime_and_count_the_dips():
    index = pd.MultiIndex.from_product([["as stated", "faster"], ["rich", "lazy"], ["large", "small"]])
    table = pd.DataFrame({"as it is": 0.6, "noise sizes": 0.7, "sd": 0.05}, index=index)
    table.loc[("as stated", "rich", "large"), "as it is"] = 0.2
    large, small = parsed(pictures.ends(table))
    assert "1 of 4 lie below 0.4" in large.get("aria-label")
    assert "0 of 4 lie below 0.4" in small.get("aria-label")
    assert "rich, large end" in words(large)
    assert "lazy, small end" in words(small)


def test_filters_are_the_strongest_and_as_many_as_asked_for():
    W = np.random.default_rng(0).standard_normal((8, 75))
    [svg] = parsed(pictures.filters(W, 5, count=3))
    assert len(list(svg.iter("image"))) == 2 * 3
    assert "row of 75 grey values" in svg.get("aria-label")


def test_levels_and_vectors_have_the_titles_of_their_layers():
    W, W0 = (rmtlib.ensembles.gaussian((150, 120), seed) for seed in (0, 1))
    shown = pictures.levels({"net dense2": (level_statistics(W0), level_statistics(W))})
    assert ["net dense2" in words(svg) for svg in parsed(shown)] == [True, True]
    tests = [rmtlib.porter_thomas(rmtlib.spectrum(M).output_vectors) for M in (W0, W)]
    [svg] = parsed(pictures.vectors({"net dense2": tuple(tests)}))
    assert f"the trained curve ends at {tests[1].moving_mean[-1]:.2f}" in svg.get("aria-label")


def test_exponents_name_the_three_regimes():
    table = pd.DataFrame({"laziness": [0.5, 1, 5, 5], "above noise": [-3, -1, 0, 1], "test accuracy, %": [55, 54, 50, 48]})
    [svg] = parsed(pictures.exponents(table))
    assert all(name in words(svg) for name in ("rich", "typical", "lazy"))


def test_river_and_what_leaves_it_tell_how_many_and_when():
    nu = np.sort(np.random.default_rng(0).random((31, 40)), axis=1)
    [svg] = parsed(pictures.river(nu, 5))
    assert "5 leave the bulk" in words(svg)
    assert "35 stay, and rise together" in words(svg)
    curves = {space: np.full((31, 26), 0.4) for space in ("input", "output")}
    outliers = np.minimum(np.arange(31), 10)
    first, largest, _ = parsed(pictures.leaving(outliers, curves, (0.2, 0.8)))
    assert "half of the final 10 are out after epoch 5" in first.get("aria-label")
    assert "input 0.40 and output 0.40" in largest.get("aria-label")


def test_noise_and_update_and_their_sum_stand_beside_each_other(origin):
    titles = [words(svg) for svg in parsed(pictures.sum_of_two(origin))]
    assert ["initial noise" in titles[0], "update" in titles[1], "trained layer" in titles[2]] == [True] * 3
    assert "nothing fitted" in titles[2]
    [svg] = parsed(pictures.counts(origin))
    assert "noise plus update" in words(svg)


def test_distance_from_the_law_is_told_in_points(origin):
    [svg] = parsed(pictures.apart_from_law({"rich": origin}, draws=2))
    far = 100 * np.abs(bulk_origin.difference(origin.trained_nu, origin.law)).max()
    assert f"rich: the trained curve is up to {far:.1f} points" in svg.get("aria-label")


def test_alignment_and_growth_name_their_curves():
    table = pd.DataFrame({"rich": np.linspace(10, 0, 50), "lazy": np.linspace(2, 0, 50)})
    [svg] = parsed(pictures.alignment(table, seeds=5))
    assert "rich" in words(svg)
    assert "lazy" in words(svg)
    grown = pd.DataFrame({"trained": [60, 30, 20, 8], "predicted": [50, 25, 10, 2], "with alignment": [59, 29, 19, 7]})
    [svg] = parsed(pictures.growth(grown.set_index(pd.Index([0.5, 1, 2.5, 5]))))
    assert "noise plus" in words(svg)


def test_a_walk_tells_how_close_its_levels_come():
    walk = np.random.default_rng(0).standard_normal((30, 6, 5)).cumsum(axis=0)
    paths = np.linalg.svd(walk, compute_uv=False)
    _, levels, _ = parsed(pictures.walking(walk, paths))
    closest = (paths[:, :-1] - paths[:, 1:]).min()
    assert f"come within {closest:.2f}" in levels.get("aria-label")


def test_bulks_tell_their_growth_and_when_everything_was_learned():
    table = pd.DataFrame({"growth": [0, 0.1, 0.2, 0.2], "train_accuracy": [0.5, 0.9, 0.995, 1.0]})
    [svg] = parsed(pictures.bulks({"rich": table}, learned=noise_growth.LEARNED))
    assert "rich: 20 per cent, learned after epoch 3" in svg.get("aria-label")
