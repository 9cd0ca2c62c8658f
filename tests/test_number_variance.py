import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh_tridiagonal

from rmtlib import laws
from rmtlib.number_variance import number_variance, number_variance_curve, rigidity
from rmtlib.unfolding import unfold

_spec = importlib.util.spec_from_file_location("reference", Path(__file__).parent / "reference" / "number_variance.py")
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)


def poisson(k, rng):
    return np.cumsum(np.random.default_rng(rng).exponential(size=k))


def circular_orthogonal(k, rng):
    """Eigenphases of V^T V for a Haar unitary V, in mean spacings: no ends, and no unfolding to do."""
    z = rng.normal(size=(k, k)) + 1j * rng.normal(size=(k, k))
    v, r = np.linalg.qr(z)
    v *= np.diag(r) / np.abs(np.diag(r))
    u = v.T @ v
    half_tangents = np.linalg.solve(np.eye(k) + u.real, u.imag)
    return np.sort(np.arctan(np.linalg.eigvalsh((half_tangents + half_tangents.T) / 2))) * k / np.pi


def gaussian_orthogonal(k, rng):
    """Levels of a k x k matrix from its tridiagonal form, unfolded by the exact semicircle, without 1 % at either end."""
    offdiagonal = np.sqrt(rng.chisquare(np.arange(k - 1, 0, -1)) / 2)
    x = np.clip(eigh_tridiagonal(rng.normal(size=k), offdiagonal, eigvals_only=True) / np.sqrt(2 * k), -1, 1)
    xi = k * (0.5 + (x * np.sqrt(1 - x**2) + np.arcsin(x)) / np.pi)
    return xi[(xi > 0.01 * k) & (xi < 0.99 * k)]


def noise(m, rng):
    """Singular values of an m x m Gaussian matrix, from its bidiagonal form."""
    diagonal = np.sqrt(rng.chisquare(np.arange(m, 0, -1)))
    beside = np.sqrt(rng.chisquare(np.arange(m - 1, 0, -1)))
    squares = eigh_tridiagonal(diagonal**2 + np.append(0, beside**2), diagonal[:-1] * beside, eigvals_only=True)
    return np.sqrt(squares)


def pooled(curves):
    curves = np.array(curves)
    return curves.mean(axis=0), curves.std(axis=0, ddof=1) / np.sqrt(len(curves))


# L, uniform, levels, rigidity: printed by tests/reference/number_variance.py
REFERENCE = np.array(
    [
        [0.4, 0.340758, 0.966897, 0.026410],
        [1.0, 0.589334, 0.655172, 0.067826],
        [2.5, 0.610984, 0.560345, 0.150730],
        [7.0, 0.345085, 0.230769, 0.235574],
        [20.0, 0.663853, 0.564103, 0.253500],
    ]
)


def test_slow_reference_values_are_met():
    xi, L = reference.levels(), REFERENCE[:, 0]
    np.testing.assert_allclose(number_variance(xi, L), REFERENCE[:, 1], atol=2e-4)
    np.testing.assert_allclose(number_variance(xi, L, centers="levels"), REFERENCE[:, 2], atol=1e-6)
    np.testing.assert_allclose(rigidity(xi, L), REFERENCE[:, 3], atol=1e-5)


def test_reference_generator_gives_its_stated_values():
    xi = reference.levels()
    assert abs(reference.number_variance(xi, 2.5, steps=4000) - REFERENCE[2, 1]) < 5e-3
    assert abs(reference.number_variance_on_levels(xi, 7.0) - REFERENCE[3, 2]) < 1e-6
    assert abs(reference.rigidity(xi, 7.0, steps=300) - REFERENCE[3, 3]) < 2e-3


@pytest.mark.parametrize("L", [0.25, 1.0, 3.5, 17.75])
def test_equidistant_levels_have_the_variance_of_a_rounding(L):
    fraction = L % 1
    np.testing.assert_allclose(number_variance(np.arange(2001), L), fraction * (1 - fraction), rtol=2e-2, atol=1e-12)


def test_poisson_levels_have_linear_number_variance():
    L = np.array([0.5, 1, 2, 5, 10])
    mean, error = pooled([number_variance(poisson(4000, [1, i]), L) for i in range(40)])
    assert np.all(np.abs(mean - L) < 3 * error + 2 * L**2 / 4000)
    assert np.all(error < 0.02 * L)


def test_poisson_levels_have_linear_rigidity():
    L = np.array([0.5, 1, 2, 5, 10])
    mean, error = pooled([rigidity(poisson(4000, [2, i]), L) for i in range(20)])
    assert np.all(np.abs(mean - L / 15) < 3 * error + L**2 / 4000)
    assert np.all(error < 0.02 * L / 15)


