from __future__ import annotations

import doctest
import tracemalloc

import numpy as np
import pytest
import scipy.stats

import rmtlib
from rmtlib import costs, ensembles, layer_comparison, pairs, subspaces, updates
from rmtlib.comparison import pair_networks
from rmtlib.report.comparing import find_tuned
from rmtlib.spectra import spectrum
from rmtlib.weights import Weights, WeightsError

from . import builders

SHAPE = (240, 160)
SIZES = {"plain": False, "sized": True}
STORED = {"float32": lambda X: X.astype(np.float32), "bfloat16": lambda X: builders.bfloat16(X).astype(np.float32)}


def compare(base, tuned, **options):
    return rmtlib.compare(base, tuned, progress=False, **options)


def sizes(seed, shape=SHAPE):
    rng = np.random.default_rng([seed, 7])
    return np.outer(*(np.exp(0.5 * rng.standard_normal(n)) for n in shape))


def noisy(seed, sized=False, shape=SHAPE):
    """A base and an update of a tenth of its size, both noise."""
    rng = np.random.default_rng(seed)
    W, D = rng.standard_normal((2, *shape)) * (sizes(seed, shape) if sized else 1.0)
    return W, 0.1 * D


def stored_layer(W, D, dtype):
    base, tuned = (STORED[dtype](X) for X in (W, W + D))
    return layer_comparison.compare_layer(base, tuned)


