"""Statistics of a matrix in other units: the same, in these units, as far as floating-point numbers reach."""

import numpy as np
import pytest

import rmtlib
from rmtlib import departures, ensembles, filtering, goodness, laws, updates
from rmtlib.spectra import frobenius

W = np.random.default_rng(0).normal(size=(64, 48))
D = 0.1 * ensembles.gaussian(W.shape, 1) + 0.1 * np.outer(ensembles.gaussian((64,), 2), ensembles.gaussian((48,), 3))
NU = rmtlib.spectrum(W).nu
EXACT = [2.0**power for power in (-996, -700, -400, 400, 700, 990)]
SCALES = [*EXACT, 1e-300, 1e-200, 1e-101, 1e101, 1e200, 1e300]
SINGLE = [np.float32(scale) for scale in (1e-30, 1e-24, 1e-23, 1e18, 1e30)]
IN_UNITS = {"largest", "nu_plus", "sigma", "outlier_edge", "outlier_edge_below", "update_noise", "sigma_base", "sigma_tuned"}
INVERSE = {"snr", "snr_biwhitened", "spectrum_snr", "spectrum_snr_noise"}


def assert_scaled(row, expected, scale):
    assert set(row) == set(expected)
    for column, value in expected.items():
        if not isinstance(value, float) or column in ("seconds", "grid"):
            assert row[column] == value or column in ("seconds", "grid"), column
            continue
        found = row[column] / scale if column in IN_UNITS else row[column] * scale if column in INVERSE else row[column]
        np.testing.assert_allclose(found, value, rtol=1e-6, err_msg=column)


@pytest.fixture(scope="module")
def rows():
    return rmtlib.analyse(W).row(), rmtlib.scan({"w": W}, progress=False).iloc[0].to_dict()


@pytest.mark.parametrize("scale", SCALES)
def test_an_analysis_is_that_of_the_matrix_in_other_units(scale, rows):
    analysed, scanned = rows
    found = rmtlib.analyse(W * scale)
    assert_scaled(found.row(), analysed, scale)
    assert_scaled(rmtlib.scan({"w": W * scale}, progress=False).iloc[0].to_dict(), scanned, scale)
    if scale in EXACT:
        np.testing.assert_array_equal(found.nu / scale, NU)


@pytest.fixture(scope="module")
def compared():
    return rmtlib.compare({"w": W}, {"w": W + D}, True, progress=False).table.iloc[0].to_dict()


@pytest.mark.parametrize("scale", SCALES)
def test_a_comparison_is_that_of_the_matrices_in_other_units(scale, compared):
    found = rmtlib.compare({"w": W * scale}, {"w": (W + D) * scale}, True, progress=False).table.iloc[0].to_dict()
    assert_scaled(found, compared, scale)


@pytest.mark.parametrize("scale", SINGLE)
def test_float32_of_any_size_is_compared_in_float64(scale):
    base, change = W.astype(np.float32), D.astype(np.float32)
    expected = rmtlib.compare({"w": base}, {"w": base + change}, progress=False).table.iloc[0].to_dict()
    found = rmtlib.compare({"w": base * scale}, {"w": (base + change) * scale}, progress=False).table.iloc[0].to_dict()
    for column in ("update_size", "alignment", "stable_rank_base", "stable_rank_tuned"):
        assert found[column] == pytest.approx(expected[column], rel=1e-4), column
    exact = np.linalg.norm((base + change).astype(float) - base) / np.linalg.norm(base.astype(float))
    assert expected["update_size"] == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("scale", [np.float32(1e-43), np.float32(1e18), 1e-200, 1e300])
def test_equal_matrices_of_any_size_are_unchanged(scale):
    base = W.astype(np.asarray(scale).dtype) * scale
    found = rmtlib.compare({"w": base}, {"w": base.copy()}, progress=False).table
    assert found["summary"].tolist() == ["w: unchanged"]
    assert found["update_size"].tolist() == [0]


def test_one_layer_of_another_scale_costs_no_other(rows):
    network = {"a": W, "b": W * 1e-200, "c": W * 1e200, "d": W * 1e-310}
    table = rmtlib.analyse_network(network, progress=False)
    assert table["outliers"].tolist()[:3] == [rows[0]["outliers"]] * 3
    assert "d: not analysed: W must have a largest entry between" in table["summary"][3]
    assert rmtlib.scan(network, progress=False)["levels"].notna().tolist() == [True, True, True, False]
    report = filtering.filter_network(network, cut=0.5, progress=False).report
    np.testing.assert_allclose(report["norm_after"][:3] / [1, 1e-200, 1e200], report["norm_after"][0], rtol=1e-12)
    assert (report["rank"] == 24).all()


