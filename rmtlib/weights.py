r"""Weight matrices of a checkpoint or a model: every tensor becomes named matrices, or is listed with the reason why not.

A dense layer gives ``W`` of shape ``(n_out, n_in)``, as torch stores it; Keras stores ``(n_in, n_out)``, which is transposed.

**The convolution rule.** The paper reshapes a kernel to :math:`(k k c_\mathrm{in}) \times c_\mathrm{out}`; here the matrix is its
transpose, ``(c_out, k * k * c_in)``, whose columns run over kernel rows, kernel columns, then input channels:

    torch  (c_out, c_in, k, k)   ``np.moveaxis(kernel, 1, -1).reshape(c_out, -1)``
    Keras  (k, k, c_in, c_out)   ``kernel.reshape(-1, c_out).T``

Both give the same matrix for the same layer, in one, two or three spatial dimensions. A convolution of ``g`` groups is ``g``
independent maps and gives ``g`` matrices ``(c_out / g, k * k * c_in / g)``, named ``conv#0``, ``conv#1``, ...

Matrices are read one at a time, so that memory follows the largest tensor and not the file. Nothing here runs code from a file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import _checks

__all__ = ["Layer", "Skipped", "Weights", "WeightsError", "load_weights"]

FLOATS = ("float16", "bfloat16", "float32", "float64")
EMBEDDING = re.compile(r"embed|(^|[._/])(wte|wpe|token_embd)\b", re.IGNORECASE)
ATTENTION = re.compile(r"attn|attention|qkv|(^|[._/])([qkvo]_proj|query|key|value|in_proj_weight)\b", re.IGNORECASE)
NORMALISATION = re.compile(r"norm|(^|[._/])(bn\d*|ln(_?\w+)?)\b|gamma|beta\b|running_|moving_", re.IGNORECASE)
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
        Name of the tensor without a trailing ``.weight``; ``#`` marks a part of a tensor.
    matrix : numpy.ndarray of shape (n_out, n_in)
        float32, or float64 where the tensor is float64. A copy: changing it changes no file and no model.
    shape : tuple of int
        Shape of the whole tensor as it is stored.
    kind : {"dense", "convolution", "embedding", "attention"}
        By the tensor's dimensions, and among matrices by its name.
    """

    name: str
    matrix: np.ndarray
    shape: tuple[int, ...]
    kind: str


