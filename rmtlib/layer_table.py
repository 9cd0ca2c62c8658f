"""One row a layer: which layers, on how many processors or machines, and a CSV that an interruption does not lose.

The CSV is written whole whenever a layer is finished. Its last two columns say of which file a row is and by which parameters it
was made, so that a command that was stopped can go on where it was.
"""

from __future__ import annotations

import ast
import csv as csv_format
import os
import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from . import checks, cluster, parallel
from .files import atomic_file
from .text import in_spreadsheet, printable

FILE, PARAMETERS = "file", "parameters"
TEXT = ("layer", "step", "kind", "summary", "missing")  # columns that are never read as numbers


def name_pattern(layers: str | None) -> re.Pattern[str]:
    """The regular expression that names of layers are searched for, which is in every name if ``layers`` is None.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        return re.compile("" if layers is None else layers)
    except (re.error, TypeError) as error:
        msg = f"layers must be a regular expression, such as 'attn|mlp'; got {layers!r} ({error})"
        raise ValueError(msg) from None


def chosen_layers(weights: Mapping, layers: str | None = None) -> list:
    """Names of the layers in which a regular expression is found.

    Parameters
    ----------
    weights : mapping of str to Layer or array
    layers : str, optional
        A regular expression, searched anywhere in a name; by default all layers.

    Returns
    -------
    list of str
        In the order of ``weights``.

    Raises
    ------
    ValueError
        If ``weights`` is no mapping or has no layers (what `rmtlib.load_weights` skipped is then named), or ``layers`` is no
        regular expression or found in no name.

    Examples
    --------
    >>> chosen_layers({"block.0.q": None, "block.0.k": None, "head": None}, r"\\.[qk]$")
    ['block.0.q', 'block.0.k']
    """
    if not isinstance(weights, Mapping):
        msg = f"weights must be a mapping of names to layers, as load_weights gives; got {type(weights).__name__}"
        raise ValueError(msg)
    names = list(weights)
    if not names:
        skipped = "; ".join(f"{s.name} {tuple(s.shape)}: {s.reason}" for s in getattr(weights, "skipped", ())[:5])
        msg = f"weights holds no matrix to analyse{f' (skipped: {skipped})' if skipped else ''}"
        raise ValueError(msg)
    if layers is None:
        return names
    pattern = name_pattern(layers)
    found = [name for name in names if pattern.search(name)]
    if not found:
        few = ", ".join(map(printable, names[:5])) + (", ..." if len(names) > 5 else "")
        msg = f"layers must be found in the name of a layer; {layers!r} is in none of the {len(names)}: {few}"
        raise ValueError(msg)
    return found


def identity(name: str | tuple[str | None, str]) -> dict[str, str]:
    """The columns of a row that say what it is of.

    Examples
    --------
    >>> identity("head"), identity((None, "head")), identity(("500", "head"))
    ({'layer': 'head'}, {'layer': 'head'}, {'step': '500', 'layer': 'head'})
    """
    step, layer = (None, name) if isinstance(name, str) else name
    return {"layer": layer} if step is None else {"step": step, "layer": layer}


def table_of_layers(
    work: Callable[[Any, Any], object],
    weights: Mapping,
    *,
    parameters: Mapping[str, object],
    failed: Callable[[Any, tuple | None, str], dict],
    finish: Callable[[list[dict]], list[dict]] = list,
    undo: Callable[[dict], dict] = dict,
    on_result: Callable[[Any], object] | None = None,
    layers: str | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    csv=None,
    resume: bool = False,
    progress: bool = True,
):
    """Work on every layer and collect what is found in a table.

    Parameters
    ----------
    work : callable
        Takes name and layer. Returns a row, or an object with ``row()``; a row of a layer that could not be done has no "levels".
        A name is a text, or a pair of a step of a training and a layer, see `identity`.
    weights, layers, workers, scheduler, csv, resume, progress
        As in `rmtlib.analyse_network`.
    parameters : mapping
        What a row depends on beside its layer.
    failed : callable
        Makes the row of a layer from its name, shape and the reason.
    finish : callable
        What is added to rows once others are known.
    undo : callable
        Takes it out of a row that was read.
    on_result : callable, optional
        Called with every result of ``work`` that has ``row()``.

    Returns
    -------
    pandas.DataFrame
        One row a layer, in the order of ``weights``.

    Raises
    ------
    ValueError
        As `rmtlib.analyse_network`.

    Warns
    -----
    UserWarning
        If Ctrl-C ends it early.
    """
    names = chosen_layers(weights, layers)
    workers = parallel.processors() if workers is None else checks.integer(workers, "workers", at_least=1)
    checks.choice(resume, "resume", (True, False))
    _check_csv(csv, resume)
    files, told = _fingerprints(weights, names, resume), _told(parameters, weights)
    rows = _resumed(csv, files, told, undo) if resume and Path(csv).exists() else {}
    todo = [name for name in names if name not in rows]
    finished, interrupted = len(rows), False
    if scheduler is None:
        results = parallel.as_they_finish(work, weights, workers=workers, names=todo)
    else:
        results = cluster.on_cluster(work, weights, names=todo, scheduler=scheduler)
    try:
        with (
            closing(results),
            tqdm(total=len(names), initial=finished, desc="layers", unit="layer", disable=not progress) as bar,
        ):
            for name, result in results if todo else ():
                if isinstance(result, ValueError):
                    result = failed(name, None, str(result))
                whole = hasattr(result, "row")
                rows[name] = result.row() if whole else result
                finished += "levels" in rows[name]
                bar.update()
                if csv is not None:
                    done = [name for name in names if name in rows]
                    write_csv(finish([rows[name] for name in done]), [files[name] for name in done], told, csv)
                if on_result is not None and whole:
                    on_result(result)
    except KeyboardInterrupt:
        if not finished:
            if csv is not None:  # an older table would be taken for this one
                Path(csv).unlink(missing_ok=True)
            raise
        interrupted = True
    table = finish([rows.get(name) or failed(name, None, "interrupted") for name in names])
    if csv is not None:
        write_csv(table, list(files.values()), told, csv)
    if interrupted:
        message = f"interrupted after {finished} of {len(names)} layers: the table holds these, and names the others"
        warnings.warn(message, stacklevel=3)
    return _frame(table)


def _check_csv(csv, resume):
    if csv is None:
        if resume:
            msg = "resume needs csv, the file whose rows are kept"
            raise ValueError(msg)
    elif not Path(csv).parent.is_dir():
        msg = f"csv must be a file in a folder that exists; got {str(csv)!r}"
        raise ValueError(msg)
    elif Path(csv).is_dir() or not os.access(Path(csv).parent, os.W_OK):
        msg = f"csv must be a file that can be written; got {str(csv)!r}"
        raise ValueError(msg)


def _fingerprints(weights, names, resume):
    origin = getattr(weights, "origin", None)
    if origin is None and resume:
        msg = "resume needs weights of a file or folder, to know them again; these are in memory"
        raise ValueError(msg)
    return dict.fromkeys(names, "") if origin is None else origin.fingerprints(names)


def _told(parameters, weights):
    """Parameters as a line of text; how the file is read is among them, where it is not the usual way."""
    from . import __version__

    origin = getattr(weights, "origin", None)
    told = {**parameters, **(origin.reading if origin is not None else {}), "rmtlib": __version__}
    return " ".join(f"{key}={value}" for key, value in told.items())


def _resumed(csv, files, told, undo):
    """Rows of a CSV by the name of the layer: those of the same file and parameters that were finished."""
    try:
        with open(csv, encoding="utf-8", newline="") as file:
            read = list(csv_format.DictReader(file))
    except (OSError, UnicodeDecodeError, csv_format.Error) as error:
        msg = f"csv {str(csv)!r} cannot be read to resume: {error}"
        raise ValueError(msg) from None
    again = "give another csv, or do without resume to write it anew"
    if not read or not {"layer", FILE, PARAMETERS} <= set(read[0]):
        msg = f"csv {str(csv)!r} holds no rows that could be resumed: {again}"
        raise ValueError(msg)
    if not {row[FILE] for row in read} <= set(files.values()):
        msg = f"csv {str(csv)!r} is of another file, or the file has changed since (header, size or time): {again}"
        raise ValueError(msg)
    cells = {_named_by({key: _cell(str(value)) for key, value in identity(name).items()}): name for name in files}
    rows = {}
    for row in read:
        name = cells.get(_named_by(row)) if row[PARAMETERS] == _cell(told) and row.get("levels") else None
        if name is not None and row[FILE] == files[name] and len(cells) == len(files):
            values = {key: _value(key, text) for key, text in row.items() if key not in (FILE, PARAMETERS, None)}
            rows[name] = undo(_named(values | identity(name)))
    return rows


def _named_by(row):
    return row.get("step") or None, row["layer"]


def _named(row):
    """A row whose summary begins with the name of its layer as it is, not as the CSV has it with escapes."""
    if not row.get("summary"):
        return row
    told = row["summary"]
    return row | {"summary": row["layer"] + told[told.index(": ", len(printable(row["layer"]))) :]}


def _value(column, text):
    if not text:
        return None
    if column in TEXT:
        return text.removeprefix("'")
    if text in ("inf", "-inf", "nan"):
        return float(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _cell(value):
    return in_spreadsheet(printable(value)) if isinstance(value, str) else value


def write_csv(rows: list[dict], files: list[str], parameters: str, path) -> None:
    """Write rows as a CSV whose text no spreadsheet takes for a formula; its last columns say of which file a row is, and how."""
    # As objects: a column of whole numbers with gaps would be written as 3.0, and read as another number than it was.
    table = _frame(rows, dtype=object).assign(**{FILE: files, PARAMETERS: parameters}).map(_cell)
    with atomic_file(path) as part:
        table.to_csv(part, index=False)


def _frame(rows, dtype=None):
    """A table in the order of columns of its longest row: one of a layer that could not be done has few."""
    import pandas as pd

    columns = dict.fromkeys(column for row in sorted(rows, key=len, reverse=True) for column in row)
    return pd.DataFrame(rows, columns=list(columns), dtype=dtype)
