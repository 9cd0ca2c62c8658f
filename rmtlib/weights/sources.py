"""Which reader opens a source: by the kind of object, by what a file begins with, by what lies in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .foreign import foreign
from .json_text import json_object
from .limits import member_names, within_limits
from .nesting import check_nesting
from .read_flax import read_flax
from .read_gguf import read_gguf
from .read_keras import read_hdf5, read_keras_archive, read_keras_model
from .read_numpy import choose, read_arrays, read_npy, read_npz
from .read_onnx import read_onnx
from .read_safetensors import read_safetensors
from .read_torch import read_module, read_torch
from .tensors import Tensor, WeightsError, called, natural

__all__ = ["Source", "open_source"]

TORCH = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".th", ".pt2", ".jit")
READERS: dict[str, Callable[[Path], list[Tensor]]] = {
    **dict.fromkeys(TORCH, read_torch),
    **dict.fromkeys((".h5", ".hdf5"), read_hdf5),
    ".gguf": read_gguf,
    ".keras": read_keras_archive,
    ".msgpack": read_flax,
    ".npy": read_npy,
    ".npz": read_npz,
    ".onnx": read_onnx,
    ".safetensors": read_safetensors,
}
LONGEST = 255  # bytes of a file's name
UNBOUNDED = (read_onnx, read_gguf, read_safetensors)  # which read no more than lies in a file
ALONE = (  # names of the one file of weights in a folder, the better ones first
    *("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "adapter_model.bin", "flax_model.msgpack"),
    *("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin", "tf_model.h5", "model.onnx"),
    "weights.safetensors",
)


@dataclass(frozen=True)
class Source:
    """All tensors of a source, and the configuration that lies beside them, empty if there is none."""

    tensors: list[Tensor]
    config: Mapping = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the tensors."""
        return tuple(sorted({tensor.file for tensor in self.tensors if tensor.file is not None}))


def open_source(source, initial: bool) -> Source:
    """All tensors of a source, whatever it is, none of them read yet.

    Parameters
    ----------
    source : path, Run, model or mapping
        As in `rmtlib.load_weights`.
    initial : bool
        The initial weights of a run.

    Returns
    -------
    Source

    Raises
    ------
    WeightsError
        If it cannot be read.
    """
    if hasattr(source, "weights_file"):
        return Source(_run(_open_file(Path(source.weights_file)), initial, source.weights_file))
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.exists():
            msg = f"{path} does not exist"
            raise WeightsError(msg)
        opened = _open_folder(path) if path.is_dir() else Source(_open_file(path), _config(path))
        if _of_run(opened.tensors):
            return Source(_run(opened.tensors, initial, path))
    elif any(base.__module__.partition(".")[0] in ("keras", "tf_keras") for base in type(source).__mro__):
        opened = Source(read_keras_model(source))
    elif hasattr(source, "state_dict"):
        opened = Source(read_module(source), _adapter_of(source))
    elif isinstance(source, Mapping):
        check_nesting(source, called(source))
        opened = Source(read_arrays(choose(source)[1]))
    else:
        msg = f"path_or_model must be a path, a run, a model or a mapping of arrays; got {called(source)}"
        raise WeightsError(msg)
    if initial:
        msg = f"initial=True needs a run, which keeps its initial weights; {called(source)} is none"
        raise WeightsError(msg)
    return opened


