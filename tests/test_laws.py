"""Values named as reference are printed by tests/reference/laws.py."""

import inspect

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtlib import laws

LAWS = {
    "surmise 1": laws.wigner_surmise,
    "surmise 2": laws.wigner_surmise(beta=2),
    "surmise 4": laws.wigner_surmise(beta=4),
    "exact spacing": laws.goe_spacing,
    "independent spacing": laws.poisson_spacing,
    "entries": laws.porter_thomas(500),
    "tall": laws.marchenko_pastur(0.1, sigma=3.0),
    "paper's first layer": laws.marchenko_pastur(0.5),
    "nearly square": laws.marchenko_pastur(0.999),
    "square": laws.marchenko_pastur(1.0, sigma=0.5),
    "largest eigenvalue 1": laws.tracy_widom,
    "largest eigenvalue 2": laws.tracy_widom(beta=2),
}
every_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
every_curve = pytest.mark.parametrize(
    "curve",
    [
        laws.number_variance_goe,
        laws.number_variance_gue,
        laws.number_variance_poisson,
        laws.number_variance_unfolded,
        laws.rigidity_goe,
        laws.rigidity_gue,
        laws.rigidity_poisson,
    ],
    ids=lambda f: f.__name__,
)


def integrate(function, low, high, panels=40):
    """Gauss-Legendre quadrature; nodes cluster at both ends, where densities may start like a square root."""
    x, w = np.polynomial.legendre.leggauss(30)
    edges = np.linspace(0, np.pi, panels + 1)
    half = np.diff(edges)[:, None] / 2
    phi = (edges[:-1, None] + half * (1 + x)).ravel()
    scale = (high - low) / 2
    return (half * w).ravel() @ (function(low + scale * (1 - np.cos(phi))) * scale * np.sin(phi))


def bulk(law, tail=1e-14):
    return law.ppf(tail), law.ppf(1 - tail)


def test_every_law_of_the_module_is_among_those_that_are_tested():
    known = {kind for kind in vars(laws).values() if inspect.isclass(kind) and issubclass(kind, laws.Law)}
    assert {type(law) for law in LAWS.values()} == {kind for kind in known if not inspect.isabstract(kind)}


# identities of any law


@every_law
def test_density_has_integral_one(law):
    assert integrate(law.pdf, *bulk(law)) == pytest.approx(1, abs=2e-10)


@every_law
def test_mean_and_variance_are_moments_of_the_density(law):
    mean = integrate(lambda x: x * law.pdf(x), *bulk(law))
    assert law.mean() == pytest.approx(mean, abs=1e-9)
    assert law.var() == pytest.approx(integrate(lambda x: (x - mean) ** 2 * law.pdf(x), *bulk(law)), rel=1e-8)


@every_law
def test_cdf_is_the_integral_of_the_density(law):
    for p in (1e-6, 0.01, 0.2, 0.5, 0.8, 0.99):
        x = law.ppf(p)
        assert integrate(law.pdf, law.ppf(1e-14), x) == pytest.approx(law.cdf(x), abs=2e-10)


@every_law
def test_density_is_the_slope_of_the_cdf(law):
    x = law.ppf(np.linspace(0.02, 0.98, 49))
    h = 1e-2 * np.sqrt(law.var())
    h = np.minimum(h, 0.2 * np.minimum(x - law.support()[0], law.support()[1] - x))

    def difference(h):
        return (law.cdf(x + h) - law.cdf(x - h)) / (2 * h)

    slope = (64 * difference(h / 4) - 20 * difference(h / 2) + difference(h)) / 45
    np.testing.assert_allclose(slope, law.pdf(x), rtol=1e-6)


@every_law
def test_cdf_and_sf_add_up_to_one(law):
    x = np.linspace(law.ppf(1e-9) - 1, law.ppf(1 - 1e-9) + 1, 101)
    np.testing.assert_allclose(law.cdf(x) + law.sf(x), 1, atol=4e-16)


