from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtlib import ensembles, fit_marchenko_pastur, laws, marchenko_pastur


def null_singular_values(n, m, rng):
    """Singular values of an n x m Gaussian matrix from its bidiagonal form (Dumitriu and Edelman, J. Math. Phys. 43, 5830)."""
    off_diagonal = np.empty(2 * m - 1)
    off_diagonal[::2] = np.sqrt(rng.chisquare(n - np.arange(m)))
    off_diagonal[1::2] = np.sqrt(rng.chisquare(np.arange(m - 1, 0, -1)))
    return scipy.linalg.eigvalsh_tridiagonal(np.zeros(2 * m), off_diagonal, lapack_driver="sterf")[m:]


@cache
def null_spectra(n, m, count, seed=0):
    rng = np.random.default_rng(seed)
    return [null_singular_values(n, m, rng) for _ in range(count)]


def fits(n, m, count, **options):
    return [fit_marchenko_pastur(nu, (n, m), **options) for nu in null_spectra(n, m, count)]


def edge_ratio(results, n, m):
    ratio = np.array([fit.nu_plus for fit in results]) / (np.sqrt(n) + np.sqrt(m))
    return ratio.mean(), ratio.std(ddof=1)


def law_levels(m, n, sigma=1.0):
    """Levels that follow the law of an n x m matrix without any fluctuation."""
    return laws.marchenko_pastur(m / n, sigma * np.sqrt(n)).ppf((np.arange(m) + 0.5) / m)


def test_the_default_level_has_the_quantile_of_the_law():
    assert marchenko_pastur.QUANTILE == pytest.approx(laws.tracy_widom.ppf(1 - marchenko_pastur.LEVEL), rel=1e-12)


def test_null_singular_values_are_those_of_gaussian_matrices():
    rng = np.random.default_rng(1)
    dense = [np.linalg.svd(ensembles.gaussian((9, 5), rng), compute_uv=False)[::-1] for _ in range(4000)]
    bidiagonal = [null_singular_values(9, 5, rng) for _ in range(4000)]
    np.testing.assert_allclose(np.mean(dense, axis=0), np.mean(bidiagonal, axis=0), rtol=0.03)
    np.testing.assert_allclose(np.std(dense, axis=0), np.std(bidiagonal, axis=0), rtol=0.06)


@pytest.mark.parametrize(("n", "m"), [(512, 512), (1024, 512), (2000, 500)])
def test_noise_gives_back_its_edge_and_its_sigma(n, m):
    results = fits(n, m, 30)
    mean, deviation = edge_ratio(results, n, m)
    assert abs(mean - 1) < 0.005
    assert deviation < 0.012
    assert abs(np.mean([fit.sigma for fit in results]) - 1) < 0.0015
    assert np.std([fit.sigma for fit in results]) < 0.003
    assert abs(np.mean([fit.bulk_fraction for fit in results]) - 1) < 0.006
    assert np.mean([fit.share_below_edge for fit in results]) > 0.995
    assert np.mean([fit.n_outliers + fit.n_outliers_below for fit in results]) <= 0.1


def test_papers_fit_overshoots_the_edge_of_square_noise_and_reflection_repairs_it():
    paper, deviation = edge_ratio(fits(512, 512, 30, method="density", reflect=False), 512, 512)
    reflected, _ = edge_ratio(fits(512, 512, 30, method="density"), 512, 512)
    assert paper == pytest.approx(1.066, abs=0.012)
    assert deviation == pytest.approx(0.02, abs=0.008)
    assert reflected == pytest.approx(1.005, abs=0.009)


def test_papers_fit_of_rectangular_noise_overshoots_by_a_percent():
    results = fits(1024, 512, 30, method="density", reflect=False)
    assert edge_ratio(results, 1024, 512)[0] == pytest.approx(1.014, abs=0.008)
    for fit, nu in zip(results, null_spectra(1024, 512, 30), strict=True):
        assert fit.nu_minus == nu[0]


def test_spectra_are_reflected_by_default_from_a_ratio_of_095_on():
    nu = law_levels(190, 200)
    assert fit_marchenko_pastur(nu, (200, 190)).reflect
    assert not fit_marchenko_pastur(law_levels(189, 200), (200, 189)).reflect
    assert not fit_marchenko_pastur(nu, (200, 190), reflect=False).reflect


@pytest.mark.parametrize(("n", "m"), [(400, 400), (800, 400), (2000, 200)])
def test_levels_on_the_law_give_its_parameters(n, m):
    law = laws.marchenko_pastur(m / n, 0.2 * np.sqrt(n))
    fit = fit_marchenko_pastur(law_levels(m, n, 0.2), (n, m))
    assert fit.nu_plus == pytest.approx(law.nu_plus, rel=1e-3)
    assert fit.nu_minus == pytest.approx(law.nu_minus, abs=1e-3 * law.nu_plus)
    assert fit.bulk_fraction == pytest.approx(1, abs=1e-3)
    assert fit.sigma == pytest.approx(0.2, rel=1e-6)


