"""What a function is given: tensors, numbers of numpy, and everything that must be refused by one sentence."""

import numpy as np
import pytest

import rmtlib
from rmtlib import (
    checks,
    departures,
    ensembles,
    goodness,
    laws,
    multiple,
    null_laws,
    parallel,
    shrinkage,
    signal_to_noise,
    subspaces,
    tails,
)
from rmtlib.marchenko_pastur import fit_noise

W = np.random.default_rng(0).normal(size=(64, 64))
FOUND = rmtlib.spectrum(W)
NU, V = FOUND.nu, FOUND.input_vectors
XI = np.arange(40.0)
MASKED = np.ma.masked_array([0.1, 0.2, 0.3], [0, 1, 0])

# Tensors


def tensors():
    import torch

    weight = torch.nn.Linear(64, 48).weight
    values = weight.detach().numpy()
    return weight, values, torch


def test_a_parameter_of_a_model_is_its_matrix():
    weight, values, _ = tensors()
    np.testing.assert_array_equal(rmtlib.spectrum(weight).nu, rmtlib.spectrum(values).nu)
    assert rmtlib.analyse(weight).row() == rmtlib.analyse(values).row()
    np.testing.assert_array_equal(rmtlib.biwhiten(weight).row_sizes, rmtlib.biwhiten(values).row_sizes)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64", "float8_e5m2"])
def test_a_tensor_of_any_float_is_what_it_holds(kind):
    weight, _, torch = tensors()
    stored = weight.to(getattr(torch, kind))
    expected = stored.detach().to(torch.float64).numpy().astype(np.float64 if kind == "float64" else np.float32)
    np.testing.assert_allclose(rmtlib.spectrum(stored).nu, rmtlib.spectrum(expected).nu, rtol=1e-12)


def test_sparse_and_transposed_tensors_are_read():
    weight, values, _ = tensors()
    np.testing.assert_array_equal(checks.array(weight.to_sparse(), "W"), values)
    np.testing.assert_array_equal(checks.array(weight.T, "W"), values.T)
    assert checks.array(weight.T.conj(), "W").dtype == np.float32


def test_levels_and_vectors_may_be_tensors():
    _, _, torch = tensors()
    np.testing.assert_array_equal(rmtlib.unfold(torch.tensor(NU), a=3), rmtlib.unfold(NU, a=3))
    np.testing.assert_array_equal(rmtlib.participation_ratio(torch.tensor(V)), rmtlib.participation_ratio(V))


def test_a_tensor_without_values_is_refused():
    _, _, torch = tensors()
    with pytest.raises(ValueError, match=r"^W must hold values; got a tensor of shape \(64, 64\) on the meta device"):
        rmtlib.spectrum(torch.empty(64, 64, device="meta"))
    with pytest.raises(ValueError, match="^W must hold real floating-point numbers; got dtype complex64"):
        rmtlib.spectrum(torch.ones(64, 64, dtype=torch.complex64))


@pytest.mark.parametrize("command", ["analyse_network", "scan"])
def test_an_entry_that_is_no_matrix_costs_no_other_layer(command):
    weight, _, torch = tensors()
    network = {"meta": torch.empty(64, 64, device="meta"), "ragged": [[1.0, 2.0], [3.0]], "half": weight.bfloat16(), "W": W}
    table = getattr(rmtlib, command)(network, progress=False, workers=2).set_index("layer")
    assert list(table.index) == list(network)
    assert table["levels"].notna().tolist() == [False, False, True, True]
    told = table["summary" if command == "analyse_network" else "missing"]
    assert "W must hold values" in told["meta"]
    assert told["ragged"].endswith("W must be an array of numbers, with rows of one length; got list")


def test_a_layer_of_no_name_keeps_it():
    assert rmtlib.analyse(W, name="").name == ""
    assert rmtlib.analyse(W).name == "matrix"
    assert rmtlib.analyse_network({"": W}, progress=False)["layer"].tolist() == [""]


