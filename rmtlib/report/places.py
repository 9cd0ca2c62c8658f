"""Where a layer stands in its network, by its name: the kind of matrix, and its depth among those of this kind."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Place", "places"]

INDEX = re.compile(r"(?:layers?|blocks?|stages?)?_?(\d+)")
EVERYWHERE = {"dense", "linear", "self", "layer", "base_layer"}  # parts of names that tell no kind of matrix from another
PLAIN = {"dense": "dense", "convolution": "conv", "embedding": "embedding", "attention": "attention"}


@dataclass(frozen=True)
class Place:
    """A layer among the others.

    Attributes
    ----------
    layer : str
        Its name.
    kind : str
        What its matrix is for: ``"query"``, ``"intermediate"``, ``"conv"``.
    depth : str
        What tells it from the others of its kind: the number of its block, or what of its name they do not share.
    rank : int
        Its place among those of its kind, from 0.
    """

    layer: str
    kind: str
    depth: str
    rank: int = 0


def places(names: Sequence[str], kinds: Mapping[str, str] | None = None) -> list[Place]:
    """Kind and depth of every layer.

    Parameters
    ----------
    names : sequence of str
        Names of the layers, in the order of the network.
    kinds : mapping of str to str, optional
        ``kinds`` of `rmtlib.Weights`, for layers whose name alone does not tell.

    Returns
    -------
    list of Place
        In the order of ``names``.

    Notes
    -----
    Parts of a name that are whole numbers count blocks. Layers whose names are equal but for these are of one kind, called by the
    last parts that no other kind shares: ``encoder.layer.3.attention.self.query`` is a *query* of depth 3. A layer without such a
    number, or alone with its name, is of the kind that the file tells: dense, conv, embedding or attention. Layers of a kind
    follow one another by their numbers where nothing else in their names differs, otherwise as in the file.

    Examples
    --------
    >>> [place.kind for place in places(["h.0.attn.q", "h.0.mlp.up", "h.1.attn.q", "h.1.mlp.up", "head"])]
    ['q', 'up', 'q', 'up', 'dense']
    >>> places(["dense1", "dense2"])[1]
    Place(layer='dense2', kind='dense', depth='dense2', rank=1)
    """
    kinds = kinds or {}
    split = [_split(name) for name in names]
    sizes = Counter(stem for stem, index in split if index and stem[1])
    labels = _labels({stem for stem, size in sizes.items() if size > 1})
    members: dict[str, list[int]] = {}
    for position, (name, (stem, index)) in enumerate(zip(names, split, strict=True)):
        inside = index and stem in labels
        kind = labels[stem] if inside else PLAIN.get(kinds.get(name, "dense"), kinds.get(name, "dense"))
        members.setdefault(kind, []).append(position)
    found: dict[int, Place] = {}
    for kind, positions in members.items():
        own = [names[position] for position in positions]
        depths = [split[position][1] or names[position] for position in positions] if kind in labels.values() else _depths(own)
        order = list(range(len(own)))
        if len({re.sub(r"\d+", "", name) for name in own}) == 1:
            order.sort(key=lambda i: _numbers(own[i]))
        found |= {positions[i]: Place(own[i], kind, depths[i], rank) for rank, i in enumerate(order)}
    return [found[position] for position in range(len(names))]


def _split(name: str) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], str]:
    """Parts of a name before its first number, those after it that say what a layer is for, and the numbers."""
    parts = re.split(r"[./]", name)
    numbers = [match[1] for part in parts if (match := INDEX.fullmatch(part))]
    first = next((i for i, part in enumerate(parts) if INDEX.fullmatch(part)), len(parts))
    after = [part for part in parts[first:] if not INDEX.fullmatch(part)]
    told = [part for part in after if part not in EVERYWHERE] or after
    return (tuple(parts[:first]), tuple(told)), ".".join(numbers)


def _labels(stems: set[tuple[tuple[str, ...], tuple[str, ...]]]) -> dict:
    """The shortest end of each that is the end of no other, or all of it if only longer ones have the same end."""
    labels = {}
    for stem in stems:
        told, others = stem[1], [other[1] for other in stems if other != stem]
        tails = (told[-length:] for length in range(1, len(told)))
        labels[stem] = ".".join(next((tail for tail in tails if all(o[-len(tail) :] != tail for o in others)), told))
    for longer in (
        lambda before, label: f"{before[0]} {label}" if before else label,
        lambda before, label: ".".join((*before, label)),
    ):
        repeated = Counter(labels.values())
        if max(repeated.values(), default=1) > 1:
            labels = {stem: longer(stem[0], label) if repeated[label] > 1 else label for stem, label in labels.items()}
    return labels


def _depths(names: list[str]) -> list[str]:
    """Names without the parts that all share."""
    if len(names) < 2:
        return names
    split = [re.split(r"[./]", name) for name in names]
    shared = len(os.path.commonprefix(split)), len(os.path.commonprefix([parts[::-1] for parts in split]))
    own = [parts[shared[0] : len(parts) - shared[1]] for parts in split]
    return [("/" if "/" in name else ".").join(parts) for name, parts in zip(names, own, strict=True)] if all(own) else names


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]
