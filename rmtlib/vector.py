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

__all__ = ["Drawing", "drawing"]

INK = ("#000000", "#262626")  # black, and that of the book's axes
NAMED = ("trained", "initial", "other")


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
