"""Where weights come from: every file format and kind of model that `rmtlib.load_weights` reads, as a list of named tensors.

A source is opened without reading its arrays; each is read when it is asked for. No code from a file is ever run: pickles are
opened by torch's loader of tensors alone, and of Keras files only the HDF5 arrays are read.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import re
import shutil
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np


class WeightsError(ValueError):
    """A file, folder or object from which no weights can be read, or not safely."""


@dataclass(frozen=True)
class Tensor:
    """What a source says of a tensor before it is read; None where it does not know."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray] | None = None
    layout: str | None = None
    kind: str | None = None
    groups: int = 1
    transposed: bool = False
    depthwise: bool = False
    skip: str | None = None


def read_tensor(tensor: Tensor) -> np.ndarray:
    """The tensor as an owned float32 or float64 array in native byte order."""
    try:
        array = tensor.read()
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"tensor {tensor.name!r} could not be read: {error}") from error
    if array.dtype.kind in "uV":
        # bfloat16 as it is stored: the upper half of the bits of a float32.
        bits = array.view(np.uint16).astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    return array.astype(np.float64 if tensor.dtype == "float64" else np.float32, copy=False)


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
        tensors = _keras_model(source)
    elif hasattr(source, "state_dict"):
        tensors = _torch_module(source)
    elif isinstance(source, Mapping):
        tensors = _arrays(source)
    else:
        raise WeightsError(f"path_or_model must be a path, a run, a model or a mapping of arrays; got {called(source)}")
    if initial:
        raise WeightsError(f"initial=True needs a run, which keeps its initial weights; {called(source)} is none")
    return tensors


def called(source) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else f"an object of type {type(source).__name__}"


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
            status = _json(path / "run.json").get("status", status)
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
    readers = {".safetensors": _safetensors, ".npz": _npz, ".keras": _keras_file, ".onnx": _onnx, ".json": _sharded}
    readers |= dict.fromkeys((".pt", ".pth", ".bin"), _torch_file) | dict.fromkeys((".h5", ".hdf5"), _hdf5)
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
    shards = _json(path).get("weight_map")
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
    return sorted(tensors.values(), key=_natural)


def _json(path: Path) -> dict:
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise WeightsError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(record, dict):
        raise WeightsError(f"{path} must hold a JSON object")
    return record


def _natural(tensor: Tensor) -> list:
    """Sorts ``layer.2`` before ``layer.10``: files that sort by name lose the network's order."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", tensor.name)]


def _require(module: str, path: Path):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        remedy = f"install {module}, or save the weights as .safetensors or .npz"
        raise WeightsError(f"reading {path} needs {module}, which cannot be imported; {remedy}") from error


def _safetensors(path: Path) -> list[Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}); download or write it again") from error
    with open(path, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
    header.pop("__metadata__", None)

    def reader(shape, dtype, offset):
        # numpy has no bfloat16, and safetensors' own numpy reader refuses it: read its bits.
        code = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}.get(dtype)
        return lambda: np.fromfile(path, code, int(np.prod(shape)), offset=start + offset).reshape(shape)

    words = {"BF": "bfloat", "F": "float", "I": "int", "U": "uint"}
    tensors = []
    for name, entry in header.items():
        dtype = re.sub(r"^(BF|F|I|U)(?=\d)", lambda match: words[match[0]], entry["dtype"]).lower()
        tensors.append(Tensor(name, tuple(entry["shape"]), dtype, reader(entry["shape"], dtype, entry["data_offsets"][0])))
    return sorted(tensors, key=_natural)


def _npz(path: Path) -> list[Tensor]:
    def reader(member):
        def read():
            with zipfile.ZipFile(path) as archive, archive.open(member) as file:
                return np.lib.format.read_array(file, allow_pickle=False)

        return read

    tensors = []
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    version = np.lib.format.read_magic(file)
                    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                    shape, _, dtype = header(file)
                skip = "pickled Python objects, which are never opened" if dtype.hasobject else None
                tensors.append(Tensor(member.removesuffix(".npy"), shape, dtype.name, reader(member), skip=skip))
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, zlib.error) as error:
        raise WeightsError(f"{path} is not a whole .npz file of arrays: {error}") from error
    return tensors


def _torch_file(path: Path) -> list[Tensor]:
    torch = _require("torch", path)
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        raise WeightsError(f"reading {path} needs torch 2.6 or newer: older ones can be made to run code from a file of weights")
    remedy = "where it was made, write its weights alone: safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        refused = "was refused: its pickle asks for code, of which nothing was run, or is damaged"
        raise WeightsError(f"{path} {refused}; {remedy}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise WeightsError(f"{path} cannot be read as a torch checkpoint ({reason}); download it again, or {remedy}") from error
    if hasattr(content, "detach"):
        return _arrays({path.stem: content})
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors; {remedy}")
    chosen = None
    if not any(hasattr(value, "detach") for value in content.values()):
        holders = [k for k, v in content.items() if isinstance(v, Mapping) and any(hasattr(t, "detach") for t in v.values())]
        usual = [key for key in ("state_dict", "model_state_dict", "model", "module", "net", "network") if key in holders]
        if not usual and len(holders) != 1:
            found = f"several dictionaries of tensors ({', '.join(map(str, holders))})" if holders else "no dictionary of tensors"
            raise WeightsError(f"{path} holds {found}; {remedy}")
        chosen = (usual or holders)[0]
    tensors = _arrays(content if chosen is None else content[chosen])
    if chosen is None:
        return tensors
    rest = {str(key): value for key, value in content.items() if key != chosen}
    others = [Tensor(n, tuple(t.shape), "", skip=f"not in the checkpoint's {chosen!r}") for n, t in _nested(rest)]
    return tensors + others


def _nested(content: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Tensors anywhere in dictionaries and lists, with dotted names."""
    for key, value in content.items():
        if hasattr(value, "detach"):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping | list | tuple):
            yield from _nested(value if isinstance(value, Mapping) else dict(enumerate(value)), f"{prefix}{key}.")


