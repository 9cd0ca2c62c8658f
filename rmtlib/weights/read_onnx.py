"""Tensors of an ONNX model, of its inner graphs too, each with the node that takes it in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .by_type import knows
from .tensors import Affine, Given, Owner, Tensor, WeightsError, require

__all__ = ["read_onnx"]

PASSING = ("Identity", "Cast", "Dropout")
SCALE = "scale"
ENTRYWISE = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Where", "PRelu", "Clip", "Equal", "Less", "Greater"),
    *("Expand", "Tile", "Pad", "Resize", "ScatterND", "LayerNormalization", "BatchNormalization", "InstanceNormalization"),
)
WEAK = ("", "DequantizeLinear", "Gather", *ENTRYWISE)  # which another use outranks
INTEGERS = {"MatMulInteger": 1, "ConvInteger": 0}  # and the axis of their outputs
# Where the quantised nodes keep scale and zero point of their weights: (weight, scale, zero point), by their inputs.
QUANTISED = {"QLinearConv": (3, 4, 5), "QLinearMatMul": (3, 4, 5), "QGemm": (3, 4, 5)}
# Inputs that are scales and zero points, whatever their names.
SCALES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), (1, 2)),
    **dict.fromkeys(("MatMulInteger", "ConvInteger", "MatMulNBits", "DynamicQuantizeMatMul"), (2, 3)),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul"), (1, 2, 4, 5, 6, 7)),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "DynamicQuantizeLSTM": (8, 9, 10, 11),
}
FLOATING = (1, 10, 11, 16)  # float, float16, double and bfloat16 as ONNX numbers them
DTYPES = {"FLOAT": "float32", "DOUBLE": "float64"}


class _Source(NamedTuple):
    """A stored tensor on its way through a graph: its axes in their order there, None for an axis of length 1 that was put in."""

    key: tuple[int, str]
    tensor: Any
    axes: tuple[int | None, ...]
    affine: Affine | None = None

    @property
    def shape(self) -> list[int]:
        return [1 if axis is None else self.tensor.dims[axis] for axis in self.axes]

    def turned(self, order) -> _Source:
        return self._replace(axes=tuple(self.axes[i] for i in order))

    def reshaped(self, target: list[int]) -> _Source | None:
        """The same with other axes of length 1; None if the shape changes more than that."""
        long = [axis for axis, n in zip(self.axes, self.shape, strict=True) if n != 1]
        if [n for n in target if n != 1] != [n for n in self.shape if n != 1]:
            return None
        rest = iter(long)
        return self._replace(axes=tuple(None if n == 1 else next(rest) for n in target))

    def whole_numbers(self, onnx) -> list[int] | None:
        """The values of a short vector of axes or lengths."""
        if self.tensor.data_type != onnx.TensorProto.INT64 or math.prod(self.tensor.dims) > 8:
            return None
        return [int(n) for n in onnx.numpy_helper.to_array(self.tensor).ravel()]


def read_onnx(path: Path) -> list[Tensor]:
    """All initialisers and constants of the model."""
    onnx = require("onnx", path)
    try:
        model = onnx.load(path, load_external_data=False)
        graphs = list(_graphs(model.graph, ""))
        for function in model.functions:
            graphs += _graphs(function, f"{function.name}/")
        stored = [(prefix, graph, name, tensor) for prefix, graph in graphs for name, tensor in _stored(graph)]
        uses = _uses(onnx, graphs)
        tensors, names = [], Given()
        for prefix, graph, name, tensor in stored:
            if not isinstance(name, str):  # which protobuf gives as bytes
                msg = f"{path} is not a whole ONNX file: the name {name!r} is no text"
                raise WeightsError(msg)
            # Names of inner graphs hide outer ones; two branches may hold the same.
            unique = names.give(f"{prefix}{name}" if name in names else name)
            tensors.append(_tensor(onnx, path, unique, tensor, uses.get((id(graph), name))))
    except WeightsError:
        raise
    except Exception as error:  # protobuf's errors, whose module onnx does not promise
        msg = f"{path} is not a whole ONNX file: {str(error) or type(error).__name__}"
        raise WeightsError(msg) from error
    return tensors


def _graphs(graph, prefix: str) -> Iterator[tuple[str, Any]]:
    """A graph and all inside its nodes, each with a prefix that tells it from others."""
    yield prefix, graph
    for i, node in enumerate(graph.node):
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if len(inner.node) or len(inner.initializer):
                    yield from _graphs(inner, f"{prefix}{node.name or f'{node.op_type}_{i}'}/{attribute.name}/")


def _stored(graph) -> Iterator[tuple[str, Any]]:
    for tensor in getattr(graph, "initializer", ()):
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node.output[0], attribute.t


def _uses(onnx, graphs) -> dict[tuple[int, str], tuple[str, int, dict]]:
    """For each stored tensor, by graph and name, the first node with a rule that it reaches: its type, the place, its options."""
    uses: dict = {}
    scopes: list[tuple[str, Any, dict]] = []
    for prefix, graph in graphs:
        # What a name stands for: a stored tensor and the order of its axes, in this graph or in one around it.
        outer: dict = next((scope for before, _, scope in reversed(scopes) if prefix != before and prefix.startswith(before)), {})
        scope = dict(outer)
        scope |= {name: _Source((id(graph), name), tensor, tuple(range(len(tensor.dims)))) for name, tensor in _stored(graph)}
        scopes.append((prefix, graph, scope))
        for node in graph.node:
            _visit(onnx, node, scope, uses)
    return uses


def _visit(onnx, node, scope: dict, uses: dict) -> None:
    options: dict[str, Any] = {attribute.name: _value(attribute) for attribute in node.attribute}
    sources = [scope.get(name) for name in node.input]
    if sources and sources[0] is not None and (passed := _passed(onnx, node, sources, options, uses)) is not None:
        scope[node.output[0]] = passed
        return
    for place, source in enumerate(sources):
        if source is None:
            continue
        if place in SCALES.get(node.op_type, ()):
            uses.setdefault(source.key, (SCALE, place, {}))
        elif node.op_type in ENTRYWISE:
            uses.setdefault(source.key, (node.op_type, place, {}))
        elif knows(f"onnx {node.op_type}"):
            _use(node, place, source, sources, options, uses)
        else:
            uses.setdefault(source.key, ("", place, {"taken": node.op_type}))


def _passed(onnx, node, sources, options: dict, uses: dict) -> _Source | None:
    """What leaves a node that hands on its first input as it is, or with its axes in another order."""
    first = sources[0]
    if node.op_type in PASSING:
        return first
    if node.op_type == "Transpose":
        order = options.get("perm") or list(range(len(first.axes)))[::-1]
        return first.turned(order) if sorted(order) == list(range(len(first.axes))) else None
    if node.op_type in ("QuantizeLinear", "DequantizeLinear") and first.tensor.data_type in FLOATING:
        for source in sources[1:]:
            if source is not None:
                uses.setdefault(source.key, (SCALE, 1, {}))
        return first  # rounded when the network runs
    if node.op_type == "DequantizeLinear":
        scale, zero = (_name(sources, place) for place in (1, 2))
        for source in sources[1:]:
            if source is not None:
                uses.setdefault(source.key, (SCALE, 1, {}))
        affine = Affine(scale, zero, int(options.get("axis", 1)), int(options.get("block_size", 0)))
        uses.setdefault(first.key, (node.op_type, 0, {"axes": first.axes, "affine": affine}))
        return first._replace(affine=affine)
    if node.op_type in ("Squeeze", "Unsqueeze", "Reshape"):
        given = options.get("axes")
        if given is None and len(sources) > 1 and sources[1] is not None:
            given = sources[1].whole_numbers(onnx)
        return None if given is None else first.reshaped(_target(node.op_type, first.shape, given))
    return None


def _target(type_: str, shape: list[int], given: list[int]) -> list[int]:
    """The shape that leaves a node which only changes shapes."""
    if type_ == "Unsqueeze":
        rank = len(shape) + len(given)
        places, rest = {n % rank for n in given}, iter(shape)
        return [1 if i in places else next(rest) for i in range(rank)]
    if type_ == "Squeeze":
        return [n for i, n in enumerate(shape) if i not in {g % len(shape) for g in given}]
    kept = [shape[i] if n == 0 and i < len(shape) else n for i, n in enumerate(given)]
    if kept.count(-1) == 1 and (known := math.prod(n for n in kept if n != -1)) > 0:
        kept[kept.index(-1)] = math.prod(shape) // known
    return kept


def _use(node, place: int, source: _Source, sources, options: dict, uses: dict) -> None:
    affine, name = source.affine, source.key[1]
    if node.op_type in QUANTISED:
        weight, scale, zero = QUANTISED[node.op_type]
        if place != weight:
            return
        affine = Affine(_name(sources, scale), _name(sources, zero), 0 if "Conv" in node.op_type else 1)
        place = 1
    elif node.op_type in INTEGERS and name.endswith("_quantized"):
        # onnxruntime multiplies by the scale after the product, and names it after the weight.
        name = name.removesuffix("_quantized")
        affine = Affine(f"{name}_scale", f"{name}_zero_point", INTEGERS[node.op_type])
    elif node.op_type == "MatMulNBits":
        affine = Affine(_name(sources, 2), _name(sources, 3), 1, int(options.get("block_size") or 0))
    if source.key not in uses or uses[source.key][0] in WEAK:
        told = {**options, "groups": options.get("group", 1), "axes": source.axes, "affine": affine}
        uses[source.key] = (node.op_type, place, told)


def _name(sources, place: int) -> str:
    return sources[place].key[1] if place < len(sources) and sources[place] else ""


def _value(attribute):
    """An attribute that a rule may ask for: a number, a word or whole numbers."""
    if attribute.type == 1:
        return attribute.f
    if attribute.type == 2:
        return attribute.i
    if attribute.type == 3:
        return attribute.s.decode("utf-8", "replace")
    return list(attribute.ints) if attribute.type == 7 else None


def _tensor(onnx, path: Path, name: str, tensor, use: tuple[str, int, dict[str, Any]] | None) -> Tensor:
    kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    dtype = DTYPES.get(kind, kind.lower())
    type_, place, options = use if use is not None else ("", 0, {})
    affine = options.get("affine")
    owner = None
    if knows(f"onnx {type_}"):
        owner = Owner(f"onnx {type_}", str(place), options, f"ONNX node {type_}, input {place}")

    def read():
        try:
            return np.array(onnx.numpy_helper.to_array(tensor, base_dir=str(path.parent)))
        except onnx.checker.ValidationError as error:
            msg = f"tensor {name!r} of {path} lies in a file that cannot be read: {error}"
            raise WeightsError(msg) from error

    dims = tuple(int(n) for n in tensor.dims)
    skip = "it claims a negative length" if any(n < 0 for n in dims) else None
    skip = "scale or zero point of a quantised node" if type_ == SCALE and skip is None else skip
    if type_ in ENTRYWISE and len(dims) > 1 and skip is None:
        skip = f"taken by ONNX's {type_} entry by entry, no layer"
    if (taken := options.get("taken")) and len(dims) > 1 and skip is None:
        skip = f"taken by ONNX's {taken}, after which it is not followed"
    return Tensor(name, dims, dtype, read, owner=owner, affine=affine, skip=skip)
