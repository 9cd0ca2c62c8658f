"""A network in a few numbers and one paragraph, from the table of its layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import wording
from .weights import Skipped

__all__ = ["NetworkSummary", "summarise_network"]

LEVEL = 0.05
HALF = 0.5


@dataclass(frozen=True)
class NetworkSummary:
    """What the layers of a network have in common, and which stand out.

    Means are over the layers that have a value, and nan if none has. Logarithms are to base 10.

    Attributes
    ----------
    layers, analysed : int
        Matrices, and those that could be analysed.
    levels : int
        Singular values of these.
    silent : tuple of str
        Layers in which nothing was found that noise would not show.
    standing_out : tuple of str
        At most three layers with the largest share of levels outside the bulk once sizes are taken out.
    outliers, outliers_biwhitened : int
        Levels above and below the bulk, and those that remain once sizes are taken out; over layers that have both.
    uncounted : tuple of str
        Layers without a bulk, or with one of less than a tenth of the levels: what lies outside is not counted.
    small_bulk : tuple of str
        Layers whose bulk holds less than half of the levels: their counts say that there is hardly a bulk.
    input_rejected, output_rejected, input_rejected_biwhitened, output_rejected_biwhitened : float
        Mean shares of the vectors that are not random.
    spacings_rejected : tuple of str
        Layers whose spacings are not those of a random matrix, at q < 0.05.
    spacing_ratio : float
        Mean ratio of neighbouring gaps; 0.5307 for large random matrices.
    alpha, alpha_noise : float
        Mean exponent of the power law that fits the upper eigenvalues of the matrices as they are, and of noise of their shapes.
    alpha_weighted : float
        Mean of alpha times the logarithm of the largest eigenvalue.
    log_norm, log_spectral_norm : float
        Mean logarithm of the sum of the eigenvalues, and of the largest one, in squared units of the weights.
    stable_rank, mp_softrank : float
        Mean sum of the eigenvalues over the largest; mean squared edge of the fitted bulk over the largest eigenvalue.
    uncovered : tuple of str
        Layers with zeros, correlated neighbours, a grid or blocks, which the null does not cover.
    not_analysed : tuple of str
        Layers that could not be analysed.
    skipped : dict of str to int
        Tensors that give no matrix, by reason.
    text : str
        All this as one paragraph.
    """

    layers: int
    analysed: int
    levels: int
    silent: tuple[str, ...]
    standing_out: tuple[str, ...]
    outliers: int
    outliers_biwhitened: int
    uncounted: tuple[str, ...]
    small_bulk: tuple[str, ...]
    input_rejected: float
    output_rejected: float
    input_rejected_biwhitened: float
    output_rejected_biwhitened: float
    spacings_rejected: tuple[str, ...]
    spacing_ratio: float
    alpha: float
    alpha_noise: float
    alpha_weighted: float
    log_norm: float
    log_spectral_norm: float
    stable_rank: float
    mp_softrank: float
    uncovered: tuple[str, ...]
    not_analysed: tuple[str, ...]
    skipped: dict[str, int]
    text: str


def summarise_network(table, skipped: Sequence[Skipped] = ()) -> NetworkSummary:
    """Summarise the table of a network.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `rmtlib.analyse_network`, with ``biwhiten=True``.
    skipped : sequence of Skipped
        Tensors that give no matrix, ``skipped`` of `rmtlib.Weights`.

    Returns
    -------
    NetworkSummary

    Raises
    ------
    ValueError
        If ``table`` has no rows or lacks the columns ``layer`` and ``summary``.

    Examples
    --------
    >>> import rmtlib
    >>> noise = {"fc": rmtlib.ensembles.gaussian((120, 100), 0)}
    >>> summarise_network(rmtlib.analyse_network(noise, progress=False)).silent
    ('fc',)
    """
    if not {"layer", "summary"} <= set(getattr(table, "columns", ())) or not len(table):
        msg = "table must be that of analyse_network, with at least one row and the columns layer and summary"
        raise ValueError(msg)
    layers = table["layer"]
    done = _column(table, "levels").notna()
    above, below, above_free, below_free = (
        _column(table, f"outliers{part}") for part in ("", "_below", "_biwhitened", "_below_biwhitened")
    )
    both = (above + below + above_free + below_free).notna()
    outside, free = above + below, above_free + below_free
    share = free.where(free.notna(), outside) / _column(table, "levels")
    largest, rank = _column(table, "largest"), _column(table, "stable_rank")
    squared = 2 * np.log10(largest)
    order = share[share > 0].sort_values(ascending=False, kind="stable").index[: wording.NAMED]
    numbers: dict[str, Any] = {
        "layers": len(table),
        "analysed": int(done.sum()),
        "levels": int(_column(table, "levels").sum()),
        "silent": _names(
            layers, [f"{name}: {wording.NOTHING}" in told for name, told in zip(layers, table["summary"], strict=True)]
        ),
        "standing_out": tuple(layers[order]),
        "outliers": int(outside[both].sum()),
        "outliers_biwhitened": int(free[both].sum()),
        "uncounted": _names(layers, done & above.isna()),
        "small_bulk": _names(layers, (_column(table, "bulk_fraction") < HALF) & above.notna()),
        **{
            f"{side}_rejected{part}": _mean(_column(table, f"{side}_rejected{part}"))
            for part in ("", "_biwhitened")
            for side in ("input", "output")
        },
        "spacings_rejected": _names(layers, _column(table, "spacing_qvalue") < LEVEL),
        "spacing_ratio": _mean(_column(table, "spacing_ratio")),
        "alpha": _mean(_column(table, "alpha")),
        "alpha_noise": _mean(_column(table, "alpha_noise")),
        "alpha_weighted": _mean(_column(table, "alpha") * squared),
        "log_norm": _mean(squared + np.log10(rank)),
        "log_spectral_norm": _mean(squared),
        "stable_rank": _mean(rank),
        "mp_softrank": _mean((_column(table, "nu_plus") / largest) ** 2),
        "uncovered": _names(layers, [wording.names_departure(told) for told in table["summary"]]),
        "not_analysed": _names(layers, ~done),
        "skipped": dict(Counter(reason for _, _, reason in skipped)),
    }
    return NetworkSummary(**numbers, text=_text(numbers, table.loc[order]))


def _column(table, name):
    import pandas as pd

    values = table[name] if name in table else [None] * len(table)
    return pd.Series(pd.to_numeric(pd.Series(values, table.index, dtype=object), errors="coerce"), dtype=float)


def _mean(values) -> float:
    return float(values.mean())


def _names(layers, chosen) -> tuple[str, ...]:
    return tuple(name for name, yes in zip(layers, chosen, strict=True) if yes)


def _text(of: dict, first) -> str:
    matrices = _count(of["layers"], "weight matrix", "weight matrices")
    said = [f"The network has {matrices} with {of['levels']:,} levels (singular values)."]
    if of["silent"]:
        said.append(f"In {len(of['silent'])} nothing was found that noise would not show: {wording.listed(of['silent'])}.")
    if of["outliers"] or of["outliers_biwhitened"]:
        lost = 1 - of["outliers_biwhitened"] / of["outliers"] if of["outliers"] else 0.0
        explained = f"{lost:.0%}" if lost > 0.005 else "none"
        said.append(
            f"Outside the bulk of noise lie {of['outliers']:,} levels, and {of['outliers_biwhitened']:,} once the sizes of "
            f"neurons are taken out: sizes explain {explained} of them."
        )
    if of["standing_out"]:
        said.append(f"What stands out most: {'; '.join(_standing(row) for _, row in first.iterrows())}.")
    if of["small_bulk"]:
        few = _count(len(of["small_bulk"]), "matrix", "matrices")
        said.append(f"In {few} the bulk holds less than half of the levels: a count says there that hardly a bulk is left.")
    if not np.isnan(of["output_rejected"]):
        shares = [of[f"{side}_rejected{part}"] for part in ("", "_biwhitened") for side in ("input", "output")]
        without = "" if np.isnan(shares[2]) else f", {shares[2]:.1%} and {shares[3]:.1%} without sizes"
        said.append(f"Of the input vectors {shares[0]:.1%} are not random, of the output vectors {shares[1]:.1%}{without}.")
    if not np.isnan(of["spacing_ratio"]):
        who = f"{wording.listed(of['spacings_rejected'])} (q below {LEVEL:g})" if of["spacings_rejected"] else "no matrix"
        said.append(f"Spacings differ from those of a random matrix in {who}.")
    if of["uncounted"]:
        said.append(f"Levels outside were not counted where no bulk could be told: {wording.listed(of['uncounted'])}.")
    if of["not_analysed"]:
        said.append(f"Not analysed: {wording.listed(of['not_analysed'])}.")
    if of["uncovered"]:
        few = _count(len(of["uncovered"]), "matrix", "matrices")
        said.append(f"In {few} something differs from noise that the null does not cover; their lines below say what.")
    if of["skipped"]:
        count, reason = sum(of["skipped"].values()), max(of["skipped"], key=of["skipped"].get)
        said.append(f"{_count(count, 'tensor', 'tensors')} gave no matrix, most often for this reason: {reason}.")
    return " ".join(said)


def _standing(row) -> str:
    words = []
    if wording.known(row, "outliers"):
        fraction = row["bulk_fraction"]
        bulk = f"a bulk that holds {fraction:.0%}" if fraction < HALF else "the bulk"
        words.append(f"{row['outliers'] + row['outliers_below']:.0f} levels outside {bulk}")
    if wording.known(row, "outliers_biwhitened"):
        words.append(f"{row['outliers_biwhitened'] + row['outliers_below_biwhitened']:.0f} without sizes")
    return f"{row['layer']} ({', '.join(words)})"


def _count(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"