def _torch_module(module) -> list[Tensor]:
    known = {}
    for name, part in getattr(module, "named_modules", dict)():
        known[f"{name}.weight".lstrip(".")] = {
            "kind": "embedding" if type(part).__name__.startswith("Embedding") else None,
            "groups": getattr(part, "groups", 1),
            "transposed": bool(getattr(part, "transposed", False)),
        }
    return [replace(t, **known.get(t.name, {})) for t in _arrays(module.state_dict())]


def _arrays(arrays: Mapping) -> list[Tensor]:
    """Tensors in memory: numpy arrays or torch tensors, neither of which is imported for it."""

    def reader(value):
        def read():
            if not hasattr(value, "detach"):
                return np.array(value)
            tensor = value.detach().cpu()
            return np.array((tensor.float() if dtype_name(value) == "bfloat16" else tensor).numpy())

        return read

    def dtype_name(value):
        return str(value.dtype).removeprefix("torch.")

    tensors, storages = [], {}
    for key, value in arrays.items():
        name, skip = str(key), None
        if not hasattr(value, "shape") or not hasattr(value, "dtype"):
            tensors.append(Tensor(name, (), "", skip=f"not a tensor but of type {type(value).__name__}"))
            continue
        if hasattr(value, "detach"):
            if value.is_meta:
                skip = "on the meta device: it has a shape but no values"
            elif str(value.layout) != "torch.strided":
                skip = f"sparse layout {value.layout}"
            elif value.ndim > 1 and value.numel():
                storage = (str(value.device), value.data_ptr(), tuple(value.shape), value.stride())
                first = storages.setdefault(storage, name)
                skip = f"the same values as {first}, to which it is tied" if first != name else None
        tensors.append(Tensor(name, tuple(value.shape), dtype_name(value), reader(value), skip=skip))
    return tensors


def _keras_file(path: Path) -> list[Tensor]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as packed:
            # HDF5 seeks, which a member of an archive does slowly; the copy has no name and goes with its last reader.
            unpacked = tempfile.TemporaryFile()
            shutil.copyfileobj(packed, unpacked)
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise WeightsError(f"{path} is not a whole .keras file with a model.weights.h5: {error}") from error
    return _hdf5(path, unpacked)


