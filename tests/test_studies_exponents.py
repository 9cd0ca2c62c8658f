"""Exponents of layers against accuracies."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import rmtlib
from rmtlib.runs import find_runs
from rmtlib.tails import noise_exponent
from studies import exponents


def networks(slope, *, between=0.0, count=8, rng=0):
    """Networks of three laziness values whose accuracy follows their exponent within each, and the laziness across them."""
    rng, rows = np.random.default_rng(rng), []
    for laziness in (0.5, 1.0, 5.0):
        for _ in range(count):
            alpha = rng.normal() + between * laziness
            rows.append((laziness, 50 + slope * alpha - between * laziness + 0.1 * rng.normal(), alpha, alpha / 2))
    return pd.DataFrame(rows, columns=["laziness", "test accuracy, %", "exponent", "above noise"])


def test_correlations_are_those_of_ranks():
    table = networks(-0.1)
    found = exponents.correlations(table, draws=50)
    rank = [scipy.stats.spearmanr(own["exponent"], own["test accuracy, %"])[0] for _, own in table.groupby("laziness")]
    assert found.loc[("exponent", "within"), "correlation"] == pytest.approx(np.mean(rank))
    assert found.loc[("exponent", "across"), "correlation"] == pytest.approx(
        scipy.stats.spearmanr(table["exponent"], table["test accuracy, %"])[0]
    )


def test_laziness_with_few_networks_counts_across_alone():
    table = pd.concat([networks(0, count=8), networks(0, count=3, rng=1).assign(laziness=9.0).head(3)])
    alone = exponents.correlations(networks(0, count=8), draws=20)
    found = exponents.correlations(table, draws=20)
    assert found.loc[("exponent", "within"), "correlation"] == alone.loc[("exponent", "within"), "correlation"]


def test_holm_doubles_the_smaller_p():
    found = exponents.correlations(networks(-5), draws=200)
    assert found.loc[("exponent", "within"), "p"] == pytest.approx(2 / 201)


def test_an_exponent_that_tells_within_and_one_that_tells_across_alone():
    assert exponents.outcome(exponents.correlations(networks(-5), draws=200)).verdict == "reproduced"
    across = exponents.correlations(networks(0, between=5, rng=1), draws=200)
    assert across.loc[("exponent", "across"), "p"] < 0.02
    assert exponents.outcome(across).verdict == "not reproduced"
    assert exponents.outcome(across, way="across").verdict == "reproduced"
    assert exponents.outcome(exponents.correlations(networks(0, count=4), draws=200)).verdict in (
        "inconclusive",
        "not reproduced",
    )


def test_permutations_call_few_unrelated_exponents_telling():
    told = [
        exponents.outcome(exponents.correlations(networks(0, rng=k), draws=99, rng=k)).verdict == "reproduced" for k in range(120)
    ]
    assert np.mean(told) <= 0.05 + 3 * np.sqrt(0.05 / 120)


def test_the_table_is_that_of_the_layers():
    (run, *_) = find_runs(network="mlp512", laziness=5)
    row = exponents.of_runs([run]).loc[run.name]
    s = rmtlib.analyse(rmtlib.load_weights(run)["dense2"], biwhiten=False)
    assert row["exponent"] == pytest.approx(s.alpha)
    null = noise_exponent((512, 512))
    assert row["above noise"] == pytest.approx((s.alpha - null.mean) / null.standard_deviation)
