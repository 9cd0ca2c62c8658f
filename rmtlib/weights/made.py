"""Tensors whose numbers are computed from those of others, when they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from .tensors import Owner, Tensor, as_floats, read_floats, read_stored

__all__ = ["UNREAD", "as_float32", "made_of_floats", "made_tensor", "replaced"]

UNREAD = "(its layout is not among those that are read: dequantise it first)"


def made_tensor(name, shape, how, members: dict[str, Tensor], compute: Callable, owner: Owner | None = None) -> Tensor:
    def read():
        return compute({role: read_stored(tensor) for role, tensor in members.items()}).astype(np.float32, copy=False)

    names = tuple(tensor.name for tensor in members.values())
    return Tensor(name, tuple(shape), "float32", read, owner=owner, members=names, made=f"quantised, {how}")


def as_float32(tensor: Tensor, array: np.ndarray) -> np.ndarray:
    return as_floats(array, tensor.dtype).astype(np.float32, copy=False)


def made_of_floats(
    members: Mapping[str, Tensor], name: str, shape, how: str, compute: Callable, owner: Owner | None = None
) -> Tensor:
    """A tensor computed from the numbers of its members, which are the arguments of ``compute`` by their keys."""
    dtype = "float64" if any(member.dtype == "float64" for member in members.values()) else "float32"

    def read():
        result = compute(**{role: read_floats(member) for role, member in members.items()})
        return np.ascontiguousarray(result, np.float64 if dtype == "float64" else np.float32)

    names = tuple(member.name for member in members.values())
    return Tensor(name, tuple(shape), dtype, read, owner=owner, members=names, made=how)


def replaced(tensors: list[Tensor], made: Mapping[str, Tensor], reasons: Mapping[str, str]) -> list[Tensor]:
    """Made tensors in the places of the members by whose names they are given; others are skipped for their reasons."""
    return [
        made[tensor.name]
        if tensor.name in made
        else replace(tensor, skip=tensor.skip or reasons[tensor.name])
        if tensor.name in reasons
        else tensor
        for tensor in tensors
    ]
