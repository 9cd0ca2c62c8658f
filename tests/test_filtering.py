from __future__ import annotations

import collections
import os

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import rmtlib
from rmtlib import ensembles, filtering
from rmtlib.filtering import (
    filter_matrix,
    filter_network,
    low_rank_factors,
    shrink_singular_values,
    spiked_strength,
    truncate,
)

from .builders import bfloat16, gaussian, raw_safetensors, run_folder, safetensors, state_dict

SHAPES = [(512, 512), (800, 400), (300, 900)]
QUIET = {"progress": False}


def planted_matrix(planted):
    scale = planted.sigma * np.sqrt(max(planted.matrix.shape))
    return (planted.left_vectors.T * (scale * planted.strengths)) @ planted.right_vectors


def optimal_squared_error(planted):
    """Of the best filter that keeps the singular vectors as found, for large n."""
    overlaps = planted.left_overlaps * planted.right_overlaps
    return planted.sigma**2 * max(planted.matrix.shape) * np.sum(planted.strengths**2 * (1 - overlaps))


def threshold(shape):
    return (min(shape) / max(shape)) ** 0.25


def network(seed=0):
    """Two dense layers with three and two planted directions, a bias of both, and a small layer."""
    layers = {
        "dense1": ensembles.spiked((90, 160), [seed, 1], strengths=[1.8, 2.5, 4]).matrix,
        "dense2": ensembles.spiked((100, 90), [seed, 2], strengths=[2, 3]).matrix,
    }
    arrays = {}
    for i, (name, matrix) in enumerate(layers.items()):
        arrays[f"{name}.weight"] = matrix.astype(np.float32)
        arrays[f"{name}.bias"] = gaussian(len(matrix), seed=i)
    arrays["dense3.weight"] = gaussian(10, 100, seed=9)
    return arrays


def found_rank(matrix):
    nu = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    return np.count_nonzero(nu > 0.01 * nu[0])


# The map and the shrinkers


@given(st.floats(0.01, 1), st.floats(1.001, 50))
@settings(max_examples=200, deadline=None)
def test_the_inverse_map_inverts_the_map(c, factor):
    t = factor * c**0.25
    assert spiked_strength(ensembles.spiked_singular_value(t, c), c) == pytest.approx(t, rel=1e-6)


@given(st.floats(0.01, 1), st.floats(1.001, 50))
@settings(max_examples=200, deadline=None)
def test_the_map_inverts_the_inverse_map(c, factor):
    nu = factor * (1 + np.sqrt(c))
    assert ensembles.spiked_singular_value(spiked_strength(nu, c), c) == pytest.approx(nu, rel=1e-9)


def test_levels_inside_the_bulk_have_no_strength():
    assert spiked_strength(np.linspace(0, 1.5, 50), 0.25).tolist() == [0.0] * 50
    assert spiked_strength(1.5001, 0.25) == pytest.approx(0.25**0.25, rel=0.02)


def test_a_number_gives_a_number_and_an_array_an_array_of_its_shape():
    assert np.isscalar(spiked_strength(2.5, 1.0))
    assert spiked_strength(2.5, 1.0) == pytest.approx(2)
    assert spiked_strength(np.full((2, 3), 2.5), 1.0).shape == (2, 3)


@pytest.mark.parametrize("c", [0.1, 0.5, 1.0])
def test_the_frobenius_shrinker_is_the_strength_times_both_overlaps(c):
    # c^(1/4) is where the overlaps begin
    t = np.linspace(1.05, 6, 40) * c**0.25
    planted = ensembles.SpikedMatrix(np.empty((1000, int(1000 * c))), None, None, t, 1 / np.sqrt(1000))
    nu = ensembles.spiked_singular_value(t, c)
    shrunk = shrink_singular_values(nu, planted.matrix.shape, sigma=1 / np.sqrt(1000))
    np.testing.assert_allclose(shrunk, t * np.sqrt(planted.left_overlaps * planted.right_overlaps), rtol=1e-9)


@pytest.mark.parametrize("kind", ["frobenius", "inverse"])
@pytest.mark.parametrize("shape", [(400, 100), (100, 400), (200, 200)])
def test_shrinking_is_monotone_never_grows_and_leaves_strong_signals_alone(kind, shape):
    edge = np.sqrt(shape[0]) + np.sqrt(shape[1])
    nu = np.linspace(0, 100 * edge, 20001)
    shrunk = shrink_singular_values(nu, shape, sigma=1, kind=kind)
    assert (shrunk[nu <= edge] == 0).all()
    assert (np.diff(shrunk) >= 0).all()
    assert (shrunk <= nu).all()
    assert shrunk[-1] == pytest.approx(nu[-1], rel=1e-3)