def _open_folder(path: Path) -> Source:
    kinds = ("*.safetensors.index.json", "*.bin.index.json", "*.index.json")
    indices = next((found for found in (sorted(path.glob(kind)) for kind in kinds) if found), [])
    if len(indices) == 1:
        return Source(_sharded(indices[0]), _config(indices[0]))
    if indices:
        msg = f"{path} has several indices, give one of them: {', '.join(i.name for i in indices)}"
        raise WeightsError(msg)
    if _is_run(path):
        return Source(_run_folder(path))
    if (path / "model_index.json").is_file():
        return _pipeline(path)
    for name in ALONE:
        if (path / name).is_file():
            return Source(_open_file(path / name), _config(path / name))
    shards = sorted(path.glob("*.safetensors"))
    if len(shards) == 1:
        return Source(_open_file(shards[0]), _config(shards[0]))
    if (path / "saved_model.pb").is_file():
        msg = f"folder {path} is a SavedModel: load it by tf.keras.models.load_model and save the weights as .keras"
        raise WeightsError(msg)
    if path.suffix in (".mlpackage", ".mlmodelc"):
        msg = f"folder {path} is not read: it is Core ML: give the model that it was converted from"
        raise WeightsError(msg)
    if (path / ".metadata").is_file() and any(path.glob("*.distcp")):
        convert = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch"
        msg = f"folder {path} holds a checkpoint of torch.distributed: join it by {convert} {path} model.pt"
        raise WeightsError(msg)
    if any(path.glob("*zero_pp_rank_*_optim_states.pt")) or (path / "zero_to_fp32.py").is_file():
        msg = f"folder {path} holds a checkpoint of DeepSpeed's ZeRO: join it by the zero_to_fp32.py that lies there"
        raise WeightsError(msg)
    found = f"{len(shards)} safetensors files but no *.index.json that joins them" if shards else "no checkpoint"
    msg = f"folder {path} holds {found}; give a file, or add the index"
    raise WeightsError(msg)


def _is_run(path: Path) -> bool:
    """Whether a folder is a run of ours, finished or not; other packages too call their file weights.safetensors."""
    weights = path / "weights.safetensors"
    begun = any((path / file).exists() for file in ("run.json", "checkpoint.safetensors"))
    return begun or weights.is_file() and _of_run(_open_file(weights))


def _of_run(tensors: list[Tensor]) -> bool:
    return bool(tensors) and all(tensor.name.startswith(("initial.", "trained.")) for tensor in tensors)


def _run_folder(path: Path) -> list[Tensor]:
    missing = [file for file in ("run.json", "weights.safetensors") if not (path / file).is_file()]
    status = "completed"
    if "run.json" not in missing:
        status = json_object(path / "run.json").get("status", status)
    if status != "completed":
        msg = f"run {path} has no result: its status is {status!r}"
        raise WeightsError(msg)
    if missing:
        msg = f"run {path} is incomplete: {', '.join(missing)} missing; train it again to finish it"
        raise WeightsError(msg)
    return _open_file(path / "weights.safetensors")


def _pipeline(path: Path) -> Source:
    """A folder of diffusers: every part that has weights, its name before those of its tensors."""
    tensors = []
    for part in sorted(json_object(path / "model_index.json")):
        folder = path / part
        if _stays(part) and folder.is_dir() and any(file.suffix in (".safetensors", ".bin") for file in folder.iterdir()):
            tensors += [replace(tensor, name=f"{part}.{tensor.name}") for tensor in _open_folder(folder).tensors]
    if not tensors:
        msg = f"folder {path} holds a pipeline without weights"
        raise WeightsError(msg)
    return Source(tensors)


def _stays(name: str) -> bool:
    """Whether a name that a file gives can be one in its own folder."""
    short = len(name.encode("utf-8", "surrogatepass")) <= LONGEST
    return short and name not in ("", ".", "..") and not re.search(r"[/\\:\0]", name)


def _open_file(path: Path) -> list[Tensor]:
    if not path.is_file():
        msg = f"{path} does not exist or is no file"
        raise WeightsError(msg)
    if path.suffix.lower() == ".json" and path.stat().st_size:
        return _sharded(path)
    with open(path, "rb") as file:
        start = file.read(64)
    suffixes = sorted({*READERS, ".json"})
    reader = READERS.get(path.suffix.lower())
    if not start:
        known = "" if reader or path.suffix == ".json" else f"; it has an unknown suffix, expected one of {', '.join(suffixes)}"
        msg = f"{path} is empty: it has 0 bytes{known}"
        raise WeightsError(msg)
    if start.startswith(b"version https://git-lfs."):
        msg = f"{path} is a Git LFS pointer, not the file itself; fetch it with: git lfs pull"
        raise WeightsError(msg)
    reader = _by_content(path, start) or reader
    if (reader is None or reader is read_torch) and (told := _foreign(path, start)):
        msg = f"{path} is not read: {told}"
        raise WeightsError(msg)
    if reader is None:
        msg = f"{path} has an unknown suffix; expected one of {', '.join(suffixes)}"
        raise WeightsError(msg)
    tensors = [replace(tensor, file=path) for tensor in reader(path)]
    return tensors if reader in UNBOUNDED else within_limits(path, tensors)


