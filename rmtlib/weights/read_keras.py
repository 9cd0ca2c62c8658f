"""Tensors of Keras' files and models; of files only the arrays are read."""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
import zipfile
import zlib
from pathlib import Path

import numpy as np

from .tensors import Tensor, WeightsError, natural, require


def read_keras_archive(path: Path) -> list[Tensor]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as packed:
            # HDF5 seeks, which a member of an archive does slowly; the copy has no name and goes with its last reader.
            unpacked = tempfile.TemporaryFile()
            shutil.copyfileobj(packed, unpacked)
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise WeightsError(f"{path} is not a whole .keras file with a model.weights.h5: {error}") from error
    return read_hdf5(path, unpacked)


def read_hdf5(path: Path, content=None) -> list[Tensor]:
    h5py = require("h5py", path)
    try:
        file = h5py.File(content or path, "r")
    except OSError as error:
        if content is not None:
            content.close()
        raise WeightsError(f"{path} is not a whole HDF5 file: {error}") from error
    if content is not None:
        weakref.finalize(file, content.close)
    tensors = []

    def visit(key, dataset):
        if not isinstance(dataset, h5py.Dataset):
            return
        group, _, last = key.rpartition("/")
        shape, dtype, skip = tuple(dataset.shape or ()), dataset.dtype.name, None
        if dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2:
            dtype = "bfloat16"
        if dataset.external or dataset.is_virtual:
            skip = "its values lie in another file, which is not opened"
        elif key.startswith("optimizer"):
            skip = "state of the optimizer"
        # Keras 1 named the kernel of fc1 "fc1_W_1:0".
        old = re.fullmatch(rf"{re.escape(group.rpartition('/')[2])}_(W|b)(_\d+)?:0", last)
        last = {"W": "kernel", "b": "bias"}[old[1]] if old else last
        name = f"{_keras_name(file, group)}/{last}".lstrip("/")
        if re.search(r"^(?!optimizer).*\bvars$", group) and last.isdigit():
            # Numbered, not named: 0 is the kernel, and a bias is a vector or has the kernel's shape without its inputs.
            kernel = file[group]["0"].shape if "0" in file[group] else ()
            bias = len(kernel) > 1 and (len(shape) == 1 or last == "1" and shape == kernel[1:])
            name = name.removesuffix(f"/{last}") + {"0": "/kernel"}.get(last, "/bias" if bias else f"/{last}")
        embedding = "embedding" if re.search(r"embedding(_\d+)?/vars/0$|/embeddings(:0)?$", key) and len(shape) == 2 else None
        tensors.append(
            Tensor(
                *(name, shape, dtype, lambda: file[key][()], "keras", embedding),
                transposed="conv" in key and "transpose" in key,
                depthwise="depthwise" in key and last != "pointwise_kernel",
                skip=skip,
            )
        )

    file.visititems(visit)
    return sorted(tensors, key=natural)


def _keras_name(file, group: str) -> str:
    """The layer names as the user gave them, from either of Keras' two ways to write HDF5."""
    parts = group.split("/")
    if parts[0] == "model_weights":
        layer, rest = parts[1], parts[2:]
        rest = rest[rest.index(layer) + 1 :] if layer in rest else rest
        return "/".join([layer, *rest])
    if parts[-1] != "vars" or parts[0] == "optimizer":
        return group
    names = []
    for i, part in enumerate(parts[:-1]):
        own = "/".join([*parts[: i + 1], "vars"])
        if own in file:
            part = file[own].attrs.get("name", part)
        if part != "layers":
            names.append(part.decode() if isinstance(part, bytes) else str(part))
    return "/".join(names)


def read_keras_model(model) -> list[Tensor]:
    owners = {}

    def visit(layer):
        for part in getattr(layer, "layers", ()):
            visit(part)
        for variable in () if getattr(layer, "layers", ()) else layer.weights:
            owners[id(variable)] = layer

    visit(model)
    tensors = []
    for variable in model.weights:
        owner = owners.get(id(variable))
        kind = type(owner).__name__
        name = (getattr(variable, "path", None) or variable.name).removeprefix(f"{model.name}/")
        tensors.append(
            Tensor(
                name,
                tuple(variable.shape),
                getattr(variable.dtype, "name", str(variable.dtype)),
                lambda variable=variable: np.array(variable.numpy()),
                "keras",
                "embedding" if kind == "Embedding" and len(variable.shape) == 2 else None,
                groups=getattr(owner, "groups", 1) if len(variable.shape) > 2 else 1,
                transposed="Conv" in kind and "Transpose" in kind,
                depthwise=kind.startswith("Depthwise") or "depthwise_kernel" in name,
            )
        )
    return tensors
