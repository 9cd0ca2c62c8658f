"""Orientation, proved: the matrices of a layer whose type is known do what the framework's own layer does."""

from __future__ import annotations

import importlib
import json
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rmtlib.weights import WeightsError, load_weights

from .builders import gaussian


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def matrices(source, **options):
    return {name: layer.matrix for name, layer in load_weights(source, min_levels=2, **options).items()}


def close(found, expected, atol=1e-5):
    if hasattr(expected, "detach"):
        expected = expected.detach()
    np.testing.assert_allclose(found, np.asarray(expected), atol=atol)


# torch


class Conv1D(torch.nn.Module):
    """As GPT-2 in transformers has it."""

    def __init__(self, n_out, n_in):
        super().__init__()
        self.nf = n_out
        self.weight = torch.nn.Parameter(torch.randn(n_in, n_out))
        self.bias = torch.nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


@pytest.mark.parametrize("n_in", [20, 30])
@pytest.mark.parametrize("make", [lambda n: torch.nn.Linear(n, 30, bias=False), lambda n: Conv1D(30, n)])
def test_a_live_dense_layer_of_torch_multiplies_as_its_matrix_even_where_it_is_square(make, n_in):
    layer = make(n_in)
    x = torch.randn(5, n_in)
    weights = load_weights(layer, min_levels=2)
    close(x.numpy() @ weights["weight"].matrix.T, layer(x), 1e-4)
    assert weights["weight"].ground == f"torch module {type(layer).__name__}"


def test_gpt2_s_layers_are_known_under_the_names_of_an_adapter():
    block = torch.nn.Module()
    block.attn, block.attn.c_proj = torch.nn.Module(), torch.nn.Module()
    block.attn.c_attn = torch.nn.Module()
    block.attn.c_attn.base_layer, block.attn.c_proj.base_layer = Conv1D(90, 30), Conv1D(30, 30)
    x = torch.randn(5, 30)
    for source in (block, block.state_dict(), {f"base_model.model.h.0.{k}": v for k, v in block.state_dict().items()}):
        found = matrices(source)
        for name, matrix in found.items():
            layer = block.attn.c_attn if "c_attn" in name else block.attn.c_proj
            close(x.numpy() @ matrix.T, layer.base_layer(x), 1e-4)
        assert len(found) == 2


def test_bilinear_embedding_and_attention_act_as_their_matrices():
    layer = torch.nn.Bilinear(6, 7, 8, bias=False)
    x, y = torch.randn(3, 6), torch.randn(3, 7)
    products = np.einsum("bi,bj->bij", x.numpy(), y.numpy()).reshape(3, -1)
    close(products @ matrices(layer)["weight"].T, layer(x, y))
    bag = torch.nn.EmbeddingBag(11, 5, mode="sum")
    close(matrices(bag)["weight"][[3, 7]].sum(0), bag(torch.tensor([[3, 7]]))[0])
    attention = torch.nn.MultiheadAttention(12, 1, bias=False, batch_first=True)
    x = torch.randn(1, 4, 12)
    parts = matrices(attention, split_qkv=True)
    q, k, v = (x[0].numpy() @ parts[f"in_proj_weight#{part}"].T for part in "qkv")
    scores = np.exp(q @ k.T / np.sqrt(12))
    out = scores / scores.sum(1, keepdims=True) @ v @ parts["out_proj"].T
    close(out, attention(x, x, x)[0][0])


def lstm_step(x, h, c, W, U, order):
    gates = {gate: W[gate] @ x + U[gate] @ h for gate in order}
    cell = sigmoid(gates["f"]) * c + sigmoid(gates["i"]) * np.tanh(gates["g" if "g" in order else "c"])
    return sigmoid(gates["o"]) * np.tanh(cell)


@pytest.mark.parametrize("source", ["module", "file"])
def test_the_gates_of_torch_s_recurrent_layers_are_named_as_they_act(source):
    x, h, c = gaussian(6), gaussian(5), gaussian(5, seed=1)
    given = torch.from_numpy(x)[None], torch.from_numpy(h)[None], torch.from_numpy(c)[None]
    lstm = torch.nn.LSTM(6, 5, bias=False)
    found = matrices(lstm if source == "module" else lstm.state_dict())
    W, U = ({gate: found[f"weight_{which}_l0#{gate}"] for gate in "ifgo"} for which in ("ih", "hh"))
    close(lstm_step(x, h, c, W, U, "ifgo"), lstm(given[0], given[1:])[0][0])
    gru = torch.nn.GRU(6, 5, bias=False)
    found = matrices(gru if source == "module" else gru.state_dict())
    W, U = ({gate: found[f"weight_{which}_l0#{gate}"] for gate in "rzn"} for which in ("ih", "hh"))
    r, z = (sigmoid(W[gate] @ x + U[gate] @ h) for gate in "rz")
    close((1 - z) * np.tanh(W["n"] @ x + r * (U["n"] @ h)) + z * h, gru(*given[:2])[0][0])
    rnn = torch.nn.RNN(6, 5, bias=False)
    found = matrices(rnn if source == "module" else rnn.state_dict())
    close(np.tanh(found["weight_ih_l0"] @ x + found["weight_hh_l0"] @ h), rnn(*given[:2])[0][0])


