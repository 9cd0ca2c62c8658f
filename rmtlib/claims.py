"""The ledger: what a chapter computes, held against what the book records, and glued into its sentences.

A sentence never contains a number that somebody typed. A cell passes what it computed to `Claims.record`; the file beside the
chapter, ``NN_name.claims.toml``, holds what the book expects of it. If the two differ, the cell fails and so does the book.

An entry of the file is a table named as the claim. ``expected`` is the recorded number, word, or table of the numbers of an
`Outcome`; ``tolerance`` the largest difference that is no regression (by default one unit in the last place that is shown);
``format`` how a number is shown (``".3g"``); ``text`` the sentence of an outcome, with its numbers in braces; ``verdict`` the
recorded verdict. The paper's own value stands in ``paper.toml``, once; only for a number that is no claim of the paper it stands
here, as ``paper``. ``make record`` writes expectations and verdicts.
"""

from __future__ import annotations

import json
import math
import os
import re
import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .files import write_atomically

__all__ = ["VERDICTS", "ClaimError", "Claims", "Outcome", "Untested"]

VERDICTS = ("reproduced", "not reproduced", "inconclusive", "compatible", "not tested here")
FIELDS = {"expected", "tolerance", "format", "text", "verdict", "paper"}
RECORDING = "RMTLIB_RECORD"
NUMBER = re.compile(r"(?<![\w.])[-−]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?(?!\w)")


class ClaimError(AssertionError):
    """A computed value contradicts what the book records for it, or the ledger lacks it."""


class Outcome:
    """A verdict with the numbers behind it, or a number with its error.

    Parameters
    ----------
    verdict : bool or str, optional
        One of ``VERDICTS``; True and False stand for reproduced and not reproduced.
    value, error : float, optional
        The number that is glued under the name of the claim, and its standard error.
    **numbers : float, int or str
        What the ``text`` of the ledger shows in braces, as in ``"mean p {large:.2f}"``. A whole sentence is ``says``: it needs no
        ``text``.

    Raises
    ------
    ValueError
        If the verdict is none of the five words.

    Examples
    --------
    >>> Outcome(True, large=0.38).verdict
    'reproduced'
    """

    def __init__(self, verdict: bool | str | None = None, *, value: float | None = None, error: float | None = None, **numbers):
        # numpy's booleans are none of Python's
        if verdict is not None and not isinstance(verdict, str):
            verdict = VERDICTS[0] if verdict else VERDICTS[1]
        if verdict is not None and verdict not in VERDICTS:
            msg = f"verdict must be one of {', '.join(VERDICTS)}; got {verdict!r}"
            raise ValueError(msg)
        self.verdict, self.value, self.error, self.numbers = verdict, value, error, numbers


@dataclass(frozen=True)
class Untested:
    """A claim of the paper that is not tested here.

    Attributes
    ----------
    command : str
        The command that tests it.
    """

    command: str

    def __post_init__(self):
        if not self.command.strip():
            msg = "a claim that is not tested here needs the command that tests it"
            raise ClaimError(msg)


class Claims:
    """The claims of one chapter.

    Parameters
    ----------
    chapter : str
        Name of the chapter's file without its ending; ``<chapter>.claims.toml`` lies beside it.
    checked : bool
        Compare with the recorded values. They hold for the chapter's default parameters: a chapter that is run with
        parameters of the reader's own is run with ``checked=False`` and glues what it computes.

    Raises
    ------
    ValueError
        If ``checked`` is not a bool, as the word ``false`` on papermill's command line is not.
    ClaimError
        If there is no ledger of this name, or an entry of it is malformed; the message has file and line.
    """

    def __init__(self, chapter: str, checked: bool = True):
        if not isinstance(checked, bool):
            msg = f"checked must be True or False; got {checked!r} (with papermill: -p checked False)"
            raise ValueError(msg)
        self.checked = checked
        self._file = _find(f"{chapter}.claims.toml")
        self._entries = read_ledger(self._file)
        self._paper = read_paper(self._file)
        self._chapter = chapter

    def record(self, **found: float | bool | str | Outcome | Untested) -> None:
        """Compare what was computed with the ledger, and glue it.

        Glued are, for a claim ``x``: ``x`` (the number, or the text of the outcome) and, where they exist, ``x-error``,
        ``x-paper`` and ``x-verdict``.

        Parameters
        ----------
        **found : number, bool, str, Outcome or Untested
            By the name of the claim, underscores for its hyphens. A bool is an outcome without numbers.

        Raises
        ------
        ClaimError
            If a claim has no entry, a value is not finite, or differs from the recorded one by more than its tolerance, or a
            verdict is not the recorded one. All that differ are named together.
        """
        problems: list[str] = []
        glued: dict[str, str] = {}
        computed: dict[str, dict] = {}
        for name, value in found.items():
            id = name.replace("_", "-")
            if id not in self._entries and not os.environ.get(RECORDING):
                problems.append(f"{self._file}: no entry [{id}], which a cell of {self._chapter}.md records: make record adds it")
                continue
            entry = self._entries.get(id, {})
            try:
                texts, recorded = _shown(id, value, entry, self._paper.get(id, {}))
            except (KeyError, ValueError, TypeError) as error:
                problems.append(f"{entry_place(self._file, id)}: {id} cannot be shown: {type(error).__name__}: {error}")
                continue
            computed[id] = recorded
            if not os.environ.get(RECORDING):
                wrong = list(_differences(recorded, entry)) if self.checked else list(_not_finite(recorded["expected"]))
                problems += [f"{entry_place(self._file, id)}: {id}: {text}" for text in wrong]
            glued |= texts
        if folder := os.environ.get(RECORDING):
            file = Path(folder) / f"{self._chapter}.json"
            before = json.loads(file.read_text()) if file.exists() else {}
            write_atomically(file, json.dumps(before | computed, indent=1).encode())
        if problems:
            raise ClaimError("\n".join([*problems, "with parameters of your own, run with checked=False"]))
        glue_texts(glued)


