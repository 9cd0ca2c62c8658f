"""The first screen of a report: what the heat map shows of every layer, and the trend over depth for each kind of matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..figures import COLORS
from ..multiple import benjamini_hochberg
from .heatmap import Statistic
from .places import Place
from .svg import Plot

__all__ = ["depth_plots", "numbers", "qvalues_of", "statistics", "trends"]

GOE_RATIO = 0.5307
LEVEL = 0.05
FEWEST = 3  # layers of a kind that have a trend
LINES = (  # what a trend shows: column, words, colour, dashes
    ("outside", "levels outside the bulk", COLORS["trained"], ""),
    ("input", "input vectors", COLORS["other"], "2 2"),
    ("output", "output vectors", "#7f3c8d", "6 3"),
)


def statistics(table) -> list[Statistic]:
    """Columns of the heat map.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `rmtlib.analyse_network`.

    Returns
    -------
    list of Statistic
        Shares of levels and of vectors, as they are and without sizes, with q-values among the layers: of the largest level
        (Tracy-Widom) and of all vectors of a space together (Simes). The spread of sizes beyond that of noise, which has no
        test. How far the mean ratio of gaps is from that of a random matrix, where the spacings have a q below 0.05.
    """
    levels, found = numbers(table, "levels"), []
    for suffix, words in (("", ""), ("_biwhitened", ", no sizes")):
        outside = (numbers(table, f"outliers{suffix}") + numbers(table, f"outliers_below{suffix}")) / levels
        found.append(Statistic(f"levels outside{words}", outside, 0.5, qvalues_of(table, f"largest_pvalue{suffix}"), "{:.1%}"))
    for side in ("input", "output"):
        for suffix, words in (("", ""), ("_biwhitened", ", no sizes")):
            share = numbers(table, f"{side}_rejected{suffix}")
            found.append(Statistic(f"{side} vectors{words}", share, 0.5, qvalues_of(table, f"{side}_pvalue{suffix}"), "{:.1%}"))
    found.append(Statistic("spread of sizes", _spread(table), 1.0, form="{:.0%}"))
    qvalues, ratio = numbers(table, "spacing_qvalue"), numbers(table, "spacing_ratio")
    far = np.where(np.isnan(qvalues), np.nan, np.where(qvalues < LEVEL, np.abs(ratio - GOE_RATIO), 0.0))
    found.append(Statistic("gap ratio of spacings", far, 0.1, qvalues, "{:.3f} off"))
    return found


def trends(table, places: Sequence[Place]) -> str:
    """Shares of levels and vectors without sizes against depth, one plot for each kind of at least three layers.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `rmtlib.analyse_network`.
    places : sequence of Place
        Of its rows.

    Returns
    -------
    str
        HTML with inline SVG, or an empty text if there is no such kind.
    """
    outside = numbers(table, "outliers_biwhitened") + numbers(table, "outliers_below_biwhitened")
    shares = {"outside": outside / numbers(table, "levels")}
    shares |= {side: numbers(table, f"{side}_rejected_biwhitened") for side in ("input", "output")}
    alt = "Shares of levels and vectors that noise does not explain, against depth"
    return depth_plots(shares, LINES, places, alt, note="all without the sizes of neurons")


def depth_plots(shares: Mapping[str, np.ndarray], lines, places: Sequence[Place], alt: str, note: str) -> str:
    """Shares against depth, one plot for each kind of at least three layers.

    Parameters
    ----------
    shares : mapping of str to numpy.ndarray
        One a layer, by name; nan where it is not known.
    lines : sequence of (str, str, str, str)
        What is drawn: name in ``shares``, words, colour, dashes.
    places : sequence of Place
        Of the layers.
    alt : str
        What stands for a plot where it is not seen.
    note : str
        The end of the legend.

    Returns
    -------
    str
        HTML with inline SVG, or an empty text if there is no such kind.
    """
    kinds: dict[str, list[int]] = {}
    for row, place in enumerate(places):
        kinds.setdefault(place.kind, []).append(row)
    kinds = {kind: sorted(rows, key=lambda row: places[row].rank) for kind, rows in kinds.items() if len(rows) >= FEWEST}
    rows_shown = [row for rows in kinds.values() for row in rows]
    values = np.concatenate([share[rows_shown] for share in shares.values()]) if rows_shown else np.array([])
    if not np.isfinite(values).any():
        return ""
    top = max(1.05 * float(np.nanmax(values)), 0.02)
    drawn = []
    for kind, rows in kinds.items():
        depth = np.arange(len(rows))
        size = {"xlim": (0, len(rows) - 1), "ylim": (0, top), "width": 172, "height": 150}
        plot = Plot(kind, "depth, first to last", "share", percent=True, counted=True, **size)
        for name, _, color, dashes in lines:
            plot.line(depth, shares[name][rows], color, dashes=dashes)
            plot.dots(depth, shares[name][rows], color, size=4 if len(rows) < 30 else 2)
        drawn.append(plot.svg(f"{alt}: {kind}"))
    legend = " · ".join(
        f'<svg width="26" height="8" viewBox="0 0 26 8" aria-hidden="true"><path d="M0 4h26" stroke="{color}" stroke-width="2" '
        f'stroke-dasharray="{dashes}"/></svg> {words}'
        for _, words, color, dashes in lines
    )
    plots = f'<div style="display:flex;flex-wrap:wrap;gap:6px">{"".join(drawn)}</div>'
    legend = f'<p class="legend" style="font-size:.8rem">{legend}; {note}.</p>'
    return f'<div class="trends">{plots}{legend}</div>'


def numbers(table, column) -> np.ndarray:
    """A column of a table as numbers, nan where it says nothing or there is no such column."""
    values = table[column] if column in table else [None] * len(table)
    return np.array([np.nan if value is None else float(value) for value in values])


def qvalues_of(table, column) -> np.ndarray:
    """The q-values of a column of p-values, among those of it that are known."""
    pvalues = numbers(table, column)
    known = np.isfinite(pvalues)
    if known.any():
        pvalues[known] = benjamini_hochberg(pvalues[known])
    return pvalues


def _spread(table) -> np.ndarray:
    """The larger spread of sizes, less what noise of equal sizes shows: a size is estimated from the entries of its row."""
    shapes = [shape if isinstance(shape, tuple | list) else (np.nan, np.nan) for shape in table["shape"]]
    found = [
        np.sqrt(np.maximum(numbers(table, column) ** 2 - 1 / (2 * np.array([shape[other] for shape in shapes], float)), 0))
        for column, other in (("row_spread", 1), ("column_spread", 0))
    ]
    return np.fmax(*found)
