"""Scaling of rows and columns to mean square 1."""

import numpy as np
import pytest

from rmtlib.sinkhorn import BiwhitenError, Extrapolation, scaling_factors


def scaled(W, tol=1e-6):
    rows, columns, sweeps = scaling_factors(W, tol)
    return rows[:, None] * W * columns, sweeps


def deviation(W):
    return max(np.abs(np.mean(W**2, axis=axis) - 1).max() for axis in (0, 1))


def test_two_by_two_has_the_scaling_of_the_textbook():
    matrix, _ = scaled(np.array([[1.0, 2.0], [3.0, 4.0]]), 1e-12)
    # the scaled squares p, 1 - p keep the cross ratio: p^2 / (1 - p)^2 = (1 * 16) / (4 * 9)
    p = 4 / (4 + 6)
    np.testing.assert_allclose(matrix**2 / 2, [[p, 1 - p], [1 - p, p]], atol=1e-11)


@pytest.mark.parametrize("shape", [(300, 300), (700, 40), (40, 700)])
@pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-10])
def test_mean_squares_are_1_to_the_tolerance(shape, tol):
    rng = np.random.default_rng(0)
    W = rng.standard_t(3, shape) * np.exp(2 * rng.standard_normal(shape[1]))
    matrix, _ = scaled(W, tol)
    assert deviation(matrix) <= tol * (1 + 1e-6)


def test_noise_takes_few_sweeps_and_sparse_noise_not_many():
    rng = np.random.default_rng(1)
    W = rng.standard_normal((512, 512))
    assert scaled(W)[1] <= 5
    sparse = W * (rng.random(W.shape) < 0.02)
    matrix, sweeps = scaled(sparse)
    assert sweeps <= 25
    assert deviation(matrix) <= 1e-6


def test_blocks_that_hardly_touch_are_scaled_by_extrapolation():
    rng = np.random.default_rng(2)
    touch = np.kron(np.eye(2) + 1e-3, np.ones((60, 60)))
    matrix, sweeps = scaled(rng.standard_normal((120, 120)) * touch * np.repeat([1, 3], 60))
    assert deviation(matrix) <= 1e-6
    assert sweeps < 50


def test_zeros_that_leave_support_are_no_obstacle():
    rng = np.random.default_rng(3)
    W = rng.standard_normal((60, 60))
    W[:20, 30:] = 0  # a third of the rows and half of the columns
    assert deviation(scaled(W)[0]) <= 1e-6
    two = np.kron(np.eye(2), rng.standard_normal((30, 30)))
    assert deviation(scaled(two)[0]) <= 1e-6


def test_zeros_that_ask_too_much_of_the_other_entries_are_named():
    rng = np.random.default_rng(4)
    W = rng.standard_normal((60, 60))
    W[:40, 30:] = 0  # 40 rows live in 30 columns
    with pytest.raises(BiwhitenError, match="cannot be biwhitened: its zeros leave the others no support"):
        scaled(W)


def test_entries_without_support_are_counted():
    with pytest.raises(BiwhitenError, match="cannot be biwhitened: 45 of its 55 entries that are not zero have no support"):
        scaled(np.triu(1.0 + np.random.default_rng(5).random((10, 10))))


def test_support_of_a_matrix_that_is_not_square():
    W = np.random.default_rng(6).standard_normal((40, 60))
    W[:20, 30:] = 0  # the first 20 rows and 30 columns take all of each other: what lies below them has no support
    with pytest.raises(BiwhitenError, match="600 of its 1800 entries that are not zero have no support"):
        scaled(W)


@pytest.mark.parametrize(("what", "axis"), [("row", 0), ("column", 1)])
def test_empty_rows_and_columns_are_named(what, axis):
    W = np.random.default_rng(7).standard_normal((30, 20))
    np.moveaxis(W, axis, 0)[[4, 9]] = 0
    with pytest.raises(BiwhitenError, match=f"W has 2 {what}s of zeros, the first of index 4: .*; remove empty rows and columns"):
        scaled(W)


def test_a_chain_of_entries_does_not_converge_and_says_so():
    i = np.arange(500)
    W = np.where(np.abs(i[:, None] - i) < 4, np.random.default_rng(8).standard_normal((500, 500)), 0)
    with pytest.raises(BiwhitenError, match=r"in 1000 sweeps: a mean square is still off by .* \(tol = 1e-12\)"):
        scaled(W, 1e-12)


def test_extrapolation_solves_linear_problems_in_as_many_steps_as_unknowns():
    rng = np.random.default_rng(9)
    matrix = rng.random((3, 3)) / 3.2
    target = rng.random(3)
    x, steps = np.zeros(3), Extrapolation()
    for _ in range(5):
        x = steps.after(x, matrix @ x + target - x)
    np.testing.assert_allclose(x, np.linalg.solve(np.eye(3) - matrix, target), rtol=1e-8)