def test_gates_stay_together_where_that_is_asked_for():
    lstm = torch.nn.LSTM(6, 5, proj_size=3)
    assert load_weights(lstm, min_levels=2, split_gates=False).shapes == {
        "weight_ih_l0": (20, 6),
        "weight_hh_l0": (20, 3),
        "weight_hr_l0": (3, 5),
    }
    for source in (lstm, lstm.state_dict()):
        assert load_weights(source, min_levels=2).shapes["weight_hh_l0#o"] == (5, 3)
        assert load_weights(source, min_levels=2).shapes["weight_hr_l0"] == (3, 5)


def test_a_module_of_the_same_name_that_is_not_torch_s_is_judged_by_its_tensors():
    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = torch.nn.Parameter(torch.randn(20, 30)), torch.nn.Parameter(torch.zeros(30))

    layer = load_weights(Linear(), min_levels=2)["weight"]
    assert (layer.matrix.shape, layer.ground) == ((30, 20), "the length of its bias")


@pytest.mark.parametrize("last", ["weight", "kernel", "w", "W"])
def test_the_length_of_a_bias_tells_which_side_is_the_output(last):
    bias = {"weight": "bias", "kernel": "bias", "w": "b", "W": "b"}[last]
    W = gaussian(20, 30)
    for n, expected in ((20, W), (30, W.T)):
        weights = load_weights({f"net.{last}": W, f"net.{bias}": np.zeros(n)}, min_levels=2)
        [layer] = weights.values()
        np.testing.assert_array_equal(layer.matrix, expected)
        assert layer.ground == "the length of its bias"


# Keras


@pytest.fixture(scope="module")
def keras():
    return importlib.import_module("keras")


@pytest.fixture(scope="module")
def network(keras):
    keras.utils.set_random_seed(1)
    x = given = keras.Input((8, 6))
    x = keras.layers.LSTM(5, return_sequences=True, use_bias=False, name="memory")(x)
    x = keras.layers.Bidirectional(keras.layers.GRU(4, return_sequences=True, use_bias=False), name="both")(x)
    x = keras.layers.EinsumDense("abc,cde->abde", output_shape=(None, 3, 4), name="heads")(x)
    x = keras.layers.EinsumDense("abde,dec->abc", output_shape=(None, 7), name="joined")(x)
    x = keras.layers.SeparableConv1D(9, 3, depth_multiplier=2, use_bias=False, name="apart")(x)
    x = keras.layers.MultiHeadAttention(4, 5, name="attend")(x, x)
    x = keras.layers.Conv1DTranspose(8, 3, use_bias=False, name="wide")(x)
    x = keras.Sequential([keras.Input((10, 8)), keras.layers.Dense(8, use_bias=False, name="deep")], name="inner")(x)
    return keras.Model(given, keras.layers.TimeDistributed(keras.layers.Dense(3, use_bias=False), name="each")(x))


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    network.save(folder / "a.keras")
    network.save(folder / "a.h5")
    network.save_weights(folder / "a.weights.h5")
    return {"live": network, "keras": folder / "a.keras", "h5": folder / "a.h5", "weights": folder / "a.weights.h5"}


