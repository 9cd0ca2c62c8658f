"""Tied weights that a file stores twice: one layer, not two."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace

import numpy as np

from .by_name import kind_of_matrix
from .tensors import FLOATS, Tensor

__all__ = ["name_tied"]

# Embeddings and the layers that networks tie to them; only these are compared.
TIED = re.compile(
    r"(^|[._/])(wte|shared|embed_(tokens|in|out)|(tok|token|word|input|output|token_type)?_?(embd|embeddings?)|"
    r"lm_head|head|output(_layer|_projection)?|decoder|generator|predictions)(\.weight)?$"
)
BLOCK = 2**22  # bytes compared at a time


def name_tied(tensors: list[Tensor]) -> list[Tensor]:
    """Give each equal copy of an embedding a reason to be skipped, and the one that stays their names.

    Names, shapes and dtypes choose what is compared; bytes are compared block by block, up to the first that differs, so that
    only copies are read to their end, and nothing is held.

    Parameters
    ----------
    tensors : list of Tensor

    Returns
    -------
    list of Tensor
        In the same order. Of a source whose bytes cannot be seen in place nothing is compared.
    """
    alike = defaultdict(list)
    for tensor in tensors:
        if tensor.view is not None and not tensor.skip and tensor.size and len(tensor.shape) == 2 and tensor.dtype in FLOATS:
            if TIED.search(tensor.name):
                alike[tensor.shape, tensor.dtype].append(tensor)
    changed: dict[str, Tensor] = {}
    for group in alike.values():
        kept: dict[str, list[str]] = {}
        for tensor in sorted(group, key=lambda tensor: kind_of_matrix(tensor.name) != "embedding"):
            first = next((known for known in group if known.name in kept and _equal(known, tensor)), None)
            if first is None:
                kept[tensor.name] = []
            else:
                kept[first.name].append(tensor.name)
                changed[tensor.name] = replace(tensor, skip=f"equal to {first.name}, a tied weight that is stored twice")
        changed |= {tensor.name: replace(tensor, copies=tuple(kept[tensor.name])) for tensor in group if kept.get(tensor.name)}
    return [changed.get(tensor.name, tensor) for tensor in tensors]


def _equal(one: Tensor, other: Tensor) -> bool:
    try:
        left, right = one.view(), other.view()  # type: ignore[misc]
    except Exception:  # whoever reads them says why
        return False
    if left.nbytes != right.nbytes:
        return False
    left, right = (np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in (left, right))
    return all(np.array_equal(left[at : at + BLOCK], right[at : at + BLOCK]) for at in range(0, len(left), BLOCK))
