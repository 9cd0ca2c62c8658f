"""Each criterion of paper.toml on numbers whose verdict is known without it."""

import doctest
import tomllib
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from studies import verdicts
from studies.verdicts import Interval

PAPER = tomllib.loads((Path(__file__).parents[1] / "paper.toml").read_text())


def around(mean, half):
    return Interval(mean, mean - half, mean + half, 5)


def test_an_interval_is_that_of_a_one_sided_test_on_both_sides():
    values = np.random.default_rng(0).normal(2, 1, 7)
    found = verdicts.interval(values)
    assert scipy.stats.ttest_1samp(values, found.low, alternative="greater").pvalue == pytest.approx(0.05)
    assert scipy.stats.ttest_1samp(values, found.high, alternative="less").pvalue == pytest.approx(0.05)
    assert not found.borrowed


def test_one_more_network_lies_in_its_interval_in_nine_cases_of_ten():
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(4000):
        *known, new = rng.normal(50, 0.3, 6)
        found = verdicts.interval(known, of_one=True)
        inside.append(found.low < new < found.high)
    assert np.mean(inside) == pytest.approx(0.90, abs=0.02)


def test_fewer_than_three_networks_borrow_a_scatter():
    others = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = verdicts.interval([10.0, 12.0], others=others)
    half = scipy.stats.t.ppf(0.95, 4) * np.sqrt(2.5) / np.sqrt(2)
    assert (found.low, found.high) == pytest.approx((11 - half, 11 + half))
    assert found.borrowed
    assert "scatter of the stated recipe" in found.words()
    assert not verdicts.interval([1.0, 2.0, 4.0], others=others).borrowed
    with pytest.raises(ValueError, match="values must be of at least 3 networks, or others must be; got 2 and 0"):
        verdicts.interval([1.0, 2.0])


@pytest.mark.parametrize("counts", [[0, 0, 0], [2, 2, 2, 2], [0, 1, 0, 0, 3]])
def test_a_mean_count_has_at_least_the_error_of_counting(counts):
    """At its ends a sum as small, or as large, as the one found has a probability of 5 % by Poisson's law, unless t is wider."""
    found, student, n, total = verdicts.counted(counts), verdicts.interval(counts), len(counts), sum(counts)
    assert scipy.stats.poisson.cdf(total, n * found.high) <= 0.05 + 1e-9
    assert found.low == 0 or scipy.stats.poisson.sf(total - 1, n * found.low) <= 0.05 + 1e-9
    if len(set(counts)) == 1:
        assert scipy.stats.poisson.cdf(total, n * found.high) == pytest.approx(0.05)
        assert total == 0 or scipy.stats.poisson.sf(total - 1, n * found.low) == pytest.approx(0.05)
    assert found.low <= max(0, student.low) <= found.mean <= student.high <= found.high
    assert verdicts.counted([0, 90, 0]).high == verdicts.interval([0, 90, 0]).high


def test_a_known_scatter_gives_a_normal_interval():
    found = verdicts.known_interval([1.0, 3.0], 2.0)
    assert (found.low, found.mean, found.high) == pytest.approx((2 - 1.6449 * np.sqrt(2), 2, 2 + 1.6449 * np.sqrt(2)), abs=1e-3)


@pytest.mark.parametrize(
    ("mean", "half", "word"),
    [
        (1.0, 0.05, "reproduced"),
        (1.0, 0.2, "inconclusive"),
        (1.2, 0.05, "not reproduced"),
        (0.8, 0.05, "not reproduced"),
        (1.08, 0.05, "inconclusive"),
    ],
)
def test_an_interval_inside_outside_and_across_a_margin(mean, half, word):
    assert verdicts.equivalent(around(mean, half), 1.0, 0.1) == word


@pytest.mark.parametrize(("mean", "word"), [(0.5, "reproduced"), (-0.5, "not reproduced"), (0.1, "inconclusive")])
def test_an_interval_above_and_below_a_bound(mean, word):
    assert verdicts.above(around(mean, 0.3)) == word


def test_what_refutes_may_be_another_bound():
    assert verdicts.above(around(0.1, 0.3), refuted=0.5) == "not reproduced"
    assert verdicts.above(around(0.3, 0.3), refuted=0.5) == "inconclusive"


