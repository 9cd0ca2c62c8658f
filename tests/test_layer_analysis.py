"""What a layer's analysis says in its row, its lines and its words, and what is left out where it cannot be said."""

import re
from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import rmtlib
from rmtlib import analysis, departures, laws, layer_levels, marchenko_pastur
from rmtlib.weights import Layer

mpl.use("Agg")

SIDES = ("input", "output")


def projected(shape, seed, lost):
    """Noise that has lost some dimensions."""
    W = rmtlib.ensembles.gaussian(shape, seed)
    s = rmtlib.spectrum(W)
    return (s.output_vectors[lost:].T * s.nu[lost:]) @ s.input_vectors[lost:]


@pytest.fixture(scope="module")
def learned():
    """Sizes, three directions of which one is strong, and two rows of zeros."""
    rng = np.random.default_rng(3)
    W = rmtlib.ensembles.spiked((160, 120), rng, strengths=[4.0, 5.0, 40.0], sigma=1.0).matrix
    W *= np.exp(0.5 * rng.standard_normal(120))
    return rmtlib.analyse(np.insert(W, [0, 7], 0, axis=0), name="learned")


@pytest.fixture(scope="module")
def product():
    rng = np.random.default_rng(4)
    return rmtlib.analyse(rng.standard_normal((60, 8)) @ rng.standard_normal((8, 50)), name="product")


def test_a_row_holds_every_number_of_the_analysis(learned):
    s, row = learned, learned.row()
    assert s.total is not s.biwhitened
    curve = s.number_variance
    expected = {
        "layer": "learned",
        "shape": (162, 120),
        "levels": 120,
        "rank": 120,
        "spacing_pvalue": s.spacing.pvalue,
        "spacing_calibrated_pvalue": s.spacing.calibrated_pvalue,
        "spacing_ratio": s.ratio,
        "number_variance_ratio": np.mean(curve.values / laws.number_variance_unfolded(curve.L, 15)),
        "largest": s.nu[-1],
        "stable_rank": np.sum(s.nu**2) / s.nu[-1] ** 2,
        "bulk_fraction": s.bulk.bulk_fraction,
        "nu_plus": s.bulk.nu_plus,
        "sigma": s.bulk.sigma,
        "outliers": s.bulk.n_outliers,
        "outlier_edge": s.bulk.outlier_edge,
        "outliers_below": s.bulk.n_outliers_below,
        "outlier_edge_below": s.bulk.outlier_edge_below,
        "bulk_pvalue": s.goodness.pvalue,
        "number_variance_reach": curve.L[-1],
        "outliers_biwhitened": s.biwhitened.bulk.n_outliers,
        "outliers_below_biwhitened": s.biwhitened.bulk.n_outliers_below,
        "bulk_pvalue_biwhitened": s.biwhitened.goodness.pvalue,
        "outliers_total": s.total.bulk.n_outliers,
        "sizes_settled": True,
        "row_spread": s.biwhitened.biwhitened.row_spread,
        "column_spread": s.biwhitened.biwhitened.column_spread,
        "alpha": rmtlib.tails.fit_power_law(s.nu**2).exponent,
        "alpha_biwhitened": rmtlib.tails.fit_power_law(s.biwhitened.nu**2).exponent,
        "alpha_noise": rmtlib.tails.noise_exponent((160, 120)).mean,
        "alpha_noise_sd": rmtlib.tails.noise_exponent((160, 120)).standard_deviation,
        "summary": s.summary,
    }
    for suffix, part in (("", s), ("_biwhitened", s.biwhitened), ("_total", s.total)):
        for side in SIDES:
            expected[f"{side}_rejected{suffix}"] = np.mean(getattr(part, side).qvalue < 0.05)
    for suffix, part in (("", s), ("_biwhitened", s.biwhitened)):
        expected[f"largest_pvalue{suffix}"] = part.bulk.largest_pvalue(part.nu[-1])
        for side in SIDES:
            p = np.sort(getattr(part, side).calibrated_pvalue)
            expected[f"{side}_pvalue{suffix}"] = np.min(p * len(p) / np.arange(1, len(p) + 1))  # Simes
    assert row.keys() == expected.keys()
    for column, value in expected.items():
        assert row[column] == pytest.approx(value), column
    assert row["outliers_total"] != row["outliers_biwhitened"]


