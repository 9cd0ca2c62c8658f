"""The page of a comparison: what its heat map, its figures and the columns of its table show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..figures import COLORS
from ..layer_comparison import CERTAIN
from .heatmap import Statistic
from .overview import depth_plots, numbers, qvalues_of
from .places import Place
from .svg import Plot

__all__ = ["COLUMNS", "Change", "change_cells", "change_statistics", "change_trends", "steps"]

LINES = (  # what a trend shows: name, words, colour, dashes
    ("size", "size of the update over that of the base", COLORS["trained"], ""),
    ("directions", "its directions beyond noise, of all levels", COLORS["other"], "2 2"),
    ("turned", "share of the top directions that is gone", "#7f3c8d", "6 3"),
)
THIN = "#bbbbbb"  # one layer among others


class Change(NamedTuple):
    """A column of the page: the table's columns that it shows by ``form``, and one sentence."""

    names: tuple[str, ...]
    head: str
    unit: str
    form: str
    meaning: str


COLUMNS = (
    Change(("update_size",), "update", "% of the base", "{:.2%}", "Norm of tuned minus base over the norm of the base."),
    Change(
        ("unchanged", "grid"),
        "unchanged",
        "% of entries",
        "{:.0%} (grid {:.1g})",
        "Entries that are the same on both sides, and half the distance of neighbouring numbers relative to an entry: smaller "
        "changes are hidden.",
    ),
    Change(
        ("rank",),
        "directions",
        "count",
        "{:.0f}",
        "Singular values of the update beyond noise, once the sizes of its rows and columns are taken out. One update of noise "
        "in a hundred shows one.",
    ),
    Change(("rank_qvalue",), "q of directions", "q", "{:.2g}", "That the largest is noise (Tracy–Widom), over all layers."),
    Change(
        ("alignment", "alignment_qvalue"),
        "along the base",
        "cosine (q)",
        "{:+.3f} ({:.2g})",
        "Cosine of update and base as vectors of entries: positive where the update makes the base grow, negative where it "
        "shrinks; q against updates whose entries have random signs.",
    ),
    Change(
        ("overlap", "overlap_random"),
        "top directions left",
        "% (of random ones)",
        "{:.0%} ({:.0%})",
        "Mean squared cosine between the top subspaces of base and tuned, and what random subspaces have.",
    ),
    Change(
        ("intruders", "intruders_noise", "intruders_qvalue"),
        "new vectors",
        "count (of noise; q)",
        "{:.0f} ({:.1f}; {:.2g})",
        "Top vectors of the tuned matrix that are farther from all vectors of the base than noise of the update's sizes makes "
        "them, at p below 0.05; how many noise has at this level; q of the number.",
    ),
    Change(
        ("outliers_base", "outliers_tuned"),
        "levels above",
        "count, no sizes",
        "{:.0f} → {:.0f}",
        "Singular values above the bulk of noise before and after, once the sizes of neurons are taken out.",
    ),
    Change(
        ("sigma_base", "sigma_tuned"), "sigma", "of an entry", "{:.3g} → {:.3g}", "Standard deviation of the noise in an entry."
    ),
    Change(
        ("stable_rank_base", "stable_rank_tuned"),
        "stable rank",
        "levels",
        "{:.1f} → {:.1f}",
        "Sum of the squared levels over the largest square.",
    ),
    Change(
        ("alpha_base", "alpha_tuned", "alpha_noise"),
        "alpha",
        "exponent (of noise)",
        "{:.2f} → {:.2f} ({:.2f})",
        "Exponent of the power law that fits the largest squared levels best, and that of noise of the shape.",
    ),
)


def with_qvalues(table):
    """The table with q-values among its rows beside every p-value that the page judges by."""
    tests = ("rank", "alignment", "intruders")
    return table.assign(**{f"{test}_qvalue": qvalues_of(table, f"{test}_pvalue") for test in tests})


def change_cells(table) -> list[list[str]]:
    """The numbers of a table as the page shows them.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `rmtlib.compare`, of one step.

    Returns
    -------
    list of list of str
        A row a layer: its shape, then one text for each of ``COLUMNS``; empty where nothing can be said.
    """
    shown = with_qvalues(table)
    known = {name: numbers(shown, name) for column in COLUMNS for name in column.names}
    rows = []
    for i, shape in enumerate(shown["shape"]):
        row = [" × ".join(map(str, shape))]
        for column in COLUMNS:
            values = [known[name][i] for name in column.names]
            told = (_Q(value) if name.endswith("qvalue") else value for name, value in zip(column.names, values, strict=True))
            row.append("" if np.isnan(values).any() else column.form.format(*told))
        rows.append(row)
    return rows


