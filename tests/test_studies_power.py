"""How often noise fails tests of several layers, and what a departure would do."""

import numpy as np
import pytest
from scipy import stats

import rmtlib
from rmtlib import laws
from studies import power


def test_without_independent_levels_there_is_noise():
    nu = power.partly_independent((400, 200), 0, np.random.default_rng(1))
    assert nu.tolist() == rmtlib.null_laws.noise_singular_values((400, 200), np.random.default_rng(1)).tolist()


def test_independent_levels_have_the_density_of_noise_and_do_not_repel():
    nu = power.partly_independent((3000, 1500), 1, 2)
    assert (np.diff(nu) >= 0).all()
    assert stats.kstest(nu, laws.marchenko_pastur(0.5, np.sqrt(3000)).cdf).pvalue > 0.01
    # Of independent levels the mean ratio is 2 ln 2 - 1.
    assert rmtlib.spacing_ratios(nu).mean() == pytest.approx(2 * np.log(2) - 1, abs=0.03)


def test_half_of_the_levels_stay():
    noise = rmtlib.null_laws.noise_singular_values((200, 100), np.random.default_rng(3))
    assert len(np.intersect1d(noise, power.partly_independent((200, 100), 0.5, np.random.default_rng(3)))) == 50


def test_noise_falls_below_a_calibrated_bound_as_often_as_it_says():
    one, six = (power.any_below(levels, 0.2, draws=200, rng=4) for levels in ([150], [150] * 6))
    assert 0.12 < one < 0.29
    assert six == pytest.approx(1 - (1 - one) ** 6)
    both = power.any_below([150, 120], 0.2, draws=200, rng=5)
    assert 1 - 0.88**2 < both < 1 - 0.71**2


def test_scipys_p_is_below_less_often():
    assert power.any_below([200], 0.3, calibrated=False, draws=100, rng=6) < power.any_below([200], 0.3, draws=100, rng=6)


def test_more_levels_see_more():
    small, large = (power.any_below([m], 0.05, independent=0.2, draws=60, rng=7) for m in (100, 600))
    assert small < 0.6 < large


def test_impossible_arguments_are_named():
    with pytest.raises(ValueError, match="share must be from 0 to 1; got 1.5"):
        power.partly_independent((20, 10), 1.5, 0)
    with pytest.raises(ValueError, match="levels must have a number for each layer"):
        power.any_below([], 0.05)


@pytest.mark.parametrize(
    ("smallest", "chance", "verdict"),
    [(0.026, 0.9, "compatible"), (0.024, 0.9, "not reproduced"), (0.026, 0.4, "inconclusive"), (0.024, 0.4, "not reproduced")],
)
def test_a_sentence_of_no_rejection_needs_power(smallest, chance, verdict):
    assert power.without_rejection([smallest, 0.9], chance) == verdict


@pytest.mark.parametrize(
    ("scipys", "calibrated", "verdict"),
    [
        ((0.31, 0.5), (0.1, 0.3), "reproduced"),
        ((0.29, 0.5), (0.1, 0.3), "inconclusive"),
        ((0.1, 0.5), (0.02, 0.3), "not reproduced"),
    ],
)
def test_the_paper_s_stricter_sentence(scipys, calibrated, verdict):
    assert power.surmise_verdict(scipys, calibrated) == verdict
