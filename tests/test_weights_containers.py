"""Files and folders in which weights come: read, or called by their name with the way to convert them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from rmtlib.weights import WeightsError, load_weights
from rmtlib.weights.read_flax import Packed

from . import builders
from .builders import gaussian

W = gaussian(20, 30)
STATE = {"fc.weight": torch.from_numpy(W), "fc.bias": torch.zeros(20)}


def is_fc(weights):
    assert list(weights) == ["fc"]
    np.testing.assert_array_equal(weights["fc"].matrix, W)
    return True


def reasons(weights):
    return {skipped.name: skipped.reason for skipped in weights.skipped}


# Checkpoints of torch


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": STATE, "best_acc1": torch.tensor(76.1), "epoch": 3},
        {"state_dict": STATE, "best_loss": np.float64(0.1), "dtype": np.dtype("f4"), "rng": np.arange(3)},
        {"model": {"state_dict": STATE, "model_args": {"d": 1}}, "optimizer": {"state": {0: {"m": STATE["fc.weight"]}}}},
        {"model": STATE, "model_ema": STATE, "optimizer": {"state": {}}, "lr_scheduler": {"x": torch.ones(3, 3)}},
        {"module": STATE, "buffer_names": ["a"], "param_shapes": []},
        {"model": {"language_model": {"encoder": STATE}}, "iteration": 3, "rng_state": [torch.ones(9)]},
        {"weights": STATE, "step": np.int64(3)},
        STATE,
    ],
)
@pytest.mark.parametrize("modern", [True, False])
def test_the_weights_of_a_checkpoint_are_found_however_it_is_nested(content, modern, tmp_path):
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=modern)
    weights = load_weights(tmp_path / "a.pt", min_levels=2)
    assert is_fc(weights)
    if isinstance(content.get("best_acc1"), torch.Tensor):
        assert reasons(weights)["best_acc1"] == "not in the checkpoint's 'state_dict'"


def test_two_networks_in_a_checkpoint_are_both_read():
    weights = load_weights({"generator": {"fc.weight": W}, "critic": {"fc.weight": W}, "optimizer_g": {"m": W}}, min_levels=2)
    assert list(weights)[:2] == ["generator.fc", "critic.fc"]


@pytest.mark.parametrize("name", ["a.ckpt", "model_best.pth.tar", "a.th", "a.bin", "a.PT"])
def test_suffixes_of_torch(name, tmp_path):
    torch.save({"state_dict": STATE}, tmp_path / name)
    assert is_fc(load_weights(tmp_path / name, min_levels=2))


def test_what_a_file_is_counts_more_than_its_suffix(tmp_path):
    builders.safetensors(tmp_path / "model.safetensors", {"fc.weight": W})
    for name in ("a.pt", "a.bin", "weights"):
        shutil.copy(tmp_path / "model.safetensors", tmp_path / name)
        assert is_fc(load_weights(tmp_path / name, min_levels=2))
    np.savez(tmp_path / "b", **{"fc.weight": W})
    shutil.move(tmp_path / "b.npz", tmp_path / "b.pth")
    assert is_fc(load_weights(tmp_path / "b.pth", min_levels=2))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_gives_its_tensors_with_their_names_and_strides(tmp_path):
    torch.manual_seed(0)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.ReLU(), torch.nn.LSTM(20, 16))
            self.wide = torch.nn.Parameter(torch.randn(40, 24).t()[:, 4:])
            self.short = torch.nn.Parameter(torch.randn(20, 20).bfloat16())
            self.tied = self.wide

        def forward(self, x):
            return self.body(x)[0]

    net = Net().eval()
    torch.jit.save(torch.jit.script(net), tmp_path / "a.pt")
    weights = load_weights(tmp_path / "a.pt", split_gates=False)
    expected = {name.removesuffix(".weight"): tensor for name, tensor in net.state_dict().items() if tensor.ndim > 1}
    assert set(weights) == set(expected) - {"tied"}
    for name in weights:
        np.testing.assert_array_equal(weights[name].matrix, expected[name].float().numpy())
    assert reasons(weights)["tied"] == "the same values as wide, to which it is tied"


def test_exported_programs_live_and_saved(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(30, 20))
    with torch.no_grad():
        net[0].weight.copy_(torch.from_numpy(W))
    program = torch.export.export(net, (torch.randn(1, 30),))
    torch.export.save(program, tmp_path / "a.pt2")
    for source in (program, tmp_path / "a.pt2"):
        weights = load_weights(source)
        assert list(weights) == ["0"]
        np.testing.assert_array_equal(weights["0"].matrix, W)


def test_sharded_training_says_how_to_gather_its_parameters(tmp_path):
    parts = {"a.weight": torch.empty(0), "_fsdp_wrapped_module._flat_param": torch.ones(99), "fc.weight": torch.from_numpy(W)}
    torch.save({"module": parts}, tmp_path / "mp_rank_00_model_states.pt")
    found = reasons(load_weights(tmp_path / "mp_rank_00_model_states.pt"))
    assert "ZeRO-3 leaves in place of a weight" in found["a"]
    assert "zero_to_fp32.py" in found["a"]
    assert "get_model_state_dict" in found["_fsdp_wrapped_module._flat_param"]
    (tmp_path / "dcp").mkdir()
    (tmp_path / "dcp" / ".metadata").touch()
    (tmp_path / "dcp" / "__0_0.distcp").touch()
    with pytest.raises(WeightsError, match="join it by python -m torch.distributed.checkpoint.format_utils dcp_to_torch"):
        load_weights(tmp_path / "dcp")
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero" / "zero_to_fp32.py").touch()
    with pytest.raises(WeightsError, match="join it by the zero_to_fp32.py that lies there"):
        load_weights(tmp_path / "zero")
    spread = torch.nn.Parameter(torch.empty(0))
    spread.ds_shape = (20, 30)
    assert "deepspeed.zero.GatheredParameters" in reasons(load_weights({"w": spread}))["w"]


def test_a_spread_tensor_of_torch_is_named():
    script = """
