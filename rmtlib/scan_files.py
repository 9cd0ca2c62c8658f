"""What a scan leaves behind: a table, the same as JSON, ratios in Spectrum's form, and a sentence."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .files import write_atomically
from .report.outputs import output_files
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
        As `rmtlib.scan`, or if the files cannot be written there.
    KeyboardInterrupt
        After Ctrl-C. The CSV holds the layers that were finished; ``resume=True`` goes on with it. Older files of the others are
        gone.
    """
    if snr is not None and not Path(snr).parent.is_dir():
        msg = f"snr must be a file in a folder that exists; got {str(snr)!r}"
        raise ValueError(msg)
    _, csv, as_json = output_files(output, "scan")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "interrupted after", UserWarning)
        try:
            table = scan(weights, csv=csv, **settings)
        except (UserWarning, KeyboardInterrupt):
            for older in (as_json, *(() if snr is None else (Path(snr),))):  # would be taken for those of this table
                older.unlink(missing_ok=True)
            raise KeyboardInterrupt from None
    files = [csv, as_json]
    write_atomically(as_json, _as_json(table, weights, settings))
    if snr is not None:
        files.append(Path(snr))
        write_snr(table, snr)
    return table, tuple(files)


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
