"""Tensors of an ONNX model, of its inner graphs too, each with the node that takes it in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .by_type import knows
from .tensors import Affine, Owner, Tensor, WeightsError, require

__all__ = ["read_onnx"]

PASSING = ("Identity", "Cast", "Dropout")
SCALE = "scale"
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
DTYPES = {"FLOAT": "float32", "DOUBLE": "float64"}


def read_onnx(path: Path) -> list[Tensor]:
    """All initialisers and constants of the model."""
    onnx = require("onnx", path)
    try:
        model = onnx.load(path, load_external_data=False)
        graphs = list(_graphs(model.graph, ""))
        for function in model.functions:
            graphs += _graphs(function, f"{function.name}/")
        stored = [(prefix, graph, name, tensor) for prefix, graph in graphs for name, tensor in _stored(graph)]
        uses = _uses(graphs)
        tensors, names = [], set()
        for prefix, graph, name, tensor in stored:
            if not isinstance(name, str):  # which protobuf gives as bytes
                msg = f"{path} is not a whole ONNX file: the name {name!r} is no text"
                raise WeightsError(msg)
            # Names of inner graphs hide outer ones; two branches may hold the same.
            unique = name if name not in names else f"{prefix}{name}"
            while unique in names:
                unique += "'"
            names.add(unique)
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


def _uses(graphs) -> dict[tuple[int, str], tuple[str, int, dict]]:
    """For each stored tensor, by graph and name, the first node with a rule that it reaches: its type, the place, its options."""
    uses: dict = {}
    scopes: list[tuple[str, Any, dict]] = []
    for prefix, graph in graphs:
        # What a name stands for: a stored tensor and the order of its axes, in this graph or in one around it.
        outer: dict = next((scope for before, _, scope in reversed(scopes) if prefix != before and prefix.startswith(before)), {})
        scope = dict(outer)
        scope |= {name: ((id(graph), name), tuple(range(len(tensor.dims))), None) for name, tensor in _stored(graph)}
        scopes.append((prefix, graph, scope))
        for node in graph.node:
            _visit(node, scope, uses)
    return uses


def _visit(node, scope: dict, uses: dict) -> None:
    options: dict[str, Any] = {attribute.name: _value(attribute) for attribute in node.attribute}
    sources = [scope.get(name) for name in node.input]
    first = sources[0] if sources else None
    for place, source in enumerate(sources):
        if source is not None and place in SCALES.get(node.op_type, ()):
            uses.setdefault(source[0], (SCALE, place, {}))
    if first is not None and node.op_type in PASSING:
        scope[node.output[0]] = first
        return
    if first is not None and node.op_type == "Transpose":
        key, axes, affine = first
        order = options.get("perm") or list(range(len(axes)))[::-1]
        if sorted(order) == list(range(len(axes))):
            scope[node.output[0]] = (key, tuple(axes[i] for i in order), affine)
        return
    if first is not None and node.op_type == "DequantizeLinear":
        key, axes, _ = first
        parts = [source[0][1] if source else "" for source in [*sources[1:], None, None][:2]]
        affine = Affine(parts[0], parts[1], int(options.get("axis", 1)), int(options.get("block_size", 0)))
        scope[node.output[0]] = (key, axes, affine)
        uses.setdefault(key, ("DequantizeLinear", 0, {"axes": axes, "affine": affine}))
        return
    for place, source in enumerate(sources):
        if source is None:
            continue
        key, axes, affine = source
        if not knows(f"onnx {node.op_type}"):
            continue
        if node.op_type in QUANTISED:
            weight, scale, zero = QUANTISED[node.op_type]
            if place != weight:
                continue
            affine = Affine(_name(sources, scale), _name(sources, zero), 0 if "Conv" in node.op_type else 1)
            place = 1
        elif node.op_type in INTEGERS and key[1].endswith("_quantized"):
            # onnxruntime multiplies by the scale after the product, and names it after the weight.
            name = key[1].removesuffix("_quantized")
            affine = Affine(f"{name}_scale", f"{name}_zero_point", INTEGERS[node.op_type])
        elif node.op_type == "MatMulNBits":
            affine = Affine(_name(sources, 2), _name(sources, 3), 1, int(options.get("block_size") or 0))
        if key not in uses or uses[key][0] in ("DequantizeLinear", "Gather"):
            options["groups"] = options.get("group", 1)
            uses[key] = (node.op_type, place, {**options, "axes": axes, "affine": affine})


def _name(sources, place: int) -> str:
    return sources[place][0][1] if place < len(sources) and sources[place] else ""


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
    return Tensor(name, dims, dtype, read, owner=owner, affine=affine, skip=skip)