@every_law
def test_ppf_inverts_the_cdf(law):
    p = np.concatenate([np.geomspace(1e-12, 1e-3, 10), np.linspace(0.001, 0.999, 333), 1 - np.geomspace(1e-3, 1e-12, 10)])
    np.testing.assert_allclose(law.cdf(law.ppf(p)), p, rtol=1e-12, atol=2e-16)
    x = law.ppf(np.linspace(0.001, 0.999, 333))
    np.testing.assert_allclose(law.ppf(law.cdf(x)), x, rtol=0, atol=1e-10 * np.abs(x).max())


@every_law
def test_ppf_takes_the_smallest_and_largest_probabilities(law):
    p = np.array([5e-324, 1e-300, 1e-100, 1e-30, 1 - 1e-12, 1 - 1e-14, 1 - 2**-53])
    x = law.ppf(p)
    assert np.isfinite(x).all()
    assert np.all(np.diff(x) >= 0)
    np.testing.assert_allclose(law.cdf(x), p, atol=5e-15)


@every_law
def test_ends_of_the_support_are_quantiles_zero_and_one(law):
    low, high = law.support()
    assert (law.ppf(0), law.ppf(1)) == (low, high)
    assert (law.cdf(low), law.cdf(high), law.sf(low), law.sf(high)) == (0, 1, 1, 0)


@every_law
def test_nothing_lies_outside_the_support(law):
    low, high = law.support()
    outside = np.array([-np.inf, low - 0.1, high + 0.1, np.inf])
    assert np.array_equal(law.pdf(outside), np.zeros(4))
    assert np.array_equal(law.cdf(outside), [0, 0, 1, 1])
    assert np.array_equal(law.sf(outside), [1, 1, 0, 0])


@every_law
def test_scalars_give_floats_and_arrays_keep_their_shape(law):
    for method, scalar in ((law.pdf, 1), (law.cdf, np.float64(1)), (law.sf, np.array(1.0)), (law.ppf, 0.3)):
        assert type(method(scalar)) is float
        out = method(np.full((2, 3), 0.3))
        assert out.shape == (2, 3)
        assert out.dtype == np.float64
        assert method([0.2, 0.4]).shape == (2,)
        assert method([]).shape == (0,)
    assert type(law.rvs()) is float
    assert type(law.mean()) is float
    assert type(law.var()) is float


@every_law
def test_arguments_are_left_as_they_were(law):
    x = np.array([-1.0, 0.3, 0.9, 5.0])
    law.pdf(x), law.cdf(x), law.sf(x)
    assert np.array_equal(x, [-1.0, 0.3, 0.9, 5.0])
    p = np.array([0.0, 0.3, 1.0])
    law.ppf(p)
    assert np.array_equal(p, [0.0, 0.3, 1.0])


@every_law
def test_draws_follow_the_law_and_their_seed(law):
    draws = law.rvs((100, 40), random_state=5)
    assert draws.shape == (100, 40)
    assert np.array_equal(draws, law.rvs((100, 40), random_state=np.random.default_rng(5)))
    assert not np.array_equal(draws, law.rvs((100, 40), random_state=6))
    assert scipy.stats.kstest(draws.ravel(), law.cdf).pvalue > 0.01
    assert draws.mean() == pytest.approx(law.mean(), abs=4 * np.sqrt(law.var() / draws.size))


@every_law
def test_nan_is_refused(law):
    for method in (law.pdf, law.cdf, law.sf):
        with pytest.raises(ValueError, match="x must not hold nan"):
            method([0.5, np.nan])


@every_law
@pytest.mark.parametrize("p", [-0.01, 1.5, np.nan, np.inf])
def test_quantiles_of_no_probability_are_refused(law, p):
    with pytest.raises(ValueError, match=f"p must hold probabilities from 0 to 1; got {p:g}"):
        law.ppf([0.5, p])


