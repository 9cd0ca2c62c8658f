"""Which layer of a tuned network belongs to which of its base: by name, or as the adapter of a layer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .weights import Layer, Weights, WeightsError, load_weights

__all__ = ["Pair", "Pairs", "checkpoints", "pair_layers"]

WRAPPED = re.compile(r"^(module\.|_orig_mod\.|base_model\.model\.|lora_(unet|te\d?|transformer)_)+")
ADAPTER = re.compile(r"\.lora(\.\w+)?$")
NUMBERED = re.compile(r"(\d+)\D*$")
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz", ".keras", ".h5", ".msgpack")


@dataclass(frozen=True)
class Pair:
    """A layer on both sides.

    Attributes
    ----------
    base, tuned : str
        Its name on either side.
    adapter : bool
        Whether the tuned side holds the update itself, the product of an adapter's factors.
    """

    base: str
    tuned: str
    adapter: bool


@dataclass(frozen=True)
class Pairs(Mapping):
    """Base layers by the tuned layer that belongs to them; each is read when it is asked for.

    Attributes
    ----------
    base, tuned : Weights
    pairs : dict of str to Pair
        By the name on the tuned side.
    left_out : list of (str, str)
        Layers that are not compared, and why.
    """

    base: Weights
    tuned: Weights
    pairs: dict[str, Pair]
    left_out: list[tuple[str, str]]

    def __getitem__(self, name: str) -> Layer:
        return self.base[self.pairs[name].base]

    def __iter__(self) -> Iterator[str]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def dtypes(self, name: str) -> tuple[str, str]:
        """As what a layer is stored in the base and in the tuned network."""
        pair = self.pairs[name]
        return self.base.tensor(pair.base).dtype, self.tuned.tensor(pair.tuned).dtype


def pair_layers(base: Weights, tuned: Weights, layers: str | None = None) -> Pairs:
    """Find the base layer of every tuned one.

    Parameters
    ----------
    base, tuned : Weights
        From `rmtlib.load_weights`. The tuned network may be an adapter, whose layers are updates.
    layers : str, optional
        A regular expression; layers whose name on the tuned side does not contain a match are not looked at.

    Returns
    -------
    Pairs

    Raises
    ------
    WeightsError
        If the base is an adapter, or no layer has its counterpart.
    ValueError
        If ``layers`` is no regular expression, or matches no layer.

    Notes
    -----
    Names are compared without what wrappers put in front of them (``module.``, ``_orig_mod.``, PEFT's ``base_model.model.``) and
    for adapters without what differs between packages: ``.`` and ``_`` are the same.
    """
    if _adapters(base):
        msg = "base is an adapter, an update without its network: give the network as base and the adapter as tuned"
        raise WeightsError(msg)
    chosen, plain = _chosen(tuned, layers), {WRAPPED.sub("", name): name for name in base}
    flat = {_flat(name): original for name, original in plain.items()}
    adapters, pairs, left_out = _adapters(tuned), {}, []
    for name in chosen:
        key = WRAPPED.sub("", ADAPTER.sub("", name) if name in adapters else name)
        found = plain.get(key) or (flat.get(_flat(key)) if name in adapters else None)
        if found is None:
            left_out.append((name, "only in tuned"))
        elif base.shapes[found] != tuned.shapes[name]:
            shapes = (" x ".join(map(str, side)) for side in (base.shapes[found], tuned.shapes[name]))
            left_out.append((name, "shape {} in base, {} in tuned".format(*shapes)))
        else:
            pairs[name] = Pair(found, name, name in adapters)
    if not pairs:
        raise WeightsError(_nothing_paired(base, chosen, left_out, adapters))
    used = {pair.base for pair in pairs.values()} | {plain.get(WRAPPED.sub("", name)) for name in tuned}
    if not adapters:
        left_out += [(name, "only in base") for name in _chosen(base, layers, any_=True) if name not in used]
    return Pairs(base, tuned, pairs, left_out)


def _adapters(weights: Weights) -> set[str]:
    return {name for name in weights if ADAPTER.search(name) and weights.tensor(name).made.startswith("LoRA")}


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _chosen(weights: Weights, layers: str | None, *, any_: bool = False) -> list[str]:
    if layers is None:
        return list(weights)
    try:
        pattern = re.compile(layers)
    except (re.error, TypeError) as error:
        msg = f"layers must be a regular expression; got {layers!r} ({error})"
        raise ValueError(msg) from None
    chosen = [name for name in weights if pattern.search(name)]
    if not chosen and not any_:
        msg = f"layers must match the name of a layer; {layers!r} matches none of {_some(list(weights))}"
        raise ValueError(msg)
    return chosen


def _nothing_paired(base: Weights, tuned: list[str], left_out: list[tuple[str, str]], adapters: set[str]) -> str:
    if shapes := [f"{name!r}: {why}" for name, why in left_out if why.startswith("shape")]:
        return f"base and tuned have no layer of one shape ({'; '.join(shapes[:3])}): are they two networks?"
    what = "tuned is an adapter, and base has none of its layers" if adapters else "base and tuned have no layer in common"
    return f"{what}: base has {_some(list(base))}, tuned has {_some(tuned)}; give a network and what was made of it"


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"


def checkpoints(folder) -> dict[str, Path]:
    """The checkpoints of one training in a folder, in the order of their steps.

    Parameters
    ----------
    folder : path
        One file or folder for each checkpoint, whose names end in numbers: ``checkpoint-500``, ``epoch_3.safetensors``.

    Returns
    -------
    dict of str to pathlib.Path
        By the number; empty for a path that is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return {}
    found = {}
    for path in folder.iterdir():
        number = NUMBERED.search(path.stem if path.is_file() else path.name)
        if number and (path.suffix.lower() in SUFFIXES if path.is_file() else _opens(path)):
            found[number[1]] = path
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def _opens(folder: Path) -> bool:
    try:
        return bool(load_weights(folder))
    except WeightsError:
        return False