def test_shrinking_scales_with_the_noise_and_not_with_the_orientation():
    nu = np.linspace(30, 90, 7)
    expected = shrink_singular_values(nu, (400, 200), sigma=1)
    assert expected[-1] > 80
    np.testing.assert_allclose(shrink_singular_values(0.1 * nu, (200, 400), sigma=0.1), 0.1 * expected)


def test_the_inverse_kind_gives_the_planted_strengths():
    t = np.array([1.2, 2, 5])
    nu = 0.3 * np.sqrt(500) * ensembles.spiked_singular_value(t, 0.4)
    np.testing.assert_allclose(shrink_singular_values(nu, (200, 500), sigma=0.3, kind="inverse"), 0.3 * np.sqrt(500) * t)


# One matrix


@pytest.mark.parametrize("shape", SHAPES)
def test_the_error_is_within_2_percent_of_the_optimal_formula(shape):
    # The mean over matrices: the error of one fluctuates by some percent, that of the best filter as well.
    filtered, with_known_noise, optimal = [], [], []
    for seed in range(5):
        planted = ensembles.spiked(shape, seed, strengths=np.array([1.5, 2, 2.5, 3, 4]) * threshold(shape), sigma=0.05)
        signal = planted_matrix(planted)
        filtered.append(np.sum((filter_matrix(planted.matrix).matrix - signal) ** 2))
        found = rmtlib.spectrum(planted.matrix)
        known = shrink_singular_values(found.nu, shape, sigma=0.05)
        with_known_noise.append(np.sum(((found.output_vectors.T * known) @ found.input_vectors - signal) ** 2))
        optimal.append(optimal_squared_error(planted))
    assert np.sqrt(np.mean(filtered) / np.mean(optimal)) == pytest.approx(1, abs=0.02)
    assert np.sqrt(np.mean(with_known_noise) / np.mean(optimal)) == pytest.approx(1, abs=0.02)


def test_the_frobenius_shrinker_beats_the_inverse_map_and_that_truncation():
    planted = ensembles.spiked((600, 300), 3, strengths=[1.5, 2, 3])
    signal = planted_matrix(planted)
    filtered = [filter_matrix(planted.matrix, shrink=kind).matrix for kind in ("frobenius", "inverse", False)]
    errors = [np.linalg.norm(matrix - signal) for matrix in filtered]
    assert errors[0] < 0.96 * errors[1] < 0.92 * errors[2]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_rank_is_found_exactly_at_one_and_a_half_times_the_threshold(shape):
    for seed in range(8):
        planted = ensembles.spiked(shape, [7, seed], strengths=np.full(3, 1.5 * threshold(shape)), sigma=0.02)
        result = filter_matrix(planted.matrix)
        assert (result.rank, result.removed) == (3, min(shape) - 3)
        assert result.sigma == pytest.approx(0.02, rel=0.005)


def test_noise_keeps_nothing():
    result = filter_matrix(ensembles.gaussian((300, 200), 5))
    assert (result.rank, result.removed) == (0, 200)
    assert not result.matrix.any()
    assert result.cut == result.edge > result.nu[-1]


def test_the_matrix_has_the_vectors_of_the_old_one_and_the_new_singular_values():
    W = ensembles.spiked((120, 80), 1, strengths=[2, 3]).matrix
    result = filter_matrix(W)
    left, nu, right = np.linalg.svd(W, full_matrices=False)
    np.testing.assert_allclose(result.nu, nu[::-1], rtol=1e-9)
    np.testing.assert_allclose(result.matrix, (left * result.filtered_nu[::-1]) @ right, atol=1e-9)
    assert np.count_nonzero(result.filtered_nu) == result.rank == 2
    assert result.nu[-2] >= result.cut > result.nu[-3]


@pytest.mark.parametrize("W", [gaussian(90, 70), gaussian(70, 90), gaussian(80, 80)])
def test_filtering_the_transpose_is_transposing_the_filtered(W):
    np.testing.assert_allclose(filter_matrix(W.T, cut=20).matrix, filter_matrix(W, cut=20).matrix.T, atol=1e-5)


def test_a_cut_by_number_or_share_keeps_that_many_levels():
    W = gaussian(90, 70)
    for cut, rank in ((7, 7), (np.int64(70), 70), (0.1, 7), (1.0, 70), (0.001, 1)):
        result = filter_matrix(W, cut=cut, shrink=False)
        assert (result.rank, result.removed) == (rank, 70 - rank)
        np.testing.assert_allclose(result.matrix, truncate(W, rank), atol=1e-5)
        assert np.isnan(result.edge)
        assert result.cut == result.nu[70 - rank]


