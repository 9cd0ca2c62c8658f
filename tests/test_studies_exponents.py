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
        for i in range(count):
            alpha = rng.normal() + between * laziness
            rows.append((laziness, f"recipe {i % 2}", 50 + slope * alpha - between * laziness + 0.1 * rng.normal(), alpha))
    return pd.DataFrame(rows, columns=["laziness", "recipe", "test accuracy, %", "exponent"])


def spearman(own):
    return scipy.stats.spearmanr(own["exponent"], own["test accuracy, %"])[0]


def test_correlations_are_those_of_ranks_weighted_by_networks():
    table = networks(-0.1).iloc[:-3]
    found = exponents.correlations(table, draws=50)
    rank = [spearman(own) for _, own in table.groupby("laziness")]
    assert found.loc["one laziness", "correlation"] == pytest.approx(np.average(rank, weights=[8, 8, 5]))
    alike = [own for _, own in table.groupby(["laziness", "recipe"]) if len(own) >= 4]
    assert found.loc["one laziness and recipe", "correlation"] == pytest.approx(np.mean([spearman(own) for own in alike]))
    assert found.loc["one laziness and recipe", ["networks", "groups"]].tolist() == [16, 4]
    assert found.loc["across", "correlation"] == pytest.approx(spearman(table))
    assert exponents.by_laziness(table).startswith(f"{rank[0]:+.2f} at α = 0.5 (8 networks), ")


def test_two_recipes_side_by_side_are_told_by_their_means():
    columns = ["laziness", "recipe", "test accuracy, %", "exponent"]
    rows = [(0.5, "a", 55.0, 3.0), (0.5, "a", 57.0, 3.2), (0.5, "b", 54.0, 2.4), (1.0, "a", 54.1, 5.2), (1.0, "b", 55.3, 2.7)]
    told = exponents.between_recipes(pd.DataFrame([*rows, (5.0, "a", 1.0, 1.0)], columns=columns), "b", stated="a")
    assert told == "rich 3.1 to 2.4 and 56.0 to 54.0 %, typical 5.2 to 2.7 and 54.1 to 55.3 %"


def test_laziness_with_few_networks_counts_across_alone():
    table = pd.concat([networks(0, count=8), networks(0, count=3, rng=1).assign(laziness=9.0).head(3)])
    alone = exponents.correlations(networks(0, count=8), draws=20)
    found = exponents.correlations(table, draws=20)
    assert found.loc["one laziness", "correlation"] == alone.loc["one laziness", "correlation"]


def test_an_exponent_that_tells_within_and_one_that_tells_across_alone():
    assert exponents.outcome(exponents.correlations(networks(-5), draws=200)).verdict == "reproduced"
    across = exponents.correlations(networks(0, between=5, rng=1), draws=200)
    assert across.loc["across", "p"] < 0.02
    assert exponents.outcome(across).verdict == "not reproduced"
    assert exponents.outcome(across, alike="across").verdict == "reproduced"


def test_an_exponent_that_is_larger_in_better_networks_does_not_tell_what_was_claimed():
    found = exponents.correlations(networks(5), draws=200)
    assert found.loc["one laziness", "p"] < 0.05
    assert exponents.outcome(found).verdict == "not reproduced"


def test_networks_that_are_too_few_cannot_tell():
    few = networks(0, count=4).query("laziness == 0.5")
    assert exponents.outcome(exponents.correlations(few, draws=200)).verdict == "inconclusive"


def test_permutations_call_few_unrelated_exponents_telling():
    told = [
        exponents.outcome(exponents.correlations(networks(0, rng=k), draws=99, rng=k)).verdict == "reproduced" for k in range(120)
    ]
    assert np.mean(told) <= 0.025 + 3 * np.sqrt(0.025 / 120)


def test_the_table_is_that_of_the_layers():
    (run, *_) = find_runs(network="mlp512", laziness=5)
    row = exponents.of_runs([run]).loc[run.name]
    s = rmtlib.analyse(rmtlib.load_weights(run)["dense2"], biwhiten=False)
    assert row["exponent"] == pytest.approx(s.alpha)
    null = noise_exponent((512, 512))
    assert row["above noise"] == pytest.approx((s.alpha - null.mean) / null.standard_deviation)
    assert row["recipe"] == "mlp512-cifar10"


def test_runs_of_one_recipe_differ_in_laziness_and_seed_alone():
    runs = find_runs(network="mlp512", learning_rate=0.004, epochs=60)
    assert set(exponents.of_runs(runs[:3])["recipe"]) == {"mlp512-cifar10-epochs60-rate0.004"}
