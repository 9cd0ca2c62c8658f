import re
import signal
import subprocess
import sys
import tracemalloc
import warnings
import weakref
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import rmtlib
from rmtlib import analysis, goodness, laws, parallel
from rmtlib.weights import Layer

from . import builders

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
    assert planted.summary == (
        "planted: 1 level above the bulk, 1 once the sizes of neurons are taken out; "
        "1 input vector (100% of them in the top tenth), 1 without the sizes"
    )


def with_qvalues(analysis, **found):
    """The analysis with these vectors below the false discovery rate, and the others just above it."""
    sides = {}
    for side, vectors in found.items():
        qvalue = np.full(len(analysis.nu), 0.0501)
        qvalue[list(vectors)] = 0.0499
        sides[side] = replace(getattr(analysis, side), qvalue=qvalue)
    return replace(analysis, **sides)


def test_a_vector_is_informative_at_a_false_discovery_rate_of_five_per_cent(noise):
    changed = with_qvalues(noise, input=[3, 179, 180, 199], output=[7])
    assert {side: vectors.tolist() for side, vectors in changed.informative.items()} == {
        "input": [3, 179, 180, 199],
        "output": [7],
    }
    # of 200 vectors the top tenth begins with number 180
    assert changed.summary == (
        "noise: 4 input vectors (50% of them in the top tenth), none once the sizes of neurons are taken out; "
        "1 output vector (0% of them in the top tenth), none without the sizes"
    )
    assert (changed.row()["input_rejected"], changed.row()["output_rejected"]) == (4 / 200, 1 / 200)
    assert re.search(r"input vectors +4 of 200 not random.*\n +output vectors +1 of 200 not random", repr(changed))


def test_every_column_of_the_table_is_described(noise):
    assert list(noise.row()) == re.findall(r"``(\w+)``", re.sub(r"(?m)^ {12}.*", "", rmtlib.LayerAnalysis.row.__doc__))


def test_number_variance_is_compared_with_what_the_unfolding_leaves():
    short = rmtlib.analyse(rmtlib.ensembles.gaussian((150, 100), 0), a=7)
    curve = short.number_variance
    expected = np.mean([value / laws.number_variance_unfolded(L, 7) for L, value in zip(curve.L, curve.values, strict=True)])
    assert short.row()["number_variance_ratio"] == pytest.approx(expected)
    np.testing.assert_array_equal(curve.reliable, curve.L <= 14 / 3)
    assert short.name == "matrix"


def test_number_variance_reaches_a_third_of_the_spectrum():
    short = rmtlib.analyse(rmtlib.ensembles.gaussian((150, 100), 0))
    third = (short.xi[-1] - short.xi[0]) / 3
    expected = np.arange(0.5, third, 0.5)
    assert 10 < third < 15
    np.testing.assert_allclose(short.number_variance.L, expected)
    assert short.row()["number_variance_reach"] == expected[-1]


def test_the_parts_are_those_of_the_single_functions(noise):
    W = rmtlib.ensembles.gaussian((400, 200), 0)
    s = rmtlib.spectrum(W)
    xi = rmtlib.unfold(s.nu)
    np.testing.assert_array_equal(noise.xi, xi)
    assert noise.spacing == rmtlib.spacing_test(xi)
    assert noise.bulk == rmtlib.fit_marchenko_pastur(s.nu, s.shape)
    for side in ("input", "output"):
        expected = rmtlib.porter_thomas(getattr(s, f"{side}_vectors"))
        np.testing.assert_array_equal(getattr(noise, side).pvalue, expected.pvalue)
        np.testing.assert_array_equal(getattr(noise, side).moving_mean, expected.moving_mean)


def test_a_square_layer_needs_few_times_its_memory():
    W = rmtlib.ensembles.gaussian((900, 900), 4).astype(np.float32)
    rmtlib.analyse(W[:100, :100])
    for biwhiten, copies in ((False, 3), (True, 3.5)):
        tracemalloc.start()
        rmtlib.analyse(W, biwhiten=biwhiten)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < copies * 8 * W.size


