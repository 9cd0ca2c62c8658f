"""Kolmogorov and Smirnov's test of many samples at once, against scipy's of one."""

import numpy as np
import pytest
import scipy

from rmtlib import kolmogorov


def entries(k, n, rng):
    """Rows of length 1: normal, shifted, with outliers, with ties, sparse, a single entry, all equal."""
    rng = np.random.default_rng(rng)
    v = rng.standard_normal((k, n))
    v[k // 2 :] += np.linspace(0, 3, k - k // 2)[:, None]
    v[:4, 0] = [5.0, 20.0, -1e3, 1e9]
    v[4:8] = np.round(v[4:8], 1)
    v[8, n // 2 :] = 0
    v[9] = np.arange(n) == 3
    v[10] = 1
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@pytest.mark.parametrize("n", [8, 20, 141, 512, 3000])
def test_statistics_are_scipys_to_rounding(n):
    v = entries(40, n, n)
    law = scipy.stats.norm(scale=1 / np.sqrt(n)).cdf
    expected = [scipy.stats.kstest(row, law, mode="asymp").statistic for row in v]
    np.testing.assert_allclose(kolmogorov.normal_statistic(v), expected, rtol=0, atol=1e-14)


def test_statistics_of_many_blocks_are_those_of_one(monkeypatch):
    v = entries(300, 200, 1)
    blocks = kolmogorov.normal_statistic(v)
    for size in (200, 2**20):
        monkeypatch.setattr(kolmogorov, "BLOCKS", (size, size))
        np.testing.assert_array_equal(blocks, kolmogorov.normal_statistic(v))


def test_single_precision_costs_no_more_than_its_digits():
    v = entries(100, 300, 2)
    np.testing.assert_allclose(
        kolmogorov.normal_statistic(v.astype(np.float32)), kolmogorov.normal_statistic(v), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("n", [8, 140, 141, 512, 2048])
def test_pvalues_are_scipys(n, many, monkeypatch):
    if not many:
        monkeypatch.setattr(kolmogorov, "MANY", 10**6)
    statistic = np.linspace(0.02, min(19.0, 0.99 * np.sqrt(n)), 70) / np.sqrt(n)
    np.testing.assert_allclose(kolmogorov.pvalue(statistic, n), scipy.stats.kstwo.sf(statistic, n), rtol=1e-5, atol=1e-300)


def test_interpolated_pvalues_are_those_of_the_sums():
    statistic = np.linspace(1.5, 19, 1000) / np.sqrt(1500)
    single = np.concatenate([kolmogorov.pvalue(statistic[i : i + 20], 1500) for i in range(0, 1000, 20)])
    np.testing.assert_allclose(kolmogorov.pvalue(statistic, 1500), single, rtol=1e-9, atol=1e-300)


def test_pvalues_that_no_float_holds_are_zero_without_a_warning():
    np.testing.assert_array_equal(kolmogorov.pvalue(np.array([0.5, 0.99, 1.0]), 4096), 0)
