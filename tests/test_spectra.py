import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtlib import spectra
from rmtlib.spectra import spectrum


def gaussian(shape, rng):
    return np.random.default_rng(rng).normal(size=shape)


def orthogonal(n, k, rng):
    return np.linalg.qr(gaussian((n, k), rng))[0]


def planted(nu, n_out, rng=0):
    """Matrix of n_out rows and len(nu) columns with the given singular values."""
    return orthogonal(n_out, len(nu), [rng, 1]) * nu @ orthogonal(len(nu), len(nu), [rng, 2]).T


def departure(rows):
    return np.abs(rows @ rows.T - np.eye(len(rows))).max()


@pytest.fixture
def no_exact_path(monkeypatch):
    def fail(*_):
        msg = "the exact path was taken"
        raise AssertionError(msg)

    monkeypatch.setattr(spectra, "by_svd", fail)


def test_known_decomposition():
    s = spectrum([[0.0, 3.0], [-2.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(s.nu, [2, 3], rtol=1e-15)
    np.testing.assert_allclose(np.abs(s.input_vectors), [[1, 0], [0, 1]], atol=1e-15)
    np.testing.assert_allclose(np.abs(s.output_vectors), [[0, 1, 0], [1, 0, 0]], atol=1e-15)
    assert s.shape == (3, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(300, 300), (400, 100), (100, 400), (37, 36), (2, 2)])
def test_fast_path_agrees_with_numpy(shape, dtype, no_exact_path):
    W = gaussian(shape, 1).astype(dtype)
    before = W.copy()
    s = spectrum(W)
    k = min(shape)
    u, nu, vt = np.linalg.svd(W.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(s.nu, nu[::-1], rtol=1e-10)
    assert np.all(np.diff(s.nu) > 0)
    assert s.nu.dtype == s.input_vectors.dtype == s.output_vectors.dtype == np.float64
    assert (s.input_vectors.shape, s.output_vectors.shape, s.shape) == ((k, shape[1]), (k, shape[0]), shape)
    assert max(departure(s.input_vectors), departure(s.output_vectors)) < 1e-9
    np.testing.assert_allclose(s.output_vectors.T * s.nu @ s.input_vectors, W, atol=1e-13 * nu[0])
    np.testing.assert_allclose(np.abs(np.sum(s.input_vectors * vt[::-1], axis=1)), 1, atol=1e-9)
    np.testing.assert_array_equal(W, before)


@pytest.mark.parametrize("shape", [(150, 150), (200, 60), (60, 200)])
def test_exact_path_agrees_with_the_fast_one(shape):
    W = gaussian(shape, 2)
    fast, exact = spectrum(W), spectrum(W, exact=True)
    np.testing.assert_allclose(fast.nu, exact.nu, rtol=1e-11)
    signs = np.sign(np.sum(fast.input_vectors * exact.input_vectors, axis=1))[:, None]
    np.testing.assert_allclose(fast.input_vectors, signs * exact.input_vectors, atol=1e-8)
    np.testing.assert_allclose(fast.output_vectors, signs * exact.output_vectors, atol=1e-8)
    assert exact.output_vectors.flags.c_contiguous
    assert exact.input_vectors.flags.c_contiguous


@pytest.mark.parametrize("exact", [False, True])
def test_without_vectors_the_values_are_the_same(exact):
    W = gaussian((200, 150), 3)
    s = spectrum(W, vectors=False, exact=exact)
    np.testing.assert_allclose(s.nu, spectrum(W).nu, rtol=1e-11)
    assert s.input_vectors is None
    assert s.output_vectors is None


@pytest.mark.parametrize("vectors", [True, False])
def test_ill_conditioned_matrix_takes_the_exact_path(vectors):
    nu = np.logspace(-11, 0, 120)
    W = planted(nu, 150)
    through_gram = np.sqrt(np.abs(np.linalg.eigvalsh(W.T @ W)))
    assert np.abs(through_gram - nu).max() > 1e-9
    s = spectrum(W, vectors)
    np.testing.assert_allclose(s.nu, nu, atol=1e-14)
    if vectors:
        assert max(departure(s.input_vectors), departure(s.output_vectors)) < 1e-13


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("smallest", [1e-3, 1e-4, 1e-5, 1e-6, 2e-7])
def test_a_few_tiny_singular_values_are_refined_on_the_fast_path(smallest, transposed, no_exact_path):
    nu = np.linspace(0, 1, 201)[1:]
    nu[:3] = smallest * np.array([1, 1.5, 2])
    W = planted(nu, 240)
    s = spectrum(W.T if transposed else W)
    np.testing.assert_allclose(s.nu, nu, rtol=2e-15 / smallest)
    assert max(departure(s.input_vectors), departure(s.output_vectors)) < 1e-6
    left, right = (s.input_vectors, s.output_vectors) if transposed else (s.output_vectors, s.input_vectors)
    np.testing.assert_allclose(left.T * s.nu @ right, W, atol=1e-14)


def test_refined_values_beat_the_gram_matrix():
    nu = np.linspace(0, 1, 101)[1:]
    nu[0] = 1e-6
    W = planted(nu, 100)
    gram = np.sqrt(np.linalg.eigvalsh(W.T @ W)[0])
    assert abs(spectrum(W).nu[0] / 1e-6 - 1) < 1e-8 < abs(gram / 1e-6 - 1)


def test_square_gaussian_matrices_stay_on_the_fast_path(no_exact_path):
    rng = np.random.default_rng(4)
    for _ in range(20):
        s = spectrum(rng.normal(size=(150, 150)).astype(np.float32))
        assert departure(s.output_vectors) < 1e-7


def test_large_outlier_does_not_spoil_the_bulk():
    nu = np.append(np.linspace(0.01, 1, 149), 30)
    np.testing.assert_allclose(spectrum(planted(nu, 200)).nu, nu, rtol=1e-10)


def test_degenerate_levels_keep_orthonormal_vectors():
    s = spectrum(orthogonal(120, 100, 5))
    np.testing.assert_allclose(s.nu, 1, rtol=1e-14)
    assert max(departure(s.input_vectors), departure(s.output_vectors)) < 1e-13


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_scale_factors_out_even_where_squares_overflow(scale):
    W = gaussian((40, 30), 6)
    np.testing.assert_allclose(spectrum(scale * W).nu, scale * spectrum(W).nu, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-99, 1e98])
def test_fast_path_holds_at_the_ends_of_its_range(scale, no_exact_path):
    W = gaussian((90, 70), 6)
    s = spectrum(scale * W)
    np.testing.assert_allclose(s.nu, scale * spectrum(W).nu, rtol=1e-12)
    assert max(departure(s.input_vectors), departure(s.output_vectors)) < 1e-12


@pytest.mark.parametrize("n", [2, 3, 255, 256, 257, 520])
def test_eigenvectors_are_those_of_one_call_to_lapack(n):
    gram = np.cov(gaussian((n, 2 * n), n))
    values, rows = spectra.eigh_rows(np.asfortranarray(gram))
    np.testing.assert_allclose(values, np.linalg.eigvalsh(gram), atol=1e-14 * n * values[-1])
    assert departure(rows) < 1e-13
    np.testing.assert_allclose(rows @ gram @ rows.T, np.diag(values), atol=1e-13 * values[-1])


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 10**6))
def test_transposition_exchanges_the_two_spaces(n_out, n_in, seed):
    W = gaussian((n_out, n_in), seed)
    s, t = spectrum(W), spectrum(W.T)
    np.testing.assert_allclose(s.nu, t.nu, rtol=1e-6)
    np.testing.assert_allclose(s.output_vectors.T * s.nu @ s.input_vectors, W, atol=1e-12)
    np.testing.assert_allclose(t.input_vectors.T * t.nu @ t.output_vectors, W, atol=1e-12)
    np.testing.assert_allclose(np.sum(s.nu**2), np.sum(W**2), rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(8)))