def test_the_row_of_a_low_rank_says_what_it_can(product, learned):
    row = product.row()
    assert row.keys() == learned.row().keys()
    said = {"layer", "shape", "levels", "rank", "largest", "stable_rank", "input_rejected", "output_rejected", "summary"}
    said |= {"input_pvalue", "output_pvalue"}
    assert {column for column, value in row.items() if value is not None} == said
    assert (row["levels"], row["rank"], product.a) == (50, 8, 2)


def test_every_line_of_the_repr(learned):
    s, noise, total = learned, learned.biwhitened, learned.total
    ratio, test = s.row()["number_variance_ratio"], s.spacing

    def bulk(fit):
        outside = f"{fit.n_outliers} outliers above, {fit.n_outliers_below} below"
        return f"{100 * fit.bulk_fraction:.1f}% of the levels, edge {fit.nu_plus:.4g}, {outside}"

    def vectors(part):
        return [
            (side, f"{np.sum(getattr(part, side).qvalue < 0.05)} of 120 not random (false discovery rate 5 %)") for side in SIDES
        ]

    def without(words, part):
        spreads = part.biwhitened.row_spread, part.biwhitened.column_spread
        rows, columns = (f"{100 * spread:.0f}%" for spread in spreads)
        return [
            f"  without {words} (spread {rows} of rows, {columns} of columns)",
            f"    bulk           {bulk(part.bulk)}",
            *(f"    {side + ' vectors':<17}{text}" for side, text in vectors(part)),
        ]

    assert repr(s).splitlines() == [
        "LayerAnalysis learned (162 x 120, 120 levels)",
        f"  spacings         calibrated p {test.calibrated_pvalue:.3f} (scipy {test.pvalue:.3f}), mean ratio {s.ratio:.3f}",
        f"  number variance  {ratio:.2f} of the filtered GOE law up to L = {s.number_variance.L[-1]:g}",
        f"  bulk             {bulk(s.bulk)}",
        *(f"  {side + ' vectors':<17}{text}" for side, text in vectors(s)),
        *without("sizes of noise", noise),
        *without("total sizes", total),
        "  missing: rows of zeros: 2 left out: they have no size and no part in a vector",
        f"  {s.summary}",
    ]
    equal = repr(replace(s, total=s.biwhitened))
    assert "without sizes of noise" in equal
    assert "total sizes" not in equal


def test_the_repr_of_a_low_rank_names_its_rank(product):
    first, *_, last = repr(product).splitlines()
    assert first == "LayerAnalysis product (60 x 50, 50 levels, rank 8)"
    assert last == f"  {product.summary}"
    assert "spacings  " not in repr(product)


def test_panels_that_are_left_out_say_so(product):
    figure = product.plot()
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes[1:3]] == [
        ["spacings left out"],
        ["number variance left out"],
    ]
    assert not any(ax.axison for ax in figure.axes[1:3])
    plt.close(figure)


def test_a_figure_of_the_callers_is_drawn_into(learned):
    figure = plt.figure()
    assert learned.plot(figure) is figure
    assert len(figure.axes) == 4
    own = learned.plot()
    assert own is not figure
    assert own.get_size_inches().tolist() == [15, 3.4]
    assert own.get_suptitle() == learned.summary
    plt.close("all")


# What is left out


def test_empty_rows_and_columns_are_counted_by_side():
    W = rmtlib.ensembles.gaussian((60, 50), 0)
    padded = np.insert(np.insert(W, 4, 0, axis=1), [3, 5], 0, axis=0)
    found = rmtlib.analyse(padded, biwhiten=False)
    assert found.missing["columns of zeros"] == "1 left out: it has no size and no part in a vector"
    assert found.missing["rows of zeros"] == "2 left out: they have no size and no part in a vector"
    np.testing.assert_allclose(found.nu, rmtlib.spectrum(W).nu)
    assert found.output.pvalue.shape == (50,)


