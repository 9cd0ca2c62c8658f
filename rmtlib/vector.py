"""Figures as vector graphics inside a page: sharp at every width, legible in a light and in a dark theme.

A picture file has its colours for good. A drawing that is part of the page takes the colour of the text around it, and the
colours of the book by their names, which the page may set for each theme: ``--figure-trained`` and the like, one for each key of
``rmtlib.figures.COLORS``.
"""

from __future__ import annotations

import io
import re
from html import escape

from .figures import COLORS

__all__ = ["Drawing", "Row", "drawing", "side_by_side", "small_axes"]

INK = ("#000000", "#262626")  # black, and that of the book's axes
NAMED = ("trained", "initial", "other", "band")


class Drawing:
    """A figure as SVG, shown by notebooks and by the book.

    Attributes
    ----------
    svg : str
        One ``<svg>`` element with a role and a text of its own.
    """

    def __init__(self, svg: str):
        self.svg = svg

    def _repr_html_(self) -> str:
        return f'<div class="drawing">{self.svg}</div>'


class Row:
    """Drawings side by side, or one below the other where the page is narrow.

    Attributes
    ----------
    drawings : tuple of Drawing
    across : int
        How many stand side by side on a page of full width.
    """

    def __init__(self, drawings: tuple[Drawing, ...], across: int):
        self.drawings = drawings
        self.across = across

    def _repr_html_(self) -> str:
        parts = "".join(one._repr_html_() for one in self.drawings)
        return f'<div class="drawings" style="--across: {self.across}">{parts}</div>'


def side_by_side(*drawings: Drawing, across: int | None = None) -> Row:
    """Put drawings into one figure whose panels find their own places: a row on a wide page, a column on a phone.

    Parameters
    ----------
    *drawings : Drawing
        From `drawing`, each with a text of its own.
    across : int, optional
        How many stand side by side on a page of full width; by default all.

    Returns
    -------
    Row

    Raises
    ------
    ValueError
        If there are no drawings, or more than six.
    """
    if not 1 <= len(drawings) <= 6:
        msg = f"drawings must be one to six, or nobody looks at each of them; got {len(drawings)}"
        raise ValueError(msg)
    return Row(drawings, across or len(drawings))


def small_axes(width: float = 3.4, height: float = 2.4, *, rows: int = 1):
    """A figure in the size of a panel, whose letters can be read on a phone.

    Parameters
    ----------
    width, height : float
        Inches.
    rows : int
        Axes below each other, which share their x-axis.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : matplotlib.axes.Axes, or array of shape (rows,)
        One if there is one row.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(rows, 1, figsize=(width, height), sharex=True, layout="constrained")
    for ax in figure.axes:
        ax.tick_params(labelsize=8.5)
        for text in (ax.xaxis.label, ax.yaxis.label):
            text.set_fontsize(9.5)
        ax.title.set_fontsize(10)
    return figure, axes


def drawing(figure, *, alt: str) -> Drawing:
    """Turn a figure into a drawing, and close the figure.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    alt : str
        What the figure shows, for those who do not see it.

    Returns
    -------
    Drawing
        Text stays text, in the letters of the page; the background is that of the page.

    Raises
    ------
    ValueError
        If ``alt`` is empty.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> fig, ax = plt.subplots()
    >>> drawing(fig, alt="Empty axes.").svg[:43]
    '<svg role="img" aria-label="Empty axes." vi'
    """
    if not alt.strip():
        msg = "alt is empty: say in a sentence what the figure shows"
        raise ValueError(msg)
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rmtlib"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    tag, body = re.split(r"(?<=>)", file.getvalue()[file.getvalue().index("<svg") :], maxsplit=1)
    box = re.findall(r'viewBox="[^"]*"', tag)[0]
    start = f'<svg role="img" aria-label="{escape(alt, quote=True)}" {box} fill="currentColor" stroke-linejoin="round">'
    return Drawing(start + _of_the_page(body))


def _of_the_page(body: str) -> str:
    """Colours and letters of the page, and nothing that a page has no use for."""
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r" ?font-family: [^;\"]*;?", "", body)
    for color in INK:
        body = body.replace(color, "currentColor")
    for name in NAMED:
        body = body.replace(COLORS[name], f"var(--figure-{name}, {COLORS[name]})")
    referred = set(re.findall(r"#(\w+)", body))
    body = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in referred else "", body)
    return re.sub(r"\s*\n\s*", "\n", body.replace("xlink:href", "href")).strip()
