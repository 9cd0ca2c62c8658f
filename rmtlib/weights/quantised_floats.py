"""Small floats and 8-bit integers with scales, and the codes of bitsandbytes and BitNet."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .json_text import parsed
from .made import UNREAD, as_float32
from .tensors import FLOATS, Tensor, WeightsError, as_floats, read_stored

__all__ = ["as_scale", "bitnet", "bitsandbytes", "four_bit_floats", "int4", "pairs", "scaled"]

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
POWERS = "float8_e8m0"
LONGEST_STATE = 2**16


def pairs(codes: np.ndarray) -> np.ndarray:
    """Two 4-bit floats (E2M1 of the OCP microscaling formats) in each byte, the low half first, along the last axis."""
    return np.stack([E2M1[codes & 15], E2M1[codes >> 4]], axis=-1).reshape(*codes.shape[:-1], -1)


def as_scale(tensor: Tensor, array: np.ndarray) -> np.ndarray:
    """Scales as numbers; those kept as bytes are the exponents of powers of two."""
    return as_floats(array, POWERS) if tensor.dtype == "uint8" else as_float32(tensor, array)


def four_bit_floats(weight, extra, config):
    """NVFP4 of llm-compressor and of ModelOpt, and MXFP4: pairs of floats, and a small float for each 16 or 32 inputs."""
    scale = extra.get("weight_scale")
    if weight.dtype != "uint8" or scale is None or len(weight.shape) != 2 or "weight_zero_point" in extra:
        return None
    n_out, n_in = weight.shape[0], 2 * weight.shape[1]
    outer, role = extra.get("weight_global_scale"), "weight_global_scale"
    divides = weight.name.endswith("weight_packed")
    if not divides:
        outer, role = extra.get("weight_scale_2"), "weight_scale_2"
    nvfp4 = [block for block in (16, 32) if n_in % block == 0 and scale.shape == (n_out, n_in // block)]
    if scale.dtype.startswith("float8_e4m3") and nvfp4:
        if outer is None or outer.size != 1 or outer.dtype not in FLOATS:
            return f"NVFP4 {weight.shape} without its {role}, the scale of all"
        how, block = "NVFP4", nvfp4[0]
    elif scale.dtype.startswith(("uint8", POWERS)) and n_in % 32 == 0 and scale.shape == (n_out, n_in // 32) and outer is None:
        how, block = "MXFP4", 32
    else:
        return None

    def compute(arrays):
        factor = as_scale(scale, arrays["weight_scale"])
        if outer is not None:
            whole = as_float32(outer, arrays[role]).ravel()[0]
            factor = factor / whole if divides else factor * whole
        return (pairs(arrays["weight"]).reshape(n_out, -1, block) * factor[:, :, None]).reshape(n_out, n_in)

    return (n_out, n_in), how, compute


def int4(weight, extra, config):
    """ModelOpt's signed integers of 4 bits: those of two outputs in a byte, the first one in the low half."""
    scale, options = extra.get("weight_scale"), config.get("quantization_config")
    modelopt = isinstance(options, Mapping) and options.get("quant_method") == "modelopt"
    if weight.dtype != "uint8" or len(weight.shape) != 2 or scale is None or scale.dtype not in FLOATS or not modelopt:
        return None
    n_out, n_in = 2 * weight.shape[0], weight.shape[1]
    if len(scale.shape) != 2 or scale.shape[0] != n_out or scale.shape[1] < 1 or n_in % scale.shape[1]:
        return None

    def compute(arrays):
        q = np.stack([arrays["weight"] & 15, arrays["weight"] >> 4], axis=1).astype(np.int8).reshape(n_out, scale.shape[1], -1)
        return ((q - 16 * (q > 7)) * as_float32(scale, arrays["weight_scale"])[:, :, None]).reshape(n_out, n_in)

    return (n_out, n_in), "INT4 of ModelOpt", compute


