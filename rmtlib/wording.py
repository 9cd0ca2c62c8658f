"""What an analysis found, in words: the summary of a layer and the lines of its ``repr``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import departures as detectors

if TYPE_CHECKING:
    from .biwhitening import Biwhitened
    from .layer_analysis import LayerAnalysis
    from .marchenko_pastur import MarchenkoPasturFit

LEVEL = 0.05
NAMED = 3  # layers that a paragraph names
NO_BULK = 0.1  # of the levels: what is outside of less is most of the spectrum, and no outlier
HALF = 0.5
NOTHING = "nothing found that noise would not show"
SIZES = "once the sizes of neurons are taken out"
NEED_FULL_RANK = "bulk, outliers, spacings, number variance, sizes, alpha"
TOLD = (  # of what could not be said
    NEED_FULL_RANK,
    "spacings, number variance",
    "zero levels",
    "rows of zeros",
    "columns of zeros",
)
DEPARTURES = ("of the entries are zero", "are correlated (mean", "its variance is no product", "the entries lie on a grid")
SPREAD = 3.0  # times what noise of equal sizes shows, from where on sizes are said to differ


def summary(layer: LayerAnalysis) -> str:
    """Where information sits, what the sizes of neurons explain of it, and what about the matrix the null does not cover."""
    found = _levels(layer)
    found += _vectors(layer, "without the sizes" if any(SIZES in words for words in found) else SIZES)
    if layer.spacing_qvalue is not None and layer.spacing_qvalue < LEVEL:
        found.append(_spacings(layer.spacing_qvalue))
    if NEED_FULL_RANK in layer.missing:
        found = [f"rank {layer.rank} of {min(layer.shape)}", *(found or ["no vector that noise would not show"])]
    said = [*(found or [NOTHING]), *layer.departures]
    left_out = [f"{what}: {why}" for what, why in layer.missing.items() if what in TOLD]
    return f"{layer.name}: " + "; ".join([*said, *left_out])


def with_spacings(summary: str, name: str, qvalue: float) -> str:
    """The summary of a layer of a network once the q of its spacings is known."""
    if not qvalue < LEVEL:
        return summary
    head = f"{name}: {NOTHING}"
    if summary.startswith(head):
        return f"{name}: {_spacings(qvalue)}{summary.removeprefix(head)}"
    return f"{summary}; {_spacings(qvalue)}"


def without_spacings(summary: str, name: str) -> str:
    """The summary as it was before `with_spacings`."""
    said = r"spacings that are not the GOE's \(q = [^)]*\)"
    if match := re.match(said, summary.removeprefix(f"{name}: ")):
        return f"{name}: {NOTHING}" + summary.removeprefix(f"{name}: {match[0]}")
    return re.sub(f"; {said}$", "", summary)


def names_departure(summary: str) -> bool:
    """Whether a summary says that something about the matrix is not covered by the null; sizes that differ are."""
    return any(words in summary for words in DEPARTURES)


def uncounted(fit: MarchenkoPasturFit | None) -> bool:
    """Whether a bulk is so small that levels outside it cannot be called outliers."""
    return fit is not None and fit.bulk_fraction < NO_BULK


def counted(fit: MarchenkoPasturFit | None, field: str) -> int | None:
    """A number of levels outside the bulk; None without a bulk that levels could be outside of."""
    return None if fit is None or uncounted(fit) else getattr(fit, field)


def known(row, column: str) -> bool:
    """Whether a row of a table has a value in a column, neither None nor nan."""
    value = row.get(column)
    return value is not None and value == value


def listed(names: Sequence[str]) -> str:
    """The first three names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def bulk(fit: MarchenkoPasturFit | None) -> str:
    """One line on a bulk."""
    if fit is None:
        return "none that could be fitted"
    line = f"{fit.bulk_fraction:.1%} of the levels, edge {fit.nu_plus:.4g}"
    return line if uncounted(fit) else f"{line}, {fit.n_outliers} outliers above, {fit.n_outliers_below} below"


def vectors(side: str, indices, count: int) -> str:
    """One line on the vectors of a space."""
    return f"  {side + ' vectors':<17}{len(indices)} of {count} not random (false discovery rate 5 %)"


