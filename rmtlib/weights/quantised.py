"""Quantised weights: integers and their scales to numbers where the layout is public, otherwise one reason for all of them.

=========================  ================================================================================  =====================
layout                     tensors of a layer                                                                weight
=========================  ================================================================================  =====================
GPTQ                       ``qweight`` (in b / 32, out), ``scales``, ``qzeros``, ``g_idx``; 2, 3, 4, 8 bits  scale (q - zero - 1)
GPTQ, format gptq_v2       the same, the format told by the configuration                                    scale (q - zero)
AWQ                        ``qweight`` (in, out b / 32), ``scales``, ``qzeros``                              scale (q - zero)
MLX                        ``weight`` (out, in b / 32), ``scales``, ``biases``, the configuration            scale q + bias
MLX's mxfp4, mxfp8, nvfp4  ``weight``, ``scales``, the configuration                                         scale map[q]
block float8, MXFP8        ``weight``, ``weight_scale_inv`` or ``weight_scale``                              scale q
int8                       ``weight``, ``weight_scale`` (and ``weight_zero_point``), or ``SCB``              scale (q - zero)
compressed tensors         ``weight_packed`` (out, in b / 32), ``weight_scale``, ``weight_shape``            scale (q - 2^(b - 1))
NVFP4 of llm-compressor    ``weight_packed`` (out, in / 2), ``weight_scale``, ``weight_global_scale``        scale / global map[q]
NVFP4 of ModelOpt          ``weight`` (out, in / 2), ``weight_scale``, ``weight_scale_2``                    scale scale_2 map[q]
INT4 of ModelOpt           ``weight`` (out / 2, in), ``weight_scale``, the configuration                     scale q
any of ModelOpt            these and ``pre_quant_scale``, by which it multiplies the inputs                  weight diag(pre)
MXFP4                      ``weight_packed`` or ``weight``, ``weight_scale``; ``*_blocks``, ``*_scales``     2^(s - 127) map[q]
bitsandbytes 4 bit         ``weight``, ``weight.absmax``, ``weight.quant_map``, ``weight.quant_state``       absmax map[q]
BitNet                     ``weight`` (out / 4, in), ``weight_scale``, the configuration                     scale (q - 1)
HQQ                        ``W_q``, ``scale``, ``zero``, ``shape``, ``axis``, ``packing``                    scale (q - zero)
quanto                     ``weight._data``, ``weight._scale``                                               scale q
quanto 2, 4 bit            ``weight._data._data``, ``weight._scale``, ``weight._shift``, a bias              scale q - shift
torchao                    ``_weight_qdata``, ``_weight_scale`` and what the header tells of them            scale (q - zero)
torchao's Int4Tensor       ``_weight_qdata`` (out, in / 2), ``_weight_scale``, ``_weight_zero_point``        scale q + zero
torchao's NVFP4, MX        ``_weight_qdata``, ``_weight_scale``, also in the order of tensor cores           scale map[q]
ONNX                       integers, scale and zero point of DequantizeLinear                                scale (q - zero)
=========================  ================================================================================  =====================
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from .made import UNREAD, as_float32, made_tensor
from .quantised_floats import as_scale, bitnet, bitsandbytes, four_bit_floats, int4, pairs, scaled
from .quantised_onnx import dequantise_onnx
from .quantised_packages import hqq, quanto
from .quantised_torchao import torchao
from .quantised_words import compressed, gptq_or_awq, mlx
from .tensors import FLOATS, Owner, Tensor

__all__ = ["dequantise"]

ROLES = (
    *("weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4"),
    *("weight.nested_quant_map", "weight.nested_absmax", "weight.quant_map", "weight.absmax"),
    *("weight_global_scale", "weight_scale_inv", "weight_zero_point", "weight_packed", "weight_shape", "weight_scale"),
    *("weight_g_idx", "weight_scale_2", "weight_format", "weight.SCB", "input_scale", "input_zero_point", "input_global_scale"),
    *("pre_quant_scale", *(f"{part}svdquant_lora_{x}" for part in ("", "weight_quantizer._") for x in "ab")),
    *("output_scale", "k_scale", "v_scale", "zero_point", "qweight", "qzeros", "scales", "biases", "g_idx", "scale", "SCB"),
    *("zeros", "absmax", "weight"),
)
ROLE = re.compile(rf"^(?:(?P<layer>.*?)[./])?(?P<role>{'|'.join(map(re.escape, ROLES))})$", re.DOTALL)
NUMBERS_OF_SCALES = re.compile(
    r"(^|[./_])(scales?|scale_inv|weight_scale(_inv|_2)?|zeros?|zero_points?|qzeros|absmax|SCB|quant_map|biases)(:0)?$"
)

CODES = re.compile(
    r"^(?P<layer>.*)[./](codes|Qidxs|indices|W_q|qweight|q_weight|trellis|\w*qdata|weight(_packed)?|_data)$", re.DOTALL
)
RULES = (gptq_or_awq, mlx, bitnet, bitsandbytes, four_bit_floats, int4, compressed, scaled)


def dequantise(tensors: list[Tensor], config: Mapping) -> list[Tensor]:
    """Replace quantised weights by what they stand for, or skip all their tensors for one reason.

    Parameters
    ----------
    tensors : list of Tensor
    config : mapping
        Of the network: MLX and GPTQ keep bits, group size and format there.

    Returns
    -------
    list of Tensor
        As `rmtlib.weights.composite.combine` returns them. No scale or zero point is left that could be taken for a layer.
    """
    known = {tensor.name: tensor for tensor in tensors}
    layers: dict[str, dict[str, Tensor]] = defaultdict(dict)
    changed: dict[str, Tensor] = {}
    for tensor in tensors:
        if tensor.affine is not None:
            changed |= dequantise_onnx(tensor, tensor.affine, known)
        if match := ROLE.match(tensor.name):
            layers[match["layer"] or ""][match["role"]] = tensor
    for layer, members in layers.items():
        changed |= _layer(layer, members, config)
    for name, blocks in known.items():
        if name.endswith("_blocks") and (scales := known.get(f"{name[:-7]}_scales")):
            changed |= _mxfp4(name[:-7], blocks, scales)
        elif name.endswith(".W_q"):
            changed |= hqq(name[:-4], known)
        elif name.endswith("._data"):
            changed |= quanto(name, known)
        elif name.endswith("_qdata"):
            changed |= torchao(name, known)
    result = [changed.get(tensor.name, tensor) for tensor in tensors]
    coded = {match["layer"] for tensor in result if "int" in tensor.dtype and (match := CODES.match(tensor.name))}
    return [_beside_codes(_no_scale(tensor), coded) for tensor in result]


def _beside_codes(tensor: Tensor, coded: set[str]) -> Tensor:
    """A table of numbers in a layer whose weight is integers that were not read is part of their description."""
    if tensor.skip or tensor.members or len(tensor.shape) < 2 or tensor.dtype not in FLOATS:
        return tensor
    layer = re.split(r"[./](?=[^./]*$)", tensor.name)
    if len(layer) == 1 or layer[0] not in coded:
        return tensor
    return replace(tensor, skip="part of a quantised weight whose layout is not read: dequantise it first")


def _no_scale(tensor: Tensor) -> Tensor:
    if tensor.skip or tensor.members or len(tensor.shape) < 2 or not NUMBERS_OF_SCALES.search(tensor.name):
        return tensor
    return replace(tensor, skip="scales or zero points, no layer")


def _layer(layer: str, members: dict[str, Tensor], config: Mapping) -> dict[str, Tensor]:
    """What becomes of the tensors of one layer, by their names; nothing if it is not quantised."""
    weight = next((members[role] for role in ("qweight", "weight_packed", "weight") if role in members), None)
    extra = {role: tensor for role, tensor in members.items() if tensor is not weight}
    if weight is None or not extra or weight.dtype in FLOATS or weight.skip or len(weight.shape) < 1:
        return {}
    for rule in RULES:
        made = rule(weight, extra, config)
        if made is None:
            continue
        if any("svdquant" in role for role in extra):
            made = f"{weight.dtype} {weight.shape} beside the low-rank part of SVDQuant {UNREAD}"
        elif "pre_quant_scale" in extra and not isinstance(made, str):
            made = _of_scaled_inputs(made, extra["pre_quant_scale"])
        if isinstance(made, str):
            reason = f"quantised: {made}"
            break
        shape, how, compute = made
        name = f"{layer}.weight" if layer else "weight"
        used = {role: tensor for role, tensor in extra.items() if tensor.read is not None}
        whole = made_tensor(name, shape, how, {"weight": weight} | used, compute, owner=weight.owner)
        rest = {tensor.name: replace(tensor, skip=f"part of the quantised weight {name}") for tensor in extra.values()}
        return {weight.name: whole} | rest
    else:
        reason = f"quantised: {weight.dtype} {weight.shape} with {', '.join(extra)} {UNREAD}"
    return {tensor.name: replace(tensor, skip=tensor.skip or reason) for tensor in members.values()}


def _of_scaled_inputs(made, before: Tensor):
    """The weight that acts on inputs as they are, where a package scales them before it multiplies."""
    shape, how, compute = made
    if len(shape) != 2 or before.size != shape[1] or before.dtype not in FLOATS:
        return f"{shape} whose inputs are scaled by {before.dtype} {before.shape} {UNREAD}"
    return shape, how, lambda arrays: compute(arrays) * as_float32(before, arrays["pre_quant_scale"]).ravel()


def _mxfp4(layer: str, blocks: Tensor, scales: Tensor) -> dict[str, Tensor]:
    """gpt-oss's experts: pairs of codes, the low half first, sixteen bytes a block of 32 inputs, and a power of two for each."""
    if blocks.dtype != "uint8" or scales.dtype != "uint8" or blocks.shape[:-1] != scales.shape or len(blocks.shape) != 4:
        reason = f"quantised: {blocks.dtype} {blocks.shape} with scales {scales.shape} {UNREAD}"
        return {tensor.name: replace(tensor, skip=reason) for tensor in (blocks, scales)}
    experts, n_out, groups, half = blocks.shape
    shape = (experts, n_out, groups * half * 2)

    def compute(arrays):
        return (pairs(arrays["weight"]) * as_scale(scales, arrays["scales"])[..., None]).reshape(shape)

    ground = Owner("stack", "outputs first", {}, "MXFP4, which packs along the inputs")
    whole = made_tensor(layer, shape, "MXFP4", {"weight": blocks, "scales": scales}, compute, owner=ground)
    return {blocks.name: whole, scales.name: replace(scales, skip=f"part of the quantised weight {layer}")}
