import re

import matplotlib as mpl
import numpy as np
import pytest

import rmtlib
from rmtlib.weights import Layer

mpl.use("Agg")


@pytest.fixture(scope="module")
def noise():
    return rmtlib.analyse(rmtlib.ensembles.gaussian((400, 200), 0), name="noise")


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(1)
    W = rng.standard_normal((400, 200)) / 20
    v = np.zeros(200)
    v[:8] = 1 / np.sqrt(8)
    u = rng.standard_normal(400)
    return rmtlib.analyse(W + 4 * np.outer(u / np.linalg.norm(u), v), name="planted")


def test_noise_holds_nothing(noise):
    assert noise.summary == "noise: nothing found that noise would not show"
    assert noise.bulk.n_outliers == 0
    assert all(len(vectors) == 0 for vectors in noise.informative.values())


def test_a_planted_direction_is_found_where_it_was_planted(planted):
    assert planted.bulk.n_outliers == 1
    assert planted.informative["input"].tolist() == [199]
    assert planted.informative["output"].tolist() == []
    assert planted.summary == "planted: 1 singular value above the bulk; 1 input vector, 100% of them in the top tenth"


def test_the_parts_are_those_of_the_single_functions(noise):
    W = rmtlib.ensembles.gaussian((400, 200), 0)
    s = rmtlib.spectrum(W)
    xi = rmtlib.unfold(s.nu)
    np.testing.assert_array_equal(noise.xi, xi)
    assert noise.spacing == rmtlib.spacing_test(xi)
    assert noise.bulk == rmtlib.fit_marchenko_pastur(s.nu, s.shape)
    np.testing.assert_array_equal(noise.output.pvalue, rmtlib.porter_thomas(s.output_vectors).pvalue)


def test_repr_tells_every_statistic(noise):
    assert re.search(r"(?s)noise \(400 x 200, 200 levels\).*spacings.*number variance.*bulk.*input.*output", repr(noise))


def test_plot_has_the_four_panels(noise):
    figure = noise.plot()
    assert len(figure.axes) == 4
    assert [ax.get_xlabel()[:4] for ax in figure.axes] == ["sing", "spac", "inte", "rank"]


def test_a_network_is_one_table_and_a_layer_that_fails_keeps_its_row():
    rng = np.random.default_rng(2)
    good, small = rng.standard_normal((120, 100)), rng.standard_normal((30, 20))
    layers = {name: Layer(name, W, W.shape, "dense") for name, W in (("good", good), ("small", small))}
    table = rmtlib.analyse_network(layers, progress=False)
    assert table["layer"].tolist() == ["good", "small"]
    assert table["levels"].tolist()[0] == 100
    assert np.isnan(table["levels"].tolist()[1])
    assert "not analysed" in table["summary"][1]
    assert table["spacing_qvalue"][0] == table["spacing_calibrated_pvalue"][0]
    assert np.isnan(table["spacing_qvalue"][1])


def test_spacings_of_many_layers_are_one_family():
    rng = np.random.default_rng(5)
    layers = {f"fc{i}": Layer(f"fc{i}", W, W.shape, "dense") for i, W in enumerate(rng.standard_normal((4, 100, 90)))}
    blocks = np.zeros((180, 180))
    blocks[:90, :90], blocks[90:, 90:] = rng.standard_normal((2, 90, 90))
    layers["blocks"] = Layer("blocks", blocks, blocks.shape, "dense")
    table = rmtlib.analyse_network(layers, progress=False)
    p, q = table["spacing_calibrated_pvalue"], table["spacing_qvalue"]
    assert (q >= p).all()
    assert q.idxmin() == 4
    assert q[4] == pytest.approx(5 * p[4])


def test_a_layer_brings_its_name():
    W = rmtlib.ensembles.gaussian((100, 100), 3)
    assert rmtlib.analyse(Layer("fc", W, W.shape, "dense")).name == "fc"


@pytest.mark.parametrize(
    ("W", "message"),
    [
        (np.zeros((80, 80)), "W is zero"),
        (np.full((80, 80), 0.5), "W is constant"),
        (np.ones((80, 80), dtype=int), "floating-point"),
        (np.ones((80, 80)) * 1j, "floating-point"),
        (np.ones(80), "two-dimensional"),
        (np.outer(np.arange(1.0, 81), np.arange(1.0, 71)), "rank deficient"),
        (np.random.default_rng(0).standard_normal((1, 50)), "at least two rows"),
        (np.random.default_rng(0).standard_normal((61, 200)), "61"),
    ],
)
def test_what_cannot_be_analysed_is_refused(W, message):
    with pytest.raises(ValueError, match=message):
        rmtlib.analyse(W)


def test_nan_is_counted():
    W = rmtlib.ensembles.gaussian((80, 80), 0)
    W[3, 4] = np.nan
    with pytest.raises(ValueError, match="W must be finite; 1 of 6400 entries"):
        rmtlib.analyse(W)


def test_a_half_window_of_zero_is_refused():
    with pytest.raises(ValueError, match="a must be an integer of at least 1; got 0"):
        rmtlib.analyse(rmtlib.ensembles.gaussian((80, 80), 0), a=0)
