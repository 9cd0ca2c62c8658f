"""The CSV of a table of layers: written whole by a thread of its own while the table grows, and read again to go on.

Its last two columns say of which file a row is and by which parameters it was made, so that a command that was stopped can go on
where it was.
"""

from __future__ import annotations

import ast
import csv as csv_format
import re
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from .files import atomic_file, check_output
from .text import escaped, in_spreadsheet, unescaped

__all__ = ["EVERY", "GrowingTable", "check_csv", "frame", "identity", "read_rows", "write_csv"]

EVERY = 5.0  # seconds between two writes: a process that is killed loses what was finished in them, and no more
FILE, PARAMETERS = "file", "parameters"
TEXT = ("layer", "step", "kind", "summary", "missing", "arithmetic", "dtype_base", "dtype_tuned")  # the others hold numbers
COLUMNS = " columns="  # stands before the sum of the header in the last column


def identity(name: str | tuple[str | None, str]) -> dict[str, str]:
    """The columns of a row that say what it is of.

    Examples
    --------
    >>> identity("head"), identity((None, "head")), identity(("500", "head"))
    ({'layer': 'head'}, {'layer': 'head'}, {'step': '500', 'layer': 'head'})
    """
    step, layer = (None, name) if isinstance(name, str) else name
    return {"layer": layer} if step is None else {"step": step, "layer": layer}


class GrowingTable(AbstractContextManager):
    """Rows that are saved as they come in, by a thread of its own: the first at once, others within five seconds (``EVERY``).

    Who adds a row does not wait for the file. When the block of a ``with`` ends, whatever ended it, all rows are saved.

    Parameters
    ----------
    rows : mapping
        Those that there are before, by name.
    save : callable, optional
        Takes all rows by name; without it they are in memory alone.

    Attributes
    ----------
    rows : dict
        By name.
    """

    def __init__(self, rows: Mapping[Any, dict], save: Callable[[dict], object] | None):
        self.rows = dict(rows)
        self._save_rows = save
        self._lock, self._saving = threading.Lock(), threading.Lock()
        self._added, self._closed = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._keep_saving, daemon=True)

    def __enter__(self) -> GrowingTable:
        if self._save_rows is not None:
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        if self._save_rows is None:
            return
        self._closed.set()
        pending = self._added.is_set()
        self._added.set()  # wakes the thread
        self._thread.join()
        self._raise()
        if pending:
            self.save(self.rows)

    def add(self, name, row: dict) -> None:
        """Add a row. An error of an earlier write is raised here."""
        with self._lock:
            self.rows[name] = row
        self._added.set()
        self._raise()

    def save(self, rows: Mapping[Any, dict]) -> None:
        """Save these rows now, in the thread of the caller."""
        if self._save_rows is not None:
            with self._saving:
                self._save_rows(dict(rows))

    def _raise(self):
        if self._error is not None:
            raise self._error

    def _keep_saving(self):
        try:
            while self._added.wait() and not self._closed.is_set():
                self._added.clear()
                with self._lock:
                    rows = dict(self.rows)
                self.save(rows)
                self._closed.wait(EVERY)
        except BaseException as error:
            self._error = error


def check_csv(csv, resume: bool, inputs: Iterable[Path] = ()) -> None:
    """Raise a ValueError if a table cannot be written there, is a file that is read, or there is none to go on with."""
    if csv is None:
        if resume:
            msg = "resume needs csv, the file whose rows are kept"
            raise ValueError(msg)
    else:
        check_output(csv, "csv", inputs)


