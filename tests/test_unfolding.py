import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import cumulative_simpson
from scipy.linalg import eigh_tridiagonal
from scipy.special import erf

from rmtlib import laws
from rmtlib.unfolding import half_window, unfold


def noise(n, m, rng):
    """Singular values of an n x m Gaussian matrix, n >= m, from its bidiagonal form."""
    rng = np.random.default_rng(rng)
    diagonal = np.sqrt(rng.chisquare(np.arange(n, n - m, -1)))
    beside = np.sqrt(rng.chisquare(np.arange(m - 1, 0, -1)))
    squares = eigh_tridiagonal(diagonal**2 + np.append(0, beside**2), diagonal[:-1] * beside, eigvals_only=True)
    return np.sqrt(squares)


def dense(nu, a):
    """The broadened unfolding as the paper writes it: every kernel at every level."""
    m = len(nu)
    kernels = range(a, m - a)
    levels = nu[2 * a : m - 2 * a]
    return sum((1 + erf((levels - nu[k]) / (np.sqrt(2) * (nu[k + a] - nu[k - a]) / 2))) / 2 for k in kernels)


SPECTRA = {
    "square noise": noise(300, 300, 0),
    "rectangular noise": noise(1200, 300, 1),
    "outliers": np.append(noise(300, 290, 2), 100 * 1.5 ** np.arange(10)),
    "logarithmic": np.logspace(-6, 3, 200),
    "two distant clusters": np.concatenate([noise(100, 100, 3), 1e6 + noise(100, 100, 4)]),
    "negative levels": noise(300, 300, 0) - 20,
    "pairs": np.repeat(noise(100, 100, 3), 2),
}
CLUSTER = np.sort(np.append(np.linspace(0, 10, 100), np.linspace(4.99, 5.01, 101)))


@pytest.mark.parametrize("a", [1, 7, 15])
@pytest.mark.parametrize("name", SPECTRA)
def test_E4_broadened_levels_equal_the_dense_sum(name, a):
    np.testing.assert_allclose(unfold(SPECTRA[name], a=a), dense(SPECTRA[name], a), rtol=0, atol=1e-10)


@pytest.mark.parametrize("a", [7, 15])
@pytest.mark.parametrize("name", ["square noise", "rectangular noise"])
def test_E5_unfolded_levels_are_the_integral_of_the_broadened_density(name, a):
    nu = SPECTRA[name]
    m, k = len(nu), np.arange(a, len(nu) - a)
    width = (nu[k + a] - nu[k - a]) / 2
    x = np.linspace(nu[0] - 9 * width[0], nu[-1] + 9 * width[-1], 20_001)
    density = (np.exp(-(((x[:, None] - nu[k]) / width) ** 2) / 2) / (np.sqrt(2 * np.pi) * width)).sum(axis=1) / m
    counted = m * cumulative_simpson(density, x=x, initial=0)
    assert counted[-1] == pytest.approx(m - 2 * a, abs=1e-8)
    np.testing.assert_allclose(unfold(nu, a=a), np.interp(nu[2 * a : m - 2 * a], x, counted), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("m", "a", "left"), [(512, 15, 452), (64, 15, 4), (62, 15, 2), (512, 7, 484), (6, 1, 2)])
def test_four_half_windows_of_levels_drop_out(m, a, left):
    assert len(unfold(noise(m, m, 5), a=a)) == left


def test_broadening_is_three_times_faster_than_the_dense_sum():
    nu = np.sort(np.random.default_rng(6).uniform(size=4096))

    def seconds(function):
        start = time.process_time()
        function(nu, a=15)
        return time.process_time() - start

    assert 3 * min(seconds(unfold) for _ in range(3)) < seconds(dense)


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-100, 100), st.sampled_from(["drop", "keep"]))
def test_broadened_levels_do_not_depend_on_scale_and_origin(scale, origin, edges):
    nu = SPECTRA["square noise"]
    np.testing.assert_allclose(unfold(scale * nu + origin, edges=edges), unfold(nu, edges=edges), atol=1e-6)


def test_equidistant_levels_stay_equidistant():
    xi = unfold(np.arange(300) / 7)
    np.testing.assert_allclose(np.diff(xi)[60:-60], 1, rtol=1e-5)


def test_kept_edges_change_nothing_in_the_middle():
    nu = noise(800, 800, 7)
    dropped, kept = unfold(nu), unfold(nu, edges="keep")
    assert len(kept) == 800
    middle = slice(200, -200)
    np.testing.assert_allclose(np.diff(kept[30:-30])[middle], np.diff(dropped)[middle], atol=1e-12)
    assert 0.5 < np.diff(kept)[:30].mean() < 1 < 1.05 > np.diff(kept)[-30:].mean() > 0.5


@pytest.mark.parametrize("edges", ["drop", "keep"])
@pytest.mark.parametrize("method", ["broadened", "marchenko_pastur", "polynomial"])
def test_mean_spacing_is_one_and_order_is_kept(method, edges):
    for n, m in ((500, 500), (1500, 500)):
        xi = unfold(noise(n, m, 8), method=method, shape=(n, m), edges=edges)
        assert np.all(np.diff(xi) >= 0)
        assert 0.97 < np.mean(np.diff(xi)) < 1.03