def test_laws_are_values():
    assert laws.marchenko_pastur(0.5) == laws.marchenko_pastur(0.5, sigma=1.0) != laws.marchenko_pastur(0.25)
    assert laws.wigner_surmise(beta=1) == laws.wigner_surmise
    assert repr(laws.tracy_widom(beta=2)) == "TracyWidom(beta=2)"


# spacings


def test_wigner_surmise_of_real_matrices_has_its_closed_forms():
    s = np.linspace(0, 4, 41)
    np.testing.assert_allclose(laws.wigner_surmise.pdf(s), np.pi * s / 2 * np.exp(-np.pi * s**2 / 4), atol=1e-15)
    np.testing.assert_allclose(laws.wigner_surmise.cdf(s), -np.expm1(-np.pi * s**2 / 4), atol=1e-15)
    assert laws.wigner_surmise.var() == pytest.approx(4 / np.pi - 1, abs=1e-15)


def test_wigner_surmise_of_other_matrices_has_its_closed_forms():
    s = np.linspace(0, 4, 41)
    unitary, symplectic = laws.wigner_surmise(beta=2), laws.wigner_surmise(beta=4)
    np.testing.assert_allclose(unitary.pdf(s), 32 / np.pi**2 * s**2 * np.exp(-4 * s**2 / np.pi), atol=1e-15)
    erf = scipy.special.erf(2 * s / np.sqrt(np.pi)) - 4 * s / np.pi * np.exp(-4 * s**2 / np.pi)
    np.testing.assert_allclose(unitary.cdf(s), erf, atol=2e-15)
    symplectic_pdf = 2**18 / (3**6 * np.pi**3) * s**4 * np.exp(-64 * s**2 / (9 * np.pi))
    np.testing.assert_allclose(symplectic.pdf(s), symplectic_pdf, atol=3e-15)


@pytest.mark.parametrize("beta", [1, 2])
def test_E1_two_by_two_matrices_follow_the_surmise(beta):
    rng = np.random.default_rng(3)
    off = (rng.standard_normal((beta, 20_000)) ** 2).sum(0)
    s = np.sqrt(rng.standard_normal(20_000) ** 2 + off)
    assert scipy.stats.kstest(s / s.mean(), laws.wigner_surmise(beta).cdf).pvalue > 0.05


def test_independent_levels_have_exponential_spacings():
    spacings = np.diff(np.sort(np.random.default_rng(4).uniform(0, 20_000, 20_000)))
    assert scipy.stats.kstest(spacings, laws.poisson_spacing.cdf).pvalue > 0.05


GOE_SPACING_REFERENCE = {  # s: (cdf, pdf)
    0.2: (0.032278078554, 0.316745072856),
    0.7: (0.326010542331, 0.748077843594),
    1.0: (0.548173394488, 0.701822647620),
    1.5: (0.826093342311, 0.393062074608),
    2.5: (0.990779921946, 0.033215957660),
    4.0: (0.999990339442, 0.000053477859),
}


@pytest.mark.parametrize(("s", "expected"), GOE_SPACING_REFERENCE.items())
def test_exact_spacing_law_agrees_with_the_full_sine_kernel(s, expected):
    assert (laws.goe_spacing.cdf(s), laws.goe_spacing.pdf(s)) == pytest.approx(expected, abs=5e-12)


def test_exact_spacing_interpolant_repeats_the_determinant():
    s = np.linspace(0.001, 7, 500)
    sf, pdf = laws.goe_determinant(s, order=40)
    np.testing.assert_allclose(laws.goe_spacing.sf(s), sf, atol=1e-12)
    np.testing.assert_allclose(laws.goe_spacing.pdf(s), pdf, atol=5e-11)
    np.testing.assert_allclose(laws.goe_spacing.sf(s[s < 6]), sf[s < 6], rtol=1e-8)


def test_exact_spacing_law_starts_as_it_should():
    s = np.array([0, 1e-8, 1e-4, 1e-3])
    np.testing.assert_allclose(laws.goe_spacing.pdf(s), np.pi**2 * s / 6, rtol=2e-6)
    np.testing.assert_allclose(laws.goe_spacing.cdf(s), np.pi**2 * s**2 / 12, rtol=1e-6)


