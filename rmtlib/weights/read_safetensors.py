"""Tensors of a ``.safetensors`` file, from its header."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from .tensors import Tensor, WeightsError, natural


def read_safetensors(path: Path) -> list[Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}); download or write it again") from error
    with open(path, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
    header.pop("__metadata__", None)

    def reader(shape, dtype, offset):
        # numpy has no bfloat16, and safetensors' own numpy reader refuses it: read its bits.
        code = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}.get(dtype)
        return lambda: np.fromfile(path, code, int(np.prod(shape)), offset=start + offset).reshape(shape)

    words = {"BF": "bfloat", "F": "float", "I": "int", "U": "uint"}
    tensors = []
    for name, entry in header.items():
        dtype = re.sub(r"^(BF|F|I|U)(?=\d)", lambda match: words[match[0]], entry["dtype"]).lower()
        tensors.append(Tensor(name, tuple(entry["shape"]), dtype, reader(entry["shape"], dtype, entry["data_offsets"][0])))
    return sorted(tensors, key=natural)
