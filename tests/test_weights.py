import doctest
import gc
import importlib
import json
import pickle
import sys
import tomllib
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rmtlib.weights
from rmtlib.filtering import filter_network
from rmtlib.weights import Layer, WeightsError, load_weights
from rmtlib.weights.tensors import Tensor, distinct

from . import builders
from .builders import gaussian

MLP = builders.state_dict(100, 80, 70, 10)


def reasons(weights):
    return {skipped.name: skipped.reason for skipped in weights.skipped}


def assert_same_layers(weights, arrays):
    assert set(weights) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(weights[name].matrix, array)


def test_examples_of_the_documentation_hold():
    assert doctest.testmod(rmtlib.weights).failed == 0


# Layers, their names and what is skipped


def test_dense_layers_keep_torchs_orientation_and_lose_the_ending_of_their_names(tmp_path):
    weights = load_weights(builders.safetensors(tmp_path / "mlp.safetensors", MLP))
    assert_same_layers(weights, {"dense1": MLP["dense1.weight"], "dense2": MLP["dense2.weight"]})
    layer = weights["dense1"]
    assert isinstance(layer, Layer)
    assert (layer.name, layer.shape, layer.kind, layer.matrix.dtype) == ("dense1", (80, 100), "dense", np.float32)
    assert [name for name, layer in weights.items() if layer.name == name] == ["dense1", "dense2"]


def test_every_tensor_without_a_matrix_is_listed_with_its_reason():
    arrays = {
        "fc.weight": gaussian(70, 90),
        "fc.bias": np.zeros(70),
        "bn1.weight": np.ones(70),
        "norm.running_mean": np.ones(70),
        "scale": np.ones(5),
        "bn1.num_batches_tracked": np.array(3),
        "head.weight": gaussian(10, 70),
        "codes.weight": np.ones((70, 90), np.int8),
        "attn.bias": np.ones((1, 1, 70, 70)),
        "none.weight": np.ones((0, 70)),
        "experts.weight": gaussian(4, 70, 70),
        "deep.weight": np.ones((70, 70, 1, 1, 1, 1)),
        "version": "1.0",
    }
    weights = load_weights(arrays)
    assert list(weights) == ["fc"]
    expected = {
        "fc.bias": "bias vector",
        "bn1": "normalisation vector",
        "norm.running_mean": "normalisation vector",
        "scale": "vector",
        "bn1.num_batches_tracked": "scalar",
        "head": "10 levels, fewer than min_levels = 16",
        "codes": "dtype int8, not one of float16, bfloat16, float32, float64",
        "attn.bias": "a bias or mask of several dimensions, not a weight",
        "none": "no entries",
        "experts": "a stack of experts, whose orientation a file does not tell: give each matrix by itself, or the layout",
        "deep": "6 dimensions, more than a convolution has",
        "version": "not a tensor but of type str",
    }
    assert reasons(weights) == expected
    name, shape, reason = weights.skipped[0]
    assert (name, shape, reason) == ("fc.bias", (70,), "bias vector")


def test_nothing_left_gives_an_empty_mapping_that_says_why():
    weights = load_weights({"a.weight": gaussian(15, 500), "b.bias": np.ones(3)})
    assert len(weights) == 0
    assert reasons(weights) == {"a": "15 levels, fewer than min_levels = 16", "b.bias": "bias vector"}
    assert repr(weights) == "Weights(0 matrices: none; 2 tensors skipped)"


def test_min_levels_decides_which_layers_stay():
    assert list(load_weights({"a.weight": gaussian(16, 500)})) == ["a"]
    assert list(load_weights({"a.weight": gaussian(3, 5)}, min_levels=3)) == ["a"]


def test_kinds_follow_from_dimensions_and_names():
    names = {
        "transformer.wte.weight": "embedding",
        "model.embed_tokens.weight": "embedding",
        "layers.0.self_attn.q_proj.weight": "attention",
        "encoder.layer.0.attention.self.query.weight": "attention",
        "blocks.0.mlp.fc1.weight": "dense",
        "lm_head.weight": "dense",
    }
    weights = load_weights({name: (i + 1) * gaussian(64, 64) for i, name in enumerate(names)})
    assert {name: weights[name.removesuffix(".weight")].kind for name in names} == names
    weights = load_weights({"patch_embed.proj.weight": gaussian(64, 3, 8, 8), "pos_embed": gaussian(1, 65, 64)})
    assert [(layer.kind, layer.matrix.shape) for layer in weights.values()] == [
        ("convolution", (64, 192)),
        ("embedding", (65, 64)),
    ]


def test_a_name_that_two_tensors_would_share_stays_whole():
    assert set(load_weights({"a": gaussian(64, 64), "a.weight": gaussian(64, 65)})) == {"a", "a.weight"}


def test_of_two_tensors_of_one_name_the_second_is_listed(tmp_path):
    X, Y = gaussian(20, 30), gaussian(20, 31)
    reason = "another tensor has the name a.b, and comes before it: give it a name of its own"
    for content in ({"a.b": X, "a": {"b": Y}}, {"a": {"b": X}, "a.b": Y}, {"a": [{"b": X}], "a.0.b": Y}):
        weights = load_weights(content)
        assert_same_layers(weights, {next(iter(weights)): X})
        name = next(iter(weights))
        assert weights.skipped == [(f"{name}'", (20, 31), reason.replace("a.b", name))]
    weights = load_weights({1: X, "1": Y, "1'": X, "a": {"1": Y}, "b": 1})
    assert_same_layers(weights, {"1": X, "1'": X, "a.1": Y})
    assert reasons(weights)["1'2"].startswith("another tensor has the name 1,")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for array in (X, Y, Y):
            with archive.open("w.npy", "w") as file:
                np.save(file, array)
    weights = load_weights(tmp_path / "a.npz")
    assert (list(weights), list(reasons(weights))) == (["w"], ["w'", "w'2"])


