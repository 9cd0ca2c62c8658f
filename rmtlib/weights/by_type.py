"""Orientation from the type of the layer: what torch, Keras and ONNX promise of the tensors of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product

from .maps import LinearMap, convolution, dense, depthwise, einsum, embedding, stack, transposed_convolution
from .tensors import Owner, Tensor

__all__ = ["GATES", "by_type", "knows"]

GATES = {
    "torch LSTM": "ifgo",
    "torch GRU": "rzn",
    "torch RNN": "",
    "keras LSTM": "ifco",
    "keras GRU": "zrh",
    "keras SimpleRNN": "",
    "onnx LSTM": "iofc",
    "onnx GRU": "zrh",
    "onnx RNN": "",
}
DIRECTIONS = {"forward": ("forward",), "reverse": ("backward",), "bidirectional": ("forward", "backward")}

Rule = Callable[[Tensor, Owner, int], LinearMap | None]


def knows(type_: str) -> bool:
    """Whether there is a rule for a type."""
    return type_ in RULES


def by_type(tensor: Tensor, groups: int | None, split_gates: bool) -> LinearMap | None:
    """The matrix in a tensor whose owner is known.

    Parameters
    ----------
    tensor : Tensor
    groups : int or None
        Of a convolution, where the caller says so; otherwise what the owner says.
    split_gates : bool
        Whether the gates of LSTM and GRU are matrices of their own.

    Returns
    -------
    LinearMap or None
        None if there is no rule for this owner and this tensor of it.
    """
    owner = tensor.owner
    if owner is None or owner.type not in RULES:
        return None
    groups = int(owner.options.get("groups", 1)) if groups is None else groups
    owner = replace(owner, options={**owner.options, "split_gates": split_gates})
    result = RULES[owner.type](tensor, owner, groups)
    order = GATES.get(owner.type.removesuffix("Cell"), "") if split_gates and "weight_hr" not in owner.parameter else ""
    if result is not None and order and not result.blocks and result.shape[0] % len(order) == 0:
        result = result.split(*(f"#{gate}" for gate in order))
    return result


def _matrix(inputs_first: bool) -> Rule:
    return lambda tensor, owner, groups: dense(tensor.shape, inputs_first=inputs_first) if len(tensor.shape) == 2 else None


def _embedding(tensor, owner, groups):
    return embedding(tensor.shape) if len(tensor.shape) == 2 else None


def _bilinear(tensor, owner, groups):
    n_out, left, right = tensor.shape
    return dense((n_out, left * right))


def _convolution(channels_last: bool) -> Rule:
    return lambda tensor, owner, groups: convolution(tensor.shape, groups=groups, channels_last=channels_last)


def _transposed(channels_last: bool) -> Rule:
    return lambda tensor, owner, groups: transposed_convolution(tensor.shape, groups=groups, channels_last=channels_last)


def _depthwise(tensor, owner, groups):
    if "pointwise" in owner.parameter:
        return convolution(tensor.shape, channels_last=True)
    return depthwise(tensor.shape)


def _keras_convolutional_lstm(tensor, owner, groups):
    return convolution(tensor.shape, channels_last=True).split("#i", "#f", "#c", "#o")


def _einsum_dense(tensor, owner, groups):
    equation = owner.options.get("equation")
    return einsum(tensor.shape, equation) if isinstance(equation, str) else None


def _heads(tensor, owner, groups):
    """The kernels in Keras' attention: (d, heads, width) on the way in, (heads, width, d) on the way out."""
    if len(tensor.shape) != 3:
        return None
    part = re.split(r"[./]", tensor.name)[-2:][0]
    if re.search(r"query|key|value", part):
        return LinearMap("attention", tensor.shape, (1, 2), (0,))
    return LinearMap("attention", tensor.shape, (2,), (0, 1)) if "output" in part else None


def _onnx(rule: Callable[[tuple[int, ...], int, Mapping], LinearMap | None]) -> Rule:
    """A rule for the array as it reaches the node, translated to the axes of the one that is stored."""

    def translated(tensor, owner, groups):
        axes = owner.options.get("axes") or tuple(range(len(tensor.shape)))
        shape = tuple(1 if axis is None else tensor.shape[axis] for axis in axes)
        result = rule(shape, int(owner.parameter), {**owner.options, "groups": groups})
        if result is None or axes == tuple(range(len(axes))):
            return result
        if result.view != shape:  # reshaped first, which does not go with another order
            return None
        outputs, inputs = ([axes[i] for i in part if axes[i] is not None] for part in (result.outputs, result.inputs))
        inputs += [i for i, n in enumerate(tensor.shape) if n == 1 and i not in axes]
        return replace(result, view=tensor.shape, outputs=tuple(outputs), inputs=tuple(inputs))

    return translated


