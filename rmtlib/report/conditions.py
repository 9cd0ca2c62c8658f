"""Conditions that a network fails by: a column of the table and a bound, for continuous integration."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["JUDGED", "Condition", "read_condition"]

COMPARISONS: dict[str, Callable] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
FORM = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\S+)\s*")
# Numbers of the table. Single p-values are not among them: of many layers one in twenty is below 0.05 by chance.
JUDGED = (
    *("levels", "rank", "spacing_qvalue", "spacing_ratio", "number_variance_ratio", "largest", "stable_rank", "bulk_fraction"),
    *("nu_plus", "sigma", "outliers", "outlier_edge", "outliers_below", "outlier_edge_below", "number_variance_reach"),
    *("input_rejected", "output_rejected", "outliers_biwhitened", "outliers_below_biwhitened", "input_rejected_biwhitened"),
    *("output_rejected_biwhitened", "outliers_total", "input_rejected_total", "output_rejected_total", "row_spread"),
    *("column_spread", "alpha", "alpha_biwhitened", "alpha_noise", "alpha_noise_sd"),
)


@dataclass(frozen=True)
class Condition:
    """A column and a bound; ``text`` is how it was written."""

    column: str
    comparison: str
    bound: float
    text: str

    def failing(self, table) -> list[tuple[str, float]]:
        """Layers of a table that meet the condition, with their values; where the column says nothing, none does."""
        if self.column not in table:
            return []
        holds = COMPARISONS[self.comparison]
        rows = zip(table["layer"], table[self.column], strict=True)
        return [(name, float(value)) for name, value in rows if value is not None and holds(float(value), self.bound)]


def read_condition(text: str) -> Condition:
    """The condition that a text such as ``"outliers>100"`` states.

    Raises
    ------
    ValueError
        If it is none: no column of ``JUDGED``, another comparison than ``<``, ``<=``, ``>``, ``>=``, or no finite number.

    Examples
    --------
    >>> read_condition("spacing_qvalue < 0.05").bound
    0.05
    """
    match = FORM.fullmatch(str(text))
    if match is None:
        msg = f"fail_on must be a column, one of {' '.join(COMPARISONS)}, and a number, such as 'outliers>100'; got {text!r}"
        raise ValueError(msg)
    column, comparison, number = match.groups()
    if column not in JUDGED:
        msg = f"fail_on has no column {column!r}; there are: {', '.join(JUDGED)}"
        raise ValueError(msg)
    try:
        bound = float(number)
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        msg = f"fail_on must have a finite number as its bound, such as '{column}{comparison}0.5'; got {number!r}"
        raise ValueError(msg)
    return Condition(column, comparison, bound, f"{column} {comparison} {bound:g}")
