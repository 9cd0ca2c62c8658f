from __future__ import annotations

import numpy as np
import pytest

from rmtlib import biwhiten, ensembles, gram
from rmtlib.biwhitening import find_sizes


def noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def levels(W):
    return np.linalg.svd(np.asarray(W, np.float64), compute_uv=False)[::-1]


@pytest.fixture
def small_is_large(monkeypatch):
    """Matrices of the tests count as large ones, and have several blocks of rows."""
    monkeypatch.setattr(gram, "SINGLE_FROM", 10_000)
    monkeypatch.setattr(gram, "ROWS", 100)


@pytest.mark.parametrize(("shape", "error"), [((1500, 400), 1e-6), ((800, 400), 1e-5), ((600, 510), 1e-4)])
def test_float32_gives_the_levels_of_noise_to_far_less_than_their_distance(shape, error, small_is_large):
    W = noise(shape)
    found, exact = gram.decomposed(W), levels(W)
    assert found.single
    np.testing.assert_allclose(found.nu, exact, rtol=error)
    assert np.abs(found.nu - exact).max() < 0.02 * np.diff(exact).mean()


def test_float32_at_its_limit_keeps_the_smallest_level_to_a_thousandth(small_is_large):
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((side, 200)))[0] for side in (900, 200))
    nu = np.geomspace(1.1 * gram.SINGLE_ABOVE, 1, 200)
    W = ((left * nu) @ right.T).astype(np.float32)
    found = gram._decomposed(W, None, None, np.float32).nu
    np.testing.assert_allclose(found, levels(W), rtol=1e-3)


@pytest.mark.parametrize("strength", [0.0, 60.0])
def test_where_float32_would_not_do_it_is_not_used(strength, small_is_large):
    W = noise((400, 400)) if not strength else noise((900, 300))
    if strength:
        W += np.float32(strength * 30 / 500) * np.ones_like(W)  # one level far above the others
    found = gram.decomposed(W)
    assert not found.single
    np.testing.assert_allclose(found.nu, levels(W), rtol=1e-7)


def test_a_wrong_guess_is_found_out(small_is_large, monkeypatch):
    monkeypatch.setattr(gram, "permits_single", lambda *arguments: True)
    W = noise((400, 400))
    found = gram.decomposed(W)
    assert not found.single
    np.testing.assert_allclose(found.nu, levels(W), rtol=1e-7)


@pytest.mark.parametrize("unit", [1e-30, 1e25])
def test_numbers_whose_squares_float32_does_not_have_are_decomposed_in_float64(unit, small_is_large):
    W = (noise((500, 200)) * np.float32(unit)).astype(np.float32)
    found = gram.decomposed(W)
    assert not found.single
    np.testing.assert_allclose(found.nu, levels(W), rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [3, 150])
def test_a_scaled_matrix_is_decomposed_with_its_leading_vectors(dtype, count, small_is_large):
    rng = np.random.default_rng(1)
    W = noise((700, 200), 2).astype(dtype)
    rows, columns = np.exp(rng.standard_normal(700) / 4), np.exp(rng.standard_normal(200) / 4)
    X = rows[:, None] * W.astype(np.float64) * columns
    found = gram.decomposed(W, rows, columns)
    assert found.single == (dtype == np.float32)
    np.testing.assert_allclose(found.nu, levels(X), rtol=1e-4)
    right = found.leading(count)
    expected = np.linalg.svd(X, full_matrices=False)[2][:count][::-1].T
    overlaps = np.abs(np.einsum("ij,ij->j", right, expected))
    assert right.shape == (200, count)
    assert overlaps[-3:].min() > 1 - 1e-6
    assert found.leading(0).shape == (200, 0)


def test_a_transposed_view_is_decomposed_as_well(small_is_large):
    W = noise((250, 900))
    np.testing.assert_allclose(gram.decomposed(W.T).nu, levels(W), rtol=1e-5)


@pytest.mark.parametrize("strengths", [[], [3.0, 30.0]])
def test_sizes_are_those_of_biwhiten_and_bring_their_levels(strengths):
    W = ensembles.spiked((300, 200), 0, strengths=strengths or [0.01]).matrix * np.geomspace(1, 5, 300)[:, None]
    sizes, whole = find_sizes(W), biwhiten(W)
    np.testing.assert_array_equal(sizes.row_sizes, whole.row_sizes)
    assert (sizes.removed, sizes.row_spread) == (len(strengths), whole.row_spread)
    assert (sizes.nu is None) == bool(strengths)
    if sizes.nu is not None:
        np.testing.assert_allclose(sizes.nu, levels(whole.matrix), rtol=1e-9)
    np.testing.assert_allclose(sizes.row_sizes[:, None] * whole.matrix * sizes.column_sizes, W, rtol=1e-12)
