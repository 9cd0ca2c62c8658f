"""Tensors of ``.npz`` and ``.npy`` files and of arrays in memory."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .limits import check_member
from .tensors import Tensor, WeightsError

__all__ = ["choose", "is_array", "nested", "read_arrays", "read_npy", "read_npz"]

WHOLE = ("state_dict", "model_state_dict", "params")
USUAL = ("model", "model_state", "module", "net", "network", "weights")
PARAMETERS = {"weight", "bias", "kernel", "scale", "embedding", "w", "b"}
BESIDE = re.compile(
    r"_?(optim|opt_|lr_|sched|scaler|rng|amp|loss|callback|loop|hyper|metric|batch_stats)|(.*_)?ema(_|$)", re.IGNORECASE
)


def read_npz(path: Path) -> list[Tensor]:
    """All arrays of the archive, from their headers."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [_member(path, archive, member) for member in archive.infolist() if not member.is_dir()]
    except Exception as error:  # zipfile and numpy's parser of headers have many ways to find damage
        msg = f"{path} is not a whole .npz file of arrays: {str(error) or type(error).__name__}"
        raise WeightsError(msg) from error


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Tensor:
    check_member(path, member)
    with archive.open(member) as file:
        shape, dtype = _header(file)

    def read():
        with zipfile.ZipFile(path) as again, again.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    name, skip = _dtype(dtype)
    return Tensor(member.filename.removesuffix(".npy"), shape, name, read, skip=skip)


def read_npy(path: Path) -> list[Tensor]:
    """The one array of a file, named like it."""
    try:
        with open(path, "rb") as file:
            shape, dtype = _header(file)
    except Exception as error:
        msg = f"{path} is not a whole .npy file: {str(error) or type(error).__name__}"
        raise WeightsError(msg) from error

    def read():
        with open(path, "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    name, skip = _dtype(dtype)
    return [Tensor(path.stem, shape, name, read, skip=skip)]


def _header(file) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    return shape, dtype


def _dtype(dtype: np.dtype) -> tuple[str, str | None]:
    """numpy's name, and the reason to skip arrays of it; bfloat16 of other packages is stored as two bytes without a type."""
    if dtype.hasobject:
        return dtype.name, "pickled Python objects, which are never opened"
    if dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None and dtype.subdtype is None:
        return "bfloat16", None
    return dtype.name, None


def is_array(value) -> bool:
    """Whether a value is an array of numpy or a tensor of torch, neither of which is imported for it."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def nested(content, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Arrays anywhere in dictionaries and lists, with dotted names."""
    for key, value in content.items() if isinstance(content, Mapping) else enumerate(content):
        if is_array(value):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping | list | tuple):
            yield from nested(value, f"{prefix}{key}.")


def choose(content: Mapping) -> tuple[str, Mapping]:
    """The dictionary of a checkpoint that holds its weights.

    Parameters
    ----------
    content : mapping
        Weights by name, or a checkpoint that keeps them under one of the usual keys, at any depth.

    Returns
    -------
    key : str
        The last key on the way, empty if it is the content itself.
    weights : mapping
    """
    chosen = ""
    while True:
        holders = [key for key, value in content.items() if isinstance(value, Mapping) and next(nested(value), None) is not None]
        others = [key for key in holders if not BESIDE.match(str(key))]
        whole = [key for key in WHOLE if key in others]
        alone = len(others) == 1 and not any(is_array(value) and value.shape for value in content.values())
        usual = [key for key in USUAL if others == [key]]
        # The name of a layer is worth keeping: what holds a kernel is one layer, not the network.
        layer = alone and not whole and PARAMETERS & {str(key) for key in content[others[0]]}
        if not (whole or usual or alone) or layer and not usual:
            return chosen, content
        chosen = (whole or usual or others)[0]
        content = content[chosen]


def read_arrays(arrays: Mapping) -> list[Tensor]:
    """All arrays of a mapping, at any depth; what of it is no array is listed as well."""
    tensors: list[Tensor] = []
    storages: dict = {}
    for key, value in arrays.items():
        if is_array(value):
            tensors.append(_array(str(key), value, storages))
        elif isinstance(value, Mapping | list | tuple) and (inner := list(nested(value, f"{key}."))):
            tensors += [_array(name, array, storages) for name, array in inner]
        else:
            tensors.append(Tensor(str(key), (), "", skip=f"not a tensor but of type {type(value).__name__}"))
    return tensors


def _array(name: str, value, storages: dict) -> Tensor:
    shape = tuple(int(n) for n in value.shape)
    if not hasattr(value, "detach"):
        if isinstance(value, np.ndarray | np.generic):
            dtype, skip = _dtype(value.dtype)
            if isinstance(value, np.ma.MaskedArray):
                skip = "a masked array, some of whose entries do not count: fill them first"
        else:
            dtype, skip = str(getattr(value.dtype, "name", value.dtype)), None
        view = (lambda: value) if isinstance(value, np.ndarray) else None
        # Copied here: not every type copies where numpy asks it to.
        return Tensor(name, shape, dtype, lambda: np.array(np.asarray(value)), skip=skip, view=view)
    skip = _torch_reason(name, value, storages)
    view = None if skip else lambda: _torch_bits(value)
    return Tensor(name, shape, _torch_dtype(value), lambda: _torch_array(value), skip=skip, view=view)


def _torch_dtype(value) -> str:
    return "float32" if getattr(value, "is_quantized", False) else str(value.dtype).removeprefix("torch.")


def _torch_array(value) -> np.ndarray:
    """A copy of a tensor of torch, with the bits of types that numpy does not have."""
    tensor = value.detach().cpu().resolve_neg().resolve_conj()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    name = str(tensor.dtype)
    if name == "torch.bfloat16":
        return np.array(tensor.float().numpy())
    if name.startswith("torch.float8"):
        import torch

        return np.array(tensor.contiguous().view(torch.uint8).numpy())
    return np.array(tensor.numpy())


def _torch_bits(value) -> np.ndarray:
    """The memory of a tensor of torch, bfloat16 as its bits."""
    import torch

    tensor = value.detach().cpu().resolve_neg().resolve_conj()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _torch_reason(name: str, value, storages: dict) -> str | None:
    if type(value).__name__ in ("DTensor", "ShardedTensor"):
        return f"a {type(value).__name__}, spread over processes: gather it with full_tensor(), or save a full state dict"
    if getattr(value, "ds_shape", None) is not None:
        return "spread over processes by DeepSpeed's ZeRO-3: gather it with deepspeed.zero.GatheredParameters"
    if value.is_meta:
        return "on the meta device: it has a shape but no values"
    if str(value.layout) != "torch.strided":
        return f"sparse layout {value.layout}"
    if value.ndim > 1 and value.numel() and not getattr(value, "is_quantized", False):
        storage = (str(value.device), value.data_ptr(), tuple(value.shape), value.stride())
        first = storages.setdefault(storage, name)
        return f"the same values as {first}, to which it is tied" if first != name else None
    return None