@pytest.mark.parametrize("fraction", [0.7, 0.9])
def test_a_planted_bulk_fraction_is_found(fraction):
    m, bulk = 500, round(500 * fraction)
    nu = np.concatenate([law_levels(bulk, bulk) / np.sqrt(bulk), np.linspace(2.2, 6, m - bulk)])
    fit = fit_marchenko_pastur(nu, (m, m))
    assert fit.bulk_fraction == pytest.approx(fraction, abs=0.005)
    assert fit.nu_plus == pytest.approx(2, abs=0.01)
    assert fit.share_below_edge == pytest.approx(fraction)
    assert fit.n_outliers == m - bulk
    # the rest is noise of this many rows and columns
    assert fit.sigma == pytest.approx(1 / np.sqrt(bulk), rel=1e-3)


def test_spikes_twenty_percent_above_the_threshold_are_found():
    planted = ensembles.spiked((4096, 1024), 2, strengths=np.full(5, 1.2 * 0.25**0.25))
    nu = np.sqrt(np.linalg.eigvalsh(planted.matrix.T @ planted.matrix))
    fit = fit_marchenko_pastur(nu, (4096, 1024))
    assert 3 <= fit.n_outliers <= 5
    assert fit.n_outliers_below == 0
    assert fit.sigma == pytest.approx(1 / 64, rel=0.003)


def test_spikes_hardly_change_the_noise_found():
    noise = ensembles.gaussian((512, 512), 3, sigma=1 / np.sqrt(512))
    spikes = ensembles.spiked((512, 512), 3, strengths=np.linspace(0.1, 4, 80))
    fit = fit_marchenko_pastur(np.linalg.svd(noise, compute_uv=False)[::-1], (512, 512))
    spiked_fit = fit_marchenko_pastur(np.linalg.svd(spikes.matrix, compute_uv=False)[::-1], (512, 512))
    assert spiked_fit.sigma == pytest.approx(fit.sigma, rel=0.015)
    detectable = np.sum(spikes.strengths > 1)
    assert 0.8 * detectable < spiked_fit.n_outliers <= detectable


def test_outliers_below_the_bulk_are_counted_and_leave_the_fit_alone():
    nu = null_spectra(1024, 512, 30)[0]
    shrunk = np.sort(np.concatenate([nu[:3] / 2, nu[3:]]))
    fit, shrunk_fit = (fit_marchenko_pastur(x, (1024, 512)) for x in (nu, shrunk))
    assert (fit.n_outliers_below, shrunk_fit.n_outliers_below, shrunk_fit.n_outliers) == (0, 3, 0)
    assert shrunk_fit.nu_plus == pytest.approx(fit.nu_plus, rel=0.02)
    assert shrunk_fit.nu_minus == pytest.approx(fit.nu_minus, rel=0.05)
    assert shrunk_fit.sigma == pytest.approx(fit.sigma, rel=0.005)


@pytest.mark.parametrize(("n", "m"), [(160, 80), (800, 80)])
def test_false_outliers_come_at_the_stated_level(n, m):
    # 0.2 of 150 is 30 with standard deviation 4.9
    results = [fit_marchenko_pastur(nu, (n, m), level=0.2) for nu in null_spectra(n, m, 150)]
    assert 15 <= sum(fit.n_outliers > 0 for fit in results) <= 46
    assert 15 <= sum(fit.n_outliers_below > 0 for fit in results) <= 46


