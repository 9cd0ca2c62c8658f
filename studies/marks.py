"""Axes, tables and marks that the interactive figures share."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from .interactive import INK

__all__ = [
    "DASHED",
    "DOTTED",
    "accuracies",
    "area",
    "circle",
    "curve",
    "histogram",
    "law",
    "line",
    "note",
    "points",
    "words",
    "x_axis",
    "y_axis",
]

DASHED: dict[str, Any] = {"color": INK, "strokeDash": [6, 4], "strokeWidth": 1.6, "clip": True}  # laws
DOTTED = DASHED | {"strokeDash": [1.5, 3.5]}  # edges, and a law before the unfolding
CIRCLE = "sqrt(max(4-pow(datum.x,2),0))/PI"


def x_axis(title, top, low=0.0):
    """The horizontal axis from ``low`` to ``top``, of the column x."""
    return alt.X("x:Q", title=title, scale=alt.Scale(domain=[low, top], nice=False))


def y_axis(title, top, low=0.0, values=alt.Undefined):
    """The vertical axis from ``low`` to ``top``, of the column y, with ticks at ``values``."""
    return alt.Y("y:Q", title=title, scale=alt.Scale(domain=[low, top], nice=False), axis=alt.Axis(values=values))


def points(start, stop, number=400):
    """Evenly spaced values of x, made in the page."""
    return alt.sequence(start, stop, round((stop - start) / number, 6), as_="x")


def curve(x, y, **columns):
    """A table of points, rounded to three decimals; columns say of what. Points without a value are left out."""
    return pd.DataFrame({"x": np.round(x, 3), "y": np.round(y, 3)}).assign(**columns).dropna()


def histogram(values, top, bins=60, **columns):
    """Density in each bin up to ``top``, at the lower end of the bin, and zero at ``top``, as `curve`."""
    edges = np.linspace(0, top, bins + 1)
    heights = np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
    return curve(edges, np.append(heights, 0), **columns)


def area(table, color, where=None, opacity=0.55, **axes):
    """A `histogram`; ``where`` is the expression of the rows to show."""
    return _rows(table, where).mark_area(interpolate="step-after", color=color, opacity=opacity, clip=True).encode(**axes)


def line(table, color, where=None, **axes):
    """A measured curve; ``where`` is the expression of the rows to show."""
    return _rows(table, where).mark_line(color=color, clip=True).encode(**axes)


def law(table, where=None, **axes):
    """The curve of a law, from a table."""
    return _rows(table, where).mark_line(**DASHED).encode(**axes)


def circle(**axes):
    """The law of square noise of scale one, a quarter circle of radius two."""
    return alt.Chart(points(0, 2)).transform_calculate(y=CIRCLE).mark_line(**DASHED).encode(**axes)


def words(table, where, x, y, column="text"):
    """A column of one row, its end at ``x`` and ``y``."""
    return _rows(table, where).mark_text(align="right").encode(x=alt.datum(x), y=alt.datum(y), text=f"{column}:N")


def note(text, x, y):
    """A text that stays, its end at ``x`` and ``y``."""
    return words(pd.DataFrame({"text": [text]}), None, x, y)


def accuracies(table, colors, now, where=None, **axes):
    """Curves of each kind, with a point and its value, which names the curve, in the rows that the slider chooses by ``now``."""
    color = alt.Color("kind:N", scale=alt.Scale(domain=list(colors), range=list(colors.values())), legend=None)
    here = _rows(table, now)
    told = here.transform_calculate(
        text="datum.kind + ' ' + format(datum.y, '.1f') + ' %'", place=f"77 - 7 * indexof({list(colors)}, datum.kind)"
    )
    return (
        _rows(table, where).mark_line(strokeWidth=1.5).encode(**axes, color=color)
        + here.mark_point(filled=True, size=60, opacity=1).encode(**axes, color=color)
        + told.mark_text(align="right").encode(x=alt.datum(float(table["x"].max())), y="place:Q", text="text:N", color=color)
    )


def _rows(table, where):
    chart = alt.Chart(table)
    return chart.transform_filter(where) if where else chart