def test_a_cut_inside_the_bulk_shrinks_the_outliers_and_leaves_the_rest():
    planted = ensembles.spiked((300, 200), 2, strengths=[3.0])
    result = filter_matrix(planted.matrix, cut=50)
    assert result.rank == 50
    np.testing.assert_array_equal(result.filtered_nu[-50:-1], result.nu[-50:-1])
    assert result.filtered_nu[-1] == pytest.approx(filter_matrix(planted.matrix).filtered_nu[-1])
    assert result.filtered_nu[-1] < 0.97 * result.nu[-1]


@pytest.mark.parametrize("below", [0, 4])
def test_noise_is_as_large_as_what_the_outliers_of_both_ends_leave(below):
    rng = np.random.default_rng(3)
    left, nu, right = np.linalg.svd(rng.standard_normal((200, 80)), full_matrices=False)
    nu[:5] = [60, 50, 45, 40, 36]
    nu[80 - below :] = 0.3
    W = (left * nu) @ right
    fit = rmtlib.fit_marchenko_pastur(nu[::-1], W.shape)
    assert (fit.n_outliers, fit.n_outliers_below) == (5, below)
    n, m = 200 - 5 - below, 80 - 5 - below
    y, beta = nu[:5] / (fit.sigma * np.sqrt(n)), m / n
    # Gavish and Donoho (2017), eq. 7
    expected = fit.sigma * np.sqrt(n) * np.sqrt((y**2 - beta - 1) ** 2 - 4 * beta) / y
    np.testing.assert_allclose(filter_matrix(W).filtered_nu[::-1][:5], expected, rtol=1e-6)


def test_keeping_everything_gives_the_matrix_back():
    W = gaussian(90, 70).astype(np.float64)
    np.testing.assert_allclose(filter_matrix(W, cut=1.0, shrink=False).matrix, W, atol=1e-9)


# Low rank


@pytest.mark.parametrize("shape", [(30, 20), (20, 30)])
def test_truncation_is_the_closest_matrix_of_its_rank(shape):
    W = gaussian(*shape).astype(np.float64)
    nu = np.linalg.svd(W, compute_uv=False)
    for rank in (1, 5, 19):
        truncated = truncate(W, rank)
        assert np.linalg.matrix_rank(truncated) == rank
        # Eckart and Young
        assert np.linalg.norm(W - truncated) == pytest.approx(np.sqrt(np.sum(nu[rank:] ** 2)), rel=1e-9)
    np.testing.assert_allclose(truncate(W, 20), W, atol=1e-9)


def test_truncating_twice_is_truncating_once():
    once = truncate(gaussian(40, 30), 4)
    np.testing.assert_allclose(truncate(once, 4), once, atol=1e-9)
    np.testing.assert_allclose(truncate(once, 9), once, atol=1e-9)


def test_factors_multiply_to_the_truncated_matrix_with_equal_norms():
    W = gaussian(40, 30)
    factors = low_rank_factors(W, 6)
    assert (factors.left.shape, factors.right.shape) == ((40, 6), (6, 30))
    np.testing.assert_allclose(factors.matrix, truncate(W, 6), atol=1e-9)
    np.testing.assert_allclose(factors.left.T @ factors.left, factors.right @ factors.right.T, atol=1e-6)
    assert factors.parameters == 6 * (40 + 30)
    x = gaussian(30)
    np.testing.assert_allclose(factors.left @ (factors.right @ x), truncate(W, 6) @ x, atol=1e-5)


# Networks in all formats


def expected_layers(arrays, **options):
    return {name: filter_matrix(arrays[f"{name}.weight"], **options) for name in ("dense1", "dense2")}


def test_a_mapping_comes_back_as_a_mapping_with_filtered_matrices():
    arrays = network()
    before = {name: array.copy() for name, array in arrays.items()}
    result = filter_network(arrays, **QUIET)
    assert list(result.weights) == list(arrays)
    for name, expected in expected_layers(arrays).items():
        new = result.weights[f"{name}.weight"]
        assert new.dtype == np.float32
        np.testing.assert_allclose(new, expected.matrix, atol=1e-6)
    for name in ("dense1.bias", "dense2.bias", "dense3.weight"):
        np.testing.assert_array_equal(result.weights[name], arrays[name])
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])
        assert not np.shares_memory(array, result.weights[name])