@pytest.mark.parametrize(("n", "m", "a"), [(16, 16, 2), (32, 16, 2), (32, 32, 3)])
def test_few_levels_of_noise_have_no_outliers_although_sigma_is_uncertain(n, m, a):
    # 1 % of 250 is 2.5 with standard deviation 1.6; an edge for a sigma that is known leaves 3 to 10 % of them an outlier
    window = np.arange(m // 10, int(0.6 * m))
    above, below = 0, 0
    for nu in null_spectra(n, m, 250, seed=5):
        try:
            found = fit_marchenko_pastur(nu, (n, m), a=a)
        except ValueError:  # too few levels to bend down
            found = marchenko_pastur.fit_noise(nu, (n, m), window)
        above, below = above + (found.n_outliers > 0), below + (found.n_outliers_below > 0)
    assert above <= 7
    assert below <= 7


def test_a_direction_of_few_levels_is_still_found():
    planted = [ensembles.spiked((16, 16), seed, strengths=[4.0], sigma=1.0).matrix for seed in range(100)]
    window = np.arange(1, 10)
    counts = [marchenko_pastur.fit_noise(np.linalg.svd(W, compute_uv=False)[::-1], (16, 16), window).n_outliers for W in planted]
    assert np.mean(np.equal(counts, 1)) > 0.9


def test_square_noise_has_no_lower_edge():
    fit = fit_marchenko_pastur(null_spectra(512, 512, 30)[0], (512, 512))
    assert (fit.nu_minus, fit.outlier_edge_below, fit.n_outliers_below) == (0, 0, 0)


def test_outlier_edge_is_the_tracy_widom_quantile():
    nu = null_spectra(1024, 512, 30)[1]
    fit = fit_marchenko_pastur(nu, (1024, 512), level=0.05)
    root = np.sqrt(1023) + np.sqrt(512)
    scale = root * (1 / np.sqrt(1023) + 1 / np.sqrt(512)) ** (1 / 3)
    # tabulated 95 % point of the law, Johnstone 2001
    assert (fit.outlier_edge / fit.sigma) ** 2 == pytest.approx(root**2 + 0.9793 * scale, rel=1e-5)


@pytest.mark.parametrize("method", ["counting", "density"])
@pytest.mark.parametrize(("n", "m"), [(512, 512), (1024, 512)])
def test_curve_is_the_papers_formula_and_integrates_to_the_bulk_fraction(method, n, m):
    fit = fits(n, m, 30, method=method)[2]
    nu = np.linspace(fit.nu_minus, fit.nu_plus, 9)[1:-1]
    formula = fit.amplitude / nu * np.sqrt((fit.nu_plus**2 - nu**2) * (nu**2 - fit.nu_minus**2))
    np.testing.assert_allclose(fit.pdf(nu), formula, rtol=1e-9)
    assert fit.bulk_fraction == pytest.approx(np.pi * fit.amplitude / 4 * (fit.nu_plus - fit.nu_minus) ** 2)
    for x in (nu[3], fit.nu_plus):
        integral = scipy.integrate.quad(fit.pdf, fit.nu_minus, x)[0]
        assert fit.cdf(x) == pytest.approx(integral, abs=1e-6)
    assert fit.cdf(2 * fit.nu_plus) == pytest.approx(fit.bulk_fraction)
    assert fit.pdf(1.01 * fit.nu_plus) == 0


def test_huge_outliers_do_not_change_the_fitted_curve():
    nu = null_spectra(1024, 512, 30)[4].copy()
    nu[-2:] = 70, 80
    fit = fit_marchenko_pastur(nu, (1024, 512))
    nu[-2:] = 7000, 8000
    far = fit_marchenko_pastur(nu, (1024, 512))
    assert far.nu_plus == pytest.approx(fit.nu_plus, rel=0.01)
    assert (fit.n_outliers, far.n_outliers) == (2, 2)


@given(scale=st.floats(1e-6, 1e6), index=st.integers(0, 29), method=st.sampled_from(["counting", "density"]))
@settings(max_examples=8, deadline=None)
def test_fit_scales_with_the_matrix_and_ignores_its_orientation(scale, index, method):
    nu = null_spectra(1024, 512, 30)[index]
    fit = fit_marchenko_pastur(nu, (1024, 512), method=method)
    scaled = fit_marchenko_pastur(scale * nu, (512, 1024), method=method)
    for name in ("nu_minus", "nu_plus", "sigma", "outlier_edge", "outlier_edge_below"):
        assert getattr(scaled, name) == pytest.approx(scale * getattr(fit, name), rel=1e-4)
    assert scaled.amplitude == pytest.approx(fit.amplitude / scale**2, rel=1e-3)
    assert scaled.bulk_fraction == pytest.approx(fit.bulk_fraction, rel=1e-4)
    assert (scaled.n_outliers, scaled.n_outliers_below) == (fit.n_outliers, fit.n_outliers_below)
    assert scaled.shape == (512, 1024)


GOOD = law_levels(100, 200)


@pytest.mark.parametrize(
    ("nu", "shape", "options", "message"),
    [
        (GOOD[::-1], (200, 100), {}, "nu must be sorted in ascending order"),
        (np.append(GOOD[:-1], np.nan), (200, 100), {}, "nu must be finite"),
        (GOOD.reshape(10, 10), (200, 100), {}, "nu must be one-dimensional"),
        (GOOD[:9], (200, 9), {}, "nu must hold at least 10 levels; got 9"),
        (GOOD, (200, 99), {}, r"nu must hold all 99 singular values of a matrix of shape \(200, 99\); got 100"),
        (GOOD, (100, 99, 3), {}, "shape must be the two whole numbers of rows and columns"),
        (GOOD, 100, {}, "shape must be the two whole numbers of rows and columns; got 100"),
        (GOOD, (200.5, 100), {}, "shape must be the two whole numbers of rows and columns"),
        (GOOD - 1e3, (200, 100), {}, "nu must hold singular values, which are not negative; got -99"),
        (np.zeros(100), (200, 100), {}, "nu must not be all zero"),
        (np.ones(100), (200, 100), {}, "nu has too many coinciding levels near 1"),
        (np.append(np.zeros(40), GOOD[40:]), (200, 100), {}, "nu has too many coinciding levels near 0"),
        (np.append(np.zeros(55), np.linspace(1, 2, 45)), (100, 100), {"a": 49}, "nu has too many coinciding levels near 0"),
        (np.append([0.5, 0.502, 0.504], np.linspace(1, 2, 97)), (200, 100), {"a": 1}, "nu has only 2 levels in the peak"),
        (np.linspace(1, 2, 100) ** 4, (100, 100), {}, "nu has no upper edge of a bulk"),
        (GOOD, (200, 100), {"a": 50}, "a must be below half of the 100 levels; got 50"),
        (GOOD, (200, 100), {"a": 1.5}, "a must be an integer of at least 1; got 1.5"),
        (GOOD, (200, 100), {"method": "reflected"}, "method must be one of 'counting', 'density'; got 'reflected'"),
        (GOOD, (200, 100), {"reflect": "yes"}, "reflect must be one of None, True, False; got 'yes'"),
        (GOOD, (200, 100), {"keep": 1.0}, "keep must be between 0 and 1; got 1.0"),
        (GOOD, (200, 100), {"level": 0}, "level must be a finite number above 0; got 0"),
        (np.append(GOOD[0] / 2, GOOD[1:]), (200, 100), {"method": "density"}, "nu has no upper edge of a bulk"),
    ],
)
def test_bad_input_is_named(nu, shape, options, message):
    with pytest.raises(ValueError, match=message):
        fit_marchenko_pastur(nu, shape, **options)


def test_noise_is_fitted_to_the_levels_of_a_window():
    planted = ensembles.spiked((300, 200), 51, strengths=[2.0, 5.0, 9.0], sigma=0.2)
    nu = np.linalg.svd(planted.matrix, compute_uv=False)[::-1]
    found = marchenko_pastur.fit_noise(nu, (300, 200), np.arange(20, 120))
    fit = fit_marchenko_pastur(nu, (300, 200))
    assert (found.n_outliers, found.n_outliers_below) == (3, 0)
    assert found.sigma == pytest.approx(0.2, rel=0.02)
    assert found.outlier_edge == pytest.approx(fit.outlier_edge, rel=0.02)
    assert found.outlier_edge_below == pytest.approx(fit.outlier_edge_below, rel=0.03)
    strict = marchenko_pastur.fit_noise(nu, (300, 200), np.arange(20, 120), level=1e-4)
    assert strict.outlier_edge > found.outlier_edge


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ([], "window must hold whole numbers"),
        ([3, 2], "window must hold indices of levels, ascending"),
        ([0.5, 1.5], "window must hold whole numbers"),
        ([-1, 4], "window must hold indices from 0 to 49; got -1 to 4"),
        ([1, 50], "window must hold indices from 0 to 49; got 1 to 50"),
    ],
)
def test_bad_windows_are_refused(window, message):
    with pytest.raises(ValueError, match=message):
        marchenko_pastur.fit_noise(np.arange(50.0), (50, 50), window)


