"""Where changed weights go: a copy of the source, in its own format, with some of its tensors replaced.

Names, shapes, dtypes and order stay what they were. The source is never written to, and a file appears whole or not at all.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from ..files import atomic_file, check_output
from .tensors import Tensor, WeightsError, called

__all__ = ["open_sink", "stored_bits"]

Changes = Iterable[tuple[Tensor, np.ndarray]]


def open_sink(source, output) -> Callable[[Changes], Path | dict]:
    """Check source and output, and return the function that stores changed tensors and returns the copy."""
    if isinstance(source, str | os.PathLike):
        return functools.partial(_write_file, Path(source), _output_path(Path(source), output))
    if hasattr(source, "state_dict") and not hasattr(source, "weights_file"):
        source = source.state_dict()
    if not isinstance(source, Mapping):
        expected = "the path of a .safetensors file, a mapping of arrays, a state dict or a torch module"
        msg = f"model_or_weights must be {expected}; got {called(source)}"
        raise WeightsError(msg)
    if inner := [str(key) for key, value in source.items() if isinstance(value, Mapping)]:
        msg = f"model_or_weights must be a flat mapping of arrays; {inner[0]!r} holds a dictionary, give that one"
        raise WeightsError(msg)
    if output is not None:
        msg = f"output is for files alone; {called(source)} comes back as a mapping, so leave it out"
        raise WeightsError(msg)
    return functools.partial(_copy_mapping, source)


def _output_path(source: Path, output) -> Path:
    if not source.is_file() or source.suffix.lower() != ".safetensors":
        remedy = "load another one, and give the mapping of its tensors"
        msg = f"model_or_weights must be a .safetensors file that exists; got {source}: {remedy}"
        raise WeightsError(msg)
    if not isinstance(output, str | os.PathLike):
        msg = f"output must be the path of the new .safetensors file; got {output!r}"
        raise WeightsError(msg)
    output = Path(output)
    if output.suffix.lower() != ".safetensors" or os.path.isdir(output) or not os.path.isdir(output.parent):
        msg = f"output must be a .safetensors file in a folder that exists; got {output}"
        raise WeightsError(msg)
    check_output(output, "output")
    # The same path, or another name of the same file: a link of either kind.
    if output.resolve() == source.resolve() or (output.exists() and output.samefile(source)):
        msg = f"output must not be the input, which is never overwritten; {output} is {source}"
        raise WeightsError(msg)
    return output


def _write_file(source: Path, output: Path, changes: Changes) -> Path:
    # Nothing but the bytes of changed tensors differs, which have the size that they had: header and metadata stay valid.
    with atomic_file(output) as part, open(source, "rb") as old, open(part, "xb") as new:
        shutil.copyfileobj(old, new, 2**24)
        old.seek(0)
        length = int.from_bytes(old.read(8), "little")
        header = json.loads(old.read(length))
        for tensor, array in changes:
            for name in (tensor.name, *tensor.copies):
                # A run's tensors lose this word when they are read.
                entry = header.get(name) or header[f"trained.{name}"]
                new.seek(8 + length + entry["data_offsets"][0])
                new.write(stored_bits(array, tensor).tobytes())
    return output


def stored_bits(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    """The array as a file stores its dtype."""
    if tensor.dtype != "bfloat16":
        code = {"float64": "<f8", "float32": "<f4", "float16": "<f2"}[tensor.dtype]
        return _converted(array, np.dtype(code), tensor.name)
    # The upper half of a float32, rounded to nearest, ties to even; numpy has no bfloat16.
    bits = array.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    _require_finite(((rounded & 0x7F80) != 0x7F80).all(), tensor.name, tensor.dtype)
    return rounded.astype("<u2")


def _copy_mapping(source: Mapping, changes: Changes) -> dict:
    keys = {str(key): key for key in reversed(list(source))}  # of two with the same string the first is read
    replaced = {keys[name]: array for tensor, array in changes for name in (tensor.name, *tensor.copies)}
    # copied: torch keeps versions of its modules in an attribute of the state dict
    result, known = copy.copy(source) if isinstance(source, dict) else dict(source), {}
    for key, value in source.items():
        if hasattr(value, "detach"):
            tensor = value.detach()
            storage = (str(tensor.device), tensor.data_ptr(), tuple(tensor.shape), tensor.stride()) if _dense(tensor) else key
            if storage not in known:
                known[storage] = _new_tensor(tensor, replaced[key], key) if key in replaced else tensor.clone()
            result[key] = known[storage]
        elif key in replaced:
            result[key] = _converted(replaced[key], value.dtype, key)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _dense(tensor) -> bool:
    return tensor.numel() > 0 and not tensor.is_meta and str(tensor.layout) == "torch.strided"


def _new_tensor(tensor, array, name):
    new = tensor.new_tensor(array)
    _require_finite(bool(new.isfinite().all()), name, tensor.dtype)
    return new


def _converted(array, dtype, name):
    with np.errstate(over="ignore"):
        result = array.astype(dtype)
    _require_finite(np.isfinite(result).all(), name, dtype)
    return result


def _require_finite(finite, name, dtype) -> None:
    if not finite:
        msg = f"the filtered weights of {name!r} are too large for {dtype}; convert the network to float32 first"
        raise WeightsError(msg)
