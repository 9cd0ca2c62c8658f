"""The columns of the page: which of the table's they are, their heads and units, how they are rounded and what they say."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["COLUMNS", "Column", "cells"]


class Column(NamedTuple):
    """A column of the page; ``form`` formats a value, ``meaning`` is one sentence."""

    name: str
    head: str
    unit: str
    form: str
    meaning: str


COLUMNS = (
    Column("levels", "levels", "count", "{:.0f}", "Singular values of the matrix."),
    Column(
        "bulk_fraction",
        "bulk",
        "% of levels",
        "{:.0%}",
        "Area under the fitted Marchenko–Pastur curve. Noise has 100 %; it can come out above.",
    ),
    Column(
        "outliers",
        "above",
        "levels",
        "{:.0f}",
        "Levels above the edge that the largest level of noise stays below in 99 of 100 matrices (Tracy–Widom). Empty where the "
        "bulk holds less than a tenth of the levels.",
    ),
    Column("outliers_biwhitened", "above, no sizes", "levels", "{:.0f}", "The same once the sizes of neurons are taken out."),
    Column("outliers_below", "below", "levels", "{:.0f}", "Levels below the lower edge of noise."),
    Column("outliers_below_biwhitened", "below, no sizes", "levels", "{:.0f}", "The same once sizes are taken out."),
    Column("edge", "largest / edge", "ratio", "{:.2f}", "Largest level over that edge; noise stays below 1."),
    Column(
        "input_rejected",
        "input",
        "% of vectors",
        "{:.1%}",
        "Singular vectors in the space of inputs that are not random, at a false discovery rate of 5 %.",
    ),
    Column("input_rejected_biwhitened", "input, no sizes", "% of vectors", "{:.1%}", "The same once sizes are taken out."),
    Column("output_rejected", "output", "% of vectors", "{:.1%}", "The same in the space of outputs."),
    Column("output_rejected_biwhitened", "output, no sizes", "% of vectors", "{:.1%}", "The same once sizes are taken out."),
    Column(
        "row_spread",
        "sizes of rows",
        "spread, %",
        "{:.0%}",
        "How much the sizes of outputs differ: standard deviation over mean.",
    ),
    Column("column_spread", "sizes of columns", "spread, %", "{:.0%}", "How much the sizes of inputs differ."),
    Column("spacing_ratio", "gap ratio", "ratio", "{:.3f}", "Mean ratio of neighbouring gaps; a random matrix has 0.531."),
    Column(
        "spacing_qvalue",
        "q of spacings",
        "q",
        "{:.2g}",
        "Of the spacings against those of a random matrix, corrected for the number of layers; below 0.05 they differ.",
    ),
    Column(
        "number_variance_ratio", "Σ² / law", "ratio", "{:.2f}", "Number variance over that of a random matrix, which has about 1."
    ),
    Column("stable_rank", "stable rank", "levels", "{:.1f}", "Sum of the squared levels over the largest square."),
    Column(
        "alpha_biwhitened",
        "alpha, no sizes",
        "exponent",
        "{:.2f}",
        "Exponent of the power law that fits the largest squared levels best, once sizes are taken out.",
    ),
    Column("alpha_noise", "alpha of noise", "exponent", "{:.2f}", "What noise of this shape gives."),
)


def cells(table) -> list[list[str]]:
    """The numbers of a table as the page shows them.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `rmtlib.analyse_network`.

    Returns
    -------
    list of list of str
        A row a layer: its shape, then one text for each of ``COLUMNS``; empty where nothing can be said.
    """
    shown = table.assign(edge=table["largest"] / table["outlier_edge"]) if "largest" in table else table
    rows = []
    for row in shown.to_dict("records"):
        shape = row["shape"]
        rows.append([" × ".join(map(str, shape)) if isinstance(shape, tuple | list) else ""])
        rows[-1] += ["" if _unknown(value := row.get(column.name)) else column.form.format(value) for column in COLUMNS]
    return rows


def _unknown(value) -> bool:
    return value is None or isinstance(value, float) and math.isnan(value)