import torch, torch.distributed as dist
from torch.distributed.tensor import distribute_tensor, Shard, init_device_mesh
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
spread = distribute_tensor(torch.randn(20, 30), init_device_mesh("cpu", (1,)), [Shard(0)])
import rmtlib
print(rmtlib.load_weights({"w": spread}).skipped[0].reason)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "a DTensor, spread over processes: gather it with full_tensor()" in result.stdout, result.stderr


# Arrays


def test_npy_and_bfloat16_in_npz(tmp_path):
    import ml_dtypes

    np.save(tmp_path / "fc.npy", W)
    assert is_fc(load_weights(tmp_path / "fc.npy"))
    half = W.astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "a.npz", w=half)
    for source in (tmp_path / "a.npz", {"w": half}):
        np.testing.assert_array_equal(load_weights(source)["w"].matrix, half.astype(np.float32))


def test_flax_msgpack_with_chunks_and_bfloat16(tmp_path):
    msgpack = pytest.importorskip("msgpack")
    import ml_dtypes

    def array(a):
        return msgpack.ExtType(1, msgpack.packb((a.shape, a.dtype.name, a.tobytes())))

    half = W.T.astype(ml_dtypes.bfloat16)
    parts = {"0": array(W.T.ravel()[:250]), "1": array(W.T.ravel()[250:])}
    chunked = {"__msgpack_chunked_array__": True, "shape": {"0": 30, "1": 20}, "chunks": parts}
    state = {"params": {"fc": {"kernel": array(W.T)}, "half": {"kernel": array(half)}, "long": {"kernel": chunked}}, "step": 3}
    (tmp_path / "flax_model.msgpack").write_bytes(msgpack.packb(state))
    weights = load_weights(tmp_path / "flax_model.msgpack")
    for name, expected in (("fc", W), ("half", half.astype(np.float32).T), ("long", W)):
        np.testing.assert_array_equal(weights[name].matrix, expected)


def test_arrays_of_other_packages_come_as_copies_whatever_they_promise():
    class Shared:
        shape, dtype = W.shape, W.dtype

        def __array__(self, dtype=None, copy=None):
            return W.view()

    matrix = load_weights({"w": Shared()})["w"].matrix
    assert matrix.flags.writeable
    assert not np.shares_memory(matrix, W)