def test_what_holds_no_array_has_no_matrix():
    assert parallel.matrix_of([[1.0, 2.0]]).shape == (1, 2)
    with pytest.raises(ValueError, match="W must be an array of numbers"):
        parallel.matrix_of([[1.0], [2.0, 3.0]])


# Masked, complex and other arrays


READERS = {
    "pvalues": [multiple.benjamini_hochberg, lambda x: null_laws.vector_pvalue(x, 20)],
    "L": [
        lambda x: rmtlib.number_variance(XI, x),
        lambda x: rmtlib.number_variance_curve(XI, x),
        lambda x: rmtlib.rigidity(XI, x),
        laws.number_variance_poisson,
        laws.number_variance_goe,
        laws.number_variance_gue,
        laws.number_variance_unfolded,
        laws.rigidity_poisson,
        laws.rigidity_goe,
        laws.rigidity_gue,
    ],
    "x": [
        laws.wigner_surmise.pdf,
        laws.goe_spacing.cdf,
        laws.tracy_widom.sf,
        laws.marchenko_pastur(0.5).pdf,
        rmtlib.fit_marchenko_pastur(NU, W.shape).cdf,
        tails.fit_power_law,
    ],
    "p": [laws.poisson_spacing.ppf],
    "nu": [
        lambda x: shrinkage.spiked_strength(x, 0.5),
        lambda x: shrinkage.shrink_singular_values(x, (9, 9), sigma=1.0),
        rmtlib.unfold,
        rmtlib.spacing_ratios,
    ],
    "t": [lambda x: ensembles.spiked_singular_value(x, 0.5)],
    "strengths": [lambda x: ensembles.spiked((9, 9), 0, strengths=x)],
    "statistic": [null_laws.spacing_null(100).pvalue],
}


@pytest.mark.parametrize(
    ("name", "function"), [(name, function) for name, functions in READERS.items() for function in functions]
)
def test_no_array_is_cast_in_silence(name, function):
    with pytest.raises(ValueError, match=f"^{name} must not be a masked array: missing entries have no place here"):
        function(MASKED)
    for bad, got in (
        (np.array([0.1, 0.2 + 5j, 0.3]), "dtype complex128"),
        (["a", "b", "c"], "dtype <U1"),
        ({}, "dict"),
        (np.array([0.1, {}, 0.3]), "entries of other types"),
    ):
        with pytest.raises(ValueError, match=f"^{name} must hold real numbers; got {got}$"):
            function(bad)
    with pytest.raises(ValueError, match=f"^{name} must be an array of numbers, with rows of one length; got list$"):
        function([[0.1, 0.2], [0.3]])


def test_numbers_as_objects_are_numbers():
    np.testing.assert_array_equal(checks.reals(np.array([1, 2.5], dtype=object), "x"), [1, 2.5])
    assert checks.reals(np.float16(0.5), "x").dtype == np.float64


# Numbers of numpy


def test_small_integers_of_numpy_do_not_overflow():
    np.testing.assert_array_equal(
        rmtlib.porter_thomas(V, window=np.uint8(3)).moving_mean, rmtlib.porter_thomas(V, window=3).moving_mean
    )
    wide = np.linspace(1, 2, 300)
    assert tails.hill(wide, np.uint8(255)).exponent == tails.hill(wide, 255).exponent
    np.testing.assert_array_equal(tails.hill(wide, np.array([5, 255], np.uint8)).exponent, tails.hill(wide, [5, 255]).exponent)
    assert laws.porter_thomas(np.uint8(30)).pdf(0.1) == laws.porter_thomas(30).pdf(0.1)
    assert laws.wigner_surmise(np.uint8(2)).pdf(0.1) == laws.wigner_surmise(2).pdf(0.1)
    shape = np.array([64, 64], np.uint8)
    assert rmtlib.fit_marchenko_pastur(NU, shape, a=np.uint8(3)) == rmtlib.fit_marchenko_pastur(NU, (64, 64), a=3)
    assert (
        goodness.bulk_test(NU, shape, outliers=np.array([0, 1], np.uint8)).pvalue
        == goodness.bulk_test(NU, (64, 64), outliers=(0, 1)).pvalue
    )
    assert signal_to_noise.ratio_of_noise(shape, 1.0) == signal_to_noise.ratio_of_noise((64, 64), 1.0)
    assert null_laws.spacing_null(39, a=np.uint8(15)).statistic.tolist() == null_laws.spacing_null(39).statistic.tolist()


