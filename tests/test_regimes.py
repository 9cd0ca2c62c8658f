"""Sentences about regimes, decided by tests of their layers."""

from types import SimpleNamespace

import numpy as np
import pytest

import rmtlib
from rmtlib.null_laws import noise_singular_values
from rmtlib.regimes import SENTENCES, describe, end_tests, long_range_spread, sentences

LARGEST = {seed: 2.0 for seed in range(40)}


def layer(rng, *, large=1.0, small=1.0, side="output", m=60, edge=2.0, above=0, long_range=1.0):
    """What the tests read of an analysed layer; p-values of one space are multiplied at the ends of the spectrum."""
    vectors = {name: SimpleNamespace(calibrated_pvalue=rng.random(m)) for name in ("input", "output")}
    vectors[side].calibrated_pvalue[-15:] *= large
    vectors[side].calibrated_pvalue[:15] *= small
    nu = np.linspace(0.1, 1.9, m)
    nu[m - above :] = 2.5
    return SimpleNamespace(
        nu=nu,
        spacing=SimpleNamespace(pvalue=0.6, calibrated_pvalue=0.5),
        number_variance=SimpleNamespace(L=np.array([5.0, 15.0, 20.0]), values=np.array([9.0, long_range, long_range])),
        bulk=SimpleNamespace(bulk_fraction=1.0, nu_plus=edge),
        **vectors,
    )


def networks(rng=0, seeds=5, **regimes):
    rng = np.random.default_rng(rng)
    return {
        (regime, seed): layer(rng, **regimes.get(regime, {})) for regime in ("rich", "typical", "lazy") for seed in range(seeds)
    }


def decided(layers, side="output", spread=0.08):
    return sentences(describe(layers, LARGEST), end_tests(layers), side=side, spread=spread)


def test_random_vectors_dip_somewhere_in_one_family_of_tests_in_twenty():
    rng = np.random.default_rng(1)
    tests = [end_tests(networks(rng, seeds=2)) for _ in range(600)]
    assert 0.02 < np.mean([test.dips.any(axis=None) for test in tests]) < 0.08
    assert 0.02 < np.mean([test.rises.any(axis=None) for test in tests]) < 0.08


def test_mean_and_pvalue_are_those_of_the_pooled_vectors():
    layers = networks(2, seeds=3)
    tests = end_tests(layers, vectors=10)
    pooled = np.concatenate([layers["lazy", seed].input.calibrated_pvalue[:10] for seed in range(3)])
    assert tests.mean.loc["lazy", ("input", "small")] == pytest.approx(pooled.mean())
    z = (pooled.mean() - 0.5) * np.sqrt(12 * 30)
    simulated = np.random.default_rng(3).random((100_000, 30)).mean(axis=1)
    assert tests.pvalue.loc["lazy", ("input", "small")] == pytest.approx(np.mean(simulated < 0.5 + z / np.sqrt(360)), abs=0.01)
    assert tests.level == pytest.approx(0.05 / 12)


def test_a_planted_dip_is_found_in_its_regime_space_and_end_alone():
    tests = end_tests(networks(4, typical={"large": 0.3}))
    assert tests.dips.loc["typical", ("output", "large")]
    assert tests.dips.to_numpy().sum() == 1
    assert tests.table.loc["typical", ("output", "large")].endswith(" *")
    assert "*" not in tests.table.loc["lazy", ("output", "large")]


def test_the_papers_picture_makes_all_sentences_true():
    layers = networks(
        7, rich={"large": 0.3, "small": 0.3, "above": 12}, typical={"large": 0.3, "above": 5}, lazy={"long_range": 0.95}
    )
    assert decided(layers) == dict.fromkeys(SENTENCES, True)
    assert decided(layers, "input") == dict.fromkeys(SENTENCES, True) | {"C4": False, "C5": False}


@pytest.mark.parametrize(
    ("wrong", "regimes"),
    [
        ("C4", {"typical": {"large": 0.3, "small": 0.3, "above": 5}}),
        ("C4", {"typical": {"above": 5}}),
        ("C5", {"rich": {"large": 0.3, "above": 12}}),
        ("C6", {"lazy": {"large": 0.3}}),
        ("C6", {"lazy": {"edge": 2.2}}),
        ("C7", {"lazy": {"long_range": 0.8}}),
        ("C10", {"typical": {"large": 0.3, "above": 12}}),
    ],
)
def test_each_sentence_can_be_false(wrong, regimes):
    picture = {"rich": {"large": 0.3, "small": 0.3, "above": 12}, "typical": {"large": 0.3, "above": 5}, "lazy": {}}
    found = decided(networks(6, **(picture | regimes)))
    assert found == dict.fromkeys(SENTENCES, True) | {wrong: False}


def test_noise_grows_slower_than_noise_in_one_case_of_twenty():
    rng, spread = np.random.default_rng(8), 0.08
    slower = []
    for _ in range(300):
        layers = networks(rng, seeds=1)
        for layer_ in layers.values():
            layer_.number_variance.values[1:] += rng.normal(0, spread)
        slower.append(not decided(layers, spread=spread)["C7"])
    assert 0.02 < np.mean(slower) < 0.09


def test_spread_of_noise_is_that_of_other_noise():
    L = np.linspace(0.5, 20, 40)
    rng = np.random.default_rng(9)
    spectra = [noise_singular_values((300, 200), rng) for _ in range(200)]
    means = [rmtlib.number_variance(rmtlib.unfold(nu), L[L > 10]).mean() for nu in spectra]
    assert long_range_spread((300, 200), rng=1) == pytest.approx(np.std(means), rel=0.2)


def test_rows_of_real_layers_are_counted_from_the_initial_spectrum():
    planted = rmtlib.ensembles.spiked((150, 150), 0, strengths=[2, 3, 4]).matrix
    row = describe({("rich", 0): rmtlib.analyse(planted)}, {0: 2.1}).loc["rich", 0]
    assert row["levels above initial largest"] == 3
    assert row["fitted edge over initial largest"] == pytest.approx(2 / 2.1, abs=0.06)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: end_tests({}), "layers must hold at least one"),
        (lambda: describe({}, {}), "layers must hold at least one"),
        (lambda: end_tests(networks(), vectors=31), r"at most half of the levels of every layer; \('rich', 0\) has 60, got 31"),
        (lambda: end_tests(networks(), vectors=0), "vectors must be an integer of at least 1"),
        (lambda: end_tests(networks(), level=5), "level must be a number between 0 and 1; got 5"),
        (lambda: describe(networks(), {0: 2.0}), "a value for every seed; there is none for 1, 2, 3, 4"),
        (lambda: decided({k: s for k, s in networks().items() if (k[0] == "rich") == (k[1] < 2)}), "of the same seed"),
        (lambda: decided(networks(), spread=0.0), "spread must be a number above 0; got 0.0"),
        (lambda: long_range_spread((512, 512), draws=1), "draws must be an integer of at least 2; got 1"),
        (lambda: decided(networks(), "both"), "side must be one of 'output', 'input'; got 'both'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