def test_reordering_neurons_reorders_the_entries_of_vectors_only(seed, order):
    W = gaussian((8, 6), seed)
    s, t = spectrum(W), spectrum(W[order])
    np.testing.assert_allclose(t.nu, s.nu, rtol=1e-7)
    np.testing.assert_allclose(np.abs(t.output_vectors), np.abs(s.output_vectors[:, order]), atol=1e-5)


@pytest.mark.parametrize(("shape", "copies"), [((768, 768), 2.7), ((1200, 300), 1.5), ((300, 1200), 1.5)])
def test_peak_memory_is_below_three_copies(shape, copies):
    W = gaussian(shape, 7).astype(np.float32)
    tracemalloc.start()
    s = spectrum(W)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= copies * 8 * W.size
    assert len(s.nu) == min(shape)


@pytest.mark.parametrize("vectors", [True, False])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("W", "message"),
    [
        (np.zeros((4, 3)), "W is zero"),
        (np.full((4, 3), 0.25), r"W is constant \(every entry is 0.25\): it has rank 1"),
        (np.outer([1.0, 2, 3], [1.0, -1]), "W is rank deficient: 1 of its 2 singular values are zero up to rounding"),
        (np.repeat(gaussian((30, 20), 8), 2, axis=1), "W is rank deficient: 10 of its 30 singular values"),
        (gaussian((30, 20), 9) * (np.arange(20) > 2), r"3 of its 20 .* \(0 rows and 3 columns hold only zeros\)"),
        (gaussian((20, 30), 9) * (np.arange(20) > 1)[:, None], r"2 of its 20 .* \(2 rows and 0 columns hold only zeros\)"),
        (np.repeat(gaussian((20, 20), 8).astype(np.float32), 2, axis=0).repeat(2, axis=1), "20 of its 40 singular values"),
    ],
)
def test_matrices_without_a_spectrum_are_refused(W, message, vectors, exact):
    with pytest.raises(ValueError, match=message):
        spectrum(W, vectors, exact=exact)