def bitnet(weight, extra, config):
    """Ternary weights, four in a byte: row i of each of four blocks of rows, the lowest bits first, and one scale."""
    options = config.get("quantization_config")
    scale = extra.get("weight_scale")
    if not isinstance(options, Mapping) or options.get("quant_method") != "bitnet" or weight.dtype != "uint8" or scale is None:
        return None
    kind, mode = options.get("linear_class", "bitlinear"), options.get("quantization_mode", "offline")
    if len(weight.shape) != 2 or scale.size != 1 or kind not in ("bitlinear", "autobitlinear") or mode != "offline":
        return f"BitNet's {weight.shape} with scales {scale.shape} of a {kind} {UNREAD}"

    def compute(arrays):
        codes = np.concatenate([arrays["weight"] >> shift & 3 for shift in (0, 2, 4, 6)])
        if np.any(codes == 3):
            msg = "it holds a fourth value, which BitNet's ternary weights do not have"
            raise WeightsError(msg)
        factor = as_float32(scale, arrays["weight_scale"]).ravel()[0]
        return (codes.astype(np.float32) - 1) * (factor if kind == "autobitlinear" else 1 / factor)

    return (4 * weight.shape[0], weight.shape[1]), f"BitNet, {kind}", compute


def bitsandbytes(weight, extra, config):
    """bitsandbytes' NF4 and FP4: pairs of codes, the high half first, and the largest absolute value of each block."""
    state = next((tensor for role, tensor in extra.items() if "quant_state" in role), None)
    if state is None:
        return None
    try:
        if state.skip or state.size > LONGEST_STATE:
            return f"bitsandbytes' state cannot be read ({state.skip or f'{state.size} bytes'})"
        told = parsed(read_stored(state).astype(np.uint8).tobytes(), "it")
        shape, block = tuple(int(n) for n in told["shape"]), int(told["blocksize"])
        nested, offset = told.get("nested_blocksize"), float(told.get("nested_offset", 0))
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        return f"bitsandbytes' state cannot be read ({error})"
    size, absmax = math.prod(shape), extra.get("weight.absmax")
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


def scaled(weight, extra, config):
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
    if not role or {"weight_scale_2", "weight_global_scale"} & set(extra):
        return None
    scale, zero = extra[role], extra.get("weight_zero_point")
    blocks = _block(weight.shape, scale.shape, config)
    powers = small_float and (scale.dtype.startswith(POWERS) or scale.dtype == "uint8" and blocks == (1, 32))
    if scale.dtype not in FLOATS and not powers:
        return None
    if blocks is None or (zero is not None and zero.shape != scale.shape):
        return f"{weight.dtype} {weight.shape} whose scales {scale.shape} do not fit it"
    n_out, n_in = weight.shape

    def spread(array):
        array = array.reshape(-1, 1) if array.ndim < 2 else array.reshape(array.shape[0], -1)
        return np.repeat(np.repeat(array, blocks[0], axis=0)[:n_out], blocks[1], axis=1)[:, :n_in]

    def compute(arrays):
        q = as_float32(weight, arrays["weight"])
        q = q - spread(arrays["weight_zero_point"].astype(np.float32)) if zero is not None else q
        return q * spread(as_scale(scale, arrays[role]))

    how = "float8" if small_float else "int8"
    return weight.shape, f"{how} with scales of {' x '.join(map(str, blocks))} entries", compute


def _block(shape, scales, config):
    """Rows and columns that share a scale."""
    count = int(np.prod(scales))
    if count == 1:
        return shape
    if len(scales) == 1 or scales[1:] == (1,):
        return (1, shape[1]) if scales[0] == shape[0] else None
    if len(scales) == 4 and scales[1] == scales[3] == 1 and 0 not in scales:  # ModelOpt's, which keeps the axes of its blocks
        block = shape[0] // scales[0], shape[1] // scales[2]
        return block if (block[0] * scales[0], block[1] * scales[2]) == shape else _block(shape, (scales[0], scales[2]), config)
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