@pytest.mark.parametrize("shape", [(400, 400), (1600, 400), (400, 1600)])
def test_quantiles_of_the_marchenko_pastur_law_become_equidistant(shape):
    n, m = max(shape), min(shape)
    places = np.arange(m) + 0.5
    nu = laws.marchenko_pastur(m / n, 0.3 * np.sqrt(n)).ppf(places / m)
    np.testing.assert_allclose(unfold(nu, method="marchenko_pastur", shape=shape, sigma=0.3), places, atol=1e-9)
    np.testing.assert_allclose(unfold(nu, method="marchenko_pastur", shape=shape), places, atol=1e-9)


@pytest.mark.parametrize("shape", [(512, 512), (256, 1024)])
def test_estimated_sigma_of_noise_is_the_true_one_and_ignores_outliers(shape):
    nu = noise(max(shape), min(shape), 9)
    true = unfold(nu, method="marchenko_pastur", shape=shape, sigma=1.0)
    np.testing.assert_allclose(unfold(nu, method="marchenko_pastur", shape=shape), true, atol=2)
    nu[-5:] = 10 * nu[-1]
    spiked = unfold(nu, method="marchenko_pastur", shape=shape)
    np.testing.assert_allclose(spiked[:-5], true[:-5], atol=2)
    np.testing.assert_array_equal(spiked[-5:], len(nu))


@pytest.mark.parametrize("degree", [3, 7])
def test_polynomial_staircase_is_recovered(degree):
    places = np.arange(200) + 0.5
    nu = np.cbrt(places / 200) + 1
    np.testing.assert_allclose(unfold(nu, method="polynomial", degree=degree), places, atol=1e-8)


@pytest.mark.parametrize("n", [512, 2048])
def test_polynomial_and_exact_law_agree_on_noise(n):
    nu = noise(n, 512, 10)
    difference = unfold(nu, method="polynomial") - unfold(nu, method="marchenko_pastur", shape=(n, 512))
    assert np.std(difference) < 1


@pytest.mark.parametrize(
    ("nu", "options", "message"),
    [
        (noise(61, 61, 0), {}, r"nu must hold at least 4 a \+ 2 = 62 levels to be broadened over a = 15 neighbours; got 61"),
        (noise(30, 30, 0), {"edges": "keep"}, r"at least 2 a \+ 1 = 31 levels .* got 30"),
        (noise(29, 29, 0), {"a": 7}, r"4 a \+ 2 = 30"),
        (np.ones(100), {}, "nu holds coinciding levels: the 15 levels on either side of nu = 1 have no width"),
        (np.append(np.full(40, 0.5), np.arange(1, 100)), {}, "coinciding levels: .* of nu = 0.5 "),
        (1 + 1e-16 * np.arange(100), {}, "coinciding levels"),
        (np.ones(100), {"method": "polynomial"}, "nu holds 100 coinciding levels"),
        (np.arange(8.0), {"method": "polynomial"}, r"nu must hold at least degree \+ 2 = 9 levels; got 8"),
        (np.append(np.linspace(0, 1, 100), [5, 10]), {"method": "polynomial"}, "degree 7 is no .* falls above nu = 3.6"),
        (CLUSTER, {"method": "polynomial", "degree": 9}, "degree 9 is no staircase: .* take a lower degree"),
        (np.arange(100.0), {"method": "marchenko_pastur"}, r"shape of the matrix, \(n_out, n_in\), is needed"),
        (np.arange(100.0), {"method": "marchenko_pastur", "shape": (200, 101)}, r"singular values as nu, 100; got \(200, 101\)"),
        (np.arange(100.0), {"method": "marchenko_pastur", "shape": (100, 100), "sigma": 0}, "sigma must be a finite number"),
        (
            np.arange(100.0),
            {"method": "marchenko_pastur", "shape": 100},
            "shape must be the two whole numbers of rows and columns",
        ),
        (np.arange(100.0), {"method": "marchenko_pastur", "shape": (100, 150.5)}, r"shape must be .*; got \(100, 150.5\)"),
        (np.arange(100.0), {"method": "spline"}, "method must be one of 'broadened', .*; got 'spline'"),
        (np.arange(100.0), {"edges": "mirror"}, "edges must be one of 'drop', 'keep'; got 'mirror'"),
        (np.arange(100.0), {"a": 0}, "a must be an integer of at least 1; got 0"),
        (np.arange(100.0), {"a": 7.5}, "a must be an integer"),
        (np.arange(100.0), {"method": "polynomial", "degree": 0}, "degree must be an integer of at least 1"),
        (np.arange(100.0)[::-1], {}, "nu must be sorted in ascending order"),
        (np.full(100, np.nan), {}, "nu must be finite"),
        (np.eye(3), {}, "nu must be one-dimensional"),
        (np.arange(100) * 1j, {}, "nu must hold real numbers; got dtype complex128"),
        (np.ma.masked_array(np.arange(100.0), np.arange(100) == 7), {}, "nu must not be a masked array"),
    ],
)
def test_bad_input_is_named(nu, options, message):
    with pytest.raises(ValueError, match=message):
        unfold(nu, **options)


@pytest.mark.parametrize(("levels", "a"), [(5, 2), (16, 2), (44, 5), (45, 7), (76, 7), (77, 15), (4096, 15)])
def test_the_half_window_leaves_sixteen_spacings_where_it_can(levels, a):
    assert half_window(levels) == a
    if levels >= 45:
        assert len(unfold(noise(levels, levels, 0), a=a)) >= 17
    assert 2 * a < levels


def test_a_half_window_of_too_few_levels_is_refused():
    with pytest.raises(ValueError, match="levels must be an integer of at least 5; got 4"):
        half_window(4)
