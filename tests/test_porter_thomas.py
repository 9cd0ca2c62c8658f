"""Entries of singular vectors."""

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtlib.multiple import benjamini_hochberg, moving_mean_band
from rmtlib.porter_thomas import participation_ratio, porter_thomas


def random_vectors(k, m, rng):
    v = np.random.default_rng(rng).standard_normal((k, m))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def singular_vectors(shape, rng):
    return np.linalg.svd(rng.standard_normal(shape), full_matrices=False)[2][::-1]


def test_statistic_and_pvalue_are_scipys():
    v = random_vectors(40, 96, 1)
    test = porter_thomas(v)
    for i in (0, 17, 39):
        expected = scipy.stats.kstest(v[i], scipy.stats.norm(scale=1 / np.sqrt(96)).cdf)
        assert test.statistic[i] == pytest.approx(expected.statistic, abs=1e-12)
        assert test.pvalue[i] == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize("m", [8, 150, 700])
def test_pvalues_of_many_vectors_are_scipys_too(m):
    v = random_vectors(300, m, 16)
    v[:150, 0] += np.linspace(0, 5, 150)
    v[100:] += np.linspace(0, 1, 200)[:, None]
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    test = porter_thomas(v)
    assert test.pvalue.min() < 1e-4
    np.testing.assert_allclose(test.pvalue, scipy.stats.kstwo.sf(test.statistic, m), rtol=1e-5, atol=1e-300)


def test_random_vectors_are_rejected_at_their_level_after_calibration_and_more_rarely_by_scipy():
    test = porter_thomas(random_vectors(20_000, 200, 2))
    assert scipy.stats.kstest(test.calibrated_pvalue, "uniform").pvalue > 0.001
    assert np.mean(test.calibrated_pvalue < 0.05) == pytest.approx(0.05, abs=0.005)
    assert test.pvalue.mean() == pytest.approx(0.543, abs=0.006)
    assert np.mean(test.pvalue < 0.05) < 0.046


def test_vectors_of_one_matrix_are_calibrated_although_they_are_orthogonal():
    rng = np.random.default_rng(3)
    tests = [porter_thomas(singular_vectors((160, 160), rng)) for _ in range(40)]
    p = np.concatenate([test.calibrated_pvalue for test in tests])
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.001
    assert np.std([test.moving_mean for test in tests]) == pytest.approx(np.sqrt(1 / 12 / 15), abs=0.004)


def test_the_band_is_left_by_one_matrix_in_twenty():
    rng = np.random.default_rng(4)
    left = 0
    for _ in range(300):
        test = porter_thomas(singular_vectors((30, 30), rng), window=5)
        left += test.moving_mean.min() < test.band[0] or test.moving_mean.max() > test.band[1]
    assert 3 <= left <= 30


def test_planted_vectors_are_found_and_noise_is_not():
    v = random_vectors(200, 128, 5)
    v[90:110] = np.eye(128)[:20] * 0.9 + v[90:110] * 0.1
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    test = porter_thomas(v)
    found = np.flatnonzero(test.qvalue < 0.05)
    assert set(range(90, 110)) <= set(found.tolist())
    assert len(found) <= 23
    dipped = test.positions[test.moving_mean < test.band[0]]
    assert dipped.min() >= 90 - 7
    assert dipped.max() <= 109 + 7
    assert set(range(97, 103)) <= set(dipped.tolist())


def test_moving_means_stand_at_the_middle_of_their_windows():
    test = porter_thomas(random_vectors(50, 64, 6), window=5)
    assert len(test.moving_mean) == len(test.positions) == 46
    assert test.positions[0] == 2
    assert test.positions[-1] == 47
    for position, mean in zip(test.positions, test.moving_mean, strict=True):
        assert mean == pytest.approx(test.calibrated_pvalue[position - 2 : position + 3].mean())
    assert test.band == moving_mean_band(50, window=5)


def test_qvalues_are_those_of_the_calibrated_pvalues():
    test = porter_thomas(random_vectors(50, 64, 7))
    np.testing.assert_array_equal(test.qvalue, benjamini_hochberg(test.calibrated_pvalue))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_signs_and_the_order_of_entries_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    v = random_vectors(20, 32, rng)
    changed = (v * rng.choice([-1, 1], (20, 1)))[:, rng.permutation(32)]
    np.testing.assert_allclose(porter_thomas(changed).statistic, porter_thomas(v).statistic, atol=1e-14)


def test_vectors_are_treated_one_by_one_also_beyond_one_block_of_memory():
    v = random_vectors(1100, 2000, 8)
    test = porter_thomas(v)
    np.testing.assert_array_equal(test.statistic[1030:1060], porter_thomas(v[1030:1060]).statistic)


def test_single_precision_vectors_give_the_same_answer():
    v = random_vectors(20, 500, 9)
    single = porter_thomas(v.astype(np.float32))
    np.testing.assert_allclose(single.calibrated_pvalue, porter_thomas(v).calibrated_pvalue, atol=1e-5)


def test_participation_ratios_of_extreme_vectors():
    m = 16
    v = np.array([np.eye(m)[3], np.full(m, 0.25), np.r_[np.full(4, 0.5), np.zeros(12)]])
    np.testing.assert_allclose(participation_ratio(v), [1, 16, 4])


def test_participation_ratio_of_random_vectors_is_a_third_of_their_length():
    for m in (20, 300):
        ratios = participation_ratio(random_vectors(5000, m, 10))
        assert 1 / np.mean(1 / ratios) == pytest.approx((m + 2) / 3, rel=0.01)


@pytest.mark.parametrize(
    ("vectors", "arguments", "message"),
    [
        (2 * random_vectors(20, 30, 11), {}, "vectors must be normalised rows of length 1; row .* has length 2"),
        (random_vectors(20, 30, 12)[0], {}, "vectors must be a two-dimensional matrix; got 1 dimension"),
        (np.full((20, 30), np.nan), {}, "vectors must be finite; 600 of 600 entries are nan or infinite"),
        (random_vectors(14, 30, 13), {}, "window must be at most the number of vectors, 14; got 15"),
        (random_vectors(20, 30, 14), {"window": 4}, "window must be odd, to have a vector in its middle; got 4"),
        (random_vectors(20, 30, 14), {"window": 0}, "window must be an integer of at least 1; got 0"),
        (random_vectors(20, 7, 15), {}, "vectors must have at least 8 entries each; got 7"),
    ],
)
def test_vectors_that_cannot_be_tested_are_refused(vectors, arguments, message):
    with pytest.raises(ValueError, match=message):
        porter_thomas(vectors, **arguments)


def test_one_window_over_all_vectors_has_their_mean():
    test = porter_thomas(random_vectors(15, 30, 17))
    assert test.moving_mean == pytest.approx([test.calibrated_pvalue.mean()])
    assert test.positions.tolist() == [7]


def test_participation_ratios_of_single_precision_vectors_are_computed_in_double():
    v = random_vectors(20, 500, 18).astype(np.float32)
    np.testing.assert_allclose(participation_ratio(v), [1 / sum(float(x) ** 4 for x in row) for row in v], rtol=1e-12)


def test_a_single_row_that_is_too_long_is_named():
    v = random_vectors(20, 30, 19)
    v[4] *= 2
    with pytest.raises(ValueError, match="row 4 has length 2"):
        porter_thomas(v)


def test_participation_of_unnormalised_vectors_is_refused():
    with pytest.raises(ValueError, match="row 1 has length 0"):
        participation_ratio(np.array([[1.0, 0.0], [0.0, 0.0]]))
