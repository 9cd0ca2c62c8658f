"""Colours and letters that all drawings of the book share."""

from __future__ import annotations

from typing import Any

from rmtlib.figures import COLORS

__all__ = ["BAND", "INITIAL", "LAW", "NOISE", "OTHER", "TRAINED", "WORDS"]

TRAINED, INITIAL, NOISE, LAW, BAND, OTHER = (COLORS[key] for key in ("trained", "initial", "noise", "law", "band", "other"))
WORDS: dict[str, Any] = {"fontsize": 8.5}
