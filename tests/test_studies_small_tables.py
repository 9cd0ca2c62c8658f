"""Sentences about the small end of a transformer, from made-up tables."""

import pandas as pd
import pytest

from studies import small_tables
from studies.transformer import ROLES


@pytest.fixture
def levels():
    names = [f"{block}.{role}" for block in range(3) for role in ("intermediate", "output", "attention.self.key")]
    rows = []
    for name in names:
        for weights in ("trained", "noise"):
            below = 0 if "key" in name else 7 if weights == "trained" else 4
            taken = {"0.output": 1, "1.output": 2}.get(name, 3) if weights == "trained" else 1
            rows.append({"layer": name, "weights": weights, "below": below, "below_biwhitened": 0 if "key" in name else taken})
    return pd.DataFrame(rows)


@pytest.fixture
def directions():
    rows = []
    for role in ROLES:
        for block in range(3):
            for about in ("zero", "mean"):
                for decile in range(10):
                    # Above the band in all blocks of intermediate, in one of query, and in none elsewhere.
                    high = role == "intermediate" or (role == "query" and block == 0)
                    energy = 2.0 if decile == 0 and high else 0.5 if about == "zero" else 1.0
                    row = {"role": role, "block": block, "about": about, "decile": decile, "trained": energy}
                    rows.append(row | {"noise": 1.0, "turned": 9.0 if decile == 9 else 1.0, "low": 0.9, "high": 1.1})
    return pd.DataFrame(rows)


@pytest.fixture
def damage():
    rows = []
    for weights, deciles in (("trained", range(10)), ("noise", (0, 9))):
        for role in ROLES:
            for decile in deciles:
                cost = 0.055 if (role, decile) == ("intermediate", 0) else 0.01 * (decile + 1)
                ratio = 2.0 if (role, decile, weights) == ("intermediate", 0, "trained") else 1.0
                ratio = 1.5 if (role, decile, weights) == ("key", 9, "noise") else ratio
                row = {
                    "weights": weights,
                    "role": role,
                    "decile": decile,
                    "cost": cost,
                    "ratio": ratio,
                    "centred_ratio": ratio / 2,
                }
                errors = {"ratio_error": 0.06, "draw_spread": 0.08, "lost_error": 0.01}
                rows.append(row | errors | {"lost": 0.2, "random_lost": 0.1})
    return pd.DataFrame(rows)


def test_levels_below_are_summed_over_blocks_of_rectangular_matrices(levels):
    table = small_tables.below(levels)
    assert table.index.tolist() == ["intermediate", "output"]
    assert table.loc["output", ("trained", "as it is")] == 21
    assert table.loc["output", ("trained", "sizes taken out")] == 6
    assert table.loc["intermediate", ("noise", "as it is")] == 12


def test_levels_count_where_there_are_more_than_in_any_noise(levels):
    found = small_tables.level_outcomes(levels)
    assert found.pop("levels-below").numbers == {"more": 5, "matrices": 6}
    assert found == {"square": 3, "trained-as-it-is": 42, "trained-taken": 15, "noise-as-it-is": 24, "noise-taken": 6}
    few = levels.assign(below_biwhitened=levels["below_biwhitened"].where(levels["layer"].str.startswith("0."), 1))
    assert small_tables.level_outcomes(levels)["levels-below"].verdict == "reproduced"
    assert small_tables.level_outcomes(few)["levels-below"].verdict == "not reproduced"


def test_overlap_is_judged_role_by_role(directions):
    found = small_tables.direction_outcomes(directions)
    assert found["intermediate-small"].numbers == {"energy": 2, "above": 3, "blocks": 3}
    assert found["intermediate-small"].verdict == "reproduced"
    assert found["query-small"].numbers == pytest.approx({"energy": 4 / 3, "above": 1, "blocks": 3})
    assert {found[f"{role}-small"].verdict for role in ("query", "value", "attention-output")} == {"not reproduced"}
    assert found["null-outside"] == pytest.approx(5)
    assert found["output-large"] == 1


def test_energies_are_means_over_the_blocks(directions):
    table = small_tables.energies(directions)
    assert table.index.tolist() == list(ROLES)
    assert table.columns.tolist() == list(range(1, 11))
    assert table.loc["query", 1] == pytest.approx(4 / 3)
    assert small_tables.energies(directions, "zero").loc["query", 1] == pytest.approx(1)


def test_damage_is_judged_over_the_roles(damage, directions):
    found = small_tables.damage_outcomes(damage, directions)
    assert found["small-matter"].numbers == {"roles": 1, "of": 6}
    assert found["small-matter-names"] == "intermediate"
    # The smallest tenth of intermediate costs more than the second to the fifth.
    assert found["intermediate-beats"] == 4
    assert found["small-cost"].numbers == {"roles": 0, "of": 6}
    assert (found["null-ratios"], found["null-far"], found["null-lowest"], found["null-highest"]) == (12, 1, 1, 1.5)
    assert (found["intermediate-lost"].value, found["intermediate-lost"].error, found["intermediate-random-lost"]) == (20, 1, 10)
    assert found["rank-energy"] > 0
    costly = damage.assign(cost=damage["cost"].where(damage["decile"] > 0, 0.075))
    assert small_tables.damage_outcomes(costly, directions)["small-cost"].verdict == "reproduced"


def test_two_errors_are_asked_for(damage, directions):
    # One error is the hypotenuse of 0.06 and 0.08.
    for ratio, roles in ((1.19, 0), (1.21, 6)):
        changed = damage.assign(ratio=damage["ratio"].where(damage["decile"] > 0, ratio))
        assert small_tables.damage_outcomes(changed, directions)["small-matter"].numbers["roles"] == roles


def test_the_smallest_tenth_has_a_rank_among_ten(damage):
    table = small_tables.smallest_tenth(damage)
    assert table.loc["intermediate"].to_dict() == pytest.approx(
        {"ratio": 2, "error": 0.1, "centred": 1, "rank": 6, "lost": 20, "at random": 10}
    )
    assert table.loc["key", "rank"] == 10
