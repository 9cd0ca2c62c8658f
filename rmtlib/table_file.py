"""The CSV of a table of layers: written whole by a thread of its own while the table grows, and read again to go on.

Its last two columns say of which file a row is and by which parameters it was made, so that a command that was stopped can go on
where it was.
"""

from __future__ import annotations

import ast
import csv as csv_format
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from .files import atomic_file
from .text import in_spreadsheet, printable

__all__ = ["EVERY", "GrowingTable", "check_csv", "frame", "identity", "read_rows", "write_csv"]

EVERY = 5.0  # seconds between two writes: a process that is killed loses what was finished in them, and no more
FILE, PARAMETERS = "file", "parameters"
TEXT = ("layer", "step", "kind", "summary", "missing")  # columns that are never read as numbers


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
    """Rows that are saved as they come in, by a thread of its own: the first at once, further ones within five seconds (`EVERY`).

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


def check_csv(csv, resume: bool) -> None:
    """Raise a ValueError if a table cannot be written there, or there is none to go on with."""
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
        Of names that the CSV cannot tell apart there is none.

    Raises
    ------
    ValueError
        If it is no such CSV, or a row is of another file.
    """
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
    cells: dict[tuple, list] = {}
    for name in files:
        cells.setdefault(_named_by({key: _cell(str(value)) for key, value in identity(name).items()}), []).append(name)
    rows = {}
    for row in read:
        names = cells.get(_named_by(row), [])
        if len(names) == 1 and row[FILE] == files[names[0]] and row[PARAMETERS] == _cell(parameters):
            values = {key: _value(key, text) for key, text in row.items() if key not in (FILE, PARAMETERS, None)}
            rows[names[0]] = _named(values | identity(names[0]))
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
    table = frame(rows, dtype=object).assign(**{FILE: files, PARAMETERS: parameters}).map(_cell)
    with atomic_file(path) as part:
        table.to_csv(part, index=False)


def frame(rows: list[dict], dtype=None):
    """A table in the order of columns of its longest row: one of a layer that could not be done has few."""
    import pandas as pd

    columns = dict.fromkeys(column for row in sorted(rows, key=len, reverse=True) for column in row)
    return pd.DataFrame(rows, columns=list(columns), dtype=dtype)