@pytest.mark.parametrize(
    ("W", "message"),
    [
        (np.ones(4), "W must be a two-dimensional matrix; got 1 dimension"),
        (np.ones((1, 5)), "W must have at least two rows and two columns"),
        (np.ma.masked_array(np.eye(3), np.eye(3) == 0), "W must not be a masked array: .* fill it or leave them out first"),
        (np.arange(6).reshape(2, 3), "W must hold real floating-point numbers; got dtype int64"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), "W must be finite; 1 of 4 entries"),
    ],
)
def test_bad_input_is_named(W, message):
    with pytest.raises(ValueError, match=message):
        spectrum(W)


def test_stable_rank_is_the_squared_ratio_of_two_norms():
    W = gaussian((60, 40), 41)
    nu = spectrum(W, vectors=False).nu
    expected = np.linalg.norm(W, "fro") ** 2 / np.linalg.norm(W, 2) ** 2
    assert spectra.stable_rank(nu) == pytest.approx(expected, rel=1e-10)
    assert spectra.stable_rank([3.0]) == 1
    assert spectra.stable_rank(1e-180 * nu) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("bad", [[0.0, 0.0], [-2.0, 1.0]])
def test_a_stable_rank_needs_singular_values(bad):
    with pytest.raises(ValueError, match="nu must hold singular values that are not negative, the largest above 0"):
        spectra.stable_rank(bad)


def test_a_matrix_of_lower_rank_keeps_the_levels_that_are_not_zero():
    W = np.repeat(gaussian((30, 20), 8), 2, axis=1)
    s = spectrum(W, deficient=True)
    expected = np.linalg.svd(W, compute_uv=False)[19::-1]
    np.testing.assert_allclose(s.nu, expected, rtol=1e-10)
    np.testing.assert_allclose(s.output_vectors.T @ np.diag(s.nu) @ s.input_vectors, W, atol=1e-12)
    np.testing.assert_allclose(spectrum(W, vectors=False, deficient=True).nu, expected, rtol=1e-10)


def test_what_rounding_to_float32_leaves_of_zero_levels_is_zero():
    product = gaussian((60, 7), 1) @ gaussian((7, 50), 2)
    assert len(spectrum(product.astype(np.float32), deficient=True).nu) == 7
    full = gaussian((60, 50), 3).astype(np.float32)
    np.testing.assert_array_equal(spectrum(full, deficient=True).nu, spectrum(full).nu)
