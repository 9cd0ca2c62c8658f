"""Matrices through the tests of the book, as tables."""

import numpy as np
import pandas as pd
import pytest

import rmtlib
from rmtlib import laws, null_laws, tails
from studies import layers

GAUSSIAN = rmtlib.ensembles.gaussian((300, 200), 5)


def weights(**arrays):
    return rmtlib.load_weights(arrays, min_levels=2)


@pytest.mark.parametrize("a", [7, 15])
def test_level_statistics_are_those_of_the_steps_one_by_one(a):
    s = layers.level_statistics(GAUSSIAN, a=a, L=np.array([1.0, 5.0]))
    nu = np.linalg.svd(GAUSSIAN, compute_uv=False)[::-1]
    np.testing.assert_allclose(s.nu, nu, rtol=1e-5)
    xi = rmtlib.unfold(s.nu, a=a)
    np.testing.assert_array_equal(s.xi, xi)
    assert s.spacing.calibrated_pvalue == rmtlib.spacing_test(xi, a=a).calibrated_pvalue
    variances = [rmtlib.number_variance(xi, length) for length in (1.0, 5.0)]
    np.testing.assert_allclose(s.number_variance, variances)
    law = [laws.number_variance_unfolded(length, a) for length in (1.0, 5.0)]
    assert s.ratio == pytest.approx((variances[0] / law[0] + variances[1] / law[1]) / 2)


def test_a_table_of_levels_has_a_row_for_each():
    statistics = {("net", "noise"): layers.level_statistics(GAUSSIAN), ("net", "cut"): layers.level_statistics(GAUSSIAN[:, :150])}
    table = layers.levels_table(statistics)
    assert table.loc[("net", "noise"), "levels tested"] == 200 - 4 * 15
    assert table.loc[("net", "cut"), "levels tested"] == 150 - 4 * 15
    assert table.loc[("net", "cut"), "p, scipy"] == statistics["net", "cut"].spacing.pvalue


def test_the_fewest_levels_are_just_enough():
    for a in (7, 15):
        m = layers.fewest_levels(a)
        nu = null_laws.noise_singular_values((m, m), np.random.default_rng(0))
        assert rmtlib.spacing_test(rmtlib.unfold(nu, a=a), a=a).calibrated_pvalue > 0
        with pytest.raises(ValueError, match="at least"):
            rmtlib.spacing_test(rmtlib.unfold(nu[1:], a=a), a=a)


def test_a_table_of_layers_says_what_their_analyses_say():
    planted = rmtlib.ensembles.spiked((200, 150), 0, strengths=[2, 3, 4]).matrix
    analyses = {"noise": rmtlib.analyse(GAUSSIAN), "planted": rmtlib.analyse(planted)}
    table = layers.layers_table(analyses, "input")
    assert table["levels"].tolist() == [200, 150]
    assert table.loc["planted", "beyond the edge"] == 3
    for key, s in analyses.items():
        assert table.loc[key, "large end"] == pytest.approx(s.input.calibrated_pvalue[-15:].mean())
        assert table.loc[key, "small end"] == pytest.approx(s.input.calibrated_pvalue[:15].mean())


def test_a_layer_that_cannot_be_tested_says_why():
    table = layers.spacings_table(weights(wide=GAUSSIAN, narrow=GAUSSIAN[:, :70]))
    assert table.loc["wide", "levels"] == 200
    assert table.loc["wide", "mean ratio"] == pytest.approx(rmtlib.spacing_ratios(rmtlib.spectrum(GAUSSIAN).nu).mean())
    assert pd.isna(table.loc["wide", "left out because"])
    assert "at least" in table.loc["narrow", "left out because"]
    assert pd.isna(table.loc["narrow", "p, scipy"])


def test_tails_are_those_of_the_squares_of_the_levels():
    table = layers.tails_table({"noise": GAUSSIAN}, draws=20, rng=3, largest=(10, 40))
    values = rmtlib.spectrum(GAUSSIAN, vectors=False).nu ** 2
    test = tails.power_law_test(values, rng=3, draws=20, progress=False)
    assert table.loc["noise", ["exponent", "levels", "p"]].tolist() == [test.fit.exponent, test.fit.n_tail, test.pvalue]
    largest = np.sort(values)[::-1]
    assert table.loc["noise", "Hill, 10 levels"] == pytest.approx(1 + 1 / np.mean(np.log(largest[:10] / largest[10])))
    assert "Hill, 40 levels" in table


def test_the_size_of_an_update_is_relative_to_the_initial_weights():
    initial = weights(first=GAUSSIAN, second=GAUSSIAN[:100])
    trained = weights(first=1.5 * GAUSSIAN, third=GAUSSIAN)
    assert layers.update_sizes(trained, initial) == pytest.approx({"first": 0.5})


def test_vectors_are_those_of_the_space():
    tall = rmtlib.spectrum(GAUSSIAN)
    for space, vectors in (("input", tall.input_vectors), ("output", tall.output_vectors)):
        p = rmtlib.porter_thomas(vectors).calibrated_pvalue
        np.testing.assert_array_equal(layers.vector_test(GAUSSIAN, space).calibrated_pvalue, p)