def test_of_two_tensors_of_one_name_filtering_changes_the_one_that_is_a_layer():
    X, Y = gaussian(40, 60), gaussian(40, 61)
    new = filter_network({1: X, "1": Y}, cut=3, shrink=False).weights
    assert np.linalg.matrix_rank(new[1]) == 3
    np.testing.assert_array_equal(new["1"], Y)


def test_a_part_of_one_tensor_may_have_the_name_of_another():
    """And a tensor whose name loses its ending, the name of one that keeps it."""
    conv, X, Y = gaussian(32, 4, 5), gaussian(20, 30), gaussian(21, 30)
    weights, both = load_weights({"conv.weight": conv, "conv#1": X}, groups={"conv": 2}), conv.swapaxes(1, 2).reshape(2, 16, 20)
    assert_same_layers(weights, {"conv#0": both[0], "conv#1": both[1], "conv#1'": X})
    arrays = {"a": gaussian(20, 31), "a.weight": X, "a.weight.weight": Y}
    assert_same_layers(load_weights(arrays), {"a": arrays["a"], "a.weight": X, "a.weight'": Y})


def calls(function) -> int:
    """How many functions were called, of Python and of C."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


X4 = np.ones((4, 4), np.float32)
MANY = {
    "layers": lambda i: {f"l.{i}.weight": X4},
    "pairs": lambda i: {f"l.{i}.lora_A.weight": X4, f"l.{i}.lora_B.weight": X4},
    "experts": lambda i: {f"l.{i}.experts.gate_up_proj": np.ones((2, 4, 6), np.float32)},
    "quantised": lambda i: {f"l.{i}.weight": np.ones((4, 4), np.int8), f"l.{i}.weight_scale": np.ones((4, 1), np.float32)},
    "names that meet": lambda i: {i: X4, str(i): X4},
}


@pytest.mark.parametrize("kind", MANY)
def test_the_work_of_listing_grows_with_the_number_of_tensors(kind):
    def listed(count):
        arrays = {name: array for i in range(count) for name, array in MANY[kind](i).items()}
        return calls(lambda: load_weights(arrays, min_levels=2))

    listed(1)  # what is done once
    assert listed(400) < 2.1 * listed(200)


def test_the_work_of_names_that_are_all_alike_grows_with_their_number():
    few, many = (calls(lambda count=count: distinct([Tensor("w", (), "")] * count)) for count in (200, 400))
    assert many < 2.1 * few
    names = [tensor.name for tensor in distinct([Tensor(name, (), "") for name in ("w", "w'", "w", "w", "w'")])]
    assert names == ["w", "w'", "w'2", "w'3", "w''"]


def test_the_work_of_a_look_up_does_not_grow_with_the_number_of_layers():
    def looked_up(count, look):
        weights = load_weights({f"l.{i}.weight": X4 for i in range(count)}, min_levels=2)
        return calls(lambda: [look(weights, name) for name in weights])

    for look in (
        lambda weights, name: weights.shapes[name],
        lambda weights, name: weights.kinds[name],
        lambda weights, name: weights.replace(name, X4),
    ):
        assert looked_up(400, look) < 2.1 * looked_up(200, look)


def test_shapes_and_kinds_follow_a_layer_that_is_not_finite_and_cannot_be_changed():
    arrays = {"a": gaussian(20, 30), "b": np.full((20, 31), np.nan), "c": gaussian(20, 32)}
    weights = load_weights(arrays)
    for name in weights.shapes:  # as they were when it began
        if name == "b":
            with pytest.raises(WeightsError, match="nan"):
                weights[name]
    assert weights.shapes == {"a": (20, 30), "c": (20, 32)}
    assert weights.kinds == {"a": "dense", "c": "dense"}
    with pytest.raises(TypeError, match="does not support item assignment"):
        weights.shapes["a"] = (1, 2)


def test_unknown_and_skipped_names_raise_a_key_error_that_says_why():
    weights = load_weights(MLP)
    with pytest.raises(KeyError, match="no layer 'dense9'; there are: dense1, dense2"):
        weights["dense9"]
    with pytest.raises(KeyError, match="dense3 was skipped: 10 levels"):
        weights["dense3"]
    assert "dense3" not in weights
    assert weights.get("dense3") is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_layers_with_nan_or_infinite_weights_are_found_when_they_are_read(tmp_path, value):
    arrays = {"good.weight": gaussian(70, 70), "bad.weight": gaussian(70, 80)}
    arrays["bad.weight"][3, 4:6] = value
    path = builders.safetensors(tmp_path / "a.safetensors", arrays)
    weights = load_weights(path)
    assert list(weights) == ["bad", "good"]
    assert weights.skipped == []
    for _ in range(2):
        with pytest.raises(WeightsError, match="bad: 2 of 5600 entries are nan or infinite"):
            weights["bad"]
        assert list(weights) == ["good"]
        assert weights.skipped == [("bad", (70, 80), "2 of 5600 entries are nan or infinite")]


# Number types


def test_half_precision_is_converted_exactly_and_double_stays(tmp_path):
    array = gaussian(70, 70)
    arrays = {"half": array.astype(np.float16), "brain": builders.bfloat16(array), "double": array.astype(np.float64) * np.pi}
    weights = load_weights(builders.safetensors(tmp_path / "a.safetensors", arrays))
    assert {name: layer.matrix.dtype.name for name, layer in weights.items()} == {
        "brain": "float32",
        "double": "float64",
        "half": "float32",
    }
    assert_same_layers(weights, {name: a.astype(np.float64 if name == "double" else np.float32) for name, a in arrays.items()})


@pytest.mark.parametrize(
    ("code", "name", "size"), [("I8", "int8", 1), ("F8_E4M3", "float8_e4m3", 1), ("I64", "int64", 8), ("BOOL", "bool", 1)]
)
def test_other_number_types_are_skipped_by_name(tmp_path, code, name, size):
    header = {"w.weight": {"dtype": code, "shape": [70, 70], "data_offsets": [0, 4900 * size]}}
    weights = load_weights(builders.raw_safetensors(tmp_path / "a.safetensors", header, bytes(4900 * size)))
    assert weights.skipped == [("w", (70, 70), f"dtype {name}, not one of float16, bfloat16, float32, float64")]


def test_arrays_of_foreign_byte_order_become_native(tmp_path):
    array = gaussian(70, 70)
    np.savez(tmp_path / "a.npz", w=array.astype(">f4"))
    matrix = load_weights(tmp_path / "a.npz")["w"].matrix
    assert matrix.dtype.isnative
    np.testing.assert_array_equal(matrix, array)


# Convolutions


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(2, 6), st.integers(2, 6))
def test_torch_and_keras_kernels_give_the_papers_matrix(dimensions, k, c_in, c_out):
    keras = gaussian(*[k] * dimensions, c_in, c_out)
    torch = np.moveaxis(keras, (-1, -2), (0, 1))
    from_keras = load_weights({"conv/kernel": keras}, min_levels=2)
    from_torch = load_weights({"conv.weight": torch}, min_levels=2)
    np.testing.assert_array_equal(from_torch["conv"].matrix, from_keras["conv"].matrix)
    np.testing.assert_array_equal(from_torch["conv"].matrix.T, keras.reshape(k**dimensions * c_in, c_out))
    assert (from_torch["conv"].shape, from_torch["conv"].kind) == (torch.shape, "convolution")


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_matrices_of_a_convolution_act_as_the_torch_layer_does(groups, transposed):
    import torch

    torch.manual_seed(0)
    layer = (torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d)(12, 18, 3, groups=groups, bias=False)
    weights = load_weights(layer, min_levels=2)
    assert list(weights) == (["weight"] if groups == 1 else [f"weight#{i}" for i in range(groups)])
    matrices = [part.matrix for part in weights.values()]
    assert {matrix.shape for matrix in matrices} == {(18 // groups, 9 * 12 // groups)}
    if transposed:
        x = torch.randn(1, 12, 1, 1)
        inputs = x.numpy().reshape(groups, -1)
        kernels = [matrix.reshape(18 // groups, 3, 3, -1) for matrix in matrices]
        outputs = np.concatenate([kernel @ part for kernel, part in zip(kernels, inputs, strict=True)])
    else:
        x = torch.randn(1, 12, 3, 3)
        inputs = x.numpy()[0].reshape(groups, -1, 3, 3).transpose(0, 2, 3, 1).reshape(groups, -1)
        outputs = np.concatenate([matrix @ part for matrix, part in zip(matrices, inputs, strict=True)])[:, None, None]
    np.testing.assert_allclose(outputs, layer(x).detach().numpy()[0], atol=1e-5)


def test_groups_of_a_file_are_given_by_name():
    kernel = gaussian(128, 20, 3, 3)
    weights = load_weights({"conv.weight": kernel}, groups={"conv": 2})
    whole = load_weights({"conv.weight": kernel})["conv"].matrix
    assert_same_layers(weights, {"conv#0": whole[:64], "conv#1": whole[64:]})
    assert weights["conv#1"].shape == (128, 20, 3, 3)
    assert weights["conv#1"].matrix.base is None or weights["conv#1"].matrix.base.size == 64 * 180


def test_a_depthwise_convolution_is_skipped_once():
    weights = load_weights({"conv.weight": gaussian(128, 1, 3, 3)}, groups={"conv": 128})
    assert reasons(weights) == {"conv": "each of 128 parts has 1 level, fewer than min_levels = 16"}


# Fused attention


@pytest.mark.parametrize(
    "name", ["attn.in_proj_weight", "blocks.0.attn.qkv.weight", "attn.Wqkv.weight", "h.0.attn.c_attn.weight"]
)
def test_fused_attention_weights_are_split_on_request(name):
    array = gaussian(3 * 64, 64)
    layer = name.removesuffix(".weight")
    assert_same_layers(load_weights({name: array}), {layer: array})
    parts = {f"{layer}#{part}": array[64 * i : 64 * (i + 1)] for i, part in enumerate("qkv")}
    assert_same_layers(load_weights({name: array}, split_qkv=True), parts)


def test_attention_weights_that_interleave_heads_stay_whole():
    array = gaussian(3 * 64, 64)
    assert_same_layers(load_weights({"query_key_value.weight": array}, split_qkv=True), {"query_key_value": array})
    grouped_query = gaussian(3 * 80, 64)
    assert_same_layers(load_weights({"attn.qkv.weight": grouped_query}, split_qkv=True), {"attn.qkv": grouped_query})


def test_gpt2_files_that_store_inputs_first_are_transposed():
    arrays = {
        "attn.c_attn.weight": gaussian(64, 192),
        "attn.c_proj.weight": gaussian(64, 64),
        "mlp.c_fc.weight": gaussian(64, 256),
    }
    layers = {name.removesuffix(".weight"): array.T for name, array in arrays.items()}
    assert_same_layers(load_weights(arrays | {"head.weight": gaussian(64, 70)}), layers | {"head": gaussian(64, 70)})
    outputs_first = {name: np.ascontiguousarray(array.T) for name, array in arrays.items()}
    assert_same_layers(load_weights(outputs_first), layers)
    query = load_weights(arrays, split_qkv=True)["attn.c_attn#q"].matrix
    np.testing.assert_array_equal(query, arrays["attn.c_attn.weight"][:, :64].T)


# Sources


def test_a_run_gives_trained_or_initial_layers_of_the_same_names(tmp_path):
    from rmtlib.runs import Run

    path = builders.run_folder(tmp_path / "run", 100, 80, 70)
    run = Run("run", path, {}, 0.9, 0.5, {})
    trained, initial = builders.state_dict(100, 80, 70, seed=100), builders.state_dict(100, 80, 70, seed=0)
    for source in (path, str(path), run, path / "weights.safetensors"):
        for weights, arrays in ((load_weights(source), trained), (load_weights(source, initial=True), initial)):
            assert_same_layers(weights, {name: arrays[f"{name}.weight"] for name in ("dense1", "dense2")})
            assert reasons(weights) == {"dense1.bias": "bias vector", "dense2.bias": "bias vector"}


def test_files_of_all_kinds_give_the_same_layers(tmp_path):
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in MLP.items()}
    torch.save(tensors, tmp_path / "new.pt")
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    np.savez(tmp_path / "plain.npz", **MLP)
    np.savez_compressed(tmp_path / "small.npz", **MLP)
    builders.sharded(tmp_path / "shards", MLP, 3)
    builders.safetensors(tmp_path / "single" / "model.safetensors", MLP)
    kernels = {f"dense{i}": ("dense", [MLP[f"dense{i}.weight"].T, MLP[f"dense{i}.bias"]]) for i in (1, 2, 3)}
    builders.keras_weights(tmp_path / "model.weights.h5", kernels)
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "not JSON, and never opened")
        archive.write(tmp_path / "model.weights.h5", "model.weights.h5")
    index = tmp_path / "shards" / "model.safetensors.index.json"
    names = ["new.pt", "old.pth", "plain.npz", "small.npz", "shards", index, "single", "model.weights.h5", "model.keras"]
    for name in names:
        weights = load_weights(tmp_path / name)
        assert_same_layers(weights, {"dense1": MLP["dense1.weight"], "dense2": MLP["dense2.weight"]})
        assert reasons(weights)["dense3"] == "10 levels, fewer than min_levels = 16"
    assert reasons(load_weights(tmp_path / "model.keras"))["optimizer/vars/0"] == "state of the optimizer"


def test_a_folder_with_two_formats_is_read_from_its_safetensors(tmp_path):
    folder = builders.sharded(tmp_path, MLP)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"w": "gone.bin"}}))
    assert list(load_weights(folder)) == ["dense1", "dense2"]


def test_layers_of_files_that_sort_by_name_come_in_numerical_order(tmp_path):
    arrays = {f"layer.{i}.weight": gaussian(64, 64) for i in range(12)}
    weights = load_weights(builders.safetensors(tmp_path / "a.safetensors", arrays))
    assert list(weights) == [f"layer.{i}" for i in range(12)]


def test_arrays_in_memory_are_never_changed():
    array = gaussian(70, 80)
    load_weights({"w": array})["w"].matrix[:] = 0
    np.testing.assert_array_equal(array, gaussian(70, 80))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_live_torch_module_is_read_and_never_changed(dtype):
    import torch

    model = torch.nn.Sequential(torch.nn.Embedding(90, 64), torch.nn.Linear(64, 70), torch.nn.BatchNorm1d(70))
    model = model.to(getattr(torch, dtype))
    weights = load_weights(model)
    assert {name: layer.kind for name, layer in weights.items()} == {"0": "embedding", "1": "dense"}
    before = model[1].weight.detach().clone()
    layer = weights["1"]
    np.testing.assert_array_equal(layer.matrix, before.float().numpy())
    layer.matrix[:] = 0
    assert torch.equal(model[1].weight, before)


def test_tied_sparse_and_empty_torch_tensors_are_skipped():
    import torch

    head = torch.nn.Linear(64, 90, bias=False)
    model = torch.nn.ModuleDict({"wte": torch.nn.Embedding(90, 64), "head": head})
    head.weight = model["wte"].weight
    assert reasons(load_weights(model)) == {"head": "the same values as wte.weight, to which it is tied"}
    meta = torch.nn.Linear(70, 70, bias=False, device="meta")
    assert reasons(load_weights(meta)) == {"weight": "on the meta device: it has a shape but no values"}
    assert reasons(load_weights({"w": torch.eye(70).to_sparse()})) == {"w": "sparse layout torch.sparse_coo"}


def test_a_nested_torch_checkpoint_gives_its_state_dictionary_and_lists_the_rest(tmp_path):
    import torch

    w = torch.from_numpy(gaussian(70, 70))
    torch.save({"epoch": 3, "state_dict": {"fc.weight": w}, "optimizer": {"state": [{"momentum": w}]}}, tmp_path / "a.pt")
    weights = load_weights(tmp_path / "a.pt")
    assert_same_layers(weights, {"fc": w.numpy()})
    assert weights.skipped == [("optimizer.state.0.momentum", (70, 70), "not in the checkpoint's 'state_dict'")]
    torch.save(w, tmp_path / "single.pt")
    assert_same_layers(load_weights(tmp_path / "single.pt"), {"single": w.numpy()})


@pytest.fixture(scope="module")
def keras():
    return importlib.import_module("keras")


@pytest.fixture(scope="module")
def network(keras):
    """Of every kind of kernel that Keras stores in its own way."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 6))
    x = keras.layers.Conv2D(12, 3, groups=2, name="grouped")(image)
    x = keras.layers.Conv2DTranspose(10, 3, name="up")(x)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depth")(x)
    x = keras.layers.Reshape((-1, 20))(x)
    x = keras.layers.Conv1D(16, 3, name="line")(x)
    x = keras.layers.MultiHeadAttention(4, 5, name="mha")(x, x)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(image, keras.layers.Dense(7, name="out")(x))


