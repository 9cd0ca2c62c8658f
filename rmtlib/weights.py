r"""Weight matrices of a checkpoint or a model: every tensor becomes named matrices, or is listed with the reason why not.

A dense layer gives ``W`` of shape ``(n_out, n_in)``, as torch stores it; Keras stores ``(n_in, n_out)``, which is transposed.

**The convolution rule.** The paper reshapes a kernel to :math:`(k k c_\mathrm{in}) \times c_\mathrm{out}`; here the matrix is its
transpose, ``(c_out, k * k * c_in)``, whose columns run over kernel rows, kernel columns, then input channels:

- torch stores ``(c_out, c_in, k, k)``: ``np.moveaxis(kernel, 1, -1).reshape(c_out, -1)``;
- Keras stores ``(k, k, c_in, c_out)``: ``kernel.reshape(-1, c_out).T``.

Both give the same matrix for the same layer, in one, two or three spatial dimensions. A convolution of ``g`` groups is ``g``
independent maps and gives ``g`` matrices ``(c_out / g, k * k * c_in / g)``, named ``conv#0``, ``conv#1``, ...

Matrices are read one at a time, so that memory follows the largest tensor and not the file. No code from a file is ever run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from . import checks
from ._sources import Tensor, WeightsError, called, open_source, read_tensor
from .pretrained import NETWORKS, fetch

__all__ = ["Layer", "Skipped", "Weights", "WeightsError", "load_weights"]

FLOATS = ("float16", "bfloat16", "float32", "float64")
ENDING = re.compile(r"(\.weight|[./](kernel|embeddings?)(:0)?|:0)$")
EMBEDDING = re.compile(r"embed|(^|[._/])w[tp]e\b", re.IGNORECASE)
ATTENTION = re.compile(r"attn|attention|qkv|(^|[._/])([qkvo]_proj|query|key|value|in_proj_weight)\b", re.IGNORECASE)
NORMALISATION = re.compile(r"norm|(^|[._/])(bn|ln)_?\d*\b|gamma\b|beta\b|running_|moving_", re.IGNORECASE)
FUSED = re.compile(r"(^|[._/])(in_proj_weight|c_attn|w?qkv)$", re.IGNORECASE)


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
class _Plan:
    """How one tensor becomes ``len(parts)`` matrices of ``n_out / len(parts)`` rows each."""

    tensor: Tensor
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
        array = read_tensor(plan.tensor)
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
    path_or_model : path, Run, model, mapping or name
        A ``.safetensors``, ``.pt``, ``.pth``, ``.bin`` (torch), ``.npz``, ``.keras``, ``.h5`` or ``.onnx`` file; the index
        ``*.index.json`` or the folder of a sharded checkpoint; a folder of ours with ``run.json`` and ``weights.safetensors``, or
        its `rmtlib.runs.Run`; a torch module, a Keras model, or a mapping of names to arrays.
        The strings "alexnet", "vgg16" and "vgg19" are pretrained networks (`rmtlib.pretrained`), downloaded once, even where a
        file or folder has that name: call that one "./alexnet".
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
        If the source is missing, empty, damaged, incomplete, of an unknown kind, or would have to run code to be read; or if a
        pretrained network cannot be downloaded.

    Notes
    -----
    Half precision is converted to float32, exactly; integers and 8-bit floats are skipped by name. Files keep no layer types:
    a ``conv_transpose`` kernel is recognised in live models, ONNX and Keras' weight files, elsewhere it counts as a convolution.
    Reading needs torch for its own files, h5py for Keras files and onnx for ``.onnx``; Keras configurations are never opened.
    ONNX and old torch files (before the zip format) are held in memory whole; compressed ``.npz`` entries are read at once.

    Examples
    --------
    >>> arrays = {"fc.weight": np.eye(100, 80), "fc.bias": np.zeros(100)}
    >>> weights = load_weights(arrays)
    >>> weights["fc"].matrix.shape
    (100, 80)
    >>> weights.skipped
    [Skipped(name='fc.bias', shape=(100,), reason='bias vector')]
    """
    min_levels = checks.integer(min_levels, "min_levels", at_least=2)
    if layout is not None:
        checks.choice(layout, "layout", ("torch", "keras"))
    if isinstance(path_or_model, str) and path_or_model in NETWORKS:
        if initial:
            raise WeightsError(f"initial=True needs a run, which keeps its initial weights; {path_or_model} is pretrained")
        path_or_model = fetch(path_or_model)
    tensors = open_source(path_or_model, initial)
    if not tensors:
        raise WeightsError(f"{called(path_or_model)} holds no tensors")
    groups = {name: checks.integer(n, f"groups[{name!r}]", at_least=1) for name, n in (groups or {}).items()}
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


def _plan(tensor: Tensor, layer: str, split_qkv: bool, min_levels: int) -> _Plan | Skipped:
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


def _no_matrix(tensor: Tensor) -> str | None:
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


def _kind(tensor: Tensor) -> str:
    embedding, attention = EMBEDDING.search(tensor.name), ATTENTION.search(tensor.name)
    if len(tensor.shape) == 2:
        return "embedding" if embedding else "attention" if attention else "dense"
    if len(tensor.shape) == 3 and (embedding and tensor.shape[0] == 1 or attention and tensor.layout == "keras"):
        return "embedding" if embedding else "attention"
    return "convolution"


def _orientation(tensor: Tensor, layer: str, kind: str) -> tuple[int, int, Callable[[np.ndarray], np.ndarray]]:
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