def test_flax_s_arrays_keep_numpy_s_protocol():
    packed = Packed((20, 30), "float32", W.T.reshape(20, 30).tobytes())
    for copy in (None, True):
        assert packed.__array__(np.float64, copy=copy).dtype == np.float64
    assert packed.__array__(copy=True).flags.writeable
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        assert np.shares_memory(np.array(packed, copy=False), np.array(packed, copy=False))
        with pytest.raises(ValueError, match="copy"):
            np.array(packed, np.float64, copy=False)


# Folders


@pytest.mark.parametrize("kind", ["pytorch_model.bin", "model.safetensors", "index", "bin index", "adapter"])
def test_folders_of_hugging_face(kind, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    builders.safetensors(tmp_path / "extra.safetensors", {"other.weight": gaussian(20, 20)})
    if kind == "pytorch_model.bin":
        torch.save(STATE, tmp_path / kind)
    elif kind == "model.safetensors":
        builders.safetensors(tmp_path / kind, {"fc.weight": W})
        torch.save({"old.weight": torch.ones(20, 20)}, tmp_path / "pytorch_model.bin")
    elif kind == "index":
        builders.sharded(tmp_path, {"fc.weight": W, "fc.bias": np.zeros(20)})
    elif kind == "bin index":
        torch.save({"fc.weight": STATE["fc.weight"]}, tmp_path / "pytorch_model-1.bin")
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"fc.weight": "pytorch_model-1.bin"}}))
    else:
        builders.safetensors(
            tmp_path / "adapter_model.safetensors", {"fc.lora_A.weight": np.eye(30)[:20], "fc.lora_B.weight": np.eye(20)}
        )
        (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 60}))
        np.testing.assert_array_equal(load_weights(tmp_path)["fc.lora"].matrix, 3 * np.eye(30)[:20])
        return
    assert is_fc(load_weights(tmp_path))


def test_a_folder_of_diffusers_gives_its_parts(tmp_path):
    (tmp_path / "model_index.json").write_text(
        json.dumps(
            {"_class_name": "Pipeline", "unet": ["diffusers", "UNet"], "text_encoder": ["t", "C"], "scheduler": ["d", "S"]}
        )
    )
    (tmp_path / "scheduler").mkdir()
    builders.safetensors(tmp_path / "unet" / "diffusion_pytorch_model.safetensors", {"fc.weight": W})
    (tmp_path / "text_encoder").mkdir()
    torch.save(STATE, tmp_path / "text_encoder" / "pytorch_model.bin")
    weights = load_weights(tmp_path)
    assert list(weights) == ["text_encoder.fc", "unet.fc"]
    np.testing.assert_array_equal(weights["unet.fc"].matrix, W)


# What is none of these


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("group1-shard1of1.bin", W.tobytes(), "it is a TF.js shard, .*tensorflowjs_converter"),
        ("any.bin", W.tobytes(), "it is no file of torch, but bare numbers"),
        ("weight.bin", W.tobytes(), "it is the weights of Core ML"),
        ("a.mlmodel", b"\x08\x01", "it is Core ML"),
        ("a.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(50), "it is TensorFlow Lite: .*tflite2onnx"),
        ("a.bin", b"\x1c\x00\x00\x00TFL3" + bytes(50), "it is TensorFlow Lite"),
        ("saved_model.pb", b"\x08\x01", "it is a graph of TensorFlow: load it by"),
        ("variables.data-00000-of-00001", b"\x08\x01", "it is part of a checkpoint of TensorFlow"),
        ("a.caffemodel", b"\x08\x01", "it is Caffe"),
        ("a.pkl", b"\x80\x04N.", "it is a pickle, whose code is never run: save the arrays by numpy.savez"),
        ("a.engine", b"\x08\x01", "TensorRT"),
        ("ggml-model.bin", b"lmgg" + bytes(50), "it is llama.cpp's older format"),
        ("a.ort", b"\x08\x00\x00\x00ORTM" + bytes(50), "it is onnxruntime's own format"),
        ("a.tar", b"\x1f\x8b\x08" + bytes(50), "it is packed: unpack it first"),
    ],
)
def test_files_of_other_kinds_are_called_by_their_names(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"is not read: .*{message}"):
        load_weights(tmp_path / name)