def test_keras_models_and_all_their_files_give_the_same_layers(network, tmp_path):
    network.save(tmp_path / "a.keras")
    network.save(tmp_path / "a.h5")
    network.save_weights(tmp_path / "a.weights.h5")
    live = load_weights(network, min_levels=2)
    shapes = {"grouped#0": (6, 27), "grouped#1": (6, 27), "up": (10, 108), "line": (16, 60), "out": (7, 16)}
    shapes |= {f"mha/{part}": (20, 16) for part in ("query", "key", "value")} | {"mha/attention_output": (16, 20)}
    assert {name: layer.matrix.shape for name, layer in live.items()} == {**shapes, **{f"depth#{i}": (2, 9) for i in range(10)}}
    assert {layer.kind for name, layer in live.items() if name.startswith("mha")} == {"attention"}
    for name in ("a.keras", "a.h5", "a.weights.h5"):
        weights = load_weights(tmp_path / name, min_levels=2, groups={"grouped": 2})
        # A legacy file keeps names alone, and "up" or "depth" does not tell what it is.
        told = [layer for layer in live if not (name == "a.h5" and layer.startswith(("up", "depth")))]
        assert_same_layers({n: weights[n] for n in told}, {n: live[n].matrix for n in told})
        assert "bn" in " ".join(reasons(weights))