def test_the_report_says_what_was_removed_from_each_layer():
    arrays = network()
    result = filter_network(arrays, **QUIET)
    report = result.report.set_index("layer")
    assert list(report.index) == ["dense1", "dense2"]
    assert report["rank"].tolist() == [3, 2]
    assert report["removed"].tolist() == [87, 88]
    assert report["levels"].tolist() == [90, 90]
    assert report["note"].tolist() == ["", ""]
    for name, expected in expected_layers(arrays).items():
        row = report.loc[name]
        assert row["shape"] == arrays[f"{name}.weight"].shape
        assert row["sigma"] == pytest.approx(expected.sigma)
        assert row["cut"] == row["edge"] == pytest.approx(expected.edge)
        assert row["norm_before"] == pytest.approx(np.linalg.norm(arrays[f"{name}.weight"]), rel=1e-6)
        assert row["norm_after"] == pytest.approx(np.linalg.norm(result.weights[f"{name}.weight"]), rel=1e-5)
    assert [(skipped.name, skipped.shape) for skipped in result.skipped] == [
        ("dense1.bias", (90,)),
        ("dense2.bias", (100,)),
        ("dense3", (10, 100)),
    ]


def test_a_layer_of_noise_is_left_as_it_is_and_the_report_says_so():
    arrays = network() | {"dense4.weight": gaussian(100, 100, seed=4)}
    result = filter_network(arrays, **QUIET)
    np.testing.assert_array_equal(result.weights["dense4.weight"], arrays["dense4.weight"])
    row = result.report.set_index("layer").loc["dense4"]
    assert (row["rank"], row["removed"], row["norm_after"]) == (100, 0, row["norm_before"])
    assert row["note"] == "left as it is: no singular value beyond those of noise"


def test_a_layer_whose_bulk_cannot_be_fitted_is_left_as_it_is_and_the_report_says_why():
    arrays = network() | {"eye.weight": np.eye(100, dtype=np.float32)}
    result = filter_network(arrays, **QUIET)
    np.testing.assert_array_equal(result.weights["eye.weight"], np.eye(100))
    assert "left as it is: nu has too many coinciding levels" in result.report.set_index("layer").loc["eye", "note"]


def test_layers_and_cuts_can_be_chosen():
    arrays = network()
    one = filter_network(arrays, layers=["dense2"], shrink="inverse", **QUIET)
    np.testing.assert_array_equal(one.weights["dense1.weight"], arrays["dense1.weight"])
    expected = filter_matrix(arrays["dense2.weight"], shrink="inverse").matrix
    np.testing.assert_allclose(one.weights["dense2.weight"], expected, atol=1e-6)
    assert one.report["layer"].tolist() == ["dense2"]
    each = filter_network(arrays, cut={"dense1": 5, "dense2": 0.5}, shrink=False, **QUIET)
    assert each.report["rank"].tolist() == [5, 45]
    assert found_rank(each.weights["dense1.weight"]) == 5
    small = filter_network(arrays, cut={"dense3": 4}, shrink=False, min_levels=2, **QUIET)
    assert found_rank(small.weights["dense3.weight"]) == 4
    np.testing.assert_array_equal(small.weights["dense1.weight"], arrays["dense1.weight"])


def test_a_state_dict_comes_back_as_one_that_the_module_loads():
    module = torch.nn.Sequential(torch.nn.Linear(160, 90), torch.nn.BatchNorm1d(90), torch.nn.Linear(90, 100))
    arrays = network()
    with torch.no_grad():
        module[0].weight.copy_(torch.from_numpy(arrays["dense1.weight"]))
        module[2].weight.copy_(torch.from_numpy(arrays["dense2.weight"]))
    state = module.state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    for source in (module, state):
        result = filter_network(source, **QUIET)
        assert isinstance(result.weights, collections.OrderedDict)
        assert result.weights._metadata == state._metadata
        assert list(result.weights) == list(state)
        for name, array in (("0", arrays["dense1.weight"]), ("2", arrays["dense2.weight"])):
            new = result.weights[f"{name}.weight"]
            assert (new.dtype, new.requires_grad) == (torch.float32, False)
            np.testing.assert_allclose(new.numpy(), filter_matrix(array).matrix, atol=1e-6)
        assert result.weights["1.num_batches_tracked"].dtype == torch.int64
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, before[name])
            assert tensor.data_ptr() != result.weights[name].data_ptr()
    module.load_state_dict(result.weights)