def test_exact_spacing_law_keeps_falling_beyond_its_table():
    s = np.linspace(5, 12, 100)
    assert np.all(np.diff(np.log(laws.goe_spacing.sf(s))) < 0)
    assert np.all(laws.goe_spacing.pdf(s) > 0)


def test_exact_spacing_law_differs_from_the_surmise_by_the_known_amount():
    assert laws.goe_spacing.var() == pytest.approx(0.28553065573, abs=1e-10)
    s = np.linspace(0.01, 6, 6000)
    difference = np.abs(laws.goe_spacing.cdf(s) - laws.wigner_surmise.cdf(s))
    assert difference.max() == pytest.approx(0.006567, abs=1e-6)
    assert s[difference.argmax()] == pytest.approx(0.696, abs=0.002)


def tridiagonal(n, rng, *, beta=1, top=None):
    """Diagonal and off-diagonal of the Gaussian ensemble in tridiagonal form, or of its corner with the top eigenvalues."""
    top = top or n
    off = np.sqrt(rng.chisquare(beta * np.arange(n - 1, n - top, -1)))
    return rng.normal(0, np.sqrt(2), top) / np.sqrt(beta), off / np.sqrt(beta)


@pytest.fixture(scope="module")
def goe_levels():
    """The central half of 300 spectra of 400 levels, unfolded by the semicircle."""
    rng = np.random.default_rng(20)
    n, levels = 400, []
    for _ in range(300):
        x = scipy.linalg.eigvalsh_tridiagonal(*tridiagonal(n, rng)) / (2 * np.sqrt(n))
        levels.append(n * (np.arcsin(x.clip(-1, 1)) + x * np.sqrt(np.maximum(1 - x**2, 0))) / np.pi)
    return np.array(levels)[:, n // 4 : -n // 4]


def test_pooled_spacings_of_matrices_follow_the_exact_law_and_not_the_surmise(goe_levels):
    spacings = np.diff(goe_levels).ravel()
    assert spacings.mean() == pytest.approx(1, abs=1e-3)
    assert spacings.var() == pytest.approx(laws.goe_spacing.var(), abs=0.006)
    assert scipy.stats.kstest(spacings, laws.goe_spacing.cdf).pvalue > 0.1
    assert scipy.stats.kstest(spacings, laws.wigner_surmise.cdf).pvalue < 0.03


@pytest.mark.parametrize("law", [laws.wigner_surmise, laws.tracy_widom], ids=["wigner_surmise", "tracy_widom"])
@pytest.mark.parametrize("beta", [0, 3, -1, np.nan, "1"])
def test_unknown_beta_is_refused(law, beta):
    options = "1, 2, 4" if law is laws.wigner_surmise else "1, 2"
    with pytest.raises(ValueError, match=f"beta must be one of {options}; got {beta!r}"):
        law(beta=beta)


# singular values


MARCHENKO_PASTUR_REFERENCE = [  # q, nu, cdf at sigma = 1
    (0.1, 0.9, 0.333162517845),
    (0.5, 0.6, 0.222299713560),
    (0.5, 1.0, 0.576004215104),
    (0.9, 1.5, 0.865101457288),
    (1.0, 0.5, 0.314962357526),
    (1.0, 1.9, 0.986679988990),
]


@pytest.mark.parametrize(("q", "nu", "expected"), MARCHENKO_PASTUR_REFERENCE)
def test_marchenko_pastur_cdf_agrees_with_quadrature(q, nu, expected):
    assert laws.marchenko_pastur(q).cdf(nu) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [512, 1024])
