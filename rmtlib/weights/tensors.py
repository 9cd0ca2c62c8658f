"""What a reader hands on: named tensors that are read when they are asked for."""

from __future__ import annotations

import importlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np


class WeightsError(ValueError):
    """A file, folder or object from which no weights can be read, or not safely."""


class Skipped(NamedTuple):
    """A tensor that gives no matrix, and why."""

    name: str
    shape: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Tensor:
    """What a source says of a tensor before it is read; None where it does not know."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray] | None = None
    layout: str | None = None
    kind: str | None = None
    groups: int = 1
    transposed: bool = False
    depthwise: bool = False
    skip: str | None = None


def read_tensor(tensor: Tensor) -> np.ndarray:
    """The tensor as an owned float32 or float64 array in native byte order."""
    try:
        array = tensor.read()
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"tensor {tensor.name!r} could not be read: {error}") from error
    if array.dtype.kind in "uV":
        # bfloat16 as it is stored: the upper half of the bits of a float32.
        bits = array.view(np.uint16).astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    return array.astype(np.float64 if tensor.dtype == "float64" else np.float32, copy=False)


def called(source) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else f"an object of type {type(source).__name__}"


def json_object(path: Path) -> dict:
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise WeightsError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(record, dict):
        raise WeightsError(f"{path} must hold a JSON object")
    return record


def natural(tensor: Tensor) -> list:
    """Sorts ``layer.2`` before ``layer.10``: files that sort by name lose the network's order."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", tensor.name)]


def require(module: str, path: Path):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        remedy = f"install {module}, or save the weights as .safetensors or .npz"
        raise WeightsError(f"reading {path} needs {module}, which cannot be imported; {remedy}") from error
