"""Sizes of rows and columns, estimated and taken out."""

import numpy as np
import pytest

from rmtlib.biwhitening import BiwhitenError, biwhiten
from rmtlib.ensembles import spiked, student_t
from rmtlib.marchenko_pastur import fit_marchenko_pastur
from rmtlib.porter_thomas import porter_thomas
from rmtlib.spectra import spectrum

SHAPES = (300, 300), (400, 250), (150, 900)


def sizes(shape, rng, spread=0.5):
    return (np.exp(spread * rng.standard_normal(side)) for side in shape)


def outliers(matrix):
    nu = np.linalg.svd(matrix, compute_uv=False)[::-1]
    fit = fit_marchenko_pastur(nu, matrix.shape)
    return fit.n_outliers, fit.n_outliers_below


def centred(sizes):
    logs = np.log(sizes)
    return logs - logs.mean()


def planted(shape, rng, count, strength):
    """Directions at a multiple of the threshold in noise of variance 1."""
    n, m = max(shape), min(shape)
    return spiked(shape, rng, strengths=np.full(count, strength * (m / n) ** 0.25), sigma=1.0).matrix


@pytest.mark.parametrize("kind", ["noise", "total"])
def test_a_profile_without_noise_is_found_exactly(kind):
    rng = np.random.default_rng(0)
    rows, columns = sizes((60, 45), rng, 1.0)
    found = biwhiten(rows[:, None] * rng.choice([-1.0, 1.0], (60, 45)) * columns, kind)
    scale = np.exp(np.log(columns).mean())
    np.testing.assert_allclose(found.column_sizes, columns / scale, rtol=1e-5)
    np.testing.assert_allclose(found.row_sizes, rows * scale, rtol=1e-5)
    np.testing.assert_allclose(np.abs(found.matrix), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", ["noise", "total"])
@pytest.mark.parametrize("scale", [1.0, 1e-160, 1e160])
def test_matrix_and_sizes_make_up_the_weights(kind, scale):
    W = planted((80, 50), np.random.default_rng(1), 2, 4.0) * np.geomspace(1, 5, 80)[:, None]
    found = biwhiten(scale * W, kind)
    np.testing.assert_allclose(found.row_sizes[:, None] / scale * found.matrix * found.column_sizes, W, rtol=1e-12)
    assert np.log(found.column_sizes).mean() == pytest.approx(0, abs=1e-12)
    assert found.removed == (2 if kind == "noise" else 0)
    assert found.sizes == kind


@pytest.mark.parametrize("shape", SHAPES)
def test_sizes_of_noise_are_found_as_well_as_a_row_allows(shape):
    rng = np.random.default_rng(2)
    rows, columns = sizes(shape, rng)
    found = biwhiten(rows[:, None] * rng.standard_normal(shape) * columns)
    for size, known, other in ((found.row_sizes, rows, shape[1]), (found.column_sizes, columns, shape[0])):
        error = centred(size / known) * np.sqrt(2 * other)
        assert error.std() <= 1.15
        assert np.abs(error).max() <= 5.5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "entries",
    [lambda shape, rng: rng.standard_normal(shape), lambda shape, rng: student_t(shape, rng, df=10)],
    ids=["gaussian", "t10"],
)
def test_noise_with_sizes_follows_the_law_of_noise_without(shape, entries):
    rng = np.random.default_rng(3)
    rows, columns = sizes(shape, rng)
    W = rows[:, None] * entries(shape, rng) * columns
    assert outliers(W)[0] > 20
    found = biwhiten(W)
    nu = spectrum(found.matrix, vectors=False).nu
    n, m = max(shape), min(shape)
    assert nu[-1] == pytest.approx(np.sqrt(n) + np.sqrt(m), rel=0.05)
    assert np.mean(nu**2) == pytest.approx(n, rel=1e-5)
    assert outliers(found.matrix) == (0, 0)
    assert (found.removed, found.settled, found.iterations) == (0, True, 1)


def test_vectors_of_noise_with_sizes_are_random_once_sizes_are_out():
    rng = np.random.default_rng(4)
    rows, columns = sizes((400, 300), rng)
    W = rows[:, None] * rng.standard_normal((400, 300)) * columns
    for matrix, few in ((W, False), (biwhiten(W).matrix, True)):
        found = spectrum(matrix)
        for vectors in (found.input_vectors, found.output_vectors):
            assert bool(np.count_nonzero(porter_thomas(vectors).qvalue < 0.05) <= 2) is few