def numpy(keras, tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("source", ["live", "keras", "h5", "weights"])
def test_keras_s_layers_act_as_their_matrices_from_a_model_and_from_each_of_its_files(keras, network, saved, source):
    found = {}
    for name, matrix in matrices(saved[source]).items():
        found[name.replace("backward_gru", "back").replace("forward_gru", "forth").replace("/lstm_cell", "")] = matrix

    def layer(name):
        return network.get_layer(name)

    x, h, c = gaussian(6), gaussian(5), gaussian(5, seed=1)
    W, U = ({g: found[f"memory{part}#{g}"] for g in "ifco"} for part in ("", "/recurrent_kernel"))
    close(lstm_step(x, h, c, W, U, "ifco"), numpy(keras, layer("memory").cell(x[None], [h[None], c[None]])[0])[0])

    x, h = gaussian(5), gaussian(4)
    W, U = ({g: found[f"both/back/gru_cell{part}#{g}"] for g in "zrh"} for part in ("", "/recurrent_kernel"))
    z, r = (sigmoid(W[gate] @ x + U[gate] @ h) for gate in "zr")
    step = numpy(keras, layer("both").backward_layer.cell(x[None], [h[None]])[0])[0]
    close(z * h + (1 - z) * np.tanh(W["h"] @ x + r * (U["h"] @ h)), step)

    x = gaussian(1, 9, 9)
    for part in ("query", "value"):
        close(x[0] @ found[f"attend/{part}"].T, numpy(keras, getattr(layer("attend"), f"{part}_dense")(x))[0].reshape(9, -1))
    x = gaussian(1, 2, 4, 5)
    close(x[0].reshape(2, -1) @ found["attend/attention_output"].T, numpy(keras, layer("attend").output_dense(x))[0])
    x = gaussian(1, 10, 8)
    close(x[0] @ found["inner/deep"].T, numpy(keras, layer("inner")(x))[0])
    x = gaussian(1, 1, 9)
    close(wide(found["wide"], x[0, 0]), numpy(keras, layer("wide")(x))[0])
    x = gaussian(1, 3, 7)
    parts = np.concatenate([found[f"apart/depthwise_kernel#{i}"] @ x[0, :, i] for i in range(7)])
    close(found["apart/pointwise_kernel"] @ parts, numpy(keras, layer("apart")(x))[0, 0])
    if source == "weights":
        return
    x = gaussian(1, 2, 8)
    close(x[0] @ found["heads"].T, numpy(keras, layer("heads")(x))[0].reshape(2, -1))
    x = gaussian(1, 2, 3, 4)
    close(x[0].reshape(2, -1) @ found["joined"].T, numpy(keras, layer("joined")(x))[0])


def wide(matrix, x):
    """A transposed convolution of one place: the matrix's columns run over the kernel, then its inputs."""
    return np.einsum("okc,c->ko", matrix.reshape(8, 3, -1), x)


def test_an_equation_that_a_file_does_not_tell_is_a_reason(saved):
    weights = load_weights(saved["weights"], min_levels=2)
    reasons = {skipped.name: skipped.reason for skipped in weights.skipped}
    assert reasons["heads"] == "an EinsumDense kernel, whose equation this file does not tell: give the .keras file"
    assert load_weights(saved["keras"], min_levels=2)["heads"].ground == "Keras configuration, EinsumDense 'heads'"
    assert load_weights(saved["live"], min_levels=2)["heads"].ground == "Keras layer EinsumDense"


def test_a_configuration_that_cannot_be_read_leaves_the_names_of_groups(saved, tmp_path):
    with zipfile.ZipFile(saved["keras"]) as old, zipfile.ZipFile(tmp_path / "a.keras", "w") as new:
        new.writestr("config.json", b'{"class_name": ' + b"[" * 5000)
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
    weights = load_weights(tmp_path / "a.keras", min_levels=2)
    assert weights["wide"].ground == "Keras' group name 'conv1d_transpose'"
    assert "heads" not in weights


def test_keras_s_convolutional_lstm_gives_the_convolution_of_every_gate(keras, tmp_path):
    layer = keras.layers.ConvLSTM1D(4, 3, use_bias=False, name="film")
    model = keras.Sequential([keras.Input((2, 8, 5)), layer])
    model.save(tmp_path / "a.keras")
    x, h, c = gaussian(1, 8, 5), np.zeros((1, 6, 4), np.float32), gaussian(1, 6, 4, seed=2)
    for source in (model, tmp_path / "a.keras"):
        found = {name.split("/")[-1]: matrix for name, matrix in matrices(source).items()}
        gates = {gate: found[f"conv_lstm_cell#{gate}"] @ x[0, :3].ravel() for gate in "ifco"}
        # Without a state there is nothing to convolve, and the cell's own recurrent activation is the sigmoid.
        cell = sigmoid(gates["f"]) * c[0, 0] + sigmoid(gates["i"]) * np.tanh(gates["c"])
        close(sigmoid(gates["o"]) * np.tanh(cell), numpy(keras, layer.cell(x, [h, c])[0])[0, 0])


# ONNX


def onnx_run(nodes, arrays, inputs, functions=()):
    """The model, and what onnx's reference implementation gives for its last output."""
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    given = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for name, a in inputs.items()]
    result = helper.make_tensor_value_info(nodes[-1].output[0], 1, None)
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "net", given, [result], stored)
    opsets = [helper.make_opsetid("", 21)]
    model = helper.make_model(graph, opset_imports=opsets)
    return model, ReferenceEvaluator(model).run(None, inputs)[0]


def stored_model(model, tmp_path):
    import onnx

    onnx.save(model, tmp_path / "a.onnx")
    return tmp_path / "a.onnx"


def node(*args, **options):
    from onnx import helper

    return helper.make_node(*args, **options)


ONNX_CASES = {
    "direct": ([("MatMul", ["x", "W"], ["y"])], lambda x, W: x @ W.T),
    "left": ([("MatMul", ["V", "t"], ["y"])], None),
    "cast": ([("Cast", ["half"], ["c"], {"to": 1}), ("MatMul", ["x", "c"], ["y"])], None),
    "identity": ([("Identity", ["W"], ["c"]), ("Identity", ["c"], ["d"]), ("MatMul", ["x", "d"], ["y"])], None),
    "transposed": ([("Transpose", ["V"], ["c"], {"perm": [1, 0]}), ("MatMul", ["x", "c"], ["y"])], None),
    "gemm": ([("Gemm", ["x", "V"], ["y"], {"transB": 1})], None),
    "gemm of a transposed one": ([("Transpose", ["W"], ["c"]), ("Gemm", ["x", "c"], ["y"], {"transB": 1})], None),
}