class _Q(float):
    """A q-value, of which the smallest are not told apart."""

    def __format__(self, form: str) -> str:
        return f"< {CERTAIN:g}" if self < CERTAIN else super().__format__(form)


def change_statistics(table) -> list[Statistic]:
    """Columns of the heat map, with signs.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `rmtlib.compare`, of one step.

    Returns
    -------
    list of Statistic
        Size of the update; its directions as a share of the levels (q of the largest); its cosine with the base (q against random
        signs); how much of the top subspace is gone; new top vectors beyond those of noise as a share of them, if there are any
        in the table (q of their number); and how the levels above the bulk, the width of the noise, the stable rank and alpha
        changed: differences over the levels, and relative ones.
    """
    shown = with_qvalues(table)
    levels = np.array([min(shape) for shape in shown["shape"]], float)

    def column(name):
        return numbers(shown, name)

    def relative(name):
        return column(f"{name}_tuned") / column(f"{name}_base") - 1

    found = [
        Statistic("size of the update", column("update_size"), 0.5, form="{:.2%}"),
        Statistic("directions beyond noise", column("rank") / levels, 0.1, column("rank_qvalue"), "{:.1%} of the levels"),
        Statistic("along the base", column("alignment"), 0.3, column("alignment_qvalue"), "{:+.3f}"),
        Statistic("top directions gone", 1 - column("overlap"), 1.0, form="{:.0%}"),
    ]
    if np.isfinite(column("intruders")).any():
        beyond = np.maximum(column("intruders") - column("intruders_noise"), 0)
        found.append(Statistic("new vectors", beyond, 10, column("intruders_qvalue"), "{:.1f} beyond noise"))
    more = (column("outliers_tuned") - column("outliers_base")) / levels
    found.append(Statistic("levels above, no sizes", more, 0.1, form="{:+.1%}"))
    found.append(Statistic("width of the noise", relative("sigma"), 0.3, form="{:+.1%}"))
    found.append(Statistic("stable rank", relative("stable_rank"), 1.0, form="{:+.0%}"))
    found.append(Statistic("alpha", column("alpha_tuned") - column("alpha_base"), 1.0, form="{:+.2f}"))
    return found


def change_trends(table, places: Sequence[Place]) -> str:
    """Size, directions and what is left of the top against depth, for each kind of at least three layers, as HTML."""
    levels = np.array([min(shape) for shape in table["shape"]], float)
    shares = {
        "size": numbers(table, "update_size"),
        "directions": numbers(table, "rank") / levels,
        "turned": 1 - numbers(table, "overlap"),
    }
    return depth_plots(shares, LINES, places, "What the training changed, against depth", note="in per cent")


def steps(table) -> str:
    """What changed along the steps of a training: one thin line a layer, and the median of the layers.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `rmtlib.compare` with several tuned networks.

    Returns
    -------
    str
        HTML with inline SVG, or an empty text if there is no column ``step``.
    """
    if "step" not in table:
        return ""
    names = list(dict.fromkeys(table["step"]))
    whole = all(name.isdecimal() for name in names)
    x = np.array([int(name) for name in names] if whole else range(len(names)), float)
    drawn = []
    for column, title, percent in (
        ("update_size", "size of the update", True),
        ("rank", "directions beyond noise", False),
        ("overlap", "top directions left", True),
    ):
        layers = _by_step(table, column, names)
        known = layers[np.isfinite(layers)]
        top = 1.05 * float(known.max()) if len(known) else 1.0
        label = "% of the base" if column == "update_size" else "share" if percent else "count"
        plot = Plot(
            title, "step", label, xlim=(x[0], x[-1]), ylim=(0, top or 1.0), width=250, height=180, percent=percent, counted=True
        )
        for line in layers:
            plot.line(x, line, THIN, width=1)
        middle = np.array([np.median(found[np.isfinite(found)]) if np.isfinite(found).any() else np.nan for found in layers.T])
        plot.line(x, middle, COLORS["trained"], width=2.5)
        plot.dots(x, middle, COLORS["trained"])
        drawn.append(plot.svg(f"{title} against the step of the training: {len(layers)} layers and their median"))
    plots = f'<div style="display:flex;flex-wrap:wrap;gap:6px">{"".join(drawn)}</div>'
    return f'<div class="trends">{plots}<p class="legend" style="font-size:.8rem">grey: a layer; blue: their median.</p></div>'


def _by_step(table, column, names) -> np.ndarray:
    """Values as an array of shape (layers, steps), nan where a layer has none."""
    layers = {layer: row for row, layer in enumerate(dict.fromkeys(table["layer"]))}
    found = np.full((len(layers), len(names)), np.nan)
    order = {name: place for place, name in enumerate(names)}
    for step, layer, value in zip(table["step"], table["layer"], numbers(table, column), strict=True):
        found[layers[layer], order[step]] = value
    return found