def read_ledger(file: Path) -> dict[str, dict]:
    """The entries of a ledger by the names of their claims.

    Raises
    ------
    ClaimError
        If the file is no TOML, or an entry has an unknown field or a verdict outside the vocabulary.
    """
    try:
        entries = tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        msg = f"{file}: {error}"
        raise ClaimError(msg) from error
    for id, entry in entries.items():
        if not isinstance(entry, dict):
            msg = f"{entry_place(file, id)}: {id}: no table"
            raise ClaimError(msg)
        if unknown := ", ".join(sorted(entry.keys() - FIELDS)):
            msg = f"{entry_place(file, id)}: {id}: unknown {unknown}; known are {', '.join(sorted(FIELDS))}"
            raise ClaimError(msg)
        if entry.get("verdict", VERDICTS[0]) not in VERDICTS:
            words = f"verdict must be one of {', '.join(VERDICTS)}; got {entry['verdict']!r}"
            msg = f"{entry_place(file, id)}: {id}: {words}"
            raise ClaimError(msg)
    return entries


@cache
def read_paper(ledger: Path) -> dict[str, dict]:
    """The sentences of the paper by their ids, from the ``paper.toml`` above a ledger; nothing where there is none."""
    for folder in ledger.parents:
        if (folder / "paper.toml").is_file():
            return tomllib.loads((folder / "paper.toml").read_text())
    return {}


def _find(name: str) -> Path:
    # A chapter runs in its own folder, in the root of the book, or in a folder of notebooks beside the chapters.
    for folder in (Path.cwd(), *Path.cwd().parents):
        for file in (folder / name, folder / "chapters" / name):
            if file.is_file():
                return file
    msg = f"there is no {name} in {Path.cwd()}, above it, or in a folder chapters there"
    raise ClaimError(msg)


def entry_place(file: Path, id: str) -> str:
    """File and line of an entry."""
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if line.strip().strip("[]").strip("\"'") == id and line.lstrip().startswith("["):
            return f"{file}:{number}"
    return str(file)


def _shown(id: str, value, entry: Mapping, paper: Mapping) -> tuple[dict[str, str], dict]:
    """The texts to glue, and what the ledger would record."""
    style = entry.get("format", ".3g")
    theirs = entry.get("paper", paper.get("paper"))
    glued = {} if theirs is None else {f"{id}-paper": _FORMATTER.format_field(theirs, style)}
    if isinstance(value, Untested):
        glued |= {id: value.command, f"{id}-verdict": VERDICTS[-1]}
        return glued, {"expected": {}, "verdict": VERDICTS[-1]}
    if isinstance(value, str):
        return _typeset(glued | {id: value}), {"expected": value}
    if not isinstance(value, Outcome):
        value = Outcome(bool(value)) if type(value).__name__ in ("bool", "bool_") else Outcome(value=_plain(value))
    numbers = {name: _plain(number) for name, number in value.numbers.items()}
    if value.value is not None:
        glued[id] = _FORMATTER.format_field(_plain(value.value), style)
    elif "text" in entry:
        glued[id] = _FORMATTER.vformat(entry["text"], (), numbers)
    elif list(numbers) == ["says"]:
        glued[id] = numbers["says"]
    elif numbers:
        words = {name: n if isinstance(n, str) else _FORMATTER.format_field(n, style) for name, n in numbers.items()}
        glued[id] = ", ".join(" ".join(pair) for pair in words.items())
    if value.error is not None:
        glued[f"{id}-error"] = _FORMATTER.format_field(_plain(value.error), style)
    if value.verdict is not None:
        glued[f"{id}-verdict"] = value.verdict
    if value.value is not None:
        numbers = {"value": _plain(value.value)} | numbers
    if value.error is not None:
        numbers["error"] = _plain(value.error)
    expected = numbers["value"] if list(numbers) == ["value"] else numbers
    return _typeset(glued), {"expected": expected} | ({} if value.verdict is None else {"verdict": value.verdict})