@pytest.mark.parametrize("case", ONNX_CASES)
def test_a_product_in_onnx_multiplies_as_its_matrix_whatever_it_passes_on_the_way(case, tmp_path):
    W, x = gaussian(12, 30), gaussian(5, 12)
    arrays = {"W": W, "V": np.ascontiguousarray(W.T), "half": W.astype(np.float16)}
    nodes = [node(op, inputs, outputs, **(more[0] if more else {})) for op, inputs, outputs, *more in ONNX_CASES[case][0]]
    used = {name for n in nodes for name in n.input}
    if case == "left":
        nodes.insert(0, node("Transpose", ["x"], ["t"]))
    model, y = onnx_run(nodes, {name: array for name, array in arrays.items() if name in used}, {"x": x})
    [layer] = load_weights(stored_model(model, tmp_path), min_levels=2).values()
    assert layer.matrix.shape == (30, 12)
    close(x @ layer.matrix.T, y.T if case == "left" else y, 1e-4 if case != "cast" else 1e-2)
    assert layer.ground.startswith("ONNX node ")


def test_weights_inside_branches_and_loops_of_onnx_are_layers(tmp_path):
    from onnx import TensorProto, helper, numpy_helper

    W, x = gaussian(12, 30), gaussian(5, 12)
    branches = {}
    for key, factor in (("then_branch", 1), ("else_branch", 2)):
        out = helper.make_tensor_value_info(f"{key}_y", TensorProto.FLOAT, None)
        inner = [node("MatMul", ["x", "W"], [f"{key}_y"])]
        branches[key] = helper.make_graph(inner, key, [], [out], [numpy_helper.from_array(factor * W, "W")])
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    go = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    kept = helper.make_tensor_value_info("kept", TensorProto.BOOL, [])
    seen = helper.make_tensor_value_info("seen", TensorProto.FLOAT, None)
    body = helper.make_graph(
        [node("Identity", ["go"], ["kept"]), node("MatMul", ["x", "outside"], ["seen"])], "body", [count, go], [kept, seen]
    )
    nodes = [node("Loop", ["times", "yes"], ["scan"], body=body), node("If", ["yes"], ["y"], name="choice", **branches)]
    arrays = {"outside": 3 * W, "times": np.array(1), "yes": np.array(True)}
    model, y = onnx_run(nodes, arrays, {"x": x})
    found = matrices(stored_model(model, tmp_path))
    assert set(found) == {"outside", "W", "choice/else_branch/W"} or set(found) == {"outside", "W", "choice/then_branch/W"}
    products = {name: x @ matrix.T for name, matrix in found.items()}
    close(products.pop("outside"), 3 * x @ W, 1e-4)
    assert any(np.allclose(product, y, atol=1e-4) for product in products.values())
    assert any(np.allclose(product, 2 * x @ W, atol=1e-4) for product in products.values())


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_nodes_of_onnx_give_a_matrix_for_every_direction_and_gate(direction, tmp_path):
    count = 2 if direction == "bidirectional" else 1
    W, R = gaussian(count, 20, 6), gaussian(count, 20, 5)
    x, h, c = gaussian(1, 1, 6), gaussian(count, 1, 5), gaussian(count, 1, 5, seed=1)
    nodes = [node("LSTM", ["x", "W", "R", "", "", "h", "c"], ["y"], hidden_size=5, direction="forward")]
    arrays, ways = {"W": W[:1], "R": R[:1]}, [""]
    model, y = onnx_run(nodes, arrays, {"x": x, "h": h[:1], "c": c[:1]})
    if direction != "forward":
        from onnx import helper, numpy_helper

        nodes[0] = node("LSTM", ["x", "W", "R"], ["y"], hidden_size=5, direction=direction)
        stored = [numpy_helper.from_array(array, name) for name, array in (("W", W), ("R", R))]
        model = helper.make_model(helper.make_graph(nodes, "net", [], [], stored))
        ways = ["forward.", "backward."] if count == 2 else [""]
    found = matrices(stored_model(model, tmp_path))
    assert set(found) == {f"{name}#{way}{gate}" for name in "WR" for way in ways for gate in "iofc"}
    parts = ({gate: found[f"{name}#{ways[0]}{gate}"] for gate in "ifco"} for name in "WR")
    close(lstm_step(x[0, 0], h[0, 0], c[0, 0], *parts, "ifco"), y[0, 0, 0])
    whole = matrices(tmp_path / "a.onnx", split_gates=False)
    assert {matrix.shape for matrix in whole.values()} == {(20, 6), (20, 5)}
    if count == 2:
        np.testing.assert_array_equal(whole["R#backward"], R[1])


