"""Tensors of an ONNX graph, and what its nodes tell of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .tensors import Tensor, WeightsError, require


def read_onnx(path: Path) -> list[Tensor]:
    onnx = require("onnx", path)
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