def test_E2_marchenko_pastur_is_the_papers_equation_with_sigma_a_standard_deviation(n):
    m, entry = 512, 0.03
    law = laws.marchenko_pastur(m / n, sigma=entry * np.sqrt(n))
    scale = entry * np.sqrt(n)
    assert law.nu_plus == pytest.approx(scale * (1 + np.sqrt(m / n)), rel=1e-14)
    assert law.nu_minus == pytest.approx(scale * (1 - np.sqrt(m / n)), rel=1e-14)
    nu = np.linspace(law.nu_minus, law.nu_plus, 20)[1:-1]
    root = np.sqrt((law.nu_plus**2 - nu**2) * (nu**2 - law.nu_minus**2))
    np.testing.assert_allclose(law.pdf(nu), n / m / (np.pi * scale**2 * nu) * root, rtol=1e-12)
    assert integrate(law.pdf, *law.support()) == pytest.approx(1, abs=1e-9)
    assert integrate(lambda x: x**2 * law.pdf(x), *law.support()) == pytest.approx(n * entry**2, rel=1e-9)


def test_square_matrices_have_the_quarter_circle_law():
    law = laws.marchenko_pastur(1, sigma=2.0)
    nu = np.linspace(0, 4, 17)
    np.testing.assert_allclose(law.pdf(nu), np.sqrt(16 - nu**2) / (4 * np.pi), atol=1e-15)
    assert law.support() == (0, 4)
    assert law.mean() == pytest.approx(2 * 8 / (3 * np.pi), rel=1e-14)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(q=st.floats(1e-6, 1), sigma=st.floats(1e-3, 1e3))
def test_marchenko_pastur_scales_and_has_mean_square_sigma_squared(q, sigma):
    law, unit = laws.marchenko_pastur(q, sigma=sigma), laws.marchenko_pastur(q)
    p = np.array([0.0, 1e-6, 0.1, 0.5, 0.9, 1 - 1e-6, 1.0])
    x = unit.ppf(p)
    np.testing.assert_allclose(unit.cdf(x), p, atol=1e-12)
    np.testing.assert_allclose(law.ppf(p), sigma * x, rtol=0, atol=1e-10 * sigma)
    np.testing.assert_allclose(law.pdf(sigma * x[1:-1]), unit.pdf(x[1:-1]) / sigma, rtol=1e-6)
    assert integrate(lambda nu: nu**2 * unit.pdf(nu), *unit.support()) == pytest.approx(1, abs=1e-9)
    assert law.var() + law.mean() ** 2 == pytest.approx(sigma**2, rel=1e-14)


@pytest.mark.parametrize("shape", [(600, 300), (400, 400)])
def test_singular_values_of_a_random_matrix_follow_marchenko_pastur(shape):
    rng = np.random.default_rng(8)
    nu = np.linalg.svd(rng.normal(0, 0.1, shape), compute_uv=False)
    law = laws.marchenko_pastur(shape[1] / shape[0], sigma=0.1 * np.sqrt(shape[0]))
    # singular values are rigid: the cdf is off by a few levels, where independent draws are off by the root of their number
    assert scipy.stats.kstest(nu, law.cdf).statistic < 5 / shape[1]


@pytest.mark.parametrize("q", [1.0001, 2])
def test_wide_matrices_are_to_be_transposed(q):
    with pytest.raises(ValueError, match="q = m/n must be at most 1; got .*: transpose the matrix"):
        laws.marchenko_pastur(q)


@pytest.mark.parametrize("bad", [0, -0.5, np.nan, np.inf, "1", [0.5]])
def test_marchenko_pastur_refuses_bad_parameters(bad):
    with pytest.raises(ValueError, match="q must be a finite number above 0; got"):
        laws.marchenko_pastur(bad)
    with pytest.raises(ValueError, match="sigma must be a finite number above 0; got"):
        laws.marchenko_pastur(0.5, sigma=bad)


# vector entries


def test_porter_thomas_is_the_gaussian_of_the_paper():
    law, x = laws.porter_thomas(256), np.linspace(-0.3, 0.3, 13)
    gaussian = scipy.stats.norm(0, 1 / 16)
    np.testing.assert_allclose(law.pdf(x), gaussian.pdf(x), rtol=1e-13)
    np.testing.assert_allclose(law.cdf(x), gaussian.cdf(x), rtol=1e-13)
    assert (law.mean(), law.var()) == (0, 1 / 256)


