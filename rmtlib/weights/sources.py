"""Which reader opens a source: by the kind of object, of file, of folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .read_keras import read_hdf5, read_keras_archive, read_keras_model
from .read_numpy import read_arrays, read_npz
from .read_onnx import read_onnx
from .read_safetensors import read_safetensors
from .read_torch import read_module, read_torch
from .tensors import Tensor, WeightsError, called, json_object, natural


def open_source(source, initial: bool) -> list[Tensor]:
    """All tensors of a source, whatever it is."""
    if hasattr(source, "weights_file"):
        return _run(_open_file(Path(source.weights_file)), initial, source.weights_file)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.exists():
            raise WeightsError(f"{path} does not exist")
        tensors = _open_folder(path) if path.is_dir() else _open_file(path)
        if tensors and all(tensor.name.startswith(("initial.", "trained.")) for tensor in tensors):
            return _run(tensors, initial, path)
    elif any(base.__module__.partition(".")[0] in ("keras", "tf_keras") for base in type(source).__mro__):
        tensors = read_keras_model(source)
    elif hasattr(source, "state_dict"):
        tensors = read_module(source)
    elif isinstance(source, Mapping):
        tensors = read_arrays(source)
    else:
        raise WeightsError(f"path_or_model must be a path, a run, a model or a mapping of arrays; got {called(source)}")
    if initial:
        raise WeightsError(f"initial=True needs a run, which keeps its initial weights; {called(source)} is none")
    return tensors


def _open_folder(path: Path) -> list[Tensor]:
    indices = sorted(path.glob("*.safetensors.index.json")) or sorted(path.glob("*.index.json"))
    if len(indices) == 1:
        return _sharded(indices[0])
    if indices:
        raise WeightsError(f"{path} has several indices, give one of them: {', '.join(i.name for i in indices)}")
    if any((path / file).exists() for file in ("run.json", "weights.safetensors", "checkpoint.safetensors")):
        missing = [file for file in ("run.json", "weights.safetensors") if not (path / file).is_file()]
        status = "completed"
        if "run.json" not in missing:
            status = json_object(path / "run.json").get("status", status)
        if status != "completed":
            raise WeightsError(f"run {path} has no result: its status is {status!r}")
        if missing:
            raise WeightsError(f"run {path} is incomplete: {', '.join(missing)} missing; train it again to finish it")
        return _open_file(path / "weights.safetensors")
    shards = sorted(path.glob("*.safetensors"))
    if len(shards) == 1:
        return _open_file(shards[0])
    found = f"{len(shards)} safetensors files but no *.index.json that joins them" if shards else "no checkpoint"
    raise WeightsError(f"folder {path} holds {found}; give a file, or add the index")


def _open_file(path: Path) -> list[Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path} does not exist or is no file")
    readers = {
        ".safetensors": read_safetensors,
        ".npz": read_npz,
        ".keras": read_keras_archive,
        ".onnx": read_onnx,
        ".json": _sharded,
    }
    readers |= dict.fromkeys((".pt", ".pth", ".bin"), read_torch) | dict.fromkeys((".h5", ".hdf5"), read_hdf5)
    if path.suffix.lower() not in readers:
        raise WeightsError(f"{path} has an unknown suffix; expected one of {', '.join(sorted(readers))}")
    if path.stat().st_size == 0:
        raise WeightsError(f"{path} is empty: it has 0 bytes")
    with open(path, "rb") as file:
        if file.read(24) == b"version https://git-lfs.":
            raise WeightsError(f"{path} is a Git LFS pointer, not the file itself; fetch it with: git lfs pull")
    return readers[path.suffix.lower()](path)


def _run(tensors: list[Tensor], initial: bool, path) -> list[Tensor]:
    prefix = "initial." if initial else "trained."
    tensors = [replace(t, name=t.name.removeprefix(prefix)) for t in tensors if t.name.startswith(prefix)]
    if not tensors:
        raise WeightsError(f"run {path} holds no tensors named {prefix}<layer>")
    return tensors


def _sharded(path: Path) -> list[Tensor]:
    shards = json_object(path).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise WeightsError(f"{path} is no index of a sharded checkpoint: it has no weight_map of tensor names to file names")
    names = sorted(set(shards.values()))
    if outside := [shard for shard in names if Path(shard).name != shard or shard.endswith(".json")]:
        raise WeightsError(f"{path} names files outside its folder: {', '.join(outside)}")
    if missing := [shard for shard in names if not (path.parent / shard).is_file()]:
        raise WeightsError(f"{path} names {len(missing)} of {len(names)} shards that are missing: {', '.join(missing)}")
    tensors = {t.name: t for shard in names for t in _open_file(path.parent / shard) if shards.get(t.name) == shard}
    if absent := [name for name in shards if name not in tensors]:
        raise WeightsError(f"{path} names {len(absent)} tensors that their shards do not hold, such as {absent[0]}")
    return sorted(tensors.values(), key=natural)