@dataclass(frozen=True)
class _Tensor:
    """What a source says of a tensor before it is read. ``skip`` is a reason that only the source can know."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray] | None
    layout: str = "torch"
    kind: str | None = None
    groups: int = 1
    transposed: bool = False
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

    Indexing reads one tensor; iterating over ``values()`` or ``items()`` reads one after another and keeps none. ``len``,
    iteration over names and ``skipped`` first read every tensor once, one at a time, to find those with nan or infinite entries.

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
        if name not in self._plans:
            reasons = [reason for skipped, _, reason in self._skipped if skipped == name]
            raise KeyError(f"{name} was skipped: {reasons[0]}" if reasons else f"no layer {name!r}")
        plan, part = self._plans[name]
        array = _read(plan.tensor)
        if reason := _not_finite(array):
            raise WeightsError(f"layer {name!r} has no spectrum: {reason}")
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
        """Move tensors with nan or infinite entries to the skipped ones."""
        if self._searched:
            return
        for plan in [plan for plan, part in self._plans.values() if part == 0]:
            if reason := _not_finite(_read(plan.tensor)):
                self._skipped.append(Skipped(plan.layer, plan.tensor.shape, reason))
                for part in plan.parts:
                    del self._plans[plan.layer + part]
        self._searched = True


def load_weights(
    path_or_model,
    *,
    initial: bool = False,
    split_qkv: bool = False,
    min_levels: int = 62,
) -> Weights:
    """Weight matrices."""
    min_levels = _checks.integer(min_levels, "min_levels", at_least=2)
    tensors = _tensors(path_or_model, initial)
    if not tensors:
        raise WeightsError(f"{path_or_model!s} holds no tensors")
    plans, skipped = [], []
    for tensor in tensors:
        planned = _plan(tensor, split_qkv, min_levels)
        (plans if isinstance(planned, _Plan) else skipped).append(planned)
    return Weights(plans, skipped)


def _plan(tensor: _Tensor, split_qkv: bool, min_levels: int) -> _Plan | Skipped:
    layer = re.sub(r"\.weight$", "", tensor.name)
    if reason := tensor.skip or _no_matrix(tensor):
        return Skipped(layer, tensor.shape, reason)
    kind = tensor.kind or _kind(tensor)
    n_out, orient = _orientation(tensor, kind)
    n_in = int(np.prod(tensor.shape)) // n_out
    parts = ("",)
    if tensor.groups > 1:
        parts = tuple(f"#{i}" for i in range(tensor.groups))
    elif split_qkv and FUSED.search(layer) and n_out == 3 * n_in:
        parts = ("#q", "#k", "#v")
    levels = min(n_out // len(parts), n_in)
    if levels < min_levels:
        each = f"each of {len(parts)} parts has " if len(parts) > 1 else ""
        return Skipped(layer, tensor.shape, f"{each}{levels} level{'s' * (levels != 1)}, fewer than the {min_levels} of min_levels")
    return _Plan(tensor, layer, kind, n_out, orient, parts)


def _no_matrix(tensor: _Tensor) -> str | None:
    """The reason why a tensor cannot become a matrix, from its name, shape and dtype alone."""
    last = re.split(r"[._/]", tensor.name)[-1]
    if int(np.prod(tensor.shape)) == 0:
        return "no entries"
    if len(tensor.shape) == 0:
        return "scalar"
    if len(tensor.shape) == 1:
        return "bias vector" if "bias" in last else "normalisation vector" if NORMALISATION.search(tensor.name) else "vector"
    if tensor.dtype not in FLOATS:
        return f"dtype {tensor.dtype}, not one of {', '.join(FLOATS)}"
    if last == "bias":
        return "a bias or mask of several dimensions, not a weight"
    if len(tensor.shape) > 5:
        return f"{len(tensor.shape)} dimensions, more than a convolution has"
    if len(tensor.shape) == 3 and "expert" in tensor.name:
        return "a stack of experts, whose orientation the file does not tell"
    return None


def _kind(tensor: _Tensor) -> str:
    if len(tensor.shape) > 2:
        return "convolution"
    return "embedding" if EMBEDDING.search(tensor.name) else "attention" if ATTENTION.search(tensor.name) else "dense"


def _orientation(tensor: _Tensor, kind: str) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
    """Rows of the matrix (all parts) and the map from the stored array to it."""
    shape = tensor.shape
    if len(shape) == 2:
        return shape[0], lambda array: array
    return shape[0], lambda kernel: np.moveaxis(kernel, 1, -1).reshape(shape[0], -1)


def _read(tensor: _Tensor) -> np.ndarray:
    """The tensor as an owned float32 or float64 array."""
    array = tensor.read()
    if tensor.dtype == "bfloat16" and array.dtype.name != "bfloat16":
        return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64 if tensor.dtype == "float64" else np.float32, copy=False)


def _not_finite(array: np.ndarray) -> str | None:
    bad = array.size - np.count_nonzero(np.isfinite(array))
    return f"{bad} of {array.size} entries are nan or infinite" if bad else None


def _tensors(source, initial: bool) -> list[_Tensor]:
    if hasattr(source, "weights_file"):
        return _run(Path(source.weights_file), initial)
    path = Path(source)
    if not path.exists():
        raise WeightsError(f"{path} does not exist")
    if path.is_dir():
        for file in ("run.json", "weights.safetensors"):
            if not (path / file).is_file():
                raise WeightsError(f"run {path} is incomplete: {file} is missing; train it again to finish it")
        return _run(path / "weights.safetensors", initial)
    return _safetensors(path)


def _run(path: Path, initial: bool) -> list[_Tensor]:
    prefix = "initial." if initial else "trained."
    return [replace(t, name=t.name.removeprefix(prefix)) for t in _safetensors(path) if t.name.startswith(prefix)]


SAFETENSORS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"}


def _safetensors(path: Path) -> list[_Tensor]:
    from safetensors import SafetensorError, safe_open

    if path.stat().st_size == 0:
        raise WeightsError(f"{path} is empty")
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {error}; download or write it again") from error
    with open(path, "rb") as file:
        start = int.from_bytes(file.read(8), "little") + 8
        header = json.loads(file.read(start - 8))
    header.pop("__metadata__", None)
    types = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}

    def reader(entry, dtype):
        def read():
            shape, offset = entry["shape"], start + entry["data_offsets"][0]
            return np.fromfile(path, types[dtype], int(np.prod(shape)), offset=offset).reshape(shape)

        return read

    tensors = []
    for name in sorted(header, key=_natural):
        entry = header[name]
        dtype = SAFETENSORS.get(entry["dtype"], entry["dtype"].lower())
        tensors.append(_Tensor(name, tuple(entry["shape"]), dtype, reader(entry, dtype)))
    return tensors


def _natural(name: str) -> list:
    """Sorts ``layer.2`` before ``layer.10``."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
