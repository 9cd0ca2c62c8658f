"""Which layer of a tuned network belongs to which of its base: by name, or as the adapter of a layer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .layer_table import chosen_layers, name_pattern
from .weights import Layer, Weights, WeightsError
from .weights.origin import Origin

__all__ = ["Pair", "Pairs", "Steps", "StepsOrigin", "checkpoints", "pair_layers"]

WRAPPED = re.compile(r"^(module\.|_orig_mod\.|base_model\.model\.|lora_(unet|te\d?|transformer)_)+")
ADAPTER = re.compile(r"\.lora(\.\w+)?(?=(#\d+)?$)")
NUMBERED = re.compile(r"(\d+)\D*$")
PART = re.compile(r"\d+-of-\d+$")
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


@dataclass(frozen=True, kw_only=True)
class LayerPair(Layer):
    """A base layer and the tuned one that belongs to it.

    Attributes
    ----------
    tuned : Layer
    adapter : bool
        Whether ``tuned`` is the update itself.
    dtypes : tuple of str
        As what it is stored in the base and in the tuned network.
    """

    tuned: Layer
    adapter: bool
    dtypes: tuple[str, str]


@dataclass(frozen=True)
class Pairs(Mapping):
    """Layers with the tuned layer that belongs to each; both are read when they are asked for.

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

    def __getitem__(self, name: str) -> LayerPair:
        pair = self.pairs[name]
        before, after = _read(self.base, pair.base, "base"), _read(self.tuned, pair.tuned, "tuned")
        dtypes = self.base.tensor(pair.base).dtype, self.tuned.tensor(pair.tuned).dtype
        return LayerPair(**vars(before), tuned=after, adapter=pair.adapter, dtypes=dtypes)

    def __iter__(self) -> Iterator[str]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """``(n_out, n_in)`` of every layer."""
        known = self.base.shapes
        return {name: known[pair.base] for name, pair in self.pairs.items()}


def _read(weights: Weights, name: str, side: str) -> Layer:
    try:
        return weights[name]
    except WeightsError as error:
        msg = f"in {side}, {str(error).removeprefix(f'{name}: ')}"
        raise WeightsError(msg) from None


@dataclass(frozen=True)
class StepsOrigin:
    """The files of a base and of what trainings made of it, as `rmtlib.weights.origin.Origin` is of one network.

    Attributes
    ----------
    base : Origin
    tuned : dict of Origin
        By step.
    """

    base: Origin
    tuned: dict[str | None, Origin]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of all networks."""
        return (self.base.path, *(origin.path for origin in self.tuned.values()))

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of weights of all networks."""
        return tuple(file for origin in (self.base, *self.tuned.values()) for file in origin.files)

    @property
    def reading(self) -> dict[str, Any]:
        """How they are read, where it is not the usual way."""
        sides = {"base": self.base} | {f"tuned_{step}" if step else "tuned": origin for step, origin in self.tuned.items()}
        return {f"{side}_{key}": value for side, origin in sides.items() for key, value in origin.reading.items()}

    def open(self) -> Steps:
        """The same pairs again, of which no tensor is read."""
        base = self.base.open()
        return Steps({step: pair_layers(base, origin.open()) for step, origin in self.tuned.items()})

    def fingerprint(self) -> str:
        """A hash that changes with that of any network."""
        return _joined(self.base.fingerprint(), *(f"{step} {origin.fingerprint()}" for step, origin in self.tuned.items()))

    def fingerprints(self, names: Iterable[tuple[str | None, str]]) -> dict[tuple[str | None, str], str]:
        """The fingerprint of base and tuned network of each step and layer."""
        base = self.base.fingerprint()
        of = {step: _joined(base, origin.fingerprint()) for step, origin in self.tuned.items()}
        return {name: of[name[0]] for name in names}


def _joined(*fingerprints: str) -> str:
    return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Steps(Mapping):
    """The pairs of several tuned networks by step and layer; of a single one the step is None.

    Attributes
    ----------
    steps : dict of Pairs
        By step.
    """

    steps: dict[str | None, Pairs]

    def __getitem__(self, name: tuple[str | None, str]) -> LayerPair:
        step, layer = name
        return self.steps[step][layer]

    def __iter__(self) -> Iterator[tuple[str | None, str]]:
        return ((step, layer) for step, pairs in self.steps.items() for layer in pairs)

    def __len__(self) -> int:
        return sum(map(len, self.steps.values()))

    @cached_property
    def shapes(self) -> dict[tuple[str | None, str], tuple[int, int]]:
        """``(n_out, n_in)`` of every layer."""
        return {(step, layer): shape for step, pairs in self.steps.items() for layer, shape in pairs.shapes.items()}

    @property
    def tuned_names(self) -> list[tuple[str | None, str]]:
        """Step and layer of every matrix of the tuned networks, paired or not."""
        return [(step, layer) for step, pairs in self.steps.items() for layer in pairs.tuned]

    @property
    def origin(self) -> StepsOrigin | None:
        """The files of all networks; None if any is in memory."""
        base = next(iter(self.steps.values())).base.origin
        tuned = {step: pairs.tuned.origin for step, pairs in self.steps.items() if pairs.tuned.origin is not None}
        return StepsOrigin(base, tuned) if base is not None and len(tuned) == len(self.steps) else None

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """Layers that are not compared, and why; named with the steps unless it is so in all of them."""
        missing: dict[tuple[str, str], list[str]] = {}
        for step, pairs in self.steps.items():
            for left in pairs.left_out:
                missing.setdefault(left, []).append(str(step))
        everywhere = len(self.steps)
        return [(name if len(at) == everywhere else f"{', '.join(at)}: {name}", why) for (name, why), at in missing.items()]