def test_keras_kernels_act_as_their_layers_do(keras, network):
    weights = load_weights(network, min_levels=2)
    x = gaussian(1, 1, 1, 12)
    kernel = weights["up"].matrix.reshape(10, 3, 3, 12)
    np.testing.assert_allclose(
        np.moveaxis(kernel @ x.ravel(), 0, -1), keras.ops.convert_to_numpy(network.get_layer("up")(x))[0], atol=1e-5
    )
    x = gaussian(1, 3, 3, 10)
    out = np.concatenate([weights[f"depth#{i}"].matrix @ x[0, :, :, i].ravel() for i in range(10)])
    np.testing.assert_allclose(out, keras.ops.convert_to_numpy(network.get_layer("depth")(x)).ravel(), atol=1e-5)


def test_one_network_in_torch_and_keras_has_the_same_matrices(keras, tmp_path):
    import torch

    ours = keras.Sequential(
        [
            keras.Input((9, 9, 5)),
            keras.layers.Conv2D(64, 4, activation="relu", name="conv"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(80, name="fc"),
        ]
    )
    theirs = torch.nn.Sequential()
    theirs.add_module("conv", torch.nn.Conv2d(5, 64, 4))
    theirs.add_module("relu", torch.nn.ReLU())
    theirs.add_module("pool", torch.nn.AdaptiveAvgPool2d(1))
    theirs.add_module("flat", torch.nn.Flatten())
    theirs.add_module("fc", torch.nn.Linear(64, 80))
    ours.get_layer("conv").set_weights(
        [theirs.conv.weight.detach().permute(2, 3, 1, 0).numpy(), theirs.conv.bias.detach().numpy()]
    )
    ours.get_layer("fc").set_weights([theirs.fc.weight.detach().T.numpy(), theirs.fc.bias.detach().numpy()])
    x = gaussian(2, 9, 9, 5)
    same = theirs(torch.from_numpy(x).permute(0, 3, 1, 2)).detach().numpy()
    np.testing.assert_allclose(keras.ops.convert_to_numpy(ours(x)), same, atol=1e-5)

    torch.save(theirs.state_dict(), tmp_path / "a.pt")
    ours.save(tmp_path / "a.keras")
    expected = {name: layer.matrix for name, layer in load_weights(theirs).items()}
    assert {name: matrix.shape for name, matrix in expected.items()} == {"conv": (64, 80), "fc": (80, 64)}
    for source in (ours, tmp_path / "a.pt", tmp_path / "a.keras"):
        assert_same_layers(load_weights(source), expected)


def test_keras_files_in_bfloat16_are_read(tmp_path):
    array = builders.bfloat16(gaussian(70, 80))
    path = builders.keras_weights(tmp_path / "a.weights.h5", {"fc": ("dense", [array.view("V2"), np.zeros(80)])})
    np.testing.assert_array_equal(load_weights(path)["fc"].matrix, array.astype(np.float32).T)


def onnx_model(arrays, nodes):
    from onnx import helper, numpy_helper

    nodes = [helper.make_node(operation, inputs, [f"out{i}"], **options) for i, (operation, inputs, options) in enumerate(nodes)]
    return helper.make_model(
        helper.make_graph(nodes, "net", [], [], [numpy_helper.from_array(a, name) for name, a in arrays.items()])
    )


ONNX_ARRAYS = {
    "conv.weight": gaussian(128, 20, 3, 3),
    "up.weight": gaussian(64, 70, 2, 2),
    "product": gaussian(64, 80),
    "gemm.weight": gaussian(70, 80),
    "plain.weight": gaussian(64, 90),
    "tokens": gaussian(100, 64),
    "fc.bias": np.zeros(70, np.float32),
    "codes": np.ones((70, 70), np.int8),
}
ONNX_NODES = [
    ("Conv", ["x", "conv.weight"], {"group": 2}),
    ("ConvTranspose", ["x", "up.weight"], {}),
    ("MatMul", ["x", "product"], {}),
    ("Gemm", ["x", "gemm.weight", "fc.bias"], {"transB": 1}),
    ("Gemm", ["x", "plain.weight"], {}),
    ("Gather", ["tokens", "x"], {}),
]


def test_onnx_nodes_tell_the_orientation_of_their_weights(tmp_path):
    import onnx

    onnx.save(onnx_model(ONNX_ARRAYS, ONNX_NODES), tmp_path / "a.onnx")
    weights = load_weights(tmp_path / "a.onnx")
    a = ONNX_ARRAYS
    conv = np.moveaxis(a["conv.weight"], 1, -1).reshape(128, -1)
    expected = {"conv#0": conv[:64], "conv#1": conv[64:], "up": a["up.weight"].transpose(1, 2, 3, 0).reshape(70, -1)}
    expected |= {"product": a["product"].T, "gemm": a["gemm.weight"], "plain": a["plain.weight"].T, "tokens": a["tokens"]}
    assert_same_layers(weights, expected)
    assert weights["tokens"].kind == "embedding"
    assert reasons(weights) == {"fc.bias": "bias vector", "codes": "dtype int8, not one of float16, bfloat16, float32, float64"}


def test_onnx_weights_in_a_file_beside_are_read_and_missed_with_a_message(tmp_path):
    import onnx

    model = onnx_model(ONNX_ARRAYS, ONNX_NODES)
    onnx.save(model, tmp_path / "a.onnx", save_as_external_data=True, location="a.data", size_threshold=0)
    np.testing.assert_array_equal(load_weights(tmp_path / "a.onnx")["gemm"].matrix, ONNX_ARRAYS["gemm.weight"])
    (tmp_path / "a.data").unlink()
    with pytest.raises(WeightsError, match="tensor 'gemm.weight' .*read"):
        load_weights(tmp_path / "a.onnx")["gemm"]


# Memory


@pytest.mark.parametrize("suffix", ["safetensors", "bfloat16", "npz", "pt", "weights.h5", "keras"])
def test_memory_follows_the_largest_layer_and_not_the_file(tmp_path, suffix):
    import torch

    n, size = 12, 512 * 512 * 4
    arrays = {f"dense{i}": gaussian(512, 512, seed=i) for i in range(n)}
    path = tmp_path / f"a.{suffix}"
    if suffix == "safetensors":
        builders.safetensors(path, arrays)
    elif suffix == "bfloat16":
        path = builders.safetensors(tmp_path / "a.safetensors", {name: builders.bfloat16(a) for name, a in arrays.items()})
    elif suffix == "npz":
        np.savez(path, **arrays)
    elif suffix == "pt":
        torch.save({name: torch.from_numpy(a) for name, a in arrays.items()}, path)
    else:
        builders.keras_weights(tmp_path / "a.weights.h5", {name: ("dense", [a.T]) for name, a in arrays.items()})
        if suffix == "keras":
            with zipfile.ZipFile(path, "w") as archive:
                archive.write(tmp_path / "a.weights.h5", "model.weights.h5")
    del arrays
    gc.collect()
    tracemalloc.start()
    try:
        weights = load_weights(path)
        assert len(weights) == n
        for layer in weights.values():
            assert layer.matrix.shape == (512, 512)
        one_by_one = tracemalloc.get_traced_memory()[1]
        del layer
        tracemalloc.reset_peak()
        kept = list(weights.values())
        together = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(kept) == n
    assert one_by_one < 3.6 * size
    assert together > n * size


# Bad input


def test_a_malicious_pickle_is_refused_and_its_code_never_runs(tmp_path):
    import torch

    marker = tmp_path / "ran"
    paths = [builders.pickle_with_code(tmp_path / "plain.pth", marker)]
    for name, modern in (("new.pt", True), ("old.bin", False)):
        paths.append(tmp_path / name)
        torch.save({"w": torch.ones(70, 70), "x": builders.RunsCode(marker)}, paths[-1], _use_new_zipfile_serialization=modern)
    for path in paths:
        with pytest.raises(
            WeightsError, match=r"refused: its pickle asks for code, of which nothing was run.*safetensors.*save_file"
        ):
            load_weights(path)
        assert not marker.exists()
    pickle.loads(paths[0].read_bytes())
    assert marker.exists()


def test_pickled_modules_scripts_and_damaged_torch_files_are_refused(tmp_path, monkeypatch):
    import torch

    torch.save(torch.nn.Linear(70, 70), tmp_path / "module.pt")
    with pytest.raises(WeightsError, match="refused: its pickle asks for code"):
        load_weights(tmp_path / "module.pt")
    torch.save({"w": torch.ones(70, 70)}, tmp_path / "whole.pt")
    half = (tmp_path / "whole.pt").read_bytes()[:9000]
    (tmp_path / "half.pt").write_bytes(half)
    with pytest.raises(WeightsError, match=r"half.pt (cannot be read as a torch checkpoint|was refused)"):
        load_weights(tmp_path / "half.pt")
    torch.save([torch.ones(70, 70)], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="holds a list, not a dictionary of tensors"):
        load_weights(tmp_path / "list.pt")
    torch.save({"a": {"w": torch.ones(70, 70)}, "b": {"w": torch.eye(70)}}, tmp_path / "two.pt")
    assert list(load_weights(tmp_path / "two.pt")) == ["a.w", "b.w"]
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    with pytest.raises(WeightsError, match="no dictionary of tensors"):
        load_weights(tmp_path / "none.pt")
    monkeypatch.setattr(torch, "__version__", "2.5.1")
    with pytest.raises(WeightsError, match="needs torch 2.6 or newer"):
        load_weights(tmp_path / "whole.pt")


def test_damaged_safetensors_files_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    entry = {"w": {"dtype": "F32", "shape": [70, 70], "data_offsets": [0, 19600]}}
    cases = [
        builders.raw_safetensors(tmp_path / "header.safetensors", b'{"w": {"dt', length=500),
        builders.raw_safetensors(tmp_path / "claim.safetensors", entry, bytes(1000)),
        builders.raw_safetensors(tmp_path / "huge.safetensors", entry, bytes(19600), length=2**60),
        builders.raw_safetensors(tmp_path / "words.safetensors", b"no JSON at all"),
        builders.raw_safetensors(tmp_path / "shape.safetensors", {"w": entry["w"] | {"shape": [80, 80]}}, bytes(19600)),
    ]
    path.write_bytes(b"abc")
    for case in [*cases, path]:
        with pytest.raises(WeightsError, match=rf"{case.name} is not a whole safetensors file .*; download or write it again"):
            load_weights(case)


def test_a_file_cut_after_it_was_opened_is_named(tmp_path):
    path = builders.safetensors(tmp_path / "a.safetensors", MLP)
    weights = load_weights(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WeightsError, match="tensor 'dense1.weight' could not be read"):
        weights["dense1"]


@pytest.mark.parametrize(
    "suffix", ["safetensors", "pt", "pth", "bin", "npz", "npy", "keras", "h5", "onnx", "gguf", "msgpack", "json"]
)
def test_empty_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.touch()
    with pytest.raises(WeightsError, match="is empty: it has 0 bytes"):
        load_weights(path)


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        ("npz", "is not a whole .npz file"),
        ("keras", "is not a whole .keras file with a model.weights.h5"),
        ("h5", "is not a whole HDF5 file"),
        ("onnx", "is not a whole ONNX file"),
        ("pt", "was refused: its pickle|cannot be read as a torch checkpoint .*; download it again, or where it was made"),
        ("bin", "is no file of torch, but bare numbers or another tool's format"),
        ("json", "is not valid JSON"),
        (
            "xyz",
            "has an unknown suffix; expected one of .bin, .ckpt, .gguf, .h5, .hdf5, .jit, .json, .keras, .msgpack, .npy, .npz",
        ),
        ("gguf", "is not a whole GGUF file"),
        ("msgpack", "is not a whole Flax file"),
        ("npy", "is not a whole .npy file"),
    ],
)
def test_files_of_another_content_are_refused(tmp_path, suffix, message):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"something else entirely" * 50)
    with pytest.raises(WeightsError, match=message):
        load_weights(path)