def test_the_first_call_loads_nothing_that_the_package_did_not():
    code = """
import sys, rmtlib
W, loaded = rmtlib.ensembles.gaussian((300, 220), 0), set(sys.modules)
rmtlib.analyse(W)
print(*sorted(name for name in set(sys.modules) - loaded if name.startswith("scipy")))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


def test_repr_tells_every_statistic(noise):
    assert re.search(r"(?s)noise \(400 x 200, 200 levels\).*spacings.*number variance.*bulk.*input.*output", repr(noise))


def test_plot_has_the_four_panels(noise):
    figure = noise.plot()
    assert len(figure.axes) == 4
    assert [ax.get_xlabel()[:4] for ax in figure.axes] == ["sing", "spac", "inte", "rank"]


def test_plot_says_what_its_curves_are():
    short = rmtlib.analyse(rmtlib.ensembles.gaussian((150, 100), 0), a=7, name="short")
    figure = short.plot()
    curves = {line.get_label(): line.get_ydata() for line in figure.axes[2].lines}
    np.testing.assert_array_equal(curves["trained"], short.number_variance.values)
    np.testing.assert_allclose(curves["GOE, exact"], laws.number_variance_goe(short.number_variance.L))
    np.testing.assert_allclose(curves["unfolded, a = 7"], laws.number_variance_unfolded(short.number_variance.L, 7))
    moving = {line.get_label(): line for line in figure.axes[3].lines}
    np.testing.assert_array_equal(moving["output vectors"].get_ydata(), short.output.moving_mean)
    np.testing.assert_array_equal(moving["input vectors"].get_ydata(), short.input.moving_mean)
    assert moving["output vectors"].get_color() != moving["input vectors"].get_color()
    assert [text.get_text() for text in figure.axes[3].get_legend().texts] == [
        "95 % null band",
        "output vectors",
        "input vectors",
    ]
    assert figure.get_suptitle() == short.summary


def test_qvalues_stand_in_the_rows_of_their_layers():
    rng = np.random.default_rng(6)
    weights = {
        "small": rng.standard_normal((30, 20)),
        "fc1": rng.standard_normal((100, 90)),
        "fc2": rng.standard_normal((100, 90)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = rmtlib.analyse_network(weights, progress=False)
    p, q = table["spacing_calibrated_pvalue"], table["spacing_qvalue"]
    assert q.isna().tolist() == p.isna().tolist() == [True, False, False]
    low, high = sorted(p[1:])
    expected = {low: min(2 * low, high), high: high}
    assert q[1:].tolist() == pytest.approx([expected[pvalue] for pvalue in p[1:]])


def test_a_network_is_one_table_and_a_layer_that_fails_keeps_its_row():
    rng = np.random.default_rng(2)
    good, small = rng.standard_normal((120, 100)), rng.standard_normal((30, 12))
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


def test_a_spectrum_without_a_bulk_keeps_all_but_the_bulk():
    rng = np.random.default_rng(4)
    s = rmtlib.spectrum(rng.standard_normal((200, 200)))
    flat = np.linspace(1, 1.02, 200) + rng.uniform(0, 5e-5, 200)
    analysis = rmtlib.analyse(s.output_vectors.T @ np.diag(flat) @ s.input_vectors, name="flat")
    assert analysis.bulk is analysis.goodness is analysis.row()["bulk_pvalue"] is None
    assert analysis.summary.startswith("flat: no bulk that could be fitted")
    assert "bulk             none that could be fitted" in repr(analysis)
    row = analysis.row()
    assert row["outliers"] is None
    assert row["levels"] == 200
    assert len(analysis.plot().axes) == 4


@pytest.mark.parametrize(
    ("W", "message"),
    [
        (np.zeros((80, 80)), "W is zero"),
        (np.full((80, 80), 0.5), "W is constant"),
        (np.ones((80, 80), dtype=int), "floating-point"),
        (np.ones((80, 80)) * 1j, "floating-point"),
        (np.ones(80), "two-dimensional"),
        (np.random.default_rng(0).standard_normal((1, 50)), "at least two rows"),
        (np.random.default_rng(0).standard_normal((15, 200)), "^W must have at least 16 levels to be analysed; got 15$"),
        (np.eye(40, 30) * (np.arange(30) < 14), "at least 16 levels to be analysed; got 14 without its empty rows and columns"),
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


# Sizes of neurons


def unequal(shape, seed, strengths=()):
    """Noise, with planted directions if wanted, whose rows and columns differ in size."""
    rng = np.random.default_rng(seed)
    noise = rmtlib.ensembles.spiked(shape, rng, strengths=strengths).matrix if strengths else rng.standard_normal(shape)
    rows, columns = (np.exp(0.5 * rng.standard_normal(side)) for side in shape)
    return rows[:, None] * noise * columns


@pytest.fixture(scope="module")
def sized():
    return rmtlib.analyse(unequal((200, 150), 0), name="sized")


def test_what_sizes_explain_is_said(sized):
    assert sized.bulk.n_outliers > 20
    assert sized.biwhitened.bulk.n_outliers == 0
    assert sized.total is sized.biwhitened
    assert re.search(r"\d+ levels above .*, none once the sizes of neurons are taken out", sized.summary)
    assert re.search(r"the sizes of rows spread by \d\d%; the sizes of columns spread by \d\d%$", sized.summary)
    row = sized.row()
    assert (row["outliers_biwhitened"], row["input_rejected_biwhitened"], row["output_rejected_total"]) == (0, 0, 0)
    assert row["output_rejected"] == len(sized.informative["output"]) / 150 > 0.03
    assert 0.4 < row["row_spread"] < 0.7


def test_what_sizes_do_not_explain_stays():
    found = rmtlib.analyse(unequal((300, 200), 1, [3.0, 5.0, 30.0]))
    assert found.biwhitened.biwhitened.settled
    assert found.row()["outliers_biwhitened"] == 3 < found.row()["outliers"]
    assert "3 once the sizes of neurons are taken out" in found.summary
    # a strong direction is not its size: without total sizes it is spread over many levels
    assert found.total is not found.biwhitened
    assert found.row()["outliers_total"] > 10


def test_the_biwhitened_parts_are_those_of_the_single_functions(sized):
    taken = rmtlib.biwhiten(unequal((200, 150), 0))
    s = rmtlib.spectrum(taken.matrix)
    assert sized.biwhitened.bulk == rmtlib.fit_marchenko_pastur(s.nu, s.shape)
    for side in ("input", "output"):
        expected = rmtlib.porter_thomas(getattr(s, f"{side}_vectors")).pvalue
        np.testing.assert_array_equal(getattr(sized.biwhitened, side).pvalue, expected)
    assert sized.row_spread == taken.row_spread
    np.testing.assert_array_equal(sized.biwhitened.biwhitened.matrix, taken.matrix)


def test_without_biwhitening_the_rest_is_the_same(sized):
    plain = rmtlib.analyse(unequal((200, 150), 0), name="sized", biwhiten=False)
    assert plain.biwhitened is plain.total is plain.row_spread is plain.row()["outliers_biwhitened"] is None
    assert plain.bulk == sized.bulk
    assert "sizes" not in plain.summary


def test_where_the_noise_does_not_settle_both_counts_are_told(sized):
    other = replace(sized.total, bulk=replace(sized.total.bulk, n_outliers=17))
    unsettled = replace(sized.biwhitened, biwhitened=replace(sized.biwhitened.biwhitened, settled=False))
    summary = replace(sized, biwhitened=unsettled, total=other).summary
    assert "none once the sizes of neurons are taken out as far as they are noise, which did not settle, 17 by all" in summary


def test_an_unsettled_matrix_is_missing_its_noise_sizes():
    rng = np.random.default_rng(0)
    half = rng.standard_normal((120, 60)) @ rng.standard_normal((60, 120)) / 16 + 0.01 * rng.standard_normal((120, 120))
    found = rmtlib.analyse(half)
    assert not found.row()["sizes_settled"]
    assert "did not settle" in found.missing["noise sizes"]
    assert "gap above the lowest 60" in found.missing["spacings, number variance"]
    assert found.xi is found.spacing is found.number_variance is None
    assert found.ratio is not None


def test_the_goodness_of_the_bulk_is_told_with_and_without_sizes(sized):
    row = sized.row()
    for part, column in ((sized, "bulk_pvalue"), (sized.biwhitened, "bulk_pvalue_biwhitened")):
        outliers = part.bulk.n_outliers_below, part.bulk.n_outliers
        assert row[column] == goodness.bulk_test(part.nu, (200, 150), outliers=outliers).pvalue
    assert row["bulk_pvalue"] < 1e-4 < 0.01 < row["bulk_pvalue_biwhitened"]
    assert sized.goodness.levels == 150 - sized.bulk.n_outliers - sized.bulk.n_outliers_below


def test_a_zero_level_takes_no_part_in_the_goodness_of_the_bulk():
    W = rmtlib.ensembles.gaussian((100, 100), 0)
    found = rmtlib.analyse(W - W.mean(axis=1, keepdims=True), biwhiten=False)
    assert found.goodness.levels == 99
    assert found.row()["bulk_pvalue"] == goodness.bulk_test(found.nu, (100, 99)).pvalue > 0.01


def test_a_bulk_that_cannot_be_held_against_its_law_is_named():
    W = rmtlib.ensembles.spiked((40, 17), 0, strengths=[20.0, 30.0], sigma=1.0).matrix
    found = rmtlib.analyse(W, biwhiten=False)
    assert found.bulk.n_outliers == 2
    assert found.goodness is found.row()["bulk_pvalue"] is None
    message = "nu must leave at least 16 levels without the outliers; got 15"
    assert found.missing["goodness of fit of the bulk"] == message


def test_the_exponent_stands_beside_that_of_noise(sized):
    row = sized.row()
    nu = sized.biwhitened.nu
    assert row["alpha"] == rmtlib.tails.fit_power_law(sized.nu**2).exponent
    assert row["alpha_biwhitened"] == rmtlib.tails.fit_power_law(nu**2).exponent
    noise = rmtlib.tails.noise_exponent((200, 150))
    assert (row["alpha_noise"], row["alpha_noise_sd"]) == (noise.mean, noise.standard_deviation)
    assert row["stable_rank"] == pytest.approx(np.sum(sized.nu**2) / sized.nu[-1] ** 2)


# What can be said is said


@pytest.mark.parametrize(("levels", "a"), [(16, 2), (44, 5), (45, 7), (76, 7), (77, 15)])
def test_from_16_levels_on_bulk_and_vectors_and_from_45_on_spacings(levels, a):
    found = rmtlib.analyse(rmtlib.ensembles.gaussian((200, levels), levels))
    assert found.a == a
    assert found.bulk is not None
    assert found.biwhitened.bulk is not None
    assert (found.spacing is None) == (found.row()["number_variance_ratio"] is None) == (levels < 45)
    if levels < 45:
        assert found.missing["spacings, number variance"] == f"{levels} levels are too few, they need 45"
        assert "they need 45" in found.summary
        assert len(found.plot().axes) == 4
        assert "spacings  " not in repr(found)
    assert ("alpha" in found.missing) == (levels < 64) == (found.alpha is None)


def test_sixteen_levels_of_noise_always_have_a_bulk():
    found = [rmtlib.analyse(rmtlib.ensembles.gaussian((16, 60), seed, sigma=0.1), biwhiten=False) for seed in range(30)]
    substitutes = [layer for layer in found if "edges of the bulk" in layer.missing]
    assert 1 < len(substitutes) < 15
    for layer in substitutes:
        bulk = layer.bulk
        assert bulk.sigma == pytest.approx(0.1, rel=0.2)
        assert bulk.nu_plus == pytest.approx(bulk.sigma * (np.sqrt(60) + 4))
        assert bulk.nu_minus == pytest.approx(bulk.sigma * (np.sqrt(60) - 4))
        assert bulk.cdf(1e3) == pytest.approx(bulk.bulk_fraction)
    assert sum(layer.bulk.n_outliers for layer in found) <= 3


def test_noise_of_77_levels_is_never_refused():
    # 6 of the first 60 seeds had unfolded levels whose mean spacing lies below 0.8
    for seed in range(12):
        found = rmtlib.analyse(rmtlib.ensembles.gaussian((77, 77), seed), biwhiten=False)
        assert found.spacing is not None, found.missing


def test_a_wide_half_window_gives_way_to_one_that_the_levels_can_afford():
    W = rmtlib.ensembles.gaussian((120, 100), 0)
    assert rmtlib.analyse(W, a=20, biwhiten=False).a == 20
    assert rmtlib.analyse(W, a=21, biwhiten=False).a == 15


def test_a_zero_level_is_left_out_and_named():
    W = rmtlib.ensembles.gaussian((100, 100), 0)
    found = rmtlib.analyse(W - W.mean(axis=1, keepdims=True))
    assert found.rank == len(found.nu) == 99
    assert found.row()["levels"] == 100
    assert found.missing == {"zero levels": "1 level that is zero is left out, with its vectors"}
    assert found.bulk == rmtlib.fit_marchenko_pastur(found.nu, (100, 99))
    assert found.summary.endswith("nothing found that noise would not show; zero levels: " + found.missing["zero levels"])


def test_a_product_of_low_rank_has_rank_levels_and_vectors():
    rng = np.random.default_rng(0)
    product = rng.standard_normal((120, 9)) @ rng.standard_normal((9, 100))
    for W in (product, product.astype(np.float32)):
        found = rmtlib.analyse(W)
        assert found.rank == len(found.nu) == len(found.input.pvalue) == 9
        assert found.bulk is found.spacing is found.biwhitened is found.alpha is None
        assert found.summary == (
            "matrix: rank 9 of 100; no vector that noise would not show; "
            "bulk, outliers, spacings, number variance, sizes, alpha: they need a full spectrum, and the matrix has rank 9 of 100"
        )
        assert found.row()["levels"] == 100


def test_rows_of_zeros_are_left_out_and_named():
    W = rmtlib.ensembles.gaussian((100, 80), 0)
    padded = np.insert(W, [3, 50], 0, axis=0)
    found, expected = rmtlib.analyse(padded), rmtlib.analyse(W)
    assert found.shape == (102, 80)
    assert found.missing["rows of zeros"] == "2 left out: they have no size and no part in a vector"
    np.testing.assert_allclose(found.nu, expected.nu, rtol=1e-12)
    assert found.biwhitened.bulk.outlier_edge == pytest.approx(expected.biwhitened.bulk.outlier_edge)


def test_a_matrix_without_sizes_says_why():
    # a block of zeros that no factors of rows and columns can make up for
    W = rmtlib.ensembles.gaussian((60, 60), 0)
    W[:40, :25] = 0
    found = rmtlib.analyse(W)
    assert found.biwhitened is None
    assert "biwhitened" in found.missing["sizes"]


def test_levels_outside_a_small_bulk_are_called_what_they_are(noise):
    small = replace(noise, bulk=replace(noise.bulk, bulk_fraction=0.16, n_outliers=30))
    assert "30 levels above a bulk that holds 16% of them" in small.summary
    smaller = replace(noise, bulk=replace(noise.bulk, bulk_fraction=0.05, n_outliers=30))
    assert "the levels follow no Marchenko-Pastur law (bulk of 5%), so outliers are not counted" in smaller.summary
    assert smaller.row()["outliers"] is None
    assert "30" not in smaller.summary


def test_a_single_layer_speaks_of_its_spacings_and_a_network_by_q(noise):
    words = "noise: spacings that are not the GOE's (q = 0.04)"
    assert replace(noise, spacing_qvalue=0.04).summary == words
    assert "spacings" not in replace(noise, spacing_qvalue=0.06).summary
    rng = np.random.default_rng(5)
    weights = {f"fc{i}": W for i, W in enumerate(rng.standard_normal((2, 100, 90)))}
    blocks = np.zeros((180, 180))
    blocks[:90, :90], blocks[90:, 90:] = rng.standard_normal((2, 90, 90))
    seen = []
    table = rmtlib.analyse_network(
        {**weights, "blocks": blocks}, biwhiten=False, progress=False, on_layer=lambda layer: seen.append(layer.summary)
    )
    assert table["spacing_qvalue"][2] < 0.05
    assert f"spacings that are not the GOE's (q = {table['spacing_qvalue'][2]:.2g})" in table["summary"][2]
    assert not any("GOE" in summary for summary in seen)


# What the null does not cover


def test_a_sparse_matrix_is_compared_with_its_own_zeros():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((150, 150)) * (rng.random((150, 150)) < 0.05)
    found = rmtlib.analyse(W)
    assert found.bulk is None or found.bulk.n_outliers or found.bulk.bulk_fraction < 0.9
    assert re.search(r"95% of the entries are zero.* no levels above that of the same zeros on other noise", found.summary)
    assert "above the bulk" not in found.summary


def test_correlated_columns_are_named():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((150, 100))
    for i in range(1, 100):
        W[:, i] = 0.9 * W[:, i - 1] + np.sqrt(0.19) * W[:, i]
    assert re.search(r"levels above .*neighbouring columns are correlated \(mean 0\.[89]\d\)", rmtlib.analyse(W).summary)


def test_a_product_of_gaussian_matrices_has_no_outliers():
    rng = np.random.default_rng(0)
    summary = rmtlib.analyse(rng.standard_normal((300, 300)) @ rng.standard_normal((300, 300))).summary
    assert "the levels follow no Marchenko-Pastur law" in summary
    assert "above" not in summary


def test_variance_that_is_no_product_is_named():
    W = rmtlib.ensembles.gaussian((120, 120), 0)
    W[:40, :40] *= 2
    assert "its variance is no product of row and column sizes (blocks from" in rmtlib.analyse(W).summary


def test_few_bit_entries_are_named():
    W = np.round(4 * rmtlib.ensembles.gaussian((120, 100), 0)) / 4
    W[W == 0] = 0.25
    assert re.search(r"the entries lie on a grid of some \d\d values", rmtlib.analyse(W).summary)


# Networks


def layers(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {f"fc{i}": rng.standard_normal(shape) for i, shape in enumerate(shapes)}


def test_workers_change_nothing_but_the_time():
    weights = layers(*[(120 + 5 * i, 90) for i in range(5)])
    one, three = (rmtlib.analyse_network(weights, workers=n, progress=False) for n in (1, 3))
    pd.testing.assert_frame_equal(one, three)


def test_a_large_layer_comes_after_the_others_and_keeps_its_place_in_the_table(monkeypatch):
    monkeypatch.setattr(parallel, "SIDE_BY_SIDE", 120 * 100)
    finished = []
    weights = layers((150, 100), (120, 100), (110, 100))
    table = rmtlib.analyse_network(weights, progress=False, on_layer=lambda layer: finished.append(layer.name))
    assert finished[-1] == "fc0"
    assert table["layer"].tolist() == ["fc0", "fc1", "fc2"]


def test_blas_has_one_thread_a_layer_and_its_own_again_afterwards(monkeypatch):
    monkeypatch.setattr(parallel, "SIDE_BY_SIDE", 120 * 100)
    seen = {}

    def threads():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    def counted(W, *, name, wrapped=rmtlib.analyse, **options):
        seen[name] = threads()
        return wrapped(W, name=name, **options)

    monkeypatch.setattr(analysis, "analyse", counted)
    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        rmtlib.analyse_network(layers((120, 100), (150, 100)), progress=False)
        assert threads() == before
    assert set(seen["fc0"]) == {1}
    assert seen["fc1"] == before


def test_without_threadpoolctl_there_is_one_layer_at_a_time(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    busy, most = set(), []

    def counted(W, *, name, wrapped=rmtlib.analyse, **options):
        busy.add(name)
        most.append(len(busy))
        result = wrapped(W, name=name, **options)
        busy.discard(name)
        return result

    monkeypatch.setattr(analysis, "analyse", counted)
    assert len(rmtlib.analyse_network(layers(*[(110, 100)] * 3), workers=3, progress=False)) == 3
    assert most == [1, 1, 1]


class Counting(dict):
    """Layers made when they are asked for, which counts how many are alive."""

    def __init__(self, count):
        super().__init__((f"fc{i}", i) for i in range(count))
        self.alive = self.most = 0

    def __getitem__(self, name):
        layer = Layer(name, rmtlib.ensembles.gaussian((100, 90), super().__getitem__(name)), (100, 90), "dense")
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(layer, self.released)
        return layer

    def released(self):
        self.alive -= 1


def test_layers_in_memory_are_as_few_as_workers():
    weights = Counting(9)
    rmtlib.analyse_network(weights, workers=2, progress=False)
    # A worker may still hold a layer for the moment in which its result is fetched.
    assert 1 <= weights.most <= 3
    assert weights.alive == 0


def test_the_callback_follows_every_layer_and_the_csv_has_all_in_the_end(tmp_path):
    csv, seen = tmp_path / "table.csv", []
    weights = layers((100, 90), (20, 12), (120, 90))
    table = rmtlib.analyse_network(weights, workers=1, progress=False, on_layer=lambda layer: seen.append(layer.name), csv=csv)
    assert seen == ["fc0", "fc2"]
    written = pd.read_csv(csv)
    np.testing.assert_array_equal(written["spacing_calibrated_pvalue"], table["spacing_calibrated_pvalue"])
    assert written["layer"].tolist() == ["fc0", "fc1", "fc2"]
    assert written["summary"][1].startswith("fc1: not analysed: ")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_layer_with_nan_is_named_in_its_row():
    weights = layers((100, 90), (100, 90))
    weights["fc0"][3, 4] = np.nan
    table = rmtlib.analyse_network(weights, progress=False)
    assert table["summary"][0] == "fc0: not analysed: W must be finite; 1 of 9000 entries are nan or infinite"
    assert table["levels"][1] == 90


def test_a_layer_that_can_no_longer_be_read_is_named_in_its_row(tmp_path):
    path = builders.safetensors(tmp_path / "net.safetensors", builders.state_dict(100, 90, 80))
    weights = rmtlib.load_weights(path)
    assert len(weights) == 2
    path.write_bytes(path.read_bytes()[:20000])
    table = rmtlib.analyse_network(weights, progress=False)
    assert all("not analysed: tensor" in summary for summary in table["summary"])


def test_a_layer_too_large_for_the_memory_is_named_in_its_row(monkeypatch):
    def full(W, **options):
        raise MemoryError

    monkeypatch.setattr(analysis, "analyse", full)
    table = rmtlib.analyse_network(layers((100, 90)), progress=False)
    assert table["summary"][0] == "fc0: not analysed: not enough memory"


def test_the_row_has_the_numbers_of_the_bulk(planted):
    row, bulk = planted.row(), planted.bulk
    found = [row[column] for column in ("bulk_fraction", "nu_plus", "sigma", "outliers", "outlier_edge")]
    assert found == [bulk.bulk_fraction, bulk.nu_plus, bulk.sigma, bulk.n_outliers, bulk.outlier_edge]
    assert (row["outliers_below"], row["outlier_edge_below"]) == (bulk.n_outliers_below, bulk.outlier_edge_below)


def test_the_row_tells_where_noise_would_end(planted):
    row = planted.row()
    assert row["outliers"] == 1
    assert row["outlier_edge"] == planted.bulk.outlier_edge < row["largest"] == planted.nu[-1]


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ("net.safetensors", {}, "^weights must be a mapping of names to layers, as load_weights gives; got str"),
        ({}, {}, "^weights holds no matrix to analyse$"),
        ({"fc": np.eye(99)}, {"workers": 0}, "^workers must be an integer of at least 1; got 0"),
        ({"fc": np.eye(99)}, {"a": 0}, "^a must be an integer of at least 1; got 0"),
        ({"fc": np.eye(99)}, {"csv": "no/such/folder/table.csv"}, "^csv must be a file in a folder that exists; got 'no/such"),
    ],
)
def test_a_network_that_cannot_be_analysed_is_refused(weights, options, message):
    with pytest.raises(ValueError, match=message):
        rmtlib.analyse_network(weights, progress=False, **options)


def test_weights_without_a_matrix_are_refused_with_what_was_skipped():
    weights = rmtlib.load_weights({"fc.bias": np.zeros(100), "fc.weight": np.zeros((100, 12))})
    with pytest.raises(ValueError, match=r"fc.bias \(100,\): bias vector; fc \(100, 12\): 12 levels, fewer than"):
        rmtlib.analyse_network(weights, progress=False)


INTERRUPTED = """
import signal, sys, threading, time
import numpy as np
import rmtlib

