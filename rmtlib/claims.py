"""Numbers and verdicts of the book: checked where they are computed, glued into the prose, collected on the scoreboard.

A sentence never contains a number that somebody typed. The cell that computes the number passes it to `Claims.number`
together with the value recorded for it; if the two differ by more than the tolerance, the cell fails and so does the book.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

__all__ = ["Claim", "ClaimError", "Claims"]

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NO_VALUE = "–"


class ClaimError(AssertionError):
    """A computed value contradicts what the book records for it."""


@dataclass(frozen=True)
class Claim:
    """One checked number or statement.

    Attributes
    ----------
    id : str
        Identifier in the checklist of the paper (``N1``, ``C4``, ...) or a name of the book's own.
    ours : float or str
        The number, or the evidence for the statement.
    paper : float or None
        The paper's number.
    verdict : str or None
        ``"reproduced"``, ``"not reproduced"`` or ``"not tested here (command)"``; None for a number that the paper does not give.
    """

    id: str
    ours: float | str
    paper: float | None
    verdict: str | None


class Claims:
    """The claims of one chapter.

    Parameters
    ----------
    checked : bool
        Compare with the recorded values. They hold for the chapter's default parameters: a chapter that is run with
        parameters of the reader's own is run with ``checked=False`` and glues what it computes.

    Raises
    ------
    ValueError
        If ``checked`` is not a bool, as the word ``false`` on papermill's command line is not.
    """

    def __init__(self, checked: bool = True):
        if not isinstance(checked, bool):
            raise ValueError(f"checked must be True or False; got {checked!r} (with papermill: -p checked False)")
        self.checked = checked

    def number(
        self,
        id: str,
        ours: float,
        *,
        expected: float,
        tolerance: float,
        error: float | None = None,
        paper: float | None = None,
        within: float | None = None,
        fmt: str = ".3g",
    ) -> Claim:
        """Check a number against the recorded one, and glue it.

        Glued are ``id`` (our value) and, where given, ``id-error``, ``id-paper`` and ``id-verdict``.

        Parameters
        ----------
        id : str
            Name of the number; the key of the glued value.
        ours : float
            The value just computed.
        expected, tolerance : float
            The recorded value and the largest difference that is no regression, in the unit of ``ours``.
        error : float, optional
            Standard error of ``ours``.
        paper, within : float, optional
            The paper's value, and how near to it ours counts as reproduced.
        fmt : str
            Format of all glued numbers.

        Raises
        ------
        ClaimError
            If ``ours`` is not finite, or differs from ``expected`` by more than ``tolerance``.
        """
        if not math.isfinite(ours):
            raise ClaimError(f"{id}: computed {ours}")
        self._compare(
            abs(ours - expected) <= tolerance,
            f"{id}: computed {ours:.6g}, but the book records {expected:.6g} with tolerance {tolerance:.2g}",
        )
        verdict = None if paper is None else REPRODUCED if abs(ours - paper) <= within else NOT_REPRODUCED
        numbers = {id: ours, f"{id}-error": error, f"{id}-paper": paper}
        glued = {key: _typeset(format(value, fmt)) for key, value in numbers.items() if value is not None}
        glue_texts(glued | _verdict(id, verdict))
        return Claim(id, ours, paper, verdict)

    def statement(self, id: str, holds: bool, *, expected: bool, evidence: str) -> Claim:
        """Decide a statement of the paper by a computed truth value, and glue verdict and evidence.

        Glued are ``id`` (the evidence) and ``id-verdict``.

        Parameters
        ----------
        id : str
            Identifier of the statement.
        holds : bool
            Whether the test that decides the statement came out for it.
        expected : bool
            The recorded outcome.
        evidence : str
            The numbers behind the outcome, in a few words.

        Raises
        ------
        ClaimError
            If the outcome is not the recorded one.
        """
        holds = bool(holds)
        self._compare(holds == expected, f"{id}: came out {holds}, but the book records {expected} ({evidence})")
        verdict = REPRODUCED if holds else NOT_REPRODUCED
        glue_texts({id: _typeset(evidence)} | _verdict(id, verdict))
        return Claim(id, evidence, None, verdict)

    def untested(self, id: str, command: str, *, paper: float | None = None, fmt: str = ".3g") -> Claim:
        """Record that a claim of the paper is not tested here, and how to test it.

        Glued are ``id`` (a dash, where our value would stand), ``id-verdict`` and, where given, ``id-paper``.

        Parameters
        ----------
        id : str
            Identifier of the claim.
        command : str
            The command that tests it.
        paper : float, optional
            The paper's value.
        fmt : str
            Format of the paper's value.

        Raises
        ------
        ClaimError
            If there is no command.
        """
        if not command.strip():
            raise ClaimError(f"{id}: a claim that is not tested here needs the command that tests it")
        verdict = f"not tested here ({command})"
        numbers = {} if paper is None else {f"{id}-paper": _typeset(format(paper, fmt))}
        glue_texts({id: NO_VALUE} | numbers | _verdict(id, verdict))
        return Claim(id, NO_VALUE, paper, verdict)

    def _compare(self, agrees, message):
        if self.checked and not agrees:
            raise ClaimError(f"{message}; with parameters of your own, run with checked=False")


def _typeset(text):
    """Numbers below zero with a minus sign, not a hyphen."""
    return re.sub(r"(?<!\w)-(?=\.?\d)", "−", text)


def _verdict(id, verdict):
    return {} if verdict is None else {f"{id}-verdict": verdict}


def glue_texts(texts):
    """Hand each text to the book under its key."""
    from myst_nb import glue

    for key, text in texts.items():
        glue(key, text, display=False)
