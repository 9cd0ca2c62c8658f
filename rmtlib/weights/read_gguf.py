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
        return sorted((_tensor(gguf, found) for found in _reader(gguf)(path).tensors), key=natural)
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


def _reader(gguf):
    """The package's reader, which goes no further than the file, and keeps no object for each entry of an array."""
    types = gguf.GGUFValueType

    class Reader(gguf.GGUFReader):  # type: ignore[name-defined]
        def _get(self, offset, dtype, count=1, *order, **options):
            found = super()._get(offset, dtype, count, *order, **options)
            if len(found) < count:
                msg = f"it claims {count} entries at byte {offset} of {len(self.data)}"
                raise ValueError(msg)
            return found

        def _get_field_parts(self, orig_offs, raw_type):
            if raw_type != types.ARRAY:
                return super()._get_field_parts(orig_offs, raw_type)
            kind, length = self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)
            inner, start = types(int(kind[0])), orig_offs + 12
            if inner == types.ARRAY:
                msg = "it claims an array of arrays"
                raise ValueError(msg)
            if inner == types.STRING:
                end = start
                for _ in range(int(length[0])):
                    end += 8 + int(self._get(end, np.uint64)[0])
                found = self._get(start, np.uint8, end - start)
            else:
                found = self._get(start, self.gguf_scalar_to_np[inner], length[0])
            return 12 + found.nbytes, [kind, length, found], [2], [types.ARRAY, inner]

    return Reader


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