def test_tied_tensors_stay_tied():
    tied = torch.from_numpy(network()["dense1.weight"])
    result = filter_network({"embed.weight": tied, "head.weight": tied}, **QUIET)
    assert result.weights["embed.weight"] is result.weights["head.weight"]
    assert found_rank(result.weights["head.weight"]) == 3
    assert result.report["layer"].tolist() == ["embed"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_dtypes_are_kept(dtype):
    stored = torch.from_numpy(network()["dense1.weight"]).to(dtype)
    new = filter_network({"dense1.weight": stored}, **QUIET).weights["dense1.weight"]
    assert new.dtype == dtype
    expected = torch.from_numpy(filter_matrix(stored.double().numpy()).matrix).float().to(dtype)
    assert ((new - expected).abs() <= 0.01 * expected.abs() + 1e-6).all()
    assert found_rank(new.double().numpy()) == 3


def test_a_file_becomes_a_new_file_with_its_metadata_and_other_tensors(tmp_path):
    arrays = network() | {"steps": np.arange(7)}
    source, output = tmp_path / "model.safetensors", tmp_path / "filtered.safetensors"
    save_file(arrays, source, metadata={"format": "pt", "who": "test"})
    original = source.read_bytes()
    result = filter_network(source, output, **QUIET)
    assert result.weights == output
    assert source.read_bytes() == original
    assert sorted(path.name for path in tmp_path.iterdir()) == ["filtered.safetensors", "model.safetensors"]
    with safe_open(output, framework="numpy") as file:
        assert file.metadata() == {"format": "pt", "who": "test"}
    new, expected = load_file(output), filter_network(arrays, **QUIET)
    assert set(new) == set(arrays)
    for name in arrays:
        np.testing.assert_array_equal(new[name], expected.weights[name])
    assert result.report.equals(expected.report)
    # An older result is replaced, and paths may be text.
    filter_network(str(source), str(output), cut=5, shrink=False, **QUIET)
    assert found_rank(load_file(output)["dense1.weight"]) == 5


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes_of_files_are_kept(dtype, tmp_path):
    arrays = {name: array.astype(dtype) for name, array in network().items()}
    source = safetensors(tmp_path / "model.safetensors", arrays)
    result = filter_network(source, tmp_path / "new.safetensors", **QUIET)
    new = load_file(result.weights)
    assert {array.dtype for array in new.values()} == {np.dtype(dtype)}
    assert found_rank(new["dense1.weight"]) == 3
    np.testing.assert_array_equal(new["dense2.bias"], arrays["dense2.bias"])


def test_bfloat16_of_files_and_arrays_is_kept_and_rounded_to_nearest(tmp_path):
    arrays = {name: bfloat16(array) for name, array in network().items()}
    source = safetensors(tmp_path / "model.safetensors", arrays)
    result = filter_network(source, tmp_path / "new.safetensors", **QUIET)
    mapping = filter_network(arrays, **QUIET).weights
    with safe_open(result.weights, framework="pt") as file:
        for name in arrays:
            new = file.get_tensor(name)
            assert new.dtype == torch.bfloat16
            assert mapping[name].dtype == arrays[name].dtype
            np.testing.assert_array_equal(new.float().numpy(), mapping[name].astype(np.float32))
        expected = filter_matrix(arrays["dense1.weight"].astype(np.float32)).matrix.astype(np.float32)
        assert torch.equal(file.get_tensor("dense1.weight"), torch.from_numpy(expected).bfloat16())


def test_the_trained_tensors_of_a_run_s_file_are_filtered(tmp_path):
    folder = run_folder(tmp_path / "run", 100, 80, 70)
    output = tmp_path / "new.safetensors"
    filter_network(folder / "weights.safetensors", output, cut=9, shrink=False, **QUIET)
    old, new = load_file(folder / "weights.safetensors"), load_file(output)
    assert list(rmtlib.load_weights(output)) == ["dense1", "dense2"]
    assert [found_rank(new[f"trained.dense{i}.weight"]) for i in (1, 2)] == [9, 9]
    for name in old:
        if not name.startswith("trained") or name.endswith("bias"):
            np.testing.assert_array_equal(new[name], old[name])


# Convolutions


def convolution_rule(kernel):
    return np.moveaxis(kernel, 1, -1).reshape(len(kernel), -1)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_convolution_is_filtered_as_the_matrix_of_the_convolution_rule(dimensions):
    kernel = gaussian(70, 40, *[3, 2, 2][:dimensions])
    new = filter_network({"conv.weight": kernel}, cut=8, shrink=False, **QUIET).weights["conv.weight"]
    assert new.shape == kernel.shape
    np.testing.assert_allclose(convolution_rule(new), truncate(convolution_rule(kernel), 8), atol=1e-5)


def test_a_keras_convolution_is_filtered_as_the_same_layer_of_torch():
    kernel = gaussian(70, 40, 3, 2)
    keras = np.moveaxis(kernel, (0, 1), (-1, -2))
    result = filter_network({"conv/kernel": keras}, cut=8, shrink=False, **QUIET).weights["conv/kernel"]
    torchs = filter_network({"conv.weight": kernel}, cut=8, shrink=False, **QUIET).weights["conv.weight"]
    np.testing.assert_allclose(np.moveaxis(result, (-1, -2), (0, 1)), torchs, atol=1e-5)


def test_a_kernel_in_channels_last_order_is_filtered_like_any_other():
    kernel = torch.from_numpy(gaussian(70, 40, 3, 3))
    last = kernel.to(memory_format=torch.channels_last)
    new, expected = (
        filter_network({"conv.weight": k}, cut=8, shrink=False, **QUIET).weights["conv.weight"].numpy() for k in (last, kernel)
    )
    np.testing.assert_allclose(new, expected, atol=1e-6)
    assert np.abs(new - kernel.numpy()).max() > 0.1


def test_each_group_of_a_convolution_is_filtered_by_itself():
    module = torch.nn.Conv2d(120, 140, 3, groups=2)
    kernel = module.weight.detach().numpy().copy()
    result = filter_network(module, cut={"weight#0": 5, "weight#1": 9}, shrink=False, **QUIET)
    new = convolution_rule(result.weights["weight"].numpy())
    np.testing.assert_allclose(new[:70], truncate(convolution_rule(kernel)[:70], 5), atol=1e-6)
    np.testing.assert_allclose(new[70:], truncate(convolution_rule(kernel)[70:], 9), atol=1e-6)
    named = filter_network({"conv.weight": kernel}, cut=5, shrink=False, groups={"conv": 2}, **QUIET)
    assert named.report["layer"].tolist() == ["conv#0", "conv#1"]


def test_a_matrix_in_the_order_of_keras_is_filtered_in_its_own_order():
    W = gaussian(120, 80)
    new = filter_network({"dense/kernel": W}, cut=8, shrink=False, **QUIET).weights["dense/kernel"]
    np.testing.assert_allclose(new, truncate(W, 8), atol=1e-5)


# What is refused


@pytest.fixture
def source(tmp_path):
    return safetensors(tmp_path / "model.safetensors", network())


@pytest.mark.parametrize("how", ["same", "dots", "symlink", "broken chain", "hard link", "folder link"])
def test_the_input_is_never_overwritten_by_any_name(how, source, tmp_path):
    names = {
        "same": source,
        "dots": tmp_path / "sub" / ".." / source.name,
        "symlink": tmp_path / "link.safetensors",
        "broken chain": tmp_path / "second.safetensors",
        "hard link": tmp_path / "hard.safetensors",
        "folder link": tmp_path / "folder" / source.name,
    }
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.safetensors").symlink_to(source)
    (tmp_path / "second.safetensors").symlink_to(tmp_path / "link.safetensors")
    (tmp_path / "folder").symlink_to(tmp_path)
    os.link(source, tmp_path / "hard.safetensors")
    before = source.read_bytes()
    with pytest.raises(ValueError, match="output must not be the input, which is never overwritten"):
        filter_network(source, names[how], **QUIET)
    with pytest.raises(ValueError, match="output must not be the input, which is never overwritten"):
        filter_network(names[how], source, **QUIET)
    assert source.read_bytes() == before


def test_no_part_of_a_file_is_left_when_filtering_fails(source, tmp_path, monkeypatch):
    output = tmp_path / "new.safetensors"
    output.write_bytes(b"older result")
    calls = []

    def full_disk(array, tensor):
        calls.append(tensor.name)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return array

    monkeypatch.setattr("rmtlib.weights.write.stored_bits", full_disk)
    with pytest.raises(OSError, match="No space left"):
        filter_network(source, output, **QUIET)
    assert calls == ["dense1.weight", "dense2.weight"]
    assert output.read_bytes() == b"older result"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "new.safetensors"]