def read_rows(csv, files: Mapping[Any, str], parameters: str) -> dict[Any, dict]:
    """Rows of a CSV that are of these files and parameters, by name; what could not be said in them is None.

    Parameters
    ----------
    csv : path
        From `write_csv`.
    files : mapping
        What tells the file of each layer that may be there, by its name; see `identity`.
    parameters : str

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it is no such CSV, is of another command, a row is of another file, or somebody has changed its columns or values.
    """
    try:
        with open(csv, encoding="utf-8-sig", newline="") as file:
            read = list(csv_format.DictReader(file))
    except (OSError, UnicodeDecodeError, csv_format.Error) as error:
        msg = f"csv {str(csv)!r} cannot be read to resume: {error}"
        raise ValueError(msg) from None
    again = "give another csv, or do without resume to write it anew"
    if not read or not {"layer", FILE, PARAMETERS} <= set(read[0]):
        msg = f"csv {str(csv)!r} holds no rows that could be resumed: {again}"
        raise ValueError(msg)
    if torn := [row for row in read if None in row or None in row.values()]:
        msg = f"csv {str(csv)!r} cannot be resumed: the row of {torn[0]['layer']!r} has not one cell a column; {again}"
        raise ValueError(msg)
    if others := {_command(row[PARAMETERS]) for row in read} - {_command(parameters)}:
        msg = f"csv {str(csv)!r} cannot be resumed: it is a table of {others.pop()}, not of {_command(parameters)}; {again}"
        raise ValueError(msg)
    if not {row[FILE] for row in read} <= set(files.values()):
        msg = f"csv {str(csv)!r} is of another file, or the file has changed since (header, size or time): {again}"
        raise ValueError(msg)
    named = {tuple(map(str, identity(name).values())): name for name in files}
    header = _sum(column for column in read[0] if column not in (FILE, PARAMETERS))
    rows = {}
    for row in read:
        who = identity(_text(row["layer"]) if not row.get("step") else (_text(row["step"]), _text(row["layer"])))
        name = named.get(tuple(who.values()))
        told, _, columns = row[PARAMETERS].rpartition(COLUMNS)
        if name is None or row[FILE] != files[name] or told != _cell(parameters):
            continue
        try:
            if columns != header:
                msg = "its columns are not those that were written"
                raise ValueError(msg)
            values = {column: _value(column, text) for column, text in row.items() if column not in (FILE, PARAMETERS)}
            rows[name] = _checked(values | identity(name))
        except ValueError as error:
            msg = f"csv {str(csv)!r} cannot be resumed: {error}; {again}"
            raise ValueError(msg) from None
    return rows


def _command(parameters):
    found = re.search(r"(?:^| )command=(\w+)", parameters)
    return f"rmtlib {found[1] if found else 'report'}"


def _sum(columns):
    return f"{zlib.crc32(','.join(columns).encode()):08x}"


def _text(cell):
    return unescaped(cell.removeprefix("'"))


def _value(column, cell):
    if not cell:
        return None
    if column in TEXT:
        return _text(cell)
    if cell in ("inf", "-inf", "nan"):
        return float(cell)
    try:
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if column == "shape":
        good = isinstance(value, tuple) and len(value) == 2 and all(type(side) is int for side in value)
    else:
        good = isinstance(value, int | float) and (not re.search("[pq]value", column) or 0 <= value <= 1)
    if not good:
        msg = f"{column!r} cannot be {cell!r}"
        raise ValueError(msg)
    return value


def _checked(row):
    """A row that was read, if it is whole."""
    if row.get("levels") is not None and row.get("shape") is None:
        msg = f"{row['layer']!r} has no shape"
        raise ValueError(msg)
    if "summary" in row and not (row["summary"] or "").startswith(f"{row['layer']}: "):
        msg = f"the summary of {row['layer']!r} does not begin with its name"
        raise ValueError(msg)
    return row


def _cell(value):
    return in_spreadsheet(escaped(value)) if isinstance(value, str) else value


def write_csv(rows: list[dict], files: list[str], parameters: str, path) -> None:
    """Write rows as a CSV whose text no spreadsheet takes for a formula; its last columns say of which file a row is, and how."""
    # As objects: a column of whole numbers with gaps would be written as 3.0, and read as another number than it was.
    table = frame(rows, dtype=object)
    told = f"{parameters}{COLUMNS}{_sum(table.columns)}"
    table = table.assign(**{FILE: files, PARAMETERS: told}).map(_cell)
    with atomic_file(path) as part:
        table.to_csv(part, index=False)


def frame(rows: list[dict], dtype=None):
    """A table in the order of columns of its longest row: one of a layer that could not be done has few."""
    import pandas as pd

    columns = dict.fromkeys(column for row in sorted(rows, key=len, reverse=True) for column in row)
    return pd.DataFrame(rows, columns=list(columns), dtype=dtype)