@pytest.mark.parametrize("module", [rmtlib.comparison, updates, subspaces], ids=lambda module: module.__name__)
def test_examples(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


# Directions of the update


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("sized", SIZES.values(), ids=SIZES)
def test_an_update_of_noise_has_no_direction(sized, dtype):
    found = []
    for seed in range(8):
        W, D = noisy(seed, sized)
        base, tuned = (STORED[dtype](X) for X in (W, W + D))
        found.append(updates.update_rank(tuned.astype(float) - base, updates.grid(base), updates.grid(tuned)))
    assert sum(update.rank for update in found) <= 1  # one noise in a hundred shows a level
    assert sum(update.pvalue < 0.05 for update in found) <= 2


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("sized", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("rank", [1, 5, 16])
def test_planted_directions_are_counted(rank, sized, dtype):
    for times in (2, 5, 50):
        W, D = noisy(rank, sized)
        scale = sizes(rank) if sized else 1.0
        left, right = (np.linalg.qr(np.random.default_rng([rank, n]).standard_normal((n, rank)))[0] for n in SHAPE)
        # A direction shows beyond noise of entries of 0.1 from this strength on (Benaych-Georges and Nadakuditi, 2012).
        threshold = 0.1 * (SHAPE[0] * SHAPE[1]) ** 0.25
        found = stored_layer(W, D + scale * (times * threshold * left @ right.T), dtype).update
        assert abs(found.rank - rank) <= 1
        assert found.pvalue < 0.001


def test_size_and_alignment_are_those_of_their_definitions():
    W, D = noisy(0)
    found = layer_comparison.compare_layer(W, W + D - 0.05 * W)
    D = D - 0.05 * W
    assert found.size == pytest.approx(np.sqrt((D**2).sum() / (W**2).sum()))
    assert found.alignment == pytest.approx(np.corrcoef(W.ravel(), D.ravel())[0, 1], abs=0.01)
    assert found.alignment < -0.3
    assert found.alignment_pvalue < 1e-10
    assert "against the base, which shrinks" in found.summary


def test_alignment_of_noise_has_uniform_p():
    updated = (noisy(seed, True, (40, 30)) for seed in range(60))
    found = [layer_comparison.compare_layer(W, W + D).alignment_pvalue for W, D in updated]
    assert scipy.stats.kstest(found, "uniform").pvalue > 0.001


def test_no_update_is_unchanged():
    W, _ = noisy(0)
    found = layer_comparison.compare_layer(W, W.copy(), rng=0)
    assert (found.size, found.unchanged, found.update.rank, found.update.pvalue) == (0, 1, 0, 1)
    assert found.overlap.value == pytest.approx(1)
    assert found.intruders.count == 0
    assert found.tuned is found.base
    assert found.summary == "matrix: unchanged"


def test_a_merged_adapter_has_exactly_its_rank():
    W, _ = noisy(0)
    D = builders.gaussian(240, 6, dtype=np.float64) @ builders.gaussian(6, 160, dtype=np.float64) / 50
    assert layer_comparison.compare_layer(W, W + D).update.rank == 6  # rounded by 1e-16
    for dtype, bound in (("float32", 1e-6), ("bfloat16", 0.02)):
        found = stored_layer(W, D, dtype)
        assert found.update.rank == 6
        assert found.update.words == f"all noise in it is the rounding of {dtype}"
        assert found.update.noise < bound
        assert found.grid.dtype == dtype


def test_an_adapter_that_is_not_merged_gives_the_same(tmp_path):
    W, factors = noisy(0)[0].astype(np.float32), (builders.gaussian(240, 6), builders.gaussian(6, 160))
    base = builders.safetensors(tmp_path / "base.safetensors", {"fc.weight": W, "other.weight": W})
    names = [f"base_model.model.fc.lora_{side}.weight" for side in "BA"]
    tensors = {name: np.ascontiguousarray(factor) for name, factor in zip(names, factors, strict=True)}
    adapter = builders.safetensors(tmp_path / "adapter_model.safetensors", tensors)
    (only,) = compare(base, adapter).table.to_dict("records")
    merged = compare({"fc": W}, {"fc": W + factors[0] @ factors[1]}).table.iloc[0]
    assert only["rank"] == merged["rank"] == 6
    for column in ("update_size", "alignment", "overlap", "alpha_tuned", "stable_rank_tuned"):
        assert only[column] == pytest.approx(merged[column], rel=1e-3, abs=1e-6)
    with pytest.raises(ValueError, match="base is an adapter.* give the network as base and the adapter as tuned"):
        compare(adapter, base)


def test_a_coarse_grid_hides_a_small_update_and_says_so():
    W, D = noisy(0)
    found = stored_layer(W, 0.01 * D, "bfloat16")
    ulp = np.spacing(STORED["bfloat16"](W)) * 2.0**16  # bfloat16 has 16 bits fewer than float32
    assert found.grid.half_spacing == pytest.approx(np.sqrt(np.mean((ulp / 2) ** 2) / np.mean(W**2)), rel=0.01)
    assert found.unchanged > 0.5
    assert "the numbers of bfloat16 hide changes below" in found.summary


# Top vectors


def test_random_subspaces_overlap_as_the_null_law_says():
    rng = np.random.default_rng(0)
    for shape, k in (((60, 40), 5), ((30, 90), 3), ((40, 40), 1)):
        pairs_ = [[spectrum(rng.standard_normal(shape)) for _ in range(2)] for _ in range(300)]
        found = [subspaces.overlap(*pair, k) for pair in pairs_]
        values = np.array([overlap.value for overlap in found])
        assert abs(values.mean() - found[0].random) < 4 * values.std() / np.sqrt(len(values))
        assert scipy.stats.kstest([overlap.pvalue for overlap in found], "uniform").pvalue > 0.001


def test_overlap_falls_from_one_to_that_of_random_subspaces():
    W, D = noisy(0)
    W = W + ensembles.spiked(SHAPE, 0, strengths=[40.0, 30.0, 20.0]).matrix * 4
    kept = subspaces.overlap(spectrum(W), spectrum(W + D), 3)
    lost = subspaces.overlap(spectrum(W), spectrum(noisy(5)[0]), 3)
    assert kept.value > 0.99
    assert kept.pvalue < 1e-10
    assert lost.value < 0.1
    assert lost.pvalue > 0.01


def test_vectors_that_noise_makes_new_are_no_intruders():
    found = [subspaces.intruders(*noisy(seed, seed % 2, (80, 64)), rng=seed, top=12, draws=99) for seed in range(30)]
    p = np.concatenate([one.pvalue for one in found])
    assert 0.02 < np.mean(p < 0.05) < 0.09
    assert scipy.stats.kstest([one.pvalue[0] for one in found], "uniform").pvalue > 0.001
    # The count without a null: half of the vectors have no base vector within a cosine of 0.9.
    assert np.mean(np.concatenate([one.cosines for one in found]) < 0.9) > 0.2


def test_a_planted_vector_is_an_intruder():
    W, D = noisy(0)
    left, right = (np.linalg.qr(builders.gaussian(n, 1))[0] for n in SHAPE)
    found = subspaces.intruders(W, D + 60 * left @ right.T, rng=0)
    assert found.pvalue[0] == 1 / 101
    after = np.linalg.svd(W + D + 60 * left @ right.T)[0][:, 0]
    exact = np.abs(np.linalg.svd(W)[0][:, :160].T @ after).max()
    assert found.cosines[0] == pytest.approx(exact, abs=0.01)
    assert (found.noise[:, 0] > exact).all()


def test_intruders_are_those_of_the_seed_and_no_other_layer():
    base = {name: noisy(seed, shape=(60, 50))[0] for seed, name in enumerate("ab")}
    tuned = {name: W + noisy(9, shape=(60, 50))[1] for name, W in base.items()}
    settings = {"intruders": True, "seed": 3, "workers": 1}
    both, one = (compare(base, tuned, layers=which, **settings).layers["b"].intruders for which in (None, "b"))
    assert np.array_equal(both.pvalue, one.pvalue)
    assert compare(base, tuned).layers["b"].intruders is None


# Networks


@pytest.fixture
def two(tmp_path):
    """One layer on both sides, and all ways not to be."""
    W, D = noisy(0)
    base = {"fc": W, "wide": W, "gone": W, "half": W, "bad": W}
    tuned = {"module.fc": W + D, "module.wide": W[:, :-1], "module.new": W, "module.half": W, "module.bad": W.copy()}
    tuned["module.bad"][3, 3] = np.nan
    files = []
    for name, arrays in (("base", base), ("tuned", tuned)):
        stored = {f"{layer}.weight": np.ascontiguousarray(array, dtype="float32") for layer, array in arrays.items()}
        if name == "tuned":
            stored["module.half.weight"] = builders.bfloat16(stored["module.half.weight"])
        files.append(builders.safetensors(tmp_path / f"{name}.safetensors", stored))
    return files


def test_what_is_on_one_side_only_or_unlike_is_named(two):
    found = compare(*two)
    assert set(found.layers) == {"module.fc", "module.half"}
    left_out = dict(found.left_out)
    assert left_out["gone"] == "only in base"
    assert left_out["module.new"] == "only in tuned"
    assert left_out["module.wide"] == "shape 240 x 160 in base, 240 x 159 in tuned"
    row = found.table.set_index("layer").loc["module.half"]
    assert (row["dtype_base"], row["dtype_tuned"]) == ("float32", "bfloat16")
    assert "stored as float32 before and bfloat16 after" in row["summary"]
    assert "module.bad: not compared: " in found.table.set_index("layer").loc["module.bad", "summary"]
    assert "left out: gone: only in base" in repr(found)


def test_every_column_is_described(two):
    text = layer_comparison.LayerComparison.row.__doc__
    for column in compare(*two, layers="fc").table:
        assert f"``{column}``" in text


@pytest.mark.parametrize(
    ("tuned", "settings", "message"),
    [
        ({"conv": noisy(0)[0]}, {}, "base and tuned have no layer in common: base has 'fc', tuned has 'conv'"),
        ({"fc": noisy(0)[0].T}, {}, "no layer of one shape .*240 x 160 in base, 160 x 240 in tuned.*: are they two networks"),
        ({"fc": noisy(0)[0]}, {"layers": "x"}, "layers must be found in the name of a layer; 'x' is in none of the 1: fc"),
        ({"fc": noisy(0)[0]}, {"layers": "("}, "layers must be a regular expression"),
        ({"fc": noisy(0)[0]}, {"intruders": "yes"}, "intruders must be"),
        ({"fc": noisy(0)[0]}, {"top": 0}, "top must be"),
        ({"fc": noisy(0)[0]}, {"seed": -1}, "seed must be"),
        ({"fc": noisy(0)[0]}, {"workers": 0}, "workers must be"),
        ("no/such/file", {}, "no/such/file"),
    ],
)
def test_bad_input_is_refused(tuned, settings, message):
    with pytest.raises(ValueError, match=message):
        compare({"fc": noisy(0)[0]}, tuned, **settings)


@pytest.mark.parametrize(
    ("W", "D", "message"),
    [
        (np.ones((20, 20)), np.ones((20, 21)), "tuned must have the shape of base"),
        (np.ones((20, 9)), np.ones((20, 9)), "base must have at least 16 rows and columns"),
        (np.full((20, 20), np.nan), np.ones((20, 20)), "base .*finite"),
    ],
)
def test_a_matrix_that_cannot_be_compared_is_refused(W, D, message):
    with pytest.raises(ValueError, match=message):
        layer_comparison.compare_layer(W, D)


@pytest.mark.parametrize("shape", [(2000, 300), (600, 600)])
def test_memory_is_what_was_estimated(shape):
    base, tuned = ({"fc": builders.gaussian(*shape, seed=seed)} for seed in (0, 1))
    estimated = costs.estimate(pair_networks(base, tuned), what="comparison")["gigabytes"][0] * 1e9
    compare({"fc": base["fc"][:100, :50]}, {"fc": tuned["fc"][:100, :50]}, intruders=True)
    tracemalloc.start()
    compare(base, tuned, intruders=True, workers=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.7 * estimated < peak < 1.3 * estimated


def test_intruders_cost_time_and_steps_are_listed_one_by_one():
    networks = {step: rmtlib.load_weights({"fc": noisy(int(step))[0]}) for step in ("1", "2")}
    costs_of = {
        full: costs.estimate(pair_networks(networks["1"], networks), what="comparison", full=full) for full in (False, True)
    }
    assert list(costs_of[True]["layer"]) == ["1: fc", "2: fc"]
    assert (costs_of[True]["seconds"] > costs_of[False]["seconds"]).all()


def test_checkpoints_of_a_folder_are_in_the_order_of_their_steps(tmp_path):
    W, _ = noisy(0)
    for step in (1000, 500, 20):
        builders.safetensors(tmp_path / f"checkpoint-{step}" / "model.safetensors", {"fc.weight": W.astype("float32")})
    (tmp_path / "logs-7").mkdir()
    (tmp_path / "readme-3.txt").write_text("")
    assert list(pairs.checkpoints(tmp_path)) == ["20", "500", "1000"]
    assert pairs.checkpoints(tmp_path / "none") == {}


@pytest.mark.parametrize("names", [("model_1.pt", "optim_1.pt"), ("step-01.pt", "step-1.npz")])
def test_two_checkpoints_of_one_number_are_named(names, tmp_path):
    for name in ("model_2.pt", *names):
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match=f"must hold one checkpoint of each number; {names[0]} and {names[1]} share 1"):
        pairs.checkpoints(tmp_path)


def test_checkpoints_are_in_the_order_of_their_numbers_whatever_that_of_the_folder(tmp_path, monkeypatch):
    files = [tmp_path / f"step-{step}.pt" for step in (3, 20, 1)]
    for file in files:
        file.touch()
    monkeypatch.setattr(type(tmp_path), "iterdir", lambda self: iter(files))
    assert list(pairs.checkpoints(tmp_path)) == ["1", "3", "20"]


def test_parts_of_one_checkpoint_are_no_steps(tmp_path):
    W = {"fc.weight": noisy(0)[0].astype("float32")}
    for part in (1, 2):
        builders.safetensors(tmp_path / f"model-0000{part}-of-00002.safetensors", W)
    with pytest.raises(WeightsError, match=r"2 safetensors files but no \*.index.json"):
        find_tuned(str(tmp_path))


def test_shapes_are_looked_up_once_whatever_the_number_of_layers(monkeypatch):
    networks = [rmtlib.load_weights({f"fc{i}": np.eye(20) for i in range(30)}) for _ in range(2)]
    seen, shapes = [], Weights.shapes
    monkeypatch.setattr(Weights, "shapes", property(lambda self: seen.append(self) or shapes.fget(self)))
    assert len(pairs.pair_layers(*networks)) == 30
    assert len(seen) <= 2


def test_the_steps_of_a_training_are_rows():
    W, D = noisy(0)
    weights = {step: rmtlib.load_weights({"fc": W + int(step) * D}) for step in ("1", "2", "3")}
    table = compare({"fc": W}, weights).table
    assert list(table.columns[:2]) == ["step", "layer"]
    assert list(table["step"]) == ["1", "2", "3"]
    assert list(table["update_size"] / table["update_size"][0]) == pytest.approx([1, 2, 3])


def test_what_a_step_lacks_is_named_with_the_step():
    W = noisy(0)[0]
    steps = {step: rmtlib.load_weights(dict.fromkeys(names, W)) for step, names in (("1", ("fc", "b")), ("2", ("fc",)))}
    found = compare(dict.fromkeys(("fc", "b", "c"), W), steps)
    assert sorted(found.left_out) == [("2: b", "only in base"), ("c", "only in base")]
    assert list(found.table["layer"]) == ["fc", "b", "fc"]
    assert list(found.layers) == ["fc"]


@pytest.mark.parametrize("shape", [(60, 100), (40, 20), (100, 150), (300, 200)])
def test_cosines_of_vectors_are_those_of_a_full_decomposition(shape):
    W, D = ensembles.gaussian(shape, 0), 0.3 * ensembles.gaussian(shape, 1)
    found = subspaces.intruders(W, D, rng=0)
    base, tuned = (np.linalg.svd(X, full_matrices=False)[0] for X in (W, W + D))
    exact = np.abs(base.T @ tuned[:, : len(found.cosines)]).max(axis=0)
    np.testing.assert_allclose(found.cosines, exact, atol=0.005)


def test_an_update_of_half_rank_is_exact_in_the_smallest_matrices():
    found = updates.update_rank(ensembles.gaussian((16, 9), 0) @ ensembles.gaussian((9, 16), 1))
    assert (found.rank, found.words) == (9, "exactly rank 9, without noise")