def test_nine_tenths_of_the_levels_are_enough():
    found = rmtlib.analyse(projected((120, 100), 1, 10), biwhiten=False)
    assert found.missing == {"zero levels": "10 levels that are zero are left out, with their vectors"}
    assert found.rank == 90
    assert found.bulk == rmtlib.fit_marchenko_pastur(found.nu, (120, 90))
    fewer = rmtlib.analyse(projected((120, 100), 1, 11), biwhiten=False)
    assert fewer.bulk is fewer.goodness is None
    assert list(fewer.missing) == ["bulk, outliers, spacings, number variance, sizes, alpha"]


def test_fewer_than_16_levels_that_are_not_zero_are_no_full_spectrum():
    found = rmtlib.analyse(projected((40, 16), 2, 1))
    assert found.rank == 15
    assert found.bulk is None
    assert found.missing["bulk, outliers, spacings, number variance, sizes, alpha"].endswith("the matrix has rank 15 of 16")


@pytest.mark.parametrize(("rank", "means"), [(9, 1), (8, 2), (3, 1)])
def test_the_moving_mean_of_few_vectors_has_an_odd_window(rank, means):
    rng = np.random.default_rng(5)
    found = rmtlib.analyse(rng.standard_normal((40, rank)) @ rng.standard_normal((rank, 30)))
    assert len(found.input.moving_mean) == len(found.output.moving_mean) == means


def test_the_window_of_the_vectors_is_that_of_the_book():
    found = rmtlib.analyse(rmtlib.ensembles.gaussian((40, 30), 0), biwhiten=False)
    assert len(found.input.moving_mean) == 30 - 14


def test_few_levels_that_do_not_bend_have_the_bulk_of_their_noise(monkeypatch):
    def straight(*args, **options):
        msg = "nu has no upper edge"
        raise ValueError(msg)

    monkeypatch.setattr(layer_levels, "fit_marchenko_pastur", straight)
    found = rmtlib.analyse(rmtlib.ensembles.spiked((44, 60), 0, strengths=[6.0], sigma=1.0).matrix, biwhiten=False)
    noise = marchenko_pastur.fit_noise(found.nu, (44, 60), np.arange(4, 26))
    bulk = found.bulk
    assert (bulk.sigma, bulk.outlier_edge, bulk.n_outliers) == (noise.sigma, noise.outlier_edge, noise.n_outliers)
    assert bulk.n_outliers == 1
    assert bulk.bulk_fraction == 43 / 44
    assert bulk.share_below_edge == np.mean(found.nu <= bulk.nu_plus) < 1
    assert bulk.cdf(bulk.nu_plus) == pytest.approx(np.pi * bulk.amplitude * (bulk.nu_plus - bulk.nu_minus) ** 2 / 4)
    assert bulk.shape == (44, 60)
    assert (bulk.method, bulk.reflect) == ("noise", False)
    told = "44 levels do not bend down enough to fit them: those of noise are given"
    assert found.missing["edges of the bulk"] == told
    more = rmtlib.analyse(rmtlib.ensembles.gaussian((45, 60), 0), biwhiten=False)
    assert more.bulk is None
    assert more.missing["bulk, outliers"] == "nu has no upper edge"
    assert "edges of the bulk" not in more.missing


def test_levels_that_cannot_be_unfolded_are_named(monkeypatch):
    def torn(*args, **options):
        msg = "these levels cannot"
        raise ValueError(msg)

    monkeypatch.setattr(analysis, "unfold", torn)
    found = rmtlib.analyse(rmtlib.ensembles.gaussian((90, 80), 0), biwhiten=False)
    assert found.missing == {"spacings, number variance": "these levels cannot"}
    assert found.xi is found.spacing is found.ratio is found.number_variance is found.spacing_qvalue is None
    assert found.bulk is not None


