"""Quantised weights of torchao, whose parts lie beside one another in a safetensors file and whose types its header tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .made import UNREAD, as_float32, made_tensor
from .quantised_floats import as_scale, pairs
from .tensors import FLOATS, Tensor

__all__ = ["torchao"]

PARTS = ("scale", "zero_point", "per_tensor_scale", "act_pre_scale", "scale_and_zero")
FLOAT8 = ("float8_e4m3", "float8_e5m2")


def torchao(name: str, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What becomes of ``layer._weight_qdata`` and all that lies beside it.

    Parameters
    ----------
    name : str
        Of the tensor of integers.
    known : mapping of str to Tensor
        All of the source.

    Returns
    -------
    dict of str to Tensor
        Empty if the name is not one of torchao's.
    """
    layer, _, last = name.rpartition(".")
    if not last.startswith("_"):
        return {}
    stem, data = name.removesuffix("qdata"), known[name]
    whole = f"{layer}.{last[1:].removesuffix('_qdata')}".lstrip(".")
    parts = {part: known[f"{stem}{part}"] for part in PARTS if f"{stem}{part}" in known}
    made = _weight(data, parts)
    if isinstance(made, str):
        return {part.name: replace(part, skip=f"quantised: {made}") for part in (data, *parts.values())}
    shape, how, compute = made
    rest = {part.name: replace(part, skip=f"part of the quantised weight {whole}") for part in parts.values()}
    return {name: made_tensor(whole, shape, f"torchao, {how}", {"data": data} | parts, compute)} | rest


def _weight(data: Tensor, parts: Mapping[str, Tensor]):
    kind, told, scale = data.part_of.get("_type"), data.part_of.get("_data"), parts.get("scale")
    mine = f"torchao's {kind or 'weight'} {data.dtype} {data.shape} with {', '.join(parts) or 'nothing'}"
    if not isinstance(kind, str) or not isinstance(told, dict):
        return f"{mine}, whose type the header of the file does not tell; dequantise it first"
    if scale is None or len(data.shape) != 2 or 0 in (*data.shape, *scale.shape) or "scale_and_zero" in parts:
        return f"{mine} {UNREAD}"
    rules = {"Int8Tensor": _blocks, "IntxUnpackedToInt8Tensor": _blocks, "Float8Tensor": _blocks}
    rules |= {"Int4Tensor": _int4, "NVFP4Tensor": _microscaled, "MXTensor": _microscaled}
    made = rules[kind](data, parts, told) if kind in rules else None
    if made is None:
        return f"{mine} {UNREAD}"
    shape, compute = made
    before = parts.get("act_pre_scale")
    if before is not None and (before.size != shape[1] or before.dtype not in FLOATS):
        return f"{mine} of {before.shape} {UNREAD}"

    def of_inputs(arrays):
        result = compute(arrays)
        return result if before is None else result * as_float32(before, arrays["act_pre_scale"]).ravel()

    return shape, kind, of_inputs


def _blocks(data, parts, told):
    """``scale (q - zero)``, a scale for each block of rows and columns."""
    scale, zero, sizes = parts["scale"], parts.get("zero_point"), told.get("block_size")
    fits = isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(n, int) and n > 0 for n in sizes)
    if not fits or not (data.dtype == "int8" or data.dtype.startswith(FLOAT8)) or scale.dtype not in FLOATS:
        return None
    grid = tuple(n // block for n, block in zip(data.shape, sizes, strict=True))
    if any(n % block for n, block in zip(data.shape, sizes, strict=True)) or scale.size != grid[0] * grid[1]:
        return None
    if zero is not None and (zero.size != scale.size or zero.dtype not in ("int8", "int32", "int64", *FLOATS)):
        return None

    def spread(array):
        return np.repeat(np.repeat(array.reshape(grid), sizes[0], axis=0), sizes[1], axis=1)

    def compute(arrays):
        q = as_float32(data, arrays["data"])
        q = q if zero is None else q - spread(as_float32(zero, arrays["zero_point"]))
        return q * spread(as_float32(scale, arrays["scale"]))

    return data.shape, compute


def _int4(data, parts, told):
    """``scale q + zero``: signed pairs in a byte, the first in the low half; a column of scales for each output."""
    scale, zero, (n_out, n_in) = parts["scale"], parts.get("zero_point"), (data.shape[0], 2 * data.shape[1])
    if data.dtype != "int8" or zero is None or zero.shape != scale.shape or {scale.dtype, zero.dtype} - set(FLOATS):
        return None
    if len(scale.shape) != 2 or scale.shape[1] != n_out or n_in % scale.shape[0]:
        return None

    def compute(arrays):
        words = arrays["data"]
        q = np.stack([(words << 4) >> 4, words >> 4], axis=-1).reshape(n_out, scale.shape[0], -1)
        factor, offset = as_float32(scale, arrays["scale"]), as_float32(zero, arrays["zero_point"])
        return (q * factor.T[:, :, None] + offset.T[:, :, None]).reshape(n_out, n_in)

    return (n_out, n_in), compute


def _microscaled(data, parts, told):
    """NVFP4 and MX: small floats with a small float, or a power of two, for each block of inputs."""
    scale, outer, block = parts["scale"], parts.get("per_tensor_scale"), told.get("block_size")
    packed = data.dtype == "uint8"
    n_out, n_in = data.shape[0], data.shape[1] * (2 if packed else 1)
    if not (packed or data.dtype.startswith(FLOAT8)) or not isinstance(block, int) or block < 1 or n_in % block:
        return None
    if not scale.dtype.startswith(("float8_e4m3", "float8_e8m0")) or outer is not None and outer.size != 1:
        return None
    count, blocked = n_in // block, bool(told.get("is_swizzled_scales"))
    tiles = -(-n_out // 128), -(-count // 4)
    if scale.size != (512 * tiles[0] * tiles[1] if blocked else n_out * count):
        return None

    def compute(arrays):
        factor = as_scale(scale, arrays["scale"])
        if blocked:  # tiles of 128 rows and 4 columns, as tensor cores read them
            factor = factor.reshape(*tiles, 32, 4, 4).transpose(0, 3, 2, 1, 4).reshape(128 * tiles[0], 4 * tiles[1])
        factor = factor.reshape(-1, 4 * tiles[1] if blocked else count)[:n_out, :count]
        if outer is not None:
            factor = factor * as_float32(outer, arrays["per_tensor_scale"]).ravel()[0]
        q = pairs(arrays["data"]) if packed else as_float32(data, arrays["data"])
        return (q.reshape(n_out, count, block) * factor[:, :, None]).reshape(n_out, n_in)

    return (n_out, n_in), compute
