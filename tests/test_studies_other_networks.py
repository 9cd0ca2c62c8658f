"""Panels of other networks, on small matrices."""

import numpy as np
import pytest

import rmtlib
from studies import other_networks


def test_noise_scatters_less_the_more_networks_there_are():
    one, four = (other_networks.noise_ratios((200, 150), n, draws=150, a=7) for n in (1, 4))
    assert four.std() == pytest.approx(one.std() / 2, rel=0.35)
    assert four.mean() == pytest.approx(one.mean(), abs=0.05)
    others = other_networks.noise_ratios((200, 150), 1, draws=150, a=7, rng=1)
    low, high = np.quantile(one, (0.025, 0.975))
    assert 0.88 < np.mean((low < others) & (others < high)) <= 1


def test_ends_are_means_over_networks():
    planted = [rmtlib.analyse(rmtlib.ensembles.gaussian((120, 120), seed), a=7) for seed in (0, 1)]
    found = other_networks.layer_ends(planted, "input")
    mean = np.mean([s.input.calibrated_pvalue[-15:].mean() for s in planted])
    assert found["large"][0] == pytest.approx(mean)
    without = np.mean([s.biwhitened.input.calibrated_pvalue[:15].mean() for s in planted])
    assert found["small_biwhitened"][0] == pytest.approx(without)