def test_exponents_end_where_their_noise_does(monkeypatch):
    monkeypatch.setattr(layer_levels, "ALPHA_LEVELS", (64, 80))
    least, inside, beyond = (rmtlib.analyse(rmtlib.ensembles.gaussian((90, m), 0), biwhiten=False) for m in (64, 80, 81))
    assert least.alpha is not None
    assert inside.alpha is not None
    assert inside.alpha_biwhitened is None
    assert beyond.alpha is beyond.alpha_noise is beyond.row()["alpha_noise_sd"] is None
    assert beyond.missing == {"alpha": "there is a null from 64 to 80 levels; this layer has 81"}


def test_a_bulk_that_holds_next_to_nothing_is_none_to_lie_outside_of():
    rng = np.random.default_rng(0)
    found = rmtlib.analyse(rng.standard_normal((300, 300)) @ rng.standard_normal((300, 300)), biwhiten=False)
    assert found.bulk.bulk_fraction < 0.1
    share = f"{100 * found.bulk.bulk_fraction:.0f}%"
    assert found.missing["outliers"] == f"the bulk holds {share} of the levels, which is none to lie outside of"
    assert found.goodness is found.row()["outliers"] is None


def test_half_of_the_entries_zero_is_sparse():
    rng = np.random.default_rng(1)
    W = rng.standard_normal((60, 50))
    W.ravel()[rng.permutation(3000)[:1500]] = 0
    assert departures.zero_share(W) == 0.5
    found = rmtlib.analyse(W, biwhiten=False)
    assert found.sparse is not None
    assert "outliers" not in found.missing
    W.ravel()[np.flatnonzero(W.ravel() == 0)[0]] = 1
    assert rmtlib.analyse(W, biwhiten=False).sparse is None


def test_sizes_that_did_not_settle_are_told_by_their_totals():
    rng = np.random.default_rng(0)
    half = rng.standard_normal((120, 60)) @ rng.standard_normal((60, 120)) / 16 + 0.01 * rng.standard_normal((120, 120))
    half *= np.geomspace(1, 9, 120)[:, None]
    found = rmtlib.analyse(half)
    assert not found.biwhitened.biwhitened.settled
    rounds = found.biwhitened.biwhitened.iterations
    why = "noise and signal could not be told apart" if found.biwhitened.bulk else "no bulk could be fitted to what they leave"
    told = f"they did not settle in {rounds} rounds: {why}; look at total sizes beside them"
    assert found.missing["noise sizes"] == told
    total = f"the sizes of rows spread by {100 * found.total.biwhitened.row_spread:.0f}%"
    assert total in found.departures


def test_a_layer_alone_is_judged_by_its_own_spacings():
    found = rmtlib.analyse(rmtlib.ensembles.gaussian((90, 80), 0), biwhiten=False)
    assert found.spacing_qvalue == found.spacing.calibrated_pvalue
    assert found.number_variance.standard_errors is not None
    assert found.ratio == pytest.approx(rmtlib.spacing_ratios(found.nu).mean())


def test_a_given_name_goes_before_that_of_the_layer():
    W = rmtlib.ensembles.gaussian((40, 30), 3)
    layer = Layer("fc", W, W.shape, "dense")
    assert rmtlib.analyse(layer, name="mine", biwhiten=False).name == "mine"
    assert rmtlib.analyse(layer, biwhiten=False).summary.startswith("fc: ")


def test_biwhitened_vectors_and_goodness_are_those_of_its_own_levels(learned):
    for part in (learned.biwhitened, learned.total):
        outliers = part.bulk.n_outliers_below, part.bulk.n_outliers
        assert part.goodness.pvalue == rmtlib.goodness.bulk_test(part.nu, (160, 120), outliers=outliers).pvalue
        assert {side: len(found) for side, found in part.informative.items()} == {
            side: np.sum(getattr(part, side).qvalue < 0.05) for side in SIDES
        }
    assert re.search(r"the sizes of columns spread by \d\d%", learned.summary)


def test_a_direction_far_above_its_noise_breaks_no_float32():
    W = rmtlib.ensembles.spiked((60, 50), 6, strengths=[1e5], sigma=1.0).matrix
    with np.errstate(all="raise", under="ignore"):
        found = rmtlib.analyse(W.astype(np.float32))
    assert found.biwhitened.bulk.n_outliers == 1
    assert found.rank == 50