def test_a_window_of_indices_is_ascending_whatever_its_type():
    window = np.arange(10, 30, dtype=np.uint8)
    assert fit_noise(NU, W.shape, window) == fit_noise(NU, W.shape, window.astype(int))
    with pytest.raises(ValueError, match="window must hold indices of levels, ascending"):
        fit_noise(NU, W.shape, window[::-1])


def test_numbers_of_half_precision_lose_nothing_more():
    assert laws.marchenko_pastur(np.float16(0.5), np.float16(2)) == laws.marchenko_pastur(0.5, 2.0)
    assert laws.marchenko_pastur(np.float32(0.3)).nu_plus == laws.marchenko_pastur(float(np.float32(0.3))).nu_plus
    assert ensembles.spiked_singular_value(0.1, np.float16(0.3)) == ensembles.spiked_singular_value(0.1, float(np.float16(0.3)))


# Half windows


@pytest.mark.parametrize("a", ["abc", None, [3], np.nan, 0, -1, 2.5, True])
def test_a_half_window_is_a_whole_number(a):
    with pytest.raises(ValueError, match="^a must be an integer of at least 1; got "):
        rmtlib.spacing_test(XI, a=a)


def test_a_null_of_no_matrix_is_not_simulated(monkeypatch):
    asked = []
    monkeypatch.setattr(null_laws, "simulate_spacing_null", lambda shape, **options: asked.append((shape, options)))
    with pytest.raises(
        ValueError, match="^a must be an integer from 1 to 16374 for 39 spacings; got 1000000: that takes matrices of"
    ):
        rmtlib.spacing_test(XI, a=10**6)
    with pytest.raises(ValueError, match="^a must be an integer from 1 to 16374 for 39 spacings; got 16375"):
        null_laws.spacing_null(39, a=16375)
    with pytest.raises(ValueError, match="^degree must be below the number of spacings, 39; got 39$"):
        null_laws.spacing_null(39, method="polynomial", degree=39)
    with pytest.raises(ValueError, match="^degree must be an integer of at least 1; got '7'$"):
        null_laws.spacing_null(39, method="polynomial", degree="7")
    with pytest.raises(ValueError, match="^n is too large: 70000"):
        null_laws.spacing_null(70000, a=3)
    assert not asked
    null_laws.spacing_null(39, a=16374)
    null_laws.spacing_null(39, method="polynomial", degree=38)
    assert [shape for shape, _ in asked] == [(65536, 65536), (40, 40)]


# Seeds


@pytest.mark.parametrize("rng", [-1, "a", 2.5, {}, [-1]])
@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("rng", lambda rng: ensembles.gaussian((3, 3), rng)),
        ("rng", lambda rng: ensembles.glorot_uniform((3, 3), rng)),
        ("rng", lambda rng: ensembles.student_t((3, 3), rng, df=5)),
        ("rng", lambda rng: ensembles.goe(3, rng)),
        ("rng", lambda rng: ensembles.spiked((3, 3), rng, strengths=1.0)),
        ("rng", lambda rng: ensembles.shuffled(W, rng)),
        ("rng", lambda rng: null_laws.noise_singular_values((5, 5), rng)),
        ("rng", lambda rng: null_laws.simulate_spacing_null((64, 64), rng=rng, a=3)),
        ("rng", lambda rng: tails.power_law_test(NU, rng=rng)),
        ("rng", lambda rng: departures.sparse_null(W, rng)),
        ("rng", lambda rng: subspaces.intruders(W, W, rng=rng)),
        ("random_state", lambda rng: laws.wigner_surmise.rvs(3, rng)),
    ],
)
def test_a_seed_is_named(name, draw, rng):
    with pytest.raises(
        ValueError, match=f"^{name} must be a seed, whole numbers of at least 0, or a numpy.random.Generator; got "
    ):
        draw(rng)