def pair_layers(base: Weights, tuned: Weights, layers: str | None = None) -> Pairs:
    """Find the base layer of every tuned one.

    Parameters
    ----------
    base, tuned : Weights
        From `rmtlib.load_weights`. The tuned network may be an adapter, whose layers are updates.
    layers : str, optional
        A regular expression; layers in whose name on the tuned side it is not found are not looked at.

    Returns
    -------
    Pairs

    Raises
    ------
    WeightsError
        If the base is an adapter, or no layer has its counterpart.
    ValueError
        If ``layers`` is no regular expression, or found in no name.

    Notes
    -----
    Names are compared without what wrappers put in front of them (``module.``, ``_orig_mod.``, PEFT's ``base_model.model.``) and
    for adapters without what differs between packages: ``.`` and ``_`` are the same. An adapter of torch's attention is one of
    its ``in_proj_weight``.
    """
    if _adapters(base):
        msg = "base is an adapter, an update without its network: give the network as base and the adapter as tuned"
        raise WeightsError(msg)
    chosen, plain = chosen_layers(tuned, layers), {WRAPPED.sub("", name): name for name in base}
    flat = {_flat(name): original for name, original in plain.items()}
    adapters, pairs, left_out = _adapters(tuned), {}, []
    before, after = base.shapes, tuned.shapes
    for name in chosen:
        key = WRAPPED.sub("", ADAPTER.sub("", name) if name in adapters else name)
        found = plain.get(key)
        if found is None and name in adapters:
            found = flat.get(_flat(key)) or plain.get(f"{key}.in_proj_weight")
        if found is None:
            left_out.append((name, "only in tuned"))
        elif before[found] != after[name]:
            shapes = (" x ".join(map(str, side)) for side in (before[found], after[name]))
            left_out.append((name, "shape {} in base, {} in tuned".format(*shapes)))
        else:
            pairs[name] = Pair(found, name, name in adapters)
    if not pairs:
        raise WeightsError(_nothing_paired(base, chosen, left_out, adapters))
    used = {pair.base for pair in pairs.values()} | {plain.get(WRAPPED.sub("", name)) for name in tuned}
    if not adapters:
        pattern = name_pattern(layers)
        left_out += [(name, "only in base") for name in base if name not in used and pattern.search(name)]
    return Pairs(base, tuned, pairs, left_out)


def _adapters(weights: Weights) -> set[str]:
    return {name for name in weights if ADAPTER.search(name) and weights.tensor(name).made.startswith("LoRA")}


def _flat(name: str) -> str:
    return name.replace(".", "_")


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
        One file or folder for each checkpoint, whose names end in numbers: ``checkpoint-500``, ``epoch_3.safetensors``. Files
        that are one of several parts, ``model-00001-of-00002.safetensors``, are none. A folder is one if files of weights lie
        in it, or if it is called as one but for its number.

    Returns
    -------
    dict of str to pathlib.Path
        By the number; empty for a path that is no such folder. None of them is opened, and some may be damaged.

    Raises
    ------
    WeightsError
        If two of them have one number, such as ``model_1.pt`` and ``optim_1.pt``.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return {}
    inside = {path: [path] if path.is_file() else list(path.iterdir()) for path in sorted(folder.iterdir())}
    hold = {path for path, files in inside.items() if any(map(_is_weights, files))}
    alike = {NUMBERED.sub("", path.name) for path in hold if path.is_dir()}
    found: dict[int, tuple[str, Path]] = {}
    for path in inside:
        name = path.stem if path.is_file() else path.name
        number = None if PART.search(name) else NUMBERED.search(name)
        if number and (path in hold or (path.is_dir() and NUMBERED.sub("", name) in alike)):
            if (step := int(number[1])) in found:
                names = f"{found[step][1].name} and {path.name}"
                msg = f"folder {folder} must hold one checkpoint of each number; {names} share {step}: move one of them away"
                raise WeightsError(msg)
            found[step] = number[1], path
    return dict(found[step] for step in sorted(found))


def _is_weights(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES or path.name.endswith(".index.json") or path.name == "model_index.json"
