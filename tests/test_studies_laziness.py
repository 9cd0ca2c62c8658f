"""Accuracies and their linearisations over the laziness, judged on numbers whose verdict is known."""

import numpy as np
import pandas as pd
import pytest

from rmtlib.runs import find_runs
from studies import laziness, linearized
from studies.regimes import RECIPE

LAZINESS = (0.5, 0.7, 1.0, 2.5, 5.0)


def networks(*, seeds=5, gap=None, train_gap=None, accuracy=None):
    """Networks by laziness and seed; the gaps in points, by laziness, scatter by a tenth."""
    gap, train_gap = {0.5: 5.0} | (gap or {}), train_gap or {}
    accuracy = {0.5: 52.0, 0.7: 54.0, 1.0: 53.0, 2.5: 51.0, 5.0: 48.0} | (accuracy or {})
    rng, rows = np.random.default_rng(0), []
    for alpha in LAZINESS:
        for seed in range(seeds if isinstance(seeds, int) else seeds.get(alpha, 5)):
            test, train = accuracy[alpha] + rng.normal(0, 0.1), 99.0
            linear = test - gap.get(alpha, 0.5) - rng.normal(0, 0.1)
            linear_train = train - train_gap.get(alpha, 0.5) - rng.normal(0, 0.1)
            rows.append((alpha, seed, train / 100, test / 100, linear_train / 100, linear / 100))
    columns = ["laziness", "seed", "train_accuracy", "test_accuracy", "linearized_train_accuracy", "linearized_test_accuracy"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(gap=table["test_accuracy"] - table["linearized_test_accuracy"])


def words(table):
    return {id: outcome.verdict for id, outcome in laziness.outcomes(table).items()}


def test_small_gaps_and_a_large_one_of_the_rich_are_the_papers_figure():
    assert set(words(networks()).values()) == {"reproduced"}
    assert laziness.figure(laziness.outcomes(networks())).verdict == "reproduced"


@pytest.mark.parametrize(
    ("id", "changes", "word"),
    [
        ("C9", {"gap": {2.5: 3.0}}, "not reproduced"),
        ("C9", {"gap": {2.5: 2.0}}, "inconclusive"),
        ("C9_train", {"train_gap": {2.5: 4.0}}, "not reproduced"),
        ("E8", {"gap": {0.5: 1.0}}, "not reproduced"),
        ("C8_between", {"accuracy": {0.7: 51.0, 1.0: 51.5}}, "not reproduced"),
    ],
)
def test_each_of_them_can_fail(id, changes, word):
    found = words(networks(**changes))
    assert found.pop(id) == word
    assert set(found.values()) == {"reproduced"}


def test_the_lazy_networks_alone_decide_e7():
    assert words(networks(gap={5.0: 4.0}))["E7"] == "not reproduced"


def test_the_best_is_chosen_on_the_first_seed_and_judged_on_the_others():
    table = networks()
    first = (table["seed"] == 0) & (table["laziness"] == 2.5)
    table.loc[first, "test_accuracy"] = 0.60
    found = laziness.between(table)
    assert found.verdict == "not reproduced"
    assert "α = 2.5" in found.numbers["says"]
    few = laziness.between(networks(seeds={0.7: 2}))
    assert few.verdict == "not tested here"
    assert "of which 2 networks were trained" in few.numbers["says"]


def test_a_network_that_was_not_linearised_is_left_out_of_the_gaps():
    table = networks()
    lost = (table["laziness"] == 2.5) & (table["seed"] > 0)
    table.loc[lost, ["gap", "linearized_train_accuracy", "linearized_test_accuracy"]] = np.nan
    says = laziness.outcomes(table)["C9"].numbers["says"]
    assert "fewer than three networks at α = 2.5" in says
    assert "nan" not in says


def test_runs_of_the_book_that_were_not_measured_are_there_with_their_accuracies():
    measured = linearized.read().drop("mlp512-cifar10-alpha10-seed0")
    row = laziness.sweep(measured).loc["mlp512-cifar10-alpha10-seed0"]
    assert row["laziness"] == 10
    assert row["test_accuracy"] == pytest.approx(0.4457)
    assert np.isnan(row["gap"])


def test_the_share_that_is_kept_is_between_set_back_and_linearised():
    measured = linearized.read()
    name = "mlp512-cifar10-alpha5-seed0"
    one = laziness.sweep(measured).loc[[name]]
    row = laziness.linear_table(one).loc[5.0]
    assert row["kept, %"] == pytest.approx(100 * (0.4658 - 0.4091) / (0.4796 - 0.4091))
    assert row["α × update"] == pytest.approx(5 * measured.loc[name, "update_size"], rel=1e-3)


def test_networks_with_centred_logits_are_compared_with_the_recipe_at_the_same_laziness():
    measured = linearized.read()
    centred = laziness.sweep(measured, centred=True)
    found = laziness.centred_numbers(laziness.sweep(measured), centred)
    assert found["centred_networks"] == len(centred) == sum(name.endswith("-centred") for name in measured.index)
    for alpha in (5, 10):
        sizes = measured.filter(regex=f"^mlp512-cifar10-alpha{alpha}-seed.-centred$", axis=0)["update_size"]
        assert found[f"update_centred_{alpha}"] == pytest.approx(alpha * sizes.mean(), rel=1e-3)
    lazy = find_runs(network="mlp512", laziness=10, centred=True)
    assert found["centred_10_test"] == pytest.approx(100 * np.mean([run.test_accuracy for run in lazy]))
    stated = find_runs(network="mlp512", laziness=10, **RECIPE)
    assert found["stated_10_training"] == pytest.approx(100 * np.mean([run.train_accuracy for run in stated]))


def test_networks_that_were_measured_in_full_are_told_by_their_laziness():
    table = networks(seeds=2).assign(logit_error=np.nan)
    first = table["laziness"].isin([0.5, 0.7])
    table.loc[first & (table["seed"] == 0), "logit_error"] = 0.3
    table.loc[table["laziness"] == 5.0, "logit_error"] = 0.4
    assert laziness.in_full(table) == "1 network each at α = 0.5 and 0.7, 2 networks at α = 5"