def test_both_shares_have_to_be_small():
    assert verdicts.typical_ratio([around(0, 0.05), around(0.03, 0.05)], 0.1) == "reproduced"
    assert verdicts.typical_ratio([around(0, 0.05), around(0.2, 0.05)], 0.1) == "not reproduced"
    assert verdicts.typical_ratio([around(0, 0.05), around(0.07, 0.05)], 0.1) == "inconclusive"


def test_a_test_that_does_not_reject_is_worth_its_power():
    assert verdicts.bonferroni([0.2, 0.02, 0.9], 0.8) == "compatible"
    assert verdicts.bonferroni([0.2, 0.02, 0.9], 0.4) == "inconclusive"
    assert verdicts.bonferroni([0.2, 0.016, 0.9], 0.4) == "not reproduced"


def test_a_ratio_in_the_band_of_noise():
    noise = np.linspace(0.8, 1.2, 401)
    word, smallest = verdicts.within_band(1.1, noise)
    assert (word, smallest) == ("compatible", pytest.approx(0.19, abs=0.002))
    assert verdicts.within_band(1.1, 1 + 3 * (noise - 1))[0] == "inconclusive"
    assert verdicts.within_band(1.3, noise)[0] == "not reproduced"


def test_an_end_by_the_numbers_of_the_criterion():
    assert doctest.testmod(verdicts).failed == 0
    assert verdicts.end(0.399, 75) == "dip"  # z = -3.03, p = .0012 < .0042
    assert verdicts.end(0.401, 75) == "cannot tell"
    assert verdicts.end(0.454, 75) == "cannot tell"  # 0.40 + 1.645 / sqrt(900) = .4548
    assert verdicts.end(0.456, 75) == "no dip"
    assert verdicts.end(0.31, 15) == "cannot tell"  # z = -2.55, p = .0054


@pytest.mark.parametrize(
    ("large", "small", "word"),
    [
        ("dip", "no dip", "reproduced"),
        ("no dip", "no dip", "not reproduced"),
        ("dip", "dip", "not reproduced"),
        ("dip", "cannot tell", "inconclusive"),
        ("cannot tell", "no dip", "inconclusive"),
    ],
)
def test_a_dip_at_the_large_end_alone(large, small, word):
    assert verdicts.large_end_alone(large, small) == word


def test_an_unchanged_spectrum_needs_all_of_it():
    random = ["no dip", "cannot tell", "no dip", "no dip"]
    none = Interval(0, 0, 0, 5)
    assert verdicts.unchanged(random, around(1.01, 0.01), none, 0.05) == "reproduced"
    assert verdicts.unchanged([*random[1:], "dip"], around(1.01, 0.01), none, 0.05) == "not reproduced"
    assert verdicts.unchanged(random, around(1.08, 0.01), none, 0.05) == "not reproduced"
    assert verdicts.unchanged(random, around(1.05, 0.01), none, 0.05) == "inconclusive"
    assert verdicts.unchanged(random, around(1.01, 0.01), around(2, 0.5), 0.05) == "not reproduced"
    assert verdicts.unchanged(random, around(1.01, 0.01), around(1, 0.5), 0.05) == "inconclusive"


def test_what_sizes_explain():
    words = ("dip", "no dip", "cannot tell")
    assert [verdicts.explained("dip", word) for word in words] == ["direction", "size of neurons", "cannot tell"]
    assert [verdicts.explained(word, "dip") for word in words[1:]] == ["no dip", "cannot tell"]


def test_the_number_of_seeds_that_decides():
    values = np.array([-0.2, 0.0, 0.2])
    n = verdicts.seeds_to_decide(values, -0.1)
    halves = [scipy.stats.t.ppf(0.95, k - 1) * 0.2 / np.sqrt(k) for k in (n - 1, n)]
    assert halves[0] >= 0.1 > halves[1]
    assert verdicts.seeds_to_decide(values, 1e-6) is None


def test_the_worst_word_counts():
    assert verdicts.worst(["reproduced", "compatible"]) == "compatible"
    assert verdicts.worst(["inconclusive", "not reproduced", "reproduced"]) == "not reproduced"
    assert verdicts.worst(["compatible", "compatible"]) == "compatible"
    assert verdicts.worst([]) == "inconclusive"


def test_margins_and_levels_are_those_of_the_paper_file():
    assert verdicts.margin("C2") == PAPER["C2"]["margin"]
    assert verdicts.level("C1-none") == PAPER["C1-none"]["level"]
