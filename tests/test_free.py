"""Noise plus update, against other ways to the same law: closed forms, an iteration, matrices that are drawn."""

import numpy as np
import pytest

from rmtlib import ensembles, free_addition, laws

UPDATE = np.sort(np.r_[np.random.default_rng(0).exponential(4.0, 140), 38.0, 45.0, 45.0, 60.0])


def drawn(nu_update, shape, sigma, rng):
    """Singular values of Gaussian noise plus a matrix with these singular values."""
    n, m = shape
    W = ensembles.gaussian((n, m), rng, sigma=sigma).astype(float)
    W[np.arange(len(nu_update)), np.arange(len(nu_update))] += nu_update
    return np.linalg.svd(W, compute_uv=False)[::-1]


@pytest.mark.parametrize("shape", [(900, 400), (300, 300), (5000, 20), (400, 900)])
def test_without_an_update_it_is_marchenko_pastur(shape):
    law = free_addition([0.0], shape, 0.2)
    n, m = max(shape), min(shape)
    exact = laws.marchenko_pastur(m / n, 0.2 * np.sqrt(n))
    np.testing.assert_allclose(law.edges, [exact.support()], atol=1e-4 * exact.nu_plus)
    nu = np.linspace(*exact.support(), 501)
    width = exact.nu_plus - exact.nu_minus
    np.testing.assert_allclose(law.pdf(nu[1:-1]), exact.pdf(nu[1:-1]), atol=3e-3 / width)
    np.testing.assert_allclose(law.cdf(nu), exact.cdf(nu), atol=1e-4)
    np.testing.assert_allclose(law.ppf([0.1, 0.5, 0.9]), exact.ppf([0.1, 0.5, 0.9]), rtol=1e-4)
    assert law.noise_edge == pytest.approx(exact.nu_plus)
    assert law.outliers() == pytest.approx(0, abs=1e-3)


def two_atoms(x, d):
    """Density of a semicircle of variance one plus two atoms at +-d: the root of a cubic in the lower half plane."""
    density = []
    for point in x:
        # G = (1/(z - G - d) + 1/(z - G + d)) / 2, with z - G = y: (z - y)(y^2 - d^2) = y
        roots = np.roots([-1, point, d**2 - 1, -point * d**2])
        density.append(max(0.0, roots.imag.max()) / np.pi)
    return np.array(density)


@pytest.mark.parametrize("d", [0.5, 0.9, 1.1, 2.0])
def test_equal_levels_in_square_noise_solve_a_cubic(d):
    m = 50
    law = free_addition(np.full(m, d * np.sqrt(m)), (m, m), 1.0)
    nu = np.linspace(0.02, 4, 200)
    # The law of singular values is that of |x|, twice the density of x.
    np.testing.assert_allclose(np.sqrt(m) * law.pdf(np.sqrt(m) * nu), 2 * two_atoms(nu, d), atol=4e-3)
    # Below one standard deviation of the semicircle there are levels at 0, above it there is a gap.
    assert (law.support()[0] == 0) == (d < 1)


def iterated(nu, nu_update, shape, sigma):
    """Density by the fixed point of the Stieltjes transform just above the axis, in Dozier and Silverstein's form."""
    n, m = shape
    d2 = np.r_[np.zeros(m - len(nu_update)), nu_update] ** 2
    v, c = sigma**2 * n, m / n
    z = nu**2 + 1e-3j * v
    transform = -1 / z
    for _ in range(4000):
        scale = 1 + v * c * transform
        terms = d2 / scale[:, None] - (z * scale)[:, None] + v * (1 - c)
        transform = (transform + np.mean(1 / terms, axis=1)) / 2
    return 2 * nu * transform.imag / np.pi


@pytest.mark.parametrize("shape", [(144, 144), (400, 144)])
def test_the_fixed_point_of_the_stieltjes_transform_is_the_same(shape):
    law = free_addition(UPDATE, shape, 1.0)
    nu = np.linspace(law.edges[0, 0] + 1, law.edges[0, 1] - 1, 25)
    np.testing.assert_allclose(law.pdf(nu), iterated(nu, UPDATE, shape, 1.0), rtol=0.02)


@pytest.mark.parametrize("shape", [(144, 144), (400, 144), (1500, 144)])
def test_matrices_that_are_drawn_have_these_levels(shape):
    law = free_addition(0.3 * UPDATE, shape, 0.3)
    nu = np.sort(np.concatenate([drawn(0.3 * UPDATE, shape, 0.3, [1, i]) for i in range(20)]))
    shares = (np.arange(len(nu)) + 0.5) / len(nu)
    # Real matrices of this size lie up to half a level from the law of large ones.
    assert np.abs(law.cdf(nu) - shares).max() < 0.9 / 144
    assert law.outliers() == pytest.approx(np.mean(nu > law.noise_edge) * 144, abs=0.4)
    assert law.outliers(0.9 * law.noise_edge) == pytest.approx(np.mean(nu > 0.9 * law.noise_edge) * 144, abs=0.4)
    np.testing.assert_allclose(law.levels, nu.reshape(144, 20).mean(axis=1), atol=0.3)


def test_uniform_entries_will_do():
    shape, sigma = (200, 144), np.sqrt(2 / 344)
    D = np.zeros(shape)
    D[np.arange(144), np.arange(144)] = sigma * UPDATE
    nu = [np.linalg.svd(ensembles.glorot_uniform(shape, [2, i]) + D, compute_uv=False)[::-1] for i in range(10)]
    np.testing.assert_allclose(free_addition(sigma * UPDATE, shape, sigma).levels, np.mean(nu, axis=0), atol=0.4 * sigma)