def _foreign(path: Path, start: bytes) -> str | None:
    """What a file is that is none of ours; a pickle or an archive under a torch suffix is torch's."""
    told = foreign(path, start)
    if told is not None or path.suffix.lower() not in TORCH:
        return told
    if start[:2] == b"PK" or start[:1] == b"\x80" or member_names(path):
        return None
    if start[:2] == b"\x1f\x8b" or start[257:262] == b"ustar":
        return "it is packed: unpack it first"
    if path.suffix == ".bin":
        return (
            "it is no file of torch, but bare numbers or another tool's format (a TF.js shard, Core ML, OpenVINO, ncnn): "
            "give the model that it was converted from"
        )
    return None


def _by_content(path: Path, start: bytes) -> Callable[[Path], list[Tensor]] | None:
    """The reader for what a file is, whatever it is called."""
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        return read_hdf5
    if start[:4] == b"GGUF":
        return read_gguf
    if start[:6] == b"\x93NUMPY":
        return read_npy
    if re.match(rb".{6}\x00\x00\{\s*\"", start, re.DOTALL):
        return read_safetensors
    if start[:2] == b"PK":
        names = member_names(path)
        if "model.weights.h5" in names:
            return read_keras_archive
        if any(name.endswith(("/data.pkl", "/model_weights_config.json", "serialized_state_dict.pt")) for name in names):
            return read_torch
        if names and all(name.endswith(".npy") for name in names):
            return read_npz
    return None


def _config(path: Path) -> Mapping:
    """The configuration of Hugging Face beside a file of weights."""
    name = "adapter_config.json" if path.name.startswith("adapter_") else "config.json"
    config = path.with_name(name)
    result, quantised = _record(config), _record(path.with_name("quantize_config.json"))
    if isinstance(modelopt := _record(path.with_name("hf_quant_config.json")).get("quantization"), dict):
        quantised = modelopt | {"quant_method": "modelopt"}
    return result | ({"quantization_config": quantised} if quantised and "quantization_config" not in result else {})


def _adapter_of(model) -> Mapping:
    """The configuration of the one LoRA adapter in a live model of PEFT."""
    adapters = getattr(model, "peft_config", None)
    found = [adapter.to_dict() for adapter in adapters.values()] if isinstance(adapters, Mapping) else []
    return found[0] if len(found) == 1 and found[0].get("peft_type") == "LORA" else {}


def _record(path: Path) -> dict:
    """A JSON object, empty where the file is missing or something else of that name."""
    try:
        return json_object(path) if path.is_file() else {}
    except WeightsError:
        return {}


def _run(tensors: list[Tensor], initial: bool, path) -> list[Tensor]:
    prefix = "initial." if initial else "trained."
    tensors = [replace(t, name=t.name.removeprefix(prefix)) for t in tensors if t.name.startswith(prefix)]
    if not tensors:
        msg = f"run {path} holds no tensors named {prefix}<layer>"
        raise WeightsError(msg)
    return tensors


def _sharded(path: Path) -> list[Tensor]:
    record = json_object(path)
    if "weightsManifest" in record:
        msg = f"{path} is not read: it is TF.js: convert it back by tensorflowjs_converter, output format keras"
        raise WeightsError(msg)
    shards = record.get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        msg = f"{path} is no index of a sharded checkpoint: it has no weight_map of tensor names to file names"
        raise WeightsError(msg)
    names = sorted(set(shards.values()))
    if outside := [shard for shard in names if not _stays(shard) or shard.endswith(".json")]:
        msg = f"{path} names files outside its folder: {', '.join(outside)}"
        raise WeightsError(msg)
    if missing := [shard for shard in names if not (path.parent / shard).is_file()]:
        msg = f"{path} names {len(missing)} of {len(names)} shards that are missing: {', '.join(missing)}"
        raise WeightsError(msg)
    tensors = {t.name: t for shard in names for t in _open_file(path.parent / shard) if shards.get(t.name) == shard}
    if absent := [name for name in shards if name not in tensors]:
        msg = f"{path} names {len(absent)} tensors that their shards do not hold, such as {absent[0]}"
        raise WeightsError(msg)
    return sorted(tensors.values(), key=natural)
