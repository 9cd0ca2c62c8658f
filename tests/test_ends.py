"""Vectors at both ends of the spectrum."""

import doctest
from types import SimpleNamespace

import numpy as np
import pytest

import rmtlib
from rmtlib import end_means, end_tests
from rmtlib import ends as module


def layer(rng, m=60, **factors):
    """P-values of both spaces; those of the output vectors are multiplied at the ends of the spectrum."""
    p = {side: rng.random(m) for side in ("input", "output")}
    p["output"][-15:] *= factors.get("large", 1.0)
    p["output"][:15] *= factors.get("small", 1.0)
    return SimpleNamespace(nu=np.arange(m), **{side: SimpleNamespace(calibrated_pvalue=values) for side, values in p.items()})


def networks(rng=0, seeds=5, **regimes):
    rng = np.random.default_rng(rng)
    return {
        (regime, seed): layer(rng, **regimes.get(regime, {})) for regime in ("rich", "typical", "lazy") for seed in range(seeds)
    }


def test_means_are_those_of_the_first_and_the_last_vectors():
    p = np.linspace(0, 1, 41)
    means = end_means(SimpleNamespace(calibrated_pvalue=p), vectors=5)
    # 0, 1/40, ..., 4/40 have the mean 2/40.
    assert (means.small, means.large) == pytest.approx((0.05, 0.95))


def test_the_mean_of_random_vectors_scatters_by_its_standard_deviation():
    rng = np.random.default_rng(0)
    means = [end_means(SimpleNamespace(calibrated_pvalue=rng.random(40))) for _ in range(4000)]
    assert np.std([m.large for m in means]) == pytest.approx(means[0].sd, rel=0.04)
    assert np.mean([m.small for m in means]) == pytest.approx(0.5, abs=0.005)


def test_of_real_vectors_the_ends_are_those_of_the_singular_values():
    s = rmtlib.analyse(rmtlib.ensembles.gaussian((150, 100), 3))
    means = end_means(s.output)
    assert means.large == pytest.approx(s.output.calibrated_pvalue[85:].mean())
    assert means.small == pytest.approx(s.output.calibrated_pvalue[:15].mean())


def test_the_examples_of_the_documentation_are_right():
    result = doctest.testmod(module)
    assert result.attempted >= 3
    assert result.failed == 0


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


def test_regimes_of_different_numbers_of_networks_have_their_own_scatter():
    layers = networks(5, seeds=4)
    layers = {key: s for key, s in layers.items() if key[0] != "lazy" or key[1] == 0}
    tests = end_tests(layers)
    for regime, count in (("rich", 4), ("lazy", 1)):
        mean = tests.mean.loc[regime, ("output", "large")]
        simulated = np.random.default_rng(6).random((50_000, 15 * count)).mean(axis=1)
        assert tests.pvalue.loc[regime, ("output", "large")] == pytest.approx(np.mean(simulated < mean), abs=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: end_tests({}), "layers must hold at least one"),
        (lambda: end_tests(networks(), vectors=31), r"at most half of the levels of every layer; \('rich', 0\) has 60, got 31"),
        (lambda: end_tests(networks(), vectors=0), "vectors must be an integer of at least 1"),
        (lambda: end_tests(networks(), level=5), "level must be between 0 and 1; got 5"),
        (lambda: end_means(networks()["rich", 0].input, vectors=31), "vectors must be at most half of those tested, 60; got 31"),
        (lambda: end_means(networks()["rich", 0].input, vectors=0), "vectors must be an integer of at least 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