def _matmul(shape, place, options):
    rank = len(shape)
    if rank < 2 or place not in (0, 1):
        return None
    n_out, n_in = (rank - 2, rank - 1) if place == 0 else (rank - 1, rank - 2)
    batch = tuple(range(rank - 2))
    whole = LinearMap("dense", shape, (*batch, n_out), (n_in,))
    count = whole.shape[0] // shape[n_out]
    return whole.split(*(f"#{i}" for i in range(count))) if count > 1 else whole


def _gemm(shape, place, options):
    if len(shape) != 2 or place not in (0, 1):
        return None
    return dense(shape, inputs_first=bool(options.get("transA")) if place == 0 else not options.get("transB"))


def _onnx_convolution(shape, place, options):
    return convolution(shape, groups=options["groups"]) if place == 1 and len(shape) > 2 else None


def _onnx_transposed(shape, place, options):
    return transposed_convolution(shape, groups=options["groups"]) if place == 1 and len(shape) > 2 else None


def _gather(shape, place, options):
    return embedding(shape) if place == 0 and len(shape) == 2 and options.get("axis", 0) == 0 else None


def _onnx_einsum(shape, place, options):
    return einsum(shape, options.get("equation", ""), place)


def _onnx_recurrent(gates: str) -> Callable:
    def rule(shape, place, options):
        names = DIRECTIONS.get(options.get("direction", "forward"))
        if len(shape) != 3 or place not in (1, 2) or names is None or len(names) != shape[0] or shape[1] % max(len(gates), 1):
            return None
        whole = LinearMap("dense", shape, (0, 1), (2,))
        parts = product(names if len(names) > 1 else [""], gates if gates and options["split_gates"] else [""])
        suffixes = [".".join(filter(None, part)) for part in parts]
        return whole.split(*(f"#{suffix}" if suffix else "" for suffix in suffixes))

    return rule


RULES: dict[str, Rule] = {
    "stack": lambda tensor, owner, groups: stack(tensor.shape, inputs_first=False) if len(tensor.shape) == 3 else None,
    **dict.fromkeys(("torch Linear", "torch NonDynamicallyQuantizableLinear", "torch MultiheadAttention"), _matrix(False)),
    **{f"torch {name}{cell}": _matrix(False) for name in ("LSTM", "GRU", "RNN") for cell in ("", "Cell")},
    "torch Conv1D": _matrix(True),
    **{f"torch Conv{n}d": _convolution(False) for n in (1, 2, 3)},
    **{f"torch ConvTranspose{n}d": _transposed(False) for n in (1, 2, 3)},
    **dict.fromkeys(("torch Embedding", "torch EmbeddingBag", "keras Embedding"), _embedding),
    "torch Bilinear": _bilinear,
    "keras Dense": _matrix(True),
    "keras EinsumDense": _einsum_dense,
    "keras MultiHeadAttention": _heads,
    "keras GroupedQueryAttention": _heads,
    **{f"keras Conv{n}D": _convolution(True) for n in (1, 2, 3)},
    **{f"keras Conv{n}DTranspose": _transposed(True) for n in (1, 2, 3)},
    **{f"keras {name}Conv{n}D": _depthwise for name in ("Depthwise", "Separable") for n in (1, 2)},
    **{f"keras {name}{cell}": _matrix(True) for name in ("LSTM", "GRU", "SimpleRNN") for cell in ("", "Cell")},
    **{f"keras ConvLSTM{name}": _keras_convolutional_lstm for name in ("1D", "2D", "3D", "Cell")},
    **dict.fromkeys(("onnx MatMul", "onnx QLinearMatMul", "onnx MatMulInteger", "onnx FusedMatMul"), _onnx(_matmul)),
    **dict.fromkeys(("onnx Gemm", "onnx FusedGemm", "onnx QGemm"), _onnx(_gemm)),
    **dict.fromkeys(("onnx Conv", "onnx FusedConv", "onnx QLinearConv", "onnx ConvInteger"), _onnx(_onnx_convolution)),
    "onnx ConvTranspose": _onnx(_onnx_transposed),
    "onnx MatMulNBits": lambda tensor, owner, groups: None,
    "onnx Gather": _onnx(_gather),
    "onnx Einsum": _onnx(_onnx_einsum),
    "onnx Attention": _onnx(_gemm),
    **{f"onnx {name}": _onnx(_onnx_recurrent(GATES[f"onnx {name}"])) for name in ("LSTM", "GRU", "RNN")},
}
