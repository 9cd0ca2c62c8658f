"""Tensors of TorchScript archives and exported programs: their arrays and shapes alone, and none of their code."""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .json_text import GROWTH, parsed
from .limits import check_member
from .nesting import check_nesting, entries
from .pickled import check_pickle
from .tensors import Tensor, WeightsError

__all__ = ["read_exported", "read_torchscript"]

# Names of torch's storages, and of its dtypes by their number in an exported program.
STORAGES = {"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16"}
STORAGES |= {"BFloat16Storage": "bfloat16"}
STORAGES |= {
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
}
STORAGES |= {"BoolStorage": "bool"}
NUMBERED = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64"}
NUMBERED |= {12: "bool", 13: "bfloat16"}


class _Stored(NamedTuple):
    """Where a tensor lies in an archive."""

    dtype: str
    member: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Object:
    """Stands for any object of the program: a bag of what it holds."""

    def __init__(self, *parts):
        self.state = {str(i): part for i, part in enumerate(parts)}

    def __setstate__(self, state):
        self.state = state if isinstance(state, dict) else {"state": state}


class _Reader(pickle._Unpickler):  # noqa: SLF001
    """An unpickler that makes containers and places of tensors alone: the one in Python, whose memory damage cannot fill."""

    def find_class(self, module, name):
        if module.split(".")[0] == "__torch__" or (module, name) == ("torch.jit._pickle", "restore_type_tag"):
            return _Object if module.startswith("__torch__") else lambda value, *_: value
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Stored(*storage, int(offset), _whole(shape), _whole(strides))  # type: ignore[call-arg]
        if (module, name) == ("torch._utils", "_rebuild_qtensor"):
            return lambda storage, offset, shape, *_: _Stored("quantised", "", 0, _whole(shape), ())
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle":
            return lambda value, *_: value
        return _Object

    def persistent_load(self, pid):
        _, dtype, member, *_ = pid
        return dtype, str(member)


def _whole(numbers) -> tuple[int, ...]:
    return tuple(int(n) for n in numbers)


def read_torchscript(path: Path) -> list[Tensor]:
    """The tensors of a TorchScript archive by the names of the modules that hold them."""
    try:
        with zipfile.ZipFile(path) as archive:
            [pickled] = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
            check_member(path, archive.getinfo(pickled))
            root, content = pickled.partition("/")[0], archive.read(pickled)
        check_pickle(path, io.BytesIO(content))
        whole = _Reader(io.BytesIO(content)).load()
        check_nesting(whole, str(path), _inside)
        found = list(_walk(whole, ""))
    except WeightsError:
        raise
    except Exception as error:  # whatever bytes a pickle holds
        msg = f"{path} is not a whole TorchScript archive: {str(error) or type(error).__name__}"
        raise WeightsError(msg) from error
    tensors: list[Tensor] = []
    seen: dict[tuple, str] = {}
    for name, stored in found:
        first = seen.setdefault((stored.member, stored.offset, stored.shape, stored.strides), name)
        skip = f"the same values as {first}, to which it is tied" if first != name and len(stored.shape) > 1 else None
        if stored.dtype == "quantised":
            skip = "quantised by torch: export the network before it was quantised"
        tensors.append(Tensor(name, stored.shape, stored.dtype, _reader(path, f"{root}/data/{stored.member}", stored), skip=skip))
    return tensors


def _inside(value) -> Iterable | None:
    return None if isinstance(value, _Stored) else entries(value.state if isinstance(value, _Object) else value)


def _walk(value, name: str) -> Iterator[tuple[str, _Stored]]:
    if isinstance(value, _Stored):
        yield name, value
        return
    value = value.state if isinstance(value, _Object) else value
    if isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _walk(part, f"{name}.{key}".lstrip("."))


def read_exported(path: Path) -> list[Tensor]:
    """The weights of a program of ``torch.export``, as its configuration lists them."""
    try:
        with zipfile.ZipFile(path) as archive:
            [listed] = [name for name in archive.namelist() if name.endswith("/data/weights/model_weights_config.json")]
            check_member(path, archive.getinfo(listed), GROWTH)
            config, folder = parsed(archive.read(listed), "its list of weights")["config"], listed.rpartition("/")[0]
        return [_exported(path, folder, name, entry) for name, entry in config.items()]
    except Exception as error:
        msg = f"{path} is not a whole exported program: {str(error) or type(error).__name__}"
        raise WeightsError(msg) from error


def _exported(path: Path, folder: str, name: str, entry: dict) -> Tensor:
    told = entry["tensor_meta"]
    shape, strides = ([int(n["as_int"]) for n in told[key]] for key in ("sizes", "strides"))
    dtype = NUMBERED.get(told["dtype"], f"number {told['dtype']}")
    member = f"{folder}/{entry['path_name']}"
    stored = _Stored(dtype, member, int(told["storage_offset"]["as_int"]), tuple(shape), tuple(strides))
    skip = "pickled, which is not opened in an exported program" if entry.get("use_pickle") else None
    return Tensor(name, stored.shape, dtype, _reader(path, member, stored), skip=skip)


def _reader(path: Path, member: str, stored: _Stored):
    """Reads one member of an archive, and lays the tensor out in it."""

    def read():
        code = "<u2" if stored.dtype == "bfloat16" else np.dtype(stored.dtype).newbyteorder("<")
        with zipfile.ZipFile(path) as archive:
            check_member(path, archive.getinfo(member))
            flat = np.frombuffer(archive.read(member), code)
        if len(stored.strides) != len(stored.shape) or min((*stored.shape, *stored.strides, stored.offset)) < 0:
            msg = "its shape and strides do not go together"
            raise WeightsError(msg)
        last = stored.offset + sum((n - 1) * step for n, step in zip(stored.shape, stored.strides, strict=True))
        if math.prod(stored.shape) and last >= len(flat):
            msg = f"it ends at entry {last} of {len(flat)}"
            raise WeightsError(msg)
        strides = [step * flat.itemsize for step in stored.strides]
        return np.array(np.lib.stride_tricks.as_strided(flat[stored.offset :], stored.shape, strides))

    return read