@pytest.mark.parametrize("level", [0.01, 0.2])
def test_the_p_of_the_largest_level_is_that_of_the_edge(level):
    planted = ensembles.spiked((300, 200), 0, strengths=[3.0], sigma=0.1).matrix
    nu = np.linalg.svd(planted, compute_uv=False)[::-1]
    fit = fit_marchenko_pastur(nu, planted.shape, level=level)
    assert fit.largest_pvalue(fit.outlier_edge) == pytest.approx(level, rel=1e-6)
    assert fit.largest_pvalue(nu[-1]) < 1e-6 < fit.largest_pvalue(nu[-2])
    few = np.linalg.svd(ensembles.gaussian((48, 24), 1), compute_uv=False)[::-1]
    fit = fit_marchenko_pastur(few, (48, 24), a=5, level=level)
    assert fit.sigma_error > 0.01
    assert fit.largest_pvalue(fit.outlier_edge) == pytest.approx(level, rel=1e-6)


def test_the_p_of_the_largest_level_of_noise_is_uniform():
    pvalues = []
    for seed in range(60):
        nu = np.linalg.svd(np.random.default_rng([7, seed]).standard_normal((150, 100)), compute_uv=False)[::-1]
        pvalues.append(fit_marchenko_pastur(nu, (150, 100)).largest_pvalue(nu[-1]))
    assert scipy.stats.kstest(pvalues, "uniform").pvalue > 0.01
