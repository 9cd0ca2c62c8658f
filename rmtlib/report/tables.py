"""Tables of a report for notebooks: fewer columns than the CSV, rounded; whatever a file put into a name is shown as text."""

from __future__ import annotations

from collections.abc import Sequence

from ..text import printable
from ..weights import Weights
from .columns import COLUMNS, cells

__all__ = ["left_out", "readable", "skipped"]


def readable(table, heads: Sequence[str] | None = None):
    """The numbers of `rmtlib.analyse_network` for the eye: fewer columns, rounded, without the sentences of ``summary``.

    Parameters
    ----------
    table : pandas.DataFrame
    heads : sequence of str, optional
        Heads of the columns to show beside layer and shape.

    Returns
    -------
    pandas.io.formats.style.Styler
        A column for each of ``rmtlib.report.columns.COLUMNS`` of which the table has a value, called by its head; its ``meaning``
        says what it is.

    Raises
    ------
    ValueError
        If there is no column of one of these heads.
    """
    import pandas as pd

    known = [column.head for column in COLUMNS]
    if unknown := [head for head in heads or () if head not in known]:
        msg = f"heads must be of {', '.join(known)}; got {unknown[0]!r}"
        raise ValueError(msg)
    view = pd.DataFrame(cells(table), columns=["shape", *known])
    shown = [head for head in known if view[head].any()] if heads is None else heads
    view = view[["shape", *shown]]
    view.insert(0, "layer", [printable(name) for name in table["layer"]])
    return _styled(view)


def skipped(weights: Weights, table):
    """What of a network is not in the table, and why: tensors that give no matrix, and layers that could not be analysed.

    Returns
    -------
    pandas.io.formats.style.Styler
    """
    import pandas as pd

    return _styled(pd.DataFrame(left_out(weights, table), columns=["tensor", "shape", "left out because"]))


def left_out(weights: Weights, table) -> list[tuple[str, str, str]]:
    """Name, shape and reason of everything that `skipped` shows."""
    rows: list[tuple] = [(name, tuple(shape), reason) for name, shape, reason in weights.skipped]
    for name, shape, summary in zip(table["layer"], table["shape"], table["summary"], strict=True):
        if summary.startswith(f"{name}: not analysed: "):
            rows.append((name, shape if isinstance(shape, tuple | list) else (), summary.removeprefix(f"{name}: ")))
    return [(printable(name), " × ".join(map(str, shape)), printable(reason)) for name, shape, reason in rows]


def _styled(view):
    style = view.style.hide(axis="index").format(escape="html")
    return style.set_table_attributes('style="font-size: 0.75rem"').set_properties(["shape"], **{"white-space": "nowrap"})
