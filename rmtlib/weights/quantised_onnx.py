"""Quantised weights of ONNX, whose nodes say which tensors are scales and zero points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .made import UNREAD, as_float32, made_tensor
from .tensors import FLOATS, Affine, Owner, Tensor

__all__ = ["dequantise_onnx"]


def dequantise_onnx(tensor: Tensor, affine: Affine, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What becomes of an integer tensor of ONNX, its scale and its zero point, by their names.

    Parameters
    ----------
    tensor : Tensor
    affine : Affine
        What its node says of scale and zero point.
    known : mapping of str to Tensor
        All of the model.

    Returns
    -------
    dict of str to Tensor
    """
    scale, zero = known.get(affine.scale), known.get(affine.zero)
    if tensor.owner is not None and tensor.owner.type == "onnx MatMulNBits":
        return _few_bits(tensor, tensor.owner, scale, zero)
    if scale is None or scale.dtype not in FLOATS or (affine.zero and zero is None):
        return {tensor.name: replace(tensor, skip=f"quantised: {tensor.dtype} whose scale is computed, not stored")}
    axis, block = affine.axis % max(len(tensor.shape), 1), affine.block

    def spread(array):
        if array.size == 1:
            return array.reshape(())
        if block:
            return np.repeat(array, block, axis=axis)
        return array.reshape([-1 if i == axis else 1 for i in range(len(tensor.shape))])

    def compute(arrays):
        q = arrays["weight"].astype(np.float32)
        if zero is not None:
            q -= spread(arrays["zero"].astype(np.float32))
        return (q * spread(as_float32(scale, arrays["scale"]))).reshape(tensor.shape)

    members = {"weight": tensor, "scale": scale} | ({"zero": zero} if zero is not None else {})
    whole = made_tensor(tensor.name, tensor.shape, f"{tensor.dtype} with ONNX's scales", members, compute, owner=tensor.owner)
    parts = [part for part in (scale, zero) if part is not None]
    return {tensor.name: whole} | {p.name: replace(p, skip=f"scale or zero point of {tensor.name}") for p in parts}


def _few_bits(tensor: Tensor, node: Owner, scale: Tensor | None, zero: Tensor | None) -> dict[str, Tensor]:
    """onnxruntime's MatMulNBits: rows of blocks, packed with the lowest bits first, as are their zero points."""
    options = node.options
    n_out, n_in, bits, block = (int(options.get(key) or 0) for key in ("N", "K", "bits", "block_size"))
    parts = [part for part in (scale, zero) if part is not None]
    count = -(-n_in // block) if block else 0
    fits = tensor.dtype == "uint8" and tensor.size * 8 == n_out * count * block * bits
    if (
        bits not in (2, 4, 8)
        or not fits
        or scale is None
        or scale.size != n_out * count
        or (zero is not None and zero.dtype != "uint8")
    ):
        reason = f"quantised: MatMulNBits of {bits} bits, {tensor.dtype} {tensor.shape} {UNREAD}"
        return {part.name: replace(part, skip=reason) for part in (tensor, *parts)}

    def unpacked(words):
        shifted = words[..., None] >> np.arange(0, 8, bits, dtype=np.uint8) & np.uint8(2**bits - 1)
        return shifted.reshape(*words.shape[:-1], -1).astype(np.float32)

    def compute(arrays):
        q = unpacked(arrays["weight"].reshape(n_out, -1)).reshape(n_out, count, block)
        middle = np.float32(2 ** (bits - 1))
        if zero is not None:
            middle = unpacked(arrays["zero"].reshape(n_out, -1))[:, :count, None]
        factor = as_float32(scale, arrays["scale"]).reshape(n_out, count, 1)
        return ((q - middle) * factor).reshape(n_out, -1)[:, :n_in]

    members = {"weight": tensor, "scale": scale} | ({"zero": zero} if zero is not None else {})
    owner = Owner("torch Linear", "weight", {}, node.ground)
    whole = made_tensor(tensor.name, (n_out, n_in), f"{bits} bits in ONNX", members, compute, owner=owner)
    return {tensor.name: whole} | {p.name: replace(p, skip=f"scale or zero point of {tensor.name}") for p in parts}
