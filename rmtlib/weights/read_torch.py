"""Tensors of torch's files and modules; pickles are opened by torch's loader of tensors alone."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from .read_numpy import read_arrays
from .tensors import Tensor, WeightsError, require


def read_torch(path: Path) -> list[Tensor]:
    torch = require("torch", path)
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        raise WeightsError(f"reading {path} needs torch 2.6 or newer: older ones can be made to run code from a file of weights")
    remedy = "where it was made, write its weights alone: safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        refused = "was refused: its pickle asks for code, of which nothing was run, or is damaged"
        raise WeightsError(f"{path} {refused}; {remedy}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise WeightsError(f"{path} cannot be read as a torch checkpoint ({reason}); download it again, or {remedy}") from error
    if hasattr(content, "detach"):
        return read_arrays({path.stem: content})
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors; {remedy}")
    chosen = None
    if not any(hasattr(value, "detach") for value in content.values()):
        holders = [k for k, v in content.items() if isinstance(v, Mapping) and any(hasattr(t, "detach") for t in v.values())]
        usual = [key for key in ("state_dict", "model_state_dict", "model", "module", "net", "network") if key in holders]
        if not usual and len(holders) != 1:
            found = f"several dictionaries of tensors ({', '.join(map(str, holders))})" if holders else "no dictionary of tensors"
            raise WeightsError(f"{path} holds {found}; {remedy}")
        chosen = (usual or holders)[0]
    tensors = read_arrays(content if chosen is None else content[chosen])
    if chosen is None:
        return tensors
    rest = {str(key): value for key, value in content.items() if key != chosen}
    others = [Tensor(n, tuple(t.shape), "", skip=f"not in the checkpoint's {chosen!r}") for n, t in nested(rest)]
    return tensors + others


def nested(content: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Tensors anywhere in dictionaries and lists, with dotted names."""
    for key, value in content.items():
        if hasattr(value, "detach"):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping | list | tuple):
            yield from nested(value if isinstance(value, Mapping) else dict(enumerate(value)), f"{prefix}{key}.")


def read_module(module) -> list[Tensor]:
    known = {}
    for name, part in getattr(module, "named_modules", dict)():
        known[f"{name}.weight".lstrip(".")] = {
            "kind": "embedding" if type(part).__name__.startswith("Embedding") else None,
            "groups": getattr(part, "groups", 1),
            "transposed": bool(getattr(part, "transposed", False)),
        }
    return [replace(t, **known.get(t.name, {})) for t in read_arrays(module.state_dict())]
