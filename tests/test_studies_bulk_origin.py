"""Layers taken apart into noise and update: on random matrices, where everything is known, and on a run."""

import numpy as np
import pytest

from rmtlib import ensembles, load_weights
from rmtlib.runs import RunError, find_runs, initial
from studies import bulk_origin

N, M = 240, 160
SIGMA = np.sqrt(2 / (N + M))
EDGE = SIGMA * (np.sqrt(N) + np.sqrt(M))


def layer(seed=0, size=0.6):
    """Glorot noise with an update of thirty random directions."""
    start = ensembles.glorot_uniform((N, M), [seed, 1]).astype(float)
    left, right = (np.linalg.qr(np.random.default_rng([seed, side]).standard_normal((side, 30)))[0] for side in (N, M))
    levels = np.linspace(0.1, 1, 30) * size * EDGE
    return bulk_origin.Origin(start, left @ np.diag(levels) @ right.T, SIGMA)


def doubled(seed):
    """An update that doubles the noise along its own thirty directions."""
    start = ensembles.glorot_uniform((N, M), [seed, 1]).astype(float)
    U, s, Vt = np.linalg.svd(start)
    chosen = np.arange(30)
    return bulk_origin.Origin(start, U[:, chosen] @ np.diag(s[chosen]) @ Vt[chosen], SIGMA)


def test_levels_are_those_of_the_parts():
    origin = layer()
    for nu, W in (
        (origin.start_nu, origin.start),
        (origin.update_nu, origin.update),
        (origin.trained_nu, origin.start + origin.update),
    ):
        np.testing.assert_allclose(nu, np.linalg.svd(W, compute_uv=False)[::-1], atol=1e-6 * EDGE)
    assert origin.law.nu_update == pytest.approx(origin.update_nu)
    assert (origin.law.shape, origin.law.sigma) == ((N, M), SIGMA)


def test_a_random_update_is_not_aligned():
    directions = np.concatenate([layer(seed=seed).alignment[-30:] for seed in range(10)])
    assert abs(directions.mean()) < 0.25
    assert directions.std() == pytest.approx(1, abs=0.15)
    assert abs(layer().cosine) < 0.03


def test_alignment_is_told_direction_by_direction_in_units_of_sigma():
    origin = doubled(0)
    assert (np.diff(origin.update_nu) >= -1e-9).all()
    # Along its directions the noise has just the levels of the update.
    np.testing.assert_allclose(SIGMA * origin.alignment[-30:], origin.update_nu[-30:], rtol=1e-6)
    expected = np.sum(origin.start_nu[-30:] ** 2) / np.linalg.norm(origin.start) / np.linalg.norm(origin.update)
    assert origin.cosine == pytest.approx(expected)


def test_the_law_with_alignment_keeps_the_norm():
    origin = doubled(1)
    square = np.mean(origin.trained_nu**2)
    assert np.mean(origin.law.levels**2) < 0.8 * square
    assert np.mean(origin.aligned_law.levels**2) == pytest.approx(square, rel=0.02)


def test_the_law_with_alignment_is_that_of_noise_that_points_along_the_update():
    free = layer(seed=3)
    # Six standard deviations of an entry more along each of thirty directions.
    U, _, Vt = np.linalg.svd(free.update)
    origin = bulk_origin.Origin(free.start + 6 * SIGMA * U[:, :30] @ Vt[:30], free.update, SIGMA)
    apart, closer = (np.abs(bulk_origin.difference(origin.trained_nu, law)).max() for law in (origin.law, origin.aligned_law))
    assert closer < 3 / M < 6 / M < apart


def test_a_turned_update_keeps_its_levels_and_forgets_the_noise():
    origin = doubled(2)
    turned = bulk_origin.turned(origin, 0)
    np.testing.assert_allclose(turned.update_nu, origin.update_nu, atol=1e-9)
    assert turned.start is origin.start
    assert abs(turned.cosine) < 0.03
    assert not np.allclose(turned.update, bulk_origin.turned(origin, 1).update)
    assert np.abs(bulk_origin.difference(turned.trained_nu, origin.law)).max() < 3 / M


def test_fresh_noise_has_the_size_of_the_old():
    drawn = layer(size=0.0).draw(0)
    assert np.mean(drawn**2) == pytest.approx(N * SIGMA**2, rel=0.02)
    loud = bulk_origin.Origin(np.zeros((N, M)), np.zeros((N, M)), 3 * SIGMA)
    np.testing.assert_allclose(loud.draw(0), 3 * drawn, rtol=1e-6)


