"""False discovery rates, and bands of whole curves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtlib import multiple


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_rejects_what_its_definition_rejects(pvalues):
    p = np.array(pvalues)
    q = multiple.benjamini_hochberg(p)
    ascending = np.sort(p)
    for level in (0.05, 0.2, 0.5):
        passed = np.flatnonzero(ascending <= level * np.arange(1, len(p) + 1) / len(p))
        threshold = ascending[passed[-1]] if len(passed) else -1.0
        certain = np.abs(q - level) > 1e-12
        np.testing.assert_array_equal((q <= level)[certain], (p <= threshold)[certain])


def test_benjamini_hochberg_keeps_the_shape():
    p = np.random.default_rng(0).random((3, 4))
    np.testing.assert_array_equal(multiple.benjamini_hochberg(p).ravel(), multiple.benjamini_hochberg(p.ravel()))


@pytest.mark.parametrize("bad", [[0.1, np.nan], [-0.1], [1.1]])
def test_probabilities_outside_0_and_1_are_refused(bad):
    with pytest.raises(ValueError, match=r"pvalues must lie in \[0, 1\]; got nan or values outside"):
        multiple.benjamini_hochberg(bad)


def test_no_probabilities_are_refused():
    with pytest.raises(ValueError, match="pvalues must hold at least one p value; got none"):
        multiple.benjamini_hochberg([])


def test_the_band_holds_nineteen_of_twenty_random_curves():
    low, high = multiple.moving_mean_band(300)
    assert low + high == pytest.approx(1)
    curves = multiple.moving_mean(np.random.default_rng(6).random((2000, 300)), 15)
    inside = np.mean((curves.min(axis=1) >= low) & (curves.max(axis=1) <= high))
    assert inside == pytest.approx(0.95, abs=0.015)
    assert curves.std() == pytest.approx(np.sqrt(1 / 12 / 15), abs=0.001)


def test_the_minimum_of_a_curve_of_512_averages_the_value_of_the_book():
    curves = multiple.moving_mean(np.random.default_rng(7).random((3000, 512)), 15)
    assert curves.min(axis=1).mean() == pytest.approx(0.305, abs=0.004)


def test_the_band_widens_with_the_length_and_narrows_with_the_window():
    assert multiple.moving_mean_band(512)[0] < multiple.moving_mean_band(100)[0]
    assert multiple.moving_mean_band(512, window=31)[0] > multiple.moving_mean_band(512)[0]


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 30))
def test_moving_means_are_means_of_complete_windows(window, extra):
    x = np.random.default_rng(8).random(window + extra)
    expected = [x[i : i + window].mean() for i in range(extra + 1)]
    np.testing.assert_allclose(multiple.moving_mean(x, window), expected, atol=1e-14)


@pytest.mark.parametrize(
    ("k", "arguments", "message"),
    [
        (10, {}, "window must be at most the number of vectors, 10; got 15"),
        (100, {"level": 1.5}, "level must be between 0 and 1; got 1.5"),
        (100, {"window": 0}, "window must be an integer of at least 1; got 0"),
    ],
)
def test_bad_bands_are_refused(k, arguments, message):
    with pytest.raises(ValueError, match=message):
        multiple.moving_mean_band(k, **arguments)
