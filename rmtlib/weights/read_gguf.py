"""Tensors of a ``.gguf`` file of llama.cpp, dequantised by the package gguf."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .tensors import Tensor, WeightsError, natural, require

__all__ = ["read_gguf"]

PLAIN = {"F32": "float32", "F16": "float16", "F64": "float64", "BF16": "bfloat16"}
WHOLE = ("I8", "I16", "I32", "I64")


def read_gguf(path: Path) -> list[Tensor]:
    """All tensors of the file, ``(n_out, n_in)``: the format counts its axes the other way round."""
    gguf = require("gguf", path)
    _check_counts(path)
    try:
        reader = gguf.GGUFReader(path)
        return sorted((_tensor(gguf, found) for found in reader.tensors), key=natural)
    except Exception as error:  # the reader meets damage with whatever numpy raises
        msg = f"{path} is not a whole GGUF file: {str(error) or type(error).__name__}"
        raise WeightsError(msg) from error


def _check_counts(path: Path) -> None:
    """Refuse numbers of tensors and entries that the file has no room for: the reader would count them one by one."""
    with open(path, "rb") as file:
        header = file.read(24)
    counts = [int.from_bytes(header[start : start + 8], "little") for start in (8, 16)]
    if len(header) < 24 or sum(counts) * 12 > path.stat().st_size:
        msg = f"{path} is not a whole GGUF file: it claims {counts[0]} tensors and {counts[1]} entries"
        raise WeightsError(msg)


def _tensor(gguf, found) -> Tensor:
    kind, shape = found.tensor_type.name, tuple(int(n) for n in reversed(found.shape))
    if kind in WHOLE:
        return Tensor(found.name, shape, f"int{kind[1:]}", lambda: np.array(found.data).reshape(shape), "torch")
    if kind in PLAIN and kind != "BF16":
        return Tensor(found.name, shape, PLAIN[kind], lambda: np.array(found.data).reshape(shape), "torch")

    def read():
        return np.array(gguf.quants.dequantize(found.data, found.tensor_type), np.float32).reshape(shape)

    made = f"quantised, GGUF {kind}" if kind != "BF16" else ""
    return Tensor(found.name, shape, "float32", read, "torch", members=(found.name,) if made else (), made=made)
