"""One row a layer: which layers, on how many processors or machines, and a CSV that an interruption does not lose."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from . import checks, cluster, parallel
from .files import input_files
from .table_file import GrowingTable, check_csv, frame, read_rows, write_csv
from .text import printable


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


def named_by_text(weights):
    """A mapping whose names are texts: a dictionary by numbers, such as those of layers, becomes one by their texts.

    Parameters
    ----------
    weights : mapping
        Others than dictionaries, such as `rmtlib.Weights`, and dictionaries by texts come back as they are.

    Returns
    -------
    mapping

    Raises
    ------
    ValueError
        If two names have one text.

    Examples
    --------
    >>> named_by_text({1: None, "head": None})
    {'1': None, 'head': None}
    """
    if not isinstance(weights, dict) or all(isinstance(name, str) for name in weights):
        return weights
    named = {str(name): layer for name, layer in weights.items()}
    if len(named) < len(weights):
        names = list(map(str, weights))
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"weights must have one name a layer; two of them are {twice!r} as text"
        raise ValueError(msg)
    return named


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
    names = list(named_by_text(weights))
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


def table_of_layers(
    work: Callable[[Any, Any], object],
    weights: Mapping,
    *,
    parameters: Mapping[str, object],
    failed: Callable[[Any, tuple | None, str], dict],
    finish: Callable[[list[dict]], list[dict]] = list,
    undo: Callable[[dict], dict] = dict,
    on_result: Callable[[Any], object] | None = None,
    known: Iterable | None = None,
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
    known : iterable, optional
        Names whose rows ``resume`` keeps in the CSV, in their order there; by default all of ``weights``.

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
    weights = named_by_text(weights)
    names = chosen_layers(weights, layers)
    workers = parallel.processors() if workers is None else checks.integer(workers, "workers", at_least=1)
    checks.choice(resume, "resume", (True, False))
    check_csv(csv, resume, input_files(getattr(weights, "origin", None)))
    files, told = _fingerprints(weights, weights if known is None else known, resume), _told(parameters, weights)
    before = read_rows(csv, files, told) if resume and Path(csv).exists() else {}
    rows = {name: undo(before[name]) for name in names if name in before and before[name].get("levels") is not None}
    others = {name: before[name] for name in before.keys() - set(names)}
    todo = [name for name in names if name not in rows]

    def save(rows):
        done = [name for name in names if name in rows]
        made = others | dict(zip(done, finish([rows[name] for name in done]), strict=True))
        in_order = [name for name in files if name in made]
        write_csv([made[name] for name in in_order], [files[name] for name in in_order], told, csv)

    finished, interrupted = len(rows), False
    growing = GrowingTable(rows, None if csv is None else save)
    if scheduler is None:
        results = parallel.as_they_finish(work, weights, workers=workers, names=todo)
    else:
        results = cluster.on_cluster(work, weights, names=todo, scheduler=scheduler)
    try:
        with (
            growing,
            closing(results),
            tqdm(total=len(names), initial=finished, desc="layers", unit="layer", disable=not progress or not sys.stderr) as bar,
        ):
            for name, result in results if todo else ():
                row, whole = _row(result, partial(failed, name))
                growing.add(name, row)
                finished += "levels" in row
                bar.update()
                if on_result is not None and whole:
                    on_result(result)
    except KeyboardInterrupt:
        if not growing.rows:  # and an older table is as it was
            raise
        interrupted = True
    rows = {name: growing.rows.get(name) or failed(name, None, "interrupted") for name in names}
    growing.save(rows)
    if interrupted:
        message = f"interrupted after {finished} of {len(names)} layers: the table holds these, and names the others"
        warnings.warn(message, stacklevel=3)
    return frame(finish(list(rows.values())))


def _row(result, failed):
    """The row of a result, and whether it is one of a layer that was done."""
    if isinstance(result, ValueError):
        return failed(None, str(result)), False
    if not hasattr(result, "row"):
        return result, False
    try:
        return result.row(), True
    except (ValueError, MemoryError) as error:
        return failed(getattr(result, "shape", None), str(error) or "not enough memory"), False


def _fingerprints(weights, names, resume):
    """What tells the file of each layer, by name."""
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