@pytest.mark.parametrize(("n", "m"), [(2000, 2000), (4000, 1000)])
def test_a_strong_direction_lies_where_the_spiked_model_says(n, m):
    strengths = np.array([1.4, 2.0, 3.0]) * (m / n) ** 0.25
    law = free_addition(strengths * np.sqrt(n), (n, m), 1.0)
    assert law.outliers() == pytest.approx(3, abs=0.01)
    expected = np.sqrt(n) * ensembles.spiked_singular_value(strengths, m / n)
    # Each has a band of its own of a few standard deviations of an entry.
    assert len(law.edges) == 4
    assert (law.edges[1:, 0] < expected).all()
    assert (expected < law.edges[1:, 1]).all()
    assert (np.diff(law.edges[1:]) < 4.1).all()


def test_a_weak_direction_makes_no_outlier():
    law = free_addition([0.9 * np.sqrt(1000)], (1000, 1000), 1.0)
    assert len(law.edges) == 1
    assert law.outliers() < 0.2


@pytest.mark.parametrize("shape", [(144, 144), (1500, 144)])
def test_the_density_integrates_to_one_and_the_squares_add_up(shape):
    law = free_addition(UPDATE, shape, 0.8)
    assert np.trapezoid(law.density, law.nu) == pytest.approx(1, abs=2e-3)
    mean_square = np.trapezoid(law.density * law.nu**2, law.nu)
    assert mean_square == pytest.approx(0.64 * max(shape) + np.mean(UPDATE**2), rel=3e-3)
    steps = np.diff(law.probability)
    assert (steps >= 0).all()
    np.testing.assert_allclose(law.probability[[0, -1]], [0, 1], atol=1e-5)
    # The probability is not made of the density.
    np.testing.assert_allclose(
        np.cumsum((law.density[1:] + law.density[:-1]) / 2 * np.diff(law.nu)), law.probability[1:], atol=3e-3
    )


def test_units_do_not_matter_and_missing_levels_are_zero():
    law = free_addition(UPDATE[-20:], (300, 144), 1.0)
    padded = free_addition(1e-3 * np.r_[np.zeros(124), UPDATE[-20:]], (144, 300), 1e-3)
    nu = np.linspace(1, 70, 50)
    np.testing.assert_allclose(law.cdf(nu), padded.cdf(1e-3 * nu), atol=1e-9)
    np.testing.assert_allclose(law.pdf(nu), 1e-3 * padded.pdf(1e-3 * nu), atol=1e-9)
    np.testing.assert_array_equal(padded.nu_update[:124], 0)
    assert padded.shape == (144, 300)


def test_between_two_bands_there_is_nothing():
    law = free_addition([200.0], (100, 100), 1.0)
    low, high = law.edges[0, 1], law.edges[1, 0]
    inside = np.linspace(low, high, 7)[1:-1]
    np.testing.assert_array_equal(law.pdf(inside), 0)
    np.testing.assert_allclose(law.sf(inside), 0.01, atol=1e-6)
    assert law.pdf(law.support()[1] + 1) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([-1.0, 2.0], (5, 5), 1.0), "nu_update must hold singular values, at least 0; got -1"),
        (([2.0, 1.0], (5, 5), 1.0), "nu_update must be sorted in ascending order"),
        (([], (5, 5), 1.0), "nu_update must hold at least 1 levels; got 0"),
        (([1.0, 2.0, 3.0], (5, 2), 1.0), r"nu_update must hold at most 2 levels, the smaller side of shape \(5, 2\); got 3"),
        (([1.0], (5, 5), 0.0), "sigma must be a finite number above 0; got 0.0"),
        (([1.0], (5, 0), 1.0), r"shape must be .*; got \(5, 0\)"),
        (([1.0], (5,), 1.0), r"shape must be the two whole numbers of rows and columns; got \(5,\)"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        free_addition(*arguments)
    with pytest.raises(ValueError, match="edge must be a finite number above 0"):
        free_addition([1.0], (5, 5), 1.0).outliers(-1.0)


@pytest.mark.parametrize(
    ("shape", "size"), [((60, 60), 1e-3), ((60, 60), 5e3), ((4000, 80), 5e3), ((90, 80), 1.0), ((3, 1), 2.0)]
)
def test_no_level_is_lost_however_strong_or_weak_the_update(shape, size):
    m = min(shape)
    nu = size * np.sort(np.random.default_rng(m).exponential(size=max(1, m // 2)))
    law = free_addition(nu, shape, 1.0)
    assert np.trapezoid(law.density, law.nu) == pytest.approx(1, abs=5e-3)
    assert np.trapezoid(law.density * law.nu**2, law.nu) == pytest.approx(max(shape) + np.sum(nu**2) / m, rel=5e-3)


@pytest.mark.parametrize(("nu_update", "shape"), [([0.0], (900, 400)), ([900.0], (900, 400)), ([5.0, 900.0], (400, 400))])
def test_mean_and_variance_are_those_of_the_levels_however_far_out_some_are(nu_update, shape):
    law = free_addition(nu_update, shape, 0.1)
    assert law.mean() == pytest.approx(law.levels.mean(), rel=1e-3)
    assert law.var() == pytest.approx(law.levels.var(), rel=1e-3)