def _hdf5(path: Path, content=None) -> list[Tensor]:
    h5py = _require("h5py", path)
    try:
        file = h5py.File(content or path, "r")
    except OSError as error:
        if content is not None:
            content.close()
        raise WeightsError(f"{path} is not a whole HDF5 file: {error}") from error
    if content is not None:
        weakref.finalize(file, content.close)
    tensors = []

    def visit(key, dataset):
        if not isinstance(dataset, h5py.Dataset):
            return
        group, _, last = key.rpartition("/")
        shape, dtype, skip = tuple(dataset.shape or ()), dataset.dtype.name, None
        if dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2:
            dtype = "bfloat16"
        if dataset.external or dataset.is_virtual:
            skip = "its values lie in another file, which is not opened"
        elif key.startswith("optimizer"):
            skip = "state of the optimizer"
        # Keras 1 named the kernel of fc1 "fc1_W_1:0".
        old = re.fullmatch(rf"{re.escape(group.rpartition('/')[2])}_(W|b)(_\d+)?:0", last)
        last = {"W": "kernel", "b": "bias"}[old[1]] if old else last
        name = f"{_keras_name(file, group)}/{last}".lstrip("/")
        if re.search(r"^(?!optimizer).*\bvars$", group) and last.isdigit():
            # Numbered, not named: 0 is the kernel, and a bias is a vector or has the kernel's shape without its inputs.
            kernel = file[group]["0"].shape if "0" in file[group] else ()
            bias = len(kernel) > 1 and (len(shape) == 1 or last == "1" and shape == kernel[1:])
            name = name.removesuffix(f"/{last}") + {"0": "/kernel"}.get(last, "/bias" if bias else f"/{last}")
        embedding = "embedding" if re.search(r"embedding(_\d+)?/vars/0$|/embeddings(:0)?$", key) and len(shape) == 2 else None
        tensors.append(
            Tensor(
                *(name, shape, dtype, lambda: file[key][()], "keras", embedding),
                transposed="conv" in key and "transpose" in key,
                depthwise="depthwise" in key and last != "pointwise_kernel",
                skip=skip,
            )
        )

    file.visititems(visit)
    return sorted(tensors, key=_natural)


def _keras_name(file, group: str) -> str:
    """The layer names as the user gave them, from either of Keras' two ways to write HDF5."""
    parts = group.split("/")
    if parts[0] == "model_weights":
        layer, rest = parts[1], parts[2:]
        rest = rest[rest.index(layer) + 1 :] if layer in rest else rest
        return "/".join([layer, *rest])
    if parts[-1] != "vars" or parts[0] == "optimizer":
        return group
    names = []
    for i, part in enumerate(parts[:-1]):
        own = "/".join([*parts[: i + 1], "vars"])
        if own in file:
            part = file[own].attrs.get("name", part)
        if part != "layers":
            names.append(part.decode() if isinstance(part, bytes) else str(part))
    return "/".join(names)


def _keras_model(model) -> list[Tensor]:
    owners = {}

    def visit(layer):
        for part in getattr(layer, "layers", ()):
            visit(part)
        for variable in () if getattr(layer, "layers", ()) else layer.weights:
            owners[id(variable)] = layer

    visit(model)
    tensors = []
    for variable in model.weights:
        owner = owners.get(id(variable))
        kind = type(owner).__name__
        name = (getattr(variable, "path", None) or variable.name).removeprefix(f"{model.name}/")
        tensors.append(
            Tensor(
                name,
                tuple(variable.shape),
                getattr(variable.dtype, "name", str(variable.dtype)),
                lambda variable=variable: np.array(variable.numpy()),
                "keras",
                "embedding" if kind == "Embedding" and len(variable.shape) == 2 else None,
                groups=getattr(owner, "groups", 1) if len(variable.shape) > 2 else 1,
                transposed="Conv" in kind and "Transpose" in kind,
                depthwise=kind.startswith("Depthwise") or "depthwise_kernel" in name,
            )
        )
    return tensors


def _onnx(path: Path) -> list[Tensor]:
    onnx = _require("onnx", path)
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's DecodeError, whose module onnx does not promise
        raise WeightsError(f"{path} is not a whole ONNX file: {error}") from error
    constants = [(n.output[0], a.t) for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"]
    uses = {name: (node, i) for node in graph.node for i, name in enumerate(node.input)}

    def reader(tensor):
        def read():
            try:
                return np.array(onnx.numpy_helper.to_array(tensor, base_dir=str(path.parent)))
            except onnx.checker.ValidationError as error:
                raise WeightsError(f"tensor {tensor.name!r} of {path} lies in a file that cannot be read: {error}") from error

        return read

    tensors = []
    for name, tensor in [*((t.name, t) for t in graph.initializer), *constants]:
        node, place = uses.get(name, (onnx.NodeProto(), 0))
        options = {attribute.name: attribute.i for attribute in node.attribute}
        dtype = onnx.TensorProto.DataType.Name(tensor.data_type)
        inputs_first = place == 1 and (node.op_type == "MatMul" or node.op_type == "Gemm" and not options.get("transB"))
        tensors.append(
            Tensor(
                name,
                tuple(tensor.dims),
                {"FLOAT": "float32", "DOUBLE": "float64"}.get(dtype, dtype.lower()),
                reader(tensor),
                "keras" if inputs_first and len(tensor.dims) == 2 else "torch",
                kind="embedding" if node.op_type == "Gather" and len(tensor.dims) == 2 else None,
                groups=options.get("group", 1),
                transposed=node.op_type == "ConvTranspose",
            )
        )
    return tensors