@pytest.mark.parametrize("scale", SCALES)
def test_a_norm_is_summed_where_its_squares_are_numbers(scale):
    assert frobenius(W * scale) / scale == pytest.approx(np.linalg.norm(W), rel=1e-12)


@pytest.mark.parametrize("scale", SINGLE)
def test_a_norm_of_float32_is_summed_in_float64(scale):
    single = W.astype(np.float32) * scale
    assert frobenius(single) == pytest.approx(np.linalg.norm(single.astype(float)), rel=1e-12)


@pytest.mark.parametrize("scale", EXACT)
def test_fits_scale_with_the_levels(scale):
    for options in ({}, {"method": "density"}):
        fit, found = (rmtlib.fit_marchenko_pastur(nu, W.shape, **options) for nu in (NU, NU * scale))
        for name in ("nu_minus", "nu_plus", "sigma", "outlier_edge", "outlier_edge_below"):
            assert getattr(found, name) / scale == getattr(fit, name), name
        np.testing.assert_allclose(found.cdf(NU * scale), fit.cdf(NU), rtol=1e-12)
        np.testing.assert_allclose(found.pdf(NU * scale) * scale, fit.pdf(NU), rtol=1e-12)
        assert found.amplitude == (np.inf if scale < 1e-160 else 0 if scale > 1e165 else fit.amplitude / scale**2)
    test, expected = goodness.bulk_test(NU * scale, W.shape), goodness.bulk_test(NU, W.shape)
    assert (test.statistic, test.sigma / scale, test.where / scale) == (expected.statistic, expected.sigma, expected.where)
    fits = rmtlib.fit_marchenko_pastur(NU, W.shape), rmtlib.fit_marchenko_pastur(NU * scale, W.shape)
    assert goodness.outlier_range(NU * scale, fits[1]) == goodness.outlier_range(NU, fits[0])


@pytest.mark.parametrize("scale", SCALES)
def test_levels_of_any_scale_unfold_alike(scale):
    for options in ({}, {"method": "marchenko_pastur", "shape": W.shape}, {"method": "polynomial"}):
        np.testing.assert_allclose(rmtlib.unfold(NU * scale, a=3, **options), rmtlib.unfold(NU, a=3, **options), atol=1e-9)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("q", [0.3, 1.0])
def test_the_marchenko_pastur_law_has_any_scale(q, scale):
    law, unit = laws.marchenko_pastur(q, scale), laws.marchenko_pastur(q)
    x = np.linspace(0.0, 2.5, 40)
    np.testing.assert_allclose(law.pdf(x * scale) * scale, unit.pdf(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(law.cdf(x * scale), unit.cdf(x), rtol=1e-9, atol=1e-12)
    p = np.linspace(0.01, 0.99, 20)
    np.testing.assert_allclose(law.ppf(p) / scale, unit.ppf(p), rtol=1e-9)
    assert law.var() == pytest.approx(0.0 if scale < 1e-160 else np.inf if scale > 1e160 else unit.var() * scale**2)


@pytest.mark.parametrize("scale", EXACT[1:])  # rounding errors of the smallest are no ordinary numbers
def test_departures_and_updates_scale(scale):
    sparse = np.where(ensembles.gaussian(W.shape, 4) > 0, W, 0.0)
    assert departures.sparse_null(sparse * scale).edge / scale == departures.sparse_null(sparse).edge
    assert departures.correlation(W * scale) == departures.correlation(W)
    assert departures.blocks(W * scale).pvalue == departures.blocks(W).pvalue
    grid, found = updates.grid(W), updates.grid(W * scale)
    assert (found.half_spacing, found.rms / scale, found.edge / scale) == (grid.half_spacing, grid.rms, grid.edge)
    rounded = np.round(W, 1)
    for D_, base in ((D, W), (rounded.astype(np.float32) - W, W), (sparse, W)):
        update, same = updates.update_rank(D_ * scale, updates.grid(base * scale)), updates.update_rank(D_, updates.grid(base))
        assert update.noise / scale == pytest.approx(same.noise, rel=1e-9)
        assert (update.rank, update.words) == (same.rank, same.words)
        assert update.pvalue == (None if same.pvalue is None else pytest.approx(same.pvalue, rel=1e-6))


@pytest.mark.parametrize("scale", EXACT)
def test_noise_plus_update_scales(scale):
    law, unit = (rmtlib.free_addition([1.0 * s, 5.0 * s], (40, 30), 0.3 * s) for s in (scale, 1.0))
    np.testing.assert_allclose(law.levels / scale, unit.levels, rtol=1e-12)
    assert law.var() == pytest.approx(0.0 if scale < 1e-160 else np.inf if scale > 1e160 else unit.var() * scale**2)
