"""What a reader hands on: named tensors, each with what its source tells of it, read when they are asked for."""

from __future__ import annotations

import importlib
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "FLOATS",
    "Affine",
    "Given",
    "Owner",
    "Skipped",
    "Tensor",
    "WeightsError",
    "as_floats",
    "called",
    "distinct",
    "natural",
    "read_floats",
    "read_stored",
    "require",
]

EXTRAS = {"torch": "learning", "h5py": "keras", "onnx": "onnx", "gguf": "gguf", "msgpack": "flax"}
FLOATS = ("float16", "bfloat16", "float32", "float64")


class WeightsError(ValueError):
    """A file, folder or object from which no weights can be read, or not safely."""


class Skipped(NamedTuple):
    """A tensor that gives no matrix, and why."""

    name: str
    shape: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Owner:
    """The layer or node to which a tensor belongs, where the source tells it.

    Attributes
    ----------
    type : str
        ``"torch Conv2d"``, ``"keras EinsumDense"``, ``"onnx MatMul"``.
    parameter : str
        Which of its tensors: ``"weight"``, ``"recurrent_kernel"``, for ONNX the place among its inputs.
    options : mapping
        Attributes of the layer that say how the tensor acts: groups, equation, gates.
    ground : str
        How the type is known, for people: ``"torch module Conv2d"``.
    """

    type: str
    parameter: str
    options: Mapping[str, Any] = field(default_factory=dict)
    ground: str = ""


@dataclass(frozen=True)
class Affine:
    """What makes numbers of integers, where the source tells it: ``scale * (integer - zero)``.

    Attributes
    ----------
    scale, zero : str
        Names of the tensors; no zero point if ``zero`` is empty.
    axis : int
        Along which a vector of scales runs.
    block : int
        How many entries along the axis share a scale; 0 if there is one scale for each index, or one in all.
    """

    scale: str
    zero: str = ""
    axis: int = 1
    block: int = 0


@dataclass(frozen=True)
class Tensor:
    """What a source says of a tensor before it is read.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dtype : str
        As numpy calls it, and ``bfloat16``, ``float8_e4m3`` and the like.
    read : callable or None
        Gives the stored array; bfloat16 and 8-bit floats as unsigned integers of their bits.
    layout : {"torch", "keras", "mlx"} or None
        How this kind of source stores arrays, if its kind is all that is known.
    owner : Owner or None
    affine : Affine or None
    members : tuple of str
        Names of the stored tensors of which this one is made; empty for one that is stored itself.
    made : str
        How it is made of them.
    skip : str or None
        Why it gives no matrix, if the reader knows.
    view : callable or None
        Gives the stored array in its place, in memory or mapped from a file, without reading it; None where there is no such way.
    copies : tuple of str
        Names of tensors that hold the same bytes.
    file : pathlib.Path or None
        The file that holds it, if it lies in one.
    part_of : mapping
        What the file says of a packed weight of which this is a part, if it does: torchao's type and sizes of blocks.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray] | None = None
    layout: str | None = None
    owner: Owner | None = None
    affine: Affine | None = None
    members: tuple[str, ...] = ()
    made: str = ""
    skip: str | None = None
    view: Callable[[], np.ndarray] | None = None
    copies: tuple[str, ...] = ()
    file: Path | None = None
    part_of: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


def read_stored(tensor: Tensor) -> np.ndarray:
    """The array as it is stored.

    Raises
    ------
    WeightsError
        If it cannot be read, whatever the reason.
    """
    if tensor.read is None:
        msg = f"tensor {tensor.name!r} cannot be read: {tensor.skip}"
        raise WeightsError(msg)
    try:
        array = tensor.read()
    except (Exception, MemoryError) as error:  # parsers of other people's formats promise no list of errors
        msg = f"tensor {tensor.name!r} could not be read: {str(error) or type(error).__name__}"
        raise WeightsError(msg) from error
    if array.shape != tensor.shape:
        msg = f"tensor {tensor.name!r} could not be read: it holds {array.shape}, not {tensor.shape}"
        raise WeightsError(msg)
    return array


def read_floats(tensor: Tensor) -> np.ndarray:
    """The tensor as an owned float32 or float64 array in native byte order."""
    return as_floats(read_stored(tensor), tensor.dtype)


def as_floats(array: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers from stored bits.

    Parameters
    ----------
    array : numpy.ndarray
        As stored.
    dtype : str
        What it stores: a name of `Tensor`.

    Returns
    -------
    numpy.ndarray
        float64 for float64, otherwise float32, which holds half precision and 8-bit floats exactly.
    """
    if dtype == "bfloat16" and array.dtype.kind in "uV":
        # The upper half of the bits of a float32.
        bits = array.view(np.uint16).astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    if dtype.startswith("float8_e4m3") and array.dtype.kind in "uV":
        return _small_floats(4, 3, "fn")[array.view(np.uint8)]
    if dtype.startswith("float8_e5m2") and array.dtype.kind in "uV":
        return _small_floats(5, 2, "")[array.view(np.uint8)]
    if dtype.startswith("float8_e8m0") and array.dtype.kind in "uV":
        # Powers of two without a sign; the last code is nan.
        bits = array.view(np.uint8)
        return np.where(bits == 255, np.float32(np.nan), np.ldexp(np.float32(1), bits.astype(np.int32) - 127))
    return array.astype(np.float64 if dtype == "float64" else np.float32, copy=False)


