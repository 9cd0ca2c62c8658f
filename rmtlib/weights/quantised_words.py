"""Integers of a few bits packed into 32-bit words: the weights of GPTQ, AWQ, MLX and llm-compressor."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .made import UNREAD, as_float32
from .quantised_floats import as_scale, pairs
from .tensors import WeightsError, as_floats, read_stored

__all__ = ["compressed", "gptq_or_awq", "mlx"]

MLX_GROUPS = {"mxfp4": (4, 32), "nvfp4": (4, 16), "mxfp8": (8, 32)}  # bits, and inputs that share a scale


def _unpacked(words: np.ndarray, bits: int, axis: int) -> np.ndarray:
    """Unsigned integers of ``bits`` bits along an axis, one after another from the lowest bit on, across words too."""
    words = np.moveaxis(np.ascontiguousarray(words).view(np.uint32), axis, -1)
    common = math.gcd(bits, 32)
    period, count = bits // common, 32 // common  # words after which an integer starts with a word again
    missing = -words.shape[-1] % period
    words = np.pad(words, [(0, 0)] * (words.ndim - 1) + [(0, missing)]).reshape(*words.shape[:-1], -1, period)
    result = np.empty((*words.shape[:-1], count), np.int32)
    for i in range(count):
        word, shift = divmod(i * bits, 32)
        part = words[..., word] >> np.uint32(shift)
        if shift + bits > 32:
            part |= words[..., word + 1] << np.uint32(32 - shift)
        result[..., i] = part & np.uint32(2**bits - 1)
    return np.moveaxis(result.reshape(*words.shape[:-2], -1), -1, axis)


def _options(config: Mapping, key: str) -> Mapping:
    return config[key] if isinstance(config.get(key), Mapping) else {}


def gptq_or_awq(weight, extra, config):
    scales, zeros = extra.get("scales"), extra.get("qzeros")
    if not weight.name.endswith("qweight") or weight.dtype not in ("int32", "uint32"):
        return None
    if scales is None or len(weight.shape) != 2 or len(scales.shape) != 2:
        return f"qweight {weight.shape} without scales"
    options = _options(config, "quantization_config")
    if weight.shape[1] == scales.shape[1] and options.get("quant_method") != "awq":  # GPTQ packs along the inputs
        return _gptq(weight, scales, zeros, extra.get("g_idx"), options)
    return _awq(weight, scales, zeros, options)


def _gptq(weight, scales, zeros, indices, options):
    group_count, n_out = scales.shape
    mine = f"qweight {weight.shape} and scales {scales.shape}"
    written = str(options.get("checkpoint_format") or options.get("format") or "gptq")
    if written not in ("gptq", "gptq_v2"):
        return f"GPTQ in the format {written} {UNREAD}"
    if indices is None and options.get("desc_act"):
        return f"GPTQ of {mine} by activation order, without the g_idx that tells it"
    # A configuration tells the bits of most layers, the shapes those of each.
    if indices is not None and len(indices.shape) == 1 and indices.size:
        bits = weight.shape[0] * 32 / indices.size
    elif zeros is not None and len(zeros.shape) == 2 and n_out:
        bits = zeros.shape[1] * 32 / n_out
    else:
        bits = options.get("bits")
    if bits not in (2, 3, 4, 8):
        return f"GPTQ of {mine}, whose bits are not told" if bits is None else f"GPTQ of {bits} bits {UNREAD}"
    bits = int(bits)
    n_in = weight.shape[0] * 32 // bits
    if group_count == 0 or n_in % group_count or weight.shape[0] * 32 % bits or indices is not None and indices.shape != (n_in,):
        return f"GPTQ whose {mine} do not fit {n_in} inputs"
    if zeros is not None and zeros.shape != (group_count, n_out * bits // 32):
        return f"GPTQ whose qzeros {zeros.shape} do not fit {mine}"

    def compute(arrays):
        q = _unpacked(arrays["weight"], bits, 0)
        groups = np.arange(n_in) // (n_in // group_count) if indices is None else arrays["g_idx"].astype(np.int64)
        if groups.min() < 0 or groups.max() >= group_count:
            msg = "its g_idx points outside its groups"
            raise WeightsError(msg)
        middle = np.full((group_count, n_out), 2 ** (bits - 1))
        zero = middle if zeros is None else _zeros(arrays["qzeros"], bits, written)
        scale = as_float32(scales, arrays["scales"])
        return (scale[groups] * (q - zero[groups])).T

    return (n_out, n_in), f"GPTQ of {bits} bits", compute


def _zeros(words: np.ndarray, bits: int, written: str) -> np.ndarray:
    """Zero points, of which the first format keeps one less; a zero point of 0 then borrows from those above it in its word."""
    if written == "gptq":
        if 32 % bits:
            return (_unpacked(words, bits, 1) + 1) % 2**bits
        words = words.view(np.uint32) + np.uint32(sum(1 << shift for shift in range(0, 32, bits)))
    return _unpacked(words, bits, 1)


def _awq(weight, scales, zeros, options):
    group_count, n_out = scales.shape
    n_in, mine = weight.shape[0], f"qweight {weight.shape} and scales {scales.shape}"
    version = str(options.get("version", "gemm")).lower()
    if version != "gemm":
        return f"AWQ's {mine} of the version {version} {UNREAD}"
    if weight.shape[1] * 8 != n_out or zeros is None or zeros.shape != (group_count, weight.shape[1]):
        return f"{mine} do not fit together as GPTQ's or AWQ's do"
    if group_count == 0 or n_in % group_count:
        return f"AWQ whose {mine} do not fit"
    order = np.argsort([0, 2, 4, 6, 1, 3, 5, 7])

    def ordered(words):
        return _unpacked(words, 4, 1).reshape(len(words), -1, 8)[:, :, order].reshape(len(words), -1)

    def compute(arrays):
        groups = np.arange(n_in) // (n_in // group_count)
        scale = as_float32(scales, arrays["scales"])
        return (scale[groups] * (ordered(arrays["weight"]) - ordered(arrays["qzeros"])[groups])).T

    return (n_out, n_in), "AWQ of 4 bits", compute


def mlx(weight, extra, config):
    scales, biases = extra.get("scales"), extra.get("biases")
    if scales is None or weight.dtype not in ("uint32", "int32") or len(weight.shape) != 2:
        return None
    if biases is None and scales.dtype != "uint8":
        return None
    options = dict(_options(config, "quantization"))
    own = options.get(weight.name.removesuffix(".weight"))
    options |= own if isinstance(own, Mapping) else {}
    bits, group, mode = options.get("bits"), options.get("group_size"), options.get("mode", "affine")
    mine = f"MLX's weight {weight.shape} with scales {scales.shape}"
    if bits not in (2, 3, 4, 5, 6, 8) or not isinstance(group, int) or group < 1:
        return f"{mine}: the config.json beside it must tell its quantization, group_size and bits (2 to 8, not 7)"
    bits, n_out = int(bits), weight.shape[0]
    n_in = weight.shape[1] * 32 // bits
    if scales.shape != (n_out, n_in // group) or n_in % group or weight.shape[1] * 32 % bits:
        return f"{mine} do not fit {bits} bits in groups of {group}"
    if (mode == "affine") != (biases is not None) or (biases is not None and biases.shape != scales.shape):
        return f"{mine} of the mode {mode} {'with' if biases else 'without'} biases {UNREAD}"
    if mode != "affine" and MLX_GROUPS.get(str(mode)) != (bits, group):
        return f"{mine} of the mode {mode}, {bits} bits in groups of {group} {UNREAD}"

    def affine(arrays):
        q = _unpacked(arrays["weight"], bits, 1).reshape(n_out, -1, group)
        scale, bias = as_float32(scales, arrays["scales"]), as_float32(biases, arrays["biases"])
        return (scale[:, :, None] * q + bias[:, :, None]).reshape(n_out, n_in)

    def floats(arrays):
        codes = np.ascontiguousarray(arrays["weight"]).view(np.uint8)
        q = pairs(codes) if bits == 4 else as_floats(codes, "float8_e4m3")
        scale = as_floats(arrays["scales"], "float8_e4m3") if mode == "nvfp4" else as_scale(scales, arrays["scales"])
        return (scale[:, :, None] * q.reshape(n_out, -1, group)).reshape(n_out, n_in)

    return (n_out, n_in), f"MLX of {bits} bits, {mode}", affine if mode == "affine" else floats


def compressed(weight, extra, config):
    """The compressed tensors of llm-compressor: symmetric integers with an offset, packed along the inputs."""
    scale, shape = extra.get("weight_scale"), extra.get("weight_shape")
    if not weight.name.endswith("weight_packed"):
        return None
    if scale is None or weight.dtype != "int32" or len(weight.shape) != 2 or {"weight_zero_point", "weight_g_idx"} & set(extra):
        return f"compressed {weight.dtype} {weight.shape} with {', '.join(extra)} {UNREAD}"
    if shape is None or shape.size != 2 or "int" not in shape.dtype or not shape.read:
        return "compressed tensors without their weight_shape"
    n_out, n_in = (int(n) for n in read_stored(shape).ravel())
    bits = _compressed_bits(weight.shape, n_out, n_in, _options(config, "quantization_config"))
    if bits is None or len(scale.shape) != 2 or scale.shape[0] != n_out or n_in % max(scale.shape[1], 1):
        return f"compressed {weight.shape} with scales {scale.shape} do not fit {n_out} outputs and {n_in} inputs"

    def compute(arrays):
        q = _unpacked(arrays["weight"], bits, 1)[:, :n_in] - 2 ** (bits - 1)
        factor = as_float32(scale, arrays["weight_scale"])
        return (q.reshape(n_out, factor.shape[1], -1) * factor[:, :, None]).reshape(n_out, n_in)

    return (n_out, n_in), f"compressed tensors of {bits} bits", compute


def _compressed_bits(packed, n_out: int, n_in: int, options: Mapping) -> int | None:
    """4 or 8 by the shape; others where the configuration tells them, and not in words of which older files left bits unused."""
    groups = options.get("config_groups")
    told = {4, 8}
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        bits = weights.get("num_bits") if isinstance(weights, Mapping) else None
        if isinstance(bits, int) and 2 <= bits <= 8:
            told.add(bits)
    fits = [bits for bits in told if packed == (n_out, -(-n_in * bits // 32))]
    loose = [bits for bits in told if 32 % bits and packed == (n_out, -(-n_in // (32 // bits)))]
    return fits[0] if len(fits) == 1 and not loose else None
