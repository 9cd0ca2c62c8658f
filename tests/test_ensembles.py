from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtlib import ensembles, laws


def test_glorot_uniform_keeps_its_stream():
    # Runs depend on it bit by bit.
    np.testing.assert_array_equal(
        ensembles.glorot_uniform((2, 3), [0, 2]),
        np.array([[-0.9183685, -0.21374808, 0.22191353], [-0.7775464, -0.84279448, -0.37915832]], np.float32),
    )


@pytest.mark.parametrize(("shape", "variance"), [((300, 500), 2 / 800), ((40, 30, 5, 5), 2 / (70 * 25))])
def test_glorot_uniform_has_the_variance_of_its_fans(shape, variance):
    W = ensembles.glorot_uniform(shape, 0)
    assert W.dtype == np.float32
    assert W.shape == shape
    np.testing.assert_allclose(W.var(), variance, rtol=0.02)
    assert np.abs(W).max() <= np.float32(np.sqrt(3 * variance))


def test_gaussian_entries_are_gaussian():
    x = ensembles.gaussian((200, 50), 1, sigma=0.3).ravel()
    assert scipy.stats.kstest(x, scipy.stats.norm(scale=0.3).cdf).pvalue > 0.01


def test_student_t_entries_follow_the_scaled_law():
    x = ensembles.student_t((200, 50), 2, df=5, sigma=0.3).ravel()
    assert scipy.stats.kstest(x, scipy.stats.t(5, scale=0.3 / np.sqrt(5 / 3)).cdf).pvalue > 0.01
    np.testing.assert_allclose(x.std(), 0.3, rtol=0.04)


@pytest.mark.parametrize("draw", [ensembles.gaussian, lambda shape, rng: ensembles.student_t(shape, rng, df=10)])
def test_singular_values_of_noise_end_at_the_bai_yin_edges(draw):
    n, m = 1200, 300
    nu = np.linalg.svd(draw((n, m), 3), compute_uv=False)
    np.testing.assert_allclose([nu[-1], nu[0]], [np.sqrt(n) - np.sqrt(m), np.sqrt(n) + np.sqrt(m)], rtol=0.03)
    assert scipy.stats.kstest(nu, laws.marchenko_pastur(m / n, np.sqrt(n)).cdf).statistic < 0.01


def test_student_t_without_fourth_moment_breaks_the_upper_edge_but_not_the_median():
    nu = np.linalg.svd(ensembles.student_t((800, 400), 4, df=2.5), compute_uv=False)
    assert nu[0] > 1.5 * (np.sqrt(800) + np.sqrt(400))
    assert np.median(nu) < laws.marchenko_pastur(0.5, np.sqrt(800)).ppf(0.5)


def test_goe_is_symmetric_with_unit_variance_off_the_diagonal_and_two_on_it():
    H = ensembles.goe(400, 5)
    np.testing.assert_array_equal(H, H.T)
    np.testing.assert_allclose(H[np.triu_indices(400, 1)].var(), 1, rtol=0.02)
    diagonals = [np.diag(ensembles.goe(40, seed)) for seed in range(100)]
    np.testing.assert_allclose(np.var(diagonals), 2, rtol=0.1)


def test_goe_eigenvalues_fill_the_semicircle():
    n = 500
    E = np.linalg.eigvalsh(ensembles.goe(n, 6)) / np.sqrt(n)
    assert scipy.stats.kstest(E, scipy.stats.semicircular(scale=2).cdf).statistic < 0.01
    np.testing.assert_allclose(E[[0, -1]], [-2, 2], atol=0.06)


@pytest.mark.parametrize("shape", [(1600, 400), (400, 1600), (800, 800)])
def test_planted_spikes_are_found_where_theory_puts_them(shape):
    planted = ensembles.spiked(shape, 7, strengths=[1.5, 2.0, 4.0], sigma=0.2)
    U, nu, Vt = np.linalg.svd(planted.matrix, full_matrices=False)
    np.testing.assert_allclose(nu[2::-1], planted.singular_values, rtol=0.04)
    left = np.sum(planted.left_vectors * U.T[2::-1], axis=1) ** 2
    right = np.sum(planted.right_vectors * Vt[2::-1], axis=1) ** 2
    np.testing.assert_allclose(left, planted.left_overlaps, atol=0.08)
    np.testing.assert_allclose(right, planted.right_overlaps, atol=0.08)


