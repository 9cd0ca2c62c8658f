"""The drawings of the chapters on networks that others trained, on a transformer, on your own network and on two of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import rmtlib
from rmtlib import figures, laws
from rmtlib.porter_thomas import PorterThomasTest
from rmtlib.subspaces import Intruders
from rmtlib.vector import Row, drawing, side_by_side, small_axes

from . import text, transformer
from .layers import LENGTHS, LevelStatistics
from .pens import BAND, EXACT, FILTERED, LAW, NOISE, OTHER, TRAINED, WORDS

__all__ = [
    "activations",
    "base_update_tuned",
    "cost",
    "cost_of_tenths",
    "intruders",
    "levels",
    "smallest_levels",
    "spectra",
    "tenths_of_activations",
    "unrolled",
    "vectors",
]

BOLD: dict[str, Any] = {"fontsize": 9.5, "fontweight": "bold"}
BINS = 50
MODULES = ("argparse", "csv", "decimal", "inspect", "json", "logging", "random")  # whose docstrings are read
SENTENCES, POINTS = 60, 500
MOST = 2.45  # standard deviations, within which 19 of 20 points of a round Gaussian cloud lie


def unrolled(W: np.ndarray, *, channels: int, row: int | None = None) -> Row:
    """A convolution as kernels and as a matrix: one filter, whose kernels become one row.

    Parameters
    ----------
    W : numpy.ndarray of shape (n_out, 9 * channels)
        Columns run over kernel rows, kernel columns and input channels.
    channels : int
        Input channels.
    row : int, optional
        The filter that is shown; by default the strongest.
    """
    row = int(np.argmax(np.sum(W**2, axis=1))) if row is None else row
    figure = plt.figure(figsize=(4, 2.9), layout="none")
    shades: dict[str, Any] = {"cmap": "gray", "interpolation": "none", "aspect": "auto"}
    ends: dict[str, Any] = {"vmin": -np.abs(W[row]).max(), "vmax": np.abs(W[row]).max()}
    for channel, kernel in enumerate(W[row].reshape(9, channels).T[:3]):
        ax = figure.add_axes((0.03, 0.70 - 0.29 * channel, 0.145, 0.215))
        ax.imshow(kernel.reshape(3, 3), **shades, **ends)
        ax.set_title(f"channel {channel + 1}", fontsize=8.5, pad=2)
        ax.set_axis_off()
    place = 0.1 + 0.78 * (1 - (row + 0.5) / len(W))
    strip = figure.add_axes((0.26, place - 0.02, 0.22, 0.04))
    strip.imshow(W[[row]], **shades, **ends)
    strip.set_axis_off()
    strip.set_title(f"{W.shape[1]} weights", fontsize=8.5, pad=3)
    whole = figure.add_axes((0.58, 0.1, 0.3, 0.78))
    whole.imshow(W, **shades, vmin=-2.5 * W.std(), vmax=2.5 * W.std())
    whole.set_axis_off()
    whole.set_title(f"matrix, {W.shape[0]} × {W.shape[1]}", fontsize=9.5, pad=4)
    whole.axhspan(row - 0.5, row + 0.5, fc="none", ec=TRAINED, lw=1)
    between: dict[str, Any] = {"xycoords": "figure fraction", "textcoords": "figure fraction", "arrowprops": _arrow()}
    whole.annotate("", (0.255, place), (0.185, 0.52), **between)
    whole.annotate("", (0.575, place), (0.485, place), **between)
    figure.text(0.89, place, "one\nfilter", color=TRAINED, va="center", **WORDS)
    alt = "Three small images, the kernels of one filter, written one after the other into a strip: one row of a matrix."
    return side_by_side(drawing(figure, alt=alt))


def spectra(matrices: Mapping[Hashable, np.ndarray], noise: Mapping[Hashable, np.ndarray], *, top: float = 2.4) -> Row:
    """Singular values of layers and of noise of their shape and mean square, over the end of the noise."""
    drawn = []
    for place, W in matrices.items():
        edge = np.std(W) * (np.sqrt(W.shape[0]) + np.sqrt(W.shape[1]))
        nu = rmtlib.spectrum(W, vectors=False).nu / edge
        random = rmtlib.spectrum(noise[place], vectors=False).nu / (edge / np.std(W))
        figure, ax = small_axes()
        for values, color, alpha in ((random, NOISE, 0.45), (nu, TRAINED, 0.55)):
            ax.hist(values, list(np.linspace(0, top, BINS + 1)), density=True, color=color, alpha=alpha)
        ax.axvline(1, ls=":", color=LAW, lw=1)
        high = ax.get_ylim()[1]
        ax.text(1.04, 0.93 * high, "noise ends here", va="top", **WORDS)
        ax.text(1.25, 0.45 * high, f"trained: largest at {nu[-1]:.1f},\n{np.sum(nu > 1)} beyond the end", color=TRAINED, **WORDS)
        ax.text(1.25, 0.7 * high, "noise", color=NOISE, **WORDS)
        ax.set(xlabel="singular value over the end of noise", yticks=[], xlim=(0, top), title=_name(place))
        ax.spines["left"].set_visible(False)
        words = (
            f"{np.sum(nu > 1)} of {len(nu)} singular values lie beyond the end of noise, the largest at {nu[-1]:.1f} times it."
        )
        drawn.append(drawing(figure, alt=f"{_name(place)}: two histograms. {words}"))
    return side_by_side(*drawn)


def levels(trained: Mapping[Hashable, LevelStatistics], noise: Mapping[Hashable, LevelStatistics], *, a: int) -> Row:
    """Spacings with the Wigner surmise of two layers, and their number variances with the laws and with noise."""
    above, below = [], []
    for place, found in trained.items():
        figure, ax = small_axes()
        figures.spacing_panel(ax, rmtlib.spacings(found.xi), law=laws.wigner_surmise, inset=False)
        ax.text(1.5, 0.62, "random matrix", **WORDS)
        ax.text(1.25, 0.74, _name(place), color=TRAINED, **WORDS)
        above.append(drawing(figure, alt=f"The spacings of {_name(place)} follow the Wigner surmise, which is zero at zero."))
        figure, ax = small_axes()
        ax.plot(LENGTHS, laws.number_variance_goe(LENGTHS), **EXACT)
        ax.plot(LENGTHS, laws.number_variance_unfolded(LENGTHS, a), **FILTERED)
        ax.plot(LENGTHS, noise[place].number_variance, "o", ms=3.5, color=NOISE)
        ax.plot(LENGTHS, found.number_variance, "o", ms=3.5, color=TRAINED)
        last, end = LENGTHS[-1], laws.number_variance_goe(LENGTHS)[-1]
        ax.text(last, 1.14 * end, "law, exact (dotted)", ha="right", va="bottom", **WORDS)
        ax.text(0.33 * last, 0.12 * end, _name(place), color=TRAINED, **WORDS)
        ax.text(0.33 * last, 0.24 * end, "noise", color=NOISE, **WORDS)
        ax.text(0.55 * last, 0.24 * end, "law, unfolded", **WORDS)
        ax.set(xlabel="length $L$ (mean spacings)", ylabel="number variance", ylim=(0, 1.3 * end))
        alt = f"The number variance of {_name(place)} grows like that of noise and stays below the exact law."
        below.append(drawing(figure, alt=alt))
    return side_by_side(*above, *below, across=2)


def vectors(trained: Mapping[Hashable, PorterThomasTest], noise: PorterThomasTest) -> Row:
    """Porter–Thomas p-values along the spectrum of layers, and of noise."""
    tests = [(_name(place), test, TRAINED) for place, test in trained.items()] + [("noise", noise, NOISE)]
    drawn = []
    for name, test, color in tests:
        figure, ax = small_axes(2.7, 2.5)
        figures.porter_thomas_panel(ax, test, color=color)
        ax.text(0.03, test.band[0] + 0.01, "random vectors", va="bottom", **WORDS)
        ax.set_title(name, fontsize=9)
        ax.set(xlabel="rank (largest: 1)", ylabel="$p$, moving mean")
        low = test.moving_mean.min()
        drawn.append(
            drawing(
                figure,
                alt=f"{name}: points, and a moving mean that is never below {low:.2f}; the band begins at {test.band[0]:.2f}.",
            )
        )
    return side_by_side(*drawn)


def activations(encoder: transformer.Encoder | None, *, role: str = "intermediate", block: int = 2) -> Row | None:
    """Inputs of one matrix along the vector of its smallest level and along one from the middle; None without the network.

    The inputs are those that sentences of docstrings cause, one point a token, divided by what a random direction has.
    """
    if encoder is None:
        return None
    seen = []
    tokens = transformer.tokenise(text.spread(text.docstrings(MODULES), SENTENCES))
    transformer.embed(encoder, tokens, on_input=lambda *place: seen.append(place[2]) if place[:2] == (role, block) else None)
    x = np.concatenate(seen)
    x = (x - x.mean(0)) / np.sqrt(np.mean(x.var(0)))
    _, nu, V = np.linalg.svd(encoder.matrix(role, block), full_matrices=False)
    middle, small = (V[[len(nu) // 2, -1]] @ x.T)[:, : len(x) // POINTS * POINTS : len(x) // POINTS]
    figure, ax = small_axes(4.2, 3.9)
    ax.plot(middle, small, "o", ms=2.2, color=TRAINED, alpha=0.45, mew=0)
    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(MOST * np.cos(angle), MOST * np.sin(angle), "--", color=LAW, lw=1.2)
    ax.text(2.3, -2.6, "19 of 20 activations,\nif these directions\nwere random", va="top", **WORDS)
    ax.text(
        2.3,
        6.5,
        "what the matrix\nhears most quietly\nis loud in its inputs",
        color=TRAINED,
        va="top",
        fontweight="bold",
        **WORDS,
    )
    ax.set(xlabel=f"along a vector from the middle, level {nu[len(nu) // 2]:.1f}", xlim=(-8, 8), ylim=(-8, 8), aspect="equal")
    ax.set_ylabel(f"along the vector of the smallest level, {nu[-1]:.2f}")
    spread = [values.std() for values in (middle, small)]
    words = (
        f"Standard deviations: {spread[0]:.1f} along a vector from the middle, {spread[1]:.1f} along that of the smallest level."
    )
    return side_by_side(drawing(figure, alt=f"A cloud of points, much higher than wide. {words}"))


def smallest_levels(found: Mapping[str, np.ndarray], *, number: int = 60) -> Row:
    """The smallest levels of a trained matrix and of noise, in this order, over the edge below which noise has none."""
    figure, ax = small_axes(4.6, 2.9)
    for nu, color in zip(found.values(), (TRAINED, NOISE), strict=True):
        ax.plot(np.arange(1, number + 1), nu[:number], "o", ms=3, color=color)
    trained, noise = found.values()
    ax.axhline(1, ls="--", color=LAW, lw=1)
    ax.text(number, 0.985, "noise ends here", ha="right", va="top", **WORDS)
    ax.text(24, 1.06 * noise[24], "noise of its sizes", color=NOISE, ha="right", va="bottom", **WORDS)
    below = int(np.sum(trained < 1))
    ax.text(below + 3, 0.8, f"{below} levels below", color=TRAINED, fontweight="bold", **WORDS)
    ax.set(xlabel="levels from the smallest", ylabel="level over lower edge", ylim=(0, None))
    alt = f"Two rows of rising points. Those of noise begin at the edge; {below} of the transformer lie below it."
    return side_by_side(drawing(figure, alt=alt))


def tenths_of_activations(directions: pd.DataFrame) -> Row:
    """Variance of the activations along the input vectors of six kinds of matrices, by tenths of the levels."""
    about = directions[directions["about"] == "mean"].assign(tenth=directions["decile"] + 1)
    values = about[["trained", "noise", "low", "high"]]
    ends = 0.9 * values.min(axis=None), 1.15 * values.max(axis=None)
    drawn = []
    for role in transformer.ROLES:
        part = about[about["role"] == role].pivot_table(
            index="tenth", columns="block", values=["trained", "noise", "low", "high"]
        )
        mean = part["trained"].mean(axis=1)
        figure, ax = small_axes(2.6, 2.2)
        ax.fill_between(part.index, part["low"].min(axis=1), part["high"].max(axis=1), color=BAND, lw=0, zorder=0)
        ax.plot(part["noise"], color=NOISE, lw=0.6)
        ax.plot(part["trained"], color=TRAINED, lw=0.6)
        ax.plot(mean, color=TRAINED, lw=2.5)
        ax.plot(1, mean.iloc[0], "o", ms=5, color=TRAINED)
        ax.annotate(
            f"{mean.iloc[0]:.2g}",
            (1, mean.iloc[0]),
            (5, 5 if mean.iloc[0] > 1 else -14),
            textcoords="offset points",
            color=TRAINED,
            **BOLD,
        )
        ax.set_yscale("log", base=2)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.set(xlim=(0.5, 10.5), ylim=ends, xticks=[1, 5, 10], xlabel="tenth of the levels", title=role, yticks=[0.5, 1, 2, 4, 8])
        drawn.append(
            drawing(figure, alt=f"{role}: {mean.iloc[0]:.2g} at the smallest tenth, {mean.iloc[-1]:.2g} at the largest.")
        )
    return side_by_side(*drawn, across=3)


def cost_of_tenths(damage: pd.DataFrame, *, marked: str = "intermediate") -> Row:
    """What embeddings lose without one tenth of the levels, and the same over the loss along random directions."""
    trained = damage[damage["weights"] == "trained"]
    drawn = []
    for column in ("cost", "ratio"):
        figure, ax = small_axes(3.4, 2.9)
        for role, part in trained.groupby("role"):
            look = {"color": TRAINED, "lw": 2.2, "zorder": 3} if role == marked else {"color": LAW, "lw": 0.9, "alpha": 0.5}
            tenth = part["decile"] + 1
            if column == "ratio":
                bars = 2 * np.hypot(part["ratio_error"], part["draw_spread"])
                ax.errorbar(tenth, part[column], bars, fmt="o-", ms=3, **look)
            else:
                ax.plot(tenth, part[column], "o-", ms=3, **look)
        own = trained[trained["role"] == marked].set_index("decile")[column]
        ax.annotate(
            f"{marked},\nsmallest tenth",
            (1, own[0]),
            (14, 12),
            textcoords="offset points",
            color=TRAINED,
            fontweight="bold",
            **WORDS,
        )
        if column == "cost":
            ax.text(7.6, 1.3 * trained[trained["decile"] == 5]["cost"].min() / 8, "the other roles", ha="center", **WORDS)
            ax.set(yscale="log", ylabel="cost")
        else:
            ax.axhline(1, ls=":", color=LAW)
            ax.set_yscale("log", base=2)
            ax.yaxis.set_major_formatter("{x:g}")
            ax.set_ylabel("cost, in units of that at random")
        ax.set(xlabel="tenth of the levels", xticks=[1, 4, 7, 10])
        drawn.append(
            drawing(
                figure,
                alt=f"{column.capitalize()} by tenth: {marked} has {own[0]:.2g} at the smallest and {own[1]:.2g} at the next.",
            )
        )
    return side_by_side(*drawn)


def cost(table: pd.DataFrame) -> Row:
    """Processor seconds by the number of levels, with a line that grows with its third power."""
    figure, ax = small_axes(4.2, 2.9)
    m = table.index.to_numpy()
    for column, color in zip(table, (TRAINED, OTHER), strict=True):
        ax.loglog(m, table[column], "o-", ms=4, color=color)
    cube = table["decomposition"].iloc[-1] * (m / m[-1]) ** 3
    ax.plot(m, cube, ":", color=LAW, lw=1.2)
    ax.text(1.15 * m[0], cube[0], "$m^3$", va="center", **WORDS)
    first, second = table
    ax.text(m[0] / 1.4, 2.4 * table[first].iloc[0], first, color=TRAINED, va="bottom", **WORDS)
    ax.text(m[0] / 1.4, 1.7 * table[second].iloc[0], second, color=OTHER, va="bottom", **WORDS)
    ax.set(xlabel="levels $m$", ylabel="processor seconds", xlim=(m[0] / 1.5, 1.1 * m[-1]))
    ax.set_xticks(m, [f"{size}" for size in m])
    ax.minorticks_off()
    return side_by_side(
        drawing(figure, alt="Two curves in logarithmic axes that meet at large m, where both follow the third power.")
    )


def base_update_tuned(base: np.ndarray, tuned: np.ndarray) -> Row:
    """Spectra of a layer before training, of what training added, and of the sum; values beyond the noise of each are marked."""
    matrices = {"base": base, "update": tuned - base, "tuned = base + update": tuned}
    found = {name: rmtlib.spectrum(W, vectors=False).nu for name, W in matrices.items()}
    top = 1.03 * max(nu[-1] for nu in found.values())
    drawn = []
    for name, nu in found.items():
        edge = rmtlib.fit_marchenko_pastur(nu, base.shape).outlier_edge
        beyond = nu[nu > edge]
        figure, ax = small_axes(2.7, 2.2)
        ax.hist(nu, list(np.linspace(0, top, BINS + 1)), color=NOISE if name == "base" else TRAINED, alpha=0.55)
        high = ax.get_ylim()[1]
        ax.axvline(edge, ls=":", color=LAW, lw=1)
        ax.plot(beyond, np.full(len(beyond), 0.3 * high), "|", color=TRAINED, ms=7)
        ax.text(edge + 0.03 * top, 0.95 * high, "noise\nends here", va="top", **WORDS)
        if len(beyond):
            ax.text(edge + 0.03 * top, 0.42 * high, "beyond noise", color=TRAINED, fontweight="bold", **WORDS)
        ax.set(xlabel="singular value", yticks=[], xlim=(0, top), title=name)
        ax.spines["left"].set_visible(False)
        drawn.append(
            drawing(figure, alt=f"{name}: a histogram of singular values, {len(beyond)} of them beyond the end of its noise.")
        )
    return side_by_side(*drawn)


def intruders(found: Mapping[str, Intruders], *, threshold: float = 0.5) -> Row:
    """Largest cosines of top vectors with those of the base, what noise of the update's sizes does, and a threshold."""
    drawn = []
    for name, one in found.items():
        place = 1 + np.arange(len(one.cosines))
        low, high = np.percentile(one.noise, [2.5, 97.5], axis=0)
        figure, ax = small_axes(2.7, 2.6)
        ax.fill_between(place, low, high, color=NOISE, alpha=0.45, lw=0)
        ax.plot(place, one.cosines, "o", ms=4, color=TRAINED)
        ax.axhline(threshold, color=LAW, ls="--", lw=1)
        free = 0.8 if 1 - high.max() > low.min() else 0.03
        ax.text(len(place), free + 0.12, "orange: what noise does", color=NOISE, ha="right", **WORDS)
        ax.text(len(place), free, "dashed: threshold", ha="right", **WORDS)
        ax.set(xlabel="place of the vector", ylabel="largest |cosine|", ylim=(0, 1.03), title=name)
        below = int(np.sum(one.cosines < threshold))
        drawn.append(
            drawing(
                figure,
                alt=f"{name}: {below} of {len(place)} points below it, noise from {low.min():.2f} to {high.max():.2f}.",
            )
        )
    return side_by_side(*drawn)


def _name(place: Hashable) -> str:
    return " ".join(place) if isinstance(place, tuple) else str(place)


def _arrow() -> dict[str, Any]:
    return {"arrowstyle": "->", "lw": 0.9, "color": "black"}