def test_weights_that_overflow_their_dtype_are_refused_and_no_file_is_left(tmp_path):
    # The closest matrix of rank one to such a cross is twice as large where its bars meet.
    cross = np.full((100, 100), 0.1, np.float32)
    cross[:10], cross[:, :10] = 1, 1
    W = (60000 * cross).astype(np.float16)
    with pytest.raises(ValueError, match="filtered weights of 'fc.weight' are too large for float16"):
        filter_network({"fc.weight": W}, cut=1, shrink=False, **QUIET)
    with pytest.raises(ValueError, match="filtered weights of 'fc.weight' are too large for torch.float16"):
        filter_network({"fc.weight": torch.from_numpy(W)}, cut=1, shrink=False, **QUIET)
    source = safetensors(tmp_path / "model.safetensors", {"fc.weight": W})
    with pytest.raises(ValueError, match="too large for float16"):
        filter_network(source, tmp_path / "new.safetensors", cut=1, shrink=False, **QUIET)
    source = safetensors(tmp_path / "model.safetensors", {"fc.weight": bfloat16(cross * np.float32(3e38))})
    with pytest.raises(ValueError, match="too large for bfloat16"):
        filter_network(source, tmp_path / "new.safetensors", cut=1, shrink=False, **QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "output must be the path of the new .safetensors file; got None"),
        ("new.npz", "output must be a .safetensors file in a folder that exists; got "),
        ("missing/new.safetensors", "output must be a .safetensors file in a folder that exists; got "),
        ("folder.safetensors", "output must be a .safetensors file in a folder that exists; got "),
    ],
)
def test_an_output_that_cannot_be_written_is_refused(output, message, source, tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ValueError, match=message):
        filter_network(source, output and tmp_path / output, **QUIET)