def test_products_of_stacks_and_sums_of_products_in_onnx(tmp_path):
    W, x = gaussian(3, 12, 30), gaussian(3, 5, 12)
    model, y = onnx_run([node("MatMul", ["x", "W"], ["y"])], {"W": W}, {"x": x})
    found = matrices(stored_model(model, tmp_path))
    close(np.stack([x[i] @ found[f"W#{i}"].T for i in range(3)]), y, 1e-4)
    W, x = gaussian(3, 4, 6), gaussian(5, 6)
    model, y = onnx_run([node("Einsum", ["W", "x"], ["y"], equation="hdi,bi->bhd")], {"W": W}, {"x": x})
    [matrix] = matrices(stored_model(model, tmp_path)).values()
    close(x @ matrix.T, y.reshape(5, -1), 1e-4)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_quantised_weights_of_onnx_are_the_numbers_that_they_stand_for(axis, tmp_path):
    rng = np.random.default_rng(0)
    q, x = rng.integers(-128, 128, (12, 30)).astype(np.int8), gaussian(5, 12)
    size = () if axis is None else (q.shape[axis],)
    scale, zero = rng.uniform(0.01, 0.02, size).astype(np.float32), rng.integers(-9, 9, size).astype(np.int8)
    options = {} if axis is None else {"axis": axis}
    nodes = [node("DequantizeLinear", ["q", "scale", "zero"], ["W"], **options), node("MatMul", ["x", "W"], ["y"])]
    model, y = onnx_run(nodes, {"q": q, "scale": scale, "zero": zero}, {"x": x})
    weights = load_weights(stored_model(model, tmp_path), min_levels=2)
    assert list(weights) == ["q"]
    close(x @ weights["q"].matrix.T, y, 1e-3)
    assert weights["q"].ground == "ONNX node MatMul, input 1; made of 3 tensors: quantised, int8 with ONNX's scales"
    assert {s.reason for s in weights.skipped} == {"scale or zero point of q"}


def test_transposed_convolutions_of_onnx_in_groups(tmp_path):
    W, x = gaussian(6, 4, 3), gaussian(1, 6, 1)
    from onnx import helper, numpy_helper

    # onnx's reference implementation cannot do groups; torch's operator is the same one.
    nodes = [node("ConvTranspose", ["x", "W"], ["y"], group=2)]
    model = helper.make_model(helper.make_graph(nodes, "net", [], [], [numpy_helper.from_array(W, "W")]))
    y = torch.nn.functional.conv_transpose1d(torch.from_numpy(x), torch.from_numpy(W), groups=2)
    found = matrices(stored_model(model, tmp_path))
    out = [np.einsum("okc,c->ok", found[f"W#{g}"].reshape(4, 3, 3), x[0, 3 * g : 3 * g + 3, 0]) for g in range(2)]
    close(np.concatenate(out), y[0])


# Names and shapes alone


def test_stacks_of_experts_give_one_matrix_each_that_acts_as_in_the_network():
    rng = np.random.default_rng(0)
    hidden, ffn, experts = 16, 24, 3
    x = rng.normal(size=hidden).astype(np.float32)
    multiplied = {"up": gaussian(experts, hidden, 2 * ffn), "down": gaussian(experts, ffn, hidden)}  # x @ W
    applied = {name: np.ascontiguousarray(W.swapaxes(1, 2)) for name, W in multiplied.items()}  # W @ x
    for stacks in (multiplied, applied):
        found = matrices({"mlp.experts.gate_up_proj": stacks["up"], "mlp.experts.down_proj": stacks["down"]})
        assert len(found) == 2 * experts
        for e in range(experts):
            close(found[f"mlp.experts.gate_up_proj#{e}"] @ x, x @ multiplied["up"][e], 1e-4)
            close(found[f"mlp.experts.down_proj#{e}"] @ x.repeat(2)[:ffn], x.repeat(2)[:ffn] @ multiplied["down"][e], 1e-4)
    granite = {"block_sparse_moe.input_linear.weight": applied["up"], "block_sparse_moe.output_linear.weight": applied["down"]}
    found = matrices(granite)
    close(found["block_sparse_moe.input_linear#1"] @ x, x @ multiplied["up"][1], 1e-4)


@pytest.mark.parametrize("told", ["width", "bias", "layout"])
def test_the_orientation_of_a_single_stack_is_told_by_other_tensors_or_by_the_caller(told):
    W = gaussian(3, 16, 24)
    more = {"width": {"embed_tokens.weight": gaussian(50, 16)}, "bias": {"experts.up_proj_bias": gaussian(3, 24)}, "layout": {}}
    weights = load_weights({"experts.up_proj": W, **more[told]}, min_levels=2, layout="keras" if told == "layout" else None)
    np.testing.assert_array_equal(weights["experts.up_proj#2"].matrix, W[2].T)
    assert len(weights) == 3 + (told == "width")
    if told == "width":  # the way back: the network's width is the output
        weights = load_weights({"experts.down_proj": W, **more["width"]}, min_levels=2)
        np.testing.assert_array_equal(weights["experts.down_proj#2"].matrix, W[2])
    reasons = {s.name: s.reason for s in load_weights({"experts.up_proj": W}, min_levels=2).skipped}
    assert reasons["experts.up_proj"].startswith("a stack of experts, whose orientation a file does not tell")


def test_experts_one_below_the_other_are_split_where_their_number_is_told(tmp_path):
    import json

    from .builders import safetensors

    arrays = {"ffn.experts.mlp.w1": gaussian(4 * 20, 16), "ffn.experts.mlp.w2": gaussian(4 * 20, 16, seed=1)}
    reasons = {s.reason for s in load_weights(arrays).skipped}
    assert reasons == {"experts one below the other, whose number the file does not tell: give it by groups"}
    path = safetensors(tmp_path / "model.safetensors", arrays)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dbrx", "ffn_config": {"moe_num_experts": 4}}))
    for found in (matrices(path), matrices(arrays, groups=dict.fromkeys(arrays, 4))):
        x, y = gaussian(16), gaussian(20)
        # DBRX: x @ w1.T on the way in, y @ w2 on the way out.
        close(found["ffn.experts.mlp.w1#3"] @ x, x @ arrays["ffn.experts.mlp.w1"][60:].T, 1e-4)
        close(found["ffn.experts.mlp.w2#3"] @ y, y @ arrays["ffn.experts.mlp.w2"][60:], 1e-4)