# a job in the background is started with this signal ignored
signal.signal(signal.SIGINT, signal.default_int_handler)

class Weights(dict):
    def __getitem__(self, name):
        if name == "unread":
            for _ in range(600):  # a signal that comes just before a sleep is seen after it
                time.sleep(0.1)
        return super().__getitem__(name)

def analyse(layer, *, name, **options):
    if name == "analysed":
        over.wait(60)
    return finished(layer, name=name, **options)

over, finished, rmtlib.analysis.analyse = threading.Event(), rmtlib.analyse, analyse
rng = np.random.default_rng(0)
weights = Weights({name: rng.standard_normal((100, 90)) for name in ("first", sys.argv[1], "last")})
table = rmtlib.analyse_network(weights, workers=1, csv=sys.argv[2], on_layer=lambda layer: print(layer.name, flush=True))
over.set()
print(table["levels"].notna().tolist(), *table["summary"][1:], sep="\\n")
"""


@pytest.mark.parametrize("where", ["analysed", "unread"])
def test_ctrl_c_keeps_the_layers_that_are_finished(tmp_path, where):
    csv = tmp_path / "table.csv"
    command = [sys.executable, "-c", INTERRUPTED, where, csv]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "first\n"
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    interrupted = [f"{name}: not analysed: interrupted" for name in (where, "last")]
    assert printed.splitlines() == ["[True, False, False]", *interrupted]
    assert "UserWarning: interrupted after 1 of 3 layers" in errors
    assert pd.read_csv(csv)["layer"].tolist() == ["first", where, "last"]


def test_an_interrupt_while_a_layer_is_read_keeps_the_layers_before_it():
    class Interrupted(dict):
        def __getitem__(self, name):
            if name == "fc2":
                raise KeyboardInterrupt
            return super().__getitem__(name)

    with pytest.warns(UserWarning, match="interrupted after 2 of 4 layers") as warned:
        table = rmtlib.analyse_network(Interrupted(layers(*[(100, 90)] * 4)), workers=1, progress=False)
    assert warned[0].filename == __file__
    assert table["levels"].notna().tolist() == [True, True, False, False]
    assert table["summary"][3] == "fc3: not analysed: interrupted"


def test_ctrl_c_before_the_first_layer_is_passed_on():
    class Interrupted(dict):
        def __getitem__(self, name):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rmtlib.analyse_network(Interrupted(fc=0), progress=False)


def test_all_vectors_of_a_space_have_one_p_and_it_is_that_of_simes():
    W = rmtlib.ensembles.spiked((120, 90), 0, strengths=[4.0]).matrix
    analysis = rmtlib.analyse(W)
    row = analysis.row()
    for suffix, part in (("", analysis), ("_biwhitened", analysis.biwhitened)):
        for side in ("input", "output"):
            p = np.sort(getattr(part, side).calibrated_pvalue)
            simes = np.min(p * len(p) / np.arange(1, len(p) + 1))
            assert row[f"{side}_pvalue{suffix}"] == pytest.approx(min(simes, 1))
