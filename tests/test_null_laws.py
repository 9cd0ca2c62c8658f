"""Null laws of the tests."""

import csv
from pathlib import Path

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtlib import null_laws
from rmtlib.laws import wigner_surmise
from rmtlib.unfolding import unfold


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / name)
    return tmp_path / "rmtlib" / "nulls"


def noise_statistic(nu):
    return null_laws.ks_statistic(wigner_surmise.cdf(np.sort(np.diff(unfold(nu)))))


def test_the_bidiagonal_model_has_the_singular_values_of_gaussian_matrices():
    rng = np.random.default_rng(1)
    short = np.array([null_laws.noise_singular_values((14, 6), rng) for _ in range(2000)])
    dense = np.linalg.svd(rng.standard_normal((2000, 14, 6)), compute_uv=False)[:, ::-1]
    for i in range(6):
        assert scipy.stats.ks_2samp(short[:, i], dense[:, i]).pvalue > 0.001
    assert np.all(np.diff(short) >= 0)


def test_the_shape_may_be_given_in_either_order():
    np.testing.assert_array_equal(null_laws.noise_singular_values((9, 4), 3), null_laws.noise_singular_values((4, 9), 3))


@pytest.mark.parametrize("n", [16, 100, 451, 1963])
@pytest.mark.parametrize(("method", "a"), [("broadened", 15), ("broadened", 7), ("marchenko_pastur", 15), ("polynomial", 15)])
def test_tabulated_laws_fall_from_1_to_their_floor(n, method, a):
    law = null_laws.spacing_null(n, method=method, a=a)
    assert law.n == n
    assert np.all(np.diff(law.statistic) > 0)
    assert np.all(np.diff(law.exceedance) < 0)
    assert law.pvalue(0.0) == 1
    assert law.pvalue(1.0) == pytest.approx(1e-6)
    assert law.pvalue(law.critical(0.05)) == pytest.approx(0.05)


def test_the_law_between_two_rows_of_the_table_lies_between_them():
    low, mid, high = (np.sqrt(n) * null_laws.spacing_null(n).critical(0.05) for n in (131, 160, 195))
    assert min(low, high) <= mid <= max(low, high)


@pytest.mark.parametrize(
    ("shape", "entries"),
    [
        ((300, 300), lambda shape, rng: rng.uniform(-1, 1, shape)),
        ((150, 600), lambda shape, rng: rng.standard_t(10, shape)),
        ((250, 500), None),
    ],
)
def test_noise_of_any_kind_follows_the_tabulated_law(shape, entries):
    rng = np.random.default_rng(2)
    p = []
    for _ in range(120):
        nu = null_laws.noise_singular_values(shape, rng) if entries is None else scipy.linalg.svdvals(entries(shape, rng))[::-1]
        p.append(null_laws.spacing_null(min(shape) - 61).pvalue(noise_statistic(nu)))
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.001


def test_an_unknown_recipe_is_simulated_once_and_then_read_from_the_cache(cache, monkeypatch):
    monkeypatch.setattr(null_laws, "DRAWS", 60)
    law = null_laws.spacing_null(20, a=5)
    assert [file.suffix for file in cache.iterdir()] == [".npy"]
    monkeypatch.setattr(null_laws, "noise_singular_values", None)
    again = null_laws.spacing_null(20, a=5)
    np.testing.assert_array_equal(again.statistic, law.statistic)
    assert again.n == law.n == 20
    assert law.exceedance[-1] == 1 / 61


@pytest.mark.parametrize("content", [b"", b"not an array"])
def test_a_broken_cache_file_is_made_again(cache, content):
    law = null_laws.simulate_spacing_null((90, 90), draws=30)
    (file,) = cache.iterdir()
    file.write_bytes(content)
    np.testing.assert_array_equal(null_laws.simulate_spacing_null((90, 90), draws=30).statistic, law.statistic)
    assert len(np.load(file)) == 30


def test_a_cache_that_cannot_be_written_gives_a_warning_and_the_law(cache):
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="the simulated null could not be kept"):
        assert null_laws.simulate_spacing_null((90, 90), draws=20).n == 29


