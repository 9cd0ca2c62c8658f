from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtlib import ensembles, tails
from rmtlib.null_laws import noise_singular_values
from rmtlib.tails import fit_power_law, hill, power_law_test

QUIET = {"progress": False}


def power_law(n, exponent, rng, xmin=1.0):
    return np.sort(xmin * (1 - np.random.default_rng(rng).random(n)) ** (-1 / (exponent - 1)))


def with_body(n, exponent, share, rng):
    """A uniform body below 1 and a power law from there on."""
    rng = np.random.default_rng(rng)
    tail = power_law(n, exponent, rng)
    return np.sort(np.where(rng.random(n) < share, tail, rng.random(n)))


def gaussian_levels(shape, seed):
    return np.linalg.svd(ensembles.gaussian(shape, seed), compute_uv=False)[::-1]


def direct_fit(x, min_tail):
    """The same by scipy, one beginning after another: statistic, exponent, xmin, n_tail."""
    found = []
    for xmin in np.unique(x[x > 0]):
        tail = x[x >= xmin]
        if len(tail) >= min_tail and tail[-1] > xmin:
            exponent = 1 + len(tail) / np.log(tail / xmin).sum()
            statistic = scipy.stats.kstest(tail, scipy.stats.pareto(exponent - 1, scale=xmin).cdf).statistic
            found.append((statistic, exponent, xmin, len(tail)))
    return min(found)


# Hill


@pytest.mark.parametrize("exponent", [1.8, 3.0, 6.0])
def test_hill_recovers_a_planted_exponent_within_its_error(exponent):
    deviations = []
    for seed in range(200):
        estimate = hill(power_law(1000, exponent, [1, seed]), 300)
        deviations.append((estimate.exponent - exponent) / estimate.standard_error)
    assert abs(np.mean(deviations)) < 0.25
    assert np.std(deviations) == pytest.approx(1, abs=0.15)


def test_hill_is_the_formula():
    x = np.array([0.5, 1.0, 2.0, 4.0, 8.0])
    estimate = hill(x, 3)
    gamma = np.mean(np.log(x[2:] / 1.0))
    assert (estimate.k, estimate.threshold) == (3, 1.0)
    assert estimate.exponent == pytest.approx(1 + 1 / gamma)
    assert estimate.standard_error == pytest.approx(1 / (gamma * np.sqrt(3)))


def test_several_k_make_a_hill_plot():
    x = power_law(500, 3, 2)
    k = np.array([[400, 20], [100, 499]])
    plot = hill(x, k)
    assert plot.exponent.shape == k.shape
    for index in np.ndindex(k.shape):
        assert plot.exponent[index] == pytest.approx(hill(x, int(k[index])).exponent)
        assert plot.threshold[index] == hill(x, int(k[index])).threshold
    assert np.isscalar(hill(x, 7).exponent)