def test_right_singular_vectors_of_a_random_matrix_follow_porter_thomas():
    vectors = np.linalg.svd(np.random.default_rng(9).standard_normal((300, 200)))[2]
    assert scipy.stats.kstest(vectors.ravel(), laws.porter_thomas(200).cdf).pvalue > 0.01
    assert scipy.stats.kstest(vectors.ravel(), laws.porter_thomas(230).cdf).pvalue < 1e-4


@pytest.mark.parametrize("m", [0, -3, 2.5, True, "8", None])
def test_porter_thomas_refuses_lengths_below_one(m):
    with pytest.raises(ValueError, match="m must be an integer of at least 1; got"):
        laws.porter_thomas(m)


# largest eigenvalue


TRACY_WIDOM_REFERENCE = {  # x: (F1, F2)
    4.0: (0.99977965551, 0.99999995042),
    2.0: (0.98959757108, 0.99988755370),
    0.0: (0.83190806620, 0.96937282836),
    -1.0: (0.58378989552, 0.80721424200),
    -2.0: (0.27432019791, 0.41322414251),
    -3.0: (0.06960011887, 0.08031955294),
    -4.0: (0.00756767860, 0.00354455360),
    -5.0: (0.00027791776, 0.00002135997),
}


@pytest.mark.parametrize(("x", "expected"), TRACY_WIDOM_REFERENCE.items())
def test_tracy_widom_agrees_with_painleve(x, expected):
    assert (laws.tracy_widom.cdf(x), laws.tracy_widom(beta=2).cdf(x)) == pytest.approx(expected, abs=5e-11)


def test_tracy_widom_has_the_published_values():
    real, complex_ = laws.tracy_widom, laws.tracy_widom(beta=2)
    assert (real.cdf(0), complex_.cdf(0)) == pytest.approx((0.83190806620295, 0.96937282835526), abs=1e-12)
    assert (real.mean(), real.var()) == pytest.approx((-1.2065335745820, 1.607781034581), abs=2e-10)
    assert (complex_.mean(), complex_.var()) == pytest.approx((-1.7710868074, 0.8131947928), abs=2e-10)


@pytest.mark.parametrize("beta", [1, 2])
def test_tracy_widom_interpolant_repeats_the_determinant(beta):
    law, x = laws.tracy_widom(beta), np.linspace(-7.5, 13, 42)
    log_cdf, sf = np.array([laws.airy_determinant(point, beta, order=60) for point in x]).T
    np.testing.assert_allclose(law.cdf(x), np.exp(log_cdf), atol=1e-11)
    np.testing.assert_allclose(law.sf(x[x >= 12]), sf[x >= 12], rtol=5e-3)
    inside = (x > -3) & (x < 12)
    np.testing.assert_allclose(law.sf(x[inside]), sf[inside], rtol=1e-11)


@pytest.mark.parametrize("beta", [1, 2])
def test_tracy_widom_density_is_smooth_where_its_pieces_meet(beta):
    law = laws.tracy_widom(beta)
    for x in (-6.5, -3.5, 12.0):
        assert law.pdf(x - 1e-9) == pytest.approx(law.pdf(x + 1e-9), abs=3e-9, rel=0.02)


def test_tracy_widom_right_tail_is_half_the_airy_function():
    x = np.array([15.0, 20, 40])
    np.testing.assert_allclose(laws.tracy_widom.pdf(x), scipy.special.airy(x)[0] / 2, rtol=0.02)


def test_tracy_widom_left_tail_falls_as_the_cube():
    x = np.array([-12.0, -16])
    for beta in (1, 2):
        law = laws.tracy_widom(beta)
        np.testing.assert_allclose(law.pdf(x) / law.cdf(x), beta * x**2 / 8, rtol=0.1)


