"""Tensors of a ``.npz`` file and of arrays in memory."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .tensors import Tensor, WeightsError


def read_npz(path: Path) -> list[Tensor]:
    def reader(member):
        def read():
            with zipfile.ZipFile(path) as archive, archive.open(member) as file:
                return np.lib.format.read_array(file, allow_pickle=False)

        return read

    tensors = []
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    version = np.lib.format.read_magic(file)
                    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                    shape, _, dtype = header(file)
                skip = "pickled Python objects, which are never opened" if dtype.hasobject else None
                tensors.append(Tensor(member.removesuffix(".npy"), shape, dtype.name, reader(member), skip=skip))
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, zlib.error) as error:
        raise WeightsError(f"{path} is not a whole .npz file of arrays: {error}") from error
    return tensors


def read_arrays(arrays: Mapping) -> list[Tensor]:
    """Tensors in memory: numpy arrays or torch tensors, neither of which is imported for it."""

    def reader(value):
        def read():
            if not hasattr(value, "detach"):
                return np.array(value)
            tensor = value.detach().cpu()
            return np.array((tensor.float() if dtype_name(value) == "bfloat16" else tensor).numpy())

        return read

    def dtype_name(value):
        return str(value.dtype).removeprefix("torch.")

    tensors, storages = [], {}
    for key, value in arrays.items():
        name, skip = str(key), None
        if not hasattr(value, "shape") or not hasattr(value, "dtype"):
            tensors.append(Tensor(name, (), "", skip=f"not a tensor but of type {type(value).__name__}"))
            continue
        if hasattr(value, "detach"):
            if value.is_meta:
                skip = "on the meta device: it has a shape but no values"
            elif str(value.layout) != "torch.strided":
                skip = f"sparse layout {value.layout}"
            elif value.ndim > 1 and value.numel():
                storage = (str(value.device), value.data_ptr(), tuple(value.shape), value.stride())
                first = storages.setdefault(storage, name)
                skip = f"the same values as {first}, to which it is tied" if first != name else None
        tensors.append(Tensor(name, tuple(value.shape), dtype_name(value), reader(value), skip=skip))
    return tensors
