"""Noise through the criteria: the table of fresh networks, power, false alarms."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import rmtlib
from rmtlib.claims import Outcome
from studies import alarms, noise, randomness
from studies.measured import layer_numbers, table

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def drawn():
    return noise.draw(3, first=7, side=160, inputs=200, a=7)


def test_a_row_is_the_initial_network_of_its_seed(drawn):
    W = rmtlib.ensembles.glorot_uniform((160, 160), [8, 2])
    s = rmtlib.analyse(W, a=7)
    row = drawn.loc[8]
    assert row["sigma"] == s.bulk.sigma
    assert row["output_large"] == pytest.approx(s.output.calibrated_pvalue[-15:].mean())
    assert row["input_small_31"] == pytest.approx(s.input.calibrated_pvalue[:31].mean())
    assert row["output_small_biwhitened"] == pytest.approx(s.biwhitened.output.calibrated_pvalue[:15].mean())
    first = rmtlib.spectrum(rmtlib.ensembles.glorot_uniform((160, 200), [8, 1]), vectors=False).nu
    assert row["spacing_p1"] == rmtlib.spacing_test(rmtlib.unfold(first, a=7), a=7).calibrated_pvalue


def test_uneven_rows_stray_further_from_the_law(drawn):
    stored = noise.read()
    assert (stored["deviation_uneven"] > stored["deviation"]).mean() > 0.9
    assert stored["bulk_p_uneven"].median() < 0.1
    assert (drawn["deviation"] != drawn["deviation_uneven"]).all()


def test_the_stored_table_is_that_of_the_book_and_noise_on_average():
    stored = noise.read()
    assert len(stored) >= 200
    assert stored.index.min() >= 1000
    seed = stored.index[0]
    W = rmtlib.ensembles.glorot_uniform((512, 512), [seed, 2])
    again = layer_numbers(rmtlib.analyse(W))
    np.testing.assert_allclose(stored.loc[seed, list(again)].astype(float), list(again.values()), rtol=2e-3, atol=2e-3)
    for p in ("spacing_p", "spacing_p1", "spacing_p3", "bulk_p"):
        assert scipy.stats.kstest(stored[p], "uniform").pvalue > 1e-4, p
    assert stored["ratio"].mean() == pytest.approx(0.5307, abs=0.002)


def test_independent_levels_fill_the_share_and_keep_the_law():
    rng = np.random.default_rng(0)
    nu = np.concatenate([noise.with_independent_levels(300, 0.3, rng) for _ in range(30)])
    assert scipy.stats.kstest(nu, rmtlib.laws.marchenko_pastur(1.0, np.sqrt(300)).cdf).statistic < 0.01
    ratios = [rmtlib.spacing_ratios(noise.with_independent_levels(300, share, rng)).mean() for share in (0.0, 0.98)]
    assert ratios[0] == pytest.approx(0.53, abs=0.04)
    assert ratios[1] == pytest.approx(0.386, abs=0.04)


def test_power_is_the_share_that_is_rejected():
    rows = [(m, 0.1, tests, value / tests) for m, value in ((90, 0.2), (512, 0.8)) for tests in (1, 2)]
    table = pd.DataFrame(rows, columns=["levels", "share", "tests", "power"])
    assert noise.power(512, 0.1, 1, table) == 0.8
    assert noise.power(301, 0.1, 2, table) == pytest.approx(0.25)
    assert noise.power(3000, 0.1, 2, table) == 0.4
    with pytest.raises(ValueError, match=r"share must be one of 0\.1; got 0\.3"):
        noise.power(512, 0.3, 1, table)


def test_power_is_not_told_of_what_its_table_has_not():
    with pytest.raises(ValueError, match="levels must be 77 or more, as in the table; got 76"):
        noise.power(76, 0.1, 1)
    for tests in (0, 31):
        with pytest.raises(ValueError, match=f"tests must be 1 to 30, as in the table; got {tests}"):
            noise.power(512, 0.1, tests)


def test_the_table_of_power_begins_with_the_fewest_levels_that_are_tested():
    with pytest.raises(ValueError, match="at least 17"):
        rmtlib.spacing_test(rmtlib.unfold(noise.with_independent_levels(76, 0.0, 0), a=15), a=15)
    rejected = [
        rmtlib.spacing_test(rmtlib.unfold(noise.with_independent_levels(77, 0.2, [3, i]), a=15), a=15).calibrated_pvalue < 0.05
        for i in range(400)
    ]
    assert noise.power(77, 0.2, 1) == pytest.approx(np.mean(rejected), abs=0.06)


def test_noise_falls_below_a_calibrated_bound_as_often_as_it_says():
    one, six = (noise.any_below(levels, 0.2, draws=200, rng=4) for levels in ([150], [150] * 6))
    assert 0.12 < one < 0.29
    assert six == pytest.approx(1 - (1 - one) ** 6)
    both = noise.any_below([150, 120], 0.2, draws=200, rng=5)
    assert 1 - 0.88**2 < both < 1 - 0.71**2


def test_scipys_p_is_below_less_often():
    assert noise.any_below([200], 0.3, calibrated=False, draws=100, rng=6) < noise.any_below([200], 0.3, draws=100, rng=6)
    with pytest.raises(ValueError, match="levels must have a number for each layer"):
        noise.any_below([], 0.05)


def test_a_small_table_of_power_is_that_of_the_tests():
    table = noise.draw_power(8, levels=(90,), shares=(0.0, 0.9), a=7).set_index(["share", "tests"])["power"]
    assert table[0.9, 1] > 0.5 > table[0.0, 1]
    assert (table[0.9].diff().dropna() <= 0).all()


def test_no_criterion_calls_noise_a_finding_more_often_than_it_states():
    rates = alarms.alarms(noise.read(), draws=200)
    error = 100 * np.sqrt(rates["level, %"].astype(float) / 100 / 200)
    assert (rates["false alarms, %"] <= rates["level, %"] + 3 * error).all(), rates
    assert (rates["seen, %"] > 0).all()


def test_two_leads_are_least_favourable_where_one_is_large():
    """Both tests reject together in 5 % of the cases if the other lead is large, in far fewer if both are none."""
    rng, sets, ahead = np.random.default_rng(1), 4000, {}
    for large in (0.0, 10.0):
        typical, rich, lazy = rng.normal(0, 0.3, (3, sets, 5))
        p = [
            scipy.stats.ttest_1samp(lead, 0, axis=1, alternative="greater").pvalue
            for lead in (typical - rich, typical + large - lazy)
        ]
        ahead[large] = 100 * np.mean((p[0] < 0.05) & (p[1] < 0.05))
    assert ahead[0.0] < 2 < 4 < ahead[10.0] < 6
    found = alarms.alarms(noise.read(), draws=600).loc["C8"]
    assert found["false alarms, %"] == pytest.approx(ahead[10.0], abs=2.5)
    assert found["seen, %"] > 90


# Sentences that say random


def test_initial_matrices_follow_their_law_and_others_do_not(drawn):
    levels = {
        seed: rmtlib.spectrum(rmtlib.ensembles.glorot_uniform((160, 160), [seed, 2]), vectors=False).nu for seed in (20, 21)
    }
    many = pd.DataFrame({"deviation": np.full(1000, 4.5)}).assign(deviation_uneven=9.0, largest_p_uneven=0.5)
    assert randomness.initial_spectrum(levels, (160, 160), many).verdict == "compatible"
    wide = {seed: 1.1 * nu for seed, nu in levels.items()}
    assert randomness.initial_spectrum(wide, (160, 160), many).verdict == "not reproduced"


def test_too_few_draws_of_noise_cannot_say_that_a_deviation_is_one_of_noise():
    """Of 30 draws the smallest p is 1/31, and four tests ask for 1/80: what deviates more than all of them is not rejected."""
    levels = {
        seed: rmtlib.spectrum(rmtlib.ensembles.glorot_uniform((160, 160), [seed, 2]), vectors=False).nu for seed in (20, 21)
    }
    draws = pd.DataFrame({"deviation": np.full(100, 0.0)}).assign(deviation_uneven=9.0, largest_p_uneven=0.5)
    assert randomness.initial_spectrum(levels, (160, 160), draws).verdict == "not reproduced"
    few = randomness.initial_spectrum(levels, (160, 160), draws[:30])
    assert few.verdict == "inconclusive"
    assert "a deviation has p of at least 0.0323, as there are 30 draws of noise" in few.numbers["says"]


def test_the_deviation_is_that_of_the_counting_function():
    nu = np.sort(np.abs(np.random.default_rng(0).normal(size=100)))
    law = rmtlib.laws.marchenko_pastur(1.0, 10 * 0.05)
    counts = np.abs([np.sum(nu <= x) - 0.5 - 100 * law.cdf(x) for x in nu])
    found = noise.bulk_against_law(nu, (100, 100), 0.05)
    assert found["deviation"] == pytest.approx(counts.max() * np.pi / np.sqrt(np.log(100) - 1))


def test_the_largest_level_is_that_of_tracy_and_widom():
    p = []
    for seed in range(150):
        W = np.random.default_rng(seed).standard_normal((120, 120))
        p.append(noise.bulk_against_law(np.linalg.svd(W, compute_uv=False)[::-1], W.shape, 1.0)["largest_p"])
    assert scipy.stats.kstest(p, "uniform").pvalue > 1e-3


def test_spacings_are_as_far_as_their_ratio_says():
    of_noise = pd.DataFrame({"ratio": np.random.default_rng(0).normal(0.53, 0.01, 1000)})
    rng = np.random.default_rng(1)
    goe = {seed: noise.with_independent_levels(400, 0.0, rng) for seed in range(5)}
    mixed = {seed: noise.with_independent_levels(400, 0.6, rng) for seed in range(5)}
    assert randomness.spacings_like(goe, mixed, of_noise).verdict == "not reproduced"
    assert randomness.spacings_like(goe, goe, of_noise).verdict in ("reproduced", "inconclusive")


def test_layers_of_one_network_decide_three_sentences():
    names = [(when, f"dense{i}") for when in ("initial", "trained") for i in (1, 2, 3)]
    rows = {"levels": 512, "p, scipy": [0.2, 0.9, 0.9, 0.7, 0.8, 0.9], "p, calibrated": [0.1, 0.5, 0.5, 0.6, 0.7, 0.8]}
    spacings = pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(names))
    found = randomness.one_network(spacings)
    assert {id: outcome.verdict for id, outcome in found.items()} == {
        "N4": "reproduced",
        "C1_none": "compatible",
        "T2_mlp512": "compatible",
    }
    assert found["N4"].value == 0.7
    spacings.loc[("trained", "dense3"), "p, calibrated"] = 0.001
    assert {outcome.verdict for outcome in randomness.one_network(spacings).values()} == {"not reproduced"}
    spacings.loc[("trained", "dense3"), ["p, calibrated", "p, scipy"]] = 0.03
    assert randomness.one_network(spacings)["N4"].verdict == "inconclusive"


def test_outliers_of_the_same_profile_are_those_of_noise_with_unequal_neurons():
    W = rmtlib.ensembles.gaussian((160, 160), 3) * np.linspace(0.4, 2.5, 160)[:, None]
    row = table({("rich", 0): rmtlib.analyse(W, a=7)}).loc[("rich", 0)]
    assert row["outliers_profile"] > 5
    assert row["outliers_biwhitened"] == 0


def test_an_evidence_that_is_a_sentence_needs_no_text(monkeypatch, tmp_path):
    assert Outcome("compatible", says="all is well").numbers == {"says": "all is well"}