def test_a_source_of_another_kind_is_refused(tmp_path):
    output = tmp_path / "new.safetensors"
    torch.save(torch.nn.Linear(3, 3).state_dict(), tmp_path / "model.pt")
    for path in (tmp_path / "model.pt", tmp_path, tmp_path / "missing.safetensors"):
        with pytest.raises(ValueError, match="model_or_weights must be a .safetensors file that exists; got"):
            filter_network(path, output, **QUIET)
    for thing in (3, None, np.eye(100)):
        with pytest.raises(ValueError, match="model_or_weights must be the path of a .safetensors file, a mapping"):
            filter_network(thing, **QUIET)
    with pytest.raises(ValueError, match="output is for files alone; an object of type dict comes back as a mapping"):
        filter_network(network(), output, **QUIET)
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        filter_network(raw_safetensors(tmp_path / "bad.safetensors", {}, length=10**6), output, **QUIET)
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cut": 0}, "cut of 'dense1' must be 'edge', a whole number from 1 to the 90 singular values, or a share .*; got 0"),
        ({"cut": 91}, "cut of 'dense1' must be 'edge', a whole number from 1 to the 90 singular values"),
        ({"cut": True}, "cut of 'dense1' must be .*; got True"),
        ({"cut": 1.5}, "cut of 'dense1' must be .*; got 1.5"),
        ({"cut": float("nan")}, "cut of 'dense1' must be .*; got nan"),
        ({"cut": "bulk"}, "cut of 'dense1' must be .*; got 'bulk'"),
        ({"cut": None}, "cut of 'dense1' must be .*; got None"),
        ({"cut": {"dense1": 5, "dense2": 100}}, "cut of 'dense2' must be .*; got 100"),
        ({"cut": {"dense1": 5}, "layers": ["dense1", "dense2"]}, "cut must name every layer of layers; it lacks 'dense2'"),
        ({"cut": {"fc": 5}}, "layers must name matrices of the network; no layer 'fc'; there are: dense1, dense2"),
        ({"layers": ["dense3"]}, "layers must name matrices of the network; dense3 was skipped: 10 levels, fewer than"),
        ({"layers": "dense1"}, "layers must be names of matrices in a list; got 'dense1'"),
        ({"layers": 1}, "layers must be names of matrices in a list; got 1"),
        ({"layers": []}, "there is no layer to filter; dense1.bias: bias vector"),
        ({"min_levels": 95}, "there is no layer to filter; dense1: 90 levels"),
        ({"shrink": "soft"}, "shrink must be True, False, 'frobenius' or 'inverse'; got 'soft'"),
        ({"shrink": None}, "shrink must be True, False, 'frobenius' or 'inverse'; got None"),
        ({"a": 0}, "a must be an integer of at least 1; got 0"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_filtered(options, message, monkeypatch):
    monkeypatch.setattr(filtering, "filter_matrix", lambda *args, **kwargs: pytest.fail("filtered"))
    with pytest.raises(ValueError, match=message):
        filter_network(network(), **options, **QUIET)


def test_a_layer_with_nan_is_passed_on_and_cannot_be_chosen():
    arrays = network()
    arrays["dense1.weight"][3, 4] = np.nan
    result = filter_network(arrays, **QUIET)
    np.testing.assert_array_equal(result.weights["dense1.weight"], arrays["dense1.weight"])
    assert result.report["layer"].tolist() == ["dense2"]
    assert ("dense1", (90, 160), "1 of 14400 entries are nan or infinite") in result.skipped
    with pytest.raises(ValueError, match="dense1: 1 of 14400 entries are nan or infinite"):
        filter_network(arrays, layers=["dense1"], **QUIET)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spiked_strength(-1.0, 0.5), "nu must hold finite singular values that are not negative"),
        (lambda: spiked_strength([1.0, np.inf], 0.5), "nu must hold finite singular values that are not negative"),
        (lambda: spiked_strength(2.0, 1.5), "c = m/n must be at most 1; got 1.5"),
        (lambda: spiked_strength(2.0, 0), "c must be a finite number above 0; got 0"),
        (lambda: shrink_singular_values([1.0], (3, 0), sigma=1), "shape must be the two whole numbers of rows and columns"),
        (lambda: shrink_singular_values([1.0], 3, sigma=1), "shape must be the two whole numbers of rows and columns"),
        (lambda: shrink_singular_values([1.0], (3, 3), sigma=0), "sigma must be a finite number above 0; got 0"),
        (lambda: shrink_singular_values([np.nan], (3, 3), sigma=1), "nu must hold finite singular values"),
        (lambda: shrink_singular_values([1.0], (3, 3), sigma=1, kind="soft"), "kind must be one of 'frobenius', 'inverse'"),
        (lambda: truncate(gaussian(4, 3), 0), "rank must be an integer of at least 1; got 0"),
        (lambda: truncate(gaussian(4, 3), 4), "rank must be at most the smaller side of W, 3; got 4"),
        (lambda: low_rank_factors(gaussian(4, 3), 2.0), "rank must be an integer of at least 1; got 2.0"),
        (lambda: low_rank_factors(gaussian(4), 1), "W must be a two-dimensional matrix"),
        (lambda: filter_matrix(np.full((90, 90), np.nan)), "W must be finite"),
        (lambda: filter_matrix(gaussian(90, 70), cut=71), "cut must be 'edge', a whole number from 1 to the 70 singular values"),
        (lambda: filter_matrix(gaussian(90, 70), shrink="x"), "shrink must be True, False"),
        (lambda: filter_matrix(gaussian(90, 70), a=40), "a must be below half of the 70 levels; got 40"),
        (lambda: filter_matrix(np.zeros((90, 70))), "nu must not be all zero"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_header_of_a_new_file_is_that_of_the_old_one(source, tmp_path):
    output = filter_network(source, tmp_path / "new.safetensors", **QUIET).weights
    old, new = source.read_bytes(), output.read_bytes()
    start = 8 + int.from_bytes(old[:8], "little")
    assert old[:start] == new[:start]
    assert len(old) == len(new)
    assert old[start:] != new[start:]


def test_networks_of_any_width_keep_the_rest_of_their_tensors():
    arrays = state_dict(200, 70, 64, 10)
    result = filter_network(arrays, cut=0.25, shrink=False, **QUIET)
    assert result.report["rank"].tolist() == [18, 16]
    np.testing.assert_array_equal(result.weights["dense3.weight"], arrays["dense3.weight"])


def test_the_honest_gain_is_judged_on_the_half_that_did_not_choose():
    cuts = pd.DataFrame({"first_half": [0.6, 0.5, 0.4], "second_half": [0.3, 0.5, 0.7]}, index=[7, 8, 9])
    untreated = {"first_half": 0.45, "second_half": 0.5}
    # the first half chooses 7, judged by the second; the second chooses 9, judged by the first
    assert filtering.honest_gain(cuts, untreated) == pytest.approx(((0.3 - 0.5) + (0.4 - 0.45)) / 2)


def test_treatments_that_do_nothing_have_no_honest_gain():
    rng, gains = np.random.default_rng(0), []
    for _ in range(200):
        halves = pd.DataFrame(rng.normal(0.5, 0.01, size=(50, 2)), columns=["first_half", "second_half"])
        gains.append(filtering.honest_gain(halves, {"first_half": 0.5, "second_half": 0.5}))
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(200)
    with pytest.raises(ValueError, match="treatments must have at least one row; got none"):
        filtering.honest_gain(halves[:0], {"first_half": 0.5, "second_half": 0.5})


def test_a_grouped_convolution_with_nan_is_passed_on_as_one_without_groups():
    kernel = gaussian(64, 32, 3, 3)
    kernel[0, 0, 0, 0] = np.nan
    network = {"conv.weight": kernel, "fc.weight": gaussian(40, 32)}
    found = filter_network(network, groups={"conv": 2}, **QUIET)
    assert found.report["layer"].tolist() == ["fc"]
    assert {skipped.name for skipped in found.skipped} == {"conv"}
    np.testing.assert_array_equal(found.weights["conv.weight"], kernel)


def test_the_honest_gain_does_not_depend_on_how_treatments_are_numbered():
    table = pd.DataFrame({"first_half": [0.50, 0.58], "second_half": [0.57, 0.51]})
    untreated = {"first_half": 0.5, "second_half": 0.5}
    twice = pd.concat([table, table + 0.001])
    assert filtering.honest_gain(twice, untreated) == filtering.honest_gain(twice.reset_index(drop=True), untreated)