@pytest.mark.parametrize("beta", [1, 2])
def test_largest_eigenvalues_follow_tracy_widom(beta):
    # the corner with 10 n^(1/3) rows holds the top of the spectrum of the n x n matrix
    rng, n, top = np.random.default_rng(10), 1_000_000, 1000
    last = {"select": "i", "select_range": (top - 1, top - 1)}
    corners = (tridiagonal(n, rng, beta=beta, top=top) for _ in range(400))
    largest = np.array([scipy.linalg.eigvalsh_tridiagonal(*corner, **last)[0] for corner in corners])
    scaled = n ** (1 / 6) * (largest - 2 * np.sqrt(n))
    assert scipy.stats.kstest(scaled, laws.tracy_widom(beta).cdf).pvalue > 0.05
    assert scipy.stats.kstest(scaled, laws.tracy_widom(3 - beta).cdf).pvalue < 1e-6


# curves


CURVE_REFERENCE = {  # L: number variance GOE, GUE; rigidity GOE, GUE
    0.1: (0.09054673855, 0.09005454360, 0.00665885870, 0.00666575693),
    1.0: (0.44633362426, 0.34416259351, 0.06054769844, 0.06066087129),
    2.0: (0.58370405112, 0.41567161250, 0.10238664132, 0.09456190253),
    5.0: (0.76838538757, 0.50899054476, 0.17381842721, 0.14062765997),
    10.0: (0.90869492095, 0.57929633593, 0.23569994664, 0.17569171171),
    20.0: (1.04911757639, 0.64954596868, 0.30141501468, 0.21079413413),
}


@pytest.mark.parametrize(("L", "expected"), CURVE_REFERENCE.items())
def test_number_variance_and_rigidity_agree_with_the_cluster_functions(L, expected):
    curves = (laws.number_variance_goe, laws.number_variance_gue, laws.rigidity_goe, laws.rigidity_gue)
    assert tuple(curve(L) for curve in curves) == pytest.approx(expected, abs=2e-11)


def test_goe_number_variance_has_the_known_values_and_asymptote():
    np.testing.assert_array_equal(laws.number_variance_goe([1, 2, 5, 10, 20]).round(4), [0.4463, 0.5837, 0.7684, 0.9087, 1.0491])
    asymptote = 2 / np.pi**2 * (np.log(2 * np.pi * 500) + np.euler_gamma + 1 - np.pi**2 / 8)
    assert laws.number_variance_goe(500) == pytest.approx(asymptote, abs=2e-4)
    assert asymptote - 2 / np.pi**2 * np.log(2 * np.pi * 500) == pytest.approx(0.070, abs=5e-4)


@pytest.mark.parametrize("L", [300.0, 2e4])
def test_rigidity_reaches_its_asymptote(L):
    goe = (np.log(2 * np.pi * L) + np.euler_gamma - 5 / 4 - np.pi**2 / 8) / np.pi**2
    assert laws.rigidity_goe(L) == pytest.approx(goe, abs=0.2 / L)
    assert laws.rigidity_gue(L) == pytest.approx((np.log(2 * np.pi * L) + np.euler_gamma - 5 / 4) / (2 * np.pi**2), abs=0.2 / L)


def test_independent_levels_have_linear_number_variance_and_rigidity():
    L = np.array([0.5, 3.0, 40.0])
    np.testing.assert_array_equal(laws.number_variance_poisson(L), L)
    np.testing.assert_allclose(laws.rigidity_poisson(L), L / 15)


@pytest.mark.parametrize("L", [1.0, 5.0])
def test_levels_of_matrices_have_the_goe_number_variance(goe_levels, L):
    starts = np.arange(104, 295 - L, L / 2) - 200
    counts = np.array([np.searchsorted(xi, starts + L) - np.searchsorted(xi, starts) for xi in goe_levels])
    assert counts.mean() == pytest.approx(L, rel=1e-3)
    assert counts.var() == pytest.approx(laws.number_variance_goe(L), rel=0.04)