def test_the_answer_does_not_depend_on_sizes_that_are_put_in():
    rng = np.random.default_rng(5)
    W = planted((200, 120), rng, 3, 3.0)
    rows, columns = sizes(W.shape, rng, 1.0)
    for kind in ("noise", "total"):
        plain, sized = (biwhiten(matrix, kind, tol=1e-10) for matrix in (W, rows[:, None] * W * columns))
        np.testing.assert_allclose(sized.matrix, plain.matrix, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(centred(sized.row_sizes / plain.row_sizes), centred(rows), atol=1e-6)


def test_a_transposed_matrix_has_the_sizes_of_the_other_side():
    W = planted((200, 120), np.random.default_rng(6), 3, 3.0)
    found, other = biwhiten(W), biwhiten(W.T)
    np.testing.assert_allclose(other.matrix, found.matrix.T, atol=1e-5)
    np.testing.assert_allclose(centred(other.row_sizes), centred(found.column_sizes), atol=1e-5)
    assert np.log(other.column_sizes).mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("count", "strength"), [(1, 2), (5, 2), (16, 5), (1, 50), (5, 50), (16, 50)])
def test_planted_directions_are_counted_right_and_sizes_found_beside_them(shape, count, strength):
    rng = np.random.default_rng(7)
    W = planted(shape, rng, count, strength)
    rows, columns = sizes(shape, rng)
    found = biwhiten(rows[:, None] * W * columns)
    assert found.settled
    assert found.removed == count
    assert outliers(found.matrix)[0] == count
    for size, known, other in ((found.row_sizes, rows, shape[1]), (found.column_sizes, columns, shape[0])):
        assert centred(size / known).std() * np.sqrt(2 * other) < 1.5


def test_total_sizes_scatter_a_strong_direction_over_many_levels():
    W = planted((300, 300), np.random.default_rng(8), 1, 50)
    found = biwhiten(W, "total")
    np.testing.assert_allclose(np.mean(found.matrix**2, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.mean(found.matrix**2, axis=0), 1, atol=1e-6)
    assert outliers(W)[0] == 1
    assert outliers(found.matrix)[0] > 50
    assert found.removed == 0


def test_a_neuron_that_is_a_direction_of_its_own_keeps_noise_of_average_size():
    rng = np.random.default_rng(9)
    W = rng.standard_normal((300, 200))
    W[7] += 30 * rng.standard_normal(200)  # rank one, in a single row
    total, noise = biwhiten(W, "total"), biwhiten(W)
    assert total.row_sizes[7] / np.median(total.row_sizes) > 20
    assert total.removed == 0
    assert outliers(total.matrix)[0] == 0
    assert outliers(noise.matrix)[0] <= 1


def test_spread_is_the_coefficient_of_variation():
    rng = np.random.default_rng(10)
    rows = rng.uniform(1, 3, 500)
    found = biwhiten(rows[:, None] * rng.standard_normal((500, 400)))
    assert found.row_spread == pytest.approx(rows.std() / rows.mean(), abs=0.02)
    assert found.column_spread == pytest.approx(1 / np.sqrt(2 * 500), rel=0.2)


@pytest.mark.parametrize(("strengths", "removed"), [((8, 20), 110), ((20, 80), None)])
def test_where_most_levels_are_directions_sizes_do_not_settle(strengths, removed):
    W = spiked((200, 200), 11, strengths=np.geomspace(*strengths, 110), sigma=1.0).matrix
    found = biwhiten(W)
    assert not found.settled
    assert removed in (None, found.removed)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e37])
def test_a_float32_matrix_stays_one_and_is_the_float64_one_to_its_rounding(scale):
    W = np.random.default_rng(30).standard_normal((60, 40)) * np.geomspace(1, 9, 60)[:, None] * scale
    single, double = biwhiten(W.astype(np.float32)), biwhiten(W.astype(np.float32).astype(np.float64))
    assert single.matrix.dtype == np.float32
    assert double.matrix.dtype == np.float64
    np.testing.assert_array_equal(single.matrix, double.matrix.astype(np.float32))


NOISE = np.random.default_rng(13).standard_normal((40, 30))


@pytest.mark.parametrize(
    ("W", "options", "message"),
    [
        (NOISE, {"sizes": "signal"}, "sizes must be one of 'noise', 'total'; got 'signal'"),
        (NOISE, {"tol": 0}, "tol must be a finite number above 0; got 0"),
        (NOISE, {"tol": "small"}, "tol must be a finite number above 0; got 'small'"),
        (NOISE[0], {}, "W must be a two-dimensional matrix"),
        (np.where(NOISE > 2, np.nan, NOISE), {}, "W must be finite"),
        (NOISE[:, :15], {}, 'at least 16 levels for noise sizes, to tell noise from directions; got 15: sizes="total" needs no'),
        (NOISE * (np.arange(40) != 3)[:, None], {}, "W has 1 row of zeros, the first of index 3"),
        (NOISE[:, :4] @ NOISE[:4], {}, 'W has no noise to take sizes from: most of its levels are zero; use sizes="total"'),
    ],
)
def test_bad_input_is_refused_by_name(W, options, message):
    with pytest.raises(ValueError, match=message):
        biwhiten(W, **options)


def test_what_cannot_be_biwhitened_is_a_value_error_of_its_own():
    assert issubclass(BiwhitenError, ValueError)
    assert biwhiten(NOISE[:, :15], "total").removed == 0