def departures(W, sparse, nu, tests, total) -> tuple[str, ...]:
    """What about a matrix the null does not cover, a sentence each; ``total`` is the matrix without total sizes, or None."""
    said = []
    if sparse is not None:
        above = int(np.count_nonzero(nu > sparse.edge))
        rejected = " and ".join(
            f"{np.count_nonzero(tests[side].qvalue < LEVEL)} {side} vectors (those: {count})"
            for side, count in sparse.rejected.items()
        )
        said.append(
            f"{detectors.zero_share(W):.0%} of the entries are zero, so the edge of Gaussian noise is not its edge: "
            f"{above or 'no'} level{'s' * (above != 1)} above that of the same zeros on other noise, {rejected} not random"
        )
    elif (share := detectors.zero_share(W)) > 0.01:
        said.append(f"{share:.0%} of the entries are zero")
    correlated = detectors.correlation(W).found
    said += [
        f"neighbouring {side} are correlated (mean {value:.2f}), and the null has none" for side, value in correlated.items()
    ]
    if total is not None and not correlated and min(total.matrix.shape) >= detectors.FEWEST_BLOCKED:
        test = detectors.blocks(total.matrix)
        if test.found:
            low, high = test.mean_squares.min(), test.mean_squares.max()
            said.append(f"its variance is no product of row and column sizes (blocks from {low:.2f} to {high:.2f} of it)")
    if values := detectors.coarse(W):
        said.append(f"the entries lie on a grid of some {values} values")
    return tuple(said)


def _levels(layer):
    fit = layer.bulk
    if layer.sparse is not None:
        return []
    if fit is None:
        return ["no bulk that could be fitted"] if "bulk, outliers" in layer.missing else []
    if uncounted(fit):
        return [f"the levels follow no Marchenko-Pastur law (bulk of {fit.bulk_fraction:.0%}), so outliers are not counted"]
    parts = [part for part in (layer.biwhitened, layer.total) if part is not None and part.bulk is not None]
    if len(parts) == 2 and (parts[0] is parts[1] or parts[0].biwhitened.settled):
        parts = parts[:1]
    found: list[str] = []
    for place, field in (("above", "n_outliers"), ("below", "n_outliers_below")):
        count, without = getattr(fit, field), [getattr(part.bulk, field) for part in parts]
        if not (count or any(without)):
            continue
        small = f" {place} a bulk that holds {fit.bulk_fraction:.0%} of them"
        where = small if fit.bulk_fraction < HALF else f" {place} the bulk"
        sizes = "without the sizes" if found else SIZES
        found.append(f"{count or 'no'} level{'s' * (count != 1)}{where}{_without(without, parts, sizes)}")
    return found


def _without(counts, parts, sizes):
    if not counts:
        return ""
    told = []
    for count, part in zip(counts, parts, strict=True):
        fit = part.bulk
        share = f" (outside {fit.bulk_fraction:.0%})" if fit.bulk_fraction < HALF else ""
        told.append(f"{count or 'none'}{share}")
    if len(told) == 2:
        return f", {told[0]} {sizes} as far as they are noise, which did not settle, {told[1]} by all of them"
    return f", {told[0]} {sizes}"


def _vectors(layer, sizes):
    if layer.sparse is not None:
        return []
    found, m = [], layer.rank
    for side, indices in layer.informative.items():
        noise, total = (part and len(part.informative[side]) for part in (layer.biwhitened, layer.total))
        if not (len(indices) or noise or total):
            continue
        top = f" ({np.mean(indices >= 0.9 * m):.0%} of them in the top tenth)" if len(indices) else ""
        line = f"{len(indices) or 'no'} {side} vector{'s' * (len(indices) != 1)}{top}"
        if noise is not None:
            line += f", {noise or 'none'} {sizes}"
            line += f" ({total or 'none'} if what neurons learned counts as size)" if noise != total else ""
            sizes = "without the sizes"
        found.append(line)
    return found


def sizes(taken: Biwhitened) -> tuple[str, ...]:
    """What the sizes of rows and columns spread by, where it is more than they seem to in noise of equal sizes."""
    n_out, n_in = taken.matrix.shape
    squares = np.square(taken.matrix, dtype=np.float64)
    kurtosis = np.mean(squares**2) / np.mean(squares) ** 2
    spreads = {"rows": (taken.row_spread, n_in), "columns": (taken.column_spread, n_out)}
    return tuple(
        f"the sizes of {side} spread by {spread:.0%}"
        for side, (spread, entries) in spreads.items()
        if spread > SPREAD * np.sqrt(max(kurtosis - 1, 0.5) / (4 * entries))
    )


def _spacings(qvalue):
    return f"spacings that are not the GOE's (q = {qvalue:.2g})"
