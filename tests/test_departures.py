import numpy as np
import pytest

import rmtlib
from rmtlib import departures
from rmtlib.unfolding import half_window


def unequal(shape, seed):
    """Noise of unequal rows and columns, Gaussian, uniform or with Student's tails in turn."""
    rng = np.random.default_rng(seed)
    draw = (rng.standard_normal, lambda s: rng.uniform(-1, 1, s), lambda s: rng.standard_t(5, s))[seed % 3]
    rows, columns = (np.exp(0.5 * rng.standard_normal(side)) for side in shape)
    return rows[:, None] * draw(shape) * columns


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_said_about_noise_of_unequal_sizes(seed):
    W = unequal((90, 60), seed)
    assert departures.correlation(W).found == {}
    assert not departures.blocks(rmtlib.biwhiten(W, "total").matrix).found
    assert departures.gap(rmtlib.spectrum(W).nu, half_window(60)) is None
    assert departures.coarse(W.astype(np.float32)) is None


@pytest.mark.parametrize("test", ["rows_pvalue", "columns_pvalue", "blocks"])
def test_a_p_of_noise_is_uniform(test):
    def pvalue(seed):
        W = np.random.default_rng(seed).standard_normal((60, 50))
        if test == "blocks":
            return departures.blocks(rmtlib.biwhiten(W, "total").matrix).pvalue
        return getattr(departures.correlation(W), test)

    p = np.array([pvalue(seed) for seed in range(150)])
    # binomial: 7.5 expected, 18 or more once in 2000; 75 expected, sd 6
    assert np.count_nonzero(p < 0.05) < 18
    assert 50 < np.count_nonzero(p < 0.5) < 100


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_neighbours_are_correlated_where_each_is_half_of_the_last(side):
    rng = np.random.default_rng(0)
    W = rng.standard_normal((200, 80))
    for i in range(1, 80):
        W[:, i] = 0.5 * W[:, i - 1] + np.sqrt(0.75) * W[:, i]
    W *= np.exp(0.5 * rng.standard_normal(80))
    found = departures.correlation(W if side == "columns" else W.T).found
    assert list(found) == [side]
    assert found[side] == pytest.approx(0.5, abs=0.05)


def test_a_direction_common_to_all_columns_is_no_correlation_of_neighbours():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((200, 80)) + rng.standard_normal((200, 1))
    assert departures.correlation(W).found == {}


def test_empty_rows_have_no_neighbours():
    W = unequal((90, 60), 0)
    assert departures.correlation(np.insert(W, 3, 0, axis=0)) == departures.correlation(W)


@pytest.mark.parametrize("shape", [(90, 80), (40, 30)])
def test_a_block_of_other_variance_is_no_product_of_sizes(shape):
    X = np.random.default_rng(1).standard_normal(shape)
    X[: shape[0] // 3, : shape[1] // 3] *= 2
    found = departures.blocks(rmtlib.biwhiten(X, "total").matrix)
    assert found.found
    assert found.mean_squares.argmax() == 0
    assert found.mean_squares.shape == (3, 3)


def test_blocks_of_rows_alone_are_sizes():
    X = np.random.default_rng(1).standard_normal((90, 80)) * np.repeat([0.5, 1, 2], 30)[:, None]
    assert departures.blocks(rmtlib.biwhiten(X, "total").matrix).pvalue > 1e-3


def test_too_small_a_matrix_has_no_blocks():
    with pytest.raises(ValueError, match=r"X must have at least 18 rows and columns; got shape \(17, 40\)"):
        departures.blocks(np.eye(17, 40))


def test_a_gap_is_where_the_levels_are_torn_apart():
    nu = np.random.default_rng(0).random(120).cumsum()
    assert departures.gap(nu, 7) is None
    nu[70:] += 6
    assert departures.gap(nu, 7) == 70
    # at the ends it is the distance of outliers
    assert departures.gap(np.concatenate([nu[:60], nu[59] + 50 + np.arange(10)]), 7) is None
    assert departures.gap(nu[:20], 7) is None


def test_equal_levels_are_no_gap():
    assert departures.gap(np.ones(80), 7) is None


def test_half_precision_and_few_bits_lie_on_a_grid():
    W = np.random.default_rng(0).standard_normal((400, 300))
    assert departures.coarse(W) is None
    assert departures.coarse(np.sign(W)) == 2
    assert departures.coarse(np.where(W > 1, np.round(W), 0)) == len(np.unique(np.round(W[W > 1])))
    assert 1000 < departures.coarse(W.astype(np.float16)) < 32768


def sparse(seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((100, 80)) * (rng.random((100, 80)) < 0.1)


def test_noise_stays_below_the_edge_of_its_own_zeros():
    above = [departures.sparse_null(W).edge < rmtlib.spectrum(W, deficient=True).nu[-1] for W in map(sparse, range(10))]
    assert not any(above)


def test_a_direction_lies_above_the_edge_of_the_same_zeros():
    W = sparse(0)
    u, v = np.random.default_rng(1).choice([-1.0, 1.0], (2, 100))
    W += 3 * np.outer(u, v[:80]) * (W != 0)
    edge = departures.sparse_null(W).edge
    assert departures.zero_share(W) == pytest.approx(0.9, abs=0.01)
    assert np.count_nonzero(rmtlib.spectrum(W, deficient=True).nu > edge) == 1
    assert departures.sparse_null(W) == departures.sparse_null(W, 0)
