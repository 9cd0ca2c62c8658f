r"""The one place that decides: is a tensor a layer, of which kind, and which way round does it lie.

What the source tells comes first, then what the tensors of a file say of one another, then names. Every decision has a *ground*,
which `rmtlib.Layer` keeps.

==============================================  ==================================================  ==========================
known of the tensor                             outputs; inputs (axes of the stored tensor)          blocks
==============================================  ==================================================  ==========================
torch Linear, MultiheadAttention, Bilinear      0; 1 (both inputs of Bilinear joined)                q, k, v on request
torch Conv1d, 2d, 3d                            0; kernel axes, 1                                    groups
torch ConvTranspose1d, 2d, 3d                   1; kernel axes, 0                                    groups
torch Embedding, EmbeddingBag                   0 (tokens); 1
torch LSTM, GRU (and their cells)               0; 1                                                 i f g o; r z n
transformers Conv1D (GPT-2)                     1; 0                                                 q, k, v on request
Keras Dense                                     1; 0
Keras Conv1D, 2D, 3D; SeparableConv pointwise   last; kernel axes, last but one                      groups
Keras Conv...Transpose                          last but one; kernel axes, last
Keras DepthwiseConv, SeparableConv depthwise    last two; kernel axes                                one an input channel
Keras EinsumDense                               by its equation                                      letters that all share
Keras MultiHeadAttention query, key, value      1, 2 (heads, width); 0
Keras MultiHeadAttention attention_output       2; 0, 1
Keras LSTM, GRU, ConvLSTM                       last; the others                                     i f c o; z r h
ONNX MatMul, Gemm                               by the place and transA, transB                      leading axes
ONNX Conv, ConvTranspose                        as torch                                             group
ONNX Gather                                     0; 1
ONNX LSTM, GRU, RNN                             0, 1; 2                                              directions; i o f c; z r h
ONNX Einsum                                     by its equation                                      letters that all share
==============================================  ==================================================  ==========================

An array on its way to an ONNX node may pass Cast, Identity, Transpose, QuantizeLinear and DequantizeLinear, and nodes that put in
or take out axes of length 1; one that is added or multiplied entry by entry, joined or cut is no layer. Where no type is known:

==============================================  ==================================================  ==========================
names and shapes                                outputs; inputs                                      blocks
==============================================  ==================================================  ==========================
embed, wte, wpe in the name                     all but the last; last
experts, three axes                             by a bias, the network's width, the shapes of both   experts
                                                stacks, or the configuration; otherwise skipped
experts, two axes                               by the name, with the number of experts told         experts
three axes, query, key, value, out, Keras       1, 2; 0 on the way in, 2; 0, 1 on the way out
more than two axes                              as torch; as Keras in its files and for ``kernel``   groups that are given
three axes, the last of more than 31 entries    skipped unless conv in the name or a bias tells
deconv, transpose in the name, or a bias tells  1; kernel axes, 0
safetensors of MLX, more than two axes          0; kernel axes, the last
two axes, a bias as long as one of them alone   that axis; the other
GPT-2's c_attn, c_fc, c_proj; Haiku's w         1; 0                                                 q, k, v on request
``kernel``, Keras files                         1; 0                                                 gates by the shapes
anything else                                   0; 1                                                 gates by the shapes
==============================================  ==================================================  ==========================
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .. import checks
from .by_name import Names, is_normalisation, kind_of_matrix, last_part
from .by_type import by_type
from .maps import LinearMap
from .tensors import FLOATS, Given, Skipped, Tensor, WeightsError

__all__ = ["Plan", "plan_layers"]

ENDING = re.compile(r"(\.weight|[./](kernel|embeddings?)(:0)?|:0)$")
FUSED = re.compile(r"(^|[._/])(in_proj_weight|c_attn|w?qkv|qkv_proj)$", re.IGNORECASE)
# Fused weights whose rows are mixed by heads or by parts: InternLM2's without its configuration, CodeGen's and Megatron's.
MIXED = re.compile(r"(^|[._/])(wqkv|linear_qkv)$|\bh\.\d+\.attn\.qkv_proj$")
TABLES = re.compile(
    r"(^|[._])(A_log|time_(decay|faaaa|first)|freqs?_(cis|cos|sin)|(cos|sin)_cached|relative_position_bias_table)$"
)
FUSED_OUT = ("o_proj", "out_proj", "proj", "wo", "c_proj", "dense", "out")
BIAS = re.compile(r"(bias|biases|bias:0)$|^bias_")
MASK = re.compile(r"(^|_)mask$")
SHARDED = re.compile(r"(^|[._])_?flat_param(_\d+)?$")


@dataclass(frozen=True)
class Plan:
    """What becomes of one tensor.

    Attributes
    ----------
    tensor : Tensor
    layer : str
        Name of the layer, to which blocks add their suffixes.
    map : LinearMap
    ground : str
        Why this map.
    blocks : tuple of (str, slice)
        Suffix and rows of each matrix.
    """

    tensor: Tensor
    layer: str
    map: LinearMap
    ground: str
    blocks: tuple[tuple[str, slice], ...]


def plan_layers(
    tensors: list[Tensor],
    *,
    config: Mapping,
    groups: Mapping[str, int] | None,
    layout: str | None,
    split_qkv: bool,
    split_gates: bool,
    min_levels: int,
) -> tuple[list[Plan], list[Skipped]]:
    """What becomes of each tensor of a source.

    Parameters
    ----------
    tensors : list of Tensor
        After `rmtlib.weights.composite.combine`.
    config : mapping
        The configuration beside them, or empty.
    groups, layout, split_qkv, split_gates, min_levels
        As in `rmtlib.load_weights`.

    Returns
    -------
    plans : list of Plan
    skipped : list of Skipped

    Raises
    ------
    WeightsError
        If ``groups`` names what is no convolution and no stack of experts, or does not divide its outputs.
    """
    groups = {name: checks.integer(n, f"groups[{name!r}]", at_least=1) for name, n in (groups or {}).items()}
    names, plans, skipped, given = Names(tensors, config), [], [], Given()
    repeated = Counter(ENDING.sub("", tensor.name) for tensor in tensors)
    for tensor in tensors:
        layer = ENDING.sub("", tensor.name)
        layer = layer if repeated[layer] == 1 else tensor.name
        own = groups.get(layer)
        decided = _decide(tensor, layer, names, own, layout, split_gates)
        if isinstance(decided, str):
            skipped.append(Skipped(layer, tensor.shape, decided))
            continue
        made, ground = decided
        if own is not None and len(made.view) > 2:
            del groups[layer]
        if split_qkv and not made.blocks:
            made = _split_attention(made, layer, names)
        plan, left_out = _plan(tensor, layer, made, ground, min_levels)
        skipped += left_out
        if plan:
            # A part of one tensor may have the name of another.
            blocks = tuple((given.give(layer + suffix).removeprefix(layer), rows) for suffix, rows in plan.blocks)
            plans.append(replace(plan, blocks=blocks))
    if groups:
        msg = f"groups names {', '.join(map(repr, groups))}, but there is no such convolution"
        raise WeightsError(msg)
    return plans, skipped


def _plan(tensor, layer, made, ground, min_levels) -> tuple[Plan | None, list[Skipped]]:
    """The matrices that are large enough, and the others."""
    blocks: list[tuple[str, slice, int]] = []
    small: list[tuple[str, slice, int]] = []
    start = 0
    for suffix, rows in made.blocks or (("", made.shape[0]),):
        levels = min(rows, made.shape[1])
        (blocks if levels >= min_levels else small).append((suffix, slice(start, start + rows), levels))
        start += rows
    if small and not blocks:
        levels = max(levels for _, _, levels in small)
        each = f"each of {len(small)} parts has " if len(small) > 1 else ""
        return None, [Skipped(layer, tensor.shape, each + _too_few(levels, min_levels))]
    left_out = [Skipped(layer + suffix, tensor.shape, _too_few(levels, min_levels)) for suffix, _, levels in small]
    return Plan(tensor, layer, made, ground, tuple((suffix, rows) for suffix, rows, _ in blocks)), left_out


def _too_few(levels: int, min_levels: int) -> str:
    return f"{levels} level{'s' * (levels != 1)}, fewer than min_levels = {min_levels}"


def _decide(tensor, layer, names, groups, layout, split_gates) -> tuple[LinearMap, str] | str:
    if reason := tensor.skip or _no_matrix(tensor):
        return reason
    if layout is None or tensor.owner is not None and tensor.owner.type.endswith(("Embedding", "EmbeddingBag", "Gather")):
        _check_groups(tensor, layer, groups)
        made = by_type(tensor, groups, split_gates)
        if made is not None:
            kind = kind_of_matrix(tensor.name)
            if made.kind == "dense" and kind == "attention":
                made = replace(made, kind=kind)
            return made, _with_making(tensor, tensor.owner.ground)
    elif groups:
        _check_groups(tensor, layer, groups)
    found = names.decide(tensor, layer, layout=layout, groups=groups, split_gates=split_gates)
    return found if isinstance(found, str) else (found[0], _with_making(tensor, found[1]))


def _with_making(tensor: Tensor, ground: str) -> str:
    return f"{ground}; made of {len(tensor.members)} tensors: {tensor.made}" if tensor.members else ground


def _check_groups(tensor: Tensor, layer: str, groups: int | None) -> None:
    if groups is None or len(tensor.shape) < 3:
        return
    transposed = tensor.owner is not None and "ConvTranspose" in tensor.owner.type
    keras = tensor.layout == "keras" or last_part(tensor.name).startswith("kernel")
    outputs = tensor.shape[1] * groups if transposed else tensor.shape[-1] if keras else tensor.shape[0]
    divided = tensor.shape[0] if transposed else outputs
    if divided % groups:
        msg = f"groups[{layer!r}] must divide the {divided} output channels; got {groups}"
        raise WeightsError(msg)


def _no_matrix(tensor: Tensor) -> str | None:
    """The reason why a tensor cannot become a matrix, from its name, shape and dtype alone."""
    last = last_part(tensor.name)
    if SHARDED.search(tensor.name):
        return (
            "a flat parameter of FSDP, a part of several layers: save the gathered weights with "
            "torch.distributed.checkpoint.state_dict.get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))"
        )
    if tensor.size == 0:
        if tensor.shape == (0,) and last == "weight":
            return (
                "no entries, as DeepSpeed's ZeRO-3 leaves in place of a weight that is spread over processes: "
                "gather it with zero_to_fp32.py, which lies beside the checkpoint"
            )
        return "no entries"
    if len(tensor.shape) == 0:
        return "scalar"
    if len(tensor.shape) == 1:
        return "bias vector" if "bias" in last else "normalisation vector" if is_normalisation(tensor.name) else "vector"
    if tensor.dtype not in FLOATS:
        return f"dtype {tensor.dtype}, not one of {', '.join(FLOATS)}"
    if BIAS.search(last):
        return "a bias or mask of several dimensions, not a weight"
    if MASK.search(last):
        return "a mask, not a weight"
    if TABLES.search(tensor.name):
        return "a table that is added or multiplied entry by entry, no layer"
    if len(tensor.shape) > 5:
        return f"{len(tensor.shape)} dimensions, more than a convolution has"
    return None


def _split_attention(made: LinearMap, layer: str, names: Names) -> LinearMap:
    """Queries, keys and values of a fused weight, where the shapes or the configuration tell how many rows each has."""
    n_out, n_in = made.shape
    type_, mixed = names.config.get("model_type"), MIXED.search(layer)
    by_head = type_ == "gpt_bigcode" and names.config.get("multi_query") is False and layer.endswith("c_attn")
    if by_head or re.search(r"(^|[._/])query_key_value$", layer):
        return _interleaved(made, names)
    if not FUSED.search(layer) or len(made.view) != 2 or type_ in ("codegen", "internlm2"):
        return made
    if mixed and not (type_ and mixed[2] == "wqkv"):
        return made
    if n_out == 3 * n_in:
        return made.split("#q", "#k", "#v")
    rows = None
    stem = re.sub(FUSED, r"\1", layer)
    for name in FUSED_OUT:
        shape = names.shapes.get(f"{stem}{name}.weight")
        if shape is not None and len(shape) == 2 and n_in in shape:
            rows = shape[1] if shape[0] == n_in else shape[0]
            break
    heads, groups = names.number("num_attention_heads"), names.number("num_key_value_heads")
    if rows is None and heads and groups and n_out % (heads + 2 * groups) == 0:
        rows = n_out // (heads + 2 * groups) * heads
    if rows is None or (n_out - rows) % 2 or not 0 < (n_out - rows) // 2 <= rows:
        return made
    each = (n_out - rows) // 2
    return replace(made, blocks=(("#q", rows), ("#k", each), ("#v", each)))


def _interleaved(made: LinearMap, names: Names) -> LinearMap:
    """The rows of BLOOM, GPT-NeoX and GPT-BigCode: for every head its queries, keys and values."""
    heads, (n_out, n_in) = names.number("num_attention_heads", "n_head"), made.shape
    if (
        names.config.get("model_type") not in ("bloom", "gpt_neox", "gpt_bigcode")
        or made.outputs != (0,)
        or not heads
        or n_out % (3 * heads)
    ):
        return made
    view = (heads, 3, n_out // (3 * heads), n_in)
    return LinearMap(made.kind, view, (1, 0, 2), (3,)).split("#q", "#k", "#v")
