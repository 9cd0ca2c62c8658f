"""The page of a report: HTML that holds its figures, runs no script and asks nothing of another host."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from ..network_summary import NetworkSummary
from ..text import printable
from ..weights import Weights
from .columns import COLUMNS, cells
from .heatmap import heat_map
from .overview import statistics, trends
from .places import places
from .tables import left_out

__all__ = ["page", "template"]

BREAKS = re.compile(r"([./])(?=\w)")


def template(name: str):
    """A template of this folder; what it is given is escaped.

    Its filter ``printable`` is `rmtlib.text.printable`; ``breakable`` is the same, and lets a long name of a layer begin a new
    line after each of its parts.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["printable"] = printable
    escape, safe = environment.filters["escape"], environment.filters["safe"]
    environment.filters["breakable"] = lambda name: safe(BREAKS.sub(r"\1<wbr>", str(escape(printable(name)))))
    return environment.get_template(name)


def page(
    table,
    weights: Weights,
    summary: NetworkSummary,
    origin: Mapping,
    *,
    drawn: Mapping[str, str],
    noise=None,
    failing: Mapping[str, list] | None = None,
    beside: tuple[str, ...] = (),
) -> str:
    """The report as one page of HTML.

    Parameters
    ----------
    table : pandas.DataFrame
        From `rmtlib.analyse_network`.
    weights : Weights
        What was analysed; what was left out of it is listed.
    summary : NetworkSummary
        Of the table.
    origin : mapping
        From `rmtlib.report.provenance`.
    drawn : mapping of str to str
        Panels by layer, from `rmtlib.report.panels`.
    noise : pandas.DataFrame, optional
        The same table of noise.
    failing : mapping of str to list of (str, float), optional
        Layers that meet a condition, by the condition.
    beside : tuple of str
        Names of the files that lie beside the page.

    Returns
    -------
    str
    """
    standing = places(list(table["layer"]), weights.kinds)
    layers = [
        {"name": name, "summary": told.removeprefix(f"{name}: "), "cells": row, "panels": drawn.get(name, "")}
        for name, told, row in zip(table["layer"], table["summary"], cells(table), strict=True)
    ]
    null = [] if noise is None else [{"name": name, "cells": row} for name, row in zip(noise["layer"], cells(noise), strict=True)]
    used = [i for i, _ in enumerate(COLUMNS, 1) if any(row["cells"][i] for row in (*layers, *null))]
    return template("page.html").render(
        name=origin["network"],
        summary=summary,
        mean=lambda value, form: "unknown" if math.isnan(value) else form.format(value),
        heat=heat_map(standing, statistics(table)),
        trend=trends(table, standing),
        columns=[(i, COLUMNS[i - 1]) for i in used],
        null=null,
        noise_says=[] if noise is None else list(noise["summary"]),
        layers=layers,
        skipped=left_out(weights, table),
        origin=origin,
        failing=failing or {},
        beside=beside,
    )