def test_three_axes_that_may_be_a_stack_or_a_convolution_are_a_reason_unless_something_tells():
    W = gaussian(20, 16, 40)
    [skipped] = load_weights({"blocks.mix": W}, min_levels=2).skipped
    assert skipped.reason.startswith("three dimensions, which a stack of matrices has as well as a convolution of length 40")
    assert load_weights({"pos_conv.weight": W}, min_levels=2).shapes == {"pos_conv": (20, 640)}
    assert load_weights({"a.weight": W, "a.bias": np.zeros(20)}, min_levels=2).shapes == {"a": (20, 640)}
    assert load_weights({"a.weight": W[:, :, :5]}, min_levels=2).shapes == {"a": (20, 80)}


def test_grouped_queries_are_split_where_the_way_out_or_the_configuration_tells(tmp_path):
    import json

    from .builders import safetensors

    W = gaussian(32 + 2 * 16, 32)
    arrays = {"attn.qkv_proj.weight": W, "attn.o_proj.weight": gaussian(32, 32)}
    expected = {"attn.qkv_proj#q": W[:32], "attn.qkv_proj#k": W[32:48], "attn.qkv_proj#v": W[48:]}
    found = matrices(arrays, split_qkv=True)
    for name, part in expected.items():
        np.testing.assert_array_equal(found[name], part)
    path = safetensors(tmp_path / "model.safetensors", {"attn.qkv_proj.weight": W})
    assert list(matrices(path, split_qkv=True)) == ["attn.qkv_proj"]
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4, "num_key_value_heads": 2}))
    for name, part in matrices(path, split_qkv=True).items():
        np.testing.assert_array_equal(part, expected[name])


def test_bloom_s_rows_are_sorted_by_head_and_come_apart(tmp_path):
    import json

    from .builders import safetensors

    W = gaussian(3 * 32, 32)
    path = safetensors(tmp_path / "model.safetensors", {"h.query_key_value.weight": W})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bloom", "n_head": 4}))
    found = matrices(path, split_qkv=True)
    x = gaussian(5, 32)
    fused = (x @ W.T).reshape(5, 4, 3, 8)
    for i, part in enumerate("qkv"):
        close((x @ found[f"h.query_key_value#{part}"].T).reshape(5, 4, 8), fused[:, :, i], 1e-4)


def test_haiku_s_and_flax_s_nested_parameters_lie_the_other_way_round():
    square = gaussian(20, 20)
    haiku = {"mlp/~/linear_0": {"w": gaussian(20, 30), "b": np.zeros(30)}, "mlp/~/linear_1": {"w": square, "b": np.zeros(20)}}
    found = matrices(haiku)
    np.testing.assert_array_equal(found["mlp/~/linear_0.w"], gaussian(20, 30).T)
    np.testing.assert_array_equal(found["mlp/~/linear_1.w"], square.T)
    flax = {
        "params": {"Dense_0": {"kernel": square}, "Conv_0": {"kernel": gaussian(3, 3, 5, 7)}},
        "batch_stats": {"m": np.ones(3)},
    }
    found = matrices(flax)
    np.testing.assert_array_equal(found["Dense_0"], square.T)
    np.testing.assert_array_equal(found["Conv_0"], gaussian(3, 3, 5, 7).reshape(-1, 7).T)


@pytest.mark.parametrize("name", ["mlp.experts.up_proj_bias", "net.bias", "a.b_bias"])
def test_a_bias_of_several_dimensions_is_no_layer(name):
    [skipped] = load_weights({name: gaussian(20, 30)}, min_levels=2).skipped
    assert skipped.reason == "a bias or mask of several dimensions, not a weight"


def test_groups_that_do_not_divide_are_refused_for_live_models_too():
    with pytest.raises(WeightsError, match=r"groups\['weight'\] must divide the 12 output channels; got 5"):
        load_weights(torch.nn.Conv1d(4, 12, 3), groups={"weight": 5})


def test_integers_that_onnxruntime_scales_after_the_product(tmp_path):
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    q, x = rng.integers(0, 256, (12, 30)).astype(np.uint8), rng.integers(0, 9, (5, 12)).astype(np.uint8)
    scale, zero = rng.uniform(0.01, 0.02, 30).astype(np.float32), rng.integers(100, 150, 30).astype(np.uint8)
    nodes = [
        node("MatMulInteger", ["x", "fc_quantized", "none", "fc_zero_point"], ["i"]),
        node("Cast", ["i"], ["f"], to=1),
        node("Mul", ["f", "fc_scale"], ["y"]),
    ]
    arrays = {"fc_quantized": q, "fc_scale": scale, "fc_zero_point": zero, "none": np.zeros((), np.uint8)}
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    model = helper.make_model(helper.make_graph(nodes, "net", [], [], stored))
    weights = load_weights(stored_model(model, tmp_path), min_levels=2)
    assert list(weights) == ["fc_quantized"]
    y = (x.astype(int) @ (q.astype(int) - zero)) * scale
    close(x @ weights["fc_quantized"].matrix.T, y, 1e-3)


