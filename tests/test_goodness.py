"""Goodness of fit of the bulk, and how certain a count of outliers is."""

import dataclasses

import numpy as np
import pytest
import scipy

from rmtlib import goodness
from rmtlib.biwhitening import biwhiten
from rmtlib.ensembles import spiked
from rmtlib.goodness import bulk_null, bulk_test, outlier_range
from rmtlib.marchenko_pastur import fit_marchenko_pastur
from rmtlib.null_laws import noise_singular_values
from rmtlib.spectra import spectrum


def outcome(matrix, outliers=(0, 0)):
    return bulk_test(spectrum(matrix, vectors=False).nu, matrix.shape, outliers=outliers)


def marchenko_pastur_cdf(nu, n, m, sigma):
    """By integration of the textbook's density of eigenvalues."""
    low, high = (np.sqrt(n) - np.sqrt(m)) ** 2, (np.sqrt(n) + np.sqrt(m)) ** 2

    def density(x):
        return np.sqrt(max((high - x) * (x - low), 0)) / (2 * np.pi * m * x)

    return np.array([scipy.integrate.quad(density, low, (x / sigma) ** 2, limit=200)[0] for x in nu])


def test_the_statistic_is_the_largest_deviation_of_the_count_over_its_standard_deviation():
    W = 0.3 * np.random.default_rng(0).standard_normal((90, 60))
    found = outcome(W)
    nu = np.linalg.svd(W, compute_uv=False)[::-1]
    np.testing.assert_allclose(found.nu, nu[6:36])
    deviation = np.arange(6, 36) + 0.5 - 60 * marchenko_pastur_cdf(nu[6:36], 90, 60, found.sigma)
    np.testing.assert_allclose(found.deviation, deviation, atol=1e-5)
    assert found.statistic == pytest.approx(np.abs(deviation).max() * np.pi / np.sqrt(np.log(60) - 1), rel=1e-5)
    assert found.where == pytest.approx(nu[6:36][np.argmax(np.abs(deviation))], rel=1e-10)
    assert found.sigma == pytest.approx(0.3, rel=0.05)
    assert found.levels == 60


def test_the_standard_deviation_of_the_count_is_nearly_the_formula():
    for shape in ((64, 64), (300, 150), (4000, 400)):
        levels = [noise_singular_values(shape, np.random.default_rng([1, i])) for i in range(300)]
        scatter = np.std([goodness.bulk_deviation(nu, shape)[2] for nu in levels], axis=0)
        assert scatter.mean() == pytest.approx(goodness.counting_deviation(min(shape)), rel=0.12)


@pytest.mark.parametrize(
    ("shape", "entries"),
    [
        ((40, 30), lambda shape, rng: rng.standard_normal(shape)),
        ((200, 200), lambda shape, rng: rng.uniform(-1, 1, shape)),
        ((100, 600), lambda shape, rng: rng.standard_normal(shape)),
        ((200, 150), lambda shape, rng: biwhiten(rng.standard_normal(shape) * np.geomspace(1, 9, 150)).matrix),
    ],
    ids=["small", "uniform", "wide", "biwhitened"],
)
def test_noise_has_uniform_pvalues(shape, entries):
    rng = np.random.default_rng(2)
    p = [outcome(entries(shape, rng)).pvalue for _ in range(150)]
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.001


def test_a_second_block_of_variance_is_found():
    rng = np.random.default_rng(3)
    block = np.where(np.arange(400)[:, None] < 200, 1.5, 1.0)
    p = [outcome(block * rng.standard_normal((400, 400))).pvalue for _ in range(20)]
    assert np.mean(np.less(p, 0.05)) >= 0.5


def test_outliers_are_left_out():
    rng = np.random.default_rng(4)
    p = []
    for _ in range(60):
        found = outcome(spiked((200, 150), rng, strengths=np.linspace(3, 20, 12), sigma=1.0).matrix, (0, 12))
        assert found.levels == 138
        p.append(found.pvalue)
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.001


@pytest.mark.parametrize("shape", [(16, 16), (70, 70), (500, 3000), (900, 300), (10**6, 100), (4000, 4000)])
def test_the_null_falls_from_1_to_its_floor(shape):
    statistic, exceedance = bulk_null(shape)
    assert np.all(np.diff(statistic) > 0)
    assert np.all(np.diff(exceedance) < 0)
    assert exceedance[-1] == 1e-6
    assert statistic[0] > 0


def test_the_null_agrees_with_a_simulation_between_its_sizes_and_ratios():
    shape = (420, 140)
    levels = [noise_singular_values(shape, np.random.default_rng([5, i])) for i in range(600)]
    largest = [np.abs(goodness.bulk_deviation(nu, shape)[2]).max() for nu in levels]
    statistic, exceedance = bulk_null(shape)
    for level in (0.5, 0.1):
        critical = np.interp(level, exceedance[::-1], statistic[::-1]) * goodness.counting_deviation(140)
        assert np.mean(np.greater(largest, critical)) == pytest.approx(level, abs=0.065)


def test_the_range_of_noise_and_of_clear_spikes_is_narrow():
    W = spiked((300, 200), 6, strengths=[2.0, 3.0, 4.0], sigma=1.0).matrix
    nu = spectrum(W, vectors=False).nu
    found = outlier_range(nu, fit_marchenko_pastur(nu, W.shape))
    assert found.low == 3
    assert found.high <= 4


def test_the_range_of_spikes_at_the_edge_holds_their_number():
    held = []
    for seed in range(20):
        W = spiked((300, 300), seed, strengths=np.full(5, 1.4), sigma=1.0).matrix
        nu = spectrum(W, vectors=False).nu
        fit = fit_marchenko_pastur(nu, W.shape)
        found = outlier_range(nu, fit)
        assert found.low <= fit.n_outliers <= found.high
        held.append(found.low <= 5 <= found.high)
    assert np.mean(held) >= 0.8


def test_a_bulk_that_is_no_noise_has_a_wide_range():
    rng = np.random.default_rng(7)
    W = np.exp(0.5 * rng.standard_normal(300))[:, None] * rng.standard_normal((300, 300))
    nu = spectrum(W, vectors=False).nu
    found = outlier_range(nu, fit_marchenko_pastur(nu, W.shape))
    assert found.high - found.low >= 10


def test_levels_of_another_matrix_are_refused():
    nu = noise_singular_values((60, 40), 8)
    fit = fit_marchenko_pastur(nu, (60, 40))
    for call in (lambda: bulk_test(nu[1:], (60, 40)), lambda: outlier_range(nu[1:], fit)):
        with pytest.raises(ValueError, match=r"nu must hold all 40 singular values of a matrix of shape \(60, 40\); got 39"):
            call()


def test_too_few_levels_are_refused():
    nu = noise_singular_values((200, 100), 9)
    with pytest.raises(ValueError, match="nu must leave at least 16 levels without the outliers; got 15"):
        bulk_test(nu, (200, 100), outliers=(2, 83))
    with pytest.raises(ValueError, match="outliers must be two whole numbers, .*; got .-1, 0"):
        bulk_test(nu, (200, 100), outliers=(-1, 0))
    fit = dataclasses.replace(fit_marchenko_pastur(nu, (200, 100)), shape=(200, 15))
    with pytest.raises(ValueError, match="nu must hold at least 16 levels; got 15"):
        outlier_range(nu[:15], fit)


def test_a_size_beyond_the_table_is_refused():
    with pytest.raises(ValueError, match=r"min\(shape\) must be at most 4096, the end of the table; got 9000"):
        bulk_null((9000, 9000))
