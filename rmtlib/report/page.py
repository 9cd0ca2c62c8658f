"""The page of a report: HTML that holds its figures, runs no script and asks nothing of another host."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass

from ..layer_analysis import LayerAnalysis
from ..weights import Weights
from .tables import readable, skipped

__all__ = ["Picture", "page", "panels"]

DPI = 110


@dataclass(frozen=True)
class Picture:
    """A figure as bytes of a PNG, which notebooks show, and the text that stands for it."""

    png: bytes
    text: str

    @property
    def base64(self) -> str:
        """The PNG as a page holds it."""
        return base64.b64encode(self.png).decode()

    def _repr_png_(self):
        return self.base64, {"alt": self.text}


def panels(analysis: LayerAnalysis) -> Picture:
    """The four panels of a layer in the book's style, drawn without pyplot: whatever backend it has does not matter.

    Parameters
    ----------
    analysis : LayerAnalysis

    Returns
    -------
    Picture
        Its text names the layer and says where information sits.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from .. import figures

    png = io.BytesIO()
    with mpl.rc_context():
        figures.set_style()
        figure = analysis.plot(Figure(figsize=(15, 3.4), layout="constrained"))
        figure.savefig(png, format="png", dpi=DPI)
    return Picture(png.getvalue(), f"Spectrum, spacings, number variance and vectors of {analysis.summary}")


def page(analyses: Iterable[LayerAnalysis], table, weights: Weights, *, name: str, noise=None) -> str:
    """The report as one page of HTML.

    Parameters
    ----------
    analyses : iterable of LayerAnalysis
        The layers to show with panels, in this order.
    table : pandas.DataFrame
        From `rmtlib.analyse_network`.
    weights : Weights
        What was analysed; what was left out of it is listed.
    name : str
        What the page calls the network.
    noise : pandas.DataFrame, optional
        The same table of noise.

    Returns
    -------
    str
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(
        name=name,
        null=None if noise is None else _shown(noise, "null"),
        layers=_shown(table, "layers"),
        panels=[(analysis, panels(analysis)) for analysis in analyses],
        skipped=skipped(weights, table).set_uuid("skipped").to_html(),
    )


def _shown(table, uuid):
    return {"table": readable(table).set_uuid(uuid).to_html(), "summaries": list(table["summary"])}
