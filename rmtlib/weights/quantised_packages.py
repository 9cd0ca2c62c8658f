"""Quantised weights under names of their packages' own: HQQ and quanto."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .made import UNREAD, as_float32, made_tensor
from .tensors import FLOATS, Tensor, WeightsError, read_stored

__all__ = ["hqq", "quanto"]

# HQQ's names of packings: the dtype, how many integers lie in one, and their bits. The first lie highest.
PACKINGS = {"8bit_u8": ("uint8", 1, 8), "4bit_u8": ("uint8", 2, 4), "2bit_u8": ("uint8", 4, 2), "1bit_u8": ("uint8", 8, 1)}
PACKINGS["3bit_32"] = ("int32", 10, 3)
HQQ_PARTS = (
    *("nbits", "group_size", "shape", "scale", "zero", "axis", "packing", "unpack_view_dtype", "view_as_float", "quant_scale"),
    *("quant_zero", "compute_dtype", "offload_meta", "encoded_state_dict", "stores_quant_config", "channel_wise", "optimize"),
    "round_zero",
)


def hqq(layer: str, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What becomes of ``layer.W_q`` and all that lies beside it.

    Parameters
    ----------
    layer : str
    known : mapping of str to Tensor
        All of the source.

    Returns
    -------
    dict of str to Tensor
    """
    weight = known[f"{layer}.W_q"]
    parts = {part: known[f"{layer}.{part}"] for part in HQQ_PARTS if f"{layer}.{part}" in known}
    parts |= {f"meta.{part}": known[f"{layer}.meta.{part}"] for part in HQQ_PARTS if f"{layer}.meta.{part}" in known}
    try:
        made = _hqq(layer, weight, parts)
    except (ValueError, LookupError, OverflowError) as error:
        reason = f"quantised: HQQ's {weight.dtype} {weight.shape} whose description is not whole ({error}) {UNREAD}"
        made = {weight.name: replace(weight, skip=reason)}
    reason = made[weight.name].skip or f"part of the quantised weight {layer}.weight"
    return made | {part.name: replace(part, skip=reason) for part in parts.values()}


