"""A heat map of layers and statistics: inline SVG without scripts, coloured by effect and marked by q.

Layers of one kind make a panel, with one row a layer in the order of depth; panels stand side by side as far as the page is wide.
So the six blocks of a small transformer and the eighty of a large one both fit a screen, and a telephone shows two panels a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ..text import printable
from .places import Place

__all__ = ["Statistic", "heat_map"]

LEVEL = 0.05
CELL = 16  # pixels, as all lengths here
LETTER = 6.5  # mean width
ROWS = 100  # of a panel
OTHERS = "other layers"
FEW = 3  # layers, from which on a kind has a panel of its own
HEIGHTS = ((20, 16), (40, 11), (ROWS, 6))  # rows of a panel, height of each
LONGEST = 20  # letters of a label of a row
TITLE = 30
# White over the book's blue (trained) and, for what is negative, its orange (noise): told apart by every kind of colour vision,
# and each darkens steadily, so that grey print keeps the order.
ABOVE = ("#ffffff", "#0173b2", "#00304d")
BELOW = ("#ffffff", "#d55e00", "#5c2800")
UNKNOWN = "#efefef"
INK = "#222222"


@dataclass(frozen=True)
class Statistic:
    """A column of the map.

    Attributes
    ----------
    label : str
        Its head, in few words.
    effects : sequence of float or None
        One a layer, zero where nothing was found; None or nan where nothing can be said.
    full : float
        Size of the effect from which on the colour is fullest; positive. Smaller ones are drawn by their square root, which shows
        one level in a thousand.
    qvalues : sequence of float or None, optional
        Of the same layers, among all tests of the column; below 0.05 the cell has a dot. None: there is no test, and no dot.
    form : str
        Format of an effect in the text that a pointer over the row shows.
    """

    label: str
    effects: Sequence[float | None]
    full: float
    qvalues: Sequence[float | None] | None = None
    form: str = "{:.2g}"


def heat_map(places: Sequence[Place], statistics: Sequence[Statistic], *, signed: bool = False, links: bool = True) -> str:
    """Layers against statistics as HTML that can stand in any page.

    Parameters
    ----------
    places : sequence of Place
        One a layer, see `rmtlib.report.places`.
    statistics : sequence of Statistic
        With one effect for each of ``places``.
    signed : bool
        Effects may be negative: those are orange, and the legend says so. Otherwise a negative effect counts as none.
    links : bool
        A row leads to the element ``layer-<n>`` of the page, n its place among ``places`` from 0.

    Returns
    -------
    str
        A ``<div>`` of inline SVG, one for each kind of matrix, with a legend; its text is escaped.

    Raises
    ------
    ValueError
        If there is no layer or no statistic, a statistic has another number of effects or q-values than there are layers, or its
        ``full`` is not positive.

    Examples
    --------
    >>> from rmtlib.report.places import places
    >>> layers = places(["dense1", "dense2"])
    >>> html = heat_map(layers, [Statistic("levels above", [0.0, 0.3], 0.5, [1.0, 0.001])])
    >>> html.count("<svg"), html.count("<a href")
    (4, 2)
    """
    _check(places, statistics)
    panels = _grouped(places)
    parts = [(kind, rows[start : start + ROWS], start) for kind, rows in panels.items() for start in range(0, len(rows), ROWS)]
    drawn = [
        _panel(f"{kind}, from {start + 1}" if len(panels[kind]) > ROWS else kind, rows, places, statistics, signed, links)
        for kind, rows, start in parts
    ]
    row = '<div style="display:flex;flex-wrap:wrap;gap:12px 8px;align-items:flex-start">'
    return f'<div class="heatmap">{row}{"".join(drawn)}</div>{_legend(statistics, signed)}</div>'


def _check(places, statistics):
    if not places or not statistics:
        msg = f"a heat map needs layers and statistics; got {len(places)} layers and {len(statistics)} statistics"
        raise ValueError(msg)
    for statistic in statistics:
        for what, values in (("effects", statistic.effects), ("qvalues", statistic.qvalues)):
            if values is not None and len(values) != len(places):
                msg = f"statistic {statistic.label!r} must have {len(places)} {what}, one a layer; got {len(values)}"
                raise ValueError(msg)
        if not statistic.full > 0:
            msg = f"full of statistic {statistic.label!r} must be above 0; got {statistic.full!r}"
            raise ValueError(msg)


def _grouped(places):
    """Rows by kind; kinds of one or two layers share a panel at the end if there are others."""
    panels: dict[str, list[int]] = {}
    for index, place in enumerate(places):
        panels.setdefault(place.kind, []).append(index)
    for rows in panels.values():
        rows.sort(key=lambda row: places[row].rank)
    few = [kind for kind, rows in panels.items() if len(rows) < FEW]
    if 1 < len(few) and len(few) < len(panels):
        rest = sorted(row for kind in few for row in panels.pop(kind))
        panels[OTHERS] = rest
    return panels


def _panel(kind, rows, places, statistics, signed, links):
    height = next(height for limit, height in HEIGHTS if len(rows) <= limit)
    labels = [shorten(places[row].layer if kind == OTHERS else places[row].depth, LONGEST) for row in rows]
    left = max(14, math.ceil(LETTER * max(map(len, labels)))) + 4
    head = 22 + math.ceil(LETTER * max(len(statistic.label) for statistic in statistics))
    title = shorten(kind, TITLE)
    width = max(left + CELL * len(statistics) + 2, math.ceil(1.1 * LETTER * len(title)) + 4)
    total = head + height * len(rows) + 2
    text = [f'<text x="0" y="11" font-weight="600">{escape(title)}</text>']
    for column, statistic in enumerate(statistics):
        x = left + CELL * (column + 0.5) + 3.5
        text.append(f'<text transform="translate({x:g} {head - 4}) rotate(-90)">{escape(printable(statistic.label))}</text>')
    step, over = math.ceil(10 / height), []
    for place, row in enumerate(rows):
        top = head + height * place
        if place % step == 0:
            text.append(f'<text x="{left - 4}" y="{top + height / 2 + 3.5:g}" text-anchor="end">{escape(labels[place])}</text>')
        words = f"{printable(places[row].layer)}: {', '.join(_words(statistic, row) for statistic in statistics)}"
        whole = f'<title>{escape(words)}</title><path d="M0 {top}h{width}v{height}H0z"/>'
        over.append(f'<a href="#layer-{row}">{whole}</a>' if links else f"<g>{whole}</g>")
    named = escape(f"{printable(kind)}: {len(rows)} layers, {len(statistics)} statistics; the table has the numbers", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="{"group" if links else "img"}" aria-label="{named}" width="{width}" '
        f'height="{total}" viewBox="0 0 {width} {total}" font-family="system-ui,sans-serif" font-size="10" fill="{INK}">'
        f"{_cells(rows, statistics, left, head, height, signed)}{''.join(text)}"
        f'<g fill="none" pointer-events="all">{"".join(over)}</g></svg>'
    )


def _cells(rows, statistics, left, head, height, signed):
    """All cells, those of one colour as one path; dots are lines without length that have round ends."""
    filled: dict[str, str] = {}
    dots: dict[str, str] = {"#fff": "", INK: ""}
    dashes = ""
    for place, row in enumerate(rows):
        y = head + height * place
        for column, statistic in enumerate(statistics):
            x, effect = left + CELL * column, statistic.effects[row]
            fill, center = UNKNOWN, f"M{x + CELL // 2} {y + height / 2:g}"
            if effect is None or math.isnan(effect):
                dashes += f"{center}m-3 0h6"
            else:
                strength = shade(effect, statistic.full) if signed or effect > 0 else 0.0
                fill = color(strength)
                if is_marked(statistic, row):
                    dots["#fff" if abs(strength) > 0.4 else INK] += f"{center}h0"
            filled[fill] = f"{filled.get(fill, '')}M{x} {y}h{CELL}v{height}h-{CELL}z"
    paths = "".join(f'<path d="{d}" fill="{fill}"/>' for fill, d in filled.items())
    size = min(5.2, height - 2.4)
    marks = "".join(f'<path d="{d}" stroke="{ink}" stroke-width="{size:g}"/>' for ink, d in dots.items() if d)
    dashed = f'<path d="{dashes}" stroke="#888"/>' if dashes else ""
    return f'<g stroke="#ddd" stroke-width=".5">{paths}</g><g fill="none" stroke-linecap="round">{marks}{dashed}</g>'


def is_marked(statistic: Statistic, row: int) -> bool:
    """Whether a layer has a q below 0.05."""
    qvalue = None if statistic.qvalues is None else statistic.qvalues[row]
    return qvalue is not None and qvalue < LEVEL


def shade(effect: float, full: float) -> float:
    """From -1 to 1: the square root of the effect as a share of the one that is drawn in full, with its sign."""
    return math.copysign(math.sqrt(min(abs(effect) / full, 1.0)), effect)


def color(strength: float) -> str:
    """The colour of a shade in steps of one twenty-fourth, as ``#rrggbb``."""
    stops = BELOW if strength < 0 else ABOVE
    place = round(24 * min(abs(strength), 1.0)) / 24 * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    ends = [[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in stops[low : low + 2]]
    mixed = (round(a + (place - low) * (b - a)) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def shorten(name: str, longest: int) -> str:
    """A name of at most so many letters, without its middle; its end tells layers apart best."""
    name = printable(name)
    return name if len(name) <= longest else f"{name[: longest // 3]}…{name[-(longest - longest // 3 - 1) :]}"


def _words(statistic, row):
    effect = statistic.effects[row]
    if effect is None or math.isnan(effect):
        return f"{printable(statistic.label)} unknown"
    qvalue = None if statistic.qvalues is None else statistic.qvalues[row]
    q = "" if qvalue is None or math.isnan(qvalue) else f" (q = {qvalue:.2g})"
    return f"{printable(statistic.label)} {statistic.form.format(effect)}{q}"


def _legend(statistics, signed):
    steps = [i / 8 for i in range(-8 if signed else 0, 9)]
    ramp = "".join(
        f'<path d="M{9 * i} 0h9v12h-9z" fill="{color(step)}" stroke="#ddd" stroke-width=".5"/>' for i, step in enumerate(steps)
    )
    first = "negative" if signed else "nothing found"
    last = "positive" if signed else "largest effect"
    dot = f'<path d="M.5.5h15v11h-15z" fill="#fff" stroke="#ddd"/><circle cx="8" cy="6" r="2.6" fill="{INK}"/>'
    dash = f'<path d="M.5.5h15v11h-15z" fill="{UNKNOWN}" stroke="#ddd"/><path d="M5 6h6" stroke="#888"/>'
    tested = any(statistic.qvalues is not None for statistic in statistics)
    marks = f" · {_swatch(16, dot)} q below {LEVEL:g} in its column" if tested else ""
    scales = "; ".join(f"{escape(printable(s.label))} {escape(s.form.format(s.full))}" for s in statistics)
    return (
        f'<p class="legend" style="font-size:.8rem">{first} {_swatch(9 * len(steps), ramp)} {last}{marks} · {_swatch(16, dash)} '
        f"cannot be said. Fullest colour from: {scales}.</p>"
    )


def _swatch(width, drawn):
    return (
        f'<svg width="{width}" height="12" viewBox="0 0 {width} 12" style="vertical-align:-1px" aria-hidden="true">{drawn}</svg>'
    )
