"""A comparison of two networks, or of the steps of a training, as a page, a table and JSON."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from .. import checks
from ..comparison import Comparison, compare
from ..files import input_files, write_together
from ..pairs import checkpoints
from ..weights import Weights, WeightsError
from .changes import COLUMNS, change_cells, change_statistics, change_trends, steps
from .heatmap import heat_map
from .origins import provenance
from .outputs import of_one_table, output_files, plain
from .page import template
from .places import places
from .source import find_network

__all__ = ["ComparisonReport", "comparison_page", "find_tuned", "make_comparison"]

SCHEMA = 1
LIST = 12  # of what was left out is shown open


@dataclass(frozen=True)
class ComparisonReport:
    """What `make_comparison` wrote and found.

    Attributes
    ----------
    html, csv, json : pathlib.Path
        The files.
    comparison : Comparison
        Of `rmtlib.compare`.
    provenance : dict
        ``base`` and ``tuned`` (a list, one a step) as `rmtlib.report.provenance` tells of a network; version, parameters, date
        and time of both together.
    """

    html: Path
    csv: Path
    json: Path
    comparison: Comparison
    provenance: dict


def make_comparison(
    base: str,
    tuned: str,
    output="comparison",
    *,
    intruders: bool = False,
    layers: str | None = None,
    seed: int = 0,
    workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    progress: bool = True,
) -> ComparisonReport:
    """Compare two networks and write a page, a table and a JSON file about it.

    Parameters
    ----------
    base : str
        As in `rmtlib.report.find_network`.
    tuned : str
        As in `find_tuned`.
    output : path
        The files are ``output`` with ``.html``, ``.csv`` and ``.json``; in a folder that exists, they are called ``comparison``.
    intruders, layers, seed, workers, scheduler, progress
        As in `rmtlib.compare`.
    resume : bool
        Keep the rows that the table holds already for these files and parameters, and compare the other layers. Of the rows that
        are kept, page and JSON do not have the vectors one by one. Rows of layers that are not chosen now stay in the CSV, and in
        it alone.

    Returns
    -------
    ComparisonReport
        The table has one row a layer and is written anew as layers finish, every five seconds at most; page and JSON when
        all are.

    Raises
    ------
    ValueError
        If a network cannot be read, they have no layer in common, an argument is wrong, or the files cannot be written there;
        nothing is written then.
    KeyboardInterrupt
        After Ctrl-C. The table holds the layers that were finished, and there is no page.

    Notes
    -----
    The JSON is an object with ``schema`` (a number, which changes if a name does), ``provenance``, ``text`` (the first
    paragraph), ``layers`` (rows of the table by the names of their columns, what could not be said is null), ``vectors`` (by
    layer, the cosines and p-values of the top vectors if they were asked for), and ``left_out`` (layers, and with ``step``
    whole checkpoints that cannot be read, each with its ``reason``).
    """
    checks.integer(seed, "seed", at_least=0)
    before, (after, unread) = find_network(base), find_tuned(tuned)
    origins = [network.origin for network in (before, *(after.values() if isinstance(after, dict) else [after]))]
    html, csv, as_json = output_files(output, "comparison", input_files(*origins))
    settings: dict = {"layers": layers, "seed": seed, "workers": workers, "scheduler": scheduler, "resume": resume}
    began = time.monotonic()
    with of_one_table(csv, html, as_json):
        found = compare(before, after, intruders, csv=csv, progress=progress, **settings)
    found = replace(found, unread=unread)
    parameters = {"intruders": intruders, "layers": layers, "seed": seed}
    origin = _origin(base, tuned, before, after, parameters, time.monotonic() - began)
    shown = comparison_page(found, before, origin, beside=(csv.name, as_json.name))
    write_together({as_json: _json(found, origin), html: shown.encode()})
    return ComparisonReport(html, csv, as_json, found, origin)


def find_tuned(tuned: str) -> tuple[Weights | dict[str, Weights], list[tuple[str, str]]]:
    """The tuned network that a name stands for, or the steps of its training.

    Parameters
    ----------
    tuned : str
        As in `rmtlib.report.find_network`; or a folder that is no network itself and holds checkpoints, files or folders whose
        names end in numbers.

    Returns
    -------
    network : Weights, or dict of str to Weights by the number of the step
    unread : list of (str, str)
        Steps whose checkpoints cannot be read, and why.

    Raises
    ------
    ValueError
        If there is no such network, none of its checkpoints can be read, or two have one number.
    """
    try:
        return find_network(tuned), []
    except WeightsError:
        found = checkpoints(tuned)
        if not found:
            raise
    networks, unread = {}, []
    for step, path in found.items():
        try:
            networks[step] = find_network(str(path))
        except ValueError as error:
            unread.append((step, str(error).replace(f"{path.parent}{os.sep}", "")))
    if not networks:
        msg = f"folder {tuned} holds no checkpoint that can be read: {'; '.join(why for _, why in unread)}"
        raise WeightsError(msg)
    return networks, unread


def comparison_page(found: Comparison, base: Weights, origin: dict, *, beside: tuple[str, ...] = ()) -> str:
    """The comparison as one page of HTML, without scripts, that asks nothing of another host.

    Parameters
    ----------
    found : Comparison
    base : Weights
        What was compared with, for the kinds of its layers.
    origin : dict
        ``provenance`` of a `ComparisonReport`.
    beside : tuple of str
        Names of the files that lie beside the page.

    Returns
    -------
    str
        Of several steps, heat map, depth and numbers are those of the last one.
    """
    table = found.last
    standing = places(list(table["layer"]), base.kinds)
    left_out = [*((f"step {step}, all layers", why) for step, why in found.unread), *found.left_out]
    rows = change_cells(table)
    used = [i for i, _ in enumerate(COLUMNS, 1) if any(row[i] for row in rows)]
    lines = [
        {"name": name, "cells": row, "summary": told.removeprefix(f"{name}: "), "vectors": _vectors(found, name)}
        for name, row, told in zip(table["layer"], rows, table["summary"], strict=True)
    ]
    return template("comparison.html").render(
        base=origin["base"]["network"],
        tuned=origin["tuned_name"],
        text=found.text,
        step=table["step"].iloc[0] if "step" in table else None,
        heat=heat_map(standing, change_statistics(table), signed=True),
        steps=steps(found.table),
        trend=change_trends(table, standing),
        columns=[(i, COLUMNS[i - 1]) for i in used],
        layers=lines,
        left_out=left_out,
        open=len(left_out) <= LIST,
        origin=origin,
        beside=beside,
    )


def _vectors(found, name):
    layer = found.layers.get(name)
    if layer is None or layer.intruders is None:
        return []
    return list(zip(layer.intruders.cosines.tolist(), layer.intruders.pvalue.tolist(), strict=True))


def _origin(base, tuned, before, after, parameters, seconds) -> dict:
    networks = after if isinstance(after, dict) else {None: after}
    kept = ("network", "files", "bytes", "sha256", "hashed")
    sides = []
    for step, network in ((None, before), *networks.items()):
        name = base if network is before else tuned
        told = provenance(network, Path(name).name or name, parameters, seconds)
        sides.append({key: told[key] for key in kept} | ({} if step is None else {"step": step}))
    shared = {key: value for key, value in told.items() if key not in kept}
    return {"base": sides[0], "tuned": sides[1:], "tuned_name": sides[-1]["network"], **shared}


def _json(found: Comparison, origin: dict) -> bytes:
    vectors = {
        name: {"cosines": layer.intruders.cosines, "pvalues": layer.intruders.pvalue}
        for name, layer in found.layers.items()
        if layer.intruders is not None
    }
    content = {
        "schema": SCHEMA,
        "provenance": origin,
        "text": found.text,
        "layers": found.table.to_dict("records"),
        "vectors": vectors,
        "left_out": [
            *({"step": step, "reason": why} for step, why in found.unread),
            *({"layer": name, "reason": why} for name, why in found.left_out),
        ],
    }
    return json.dumps(plain(content), indent=1, ensure_ascii=True, allow_nan=False).encode()