def _hqq(layer: str, weight: Tensor, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    def told(part: str) -> np.ndarray:
        if parts[part].size > 64:
            msg = f"its {part} has {parts[part].size} entries"
            raise WeightsError(msg)
        return read_stored(parts[part]).ravel()

    packing = told("packing").astype(np.uint8).tobytes().decode("ascii", "replace")
    shape, axis = tuple(int(n) for n in told("shape")), int(told("axis")[0])
    group = int(told("group_size")[0]) if "group_size" in parts else 0
    scale, zero = parts["scale"], parts["zero"]
    dtype, count, bits = PACKINGS.get(packing, ("", 1, 0))
    numbers = math.prod(shape)
    if len(shape) != 2 or axis not in (0, 1) or min(shape) < 1 or group < 0 or group and numbers % group:
        msg = f"shape {shape}, axis {axis}, groups of {group}"
        raise WeightsError(msg)
    rows, columns = shape if not group else (numbers // group, group) if axis else (group, numbers // group)
    outside = (rows, 1) if axis else (1, columns)
    stored = (-(-rows // count), columns)
    if weight.dtype != dtype or weight.shape != stored or scale.dtype not in FLOATS or zero.dtype not in FLOATS:
        msg = f"packing {packing!r} of {scale.dtype} scales, and {stored} expected"
        raise WeightsError(msg)
    if scale.shape != outside or zero.shape != outside or any(told(part).any() for part in ("quant_scale", "quant_zero")):
        msg = f"scales {scale.shape} and zero points {zero.shape}, {outside} expected"
        raise WeightsError(msg)

    def compute(arrays):
        words = arrays["weight"]
        shifts = [words.dtype.type(bits * (count - 1 - i)) for i in range(count)]
        q = np.concatenate([words >> shift & words.dtype.type(2**bits - 1) for shift in shifts])[:rows]
        return ((q - as_float32(zero, arrays["zero"])) * as_float32(scale, arrays["scale"])).reshape(shape)

    members = {"weight": weight, "scale": scale, "zero": zero}
    return {weight.name: made_tensor(f"{layer}.weight", shape, f"HQQ of {bits} bits", members, compute)}


def quanto(name: str, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What becomes of ``layer.weight._data``, or ``layer.weight._data._data`` if it is packed, and its scales.

    Parameters
    ----------
    name : str
        Of the tensor of integers.
    known : mapping of str to Tensor
        All of the source.

    Returns
    -------
    dict of str to Tensor
        Empty if there are no scales.
    """
    data, packed = known[name], name.endswith("._data._data")
    whole = name.removesuffix("._data").removesuffix("._data")
    scale, shift = known.get(f"{whole}._scale"), known.get(f"{whole}._shift")
    if scale is None:
        return {}
    parts = {"scale": scale} | ({"shift": shift} if shift is not None else {})
    made = _packed(data, scale, shift, known.get(f"{whole.rpartition('.')[0]}.bias")) if packed else _bytes(data, scale, shift)
    if isinstance(made, str):
        return {part.name: replace(part, skip=f"quantised: quanto's {made}") for part in (data, *parts.values())}
    shape, how, compute = made
    rest = {part.name: replace(part, skip=f"part of the quantised weight {whole}") for part in parts.values()}
    return {name: made_tensor(whole, shape, f"quanto, {how}", {"weight": data} | parts, compute)} | rest


def _bytes(data, scale, shift):
    floats = data.dtype.startswith(("float8_e4m3", "float8_e5m2")) and "uz" not in data.dtype
    fits = scale.size == 1 or scale.shape == (data.shape[:1] + (1,) * (len(data.shape) - 1))
    if shift is not None or not (floats or data.dtype == "int8") or scale.dtype not in FLOATS or len(data.shape) < 2 or not fits:
        return f"{data.dtype} {data.shape} with scales {scale.shape} {UNREAD}"
    if scale.size == 1:
        compute = lambda arrays: as_float32(data, arrays["weight"]) * as_float32(scale, arrays["scale"]).ravel()[0]  # noqa: E731
    else:
        compute = lambda arrays: as_float32(data, arrays["weight"]) * as_float32(scale, arrays["scale"])  # noqa: E731
    return data.shape, "float8" if floats else "int8", compute


def _packed(data, scale, shift, bias):
    """Rows of ``8 / bits`` blocks share bytes, the first in the lowest bits; a row is a group of inputs of one output."""
    mine = f"{data.dtype} {data.shape} with scales {scale.shape}"
    if (
        shift is None
        or data.dtype != "uint8"
        or len(data.shape) != 2
        or scale.shape != (scale.size, 1)
        or shift.shape != scale.shape
    ):
        return f"{mine} {UNREAD}"
    if scale.dtype not in FLOATS or shift.dtype not in (*FLOATS, "int8", "uint8"):
        return f"{mine} of {scale.dtype} and {shift.dtype} {UNREAD}"
    (stored, columns), rows = data.shape, scale.size
    fits = [bits for bits in (2, 4) if stored == -(-rows * bits // 8)]
    if len(fits) != 1:
        return f"{mine} do not fit 2 or 4 bits"
    if bias is None or len(bias.shape) != 1 or not bias.size or rows % bias.size:
        return f"{mine}: the file does not tell the outputs of a layer without a bias; dequantise it first"
    bits, n_out = fits[0], bias.size

    def compute(arrays):
        q = np.concatenate([arrays["weight"] >> i & (2**bits - 1) for i in range(0, 8, bits)])[:rows]
        factor, offset = as_float32(scale, arrays["scale"]), as_float32(shift, arrays["shift"])
        result = q * factor - offset if shift.dtype in FLOATS else (q - offset) * factor
        return result.reshape(n_out, -1)

    return (n_out, rows * columns // n_out), f"{bits} bits", compute