@given(st.floats(1e-3, 1e3), st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_exponents_do_not_depend_on_the_unit(unit, k):
    x = power_law(80, 2.5, 3)
    assert hill(unit * x, k).exponent == pytest.approx(hill(x, k).exponent, rel=1e-6)
    fit, scaled = fit_power_law(x), fit_power_law(unit * x)
    assert (scaled.n_tail, scaled.xmin) == (fit.n_tail, pytest.approx(unit * fit.xmin))
    assert scaled.exponent == pytest.approx(fit.exponent, rel=1e-6)


def test_squares_have_the_exponent_that_the_module_states():
    nu = power_law(400, 5, 4)
    for estimate in (lambda x: hill(x, 150), fit_power_law):
        assert estimate(nu).exponent == pytest.approx(2 * estimate(nu**2).exponent - 1)
    assert fit_power_law(nu).statistic == pytest.approx(fit_power_law(nu**2).statistic)


# The fit


@pytest.mark.parametrize("min_tail", [2, 20, 60])
@pytest.mark.parametrize("sample", ["lognormal", "normal", "ties"])
def test_the_fit_is_that_of_a_direct_search(sample, min_tail):
    rng = np.random.default_rng(5)
    x = np.sort(rng.normal(size=150) if sample == "normal" else rng.lognormal(size=120))
    x = np.round(x, 1) if sample == "ties" else x
    statistic, exponent, xmin, n_tail = direct_fit(x, min_tail)
    fit = fit_power_law(x, min_tail=min_tail)
    assert (fit.xmin, fit.n_tail, fit.n) == (xmin, n_tail, len(x))
    assert fit.exponent == pytest.approx(exponent, rel=1e-9)
    assert fit.statistic == pytest.approx(statistic, rel=1e-9)
    assert fit.standard_error == pytest.approx((exponent - 1) / np.sqrt(n_tail), rel=1e-9)


def test_a_long_sample_is_searched_in_blocks_with_the_same_result(monkeypatch):
    x = with_body(300, 2.5, 0.4, 6)
    whole = fit_power_law(x)
    monkeypatch.setattr(tails, "BLOCK", 1)
    assert fit_power_law(x) == whole


@pytest.mark.parametrize("exponent", [2.0, 3.5])
def test_a_planted_power_law_above_a_body_is_recovered(exponent):
    fits = [fit_power_law(with_body(1500, exponent, 0.8, [7, seed])) for seed in range(20)]
    assert np.mean([fit.exponent for fit in fits]) == pytest.approx(exponent, rel=0.04)
    assert np.median([fit.xmin for fit in fits]) == pytest.approx(1, abs=0.1)
    assert np.median([fit.n_tail for fit in fits]) == pytest.approx(1200, rel=0.1)


def test_a_given_beginning_is_kept():
    x = with_body(500, 3, 0.5, 8)
    fit = fit_power_law(x, xmin=1.25)
    tail = x[x >= 1.25]
    assert (fit.xmin, fit.n_tail) == (1.25, len(tail))
    assert fit.exponent == pytest.approx(1 + len(tail) / np.log(tail / 1.25).sum())
    law = scipy.stats.pareto(fit.exponent - 1, scale=1.25)
    assert fit.statistic == pytest.approx(scipy.stats.kstest(tail, law.cdf).statistic)
    free = fit_power_law(x)
    same = fit_power_law(x, xmin=free.xmin)
    assert (same.n_tail, same.statistic) == (free.n_tail, pytest.approx(free.statistic))


# The test


def test_p_is_uniform_for_a_power_law_of_given_beginning():
    pvalues = [power_law_test(power_law(100, 3, [9, i]), rng=i, xmin=1.0, draws=49, **QUIET).pvalue for i in range(120)]
    assert scipy.stats.kstest(pvalues, "uniform").pvalue > 0.01


def test_p_of_a_power_law_is_spread_over_the_interval_where_the_beginning_is_fitted():
    pvalues = [power_law_test(with_body(150, 3, 0.6, [10, i]), rng=i, draws=39, **QUIET).pvalue for i in range(60)]
    assert 0.35 < np.mean(pvalues) < 0.7
    assert np.mean(np.array(pvalues) <= 0.1) < 0.2
    assert np.std(pvalues) > 0.18


def test_the_bulk_of_a_gaussian_matrix_is_no_power_law():
    for seed in range(4):
        nu = gaussian_levels((512, 512), seed)
        result = power_law_test(nu**2, rng=seed, draws=99, **QUIET)
        assert result.pvalue < 0.1
        # yet it has an exponent, of the size that trained networks are said to have
        assert 3 < result.fit.exponent < 9


def test_an_exponential_tail_is_rejected_and_few_levels_cannot_tell():
    x = np.sort(np.random.default_rng(11).exponential(size=1000))
    assert power_law_test(x, rng=0, draws=49, xmin=0.5, **QUIET).pvalue == 0.02
    assert power_law_test(x[-60:], rng=0, draws=49, **QUIET).pvalue > 0.1


def test_the_seed_decides_the_p_value_and_generators_go_on():
    x = with_body(120, 3, 0.6, 12)
    first, again, other = (power_law_test(x, rng=seed, draws=20, **QUIET).statistics for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(power_law_test(x, rng=rng, draws=20, **QUIET).statistics, first)
    assert not np.array_equal(power_law_test(x, rng=rng, draws=20, **QUIET).statistics, first)


def test_p_counts_the_synthetic_samples_that_fit_no_better():
    x = with_body(120, 3, 0.6, 13)
    result = power_law_test(x, rng=0, draws=30, **QUIET)
    assert result.fit == fit_power_law(x)
    assert result.pvalue == (1 + np.sum(result.statistics >= result.fit.statistic)) / 31


# What is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: hill(x, 0), "k must be whole numbers from 1 to 99, one less than there are levels; got 0"),
        (lambda x: hill(x, 100), "k must be whole numbers from 1 to 99"),
        (lambda x: hill(x, 2.5), "k must hold whole numbers; got"),
        (lambda x: hill(x, []), "k must hold whole numbers; got"),
        (lambda x: hill(x, True), "k must hold whole numbers; got"),
        (lambda x: hill(x[::-1], 5), "x must be sorted in ascending order"),
        (lambda x: hill(x - 2, 99), "x must be above 0 where it is used; level 99 from the top is -"),
        (lambda x: hill(np.ones(9), 5), "x has equal levels at its upper end"),
        (lambda x: fit_power_law(x[:49]), "x must hold at least 50 levels; got 49"),
        (lambda x: fit_power_law(x, min_tail=1), "min_tail must be an integer of at least 2; got 1"),
        (lambda x: fit_power_law(np.ones(90)), "x must have at least 50 levels above 0 that are not all equal"),
        (lambda x: fit_power_law(x - 5), "x must have at least 50 levels above 0"),
        (lambda x: fit_power_law(x, xmin=0), "xmin must be a finite number above 0; got 0"),
        (lambda x: fit_power_law(x, xmin=x[60]), "xmin must leave at least 50 levels that are not all equal to it; .* leaves 40"),
        (lambda x: fit_power_law(np.append(x, np.nan)), "x must be finite"),
        (lambda x: fit_power_law([x]), "x must be one-dimensional"),
        (lambda x: power_law_test(x, rng=0, draws=0), "draws must be an integer of at least 1; got 0"),
        (lambda x: power_law_test(x, rng=0, xmin=-1), "xmin must be a finite number above 0; got -1"),
        (lambda x: power_law_test(x[:20], rng=0), "x must hold at least 50 levels; got 20"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(power_law(100, 3, 0))


@pytest.mark.parametrize("shape", [(64, 64), (200, 100), (256, 900)])
def test_the_exponent_of_noise_is_that_of_simulated_matrices(shape):
    rng = np.random.default_rng(21)
    found = [fit_power_law(np.linalg.svd(rng.uniform(-1, 1, shape), compute_uv=False)[::-1] ** 2).exponent for _ in range(60)]
    noise = tails.noise_exponent(shape)
    z = (np.array(found) - noise.mean) / noise.standard_deviation
    assert z.mean() == pytest.approx(0, abs=0.5)  # four standard errors
    assert z.std() == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize("shape", [(512, 512), (450, 450), (330, 220)])
def test_the_exponent_of_fresh_noise_is_centred_on_the_table_and_between_its_sizes(shape):
    found = [fit_power_law(noise_singular_values(shape, np.random.default_rng([22, i])) ** 2).exponent for i in range(250)]
    noise = tails.noise_exponent(shape)
    z = (np.array(found) - noise.mean) / noise.standard_deviation
    assert z.mean() == pytest.approx(0, abs=0.2)  # three standard errors
    assert z.std() == pytest.approx(1, abs=0.2)


def test_the_exponent_of_noise_does_not_depend_on_the_order_of_the_sides():
    assert tails.noise_exponent((300, 100)) == tails.noise_exponent((100, 300))


@pytest.mark.parametrize(
    ("shape", "message"), [((63, 500), "of at least 64; got 63"), ((5000, 5000), "at most 4096, the end of the table; got 5000")]
)
def test_shapes_beyond_the_table_of_exponents_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        tails.noise_exponent(shape)


def test_a_sample_of_which_hardly_any_level_is_above_zero_is_tested_all_the_same():
    x = np.sort(np.concatenate([np.zeros(450), 1 + np.random.default_rng(0).pareto(2.0, 52)]))
    assert 0 < power_law_test(x, rng=0, draws=20, progress=False).pvalue <= 1


def test_advice_for_equal_levels_can_be_followed():
    with pytest.raises(ValueError, match="there is no tail to measure; use a larger k"):
        hill([1.0, 2.0, 2.0, 2.0], 2)
    with pytest.raises(ValueError, match="there is no tail to measure$"):
        hill([2.0, 2.0, 2.0, 2.0], 3)