def test_openvino_tf_js_s_model_and_saved_models_are_called_by_their_names(tmp_path):
    (tmp_path / "net.bin").write_bytes(W.tobytes())
    (tmp_path / "net.xml").touch()
    with pytest.raises(WeightsError, match="it is the weights of OpenVINO"):
        load_weights(tmp_path / "net.bin")
    (tmp_path / "model.json").write_text(json.dumps({"weightsManifest": []}))
    with pytest.raises(WeightsError, match="it is TF.js"):
        load_weights(tmp_path / "model.json")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    with pytest.raises(WeightsError, match="is a SavedModel"):
        load_weights(tmp_path / "saved")


# Listing


def sparse_checkpoint(folder, gigabytes, n_shards=4):
    """A sharded checkpoint whose tensors are holes in its files: it has its size, and takes no room."""
    folder.mkdir()
    weight_map, rows, columns = {}, 4096, 4096
    per_shard = int(gigabytes * 10**9 / n_shards / (4 * rows * columns))
    for shard in range(n_shards):
        names = [f"model.layers.{shard * per_shard + i}.mlp.up_proj.weight" for i in range(per_shard)]
        size = 4 * rows * columns
        header = {
            n: {"dtype": "F32", "shape": [rows, columns], "data_offsets": [i * size, (i + 1) * size]} for i, n in enumerate(names)
        }
        file = f"model-{shard}.safetensors"
        builders.raw_safetensors(folder / file, header)
        with open(folder / file, "r+b") as opened:
            opened.truncate(opened.seek(0, 2) + per_shard * size)
        weight_map |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_two_gigabytes_are_listed_from_their_headers(tmp_path):
    folder = sparse_checkpoint(tmp_path / "big", 2)
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) > 1.8e9
    load_weights({"w": W})
    start = time.perf_counter()
    weights = load_weights(folder)
    shapes, skipped, count = weights.shapes, weights.skipped, len(weights)
    assert time.perf_counter() - start < 0.5
    assert (count, set(shapes.values()), skipped) == (28, {(4096, 4096)}, [])


def test_every_tensor_is_read_once_by_an_analysis_and_none_by_the_listing(tmp_path):
    arrays = {"a.qkv.weight": Counted(240, 80), "b.weight": Counted(240, 80)}
    weights = load_weights(arrays, split_qkv=True)
    assert (len(weights), list(weights), weights.skipped) == (4, list(weights.shapes), [])
    assert "b" in weights
    assert repr(weights) == "Weights(4 matrices: a.qkv#q, a.qkv#k, a.qkv#v, b; 0 tensors skipped)"
    assert [array.reads for array in arrays.values()] == [0, 0]
    assert [layer.matrix.shape for layer in weights.values()] == [(80, 80)] * 3 + [(240, 80)]
    assert [array.reads for array in arrays.values()] == [1, 1]


class Counted:
    """An array in memory that counts how often it is read."""

    dtype = "float32"

    def __init__(self, *shape):
        self.shape, self.reads = shape, 0

    def __array__(self, dtype=None, copy=None):
        self.reads += 1
        return gaussian(*self.shape)


def test_every_tensor_is_read_once_in_a_whole_report(tmp_path, monkeypatch):
    import rmtlib
    from rmtlib import parallel
    from rmtlib.report import noise_like

    monkeypatch.setattr(parallel, "SIDE_BY_SIDE", 90 * 90)
    arrays = {"small.weight": Counted(90, 80), "large.weight": Counted(120, 100), "bad.weight": Counted(90, 80)}
    weights = load_weights(arrays)
    assert len(noise_like(weights)) == 2
    table = rmtlib.analyse_network(weights, progress=False, workers=1)
    assert sorted(table["layer"]) == ["bad", "large", "small"]
    assert {name: array.reads for name, array in arrays.items()} == dict.fromkeys(arrays, 1)


def test_a_report_of_a_network_that_is_not_finite_names_the_layer():
    import rmtlib
    from rmtlib.report import noise_like

    bad = gaussian(90, 80)
    bad[2, 3] = np.nan
    weights = load_weights({"good.weight": gaussian(90, 80), "bad.weight": bad})
    assert len(noise_like(weights)) == 1
    summaries = rmtlib.analyse_network(weights, progress=False).set_index("layer")["summary"]
    assert summaries["bad"] == "bad: not analysed: 1 of 7200 entries are nan or infinite"
    assert "not analysed" not in summaries["good"]