def test_overlaps_are_the_formulas_of_the_longer_and_the_shorter_side():
    t, c = np.array([0.9, 1.5, 3.0]), 0.25
    longer = 1 - (c + t**2) / (t**2 * (t**2 + 1))
    shorter = 1 - c * (1 + t**2) / (t**2 * (t**2 + c))
    tall, wide = (ensembles.spiked(shape, 8, strengths=t) for shape in [(80, 20), (20, 80)])
    np.testing.assert_allclose([tall.left_overlaps, tall.right_overlaps], [longer, shorter])
    np.testing.assert_allclose([wide.left_overlaps, wide.right_overlaps], [shorter, longer])


def test_a_spike_below_the_threshold_leaves_no_trace():
    planted = ensembles.spiked((1200, 300), 9, strengths=0.5 * 0.25**0.25)
    U, nu, Vt = np.linalg.svd(planted.matrix, full_matrices=False)
    assert nu[0] < 1.02 * planted.singular_values[0]
    assert planted.singular_values[0] == pytest.approx(1.5)
    assert planted.left_overlaps == planted.right_overlaps == 0
    assert max((planted.left_vectors[0] @ U[:, 0]) ** 2, (planted.right_vectors[0] @ Vt[0]) ** 2) < 0.1


def test_spiked_matrix_is_its_noise_plus_what_was_planted():
    planted = ensembles.spiked((60, 40), 10, strengths=[3.0, 1.0], sigma=0.5)
    np.testing.assert_array_equal(planted.strengths, [1.0, 3.0])
    for vectors, length in [(planted.left_vectors, 60), (planted.right_vectors, 40)]:
        assert vectors.shape == (2, length)
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(2), atol=1e-12)
    signal = (planted.left_vectors.T * (0.5 * np.sqrt(60) * planted.strengths)) @ planted.right_vectors
    noise = np.random.default_rng(10).normal(scale=0.5, size=(60, 40))
    np.testing.assert_allclose(planted.matrix - signal, noise, atol=1e-12)


def test_spiked_noise_has_variance_one_over_n_by_default():
    planted = ensembles.spiked((50, 200), 11, strengths=1.0)
    assert planted.sigma == 1 / np.sqrt(200)


@given(c=st.floats(0.01, 1), factor=st.floats(1, 100))
@settings(max_examples=50, deadline=None)
def test_spiked_singular_value_is_the_spectrum_of_the_free_sum(c, factor):
    t = factor * c**0.25
    nu = ensembles.spiked_singular_value(t, c)
    assert nu >= (1 + np.sqrt(c)) * (1 - 1e-12)
    # inverse of the map, as shrinkage uses it
    y = nu**2 - 1 - c
    assert np.sqrt((y + np.sqrt(max(y**2 - 4 * c, 0))) / 2) == pytest.approx(t, rel=1e-6)


