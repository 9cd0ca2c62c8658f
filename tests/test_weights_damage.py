"""Whatever bytes a file holds: an error that says so, in little time and memory, and no code is run."""

from __future__ import annotations

import contextlib
import json
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rmtlib.weights import WeightsError, load_weights

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
    for name, member in (("a.npz", "w.npy"), ("a.keras", "model.weights.h5"), ("a.pt", "a/data.pkl")):
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