def test_statistics_count_in_units_of_the_noise():
    origin = layer()
    nu = EDGE * np.linspace(0.01, 1.2, 100)
    found = bulk_origin.statistics(nu, origin)
    assert found["lower"] == pytest.approx(np.mean(nu[:60] ** 2) / (N * SIGMA**2))
    assert found["outliers"] == np.sum(np.linspace(0.01, 1.2, 100) > 1.02)
    assert found["largest"] == pytest.approx(1.2)
    shares = (np.arange(100) + 0.5) / 100
    assert found["distance"] == pytest.approx(np.abs(shares - origin.law.cdf(nu)).max())
    assert bulk_origin.statistics(nu, origin, origin.aligned_law)["distance"] != found["distance"]


@pytest.fixture(scope="module")
def compared():
    origins = {("free", seed): layer(seed=seed) for seed in (0, 1)} | {("held", seed): doubled(seed) for seed in (0, 1)}
    return origins, bulk_origin.compare(origins, draws=4, rng=5)


def test_laws_draws_and_trained_matrices_are_compared(compared):
    origins, table = compared
    for key, origin in origins.items():
        rows = table.loc[key]
        assert rows.loc["trained"].to_dict() == bulk_origin.statistics(origin.trained_nu, origin)
        assert rows.loc["initial", "lower"] == bulk_origin.statistics(origin.start_nu, origin)["lower"]
        assert rows.loc["predicted", "outliers"] == origin.law.outliers(1.02 * EDGE)
        assert rows.loc["with alignment", "outliers"] == origin.aligned_law.outliers(1.02 * EDGE)
        assert rows.loc["fresh noise", "lower"] == pytest.approx(rows.loc["predicted", "lower"], rel=0.03)
        assert rows.loc["turned", "lower"] == pytest.approx(rows.loc["predicted", "lower"], rel=0.03)
        assert 0 < rows.loc["scatter", "lower"] < 0.02
    assert table["distance"].unstack("what").loc["held", "with alignment"].max() < table.loc[("held", 0, "trained"), "distance"]


def test_numbers_are_means_over_the_seeds(compared):
    origins, table = compared
    found, lower = bulk_origin.numbers(table, origins), table["lower"].unstack("what")
    assert found["null-networks"] == 4
    assert 3 <= found["null-within"] <= 4
    grown = 100 * (lower["trained"] / lower["initial"] - 1).loc["free"]
    predicted = 100 * (lower["predicted"] / lower["noise"] - 1).loc["free"]
    assert found["free-grown"].value == pytest.approx(grown.mean())
    assert found["free-grown"].error == pytest.approx(grown.std() / np.sqrt(2))
    assert found["free-explained"].value == pytest.approx((100 * predicted / grown).mean())
    assert found["free-explained"].value == pytest.approx(100, abs=15)
    assert found["held-strongest"].value == pytest.approx(np.mean([o.alignment[-32:].mean() for o in (doubled(0), doubled(1))]))
    assert found["held-outliers"].value == np.mean([np.sum(doubled(s).trained_nu > 1.02 * EDGE) for s in (0, 1)])
    assert abs(found["free-apart"].value) < 4 < abs(found["held-distance"].value / found["free-distance"].value)


def test_tables_of_the_chapter_keep_the_order_of_the_regimes(compared):
    origins, table = compared
    words = bulk_origin.over_seeds(table, "outliers", digits=1)
    assert words.index.tolist() == ["free", "held"]
    mean, error = words.loc["held", "trained"].split(" ± ")
    counts = [np.sum(doubled(seed).trained_nu > 1.02 * EDGE) for seed in (0, 1)]
    assert (float(mean), float(error)) == pytest.approx((np.mean(counts), np.std(counts, ddof=1) / np.sqrt(2)), abs=0.06)
    aligned = bulk_origin.alignments(origins)
    assert list(aligned) == ["free", "held"]
    assert aligned["held"].iloc[0] == pytest.approx(np.mean([doubled(seed).alignment[-1] for seed in (0, 1)]))


def test_a_run_is_taken_apart():
    run = find_runs(network="mlp512", dataset="cifar10", laziness=5.0, seed=0, learning_rate=0.001)[0]
    origin = bulk_origin.of_run(run)
    np.testing.assert_array_equal(origin.start, initial(run, "dense2"))
    np.testing.assert_allclose(origin.start + origin.update, load_weights(run)["dense2"].matrix, atol=1e-6)
    assert origin.start.std() == pytest.approx(origin.sigma, rel=0.01)
    lone = find_runs(network="mlp512", dataset="cifar10", laziness=5.0, seed=3)[0]
    with pytest.raises(RunError, match="keeps no weights of dense3"):
        bulk_origin.of_run(lone, "dense3")