def test_spiked_singular_value_joins_the_edge_at_the_threshold():
    np.testing.assert_allclose(ensembles.spiked_singular_value([0, 0.3, 0.25**0.25], 0.25), 1.5)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: ensembles.gaussian((3, 4), rng),
        lambda rng: ensembles.student_t((3, 4), rng, df=3),
        lambda rng: ensembles.goe(4, rng),
        lambda rng: ensembles.spiked((3, 4), rng, strengths=2.0).matrix,
        lambda rng: ensembles.glorot_uniform((3, 4), rng),
    ],
)
def test_a_seed_repeats_and_a_generator_moves_on(draw):
    np.testing.assert_array_equal(draw(5), draw(np.random.default_rng(5)))
    rng = np.random.default_rng(5)
    assert not np.array_equal(draw(rng), draw(rng))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ensembles.gaussian((3, 0), 0), r"shape must hold whole numbers of at least 1; got \(3, 0\)"),
        (lambda: ensembles.gaussian((3, 2.5), 0), "shape must hold whole numbers"),
        (lambda: ensembles.gaussian((), 0), "shape must hold whole numbers"),
        (lambda: ensembles.gaussian((3, 3), 0, sigma=-1), "sigma must be a finite number above 0; got -1"),
        (lambda: ensembles.glorot_uniform((3,), 0), r"shape must be .n_out, n_in., or that of a convolution; got \(3,\)"),
        (lambda: ensembles.glorot_uniform((3, 0), 0), r"shape must hold whole numbers of at least 1; got \(3, 0\)"),
        (lambda: ensembles.student_t((3, 3), 0, df=2), "df must be above 2, where the standard deviation is finite; got 2"),
        (lambda: ensembles.student_t((3, 3), 0, df=np.nan), "df must be a finite number above 0"),
        (lambda: ensembles.goe(0, 0), "n must be an integer of at least 1; got 0"),
        (lambda: ensembles.spiked((3, 4, 5), 0, strengths=1), "shape must be .n_out, n_in., both of at least 2"),
        (lambda: ensembles.spiked((1, 4), 0, strengths=1), "shape must be .n_out, n_in., both of at least 2"),
        (lambda: ensembles.spiked((5, 4), 0, strengths=[]), "strengths must hold 1 to 4 finite numbers above 0"),
        (lambda: ensembles.spiked((5, 4), 0, strengths=np.ones(5)), "strengths must hold 1 to 4 finite numbers above 0"),
        (lambda: ensembles.spiked((5, 4), 0, strengths=[1, np.inf]), "strengths must hold 1 to 4 finite numbers above 0"),
        (lambda: ensembles.spiked((5, 4), 0, strengths=[[1, 2]]), "strengths must hold 1 to 4 finite numbers above 0"),
        (lambda: ensembles.spiked((5, 4), 0, strengths=1, sigma=0), "sigma must be a finite number above 0; got 0"),
        (lambda: ensembles.spiked_singular_value(1, 1.5), "c = m/n must be at most 1; got 1.5"),
        (lambda: ensembles.spiked_singular_value([1, -1], 0.5), "t must hold finite strengths that are not negative"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shuffles_keep_the_entries_and_rows_keep_theirs(dtype):
    W = np.random.default_rng(31).standard_normal((30, 20)).astype(dtype) * np.geomspace(1, 50, 30)[:, None].astype(dtype)
    before = W.copy()
    everywhere, rows = ensembles.shuffled(W, 0), ensembles.shuffled(W, 0, within="rows")
    np.testing.assert_array_equal(np.sort(everywhere, axis=None), np.sort(W, axis=None))
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.sort(W, axis=1))
    assert not np.array_equal(np.sort(everywhere, axis=1), np.sort(W, axis=1))
    assert everywhere.dtype == rows.dtype == dtype
    np.testing.assert_array_equal(W, before)


def test_rows_are_shuffled_each_on_its_own():
    W = np.tile(np.arange(40.0), (50, 1))
    shuffled = ensembles.shuffled(W, 1, within="rows")
    assert len({tuple(row) for row in shuffled}) == 50
    assert abs(np.corrcoef(shuffled)[np.triu_indices(50, 1)]).max() < 0.7


def test_shuffles_are_seeded_and_take_a_generator():
    W = np.random.default_rng(32).standard_normal((8, 6))
    np.testing.assert_array_equal(ensembles.shuffled(W, 5), ensembles.shuffled(W, np.random.default_rng(5)))
    assert not np.array_equal(ensembles.shuffled(W, 5), ensembles.shuffled(W, 6))


def test_a_shuffled_direction_is_noise():
    rng = np.random.default_rng(33)
    W = rng.standard_normal((200, 150)) + np.outer(rng.standard_normal(200), rng.standard_normal(150))
    edge = W.std() * (np.sqrt(200) + np.sqrt(150))
    assert np.linalg.norm(W, 2) > 2 * edge
    assert np.linalg.norm(ensembles.shuffled(W, 2), 2) == pytest.approx(edge, rel=0.05)


def test_bad_shuffles_are_refused():
    with pytest.raises(ValueError, match="within must be one of 'matrix', 'rows'; got 'columns'"):
        ensembles.shuffled(np.eye(3), 0, within="columns")
    with pytest.raises(ValueError, match="W must be a two-dimensional matrix"):
        ensembles.shuffled(np.arange(3.0), 0)
