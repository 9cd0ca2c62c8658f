"""Spacings, ratios and the test against the surmise."""

import contextlib

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtlib.laws import goe_spacing, marchenko_pastur, wigner_surmise
from rmtlib.null_laws import noise_singular_values, simulate_spacing_null, spacing_null
from rmtlib.spacings import spacing_ratios, spacing_test, spacings
from rmtlib.unfolding import unfold


@pytest.fixture(scope="module")
def noise_tests():
    rng = np.random.default_rng(1)
    return [spacing_test(unfold(noise_singular_values((512, 512), rng))) for _ in range(200)]


def test_spacings_are_differences_of_levels_and_are_not_divided_by_their_mean():
    xi = np.array([0.0, 0.9, 1.4, 2.6])
    np.testing.assert_allclose(spacings(xi), [0.9, 0.5, 1.2])


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-1e3, 1e3))
def test_spacings_do_not_depend_on_the_origin(seed, shift):
    xi = np.arange(50) + np.random.default_rng(seed).uniform(0, 0.9, 50)
    np.testing.assert_allclose(spacings(xi + shift), spacings(xi), atol=1e-11)


def test_the_statistic_is_the_largest_distance_from_the_surmise():
    xi = np.r_[0, np.cumsum(wigner_surmise.rvs(size=80, random_state=2))]
    s = np.sort(np.diff(xi))
    at = wigner_surmise.cdf(s)
    by_hand = max(np.max(np.arange(1, 81) / 80 - at), np.max(at - np.arange(80) / 80))
    test = spacing_test(xi)
    assert test.n == 80
    assert test.statistic == pytest.approx(by_hand, abs=1e-14)
    assert test.pvalue == pytest.approx(scipy.stats.kstwo.sf(by_hand, 80))
    assert test.calibrated_pvalue == pytest.approx(float(spacing_null(80).pvalue(by_hand)))


def test_noise_is_rejected_at_its_level_after_calibration_and_hardly_ever_by_scipy(noise_tests):
    scipys, calibrated = np.array([(test.pvalue, test.calibrated_pvalue) for test in noise_tests]).T
    assert scipy.stats.kstest(calibrated, "uniform").pvalue > 0.001
    assert 0.015 <= np.mean(calibrated < 0.05) <= 0.095
    assert 0.2 < np.mean(calibrated < 0.3) < 0.4
    assert np.mean(scipys < 0.05) <= 0.01
    assert scipys.mean() == pytest.approx(0.66, abs=0.05)
    assert scipy.stats.kstest(scipys, "uniform").pvalue < 1e-6


def test_the_five_percent_point_at_512_levels_is_scipys_twenty_percent():
    critical = spacing_null(451).critical(0.05)
    assert scipy.stats.kstwo.sf(critical, 451) == pytest.approx(0.21, abs=0.02)


@pytest.mark.parametrize(("method", "a"), [("broadened", 7), ("marchenko_pastur", 15), ("polynomial", 15)])
def test_every_unfolding_has_its_own_null(method, a):
    rng = np.random.default_rng(3)
    p = []
    for _ in range(150):
        nu = noise_singular_values((400, 200), rng)
        # A polynomial falls somewhere in about one spectrum of noise in a hundred, and unfold refuses.
        with contextlib.suppress(ValueError) if method == "polynomial" else contextlib.nullcontext():
            xi = unfold(nu, a=a, method=method, shape=(400, 200))
            p.append(spacing_test(xi, method=method, a=a).calibrated_pvalue)
    assert len(p) > 140
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.001


def test_independent_levels_are_rejected():
    xi = np.cumsum(np.random.default_rng(4).exponential(size=300))
    test = spacing_test(xi / (xi[-1] - xi[0]) * 299)
    assert test.pvalue < 1e-6
    assert test.calibrated_pvalue == pytest.approx(1e-6)


