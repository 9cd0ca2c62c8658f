"""How containers may lie in one another: in a few bytes a list can hold itself, or the same list twice, which does likewise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .tensors import WeightsError

__all__ = ["check_nesting", "entries"]

DEPTH = 100
TWICE = 10  # how often an entry may be met on all ways to it, on average
EXTRA = 10_000  # and so many more


def entries(value) -> Iterable | None:
    """What lies in a dictionary, a list or a tuple; None for anything else."""
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else None


def check_nesting(content, source: str, inside: Callable[[Any], Iterable | None] = entries) -> None:
    """Refuse content that would never be walked through, in a time that grows with its size.

    Parameters
    ----------
    content : object
    source : str
        What it was read from, in the words of the error.
    inside : callable
        What lies in a container, None for what is none.

    Raises
    ------
    WeightsError
        If a container holds itself, directly or not; if containers are nested more than 100 deep; or if the same ones lie in so
        many others that a walk would meet more than ten times as many entries as there are, and 10,000 more.
    """
    known: dict[int, tuple[int, int, Any]] = {}  # entries on all ways, levels, and the container, which keeps its id from another
    around: set[int] = set()
    found = 1

    def visit(value, within: Iterable, depth: int) -> tuple[int, int]:
        nonlocal found
        if id(value) in around:
            msg = f"{source} holds a {type(value).__name__} that holds itself; expected tensors in dictionaries and lists"
            raise WeightsError(msg)
        if id(value) in known:
            return known[id(value)][:2]
        if depth > DEPTH:
            raise WeightsError(_too_deep(source))
        around.add(id(value))
        met, levels = 1, 1
        for part in within:
            found += 1
            inner = inside(part)
            of_part, below = (1, 0) if inner is None else visit(part, inner, depth + 1)
            met, levels = met + of_part, max(levels, below + 1)
        if levels > DEPTH:
            raise WeightsError(_too_deep(source))
        around.discard(id(value))
        known[id(value)] = met, levels, value
        return met, levels

    within = inside(content)
    met = 1 if within is None else visit(content, within, 1)[0]
    if met > TWICE * found + EXTRA:
        msg = f"{source} holds {found} entries that lie in one another on {met} ways; expected each tensor in one place"
        raise WeightsError(msg)


def _too_deep(source: str) -> str:
    return f"{source} holds dictionaries or lists that are nested more than {DEPTH} deep"