@pytest.mark.parametrize("zeros", [False, True])
def test_few_bits_in_onnx(zeros, tmp_path):
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    n_out, n_in, block = 24, 70, 32
    q = rng.integers(0, 16, (n_out, 96))
    scale, zero = rng.uniform(0.01, 0.02, (n_out, 3)).astype(np.float32), rng.integers(0, 16, (n_out, 4))
    arrays = {"B": (q[:, ::2] | q[:, 1::2] << 4).astype(np.uint8).reshape(n_out, 3, 16), "s": scale.ravel()}
    if zeros:
        arrays["z"] = (zero[:, ::2] | zero[:, 1::2] << 4).astype(np.uint8).ravel()
    options = {"K": n_in, "N": n_out, "bits": 4, "block_size": block, "domain": "com.microsoft"}
    nodes = [node("MatMulNBits", ["x", *arrays], ["y"], **options)]
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    [layer] = load_weights(
        stored_model(helper.make_model(helper.make_graph(nodes, "n", [], [], stored)), tmp_path), min_levels=2
    ).values()
    expected = np.zeros((n_out, n_in))
    for o, i in np.ndindex(n_out, n_in):
        expected[o, i] = scale[o, i // block] * (q[o, i] - (zero[o, i // block] if zeros else 8))
    close(layer.matrix, expected, 1e-6)


def test_scales_of_onnx_are_no_layers_whatever_their_names(tmp_path):
    from onnx import helper, numpy_helper

    nodes = [node("QuantizeLinear", ["x", "first"], ["q"]), node("DequantizeLinear", ["q", "second"], ["y"])]
    stored = [numpy_helper.from_array(gaussian(20, 30), name) for name in ("first", "second")]
    model = helper.make_model(helper.make_graph(nodes, "net", [], [], stored))
    weights = load_weights(stored_model(model, tmp_path))
    assert len(weights) == 0
    assert {skipped.reason for skipped in weights.skipped} == {"scale or zero point of a quantised node"}


def test_a_flax_layer_keeps_its_name_where_it_is_alone():
    assert list(load_weights({"params": {"Dense_0": {"kernel": gaussian(20, 30)}}})) == ["Dense_0"]


@pytest.mark.parametrize("way", ["unsqueezed", "squeezed", "reshaped", "reshaped and turned"])
def test_weights_of_onnx_that_get_or_lose_axes_of_one_on_their_way(way, tmp_path):
    W, x = gaussian(12, 30), gaussian(1, 5, 12)
    arrays = {
        "unsqueezed": {"W": W, "axes": np.array([0])},
        "squeezed": {"W": W[:, None], "axes": np.array([1])},
        "reshaped": {"W": W[None], "shape": np.array([1, 0, -1])},
        "reshaped and turned": {"W": W, "shape": np.array([12, 1, -1])},
    }[way]
    first = {"unsqueezed": "Unsqueeze", "squeezed": "Squeeze"}.get(way, "Reshape")
    nodes = [node(first, list(arrays), ["c"])]
    if way == "reshaped and turned":
        nodes.append(node("Transpose", ["c"], ["d"], perm=[1, 0, 2]))
    nodes.append(node("MatMul", ["x", nodes[-1].output[0]], ["y"]))
    model, y = onnx_run(nodes, arrays, {"x": x})
    [layer] = load_weights(stored_model(model, tmp_path), min_levels=2).values()
    close(x[0] @ layer.matrix.T, y[0], 1e-4)
    assert layer.ground == "ONNX node MatMul, input 1"


def test_arrays_of_onnx_that_are_added_are_no_layers(tmp_path):
    model, _ = onnx_run([node("Add", ["x", "table"], ["y"])], {"table": gaussian(20, 30)}, {"x": gaussian(20, 30)})
    weights = load_weights(stored_model(model, tmp_path))
    assert len(weights) == 0
    assert weights.skipped[0].reason == "taken by ONNX's Add entry by entry, no layer"


@pytest.mark.parametrize(
    ("name", "bias"), [("upconv", True), ("deconv1", False), ("decoder.conv_transpose", False), ("net.convtr", False)]
)
@pytest.mark.parametrize("c_out", [6, 8])
def test_transposed_convolutions_of_files_are_told_by_their_bias_or_name(name, bias, c_out):
    layer = torch.nn.ConvTranspose1d(8, c_out, 3, bias=False)
    arrays = {f"{name}.weight": layer.weight.detach().numpy()} | ({f"{name}.bias": np.zeros(c_out)} if bias else {})
    x = torch.randn(1, 8, 1)
    [found] = load_weights(arrays, min_levels=2).values()
    told = c_out == 6 or not bias
    expected = layer(x).detach().numpy()[0]
    right = np.allclose(np.einsum("okc,c->ok", found.matrix.reshape(c_out, 3, 8), x[0, :, 0].numpy()), expected, atol=1e-5)
    assert right == told
    assert ("transposed" in found.ground) == told


def test_convolutions_of_mlx_keep_their_channels_last(tmp_path):
    from safetensors.numpy import save_file

    kernel = gaussian(20, 3, 3, 5)
    save_file({"conv.weight": kernel}, tmp_path / "a.safetensors", metadata={"format": "mlx"})
    x = torch.randn(1, 5, 3, 3)
    y = torch.nn.functional.conv2d(x, torch.from_numpy(np.moveaxis(kernel, -1, 1).copy()))
    [layer] = load_weights(tmp_path / "a.safetensors").values()
    close(layer.matrix @ x[0].permute(1, 2, 0).numpy().ravel(), y.ravel(), 1e-4)


def test_depthwise_kernels_are_known_by_their_name(keras):
    layer = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)
    x = gaussian(1, 3, 3, 4)
    y = numpy(keras, layer(x)).ravel()
    found = matrices({"net/depthwise_kernel": numpy(keras, layer.weights[0])}, layout="keras")
    close(np.concatenate([found[f"net/depthwise_kernel#{i}"] @ x[0, :, :, i].ravel() for i in range(4)]), y)


