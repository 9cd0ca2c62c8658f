"""What is measured at the small end of a transformer's levels, on a small one with random tensors."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from studies import small_damage, small_values
from studies.small_damage import damage
from studies.small_values import directions, levels
from studies.transformer import ROLES, embed, tokenise

from .builders import small_encoder

rng = np.random.default_rng(5)
TOKENS = [list(rng.integers(0, 50, size=length)) for length in rng.integers(4, 12, size=30)]


@pytest.fixture(scope="module")
def encoder():
    return small_encoder()


@pytest.fixture(scope="module")
def measured(encoder):
    return directions(encoder, TOKENS, draws=300)


# Directions


def test_every_matrix_has_ten_tenths_about_zero_and_mean(measured):
    assert len(measured) == len(ROLES) * 2 * 2 * 10
    assert not measured.duplicated(["role", "block", "about", "decile"]).any()
    assert measured.notna().all(axis=None)


def test_an_energy_is_the_mean_square_of_the_inputs_along_the_vectors(encoder, measured):
    seen = {}
    embed(encoder, TOKENS, on_input=lambda role, block, x: seen.update({(role, block): x.astype(float)}))
    for role in ("value", "intermediate", "output"):
        x = seen[role, 1]
        W = encoder.matrix(role, 1).astype(float)
        lowest_first = np.linalg.svd(W, full_matrices=False)[2][::-1]
        for about, inputs in (("zero", x), ("mean", x - x.mean(0))):
            rows = measured[(measured["role"] == role) & (measured["block"] == 1) & (measured["about"] == about)]
            along = np.mean((inputs @ lowest_first.T) ** 2, axis=0) / np.mean(inputs**2)
            np.testing.assert_allclose(rows["trained"], along.reshape(10, 2).mean(1), rtol=1e-3)


def test_shares_add_up_and_complete_bases_average_to_one(measured):
    sums = measured.groupby(["role", "block", "about"])[["nu2", "response", "trained", "noise", "turned"]].sum()
    np.testing.assert_allclose(sums[["nu2", "response"]], 1, rtol=1e-6)
    square = sums.drop(index="output", level="role")[["trained", "noise", "turned"]]
    np.testing.assert_allclose(square, 10, rtol=1e-6)


def test_random_vectors_and_turned_activations_stay_within_the_band(measured):
    for null in ("noise", "turned"):
        outside = ~measured[null].between(measured["low"], measured["high"])
        assert outside.mean() < 0.05
    assert (measured["high"] > measured["low"]).all()


def test_activations_along_planted_vectors_are_found(encoder):
    # The smallest tenth of the query matrix gets the direction in which its inputs vary most.
    seen = {}
    embed(encoder, TOKENS, on_input=lambda role, block, x: seen.update({(role, block): x.astype(float)}))
    x = seen["query", 0] - seen["query", 0].mean(0)
    main = np.linalg.svd(x, full_matrices=False)[2][0]
    W = encoder.matrix("query", 0)
    planted = encoder.with_matrices({("query", 0): W - W @ np.outer(main, main)})
    found = directions(planted, TOKENS, draws=200)
    row = found[(found["role"] == "query") & (found["block"] == 0) & (found["about"] == "mean") & (found["decile"] == 0)].iloc[0]
    assert row["trained"] > row["high"]


# Damage


def test_a_tenth_is_set_to_zero_in_all_blocks_of_a_role(encoder):
    found = damage(encoder, TOKENS, deciles=[9]).set_index("role")
    changed = {}
    for block in range(2):
        U, nu, V = np.linalg.svd(encoder.matrix("intermediate", block).astype(float), full_matrices=False)
        changed["intermediate", block] = (U[:, 2:] * nu[2:]) @ V[2:]
    before, after = (embed(e, TOKENS).astype(float) for e in (encoder, encoder.with_matrices(changed)))
    cosines = np.sum(before * after, axis=1)
    row = found.loc["intermediate"]
    assert row["cost"] == pytest.approx(1 - cosines.mean(), rel=1e-3)
    assert row["cost_error"] == pytest.approx(cosines.std(ddof=1) / np.sqrt(30), rel=1e-3)
    b, a = (e - e.mean(0) for e in (before, after))
    centred = np.sum(a * b, axis=1) / np.sqrt(np.sum(a**2, axis=1) * np.sum(b**2, axis=1))
    assert row["centred_cost"] == pytest.approx(1 - centred.mean(), rel=1e-3)
    near = [np.argsort(-(e @ e.T) + 9 * np.eye(30), axis=1)[:, :5] for e in (before, after)]
    lost = [1 - len(set(a) & set(b)) / 5 for a, b in zip(*near, strict=True)]
    assert row["lost"] == pytest.approx(np.mean(lost))
    assert row["lost_error"] == pytest.approx(np.std(lost, ddof=1) / np.sqrt(30))


def test_own_directions_of_noise_cost_what_random_ones_cost():
    # Wide enough that a tenth has several directions.
    found = damage(small_encoder(width=60, wide=120, seed=3), TOKENS, deciles=range(0, 10, 3), draws=4)
    z = (found["ratio"] - 1) / np.hypot(found["ratio_error"], found["draw_spread"])
    assert (z.abs() < 4).all()
    assert z.abs().median() < 1.5
    assert found["ratio"].median() == pytest.approx(1, abs=0.2)


def test_one_draw_is_refused(encoder):
    with pytest.raises(ValueError, match="draws must be an integer of at least 2; got 1"):
        damage(encoder, TOKENS, draws=1)


def test_random_directions_take_away_as_much(encoder, monkeypatch):
    sizes = {}
    original = small_damage.embed

    def noting(changed, tokens):
        for role in ROLES:
            difference = changed.matrix(role, 1) - encoder.matrix(role, 1)
            if np.abs(difference).max() > 1e-6:
                sizes.setdefault(role, []).append(np.linalg.svd(difference, compute_uv=False)[:3])
        return original(changed, tokens)

    monkeypatch.setattr(small_damage, "embed", noting)
    damage(encoder, TOKENS, deciles=[4], draws=2)
    assert set(sizes) == set(ROLES)
    for own, *random in sizes.values():
        assert len(random) == 2
        np.testing.assert_allclose(random, [own, own], rtol=1e-4, atol=1e-5)
        assert own[1] > 0.01 > own[2]


def test_a_direction_that_the_inputs_never_take_costs_less_than_random_ones(encoder):
    # Of the value matrices, a tenth along directions in which the inputs do not vary.
    changed = {}
    for block in range(2):
        U, nu, V = np.linalg.svd(encoder.matrix("output", block).astype(float), full_matrices=False)
        nu[-2:] = 1e-3
        changed["output", block] = (U * nu) @ V
    found = damage(encoder.with_matrices(changed), TOKENS, deciles=[0], draws=3).set_index("role")
    assert found.loc["output", "cost"] < 1e-4


# Levels


def test_planted_levels_are_found_below_and_noise_with_their_sizes_has_none():
    noise = np.random.default_rng(2).standard_normal((400, 100))
    U, nu, V = np.linalg.svd(noise, full_matrices=False)
    nu[-3:] = [3, 2, 1]
    uneven = np.geomspace(0.5, 2, 400)[:, None] * ((U * nu) @ V)
    found = levels({"0.intermediate": uneven}).set_index("weights")
    assert found.loc["trained", "below_biwhitened"] == 3
    assert found.loc["noise", "below_biwhitened"] == 0
    assert found.loc["trained", "layer"] == "0.intermediate"


# The tables of the book


def test_without_the_package_there_are_no_rows(monkeypatch):
    for module in (small_values, small_damage):
        monkeypatch.setattr(module, "load_minilm", lambda: None)
    monkeypatch.setattr(small_values, "minilm_weights", dict)
    for measure in (small_values.measure_levels, small_values.measure_directions, small_damage.measure_damage):
        assert measure().empty


def test_the_texts_are_those_that_were_measured():
    """A part of both tables, measured again."""
    encoder = small_values.load_minilm()
    texts = tokenise(small_values.corpus("directions"))
    found = directions(replace(encoder, blocks=1), texts, draws=2).set_index(["role", "about", "decile"])
    kept = small_values.read("directions").query("block == 0").set_index(["role", "about", "decile"])
    np.testing.assert_allclose(found["trained"], kept.loc[found.index, "trained"], rtol=2e-4)

    changed = {}
    for block in range(encoder.blocks):
        U, nu, V = np.linalg.svd(encoder.matrix("query", block), full_matrices=False)
        largest = len(nu) - 9 * len(nu) // 10
        changed["query", block] = (U[:, largest:] * nu[largest:]) @ V[largest:]
    texts = tokenise(small_values.corpus("damage"))
    before, after = (embed(e, texts).astype(float) for e in (encoder, encoder.with_matrices(changed)))
    kept = small_values.read("damage").query("role == 'query' and decile == 9 and weights == 'trained'")
    assert 1 - np.mean(np.sum(before * after, axis=1)) == pytest.approx(kept["cost"].item(), rel=2e-4)


def test_tables_of_the_book_are_those_of_minilm():
    encoder = small_values.load_minilm()
    rows = small_values.read("directions").set_index(["role", "block", "about", "decile"]).sort_index()
    for role, block in (("query", 2), ("output", 5)):
        nu = np.linalg.svd(encoder.matrix(role, block), compute_uv=False)
        assert rows.loc[(role, block, "mean", 9), "nu2"] == pytest.approx(np.sum(nu[:39] ** 2) / np.sum(nu**2), rel=1e-4)
    costs = small_values.read("damage")
    assert counted(costs["weights"]) == {"trained": 60, "noise": 18}
    assert len(small_values.read("levels")) == 2 * 36


def counted(values):
    return pd.Series(values).value_counts().to_dict()
