"""Colours, letters and strokes that all drawings of the book share."""

from __future__ import annotations

from typing import Any

from rmtlib.figures import COLORS

__all__ = ["BAND", "EXACT", "FILTERED", "INITIAL", "LAW", "NOISE", "OTHER", "TRAINED", "WORDS"]

TRAINED, INITIAL, NOISE, LAW, BAND, OTHER = (COLORS[key] for key in ("trained", "initial", "noise", "law", "band", "other"))
# The law of the number variance: exact, and what the unfolding leaves of it.
EXACT: dict[str, Any] = {"color": LAW, "ls": ":", "lw": 1.5}
FILTERED: dict[str, Any] = {"color": LAW, "ls": "--", "lw": 1.2}
WORDS: dict[str, Any] = {"fontsize": 8.5}