# Fused weights whose rows are mixed


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("attention.wqkv", {"model_type": "internlm2", "num_attention_heads": 4, "num_key_value_heads": 4}),
        ("attention.wqkv", {}),
        ("transformer.h.0.attn.qkv_proj", {}),
        ("attn.qkv_proj", {"model_type": "codegen"}),
        ("self_attention.linear_qkv", {}),
    ],
)
def test_fused_weights_whose_rows_are_mixed_stay_whole(name, config, tmp_path):
    save_file({f"{name}.weight": torch.randn(72, 24)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert list(load_weights(tmp_path / "model.safetensors", split_qkv=True)) == [name]


def test_a_convolution_of_queries_keys_and_values_stays_whole():
    """Diffusion networks interleave the heads in theirs."""
    assert list(load_weights({"qkv.weight": np.ones((72, 24, 1), np.float32)}, split_qkv=True)) == ["qkv"]


def test_gpt_bigcode_s_rows_are_split_as_its_module_splits_its_output(tmp_path):
    torch.manual_seed(0)
    fused, heads, width = torch.nn.Linear(24, 72, bias=True), 4, 6
    state = {
        "h.0.attn.c_attn.weight": fused.weight,
        "h.0.attn.c_attn.bias": fused.bias,
        "h.0.attn.c_proj.weight": torch.randn(24, 24),
    }
    save_file({key: tensor.detach().contiguous() for key, tensor in state.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt_bigcode", "multi_query": False, "n_head": heads}))
    weights = load_weights(tmp_path / "model.safetensors", split_qkv=True, min_levels=2)
    x = torch.randn(5, 24)
    parts = (fused(x) - fused.bias).view(5, heads, 3 * width).split(width, dim=-1)
    for letter, part in zip("qkv", parts, strict=True):
        found = x.numpy() @ weights[f"h.0.attn.c_attn#{letter}"].matrix.T
        np.testing.assert_allclose(found, part.reshape(5, -1).detach().numpy(), atol=1e-5)
    assert "h.0.attn.c_proj" in weights


def test_what_is_added_or_multiplied_entry_by_entry_is_no_layer():
    arrays = dict.fromkeys(("mixer.A_log", "att.time_decay", "freqs_cis", "attn.relative_position_bias_table"), np.ones((40, 30)))
    weights = load_weights(arrays)
    assert len(weights) == 0
    assert {skipped.reason for skipped in weights.skipped} == {"a table that is added or multiplied entry by entry, no layer"}


# ONNX beyond what is followed


def test_onnx_s_weight_that_is_rounded_on_its_way_is_the_one_that_multiplies(tmp_path):
    import onnx
    from onnx import helper, numpy_helper

    W, x = gaussian(20, 30), gaussian(3, 20)
    nodes = [
        helper.make_node("QuantizeLinear", ["W", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [], [], [numpy_helper.from_array(W, "W"), numpy_helper.from_array(np.float32(1), "s")])
    onnx.save(helper.make_model(graph), tmp_path / "a.onnx")
    weights = load_weights(tmp_path / "a.onnx")
    np.testing.assert_allclose(x @ weights["W"].matrix.T, x @ W, atol=1e-5)
    assert [skipped.name for skipped in weights.skipped] == ["s"]


@pytest.mark.parametrize("type_", ["Concat", "Reshape", "Slice"])
def test_onnx_s_weight_that_is_changed_on_its_way_is_named_not_guessed(type_, tmp_path):
    import onnx
    from onnx import helper, numpy_helper

    node = helper.make_node(type_, ["W", "n"], ["V"])
    graph = helper.make_graph(
        [node, helper.make_node("MatMul", ["x", "V"], ["y"])],
        "g",
        [],
        [],
        [numpy_helper.from_array(gaussian(20, 30), "W"), numpy_helper.from_array(np.array([30, 20]), "n")],
    )
    onnx.save(helper.make_model(graph), tmp_path / "a.onnx")
    weights = load_weights(tmp_path / "a.onnx")
    assert len(weights) == 0
    assert weights.skipped[0] == ("W", (20, 30), f"taken by ONNX's {type_}, after which it is not followed")