def test_a_keras_file_without_whole_weights_is_refused(tmp_path):
    for name, member in (("a.keras", "config.json"), ("b.keras", "model.weights.h5")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, "nothing of use")
    with pytest.raises(WeightsError, match=r"is not a whole .keras file with a model.weights.h5"):
        load_weights(tmp_path / "a.keras")
    with pytest.raises(WeightsError, match="is not a whole HDF5 file"):
        load_weights(tmp_path / "b.keras")


def test_pickled_objects_in_npz_and_foreign_files_of_hdf5_are_never_opened(tmp_path):
    import h5py

    marker = tmp_path / "ran"
    np.savez(tmp_path / "a.npz", w=gaussian(70, 70), x=np.array([[builders.RunsCode(marker)] * 2], dtype=object))
    weights = load_weights(tmp_path / "a.npz")
    assert list(weights) == ["w"]
    assert reasons(weights) == {"x": "pickled Python objects, which are never opened"}
    assert not marker.exists()
    (tmp_path / "secret").write_bytes(bytes(19600))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("w", (70, 70), "f4", external=[(str(tmp_path / "secret"), 0, 19600)])
    assert reasons(load_weights(tmp_path / "a.h5")) == {"w": "its values lie in another file, which is not opened"}


def test_missing_paths_pointers_and_files_without_tensors_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="nowhere.safetensors does not exist"):
        load_weights(tmp_path / "nowhere.safetensors")
    (tmp_path / "a.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(WeightsError, match="is a Git LFS pointer, not the file itself"):
        load_weights(tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"b.safetensors holds no tensors"):
        load_weights(builders.safetensors(tmp_path / "b.safetensors", {}))
    with pytest.raises(WeightsError, match="an object of type dict holds no tensors"):
        load_weights({})
    with pytest.raises(WeightsError, match="must be a path, a run, a model or a mapping of arrays; got an object of type int"):
        load_weights(3)


def test_folders_without_an_index_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="holds no checkpoint; give a file, or add the index"):
        load_weights(tmp_path)
    builders.safetensors(tmp_path / "a.safetensors", MLP)
    builders.safetensors(tmp_path / "b.safetensors", MLP)
    with pytest.raises(WeightsError, match=r"holds 2 safetensors files but no \*.index.json that joins them"):
        load_weights(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.index.json").write_text("{}")
    with pytest.raises(WeightsError, match="has several indices, give one of them: a.index.json, b.index.json"):
        load_weights(tmp_path)
    with pytest.raises(WeightsError, match="is no index of a sharded checkpoint: it has no weight_map"):
        load_weights(tmp_path / "a.index.json")
    (tmp_path / "a.index.json").write_text("[]")
    with pytest.raises(WeightsError, match="must hold a JSON object"):
        load_weights(tmp_path / "a.index.json")


def test_incomplete_sharded_checkpoints_are_refused(tmp_path):
    folder = builders.sharded(tmp_path / "a", MLP, 3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(WeightsError, match="names 1 of 3 shards that are missing: model-00002-of-00003.safetensors"):
        load_weights(folder)
    folder = builders.sharded(tmp_path / "b", MLP)
    index = folder / "model.safetensors.index.json"
    record = json.loads(index.read_text())
    record["weight_map"]["ghost.weight"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(record))
    with pytest.raises(WeightsError, match="names 1 tensors that their shards do not hold, such as ghost.weight"):
        load_weights(folder)
    index.write_text(json.dumps({"weight_map": {"w": "../a/model-00001-of-00003.safetensors"}}))
    with pytest.raises(WeightsError, match="names files outside its folder"):
        load_weights(folder)


def test_incomplete_and_diverged_runs_are_refused(tmp_path):
    for file in ("run.json", "weights.safetensors"):
        path = builders.run_folder(tmp_path / file, 70, 70)
        (path / file).unlink()
        with pytest.raises(WeightsError, match=f"is incomplete: {file} missing; train it again"):
            load_weights(path)
    builders.safetensors(tmp_path / "begun" / "checkpoint.safetensors", MLP)
    with pytest.raises(WeightsError, match="is incomplete: run.json, weights.safetensors missing"):
        load_weights(tmp_path / "begun")
    with pytest.raises(WeightsError, match="has no result: its status is 'diverged'"):
        load_weights(builders.run_folder(tmp_path / "diverged", 70, 70, status="diverged"))
    only = {f"trained.{name}": array for name, array in MLP.items()}
    with pytest.raises(WeightsError, match="holds no tensors named initial.<layer>"):
        load_weights(builders.safetensors(tmp_path / "only.safetensors", only), initial=True)


def test_a_folder_whose_weights_have_the_name_of_a_run_s_is_read(tmp_path):
    builders.safetensors(tmp_path / "weights.safetensors", MLP)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert list(load_weights(tmp_path)) == ["dense1", "dense2"]
    with pytest.raises(WeightsError, match="initial=True needs a run"):
        load_weights(tmp_path, initial=True)
    builders.safetensors(tmp_path / "adapters.safetensors", {"other.weight": gaussian(20, 20)})
    assert list(load_weights(tmp_path)) == ["dense1", "dense2"]
    builders.safetensors(tmp_path / "model.safetensors", {"better.weight": gaussian(20, 20)})
    assert list(load_weights(tmp_path)) == ["better"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": True}, "initial=True needs a run"),
        ({"min_levels": 1}, "min_levels must be an integer of at least 2; got 1"),
        ({"layout": "jax"}, "layout must be one of 'torch', 'keras'; got 'jax'"),
        ({"groups": {"nothing": 2}}, "groups names 'nothing', but there is no such convolution"),
        ({"groups": {"fc": 2}}, "groups names 'fc', but there is no such convolution"),
        ({"groups": {"conv": 3}}, r"groups\['conv'\] must divide the 64 output channels; got 3"),
        ({"groups": {"conv": 0}}, r"groups\['conv'\] must be an integer of at least 1; got 0"),
        ({"groups": {"conv": 2.0}}, r"groups\['conv'\] must be an integer of at least 1; got 2.0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load_weights({"fc.weight": gaussian(64, 64), "conv.weight": gaussian(64, 8, 3, 3)}, **options)


def test_layout_overrides_the_guess():
    array = gaussian(64, 80)
    np.testing.assert_array_equal(load_weights({"a.weight": array}, layout="keras")["a"].matrix, array.T)
    np.testing.assert_array_equal(load_weights({"a/kernel": array}, layout="torch")["a"].matrix, array)


@pytest.mark.parametrize(
    ("suffix", "package", "extra"),
    [("pt", "torch", "learning"), ("h5", "h5py", "keras"), ("onnx", "onnx", "onnx"), ("gguf", "gguf", "gguf")]
    + [("msgpack", "msgpack", "flax")],
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(tmp_path, monkeypatch, suffix, package, extra):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    (tmp_path / f"a.{suffix}").write_bytes(b"anything")
    remedy = rf'install it by pip install "rmtlib\[{extra}\]", or save the weights as .safetensors'
    with pytest.raises(WeightsError, match=f"needs {package}, which cannot be imported; {remedy}"):
        load_weights(tmp_path / f"a.{suffix}")
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert any(requirement.startswith(package) for requirement in project["optional-dependencies"][extra])
