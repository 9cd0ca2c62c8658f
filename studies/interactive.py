"""Figures that a reader moves: charts with sliders, drawn in the page by scripts that ship with the book.

A figure is up to four charts, two in a row and one below the other on a phone, and sliders that set their parameters. Where
scripts do not run, and in print, a still picture stands for it, drawn from the same specification with the sliders at the start.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import altair as alt
import numpy as np
import vl_convert

from rmtlib.figures import COLORS

__all__ = ["INITIAL", "INK", "OTHER", "TRAINED", "Interactive", "Slider"]

# The page says for each theme what these are (see `rmtlib.vector`).
TRAINED, INITIAL, OTHER = (f"var(--figure-{name}, {COLORS[name]})" for name in ("trained", "initial", "other"))
INK = "currentColor"
# Pixels: width of the still picture, height of a chart, of one of several rows, and what axis and gap take of the width.
WIDTH, HEIGHT, LOW, MARGIN = 640, 250, 190, 64
CONFIG = {
    "font": "inherit",
    "background": "transparent",
    "view": {"stroke": None},
    "concat": {"spacing": 18},
    "axis": {
        "grid": False,
        "domainColor": INK,
        "tickColor": INK,
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 13,
        "titleFontWeight": "normal",
    },
    "axisY": {"minExtent": 34, "maxExtent": 34, "tickCount": 5},
    "axisX": {"tickCount": 6, "labelFlush": False},
    "text": {"fontSize": 12.5, "color": INK},
    "title": {"color": INK, "fontSize": 13, "fontWeight": "normal", "anchor": "start"},
}


@dataclass(frozen=True)
class Slider:
    """A slider that sets one parameter of the charts.

    Attributes
    ----------
    name : str
        Of the parameter, as the expressions of the charts call it.
    label : str
        What the reader sees beside the slider.
    values : sequence of float
        Its positions, in order.
    start : int
        Index of the first position.
    words : str or sequence of str
        A position in words, with its unit: a format such as ``"{:.0f} %"``, or one text for each value.
    """

    name: str
    label: str
    values: Sequence[float] | np.ndarray
    start: int = 0
    words: str | Sequence[str] = "{:g}"

    def __post_init__(self) -> None:
        if not 0 <= self.start < len(self.values):
            msg = f"start must be one of the {len(self.values)} positions of the slider {self.name}; got {self.start}"
            raise ValueError(msg)
        if len(self.texts) != len(self.values):
            msg = f"words must hold a text for each of the {len(self.values)} positions of the slider {self.name}"
            raise ValueError(msg)

    @property
    def numbers(self) -> list[float]:
        """The positions, rounded to six digits."""
        return [float(f"{value:.6g}") for value in np.asarray(self.values, dtype=float)]

    @property
    def texts(self) -> list[str]:
        """The positions in words."""
        return [self.words.format(x) for x in self.numbers] if isinstance(self.words, str) else list(self.words)

    def html(self) -> str:
        """A native range input with its label and its value in words."""
        positions = escape(json.dumps({"name": self.name, "values": self.numbers, "texts": self.texts}, ensure_ascii=False))
        return (
            f'<label><span>{escape(self.label)}</span><input type="range" min="0" max="{len(self.values) - 1}" '
            f'value="{self.start}" autocomplete="off" aria-valuetext="{escape(self.texts[self.start])}" '
            f'data-positions="{positions}"><output>{escape(self.texts[self.start])}</output></label>'
        )


class Interactive:
    """Up to four charts with sliders, shown by the book; elsewhere their still picture.

    Parameters
    ----------
    charts : sequence of altair.Chart or altair.LayerChart
        One to four, of no size of their own. Data are part of them.
    sliders : sequence of Slider
        One at least.
    alt : str
        What the charts show and what the sliders change, for those who do not see it.

    Raises
    ------
    ValueError
        If there are no charts, more than four, no sliders, or ``alt`` is empty.
    """

    def __init__(self, charts: Sequence, sliders: Sequence[Slider], *, alt: str):
        if not 1 <= len(charts) <= 4:
            msg = f"charts must be one to four; got {len(charts)}"
            raise ValueError(msg)
        if not sliders:
            msg = "sliders is empty: without one, the figure has nothing to move"
            raise ValueError(msg)
        if not alt.strip():
            msg = "alt is empty: say in a sentence what the charts show"
            raise ValueError(msg)
        self.charts, self.sliders, self.alt = list(charts), list(sliders), alt

    def specification(self, width: int = WIDTH) -> dict:
        """The figure in Vega-Lite, with two charts in a row."""
        columns = min(len(self.charts), 2)
        size = {"width": width // columns - MARGIN, "height": HEIGHT if len(self.charts) <= 2 else LOW}
        sized = [chart.properties(**size) for chart in self.charts]
        params = [alt.param(name=slider.name, value=slider.numbers[slider.start]) for slider in self.sliders]
        figure = alt.concat(*sized, columns=columns).add_params(*params).to_dict() | {"config": CONFIG}
        return {key: part for key, part in figure.items() if key != "$schema"}

    def still(self) -> str:
        """The picture at the start, as an ``<svg>`` element in the colours of the page."""
        specification = self.specification()
        svg = vl_convert.vegalite_to_svg(specification, vl_version=vl_convert.get_vegalite_versions()[-1])
        # Names of its own: those of Vega count the pictures of the process.
        own = hashlib.sha256(json.dumps(specification).encode()).hexdigest()[:8]
        known: dict[str, int] = {}
        svg = re.sub(r'(?<=id=")clip\d+|(?<=#)clip\d+', lambda name: f"{own}-{known.setdefault(name[0], len(known))}", svg)
        return re.sub(r'^<svg [^>]*(viewBox="[^"]*")[^>]*>', r'<svg aria-hidden="true" \1>', svg[svg.index("<svg") :])

    def _repr_html_(self) -> str:
        text = escape(self.alt)
        specification = json.dumps(self.specification(), ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
        start = "; ".join(f"{slider.label}: {slider.texts[slider.start]}" for slider in self.sliders)
        return (
            f'<div class="interactive" role="group" aria-label="figure with sliders">'
            f'<div class="sliders" hidden>{"".join(slider.html() for slider in self.sliders)}</div>'
            f'<div class="live" role="img" aria-label="{text}" hidden><div aria-hidden="true"></div></div>'
            f'<div class="still"><div role="img" aria-label="{text}">{self.still()}</div><p>{escape(start)}</p></div>'
            f'<script type="application/json">{specification}</script></div>'
        )
