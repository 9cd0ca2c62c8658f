r"""Weight matrices of a checkpoint or a model: every tensor becomes named matrices, or is listed with the reason why not.

A dense layer gives ``W`` of shape ``(n_out, n_in)``, as torch stores it; Keras stores ``(n_in, n_out)``, which is transposed.

**The convolution rule.** The paper reshapes a kernel to :math:`(k k c_\mathrm{in}) \times c_\mathrm{out}`; here the matrix is its
transpose, ``(c_out, k * k * c_in)``, whose columns run over kernel rows, kernel columns, then input channels:

    torch  (c_out, c_in, k, k)   ``np.moveaxis(kernel, 1, -1).reshape(c_out, -1)``
    Keras  (k, k, c_in, c_out)   ``kernel.reshape(-1, c_out).T``

Both give the same matrix for the same layer, in one, two or three spatial dimensions. A convolution of ``g`` groups is ``g``
independent maps and gives ``g`` matrices ``(c_out / g, k * k * c_in / g)``, named ``conv#0``, ``conv#1``, ...

Matrices are read one at a time, so that memory follows the largest tensor and not the file. No code from a file is ever run.
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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import _checks

__all__ = ["Layer", "Skipped", "Weights", "WeightsError", "load_weights"]

FLOATS = ("float16", "bfloat16", "float32", "float64")
ENDING = re.compile(r"(\.weight|[./](kernel|embeddings?)(:0)?|:0)$")
EMBEDDING = re.compile(r"embed|(^|[._/])w[tp]e\b", re.IGNORECASE)
ATTENTION = re.compile(r"attn|attention|qkv|(^|[._/])([qkvo]_proj|query|key|value|in_proj_weight)\b", re.IGNORECASE)
NORMALISATION = re.compile(r"norm|(^|[._/])(bn|ln)_?\d*\b|gamma\b|beta\b|running_|moving_", re.IGNORECASE)
FUSED = re.compile(r"(^|[._/])(in_proj_weight|c_attn|w?qkv)$", re.IGNORECASE)


class WeightsError(ValueError):
    """A file, folder or object from which no weights can be read, or not safely."""


class Skipped(NamedTuple):
    """A tensor that gives no matrix, and why."""

    name: str
    shape: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Layer:
    """One weight matrix.

    Attributes
    ----------
    name : str
        Name of the tensor without a trailing ``.weight`` or ``/kernel``; ``#`` marks a part of a tensor.
    matrix : numpy.ndarray of shape (n_out, n_in)
        float64 where the tensor is float64, otherwise float32. A copy: changing it changes no file and no model.
    shape : tuple of int
        Shape of the whole tensor as it is stored.
    kind : {"dense", "convolution", "embedding", "attention"}
        By the tensor's dimensions, and among matrices by its name. An embedding has one row a token.
    """

    name: str
    matrix: np.ndarray
    shape: tuple[int, ...]
    kind: str


@dataclass(frozen=True)
class _Tensor:
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


@dataclass(frozen=True)
class _Plan:
    """How one tensor becomes ``len(parts)`` matrices of ``n_out / len(parts)`` rows each."""

    tensor: _Tensor
    layer: str
    kind: str
    n_out: int
    orient: Callable[[np.ndarray], np.ndarray]
    parts: tuple[str, ...]


class Weights(Mapping):
    """Weight matrices by name, read when they are asked for: ``weights["dense2"].matrix``.

    Indexing reads one tensor; iterating over ``values()`` or ``items()`` reads one after another and keeps none. The file must
    stay where it is. Names, ``len`` and ``skipped`` read every tensor once, one at a time, to find nan or infinite entries.

    Attributes
    ----------
    skipped : list of Skipped
        ``(name, shape, reason)`` of every tensor that gives no matrix.
    """

    def __init__(self, plans: list[_Plan], skipped: list[Skipped]):
        self._plans = {plan.layer + part: (plan, i) for plan in plans for i, part in enumerate(plan.parts)}
        self._skipped = list(skipped)
        self._searched = False

    def __getitem__(self, name: str) -> Layer:
        if name in self._plans:
            plan, part = self._plans[name]
            array = self._finite(plan)
        if name not in self._plans:
            reason = next((s.reason for s in self._skipped if s.name == name), None)
            known = f"there are: {', '.join(self._plans) or 'none'}"
            raise KeyError(f"{name} was skipped: {reason}" if reason else f"no layer {name!r}; {known}")
        matrix = plan.orient(array)
        if len(plan.parts) > 1:
            rows = plan.n_out // len(plan.parts)
            matrix = matrix[part * rows : (part + 1) * rows].copy()
        return Layer(name, matrix, plan.tensor.shape, plan.kind)

    def __iter__(self) -> Iterator[str]:
        self._search()
        return iter(list(self._plans))

    def __len__(self) -> int:
        self._search()
        return len(self._plans)

    def __contains__(self, name) -> bool:
        self._search()
        return name in self._plans

    @property
    def skipped(self) -> list[Skipped]:
        self._search()
        return list(self._skipped)

    def __repr__(self) -> str:
        return f"Weights({len(self)} matrices: {', '.join(self) or 'none'}; {len(self._skipped)} tensors skipped)"

    def _search(self) -> None:
        if not self._searched:
            for plan in [plan for plan, part in self._plans.values() if part == 0]:
                self._finite(plan)
            self._searched = True

    def _finite(self, plan: _Plan) -> np.ndarray:
        """Read a tensor, and move it to the skipped ones if it has nan or infinite entries."""
        array = _read(plan.tensor)
        bad = array.size - np.count_nonzero(np.isfinite(array))
        if bad:
            reason = f"{bad} of {array.size} entries are nan or infinite"
            self._skipped.append(Skipped(plan.layer, plan.tensor.shape, reason))
            for part in plan.parts:
                del self._plans[plan.layer + part]
        return array


def load_weights(
    path_or_model,
    *,
    initial: bool = False,
    split_qkv: bool = False,
    min_levels: int = 62,
    groups: Mapping[str, int] | None = None,
    layout: str | None = None,
) -> Weights:
    """Name the weight matrices of a checkpoint, a run or a model, without reading them yet.

    Parameters
    ----------
    path_or_model : path, Run, model or mapping
        A ``.safetensors``, ``.pt``, ``.pth``, ``.bin`` (torch), ``.npz``, ``.keras``, ``.h5`` or ``.onnx`` file; the index
        ``*.index.json`` or the folder of a sharded checkpoint; a folder of ours with ``run.json`` and ``weights.safetensors``, or
        its `rmtlib.learning.runs.Run`; a torch module, a Keras model, or a mapping of names to arrays.
    initial : bool
        The initial instead of the trained weights of a run.
    split_qkv : bool
        Split fused attention weights ``in_proj_weight``, ``qkv``, ``Wqkv`` and ``c_attn`` of ``(3 d, d)`` into ``#q``, ``#k``,
        ``#v``. Layouts that interleave the heads (``query_key_value``) stay whole.
    min_levels : int
        Smallest number of singular values a matrix must have. The default is what two unfolded levels need at a half window of
        15: four times 15 levels are lost.
    groups : mapping of str to int, optional
        Groups of convolutions by layer name, for files: only live models and ONNX record them.
    layout : {"torch", "keras"}, optional
        How arrays are stored. By default "keras" for Keras files and models and for tensors named ``kernel``, otherwise "torch".

    Returns
    -------
    Weights
        A lazy mapping of layer name to `Layer`. If it is empty, ``skipped`` says why.

    Raises
    ------
    WeightsError
        If the source is missing, empty, damaged, incomplete, of an unknown kind, or would have to run code to be read.

    Notes
    -----
    Half precision is converted to float32, exactly; integers and 8-bit floats are skipped by name. Files keep no layer types:
    a ``conv_transpose`` kernel is recognised in live models, ONNX and Keras' weight files, elsewhere it counts as a convolution.
    Reading needs torch for its own files, h5py for Keras files and onnx for ``.onnx``; Keras configurations are never opened.
    ONNX and old torch files (before the zip format) are held in memory whole; compressed ``.npz`` entries are read at once.

    Examples
    --------
    >>> weights = load_weights({"fc.weight": np.eye(100, 80), "fc.bias": np.zeros(100)})
    >>> weights["fc"].matrix.shape
    (100, 80)
    >>> weights.skipped
    [Skipped(name='fc.bias', shape=(100,), reason='bias vector')]
    """
    min_levels = _checks.integer(min_levels, "min_levels", at_least=2)
    if layout is not None:
        _checks.choice(layout, "layout", ("torch", "keras"))
    tensors = _open(path_or_model, initial)
    if not tensors:
        raise WeightsError(f"{_called(path_or_model)} holds no tensors")
    groups = {name: _checks.integer(n, f"groups[{name!r}]", at_least=1) for name, n in (groups or {}).items()}
    # transformers' GPT-2 stores (in, out) under names that other codes use for (out, in): its c_attn (d, 3 d) gives it away.
    gpt2 = any(t.name.endswith("c_attn.weight") and len(t.shape) == 2 and t.shape[1] == 3 * t.shape[0] for t in tensors)
    repeated = Counter(ENDING.sub("", tensor.name) for tensor in tensors)
    plans, skipped = [], []
    for tensor in tensors:
        layer = ENDING.sub("", tensor.name)
        layer = layer if repeated[layer] == 1 else tensor.name
        transpose = gpt2 and re.search(r"\b(c_attn|c_fc|c_proj)\.weight$", tensor.name)
        guess = "keras" if transpose or re.search(r"(^|[./])kernel(:0)?$", tensor.name) else "torch"
        tensor = replace(
            tensor,
            layout=layout or tensor.layout or guess,
            groups=groups.pop(layer, tensor.groups) if len(tensor.shape) > 2 else 1,
        )
        planned = _plan(tensor, layer, split_qkv, min_levels)
        (plans if isinstance(planned, _Plan) else skipped).append(planned)
    if groups:
        raise WeightsError(f"groups names {', '.join(map(repr, groups))}, but there is no such convolution")
    return Weights(plans, skipped)


def _plan(tensor: _Tensor, layer: str, split_qkv: bool, min_levels: int) -> _Plan | Skipped:
    if reason := tensor.skip or _no_matrix(tensor):
        return Skipped(layer, tensor.shape, reason)
    kind = tensor.kind or _kind(tensor)
    n_out, groups, orient = _orientation(tensor, layer, kind)
    n_in = int(np.prod(tensor.shape)) // n_out
    parts = ("",)
    if groups != 1:
        if n_out % groups:
            raise WeightsError(f"groups[{layer!r}] must divide the {n_out} output channels; got {groups}")
        parts = tuple(f"#{i}" for i in range(groups))
    elif split_qkv and FUSED.search(layer) and n_out == 3 * n_in:
        parts = ("#q", "#k", "#v")
    levels = min(n_out // len(parts), n_in)
    if levels < min_levels:
        each = f"each of {len(parts)} parts has " if len(parts) > 1 else ""
        return Skipped(layer, tensor.shape, f"{each}{levels} level{'s' * (levels != 1)}, fewer than min_levels = {min_levels}")
    return _Plan(tensor, layer, kind, n_out, orient, parts)


def _no_matrix(tensor: _Tensor) -> str | None:
    """The reason why a tensor cannot become a matrix, from its name, shape and dtype alone."""
    last = re.split(r"[./]", tensor.name)[-1]
    if int(np.prod(tensor.shape)) == 0:
        return "no entries"
    if len(tensor.shape) == 0:
        return "scalar"
    if len(tensor.shape) == 1:
        return "bias vector" if "bias" in last else "normalisation vector" if NORMALISATION.search(tensor.name) else "vector"
    if tensor.dtype not in FLOATS:
        return f"dtype {tensor.dtype}, not one of {', '.join(FLOATS)}"
    if last in ("bias", "bias:0"):
        return "a bias or mask of several dimensions, not a weight"
    if len(tensor.shape) > 5:
        return f"{len(tensor.shape)} dimensions, more than a convolution has"
    if len(tensor.shape) == 3 and "expert" in tensor.name:
        return "a stack of experts, whose orientation a file does not tell: give each matrix by itself"
    return None


def _kind(tensor: _Tensor) -> str:
    embedding, attention = EMBEDDING.search(tensor.name), ATTENTION.search(tensor.name)
    if len(tensor.shape) == 2:
        return "embedding" if embedding else "attention" if attention else "dense"
    if len(tensor.shape) == 3 and (embedding and tensor.shape[0] == 1 or attention and tensor.layout == "keras"):
        return "embedding" if embedding else "attention"
    return "convolution"


def _orientation(tensor: _Tensor, layer: str, kind: str) -> tuple[int, int, Callable[[np.ndarray], np.ndarray]]:
    """Rows of the matrix, groups among them, and the map from the stored array to the matrix."""
    shape, groups = tensor.shape, tensor.groups
    if kind == "embedding":
        return int(np.prod(shape[:-1])), 1, lambda array: array.reshape(-1, shape[-1])
    if tensor.layout == "keras":
        if kind == "attention" and len(shape) == 3 and re.search(r"(query|key|value)$", layer):
            return shape[1] * shape[2], 1, lambda kernel: kernel.reshape(shape[0], -1).T
        if tensor.depthwise:
            n_out = shape[-2] * shape[-1]
            return n_out, shape[-2], lambda kernel: kernel.reshape(-1, n_out).T
        if tensor.transposed:
            return shape[-2], 1, lambda kernel: kernel.swapaxes(-1, -2).reshape(-1, shape[-2]).T
        return shape[-1], groups, lambda kernel: kernel.reshape(-1, shape[-1]).T
    if len(shape) == 2:
        return shape[0], 1, lambda array: array
    if tensor.transposed:
        # (c_in, c_out / g, ...), whose groups run over c_in: move each group's inputs last.
        n_out, n_in = shape[1] * groups, shape[0] // groups
        return n_out, groups, lambda kernel: np.moveaxis(kernel.reshape(groups, n_in, *shape[1:]), 1, -1).reshape(n_out, -1)
    return shape[0], groups, lambda kernel: np.moveaxis(kernel, 1, -1).reshape(shape[0], -1)


def _read(tensor: _Tensor) -> np.ndarray:
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


def _open(source, initial: bool) -> list[_Tensor]:
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
        raise WeightsError(f"path_or_model must be a path, a run, a model or a mapping of arrays; got {_called(source)}")
    if initial:
        raise WeightsError(f"initial=True needs a run, which keeps its initial weights; {_called(source)} is none")
    return tensors


def _called(source) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else f"an object of type {type(source).__name__}"


def _open_folder(path: Path) -> list[_Tensor]:
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


def _open_file(path: Path) -> list[_Tensor]:
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


def _run(tensors: list[_Tensor], initial: bool, path) -> list[_Tensor]:
    prefix = "initial." if initial else "trained."
    tensors = [replace(t, name=t.name.removeprefix(prefix)) for t in tensors if t.name.startswith(prefix)]
    if not tensors:
        raise WeightsError(f"run {path} holds no tensors named {prefix}<layer>")
    return tensors


def _sharded(path: Path) -> list[_Tensor]:
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


def _natural(tensor: _Tensor) -> list:
    """Sorts ``layer.2`` before ``layer.10``: files that sort by name lose the network's order."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", tensor.name)]