def _small_floats(exponent_bits: int, mantissa_bits: int, kind: str) -> np.ndarray:
    """The 256 values of an 8-bit float; those of kind "fn" have no infinity, and their last code alone is nan."""
    codes = np.arange(256)
    mantissa = codes % 2**mantissa_bits
    exponent = codes // 2**mantissa_bits % 2**exponent_bits
    bias = 2 ** (exponent_bits - 1) - 1
    fraction = np.where(exponent > 0, 2**mantissa_bits + mantissa, mantissa)
    values = np.ldexp(fraction.astype(np.float32), np.maximum(exponent, 1) - bias - mantissa_bits)
    last = exponent == 2**exponent_bits - 1
    if kind == "fn":
        values[last & (mantissa == 2**mantissa_bits - 1)] = np.nan
    else:
        values[last] = np.where(mantissa[last] == 0, np.inf, np.nan)
    return np.where(codes < 128, values, -values).astype(np.float32)


def called(source) -> str:
    """A source in the words of an error."""
    return str(source) if isinstance(source, str | os.PathLike) else f"an object of type {type(source).__name__}"


class Given:
    """Names that are given once, and not again: the next of the same name is called ``name'``, then ``name'2``, ``name'3``."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._given = set(names)
        self._count: Counter[str] = Counter()

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def give(self, name: str) -> str:
        """The name, or one like it that was not given yet."""
        unique = name
        while unique in self._given:
            self._count[name] += 1
            unique = f"{name}'{self._count[name] if self._count[name] > 1 else ''}"
        self._given.add(unique)
        return unique


def distinct(tensors: list[Tensor]) -> list[Tensor]:
    """Tensors of different names: of several of one name the first stays, and the others have a reason to be skipped."""
    given, seen, result = Given(tensor.name for tensor in tensors), set(), []
    for tensor in tensors:
        if tensor.name in seen:
            reason = f"another tensor has the name {tensor.name}, and comes before it: give it a name of its own"
            tensor = replace(tensor, name=given.give(tensor.name), skip=tensor.skip or reason)
        seen.add(tensor.name)
        result.append(tensor)
    return result


def natural(tensor: Tensor) -> list:
    """Sorts ``layer.2`` before ``layer.10``: files that sort by name lose the network's order."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", tensor.name)]


def require(module: str, path: Path):
    """An optional package, or the error that says how to do without."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        remedy = f'install it by pip install "rmtlib[{EXTRAS[module]}]", or save the weights as .safetensors or .npz'
        msg = f"reading {path} needs {module}, which cannot be imported; {remedy}"
        raise WeightsError(msg) from error