def _plain(number):
    return number.item() if hasattr(number, "item") else number


class _Formatter(string.Formatter):
    """Counts come out of tables as floats: whole ones are shown by ``d`` all the same."""

    def format_field(self, value, style):
        whole = style.endswith("d") and isinstance(value, float) and value.is_integer()
        return super().format_field(int(value) if whole else value, style)


_FORMATTER = _Formatter()


def _differences(found: Mapping, entry: Mapping):
    """What a computed value contradicts of its entry."""
    expected = entry.get("expected", {})
    yield from _not_finite(found["expected"])
    if found.get("verdict") != entry.get("verdict"):
        yield f"came out {found.get('verdict')}, but the book records {entry.get('verdict')}"
    ours, theirs = (x if isinstance(x, dict) else {"value": x} for x in (found["expected"], expected))
    if ours.keys() != theirs.keys():
        yield f"has the numbers {', '.join(ours) or 'none'}, but the book records {', '.join(theirs) or 'none'}"
        return
    for name, number in ours.items():
        allowed = entry.get("tolerance")
        allowed = allowed.get(name) if isinstance(allowed, dict) else allowed
        if not _agrees(number, theirs[name], _last_place(name, entry) if allowed is None else allowed):
            shown, recorded = (x if isinstance(x, str) else f"{x:.6g}" for x in (number, theirs[name]))
            label = "" if name == "value" else f"{name} "
            within = "" if allowed is None else f" with tolerance {allowed:g}"
            yield f"{label}computed {shown}, but the book records {recorded}{within}"


def _not_finite(numbers):
    for name, number in (numbers if isinstance(numbers, dict) else {"value": numbers}).items():
        if isinstance(number, float) and not math.isfinite(number):
            yield f"computed {number}" + ("" if name == "value" else f" for {name}")


def _agrees(ours, theirs, allowed) -> bool:
    if isinstance(ours, str) or isinstance(theirs, str):
        if not (isinstance(ours, str) and isinstance(theirs, str)) or NUMBER.sub("#", ours) != NUMBER.sub("#", theirs):
            return False
        pairs = zip(NUMBER.findall(ours), NUMBER.findall(theirs), strict=True)
        return all(abs(_number(a) - _number(b)) <= max(_unit(a), _unit(b)) * (1 + 1e-9) for a, b in pairs)
    if callable(allowed):
        allowed = allowed(max(abs(ours), abs(theirs)))
    return bool(abs(ours - theirs) <= allowed * (1 + 1e-9))


def _number(text: str) -> float:
    return float(text.replace("−", "-"))


def _unit(text: str) -> float:
    """One in the last place of a number as it is written."""
    mantissa, _, exponent = text.partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def _last_place(name: str, entry: Mapping):
    """A function from a size to one unit in the last place that is shown; numbers that no text shows are held to a thousandth."""
    style = entry.get("format", ".3g")
    if "text" in entry and name not in ("value", "error"):
        match = re.search(r"\{" + re.escape(name) + r"(?::([^}]*))?\}", entry["text"])
        style = ".4g" if match is None else match[1] or ""
    kind = re.fullmatch(r"[+, ]*(?:\.(\d+))?([a-zA-Z%]?)", style)

    def unit(size: float) -> float:
        digits, letter = (int(kind[1]) if kind[1] else None, kind[2]) if kind else (None, "")
        if letter == "d" or digits is None:
            return 0.0 if letter == "d" or not letter else 1e-3 * size
        if letter in ("f", "%"):
            return 10.0 ** -(digits + 2 * (letter == "%"))
        order = math.floor(math.log10(size)) if size > 0 else 0
        return 10.0 ** (order - digits + (letter == "g"))

    return unit


def _typeset(texts: Mapping[str, str]) -> dict[str, str]:
    """Numbers below zero with a minus sign, not a hyphen."""
    return {key: re.sub(r"(?<!\w)-(?=\.?\d)", "−", text) for key, text in texts.items()}


def glue_texts(texts: Mapping[str, Any]) -> None:
    """Hand each text to the book under its key."""
    from myst_nb import glue

    for key, text in texts.items():
        glue(key, text, display=False)