def _require(module: str, path: Path):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        remedy = f"install {module}, or save the weights as .safetensors or .npz"
        raise WeightsError(f"reading {path} needs {module}, which cannot be imported; {remedy}") from error


def _safetensors(path: Path) -> list[_Tensor]:
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
        tensors.append(_Tensor(name, tuple(entry["shape"]), dtype, reader(entry["shape"], dtype, entry["data_offsets"][0])))
    return sorted(tensors, key=_natural)


def _npz(path: Path) -> list[_Tensor]:
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
                tensors.append(_Tensor(member.removesuffix(".npy"), shape, dtype.name, reader(member), skip=skip))
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, zlib.error) as error:
        raise WeightsError(f"{path} is not a whole .npz file of arrays: {error}") from error
    return tensors


def _torch_file(path: Path) -> list[_Tensor]:
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
    others = [_Tensor(n, tuple(t.shape), "", skip=f"not in the checkpoint's {chosen!r}") for n, t in _nested(rest)]
    return tensors + others


def _nested(content: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Tensors anywhere in dictionaries and lists, with dotted names."""
    for key, value in content.items():
        if hasattr(value, "detach"):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping | list | tuple):
            yield from _nested(value if isinstance(value, Mapping) else dict(enumerate(value)), f"{prefix}{key}.")


def _torch_module(module) -> list[_Tensor]:
    known = {}
    for name, part in getattr(module, "named_modules", dict)():
        known[f"{name}.weight".lstrip(".")] = {
            "kind": "embedding" if type(part).__name__.startswith("Embedding") else None,
            "groups": getattr(part, "groups", 1),
            "transposed": bool(getattr(part, "transposed", False)),
        }
    return [replace(t, **known.get(t.name, {})) for t in _arrays(module.state_dict())]


def _arrays(arrays: Mapping) -> list[_Tensor]:
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
            tensors.append(_Tensor(name, (), "", skip=f"not a tensor but of type {type(value).__name__}"))
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
        tensors.append(_Tensor(name, tuple(value.shape), dtype_name(value), reader(value), skip=skip))
    return tensors


def _keras_file(path: Path) -> list[_Tensor]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as packed:
            # HDF5 seeks, which a member of an archive does slowly; the copy has no name and goes with its last reader.
            unpacked = tempfile.TemporaryFile()
            shutil.copyfileobj(packed, unpacked)
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise WeightsError(f"{path} is not a whole .keras file with a model.weights.h5: {error}") from error
    return _hdf5(path, unpacked)


def _hdf5(path: Path, content=None) -> list[_Tensor]:
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
        name = f"{_keras_name(file, group)}/{last}".lstrip("/")
        if re.search(r"^(?!optimizer).*\bvars$", group) and last.isdigit():
            # Numbered, not named: 0 is the kernel, and a bias is a vector or has the kernel's shape without its inputs.
            kernel = file[group]["0"].shape if "0" in file[group] else ()
            bias = len(kernel) > 1 and (len(shape) == 1 or last == "1" and shape == kernel[1:])
            name = name.removesuffix(f"/{last}") + {"0": "/kernel"}.get(last, "/bias" if bias else f"/{last}")
        embedding = "embedding" if re.search(r"embedding(_\d+)?/vars/0$|/embeddings(:0)?$", key) and len(shape) == 2 else None
        tensors.append(
            _Tensor(
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


def _keras_model(model) -> list[_Tensor]:
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
            _Tensor(
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


def _onnx(path: Path) -> list[_Tensor]:
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
            _Tensor(
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
