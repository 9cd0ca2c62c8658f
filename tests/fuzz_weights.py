"""Damaged copies of small files of every format: whatever bytes a file holds, reading it ends in a ``ValueError`` or in matrices.

``python -m tests.fuzz_weights 10000`` tries as many copies and prints what else happened, the slowest and the largest;
`tests/test_weights_damage.py` tries 500.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import json
import shutil
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

from rmtlib.weights import load_weights

from . import builders
from .builders import gaussian

ENDS = ("read", "refused")
KINDS = ("flip", "cut", "insert", "zeros", "ones", "repeat", "number")
QUANTISED = (  # one of each layout of tests/reference/quantised
    *(
        "bitnet_bitlinear",
        "bitsandbytes_nf4_nested",
        "compressed_nvfp4_pack_quantized_4",
        "compressed_pack_quantized_3",
        "gptq_3",
    ),
    *("hqq_3", "mlx_affine_3", "mlx_nvfp4_4", "quanto_qint4", "quanto_qint8"),
    *("modelopt_int4_awq", "torchao_int4", "torchao_mxfp8"),
)
SECONDS = 5
MEMORY = 200 * 10**6  # and ten times the file's size
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**40, 2**62, 2**64 - 1)


def small_files(folder: Path) -> dict[str, Path]:
    """One small file of each format, by the names of formats."""
    import gguf
    import h5py
    import msgpack
    import onnx
    import torch
    from onnx import helper, numpy_helper

    arrays = {"fc.weight": gaussian(20, 30), "fc.bias": np.zeros(20, np.float32), "conv.weight": gaussian(6, 5, 3, 3)}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    files = {name: folder / name for name in ("a.safetensors", "a.npz", "packed.npz", "a.npy", "a.pt", "old.pt", "script.pt")}
    builders.safetensors(files["a.safetensors"], arrays | {"q.weight": np.ones((4, 8), np.int8), "q.weight_scale": np.ones(4)})
    np.savez(files["a.npz"], **arrays)
    np.savez_compressed(files["packed.npz"], **arrays)
    np.save(files["a.npy"], arrays["fc.weight"])
    torch.save({"state_dict": tensors, "best": np.float64(3), "epoch": 3}, files["a.pt"])
    torch.save(tensors, files["old.pt"], _use_new_zipfile_serialization=False)
    model = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.Conv1d(1, 4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.ReLU())), files["script.pt"])
    exported = torch.export.export(model[0], (torch.randn(1, 30),))
    files["a.pt2"] = folder / "a.pt2"
    torch.export.save(exported, files["a.pt2"])
    kernels = {"fc": ("dense", [gaussian(30, 20), np.zeros(20)]), "memory": ("lstm", [gaussian(6, 20), gaussian(5, 20)])}
    files["a.weights.h5"] = builders.keras_weights(folder / "a.weights.h5", kernels)
    files["a.h5"] = folder / "a.h5"
    with h5py.File(files["a.h5"], "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Dense", "config": {"name": "fc"}})
        file.create_dataset("model_weights/fc/fc/kernel:0", data=gaussian(30, 20), compression="gzip", chunks=(10, 10))
    files["a.keras"] = folder / "a.keras"
    with zipfile.ZipFile(files["a.keras"], "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Dense", "config": {"name": "fc"}}))
        archive.write(files["a.weights.h5"], "model.weights.h5")
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"])], "g", [], [], [numpy_helper.from_array(gaussian(9, 8), "W")]
    )
    nodes = [
        helper.make_node("MatMul", ["x", "fc.weight"], ["a"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
        helper.make_node("Gemm", ["x", "d"], ["b"], transB=1),
        helper.make_node("If", ["c"], ["e"], then_branch=inner, else_branch=inner),
    ]
    stored = {"fc.weight": arrays["fc.weight"], "q": np.ones((5, 6), np.int8), "s": np.float32(0.5)}
    graph = helper.make_graph(nodes, "net", [], [], [numpy_helper.from_array(np.asarray(a), name) for name, a in stored.items()])
    files["a.onnx"] = folder / "a.onnx"
    onnx.save(helper.make_model(graph), files["a.onnx"])
    files["a.gguf"] = folder / "a.gguf"
    writer = gguf.GGUFWriter(files["a.gguf"], "llama")
    writer.add_array("tokens", ["a", "b"])
    type_ = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("blk.0.attn_q.weight", gguf.quants.quantize(gaussian(4, 64), type_), raw_dtype=type_)
    writer.add_tensor("output.weight", gaussian(4, 8))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    files["a.msgpack"] = folder / "a.msgpack"
    packed = msgpack.ExtType(1, msgpack.packb(((20, 30), "float32", arrays["fc.weight"].tobytes())))
    files["a.msgpack"].write_bytes(msgpack.packb({"params": {"Dense_0": {"kernel": packed}}}))
    reference = Path(__file__).parent / "reference" / "quantised"
    for name in QUANTISED:
        files[name] = folder / name / "model.safetensors"
        shutil.copytree(reference / name, folder / name)
    sharded = builders.sharded(folder / "shards", arrays)
    files["model.safetensors.index.json"] = sharded / "model.safetensors.index.json"
    return files


def damage(content: bytes, strokes: list[tuple[str, float, int]]) -> bytes:
    """The content after strokes, each a kind, a place from 0 to 1, and a number."""
    data = bytearray(content)
    for kind, place, number in strokes:
        at = min(int(place * len(data)), max(len(data) - 1, 0))
        if kind == "flip" and data:
            data[at] ^= 1 << number % 8
        elif kind == "cut":
            del data[at : at + (len(data) if number % 3 == 0 else number % 50)]
        elif kind == "insert":
            data[at:at] = bytes([number % 256]) * (number % 40 + 1)
        elif kind in ("zeros", "ones"):
            length = min(number % 16 + 1, len(data) - at)
            data[at : at + length] = bytes([0 if kind == "zeros" else 255]) * length
        elif kind == "repeat":
            data[at:at] = data[at : at + number % 100]
        elif kind == "number":
            value = NUMBERS[number % len(NUMBERS)]
            width = 8 if value >= 2**32 else 4
            data[at : at + width] = value.to_bytes(width, "little" if number % 2 else "big")
    return bytes(data)


def damaged(path: Path, strokes, inside: float | None) -> bytes:
    """A damaged copy; of an archive, if ``inside`` is given, one whole archive whose member at that place is damaged."""
    content = path.read_bytes()
    if inside is None or not zipfile.is_zipfile(path):
        return damage(content, strokes)
    result = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(result, "w") as new:
        members = old.infolist()
        chosen = min(int(inside * len(members)), len(members) - 1)
        for i, member in enumerate(members):
            inner = old.read(member)
            new.writestr(member.filename, damage(inner, strokes) if i == chosen else inner, member.compress_type)
    return result.getvalue()


def read_all(path: Path) -> None:
    """Read every layer, as an analysis would."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights = load_weights(path, min_levels=2, split_qkv=True)
        assert len(weights) + len(weights.skipped) > 0
        for name in weights:
            with contextlib.suppress(ValueError):
                assert weights[name].matrix.shape == weights.shapes[name]


