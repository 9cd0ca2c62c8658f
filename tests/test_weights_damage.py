"""Whatever bytes a file holds: an error that says so, in little time and memory, and no code is run."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import pickle
import re
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from rmtlib.weights import WeightsError, load_weights
from rmtlib.weights.nesting import check_nesting
from rmtlib.weights.pickled import check_pickle

from . import builders, fuzz_weights
from .builders import gaussian
from .fuzz_weights import KINDS, copy_of, damaged, try_copy

FORMATS = 28


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return fuzz_weights.small_files(tmp_path_factory.mktemp("whole"))


def test_the_small_files_are_whole_and_hold_layers(files):
    assert len(files) == FORMATS
    for path in files.values():
        assert len(load_weights(path, min_levels=2))
        assert try_copy(path.read_bytes(), copy_of(path))[0] == "read"


def test_matrices_of_every_format_are_copies(files):
    for path in files.values():
        weights = load_weights(path, min_levels=2)
        for name in weights:
            before = weights[name].matrix.copy()
            weights[name].matrix[:] = 7
            np.testing.assert_array_equal(weights[name].matrix, before)


STROKES = st.lists(st.tuples(st.sampled_from(KINDS), st.floats(0, 1), st.integers(0, 2**16)), min_size=1, max_size=4)


@settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(0, FORMATS - 1), STROKES, st.none() | st.floats(0, 1))
def test_a_damaged_copy_is_read_or_refused(files, number, strokes, inside):
    name = sorted(files)[number]
    end, _, _ = try_copy(damaged(files[name], strokes, inside), copy_of(files[name]))
    assert end in ("read", "refused")


def test_a_name_in_onnx_that_is_no_text_is_damage(files):
    content = files["a.onnx"].read_bytes()
    path = files["a.onnx"].with_name("name.onnx")
    path.write_bytes(content.replace(b"fc.weight", b"fc.\xff\xfe\xfdght"))
    with pytest.raises(WeightsError, match="is no text"):
        load_weights(path)


def test_an_archive_in_many_parts_is_damage(files):
    content = bytearray(files["a.pt"].read_bytes())
    end = content.rindex(b"PK\x06\x07")  # the locator of the end, which counts the parts
    content[end + 16 : end + 20] = (7).to_bytes(4, "little")
    path = files["a.pt"].with_name("parts.pt")
    path.write_bytes(content)
    with contextlib.suppress(WeightsError):
        load_weights(path)


def test_all_gates_of_a_tensor_that_is_not_finite_are_named(files):
    W, U = gaussian(20, 6), gaussian(20, 5)
    W[3, 2] = np.nan
    weights = load_weights({"weight_ih_l0": W, "weight_hh_l0": U}, min_levels=2)
    for gate in "ifgo":
        with pytest.raises(WeightsError, match="weight_ih_l0: 1 of 120 entries are nan or infinite"):
            weights[f"weight_ih_l0#{gate}"]
    assert list(weights) == [f"weight_hh_l0#{gate}" for gate in "ifgo"]
    assert weights.skipped == [("weight_ih_l0", (20, 6), "1 of 120 entries are nan or infinite")]


# Little files that ask for much


def refused(path):
    """The error of a file, or the reason of its only tensor, and the peak of memory."""
    tracemalloc.start()
    try:
        weights = load_weights(path, min_levels=2)
        [reason] = {skipped.reason for skipped in weights.skipped if skipped.reason != "bias vector"}
        assert len(weights) == 0
    except WeightsError as error:
        reason = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 200e6
    return reason


def test_archives_that_unpack_to_more_than_their_size_warrants_are_refused(tmp_path):
    bomb = bytes(10**6)
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + b"{'descr': '<f4', 'fortran_order': False, 'shape': (50000, 1000), }"
    scripts = (("a.pt", "a/data.pkl"), ("torch.pt", "a/data.pkl"), ("storage.pt", "a/data/0"))
    for name, member in (("a.npz", "w.npy"), ("a.keras", "model.weights.h5"), *scripts):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            if name == "a.pt":
                archive.writestr("a/code/x.py", "")
            with archive.open(member, "w") as file:
                file.write(header.ljust(127) + b"\n")
                for _ in range(120):
                    file.write(bomb)
        assert "more than ten times the file and 100 MB: unpack it first" in refused(tmp_path / name)


def test_tensors_that_claim_more_than_their_file_warrants_are_skipped(tmp_path):
    import h5py
    import torch

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("fc/kernel", (10**6, 10**6), "f4", chunks=(1000, 1000), compression="gzip")
    torch.save({"w": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "a.pt")
    (tmp_path / "a.npy").write_bytes(
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", 118)
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117)
        + b"\n"
    )
    for name in ("a.h5", "a.pt", "a.npy"):
        assert refused(tmp_path / name) == "it claims 4000000000000 bytes, more than ten times its file and 100 MB"


def test_compressed_members_below_the_limit_are_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", w=np.zeros((1000, 1000)))
    assert (tmp_path / "a.npz").stat().st_size < 20000
    assert load_weights(tmp_path / "a.npz")["w"].matrix.shape == (1000, 1000)


def test_numbers_of_tensors_that_a_gguf_file_has_no_room_for_are_refused(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60) + bytes(100))
    assert "it claims 1152921504606846976 tensors" in refused(tmp_path / "a.gguf")


def test_parts_of_an_archive_that_torch_takes_at_once_are_limited_together(tmp_path):
    for name in ("a.pt", "inner.pt"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for i in range(3):
                archive.writestr(f"a/data/{i}", bytes(40 * 10**6))
            archive.writestr("a/data.pkl", pickle.dumps({"w": 1}))
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.write(tmp_path / "inner.pt", "serialized_state_dict.pt")
    for name in ("a.pt", "a.pt2"):
        assert re.search(r"holds 4 members of 1200000\d\d bytes, more than ten times the file", refused(tmp_path / name))


def test_descriptions_in_archives_are_limited_by_what_they_take_when_they_are_read(tmp_path):
    members = {"a.keras": ("config.json", "model.weights.h5"), "a.pt2": ("a/data/weights/model_weights_config.json",)}
    for name, parts in members.items():
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for part in parts:
                archive.writestr(part, f"[{'{},' * 2 * 10**6}0]")
        assert "which take 24 times as many when they are read" in refused(tmp_path / name)


def archive_of(path, pickled, script):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/code/x.py" if script else "a/version", "3")
        archive.writestr("a/data.pkl", pickled)
    return path


@pytest.mark.parametrize("form", ["script", "archive", "old"])
def test_a_pickle_that_makes_more_than_its_file_warrants_is_refused(form, tmp_path):
    path, pickled = tmp_path / "a.pt", b"\x80\x02}X\x01\x00\x00\x00a(" + b"\x8f" * 480_000 + b"ls."  # empty sets
    if form == "old":
        path.write_bytes(pickled)
    else:
        archive_of(path, pickled, form == "script")
    with pytest.raises(WeightsError, match="a.pt holds a pickle that takes more than ten times the file and 100 MB"):
        load_weights(path)


@pytest.mark.parametrize("form", ["script", "archive", "old"])
def test_tuples_in_tuples_whose_hash_would_end_the_process_are_refused(form, tmp_path):
    path, pickled = tmp_path / "a.pt", b"\x80\x02})" + b"\x85" * 1100 + b"K\x01s."
    if form == "old":
        path.write_bytes(pickled)
    else:
        archive_of(path, pickled, form == "script")
    with pytest.raises(WeightsError, match="a.pt holds a pickle of more than 1000 tuples in one another"):
        load_weights(path)


def test_what_a_pickle_takes_is_counted_through_all_its_instructions(tmp_path):
    """Tuples reach others by the stack, by the memory and inside what was made of them."""
    path = tmp_path / "a.pt"
    path.write_bytes(b"")
    one = b"(NNt"  # a mark, two things, and the tuple of them
    again = b"q\x010N0h\x01"  # kept, taken from the stack, and put there again
    for pickled, deep in (
        (one + b"\x85" * 999 + b".", False),
        (one + b"\x85" * 1000 + b".", True),
        (one + b"\x85" * 600 + again + b"\x85" * 399 + b".", False),
        (one + b"\x85" * 600 + again + b"\x85" * 400 + b".", True),
        (b"N" + b"N\x86" * 1001 + b".", True),
        (b"(" + b"N\x85" * 2000 + b"l.", False),
        (b"(N(0" + b"\x85" * 1001 + b"t.", True),
    ):
        if deep:
            with pytest.raises(WeightsError, match="more than 1000 tuples"):
                check_pickle(path, io.BytesIO(pickled))
        else:
            check_pickle(path, io.BytesIO(pickled))
    for pickled in (b"", b"N", b"\x85.", b"N(\x85.", b"I0x10\n.", b"t."):
        with pytest.raises(pickle.UnpicklingError, match="it holds no whole pickle"):
            check_pickle(path, io.BytesIO(pickled))


def doubled(value, times):
    for _ in range(times):
        value = [value, value]
    return value


@pytest.mark.parametrize("form", ["script", "archive", "old", "memory"])
@pytest.mark.parametrize("held", ["nothing", "a tensor"])
def test_lists_that_hold_one_another_twice_are_not_walked_through(form, held, tmp_path):
    import torch

    tensor, path = torch.ones(20, 20), tmp_path / "a.pt"
    content = {"w": tensor, "x": doubled([] if held == "nothing" else tensor, 40)}
    if form == "script":
        archive_of(path, pickle.dumps({"x": doubled([], 40)}, protocol=2), True)
    elif form != "memory":
        torch.save(content, path, _use_new_zipfile_serialization=form == "archive")
    with pytest.raises(WeightsError, match=r"entries that lie in one another on \d{13} ways; expected each tensor in one place"):
        load_weights(content if form == "memory" else path)


@pytest.mark.parametrize("form", ["script", "archive", "old", "memory"])
@pytest.mark.parametrize("kind", ["list", "dict", "deep"])
def test_containers_that_hold_themselves_or_lie_deep_are_refused(kind, form, tmp_path):
    import torch

    path, tensor = tmp_path / "a.pt", torch.ones(20, 20)
    content: dict = {} if form == "script" else {"w": tensor}
    if kind == "list":
        content["x"] = [[]]
        content["x"][0].append(content["x"])
    elif kind == "dict":
        content["state_dict"] = content
    else:
        content["x"] = functools.reduce(lambda value, _: [value], range(150), [])
    if form == "script":
        archive_of(path, pickle.dumps(content, protocol=2), True)
    elif form != "memory":
        torch.save(content, path, _use_new_zipfile_serialization=form == "archive")
    message = "nested more than 100 deep" if kind == "deep" else f"holds a {kind} that holds itself"
    named = "an object of type dict" if form == "memory" else "a.pt"
    with pytest.raises(WeightsError, match=f"{named} holds .*{message.removeprefix('holds ')}"):
        load_weights(content if form == "memory" else path)


def test_levels_are_counted_along_every_way_to_a_container():
    chain, levels = [], [[]]
    for _ in range(120):  # every level is met before the one that holds it
        chain.append(levels[-1])
        levels.append([levels[-1]])
    with pytest.raises(WeightsError, match="nested more than 100 deep"):
        check_nesting(chain, "it")
    check_nesting(chain[:98], "it")


def test_what_lies_in_two_places_is_named_in_both():
    shared = {"weight": gaussian(20, 30)}
    assert list(load_weights({"a": {"x": shared}, "b": {"x": shared}})) == ["a.x", "b.x"]
    check_nesting([[0] * 1000] * 10, "it")


def test_gguf_s_arrays_end_with_the_file(tmp_path):
    import gguf

    def text(word):
        return struct.pack("<Q", len(word)) + word

    for kind, count, message in (
        (0, 2**40, "claims 1099511627776 entries at byte 49 of 113"),
        (8, 9, "claims 1 entries at byte 113"),
    ):
        kv = text(b"k") + struct.pack("<IIQ", 9, kind, count)
        (tmp_path / "a.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + kv + bytes(64))
        assert message in refused(tmp_path / "a.gguf")
    writer = gguf.GGUFWriter(tmp_path / "b.gguf", "llama")
    writer.add_array("words", ["a", "", "bc"])
    writer.add_array("numbers", list(range(2 * 10**6)))
    writer.add_uint32("general.alignment", 64)
    writer.data_alignment = 64
    writer.add_tensor("output.weight", gaussian(4, 8))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        write()
    tracemalloc.start()
    weights = load_weights(tmp_path / "b.gguf", min_levels=2)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    np.testing.assert_array_equal(weights["output"].matrix, gaussian(4, 8))


# Descriptions in files


STATES = ["[" * 5000, "[" * 200 + "]" * 200, '{"shape": [Infinity, 2], "blocksize": 64}', '{"shape": [20, 20], "blocksize": NaN}']
STATES += ["[]", "1", '"shape"', "{}", '{"shape": [], "blocksize": 64}', '{"shape": [4294967296, 4294967296], "blocksize": 64}']
STATES += ['{"shape": [20, 20], "blocksize": 64, "nested_offset": []}', '{"shape": {"a": 1}, "blocksize": 64}', " " * 2**17]


@pytest.mark.parametrize("state", STATES)
def test_a_damaged_state_of_bitsandbytes_is_a_reason(state):
    arrays = {"a.weight": np.zeros((200, 1), np.uint8), "a.weight.absmax": np.ones(7, np.float32)}
    arrays["a.weight.quant_map"] = np.ones(16, np.float32)
    arrays["a.weight.quant_state.bitsandbytes__nf4"] = np.frombuffer(state.encode(), np.uint8)
    weights = load_weights(arrays)
    assert len(weights) == 0
    assert all(skipped.reason.startswith("quantised: bitsandbytes' ") for skipped in weights.skipped)


def test_damaged_descriptions_of_other_packages_are_reasons(tmp_path):
    x = np.ones((8, 4), np.float32)
    pair = {"a.lora_A.weight": x, "a.lora_B.weight": x.T.copy()}
    builders.safetensors(tmp_path / "adapter_model.safetensors", {"a.lora_A.weight": x.T.copy(), "a.lora_B.weight": x})
    for number in ("1" + "0" * 400, "1e999", "NaN"):
        (tmp_path / "adapter_config.json").write_text(f'{{"lora_alpha": {number}, "r": 4}}')
        assert "without alpha" in load_weights(tmp_path, min_levels=2)["a.lora"].ground
    long = {f"{'a' * 40}.lora_{factor}.weight": matrix for factor, matrix in (("A", x.T.copy()), ("B", x))}
    builders.safetensors(tmp_path / "adapter_model.safetensors", long)
    for pattern in (
        "a?" * 40 + "a" * 40,
        "(aa|aa)" * 20 + "b",
        "(" * 900 + "a" + ")" * 900,
    ):  # would take ages, or too many levels
        (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 2, "alpha_pattern": {pattern: 2}}))
        assert "without alpha" in load_weights(tmp_path, min_levels=2)[f"{'a' * 40}.lora"].ground
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 2, "alpha_pattern": {r".*(b|aa|c|d)a*": 2}}))
    assert "alpha / r" in load_weights(tmp_path, min_levels=2)[f"{'a' * 40}.lora"].ground
    parts = {"a._weight_qdata": np.ones((8, 4), np.int8), "a._weight_scale": np.ones((8, 1), np.float32)}
    for type_ in ([], {}, 1, "[" * 5000):
        told = {"a.weight": type_ if isinstance(type_, str) else json.dumps({"_type": type_, "_data": {}})}
        save_file(parts, tmp_path / "torchao.safetensors", told)
        assert "torchao's" in load_weights(tmp_path / "torchao.safetensors", min_levels=2).skipped[0].reason
    folder = tmp_path / "mlx"
    mlx = {"a.weight": np.ones((8, 4), np.uint32), "a.scales": np.ones((8, 1), np.uint8)}
    builders.safetensors(folder / "model.safetensors", mlx)
    for mode in ([], {}, None, "mxfp5"):
        (folder / "config.json").write_text(json.dumps({"quantization": {"bits": 4, "group_size": 32, "mode": mode}}))
        assert "of the mode" in load_weights(folder, min_levels=2).skipped[0].reason
    packed = {"a.weight_packed": np.ones((8, 4), np.int32), "a.weight_scale": np.ones((8, 1), np.float32)}
    for end in (np.inf, np.nan):
        weights = load_weights(packed | {"a.weight_shape": np.array([8, end])}, min_levels=2)
        assert "without their weight_shape" in weights.skipped[0].reason
    parts = {"shape": np.array([8, 8]), "axis": np.zeros(0, np.int64), "packing": np.frombuffer(b"8bit_u8", np.uint8)}
    weights = load_weights({"a.W_q": np.ones((8, 8), np.uint8)} | {f"a.{part}": array for part, array in parts.items()})
    assert "whose description is not whole" in weights.skipped[0].reason
    assert len(load_weights(pair, min_levels=2)) == 1


@pytest.mark.parametrize("text", ["[" * 5000, '{"a": ' * 200 + "1" + "}" * 200, '{"a": ' + "1" * 5000 + "}", '{"a"', "\ud800"])
def test_json_that_is_damaged_is_refused_with_the_name_of_its_file(text, tmp_path):
    content = text.encode("utf-8", "surrogatepass")
    (tmp_path / "model.safetensors.index.json").write_bytes(content)
    with pytest.raises(WeightsError, match="model.safetensors.index.json .*(is not valid JSON|nested more than 100 deep)"):
        load_weights(tmp_path)
    header = b'{"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4],"more":' + content[5:] + b"}"
    path = builders.raw_safetensors(tmp_path / "a.safetensors", header, bytes(4))
    with pytest.raises(WeightsError, match="a.safetensors "):
        load_weights(path)


def test_names_of_files_that_no_folder_can_hold_are_refused(tmp_path):
    for name in ("a" * 300, "\u00e9" * 200, "\ud800"):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
        with pytest.raises(WeightsError, match="names files outside its folder|shards that are missing"):
            load_weights(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    (tmp_path / "model_index.json").write_text(json.dumps({"a" * 300: []}))
    with pytest.raises(WeightsError, match="holds a pipeline without weights"):
        load_weights(tmp_path)


# Code and other files


def test_a_torchscript_archive_s_pickle_makes_no_objects(tmp_path):
    marker = tmp_path / "ran"
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/code/x.py", "raise SystemExit")
        archive.writestr("a/constants.pkl", b"")
        archive.writestr("a/data.pkl", pickle.dumps({"w": builders.RunsCode(marker)}, protocol=2))
    with pytest.raises(WeightsError, match="is not a whole TorchScript archive"):
        load_weights(tmp_path / "a.pt")
    assert not marker.exists()


def test_a_refused_pickle_is_told_by_the_name_of_what_it_asks_for(tmp_path):
    import argparse

    import torch

    torch.save({"state_dict": {"w": torch.ones(20, 20)}, "args": argparse.Namespace(lr=1)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"asks for code, of which nothing was run \(argparse.Namespace\)"):
        load_weights(tmp_path / "a.pt")


def test_no_path_in_an_index_or_a_pipeline_leaves_its_folder(tmp_path):
    builders.safetensors(tmp_path / "secret.safetensors", {"w": gaussian(20, 20)})
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (
        "../secret.safetensors",
        str(tmp_path / "secret.safetensors"),
        "..\\secret.safetensors",
        "..",
        "self.index.json",
    ):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": path}}))
        with pytest.raises(WeightsError, match="names files outside its folder"):
            load_weights(folder)
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model_index.json").write_text(json.dumps({"..": ["diffusers", "UNet"], "../": []}))
    with pytest.raises(WeightsError, match="holds a pipeline without weights"):
        load_weights(folder)


def test_onnx_s_data_outside_its_folder_is_not_read(tmp_path):
    import onnx
    from onnx import helper, numpy_helper

    (tmp_path / "secret").write_bytes(bytes(1600))
    tensor = numpy_helper.from_array(np.zeros((20, 20), np.float32), "W")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    (tmp_path / "folder").mkdir()
    model = helper.make_model(helper.make_graph([helper.make_node("MatMul", ["x", "W"], ["y"])], "g", [], [], [tensor]))
    (tmp_path / "folder" / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="tensor 'W' .*read"):
        load_weights(tmp_path / "folder" / "a.onnx")["W"]


def test_two_tensors_of_one_name_are_damage(tmp_path):
    """Whose parser of JSON takes the last one reads another matrix than whose takes the first."""
    entries = [
        '"a":{"dtype":"F32","shape":[20,30],"data_offsets":[0,2400]}',
        '"a":{"dtype":"F32","shape":[30,20],"data_offsets":[0,2400]}',
    ]
    header = f"{{{','.join(entries)}}}".encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + gaussian(20, 30).tobytes())
    with pytest.raises(WeightsError, match="it names 'a' twice"):
        load_weights(tmp_path / "a.safetensors")


def test_masked_arrays_and_negated_views_are_named_or_read():
    import torch

    W = gaussian(20, 30)
    assert "masked array" in load_weights({"a": np.ma.masked_array(W, W > 0)}).skipped[0].reason
    view = torch.complex(torch.zeros(20, 30), torch.from_numpy(W)).conj().imag
    np.testing.assert_array_equal(load_weights({"a": view})["a"].matrix, -W)
