"""What all rules for quantised weights share: a tensor whose numbers are computed from others when it is read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .tensors import Owner, Tensor, as_floats, read_stored

__all__ = ["UNREAD", "as_float32", "made_tensor"]

UNREAD = "(its layout is not among those that are read: dequantise it first)"


def made_tensor(name, shape, how, members: dict[str, Tensor], compute: Callable, owner: Owner | None = None) -> Tensor:
    def read():
        return compute({role: read_stored(tensor) for role, tensor in members.items()}).astype(np.float32, copy=False)

    names = tuple(tensor.name for tensor in members.values())
    return Tensor(name, tuple(shape), "float32", read, owner=owner, members=names, made=f"quantised, {how}")


def as_float32(tensor: Tensor, array: np.ndarray) -> np.ndarray:
    return as_floats(array, tensor.dtype).astype(np.float32, copy=False)
