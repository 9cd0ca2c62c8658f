"""Tensors of a ``.safetensors`` file, from its header."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import numpy as np

from .json_text import parsed
from .tensors import Tensor, WeightsError, natural

__all__ = ["read_safetensors"]

# numpy has no bfloat16 and no 8-bit floats, and safetensors' own numpy reader refuses them: their bits are read.
CODES = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "bool": "?"}
CODES |= {f"{sign}int{8 * n}": f"<{sign[:1] or 'i'}{n}" for sign in ("", "u") for n in (1, 2, 4, 8)}
CODES |= dict.fromkeys(("float8_e4m3", "float8_e5m2", "float8_e8m0"), "u1")
WORDS = {"BF": "bfloat", "F": "float", "I": "int", "U": "uint"}


def read_safetensors(path: Path) -> list[Tensor]:
    """All tensors of the file, none of them read yet."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        msg = f"{path} is not a whole safetensors file ({error}); download or write it again"
        raise WeightsError(msg) from error
    with open(path, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = parsed(file.read(start - 8), str(path), object_pairs_hook=lambda pairs: _once(path, pairs))
    told = header.pop("__metadata__", None)
    # MLX keeps the channels of its convolutions last.
    layout = "mlx" if isinstance(told, dict) and told.get("format") == "mlx" else None

    def view(shape, dtype, offset):
        return lambda: np.memmap(path, CODES[dtype], "r", start + offset, shape)

    def reader(shape, dtype, offset):
        def read():
            if dtype not in CODES:
                msg = f"dtype {dtype} is none that is read"
                raise WeightsError(msg)
            return np.fromfile(path, CODES[dtype], math.prod(shape), offset=start + offset).reshape(shape)

        return read

    tensors = []
    for name, entry in header.items():
        dtype = re.sub(r"^(BF|F|I|U)(?=\d)", lambda match: WORDS[match[0]], entry["dtype"]).lower()
        shape = tuple(entry["shape"])
        offset = entry["data_offsets"][0]
        seen = view(shape, dtype, offset) if dtype in CODES and math.prod(shape) else None
        part_of = _part_of(name, told) if isinstance(told, dict) else {}
        tensors.append(Tensor(name, shape, dtype, reader(shape, dtype, offset), layout, view=seen, part_of=part_of))
    return sorted(tensors, key=natural)


def _part_of(name: str, told: dict) -> dict:
    """What torchao says of the weight ``layer.weight`` of which ``layer._weight_qdata`` is a part."""
    match = re.fullmatch(r"(?P<layer>.*)\._(?P<parameter>\w+)_qdata", name, re.DOTALL)
    try:
        found = parsed(told[f"{match['layer']}.{match['parameter']}"], "it") if match else {}
    except (KeyError, TypeError, WeightsError):
        return {}
    return found if isinstance(found, dict) else {}


def _once(path: Path, pairs: list) -> dict:
    """An object of JSON whose keys are all different: of two tensors of one name, readers would take either."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        msg = f"{path} is not a whole safetensors file: it names {twice!r} twice; write it again"
        raise WeightsError(msg)
    return found