def test_a_level_at_the_centre_is_counted():
    """Independent levels around a given one are Poisson, and the level itself adds 1: <(N - L)^2> = L + 1."""
    L = np.array([0.5, 1, 2, 5])
    mean, error = pooled([number_variance(poisson(4000, [3, i]), L, centers="levels") for i in range(40)])
    assert np.all(np.abs(mean - L - 1) < 3 * error + 2 * L**2 / 4000)


def test_circular_orthogonal_levels_follow_the_exact_law():
    rng = np.random.default_rng(4)
    L = np.array([0.5, 1, 2, 5, 10, 20])
    spectra = [circular_orthogonal(200, rng) for _ in range(60)]
    mean, error = pooled([number_variance(xi, L) for xi in spectra])
    assert np.all(np.abs(mean - laws.number_variance_goe(L)) < 2 * error)
    assert np.all(error < 0.03 * mean)
    mean, error = pooled([rigidity(xi, L) for xi in spectra])
    assert np.all(np.abs(mean - laws.rigidity_goe(L)) < 2 * error + 0.003 * mean)


def test_gaussian_orthogonal_levels_are_within_three_per_cent():
    rng = np.random.default_rng(5)
    spectra = [gaussian_orthogonal(4096, rng) for _ in range(6)]
    L = np.array([1, 5, 20])
    mean, _ = pooled([number_variance(xi, L) for xi in spectra])
    np.testing.assert_allclose(mean, laws.number_variance_goe(L), rtol=0.03)
    mean, _ = pooled([rigidity(xi, L) for xi in spectra])
    np.testing.assert_allclose(mean, laws.rigidity_goe(L), rtol=0.01)


def test_exact_marchenko_pastur_unfolding_of_noise_keeps_the_whole_variance():
    rng = np.random.default_rng(6)
    L = np.array([2, 5, 10])
    curves = [number_variance(unfold(noise(400, rng), method="marchenko_pastur", shape=(400, 400))[5:-5], L) for _ in range(60)]
    mean, error = pooled(curves)
    assert np.all(np.abs(mean - laws.number_variance_goe(L)) < 3 * error)


@pytest.fixture(scope="module")
def curves():
    rng = np.random.default_rng(7)
    return [number_variance_curve(unfold(noise(512, rng)), [1, 2, 5, 10, 20], a=15) for _ in range(200)]


def test_broadening_removes_what_its_filter_says(curves):
    mean, error = pooled([c.values for c in curves])
    assert np.all(np.abs(mean - laws.number_variance_unfolded(curves[0].L, a=15)) < 3 * error + 0.02 * mean)


def test_standard_errors_are_the_scatter_between_spectra(curves):
    scatter = np.std([c.values for c in curves], axis=0, ddof=1)
    claimed = np.sqrt(np.mean([c.standard_errors**2 for c in curves], axis=0))
    np.testing.assert_allclose(claimed, scatter, rtol=0.2)
    relative = scatter / np.mean([c.values for c in curves], axis=0)
    np.testing.assert_allclose(relative[2:], [0.08, 0.10, 0.12], rtol=0.25)


@pytest.mark.parametrize("centers", ["uniform", "levels"])
def test_standard_errors_hold_for_both_kinds_of_centers(centers):
    rng = np.random.default_rng(8)
    L = [1, 5, 10]
    found = [number_variance_curve(unfold(noise(400, rng)), L, centers=centers, a=15) for _ in range(120)]
    scatter = np.std([c.values for c in found], axis=0, ddof=1)
    np.testing.assert_allclose(np.sqrt(np.mean([c.standard_errors**2 for c in found], axis=0)), scatter, rtol=0.25)


def test_standard_errors_of_independent_levels_cover():
    L = 2.0
    found = [number_variance_curve(poisson(2000, [9, i]), L) for i in range(150)]
    z = np.array([(c.values[0] - L) / c.standard_errors[0] for c in found])
    assert 0.85 < np.std(z) < 1.25


@pytest.mark.parametrize("L", [1.5, 6.0])
def test_a_standard_error_is_the_scatter_of_overlapping_blocks_of_positions(L):
    """From the formula, on a fine grid of positions; blocks of the longer intervals are cut to a quarter of all positions."""
    xi = reference.levels()
    x = np.linspace(xi[0], xi[-1] - L, 200_001)
    squares = np.searchsorted(xi, x + L) - np.searchsorted(xi, x)
    squares = (squares - squares.mean()) ** 2
    r = min(4 * L / (x[-1] - x[0]), 0.25)
    width = round(r * len(x))
    integral = np.concatenate([[0], np.cumsum(squares)])
    blocks = (integral[width:] - integral[:-width]) / width
    expected = np.sqrt(r / (1 - r) * np.mean((blocks - squares.mean()) ** 2))
    assert number_variance_curve(xi, L).standard_errors[0] == pytest.approx(expected, rel=0.01)