def test_calibration_finds_one_independent_level_in_twenty_far_more_often_than_scipy():
    rng = np.random.default_rng(10)
    found = []
    for _ in range(100):
        nu = rng.choice(noise_singular_values((512, 512), rng) / np.sqrt(512), 486, replace=False)
        test = spacing_test(unfold(np.sort(np.r_[nu, marchenko_pastur(1.0, 1.0).ppf(rng.random(26))])))
        found.append((test.pvalue < 0.05, test.calibrated_pvalue < 0.05))
    scipys, calibrated = np.mean(found, axis=0)
    assert 0.35 < calibrated < 0.65
    assert 0.03 < scipys < 0.25


def test_two_independent_blocks_are_rejected():
    rng = np.random.default_rng(5)
    nu = np.sort(np.r_[noise_singular_values((256, 256), rng), noise_singular_values((256, 256), rng)])
    assert spacing_test(unfold(nu)).calibrated_pvalue < 0.01


def test_a_null_of_ones_own_can_be_given():
    law = simulate_spacing_null((90, 120), entries=lambda shape, rng: rng.uniform(-1, 1, shape), draws=50)
    xi = unfold(noise_singular_values((90, 120), 6))
    test = spacing_test(xi, null=law)
    assert test.calibrated_pvalue == law.pvalue(test.statistic)
    with pytest.raises(ValueError, match="null must be the law for 20 spacings, as xi has; got the law for 29"):
        spacing_test(xi[:21], null=law)


def test_ratios_of_random_matrices_have_the_mean_of_the_goe():
    rng = np.random.default_rng(7)
    r = np.concatenate([spacing_ratios(noise_singular_values((600, 300), rng)) for _ in range(100)])
    assert r.mean() == pytest.approx(0.5307, abs=0.004)


def test_ratios_of_independent_levels_have_mean_2_ln_2_minus_1():
    r = spacing_ratios(np.cumsum(np.random.default_rng(8).exponential(size=50_000)))
    assert r.mean() == pytest.approx(2 * np.log(2) - 1, abs=0.005)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-10, 10))
def test_ratios_do_not_depend_on_unit_origin_and_direction(seed, scale, shift):
    nu = np.cumsum(np.random.default_rng(seed).uniform(0.1, 1, 20))
    r = spacing_ratios(nu)
    np.testing.assert_allclose(spacing_ratios(scale * nu + shift), r, rtol=1e-8)
    np.testing.assert_allclose(spacing_ratios(-nu[::-1])[::-1], r, rtol=1e-8)


def test_a_pair_of_equal_levels_has_ratio_0():
    np.testing.assert_array_equal(spacing_ratios([0.0, 1.0, 1.0, 2.0]), [0, 0])


def test_pooled_noise_follows_the_exact_law_and_not_the_surmise():
    rng = np.random.default_rng(9)
    s = np.concatenate([spacings(unfold(noise_singular_values((600, 600), rng))) for _ in range(100)])
    distance = {law: scipy.stats.kstest(s, law.cdf).statistic for law in (goe_spacing, wigner_surmise)}
    assert distance[wigner_surmise] > 0.005
    assert distance[goe_spacing] < 0.004


@pytest.mark.parametrize(
    ("xi", "message"),
    [
        (np.arange(100) * 0.01, "xi must be unfolded to a mean spacing of 1; got 0.01: call rmtlib.unfold first"),
        (np.arange(100.0)[::-1], "xi must be sorted in ascending order"),
        (np.arange(16.0), "xi must hold at least 17 levels; got 16"),
        (np.r_[np.arange(50.0), np.nan], "xi must be finite; got nan or infinite levels"),
        (np.eye(30), "xi must be one-dimensional"),
    ],
)
def test_levels_that_cannot_be_tested_are_refused(xi, message):
    with pytest.raises(ValueError, match=message):
        spacing_test(xi)


@pytest.mark.parametrize(
    ("nu", "message"),
    [
        ([1.0, 2.0], "nu must hold at least 3 levels; got 2"),
        ([1.0, 3.0, 2.0], "nu must be sorted in ascending order"),
        ([1.0, 1.0, 1.0, 2.0], "nu must not hold three equal levels in a row"),
    ],
)
def test_levels_without_ratios_are_refused(nu, message):
    with pytest.raises(ValueError, match=message):
        spacing_ratios(nu)