def test_a_seed_gives_the_stream_of_numpy():
    assert checks.generator(3).random() == np.random.default_rng(3).random()
    assert checks.generator([3, 1]).random() == np.random.default_rng([3, 1]).random()
    own = np.random.default_rng(0)
    assert checks.generator(own) is own


# What belongs together


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: goodness.bulk_test(np.linspace(-5, -1, 64), (64, 64)),
            "^nu must hold singular values, which are not negative; got -5$",
        ),
        (lambda: goodness.bulk_test(np.zeros(64), (64, 64)), "^nu must not be all zero: the matrix is empty of weights$"),
        (lambda: goodness.bulk_test(NU, 3), "^shape must be the two whole numbers of rows and columns; got 3$"),
        (lambda: goodness.bulk_test(NU, (64, 64), outliers=3), "^outliers must be two whole numbers, .*; got 3$"),
        (lambda: goodness.bulk_test(NU, (64, 64), outliers=(1, 2, 3)), "^outliers must be two whole numbers"),
        (lambda: goodness.bulk_test(NU, (64, 64), outliers=(1, -2)), "^outliers must be two whole numbers"),
        (lambda: goodness.outlier_range(NU, 3), "^fit must be a MarchenkoPasturFit, .*; got int$"),
        (lambda: signal_to_noise.spectrum_ratio(NU, (64, 63)), "^nu must hold all 63 singular values of a matrix of shape"),
        (lambda: signal_to_noise.signal_to_noise(NU, "a"), "^edge must be a number, where noise ends; got 'a'$"),
        (
            lambda: rmtlib.unfold(np.zeros(64), method="marchenko_pastur", shape=(64, 64)),
            "^nu must not be all zero: the matrix is empty of weights$",
        ),
        (
            lambda: rmtlib.unfold(np.append(np.zeros(63), 1.0), method="marchenko_pastur", shape=(64, 64)),
            "^nu must have levels above 0 in the middle of the spectrum",
        ),
        (lambda: rmtlib.unfold(NU, method=np.array(["a", "b"])), "^method must be one of 'broadened'"),
        (lambda: rmtlib.spacing_test(XI, null=3), "^null must be a NullLaw, .*; got int$"),
        (lambda: null_laws.simulate_spacing_null(3), "^shape must be the two whole numbers of rows and columns; got 3$"),
        (lambda: null_laws.spacing_null(100).critical(0), "^level must be a finite number above 0; got 0$"),
        (lambda: laws.wigner_surmise.rvs("a"), "^size must be a whole number of at least 0, or several; got 'a'$"),
        (lambda: laws.wigner_surmise.rvs(-3), "^size must be a whole number of at least 0, or several; got -3$"),
        (lambda: multiple.moving_mean_band(50, seed=[1]), r"^seed must be an integer of at least 0; got \[1\]$"),
        (lambda: rmtlib.end_means(3), "^test must be a PorterThomasTest, .*; got int$"),
        (lambda: subspaces.overlap(FOUND, 3, 2), "^tuned must be a Spectrum with vectors, .*; got int$"),
        (lambda: rmtlib.spectrum([[1.0, 2.0], [3.0]]), "^W must be an array of numbers, with rows of one length; got list$"),
        (lambda: rmtlib.analyse(W * 1e-308), "^W must have a largest entry between 1e-305 and 1e"),
    ],
)
def test_one_sentence_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