def test_curve_has_the_values_of_the_plain_function():
    xi = reference.levels()
    for centers in ("uniform", "levels"):
        curve = number_variance_curve(xi, [1.0, 2.5], centers=centers)
        np.testing.assert_array_equal(curve.values, number_variance(xi, [1.0, 2.5], centers=centers))
    assert number_variance_curve(xi, 2.5).values.shape == (1,)


def test_level_centres_lower_the_variance_by_seven_per_cent_at_one_spacing(curves):
    rng = np.random.default_rng(10)
    spectra = [unfold(noise(512, rng)) for _ in range(100)]
    ratio = np.mean([number_variance(xi, [1, 5], centers="levels") for xi in spectra], axis=0)
    ratio /= np.mean([number_variance(xi, [1, 5]) for xi in spectra], axis=0)
    np.testing.assert_allclose(ratio, [0.93, 1], atol=0.02)


def test_lengths_beyond_two_thirds_of_the_half_window_are_marked(curves):
    np.testing.assert_array_equal(curves[0].reliable, [True, True, True, True, False])
    (warning,) = curves[0].warnings
    assert warning.startswith("L = 20 exceeds 2 a / 3 = 10: unfolding with a = 15 has removed more than 10 %")


def test_lengths_too_long_for_the_spectrum_are_marked():
    curve = number_variance_curve(np.arange(200) + 0.3 * np.sin(np.arange(200) ** 2), [1.5, 20.5, 30.5, 90.5])
    np.testing.assert_array_equal(curve.reliable, [True, True, False, False])
    assert curve.warnings == (
        "L = 30.5, 90.5 is too long for 200 levels: fewer than two blocks of 4 L fit, and the standard error is too small",
    )


def test_short_lengths_carry_no_warning():
    curve = number_variance_curve(poisson(500, 11), [1, 2, 5], a=15)
    assert curve.reliable.all()
    assert curve.warnings == ()


@settings(max_examples=25, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(0.3, 30))
def test_origin_and_direction_of_the_spectrum_do_not_matter(origin, L):
    xi = reference.levels()
    for moved in (xi + origin, np.sort(-xi)):
        np.testing.assert_allclose(number_variance(moved, L), number_variance(xi, L), atol=1e-8)
        np.testing.assert_allclose(rigidity(moved, L), rigidity(xi, L), atol=1e-8)


def test_shape_follows_the_lengths():
    xi = reference.levels()
    for function in (number_variance, rigidity):
        table = function(xi, [[1.0, 2.5], [7.0, 20.0]])
        assert table.shape == (2, 2)
        assert function(xi, 7.0).shape == ()
        assert function(xi, 7.0) == table[1, 0]
        assert function(xi, []).shape == (0,)


def test_rigidity_of_a_long_spectrum_keeps_its_digits():
    xi = poisson(30_000, 12)
    np.testing.assert_allclose(rigidity(xi + 1e6, 5.0), rigidity(xi, 5.0), rtol=1e-7)


@pytest.mark.parametrize("function", [number_variance, number_variance_curve, rigidity])
@pytest.mark.parametrize(
    ("xi", "L", "message"),
    [
        (np.arange(50.0), 0, "L must be above 0 and shorter than the spectrum of 49 mean spacings; got 0"),
        (np.arange(50.0), [1, -2, 49, 60], "mean spacings; got -2, 49, 60"),
        (np.arange(50.0), np.nan, "got nan"),
        (3 * np.arange(50.0), 1, "xi must be unfolded to a mean spacing of 1; got 3: call rmtlib.unfold first"),
        (-np.arange(50.0), 1, "xi must be sorted in ascending order"),
        (np.array([1.0, np.inf]), 1, "xi must be finite"),
        (np.array([1.0]), 1, "xi must hold at least 2 levels; got 1"),
        (np.eye(2), 1, "xi must be one-dimensional"),
    ],
)
def test_bad_input_is_named(function, xi, L, message):
    with pytest.raises(ValueError, match=message):
        function(xi, L)


def test_bad_options_are_named():
    xi = np.arange(50.0)
    with pytest.raises(ValueError, match="centers must be one of 'uniform', 'levels'; got 'random'"):
        number_variance(xi, 1, centers="random")
    with pytest.raises(ValueError, match="a must be an integer of at least 1; got 0"):
        number_variance_curve(xi, 1, a=0)
    with pytest.raises(ValueError, match=r"L must be a number or one-dimensional; got shape \(1, 2\)"):
        number_variance_curve(xi, [[1, 2]])
    gap = np.concatenate([np.arange(25.0), np.arange(35.0, 60)])
    with pytest.raises(ValueError, match="L must be at most 48 for an interval centred on a level to fit; got 50"):
        number_variance(gap, [2, 50], centers="levels")
