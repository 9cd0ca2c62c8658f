"""What a scan leaves behind: a table, the same as JSON, ratios in Spectrum's form, and a sentence."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .files import check_output, input_files, write_atomically
from .report.outputs import of_one_table, output_files
from .scan import scan

__all__ = ["SCHEMA", "in_words", "write_scan", "write_snr"]

SCHEMA = 1  # of the JSON


def write_scan(weights: Mapping, output, *, snr: Path | str | None = None, **settings) -> tuple[Any, tuple[Path, ...]]:
    """Scan a network and write a table, the same as JSON, and on demand the ratios in Spectrum's form.

    Parameters
    ----------
    weights : mapping of str to Layer or array
        As in `rmtlib.scan`.
    output : path
        The files are ``output`` with ``.csv``, which grows as layers finish, and ``.json``, written at the end; in a folder that
        exists they are called ``scan``.
    snr : path, optional
        Where to write the ratios in the form that Spectrum reads, see `write_snr`.
    **settings
        Further arguments of `rmtlib.scan`.

    Returns
    -------
    table : pandas.DataFrame
        As `rmtlib.scan` gives it.
    files : tuple of pathlib.Path
        What was written.

    Raises
    ------
    ValueError
        As `rmtlib.scan`, or if the files cannot be written there, are read, or two of them are one.
    KeyboardInterrupt
        After Ctrl-C. The CSV holds the layers that were finished; ``resume=True`` goes on with it, and older files of the others
        are gone. If none was finished, all older files are as they were.
    """
    inputs = input_files(getattr(weights, "origin", None))
    ratios = [] if snr is None else [check_output(snr, "snr", inputs)]
    _, csv, as_json = output_files(output, "scan", inputs)
    if any(os.path.realpath(path) in map(os.path.realpath, (csv, as_json)) for path in ratios):
        msg = f"snr must be another file than the scan's own {csv.name} and {as_json.name}; got {str(snr)!r}"
        raise ValueError(msg)
    with of_one_table(csv, as_json, *ratios):
        table = scan(weights, csv=csv, **settings)
    write_atomically(as_json, _as_json(table, weights, settings))
    for path in ratios:
        write_snr(table, path)
    return table, (csv, as_json, *ratios)


def in_words(table) -> str:
    """What a scan found, in a sentence or two.

    Parameters
    ----------
    table : pandas.DataFrame
        From `rmtlib.scan`.

    Returns
    -------
    str
    """
    count = len(table)
    known = table["outliers"].notna() if "outliers" in table else np.zeros(count, bool)
    whole = f"{known.sum()} of {_layers(count)} have a bulk of noise to be compared with"
    said = [f"{_layers(count)} scanned" if known.all() else whole]
    if known.any():
        above = table["outliers"].astype(float) > 0
        said.append(f"{above.sum() or 'none'} with levels above noise")
        if "outliers_biwhitened" in table:
            without = table["outliers_biwhitened"].astype(float) > 0
            said.append(f"{without.sum() or 'none'} once the sizes of neurons are taken out")
    if not known.all():
        said.append('the column "missing" says what could not be said of the others')
    return "; ".join(said)


def _layers(count):
    return f"{count} layer{'s' * (count != 1)}"


def write_snr(table, path) -> None:
    """Write the calibrated ratios of a scan in the form of Spectrum's result file, which axolotl's plug-in reads.

    Parameters
    ----------
    table : pandas.DataFrame
        From `rmtlib.scan`.
    path : path
        Spectrum's own place is ``model_snr_results/snr_results_<model>.json``.

    Raises
    ------
    ValueError
        If no layer of the table has a ratio.

    Notes
    -----
    A JSON object, ``{layer: {"snr": number, "type": name}}``: the ratio without sizes where the scan has it, otherwise the one as
    is; the type is the name after the number of the block, ``self_attn.q_proj`` of ``model.layers.0.self_attn.q_proj``, among
    which Spectrum takes its top share. Layers without a ratio are left out.
    """
    found = {}
    for row in table.to_dict("records"):
        known = [row.get(column) for column in ("snr_biwhitened", "snr")]
        ratio = next((float(value) for value in known if value is not None and math.isfinite(value)), None)
        if ratio is not None:
            found[row["layer"]] = {"snr": ratio, "type": _type(row["layer"])}
    if not found:
        msg = "table has no layer with a signal-to-noise ratio: 'missing' in it says why"
        raise ValueError(msg)
    write_atomically(path, (json.dumps(found, indent=4) + "\n").encode())


def _type(name):
    return re.split(r"(?:^|[./])\d+[./]", name, maxsplit=1)[-1]


def _as_json(table, weights, settings):
    from . import __version__

    origin = getattr(weights, "origin", None)
    rows = [{key: _plain(value) for key, value in row.items()} for row in table.to_dict("records")]
    content = {
        "schema": SCHEMA,
        "rmtlib": __version__,
        "file": None if origin is None else {"name": origin.path.name, "fingerprint": origin.fingerprint()},
        "parameters": {key: settings.get(key, default) for key, default in (("biwhiten", True), ("layers", None))},
        "layers": rows,
        "skipped": [{"tensor": s.name, "shape": list(s.shape), "reason": s.reason} for s in getattr(weights, "skipped", ())],
    }
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _plain(value):
    """A value that JSON has; not a number is null, infinity a text."""
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else "infinite" if value == math.inf else None
    if isinstance(value, np.generic):
        return value.item()
    return list(value) if isinstance(value, tuple) else value
