"""Tables of measurements on disk: rows of one run are replaced, rows of the others stay as they are, to the last digit."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from rmtlib.files import write_atomically

__all__ = ["replace_rows"]


def replace_rows(
    path: Path,
    table: pd.DataFrame,
    *,
    keys: Sequence[str] = ("run",),
    order: Callable[[str], object] = str,
    digits: int | None = None,
) -> None:
    """Put measured rows into a CSV file, in place of older rows of the same run.

    Parameters
    ----------
    path : path
        The file; it need not be there.
    table : pandas.DataFrame
        Rows to put in, with a column ``run``.
    keys : sequence of str
        Columns that tell which older rows are replaced.
    order : callable
        Maps the name of a run to its place among the runs; by default they stand in the order of their names.
    digits : int, optional
        Significant digits; by default all of a float's.

    Notes
    -----
    A column that older rows have not is empty there, and one that the new rows have not is empty in them.
    """
    number_format = None if digits is None else f"%.{digits}g"
    measured = _text(table.to_csv(index=False, float_format=number_format))
    if path.exists():
        known = _text(path.read_text())
        again = set(measured[list(keys)].itertuples(index=False, name=None))
        other = [row not in again for row in known[list(keys)].itertuples(index=False, name=None)]
        measured = pd.concat([known[other], measured]).fillna("")
    places = {name: order(name) for name in measured["run"].unique()}
    columns = list(dict.fromkeys(["run", *(key for key in keys if key != "run")]))
    measured = measured.assign(_place=measured["run"].map(places)).sort_values(["_place", *columns], kind="stable")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, measured.drop(columns="_place").to_csv(index=False).encode())


def _text(csv: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(csv), dtype=str, keep_default_na=False)