def test_levels_of_matrices_have_the_goe_rigidity(goe_levels):
    L, grid = 10.0, np.linspace(0, 10, 1001)[:-1] + 0.005
    starts = np.arange(104, 285, L) - 200
    staircase = np.array([np.searchsorted(xi, start + grid) for xi in goe_levels for start in starts], dtype=float).T
    residual = staircase - np.vander(grid, 2) @ np.linalg.lstsq(np.vander(grid, 2), staircase, rcond=None)[0]
    assert (residual**2).mean() == pytest.approx(laws.rigidity_goe(L), rel=0.02)


FILTERED_REFERENCE = {  # (L, a): number variance
    (1, 15): 0.44526986,
    (5, 15): 0.74242972,
    (10, 15): 0.81239709,
    (20, 15): 0.76043839,
    (10, 7): 0.59972035,
    (3, 1): 0.23205599,
}


@pytest.mark.parametrize(("L", "a", "expected"), [(*key, value) for key, value in FILTERED_REFERENCE.items()])
def test_filtered_number_variance_agrees_with_the_sum_over_wave_numbers(L, a, expected):
    assert laws.number_variance_unfolded(L, a) == pytest.approx(expected, abs=2e-8)


def test_unfolding_lowers_the_number_variance_by_the_known_amount():
    ratio = laws.number_variance_unfolded([5, 10, 20], a=15) / laws.number_variance_goe([5, 10, 20])
    np.testing.assert_array_equal((100 * (ratio - 1)).round(1), [-3.4, -10.6, -27.5])


def test_filtered_number_variance_tends_to_the_exact_one_for_wide_windows():
    L = np.array([0.5, 2, 10])
    np.testing.assert_allclose(laws.number_variance_unfolded(L, 5000), laws.number_variance_goe(L), rtol=1e-5)


def test_filtered_number_variance_does_not_depend_on_its_neighbours():
    L = np.array([0.3, 4, 25, 800.0])
    together = laws.number_variance_unfolded(L, 15)
    np.testing.assert_allclose(together, [laws.number_variance_unfolded(length, 15) for length in L], rtol=1e-12)


@pytest.mark.parametrize("f", [0.005, 0.012, 0.02, 0.04])
def test_unfolding_response_is_that_of_a_rippled_picket_fence(f):
    a, size, k = 15, 1e-4, np.arange(2000)
    wave = np.exp(2j * np.pi * f * k)
    levels = k + size * wave.real
    inner = np.arange(a, len(k) - a)
    widths = (levels[inner + a] - levels[inner - a]) / 2
    window = np.arange(500, 1500)
    unfolded = scipy.special.ndtr((levels[window, None] - levels[inner]) / widths).sum(1)
    ripple = unfolded - window - (unfolded - window).mean()
    basis = np.stack([wave[window].real, wave[window].imag, np.ones(len(window))], axis=1)
    amplitude = np.linalg.lstsq(basis, ripple, rcond=None)[0][:2] / size
    assert amplitude == pytest.approx([laws.unfolding_response(f, a), 0], abs=2e-3)


@every_curve
def test_curves_take_scalars_and_arrays_and_grow_from_zero(curve):
    assert type(curve(2)) is float
    L = np.array([[0.5, 1.0], [2.0, 4.0]])
    assert curve(L).shape == (2, 2)
    assert curve(L)[1, 0] == pytest.approx(curve(2.0), rel=1e-12)
    assert np.all(np.diff(curve(L).ravel()) > 0)
    assert curve([]).shape == (0,)
    assert 0 < curve(1e-6) <= 1e-6


@every_curve
@pytest.mark.parametrize("L", [0, -1.5, np.nan, np.inf])
def test_curves_refuse_impossible_lengths(curve, L):
    with pytest.raises(ValueError, match=f"L must be finite and above 0, in mean spacings; got {L:g}"):
        curve([1.0, L])


@pytest.mark.parametrize("a", [0, -2, 1.5, np.nan, None])
def test_unfolding_windows_below_one_are_refused(a):
    with pytest.raises(ValueError, match="a must be an integer of at least 1; got"):
        laws.number_variance_unfolded(1.0, a)