def peak() -> int:
    """Largest memory since `forget_peak`, in bytes; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def forget_peak() -> int:
    """Start anew, and return the memory in use."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return peak()


def copy_of(path: Path) -> Path:
    """Where a damaged copy lies: beside the whole file, whose configuration it shares."""
    return path.with_name(f"damaged-{path.name}")


def try_copy(content: bytes, path: Path) -> tuple[str, float, int]:
    """How a copy ended ("read", "refused", or what went wrong), the seconds and the bytes that it took."""
    path.write_bytes(content)
    before, start, end = forget_peak(), time.monotonic(), "read"
    faulthandler.dump_traceback_later(60, exit=True)
    try:
        read_all(path)
    except ValueError:
        end = "refused"
    except Exception as error:
        end = f"{type(error).__name__}: {error}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    seconds, memory = time.monotonic() - start, max(peak() - before, 0)
    if end in ENDS and seconds > SECONDS:
        end = f"{seconds:.1f} s"
    if end in ENDS and memory > MEMORY + 10 * len(content):
        end = f"{memory / 1e6:.0f} MB for a file of {len(content)} bytes"
    return end, seconds, memory


def random_strokes(rng) -> tuple[list[tuple[str, float, int]], float | None]:
    """One to four strokes, half of them inside a member of an archive."""
    strokes = [(str(rng.choice(KINDS)), float(rng.random()), int(rng.integers(0, 2**16))) for _ in range(rng.integers(1, 5))]
    # Headers decide more than data, and lie at the beginning or the end.
    if rng.random() < 0.5:
        strokes = [(kind, place**4 if rng.random() < 0.7 else 1 - place**4, number) for kind, place, number in strokes]
    return strokes, float(rng.random()) if rng.random() < 0.5 else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_weights", description=__doc__.partition("\n")[0])
    parser.add_argument("copies", type=int, help="how many damaged copies to read")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a word in the names of the formats that are damaged")
    parser.add_argument("--keep", type=Path, help="a folder for the copies that went wrong")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = small_files(Path(folder))
        for path in files.values():
            read_all(path)
        names, worst, wrong = sorted(name for name in files if options.only in name), Counter(), []
        for i in range(options.copies):
            name = names[i % len(names)]
            strokes, inside = random_strokes(np.random.default_rng([options.seed, i]))
            content = damaged(files[name], strokes, inside)
            print(f"{options.seed} {i} {name}", file=sys.stderr, end="\r")
            end, seconds, memory = try_copy(content, copy_of(files[name]))
            worst["milliseconds"] = max(worst["milliseconds"], round(1000 * seconds))
            worst["bytes"] = max(worst["bytes"], memory)
            worst[end] += 1
            if end not in ENDS:
                wrong.append(f"{name} (copy {i}): {end}")
                print(wrong[-1])
                if options.keep:
                    options.keep.mkdir(exist_ok=True)
                    (options.keep / f"{i}-{name}").write_bytes(content)
    print(f"{options.copies} copies of {len(names)} formats: {len(wrong)} went wrong, {worst['read']} were read", end="; ")
    print(f"slowest {worst['milliseconds']} ms, largest {worst['bytes'] / 1e6:.0f} MB")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
