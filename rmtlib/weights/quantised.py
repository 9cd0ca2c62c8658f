"""Quantised weights: integers and their scales to numbers where the layout is public, otherwise one reason for all of them.

=======================  ===========================================================================  ========================
layout                   tensors of a layer                                                           weight
=======================  ===========================================================================  ========================
GPTQ                     ``qweight`` (in b / 32, out), ``scales``, ``qzeros``, ``g_idx``              scale (q - zero - 1)
AWQ                      ``qweight`` (in, out b / 32), ``scales``, ``qzeros``                         scale (q - zero)
MLX                      ``weight`` (out, in b / 32), ``scales``, ``biases``, the configuration       scale q + bias
block float8, float8     ``weight``, ``weight_scale_inv`` or ``weight_scale``                         scale q
int8                     ``weight``, ``weight_scale`` (and ``weight_zero_point``), or ``SCB``         scale (q - zero)
compressed tensors       ``weight_packed`` (out, in b / 32), ``weight_scale``, ``weight_shape``       scale (q - 2^(b - 1))
bitsandbytes 4 bit       ``weight``, ``weight.absmax``, ``weight.quant_map``, ``weight.quant_state``  absmax map[q]
MXFP4                    ``*_blocks``, ``*_scales``                                                   2^(s - 127) map[q]
ONNX                     integers, scale and zero point of DequantizeLinear                           scale (q - zero)
=======================  ===========================================================================  ========================
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .made import UNREAD, as_float32, made_tensor
from .quantised_onnx import dequantise_onnx
from .tensors import FLOATS, Owner, Tensor, WeightsError, read_stored

__all__ = ["dequantise"]

ROLES = (
    *("weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4"),
    *("weight.nested_quant_map", "weight.nested_absmax", "weight.quant_map", "weight.absmax"),
    *("weight_global_scale", "weight_scale_inv", "weight_zero_point", "weight_packed", "weight_shape", "weight_scale"),
    *("weight_g_idx", "weight_scale_2", "weight_format", "weight.SCB", "input_scale", "input_zero_point", "input_global_scale"),
    *("output_scale", "k_scale", "v_scale", "zero_point", "qweight", "qzeros", "scales", "biases", "g_idx", "scale", "SCB"),
    *("zeros", "absmax", "weight"),
)
ROLE = re.compile(rf"^(?:(?P<layer>.*?)[./])?(?P<role>{'|'.join(map(re.escape, ROLES))})$", re.DOTALL)
NUMBERS_OF_SCALES = re.compile(
    r"(^|[./_])(scales?|scale_inv|weight_scale(_inv|_2)?|zeros?|zero_points?|qzeros|absmax|SCB|quant_map|biases)(:0)?$"
)
MX_VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


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
    result = [changed.get(tensor.name, tensor) for tensor in tensors]
    return [_no_scale(tensor) for tensor in result]


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
    for rule in (_gptq_or_awq, _mlx, _packed, _four_bit, _scaled):
        made = rule(weight, extra, config)
        if made is None:
            continue
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


def _unpacked(words: np.ndarray, bits: int, axis: int) -> np.ndarray:
    """Unsigned integers of a few bits from 32-bit words, the lowest bits first, along an axis."""
    words = np.moveaxis(np.ascontiguousarray(words).view(np.uint32), axis, -1)
    parts = words[..., None] >> np.arange(0, 32, bits, dtype=np.uint32) & np.uint32(2**bits - 1)
    return np.moveaxis(parts.reshape(*words.shape[:-1], -1), -1, axis).astype(np.int32)


def _gptq_or_awq(weight, extra, config):
    scales, zeros = extra.get("scales"), extra.get("qzeros")
    if not weight.name.endswith("qweight") or weight.dtype not in ("int32", "uint32"):
        return None
    if scales is None or len(weight.shape) != 2 or len(scales.shape) != 2:
        return f"qweight {weight.shape} without scales"
    group_count, n_out = scales.shape
    mine = f"qweight {weight.shape} and scales {scales.shape}"
    options = config.get("quantization_config") if isinstance(config.get("quantization_config"), Mapping) else {}
    if weight.shape[1] == n_out:  # GPTQ packs along the inputs
        indices, n_in = extra.get("g_idx"), None
        if indices is not None and len(indices.shape) == 1:
            n_in = indices.shape[0]
        bits = options.get("bits") or (weight.shape[0] * 32 / n_in if n_in else None)
        if bits is None and zeros is not None and len(zeros.shape) == 2:
            bits = zeros.shape[1] * 32 / n_out
        if bits not in (2, 4, 8):
            return f"GPTQ of {mine}, whose bits are not told" if bits is None else f"GPTQ of {bits:g} bits {UNREAD}"
        bits = int(bits)
        n_in = weight.shape[0] * 32 // bits
        if n_in % group_count or (indices is not None and indices.shape != (n_in,)):
            return f"GPTQ whose {mine} do not fit {n_in} inputs"
        if zeros is not None and zeros.shape != (group_count, n_out * bits // 32):
            return f"GPTQ whose qzeros {zeros.shape} do not fit {mine}"
        first = 0 if options.get("checkpoint_format") == "gptq_v2" else 1

        def compute(arrays):
            q = _unpacked(arrays["weight"], bits, 0)
            groups = (
                arrays["g_idx"].astype(np.int64) if indices is not None else np.arange(int(n_in or 0)) // (n_in // group_count)
            )
            if groups.min() < 0 or groups.max() >= group_count:
                msg = "its g_idx points outside its groups"
                raise WeightsError(msg)
            middle = np.full((group_count, n_out), 2 ** (bits - 1))
            zero = middle if zeros is None else _unpacked(arrays["qzeros"], bits, 1) + first
            scale = as_float32(scales, arrays["scales"])
            return (scale[groups] * (q - zero[groups])).T

        return (n_out, n_in), f"GPTQ of {bits} bits", compute
    if weight.shape[1] * 8 == n_out and zeros is not None and zeros.shape == (group_count, weight.shape[1]):
        n_in = weight.shape[0]
        if n_in % group_count:
            return f"AWQ whose {mine} do not fit"
        order = np.argsort([0, 2, 4, 6, 1, 3, 5, 7])

        def compute(arrays):
            def ordered(words):
                return _unpacked(words, 4, 1).reshape(len(words), -1, 8)[:, :, order].reshape(len(words), -1)

            groups = np.arange(n_in) // (n_in // group_count)
            scale = as_float32(scales, arrays["scales"])
            return (scale[groups] * (ordered(arrays["weight"]) - ordered(arrays["qzeros"])[groups])).T

        return (n_out, n_in), "AWQ of 4 bits", compute
    return f"{mine} do not fit together as GPTQ's or AWQ's do"


def _mlx(weight, extra, config):
    scales, biases = extra.get("scales"), extra.get("biases")
    if scales is None or biases is None or weight.dtype not in ("uint32", "int32") or len(weight.shape) != 2:
        return None
    options = dict(config["quantization"]) if isinstance(config.get("quantization"), Mapping) else {}
    own = options.get(weight.name.removesuffix(".weight"))
    options |= own if isinstance(own, Mapping) else {}
    bits, group = options.get("bits"), options.get("group_size")
    mine = f"MLX's weight {weight.shape} with scales {scales.shape}"
    if bits not in (2, 4, 8) or not isinstance(group, int) or group < 1:
        return f"{mine}: the config.json beside it must tell its quantization, group_size and bits (2, 4 or 8)"
    n_out, n_in = weight.shape[0], weight.shape[1] * 32 // bits
    if scales.shape != (n_out, n_in // group) or biases.shape != scales.shape or n_in % group:
        return f"{mine} do not fit {bits} bits in groups of {group}"

    def compute(arrays):
        q = _unpacked(arrays["weight"], bits, 1).reshape(n_out, -1, group)
        scale, bias = as_float32(scales, arrays["scales"]), as_float32(biases, arrays["biases"])
        return (scale[:, :, None] * q + bias[:, :, None]).reshape(n_out, n_in)

    return (n_out, n_in), f"MLX of {bits} bits", compute


def _packed(weight, extra, config):
    """The compressed tensors of llm-compressor: symmetric integers with an offset, packed along the inputs."""
    scale, shape = extra.get("weight_scale"), extra.get("weight_shape")
    if not weight.name.endswith("weight_packed"):
        return None
    if scale is None or weight.dtype != "int32" or len(weight.shape) != 2 or {"weight_zero_point", "weight_g_idx"} & set(extra):
        return f"compressed {weight.dtype} {weight.shape} with {', '.join(extra)} {UNREAD}"
    if shape is None or shape.size != 2 or not shape.read:
        return "compressed tensors without their weight_shape"
    n_out, n_in = (int(n) for n in read_stored(shape).ravel())
    bits = next((b for b in (4, 8) if weight.shape == (n_out, -(-n_in * b // 32))), None)
    if bits is None or len(scale.shape) != 2 or scale.shape[0] != n_out or n_in % max(scale.shape[1], 1):
        return f"compressed {weight.shape} with scales {scale.shape} do not fit {n_out} outputs and {n_in} inputs"

    def compute(arrays):
        q = _unpacked(arrays["weight"], bits, 1)[:, :n_in] - 2 ** (bits - 1)
        factor = as_float32(scale, arrays["weight_scale"])
        return (q.reshape(n_out, factor.shape[1], -1) * factor[:, :, None]).reshape(n_out, n_in)

    return (n_out, n_in), f"compressed tensors of {bits} bits", compute


def _four_bit(weight, extra, config):
    """bitsandbytes' NF4 and FP4: pairs of codes, the high half first, and the largest absolute value of each block."""
    state = next((tensor for role, tensor in extra.items() if "quant_state" in role), None)
    if state is None:
        return None
    try:
        told = json.loads(read_stored(state).astype(np.uint8).tobytes())
        shape, block = tuple(int(n) for n in told["shape"]), int(told["blocksize"])
        nested, offset = told.get("nested_blocksize"), float(told.get("nested_offset", 0))
    except (ValueError, KeyError, TypeError) as error:
        return f"bitsandbytes' state cannot be read ({error})"
    size, absmax = int(np.prod(shape)), extra.get("weight.absmax")
    if weight.dtype != "uint8" or absmax is None or "weight.quant_map" not in extra or block < 1 or min(shape, default=0) < 1:
        return f"bitsandbytes' {weight.dtype} with {', '.join(extra)} {UNREAD}"
    if weight.size != -(-size // 2) or absmax.size != -(-size // block):
        return f"bitsandbytes' {weight.shape} with {absmax.size} blocks do not fit {shape}"

    def compute(arrays):
        values = as_float32(extra["weight.quant_map"], arrays["weight.quant_map"]).ravel()
        largest = arrays["weight.absmax"].ravel()
        if nested:
            levels = as_float32(extra["weight.nested_quant_map"], arrays["weight.nested_quant_map"]).ravel()[largest]
            outer = as_float32(extra["weight.nested_absmax"], arrays["weight.nested_absmax"]).ravel()
            largest = levels * np.repeat(outer, int(nested))[: len(levels)] + np.float32(offset)
        else:
            largest = as_float32(absmax, largest)
        codes = arrays["weight"].ravel()
        codes = np.stack([codes >> 4, codes & 15], axis=1).ravel()[:size]
        return (values[codes] * np.repeat(largest, block)[:size]).reshape(shape)

    return shape, f"bitsandbytes of 4 bits ({told.get('quant_type', 'unknown type')})", compute


def _scaled(weight, extra, config):
    """8-bit integers or floats with a scale for all, for each output, or for each block."""
    small_float = weight.dtype.startswith(("float8_e4m3", "float8_e5m2")) and "uz" not in weight.dtype
    if not (small_float or weight.dtype == "int8") or len(weight.shape) != 2:
        return None
    if row := extra.get("SCB", extra.get("weight.SCB")):
        if weight.dtype != "int8" or row.shape != (weight.shape[0],):
            return f"bitsandbytes' {weight.dtype} {weight.shape} with SCB {row.shape}"
        role = "SCB" if "SCB" in extra else "weight.SCB"
        rows = lambda arrays: arrays["weight"] * (as_float32(row, arrays[role]) / 127)[:, None]  # noqa: E731
        return weight.shape, "bitsandbytes of 8 bits", rows
    role = next((role for role in ("weight_scale_inv", "weight_scale", "scale") if role in extra), "")
    if not role or extra[role].dtype not in FLOATS or "weight_scale_2" in extra:
        return None
    scale, zero = extra[role], extra.get("weight_zero_point")
    blocks = _block(weight.shape, scale.shape, config)
    if blocks is None or (zero is not None and zero.shape != scale.shape):
        return f"{weight.dtype} {weight.shape} whose scales {scale.shape} do not fit it"
    n_out, n_in = weight.shape

    def spread(array):
        array = array.reshape(-1, 1) if array.ndim < 2 else array
        return np.repeat(np.repeat(array, blocks[0], axis=0)[:n_out], blocks[1], axis=1)[:, :n_in]

    def compute(arrays):
        q = as_float32(weight, arrays["weight"])
        q = q - spread(arrays["weight_zero_point"].astype(np.float32)) if zero is not None else q
        return q * spread(as_float32(scale, arrays[role]))

    how = "float8" if small_float else "int8"
    return weight.shape, f"{how} with scales of {' x '.join(map(str, blocks))} entries", compute


def _block(shape, scales, config):
    """Rows and columns that share a scale."""
    count = int(np.prod(scales))
    if count == 1:
        return shape
    if len(scales) == 1 or scales[1:] == (1,):
        return (1, shape[1]) if scales[0] == shape[0] else None
    if len(scales) != 2:
        return None
    options = config.get("quantization_config") if isinstance(config.get("quantization_config"), Mapping) else {}
    told = options.get("weight_block_size")
    sizes = [tuple(told)] if isinstance(told, list) and len(told) == 2 and all(isinstance(n, int) and n > 0 for n in told) else []
    if scales[0] == shape[0] and shape[1] % scales[1] == 0:
        return 1, shape[1] // scales[1]
    for block in [*sizes, (128, 128)]:
        if all(-(-n // b) == s for n, b, s in zip(shape, block, scales, strict=True)):
            return block
    return None


def _mxfp4(layer: str, blocks: Tensor, scales: Tensor) -> dict[str, Tensor]:
    """gpt-oss's experts: pairs of codes, the low half first, sixteen bytes a block of 32 inputs, and a power of two for each."""
    if blocks.dtype != "uint8" or scales.dtype != "uint8" or blocks.shape[:-1] != scales.shape or len(blocks.shape) != 4:
        reason = f"quantised: {blocks.dtype} {blocks.shape} with scales {scales.shape} {UNREAD}"
        return {tensor.name: replace(tensor, skip=reason) for tensor in (blocks, scales)}
    experts, n_out, groups, half = blocks.shape
    shape = (experts, n_out, groups * half * 2)

    def compute(arrays):
        codes = arrays["weight"]
        pairs = np.stack([MX_VALUES[codes & 15], MX_VALUES[codes >> 4]], axis=-1).reshape(*codes.shape[:-1], -1)
        return np.ldexp(pairs, arrays["scales"].astype(np.int32)[..., None] - 127).reshape(shape)

    ground = Owner("stack", "outputs first", {}, "MXFP4, which packs along the inputs")
    whole = made_tensor(layer, shape, "MXFP4", {"weight": blocks, "scales": scales}, compute, owner=ground)
    return {blocks.name: whole, scales.name: replace(scales, skip=f"part of the quantised weight {layer}")}