def test_a_simulated_law_agrees_with_the_tabulated_one(cache):
    law = null_laws.simulate_spacing_null((128, 128), draws=600, rng=np.random.default_rng(4))
    assert not cache.exists()
    assert null_laws.spacing_null(67).pvalue(law.critical(0.3)) == pytest.approx(0.3, abs=0.06)


def test_entries_and_unfolding_of_the_null_can_be_chosen():
    calls = []

    def entries(shape, rng):
        calls.append(shape)
        return rng.uniform(-1, 1, shape)

    law = null_laws.simulate_spacing_null((40, 60), entries=entries, draws=20, method="marchenko_pastur")
    assert law.n == 39
    assert calls == [(40, 60)] * 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 15}, "^n must be an integer of at least 16; got 15"),
        ({"n": 1_000_000}, "n must be at most .*, the end of the table of nulls; got 1000000"),
        ({"n": 100, "method": "spline"}, "method must be one of 'broadened', 'marchenko_pastur', 'polynomial'; got 'spline'"),
    ],
)
def test_bad_requests_for_a_null_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        null_laws.spacing_null(arguments.pop("n"), **arguments)


def test_the_table_can_be_asked_from_its_first_row_up_to_its_last(monkeypatch):
    monkeypatch.setattr(null_laws, "noise_singular_values", None)
    with (Path(null_laws.__file__).parent / "null_laws" / "spacings.csv").open() as lines:
        sizes = [int(float(line[1])) for line in csv.reader(lines) if line[0] == "broadened a=15"]
    first, last = min(sizes), max(sizes)
    assert [null_laws.spacing_null(n).n for n in (first, last)] == [first, last]
    with pytest.raises(ValueError, match=f"n must be at most {last}, the end of the table of nulls; got {last + 1}"):
        null_laws.spacing_null(last + 1)


def test_two_levels_are_the_fewest_that_noise_has():
    assert null_laws.noise_singular_values((5, 2), 0).shape == (2,)
    with pytest.raises(ValueError, match=r"min\(shape\) must be an integer of at least 2; got 1"):
        null_laws.noise_singular_values((5, 1), 0)


def test_the_seed_is_zero_unless_another_is_given(cache):
    laws = [
        null_laws.simulate_spacing_null((90, 90), draws=20, **seed)
        for seed in ({}, {"rng": np.random.default_rng(0)}, {"rng": 1})
    ]
    np.testing.assert_array_equal(laws[0].statistic, laws[1].statistic)
    assert not np.array_equal(laws[0].statistic, laws[2].statistic)


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match="^draws must be an integer of at least 20; got 3"):
        null_laws.simulate_spacing_null((90, 90), draws=3)


def test_vectors_of_ten_entries_and_of_a_thousand_are_calibrated():
    rng = np.random.default_rng(5)
    for m in (10, 40, 1000):
        v = rng.standard_normal((4000, m))
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        d = null_laws.ks_statistic(scipy.special.ndtr(np.sort(v, axis=1) * np.sqrt(m)))
        scipys = scipy.stats.kstwo.sf(d, m)
        assert scipy.stats.kstest(null_laws.vector_pvalue(scipys, m), "uniform").pvalue > 0.001
        assert scipy.stats.kstest(scipys, "uniform").pvalue < 1e-6


def test_far_in_the_tail_the_ratio_to_scipy_is_the_root_of_two_thirds():
    tiny = np.array([1e-300, 1e-20, 1e-6])
    np.testing.assert_allclose(null_laws.vector_pvalue(tiny, 512) / tiny, np.sqrt(2 / 3), rtol=1e-4)
    assert null_laws.vector_pvalue([0.0, 1.0], 512).tolist() == [0.0, 1.0]


@settings(deadline=None)
@given(st.floats(1e-12, 1), st.floats(1e-12, 1), st.integers(8, 5000))
def test_calibration_keeps_the_order_of_vectors(p, q, m):
    low, high = null_laws.vector_pvalue(sorted([p, q]), m)
    assert low <= high


def test_vectors_of_fewer_than_eight_entries_are_refused():
    with pytest.raises(ValueError, match="m must be an integer of at least 8; got 7"):
        null_laws.vector_pvalue([0.5], 7)
