"""Arrays of a ``.msgpack`` file of Flax."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .read_numpy import choose, read_arrays
from .tensors import Tensor, WeightsError, require

__all__ = ["Packed", "read_flax"]

ARRAY, SCALAR = 1, 3
CHUNKED = "__msgpack_chunked_array__"


class Packed:
    """An array as it lies in the file: its bits, not read yet."""

    def __init__(self, shape, dtype, data):
        self.shape, self.dtype, self.data = tuple(int(n) for n in shape), str(dtype), data
        width = 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize
        if np.dtype("u2" if self.dtype == "bfloat16" else self.dtype).hasobject or width * math.prod(self.shape) != len(data):
            msg = f"an array of {self.shape} {self.dtype} has {len(data)} bytes"
            raise ValueError(msg)

    def __array__(self, dtype=None, copy=None):
        code = "<u2" if self.dtype == "bfloat16" else np.dtype(self.dtype).newbyteorder("<")
        return np.array(np.frombuffer(self.data, code).reshape(self.shape), dtype, copy=copy)


def read_flax(path: Path) -> list[Tensor]:
    """The parameters of a saved state; the file is held in memory whole."""
    msgpack = require("msgpack", path)

    def unpack(code, data):
        if code not in (ARRAY, SCALAR):
            return None
        shape, dtype, content = msgpack.unpackb(data, raw=False, strict_map_key=False)
        return Packed(shape, dtype, content)

    try:
        content = _joined(msgpack.unpackb(path.read_bytes(), ext_hook=unpack, raw=False, strict_map_key=False))
        if not isinstance(content, Mapping):
            msg = f"it holds a {type(content).__name__}, not a dictionary"
            raise ValueError(msg)
        return read_arrays(choose(content)[1])
    except Exception as error:
        msg = f"{path} is not a whole Flax file: {str(error) or type(error).__name__}"
        raise WeightsError(msg) from error


def _joined(value):
    """Arrays of more than a gigabyte are written in chunks."""
    if not isinstance(value, Mapping):
        return value
    if CHUNKED not in value:
        return {key: _joined(part) for key, part in value.items()}
    chunks = [part for _, part in sorted(value["chunks"].items(), key=lambda item: int(item[0]))]
    shape = [int(n) for _, n in sorted(value["shape"].items(), key=lambda item: int(item[0]))]
    return Packed(shape, chunks[0].dtype, b"".join(chunk.data for chunk in chunks))
