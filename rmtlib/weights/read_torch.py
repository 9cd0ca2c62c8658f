"""Tensors of torch's files and modules; pickles are opened by torch's loader of tensors alone."""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from .by_type import knows
from .limits import check_archive, check_member, member_names
from .nesting import check_nesting
from .pickled import check_pickle
from .read_numpy import choose, nested, read_arrays
from .read_torchscript import read_exported, read_torchscript
from .tensors import Owner, Tensor, WeightsError, called, require

__all__ = ["read_module", "read_torch"]

REMEDY = "where it was made, write its weights alone: safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
LEGACY = 5  # pickles at the start of a file of torch before 1.6: a number, a version, a system, the content, names of storages
TORCHAO = (
    "where it was made, write torchao's tensors into safetensors: model.save_pretrained of transformers does, or "
    "tensors, told = torchao.prototype.safetensors.safetensors_support.flatten_tensor_state_dict(model.state_dict()), then "
    "safetensors.torch.save_file(tensors, 'model.safetensors', told)"
)
OWNERS = {  # which tensors of a module its type speaks for
    "MultiheadAttention": r"in_proj_weight|[qkv]_proj_weight",
    **dict.fromkeys(("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"), r"weight_(ih|hh|hr)(_l\d+)?(_reverse)?"),
}


def read_torch(path: Path) -> list[Tensor]:
    """The weights in a checkpoint, a TorchScript archive or an exported program; the rest of it is listed as skipped."""
    members = member_names(path)
    if any(re.match(r"[^/]+/code/", name) for name in members):
        return read_torchscript(path)
    if any(name.endswith("weights/model_weights_config.json") for name in members):
        return read_exported(path)
    content = _load(path, members)
    if hasattr(content, "detach"):
        return read_arrays({path.stem: content})
    check_nesting(content, str(path))
    if not isinstance(content, Mapping):
        msg = f"{path} holds a {type(content).__name__}, not a dictionary of tensors; {REMEDY}"
        raise WeightsError(msg)
    chosen, weights = choose(content)
    if next(nested(weights), None) is None:
        msg = f"{path} holds no dictionary of tensors; {REMEDY}"
        raise WeightsError(msg)
    tensors = read_arrays(weights)
    others = [(name, array) for name, array in nested(_without(content, weights)) if chosen]
    return tensors + [Tensor(n, tuple(a.shape), "", skip=f"not in the checkpoint's {chosen!r}") for n, a in others]


def _without(content: Mapping, weights: Mapping) -> dict:
    """A checkpoint without the dictionary that was chosen."""
    return {
        str(key): _without(value, weights) if isinstance(value, Mapping) else value
        for key, value in content.items()
        if value is not weights
    }


def _load(path: Path, members: list[str]):
    torch = require("torch", path)
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        msg = f"reading {path} needs torch 2.6 or newer: older ones can be made to run code from a file of weights"
        raise WeightsError(msg)
    state = next((name for name in members if name.endswith("serialized_state_dict.pt")), None)
    source: Path | io.BytesIO = path
    mapped = bool(members)
    try:
        if state is not None:  # an exported program of torch before 2.8
            with zipfile.ZipFile(path) as archive:
                check_member(path, archive.getinfo(state))
                source, mapped = io.BytesIO(archive.read(state)), False
        _check_pickles(path, source)
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        asked = re.search(r"(?:GLOBAL|Unsupported class|function) ([\w.]+\.[\w.]+)", str(error))
        named = f" ({asked[1]})" if asked else ""
        refused = f"was refused: its pickle asks for code, of which nothing was run{named}, or is damaged"
        msg = f"{path} {refused}; {TORCHAO if 'torchao.' in named else REMEDY}"
        raise WeightsError(msg) from error
    except Exception as error:  # torch's loader meets damage with whatever its parts raise
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        msg = f"{path} cannot be read as a torch checkpoint ({reason}); download it again, or {REMEDY}"
        raise WeightsError(msg) from error


def _check_pickles(path: Path, source: Path | io.BytesIO) -> None:
    """Refuse what torch's loader would unpack, or make in memory, beyond what a file may ask for."""
    with source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source) as file:
        zipped = file.read(2) == b"PK"  # by which torch knows its archives
        file.seek(0)
        damaged = contextlib.suppress(pickle.UnpicklingError)  # torch's loader says what is wrong
        if zipped:
            with zipfile.ZipFile(file) as archive:
                check_archive(path, archive)
                for member in archive.infolist():
                    if member.filename.lower().endswith("data.pkl"):  # torch takes capitals too
                        with damaged:
                            check_pickle(path, io.BufferedReader(archive.open(member)))  # type: ignore[type-var]
        else:
            with damaged:
                for _ in range(LEGACY):
                    check_pickle(path, file)
        file.seek(0)


def _harmless() -> list:
    """numpy's numbers, arrays and dtypes, which are data: checkpoints keep losses and random states in them."""
    from numpy._core import multiarray

    harmless: list = [np.dtype, np.ndarray]
    for function in (multiarray.scalar, multiarray._reconstruct):  # noqa: SLF001
        harmless += [(function, f"numpy.{core}.multiarray.{function.__name__}") for core in ("core", "_core")]
    return harmless + [value for name, value in vars(np.dtypes).items() if name.endswith("DType") and name != "ObjectDType"]


def read_module(module) -> list[Tensor]:
    """The tensors of a live module, each with the type of its layer."""
    state = module.state_dict
    known = {}
    for name, part in getattr(module, "named_modules", dict)():
        if type_ := _type(part):
            known[name] = (type_, {"groups": getattr(part, "groups", 1)})
    arrays = state() if callable(state) else state
    check_nesting(arrays, called(module))
    tensors = read_arrays(arrays)
    return [replace(tensor, owner=_owner(tensor.name, known)) for tensor in tensors]


def _type(part) -> str | None:
    for base in type(part).__mro__:
        of_torch = base.__module__.startswith("torch.") and knows(f"torch {base.__name__}")
        if of_torch or base.__name__ == "Conv1D" and hasattr(part, "nf"):
            return base.__name__
    return None


def _owner(name: str, known: Mapping) -> Owner | None:
    layer, _, parameter = re.sub(r"parametrizations\.(\w+)\.(original\d?|\d+\.\w+)$", r"\1", name).rpartition(".")
    if layer not in known:
        return None
    type_, options = known[layer]
    if not re.fullmatch(OWNERS.get(type_, r"weight(_v|_orig)?"), parameter):
        return None
    return Owner(f"torch {type_}", parameter, options, f"torch module {type_}")
