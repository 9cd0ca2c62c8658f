"""Tensors of Keras' files and models; of files only the arrays are read, and the configuration as data."""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from .by_type import knows
from .json_text import GROWTH, parsed
from .limits import check_member
from .tensors import Owner, Tensor, WeightsError, natural, require

__all__ = ["read_hdf5", "read_keras_archive", "read_keras_model"]

NUMBERED = {  # what Keras 3 keeps as vars/0, vars/1, ... of a layer
    "Embedding": ("embeddings",),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "SimpleRNNCell"), ("kernel", "recurrent_kernel", "bias")),
    **{f"ConvLSTM{name}": ("kernel", "recurrent_kernel", "bias") for name in ("1D", "2D", "3D", "Cell")},
    **{f"SeparableConv{n}D": ("depthwise_kernel", "pointwise_kernel", "bias") for n in (1, 2)},
}
PARAMETERS = r"(depthwise_|pointwise_|recurrent_)?kernel|embeddings"
SNAKE = {}
OPTIONS = ("groups", "equation")


def _snake(name: str) -> str:
    """The name that Keras gives a layer of a class."""
    name = re.sub(r"\W+", "", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


for _name in ("Dense", "EinsumDense", "Embedding", "MultiHeadAttention", "GroupedQueryAttention"):
    SNAKE[_snake(_name)] = _name
for _name in ("Conv{}D", "Conv{}DTranspose", "DepthwiseConv{}D", "SeparableConv{}D", "ConvLSTM{}D"):
    SNAKE |= {_snake(_name.format(n)): _name.format(n) for n in (1, 2, 3)}
SNAKE["conv_lstm_cell"] = "ConvLSTMCell"
for _name in ("LSTM", "GRU", "SimpleRNN"):
    SNAKE |= {_snake(_name + cell): _name + cell for cell in ("", "Cell")}


def read_keras_archive(path: Path) -> list[Tensor]:
    """The weights of a ``.keras`` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            member, config = archive.getinfo("model.weights.h5"), {}
            check_member(path, member)
            if "config.json" in archive.namelist():
                check_member(path, archive.getinfo("config.json"), GROWTH)
                config = _config(archive.read("config.json"))
            with archive.open(member) as packed:
                # HDF5 seeks, which a member of an archive does slowly; the copy has no name and goes with its last reader.
                unpacked = tempfile.TemporaryFile()
                shutil.copyfileobj(packed, unpacked)
    except WeightsError:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        msg = f"{path} is not a whole .keras file with a model.weights.h5: {reason}"
        raise WeightsError(msg) from error
    return read_hdf5(path, unpacked, config)


def _config(text: bytes | str) -> dict[str, tuple[str, Mapping]]:
    """Class and options of every layer of a configuration by the layer's name; none if it cannot be read or names one twice."""
    try:
        found = list(_layers(parsed(text, "its configuration")))
    except WeightsError:
        return {}
    known: dict[str, tuple[str, Mapping]] = {}
    for name, type_, options in found:
        if known.setdefault(name, (type_, options)) != (type_, options):
            known[name] = ("", {})
    return known


def _layers(part) -> Iterator[tuple[str, str, dict]]:
    if isinstance(part, Mapping):
        type_, options = part.get("class_name"), part.get("config")
        if isinstance(type_, str) and isinstance(options, Mapping) and isinstance(options.get("name"), str):
            yield options["name"], type_, {key: options[key] for key in OPTIONS if key in options}
        part = list(part.values())
    if isinstance(part, list):
        for value in part:
            yield from _layers(value)


def read_hdf5(path: Path, content=None, config: Mapping | None = None) -> list[Tensor]:
    """The arrays of an HDF5 file of weights, in either of Keras' two ways to write one."""
    h5py = require("h5py", path)
    try:
        file = h5py.File(content or path, "r")
        if content is not None:
            weakref.finalize(file, content.close)
        datasets: dict = {}
        file.visititems(lambda key, found: datasets.setdefault(key, found) and None if isinstance(found, h5py.Dataset) else None)
        if config is None:
            told = file.attrs.get("model_config", "")
            config = _config(told) if isinstance(told, str | bytes) else {}
        tensors = [_dataset(file, key, dataset, config) for key, dataset in datasets.items()]
    except Exception as error:  # HDF5 meets damage with whatever its parts raise
        if content is not None:
            content.close()
        msg = f"{path} is not a whole HDF5 file: {str(error) or type(error).__name__}"
        raise WeightsError(msg) from error
    return sorted(tensors, key=natural)


def _dataset(file, key: str, dataset, config: Mapping) -> Tensor:
    group, _, last = key.rpartition("/")
    shape, dtype, skip = tuple(int(n) for n in dataset.shape or ()), dataset.dtype.name, None
    if dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2:
        dtype = "bfloat16"
    if dataset.external or dataset.is_virtual:
        skip = "its values lie in another file, which is not opened"
    elif re.match(r"_?optimizer", key):
        skip = "state of the optimizer"
    # Keras 1 named the kernel of fc1 "fc1_W_1:0".
    old = re.fullmatch(rf"{re.escape(group.rpartition('/')[2])}_(W|b)(_\d+)?:0", last)
    last = {"W": "kernel", "b": "bias"}[old[1]] if old else last
    names = _names(file, group)
    owner = None if skip else _owner(names, group, config)
    numbered = re.search(r"^(?!_?optimizer).*\bvars$", group) and last.isdigit()
    if numbered:
        last = _numbered(file[group], last, shape, owner)
    parameter = last.partition(":")[0]
    if owner is not None and not re.fullmatch(PARAMETERS, parameter):
        owner = None
    if owner is not None:
        owner = Owner(owner.type, parameter, owner.options, owner.ground)
    if owner is None and len(shape) == 3 and "einsum_dense" in group:
        skip = skip or "an EinsumDense kernel, whose equation this file does not tell: give the .keras file"
    name = "/".join([*names, last])
    return Tensor(name, shape, dtype, lambda: np.asarray(file[key][()]), "keras", owner=owner, skip=skip)


def _numbered(group, last: str, shape, owner: Owner | None) -> str:
    """The name of a variable that Keras 3 only numbered: 0 is the kernel, and a bias is a vector or has the kernel's outputs."""
    known = NUMBERED.get(owner.type.partition(" ")[2], ()) if owner else ()
    if int(last) < len(known):
        return known[int(last)]
    kernel = group["0"].shape if "0" in group else ()
    bias = len(kernel) > 1 and (len(shape) == 1 or last == "1" and shape == kernel[1:])
    return {"0": "kernel"}.get(last, "bias" if bias else last)


def _names(file, group: str) -> list[str]:
    """The layer names as the user gave them."""
    parts = group.split("/") if group else []
    if parts and parts[0] == "model_weights":
        layer, rest = parts[1], parts[2:]
        rest = rest[rest.index(layer) + 1 :] if layer in rest else rest
        return [layer, *rest]
    if not parts or parts[-1] != "vars" or re.match(r"_?optimizer", parts[0]):
        return parts
    names = []
    for i, part in enumerate(parts[:-1]):
        own = "/".join([*parts[: i + 1], "vars"])
        if own in file:
            part = file[own].attrs.get("name", part)
        if part != "layers":
            names.append(part.decode() if isinstance(part, bytes) else str(part))
    return names


def _owner(names: list[str], group: str, config: Mapping) -> Owner | None:
    """The innermost layer on the way to a variable whose class is known: by the configuration, or by the names of groups."""
    for name in reversed(names):
        type_, options = config.get(name, ("", {}))
        if knows(f"keras {type_}"):
            return Owner(f"keras {type_}", "", _checked(options), f"Keras configuration, {type_} {name!r}")
        if type_ and type_ not in ("TimeDistributed", "Bidirectional", "RNN"):
            return None
    for part in (*reversed(names), *reversed(group.split("/"))):
        type_ = SNAKE.get(re.sub(r"_\d+$", "", part)) or SNAKE.get(part)
        if type_ and type_ != "EinsumDense" and knows(f"keras {type_}") and ("/vars" in group or part in names):
            if "/vars" not in group and type_ in ("Dense", "MultiHeadAttention"):
                continue
            return Owner(f"keras {type_}", "", {}, f"Keras' group name {part!r}")
    return None


def _checked(options: Mapping) -> dict:
    """Options of a configuration that are what they should be."""
    groups, equation = options.get("groups"), options.get("equation")
    checked: dict = {"groups": groups} if isinstance(groups, int) and groups > 0 else {}
    return checked | ({"equation": equation} if isinstance(equation, str) else {})


def read_keras_model(model) -> list[Tensor]:
    """The variables of a live model, each with the class of its layer."""
    owners: dict = {}

    def visit(layer):
        parts = [part for part in getattr(layer, "_flatten_layers", lambda **_: ())(include_self=False, recursive=False)]
        parts = parts or list(getattr(layer, "layers", ()))
        for part in parts:
            visit(part)
        for variable in layer.weights:
            owners.setdefault(id(variable), layer)

    visit(model)
    return [_variable(model, variable, owners.get(id(variable))) for variable in model.weights]


def _variable(model, variable, layer) -> Tensor:
    name = (getattr(variable, "path", None) or variable.name).removeprefix(f"{model.name}/")
    dtype = str(getattr(variable.dtype, "name", variable.dtype))
    type_ = next((base.__name__ for base in type(layer).__mro__ if knows(f"keras {base.__name__}")), None)
    parameter, owner = name.rpartition("/")[2].partition(":")[0], None
    if type_ and re.fullmatch(PARAMETERS, parameter) and type(layer).__module__.partition(".")[0] in ("keras", "tf_keras"):
        options = {key: getattr(layer, key) for key in OPTIONS if hasattr(layer, key)}
        owner = Owner(f"keras {type_}", parameter, _checked(options), f"Keras layer {type_}")
    read = lambda: np.array(variable.numpy())  # noqa: E731
    return Tensor(name, tuple(variable.shape), dtype, read, "keras", owner=owner)
