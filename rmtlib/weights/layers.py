"""The one place that decides: is a tensor a layer, of which kind, and which way round does it lie."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from .. import checks
from .tensors import Skipped, Tensor, WeightsError

__all__ = ["Plan", "plan_layers"]

FLOATS = ("float16", "bfloat16", "float32", "float64")
ENDING = re.compile(r"(\.weight|[./](kernel|embeddings?)(:0)?|:0)$")
EMBEDDING = re.compile(r"embed|(^|[._/])w[tp]e\b", re.IGNORECASE)
ATTENTION = re.compile(r"attn|attention|qkv|(^|[._/])([qkvo]_proj|query|key|value|in_proj_weight)\b", re.IGNORECASE)
NORMALISATION = re.compile(r"norm|(^|[._/])(bn|ln)_?\d*\b|gamma\b|beta\b|running_|moving_", re.IGNORECASE)
FUSED = re.compile(r"(^|[._/])(in_proj_weight|c_attn|w?qkv)$", re.IGNORECASE)


@dataclass(frozen=True)
class Plan:
    """How one tensor becomes ``len(parts)`` matrices of ``n_out / len(parts)`` rows each."""

    tensor: Tensor
    layer: str
    kind: str
    n_out: int
    orient: Callable[[np.ndarray], np.ndarray]
    parts: tuple[str, ...]

    def rows(self, part: int) -> slice:
        """Rows of a part in the matrix of the whole tensor."""
        rows = self.n_out // len(self.parts)
        return slice(part * rows, (part + 1) * rows)

    @property
    def part_shape(self) -> tuple[int, int]:
        """``(n_out, n_in)`` of each part."""
        return self.n_out // len(self.parts), int(np.prod(self.tensor.shape)) // self.n_out


def plan_layers(
    tensors: list[Tensor], *, groups: Mapping[str, int] | None, layout: str | None, split_qkv: bool, min_levels: int
) -> tuple[list[Plan], list[Skipped]]:
    """What becomes of each tensor of a source; the options are those of `rmtlib.load_weights`."""
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
        (plans if isinstance(planned, Plan) else skipped).append(planned)
    if groups:
        raise WeightsError(f"groups names {', '.join(map(repr, groups))}, but there is no such convolution")
    return plans, skipped


def _plan(tensor: Tensor, layer: str, split_qkv: bool, min_levels: int) -> Plan | Skipped:
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
    return Plan(tensor, layer, kind, n_out, orient, parts)


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
