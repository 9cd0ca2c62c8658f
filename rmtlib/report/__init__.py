"""A report on any network: a page to send around, a table, and the same as JSON.

The first screen of the page is a paragraph, a heat map of layers and statistics, and their trend over depth; then the table with
what noise of the same shapes gives, every layer with its four panels, what was left out, and where all this comes from.
`make_report` writes it; its parts can be called alone, as chapter 18 of the book does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from .. import checks
from ..files import input_files, write_together
from ..layer_table import chosen_layers
from ..network import analyse_network
from ..network_summary import NetworkSummary, summarise_network
from .conditions import read_condition
from .heatmap import Statistic, heat_map
from .origins import provenance
from .outputs import of_one_table, output_files, plain
from .overview import statistics, trends
from .page import page
from .panels import panels
from .places import Place, places
from .source import MINILM, find_network, minilm, noise_like
from .tables import readable, skipped

__all__ = [
    "MINILM",
    "Place",
    "Report",
    "Statistic",
    "find_network",
    "heat_map",
    "make_report",
    "minilm",
    "noise_like",
    "page",
    "panels",
    "places",
    "provenance",
    "readable",
    "skipped",
    "statistics",
    "trends",
]

SCHEMA = 1


@dataclass(frozen=True)
class Report:
    """What `make_report` wrote and found.

    Attributes
    ----------
    html, csv, json : pathlib.Path
        The files.
    table : pandas.DataFrame
        Of `rmtlib.analyse_network`.
    noise : pandas.DataFrame or None
        The same of noise.
    summary : NetworkSummary
        The numbers of the whole network, and the first paragraph of the page.
    provenance : dict
        From `provenance`.
    failing : dict of str to list of (str, float)
        Layers that meet a condition of ``fail_on`` with their values, by the condition.
    """

    html: Path
    csv: Path
    json: Path
    table: object
    noise: object
    summary: NetworkSummary
    provenance: dict
    failing: dict[str, list[tuple[str, float]]]

    @property
    def failed(self) -> bool:
        """Whether any layer meets a condition."""
        return any(self.failing.values())


def make_report(
    weights: str,
    output="report",
    *,
    a: int = 15,
    null: bool = True,
    seed: int = 0,
    split_qkv: bool = False,
    layers: str | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    progress: bool = True,
    fail_on: Sequence[str] = (),
) -> Report:
    """Analyse a network and write a page, a table and a JSON file about it.

    Parameters
    ----------
    weights : str
        As in `find_network`.
    output : path
        The files are ``output`` with ``.html``, ``.csv`` and ``.json``; in a folder that exists, they are called ``report``.
    a, layers, workers, scheduler, progress
        As in `rmtlib.analyse_network`.
    resume : bool
        Keep the rows that the table holds already for this file and these parameters, and analyse the other layers. The page has
        the panels of these others alone. Rows of layers that are not chosen now stay in the CSV, and in it alone.
    null : bool
        Analyse noise of the same shapes as well, see `noise_like`.
    seed : int
        Of the noise.
    split_qkv : bool
        Split fused attention weights, as in `rmtlib.load_weights`.
    fail_on : sequence of str
        Conditions such as ``"outliers>100"``, see `rmtlib.report.conditions`.

    Returns
    -------
    Report
        The table has one row a layer and is written anew as layers finish, every five seconds at most; page and JSON when
        all are.

    Raises
    ------
    ValueError
        If the network cannot be read, an argument is wrong, or the files cannot be written there; nothing is written then.
    KeyboardInterrupt
        After Ctrl-C. The table holds the layers that were finished, and there is no page.

    Notes
    -----
    The JSON is an object with ``schema`` (a number, which changes if a name does), ``provenance``, ``summary``, ``layers`` and
    ``noise`` (rows of the table by the names of their columns, what could not be said is null), ``skipped`` and ``failing``.
    """
    checks.integer(a, "a", at_least=1)
    if workers is not None:
        checks.integer(workers, "workers", at_least=1)
    conditions = [read_condition(text) for text in fail_on]
    network = find_network(weights, split_qkv=split_qkv)
    shapes = noise_like(network, seed, chosen_layers(network, layers)) if null else None
    html, csv, as_json = output_files(output, "report", input_files(network.origin))
    drawn: dict[str, str] = {}
    analysed = partial(analyse_network, a=a, workers=workers, progress=progress)
    began = time.monotonic()
    with of_one_table(csv, html, as_json):
        table = analysed(
            network,
            layers=layers,
            scheduler=scheduler,
            csv=csv,
            resume=resume,
            on_layer=lambda analysis: drawn.update({analysis.name: panels(analysis)}),
        )
        noise = None if shapes is None else analysed(shapes)
    told = [condition.text for condition in conditions]
    parameters = {"a": a, "null": null, "seed": seed, "split_qkv": split_qkv, "layers": layers, "fail_on": told}
    origin = provenance(network, Path(weights).name or weights, parameters, time.monotonic() - began)
    summary = summarise_network(table, network.skipped)
    failing = {condition.text: condition.failing(table) for condition in conditions}
    beside = (csv.name, as_json.name)
    shown = page(table, network, summary, origin, drawn=drawn, noise=noise, failing=failing, beside=beside)
    found = Report(html, csv, as_json, table, noise, summary, origin, failing)
    write_together({as_json: _json(found, network), html: shown.encode()})
    return found


def _json(found: Report, network) -> bytes:
    content = {
        "schema": SCHEMA,
        "provenance": found.provenance,
        "summary": asdict(found.summary),
        "layers": _rows(found.table),
        "noise": None if found.noise is None else _rows(found.noise),
        "skipped": [{"name": name, "shape": list(shape), "reason": reason} for name, shape, reason in network.skipped],
        "failing": found.failing,
    }
    return json.dumps(plain(content), indent=1, ensure_ascii=True, allow_nan=False).encode()


def _rows(table) -> list[dict]:
    return table.to_dict("records")
