"""Files of a page: where they go, and values as JSON knows them."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import check_output, file_state

__all__ = ["of_one_table", "output_files", "plain"]


@contextmanager
def of_one_table(csv: Path, *others: Path) -> Iterator[None]:
    """Work on a table that may be interrupted: files that an older table had beside it go once it is another one.

    Parameters
    ----------
    csv : path
        The table.
    *others : path
        Page, JSON and what else is written when the table is whole.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, whether some layers were finished by then or none.
    """
    before = file_state(csv)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "interrupted after", UserWarning)
        try:
            yield
        except (UserWarning, KeyboardInterrupt):
            if file_state(csv) != before:
                for older in others:
                    older.unlink(missing_ok=True)
            raise KeyboardInterrupt from None


def output_files(output, name: str, inputs: Iterable[Path] = ()) -> tuple[Path, Path, Path]:
    """Page, table and JSON that an argument ``output`` stands for; the folder is made.

    Parameters
    ----------
    output : path
        Without an ending, or a folder that exists.
    name : str
        What the files are called in such a folder.
    inputs : iterable of path
        Files that are read, and must not be overwritten.

    Returns
    -------
    tuple of pathlib.Path
        With the endings ``.html``, ``.csv`` and ``.json``.

    Raises
    ------
    ValueError
        If the files cannot be written there, or one of them is read.
    """
    if not isinstance(output, str | os.PathLike):
        msg = f"output must be a path; got {output!r}"
        raise ValueError(msg)
    stem = Path(output) / name if os.path.isdir(output) else Path(output)
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"output must be in a folder that can be made; got {str(output)!r} ({error.strerror})"
        raise ValueError(msg) from error
    html, csv, as_json = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("html", "csv", "json"))
    for file in (html, csv, as_json):
        if os.path.isdir(file):
            msg = f"output must name files, but {str(file)!r} is a folder"
            raise ValueError(msg)
        check_output(file, "output", inputs)
    return html, csv, as_json


def plain(value):
    """Values that JSON knows: numbers of numpy as numbers, arrays as lists, nan and infinity as null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
