"""The drawings of the chapters that put the spectrum to use: filtering, wrong labels, compression, activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

import rmtlib
from rmtlib import figures, filtering
from rmtlib.runs import Run
from rmtlib.vector import Drawing, Row, drawing, side_by_side, small_axes

from .pens import BAND, LAW, NOISE, OTHER, TRAINED, WORDS
from .regimes import REGIMES

__all__ = [
    "accuracy_by_rank",
    "accuracy_by_size",
    "along_vectors",
    "cut_at_the_edge",
    "deciles",
    "filter_steps",
    "loss_by_share",
    "loud_and_quiet",
    "spectra_by_share",
    "stop_or_cut",
    "vectors_by_share",
]

BOLD: dict[str, Any] = {"fontsize": 9, "fontweight": "bold"}
LAYERS = {"dense1": ("o", 0.4), "dense2": ("s", 0.7), "dense3": ("^", 1.0)}  # marker and opacity: deeper is darker
SIDE = 120  # of the picture that is filtered
BINS = 55


def filter_steps(*, seed: int = 0) -> Row:
    """A picture of two singular values, the same in noise, the singular values of that, and what the filter gives back."""
    bar = np.abs(np.linspace(-1, 1, SIDE)) < 0.25
    planted = 0.9 * (bar[:, None] | bar[None, :])
    noisy = planted + np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    kept = filtering.filter_matrix(noisy)
    drawn = [_image(planted, "what is there"), _image(noisy, "what we see: noise on top", spread=2)]
    figure, ax = small_axes(2.6, 2.5)
    nu = rmtlib.spectrum(noisy, vectors=False).nu
    outside = nu[-kept.rank :]
    ax.hist(nu[: -kept.rank], list(np.linspace(0, 1.1 * nu[-1], 45)), color=NOISE, alpha=0.55)
    high = ax.get_ylim()[1]
    ax.plot(outside, np.full(kept.rank, 0.06 * high), "o", ms=6, color=TRAINED)
    ax.axvline(kept.cut, ls=":", color=LAW, lw=1)
    ax.text(kept.cut, 0.95 * high, " cut here", va="top", **WORDS)
    ax.text(0.5 * kept.cut, 1.02 * high, "set to zero", color=NOISE, ha="center", **BOLD)
    ax.text(outside.mean(), 0.16 * high, "kept and\nshrunk", color=TRAINED, ha="center", **BOLD)
    ax.set(xlabel="singular value", yticks=[], xlim=(0, 1.1 * nu[-1]), ylim=(0, 1.15 * high))
    ax.spines["left"].set_visible(False)
    drawn.append(drawing(figure, alt=f"A histogram of singular values that ends at the cut; {kept.rank} points lie beyond it."))
    return side_by_side(*drawn, _image(kept.matrix, "what the filter gives back"), across=2)


def accuracy_by_rank(measured: pd.DataFrame) -> Row:
    """Test accuracy by the number of singular values kept in one layer, the number of outliers marked; one drawing a regime."""
    drawn = []
    unfiltered = 100 * measured.query("layer == 'none'").set_index("laziness")["accuracy"]
    plain = measured.query("treatment == 'plain' and value > 0")
    for regime, laziness in REGIMES.items():
        figure, ax = small_axes(2.7, 2.6)
        ax.axhline(unfiltered[laziness], ls="--", color=LAW, lw=1)
        marked = []
        for layer, (marker, opacity) in LAYERS.items():
            rows = plain[(plain["laziness"] == laziness) & (plain["layer"] == layer)].sort_values("value")
            x, y = rows["value"].to_numpy(), 100 * rows["accuracy"].to_numpy()
            ax.errorbar(x, y, 100 * rows["gain_error"], fmt=f"{marker}-", ms=2.8, lw=1.1, color=TRAINED, alpha=opacity)
            if outliers := int(rows["outliers"].iloc[0]):
                at = np.interp(np.log(outliers), np.log(x), y)
                ax.plot(outliers, at, "*", ms=9, color=TRAINED, mec=LAW, mew=0.6, zorder=4)
                marked.append(f"{layer} at {outliers}")
        ax.text(1, unfiltered[laziness] + 1, "whole network", va="bottom", **WORDS)
        _name_layers(ax, 580, 16)
        if marked:
            ax.text(580, 22, "★ the bulk ends", ha="right", **WORDS)
        ax.set(
            xscale="log", xlabel="singular values kept", ylabel="test accuracy, %", title=f"{regime}, $\\alpha$ = {laziness:g}"
        )
        ax.set(xlim=(0.9, 600), ylim=(0, 64), xticks=[1, 10, 100], xticklabels=["1", "10", "100"])
        edges = f"The bulk ends in {', '.join(marked)}." if marked else "No layer has outliers."
        drawn.append(drawing(figure, alt=f"{regime}: accuracies rise with the number of singular values kept. {edges}"))
    return side_by_side(*drawn)


def deciles(measured: pd.DataFrame) -> Row:
    """Change of the test accuracy, in points, without one tenth of the singular values of a layer; one drawing a regime."""
    removed = measured[(measured["treatment"] == "decile") & measured["layer"].isin(LAYERS)]
    low = 110 * removed["gain"].min()
    drawn = []
    for regime, laziness in REGIMES.items():
        figure, ax = small_axes(2.7, 2.4)
        ax.axhline(0, ls="--", color=LAW, lw=1)
        last = {}
        for layer, (marker, opacity) in LAYERS.items():
            rows = removed[(removed["laziness"] == laziness) & (removed["layer"] == layer)].sort_values("value")
            y = 100 * rows["gain"].to_numpy()
            look: dict[str, Any] = {"fmt": f"{marker}-", "ms": 3, "lw": 1.1, "color": TRAINED, "alpha": opacity}
            ax.errorbar(rows["value"] + 1, y, 100 * rows["gain_error"], **look)
            last[layer] = y[-1]
        _name_layers(ax, 5, 0.6 * low, step=0.13 * low)
        ax.set(xlabel="tenth removed (10: largest)", ylabel="change, points", title=f"{regime}, $\\alpha$ = {laziness:g}")
        ax.set(ylim=(low, 6), xticks=[1, 4, 7, 10])
        lost = ", ".join(f"{layer} {-y:.0f}" for layer, y in last.items())
        drawn.append(drawing(figure, alt=f"{regime}: without the largest tenth accuracy falls by so many points: {lost}."))
    return side_by_side(*drawn)


def spectra_by_share(layers: Mapping[float, rmtlib.LayerAnalysis]) -> Row:
    """Singular values by the share of replaced labels, one below the other, with the fitted bulk and each outlier marked.

    Raises
    ------
    ValueError
        If to one of them no bulk could be fitted.
    """
    figure, axes = small_axes(4.2, 4.6, rows=len(layers))
    top = 1.04 * max(s.nu[-1] for s in layers.values())
    told = []
    for ax, (share, s) in zip(axes, layers.items(), strict=True):
        if (bulk := s.bulk) is None:
            msg = f"layers must have a fitted bulk each; that with a share of {share:g} has none"
            raise ValueError(msg)
        ax.hist(s.nu, list(np.linspace(0, top, BINS + 1)), density=True, color=TRAINED, alpha=0.55)
        x = np.linspace(0, top, 500)
        y = bulk.pdf(x)
        ax.plot(x[y > 0], y[y > 0], "--", color=LAW, lw=1.1)
        outside = s.nu[s.nu > bulk.outlier_edge]
        ax.plot(outside, np.full(len(outside), 0.24), "|", color=TRAINED, ms=8, mew=1.3)
        ax.plot(bulk.nu_plus, 0, "^", ms=6, color=LAW, clip_on=False)
        ax.text(0.99, 0.96, f"{100 * share:.0f} % replaced", ha="right", va="top", transform=ax.transAxes, **BOLD)
        words = f"{len(outside)} outliers" if len(outside) else "no outlier"
        ax.text(0.99, 0.68, words, color=TRAINED, ha="right", va="top", transform=ax.transAxes, **WORDS)
        ax.set(yticks=[], xlim=(0, top), ylim=(0, 0.85))
        ax.spines["left"].set_visible(False)
        told.append(f"{100 * share:.0f} %: bulk up to {bulk.nu_plus:.2f}, {words}")
    axes[-1].set_xlabel("singular value (triangle: end of the fitted bulk)")
    return side_by_side(drawing(figure, alt=f"Histograms one below the other. {'; '.join(told)}."))


def vectors_by_share(layers: Mapping[float, rmtlib.LayerAnalysis]) -> Row:
    """Porter–Thomas p of the output vectors without wrong labels and with the most of them."""
    drawn = []
    for share in (min(layers), max(layers)):
        test = layers[share].output
        figure, ax = small_axes(3.2, 2.4)
        figures.porter_thomas_panel(ax, test)
        ax.set(xlabel="rank (largest: 1)", ylabel="$p$, moving mean", title=f"{100 * share:.0f} % replaced")
        ax.text(0.03, test.band[0] + 0.01, "random vectors", va="bottom", **WORDS)
        words = f"ends at {test.moving_mean[-1]:.2f}; the band begins at {test.band[0]:.2f}."
        drawn.append(drawing(figure, alt=f"{100 * share:.0f} % replaced: the moving mean of p {words}"))
    return side_by_side(*drawn)


def stop_or_cut(epochs: pd.DataFrame, noisy: pd.DataFrame, runs: Sequence[Run], *, layer: str = "dense3") -> Row:
    """Test accuracy along trainings with wrong labels, and by the singular values kept in a layer of the trained networks."""
    share = noisy["run"].map({run.name: run.config["label_noise"] for run in runs})
    kept = noisy.assign(share=share).query("seed == 0 and layer == @layer and treatment == 'plain' and value > 0")
    (left, before), (right, after) = (small_axes(3.4, 3.1) for _ in range(2))
    told = []
    groups = epochs[epochs["seed"] == 0].groupby("label_noise")
    for opacity, (replaced, own) in zip((0.45, 0.7, 1.0), groups, strict=True):
        name = f"{100 * replaced:.0f} %"
        look: dict[str, Any] = {"color": TRAINED, "alpha": opacity}
        stop = own[own["kind"] == "stop"].sort_values("epoch")
        mean = own[own["kind"] == "average"].sort_values("epoch")
        y = 100 * stop["accuracy"].to_numpy()
        before.plot(stop["epoch"], y, lw=1.6, **look)
        before.plot(mean["epoch"], 100 * mean["accuracy"], ls="--", lw=1, **look)
        best = int(np.argmax(y))
        before.plot(stop["epoch"].iloc[best], y[best], "*", ms=9, mec=LAW, mew=0.6, zorder=4, **look)
        before.text(115, y[-1], name, va="center", color=TRAINED, **BOLD)
        rows = kept[kept["share"] == replaced].sort_values("value")
        ys = 100 * rows["accuracy"].to_numpy()
        after.errorbar(rows["value"], ys, 100 * rows["gain_error"], fmt="o-", ms=3, lw=1.3, **look)
        after.text(590, ys[-1], name, va="center", color=TRAINED, **BOLD)
        told.append((name, y[best], y[-1], ys.max()))
    before.text(1, 15, "★ stop here", **WORDS)
    before.text(1, 7, "dashed: mean of the weights\nfrom here on", **WORDS)
    before.set(xlabel="epoch", xlim=(0.9, 240), xticks=[1, 10, 100], xscale="log")
    after.set(xlabel=f"singular values kept in {layer}", xlim=(0.9, 1500), xscale="log")
    for ax, ticks in ((before, [1, 10, 100]), (after, [1, 10, 100])):
        ax.set_xticks(ticks, [f"{tick}" for tick in ticks])
        ax.set(ylim=(5, 60), ylabel="test accuracy, %")
    stopped = ", ".join(f"{name}: {best:.0f} stopped, {end:.0f} at the end" for name, best, end, _ in told)
    cuts = ", ".join(f"{name}: {end:.0f} whole, {cut:.0f} at best" for name, _, end, cut in told)
    return side_by_side(
        drawing(left, alt=f"Test accuracy in per cent. {stopped}."), drawing(right, alt=f"The same by rank. {cuts}.")
    )


def cut_at_the_edge(W: np.ndarray, rank: int) -> Row:
    """The spectrum of a layer with its cut, and the two factors that remain, drawn to scale."""
    nu = rmtlib.spectrum(W, vectors=False).nu
    edge = (nu[-rank] + nu[-rank - 1]) / 2
    figure, ax = small_axes(3.4, 2.6)
    ax.hist([nu[:-rank], nu[-rank:]], list(np.linspace(0, 1.03 * nu[-1], BINS)), stacked=True, color=[BAND, TRAINED])
    high = ax.get_ylim()[1]
    ax.axvline(edge, ls=":", color=LAW, lw=1)
    ax.text(edge, 0.97 * high, " cut at the edge of noise", va="top", **WORDS)
    ax.text(1.08 * edge, 0.3 * high, f"kept:\n{rank} of {len(nu)}", color=TRAINED, **BOLD)
    ax.text(0.72 * edge, 0.25 * high, "goes", ha="center", **BOLD)
    ax.set(xlabel="singular value", yticks=[], xlim=(0, 1.03 * nu[-1]))
    ax.spines["left"].set_visible(False)
    spectrum = drawing(figure, alt=f"A histogram of {len(nu)} singular values; the {rank} beyond the edge of noise are kept.")
    rows, columns = W.shape
    figure = plt.figure(figsize=(3.4, 2.6), layout="none")
    ax = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    gap = 0.12 * columns
    parts = (
        (0, 0, columns, rows, BAND, f"{rows} × {columns}"),
        (0, -2.2 * gap - rows, rank, rows, TRAINED, f"{rows} × {rank}"),
        (rank + gap, -2.2 * gap - rank, columns, rank, TRAINED, f"{rank} × {columns}"),
    )
    for x, y, width, height, color, _ in parts:
        ax.add_patch(Rectangle((x, y), width, height, fc=color, ec="none"))
    ax.text(columns / 2, rows / 2, parts[0][-1], ha="center", va="center", fontsize=9.5)
    ax.text(columns / 2, -1.1 * gap, "becomes", ha="center", va="center", **WORDS)
    ax.text(rank + gap, -2.2 * gap - rows / 2, f"{parts[1][-1]}  and  {parts[2][-1]}:", va="center", **WORDS)
    share = 100 * rank * (rows + columns) / W.size
    ax.text(rank + gap, -2.2 * gap - 0.85 * rows, f"{share:.0f} % of the numbers", va="center", color=TRAINED, **BOLD)
    ax.set(xlim=(-0.02 * columns, 1.2 * columns), ylim=(-2.4 * gap - rows, 1.05 * rows), aspect="equal")
    ax.set_axis_off()
    factors = drawing(figure, alt=f"A large rectangle becomes two thin ones, drawn to scale, with {share:.0f} % of its area.")
    return side_by_side(spectrum, factors)


def accuracy_by_size(measured: pd.DataFrame) -> Row:
    """Test accuracy by the share of the numbers kept, in three ways, with the cut at the edge as a star; one drawing a regime."""
    ways = {
        "aware": ("knows the activations", "o-", OTHER, 1.6),
        "svd": ("plain truncation", "o-", TRAINED, 1.6),
        "pruned": ("small weights out", "s--", OTHER, 1.0),
    }
    drawn: list[Drawing] = []
    for regime, laziness in REGIMES.items():
        part = measured[(measured["network"] == "mlp512") & (measured["regime"] == regime)].set_index("treatment")
        figure, ax = small_axes(2.7, 2.8)
        whole = part.loc["none", "accuracy"]
        ax.axhline(whole, ls="--", color=LAW, lw=1)
        ax.text(100, whole + 1, "whole network", ha="right", va="bottom", **WORDS)
        for way, (_, fmt, color, width) in ways.items():
            rows = part.loc[[way]].query("budget != 'edge'").sort_values("share")
            ax.errorbar(rows["share"], rows["accuracy"], rows["gain_error"], fmt=fmt, ms=3, lw=width, color=color)
        share, accuracy = part.loc["edge", ["share", "accuracy"]]
        ax.plot(share, accuracy, "*", ms=11, color=TRAINED, mec=LAW, mew=0.7, zorder=4)
        ax.annotate("edge", (share, accuracy), (5, -12) if share < 90 else (-24, -14), textcoords="offset points", **WORDS)
        if not drawn:  # the other panels have the same lines
            for place, (words, _, color, width) in enumerate(ways.values()):
                weight = "bold" if width > 1 else "normal"
                ax.text(100, 15 - 6 * place, words, ha="right", color=color, fontsize=8.5, fontweight=weight)
        ax.set(xscale="log", xlabel="numbers kept, %", ylabel="test accuracy, %", title=f"{regime}, $\\alpha$ = {laziness:g}")
        ax.set(xlim=(4, 110), ylim=(0, 64))
        ax.set_xticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
        ax.minorticks_off()
        alt = f"{regime}: the cut at the edge keeps {share:.0f} % of the numbers and {accuracy:.0f} of {whole:.0f} % accuracy."
        drawn.append(drawing(figure, alt=alt))
    return side_by_side(*drawn)


def loud_and_quiet(*, seed: int = 0) -> Row:
    """A cloud of activations and one matrix, turned two ways: its large level along the cloud, and across it."""
    x = np.random.default_rng(seed).standard_normal((250, 2)) * (1.6, 0.35)
    drawn = []
    for name, angle in (("large level along the activations", 0.0), ("large level across them", np.pi / 2)):
        v = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        response = (x @ v.T) * (1.5, 0.5)
        figure, ax = small_axes(3.2, 3.0)
        ax.plot(*x.T, "o", ms=2, color=LAW, alpha=0.25, mew=0)
        ax.plot(*(response @ v).T, "o", ms=2, color=TRAINED, alpha=0.5, mew=0)
        for row, level in zip(v, (1.5, 0.5), strict=True):
            ax.annotate("", 2.3 * level * row, (0, 0), arrowprops={"arrowstyle": "-|>", "lw": 2, "color": NOISE})
        ax.text(
            *(2.5 * 1.5 * v[0] + (-0.1, 0.35) if angle == 0 else 2.5 * 1.5 * v[0]),
            "large level",
            color=NOISE,
            ha="center",
            **WORDS,
        )
        ax.text(-2.6, -1.5, "activations", color=LAW, alpha=0.7, ha="center", **WORDS)
        ax.text(2.6, -1.5, "response", color=TRAINED, ha="center", **WORDS)
        total = np.mean(np.sum(response**2, axis=1))
        ax.text(0, -4.3, f"mean square of the response: {total:.1f}", color=TRAINED, ha="center", **BOLD)
        ax.set(xlim=(-5, 5), ylim=(-4.8, 4.8), aspect="equal", xticks=[], yticks=[])
        ax.set_title(name, fontsize=9.5)
        for side in ax.spines.values():
            side.set_visible(False)
        drawn.append(drawing(figure, alt=f"{name}: the activations, stretched by the matrix, have a mean square of {total:.1f}."))
    return side_by_side(*drawn)


def along_vectors(centred: pd.DataFrame) -> Row:
    """Variance of the inputs along the vectors of each tenth of the levels, trained and initial; one drawing a layer."""
    ends = centred["energy"].min() * 0.85, centred["energy"].max() * 1.25
    drawn = []
    for layer in LAYERS:
        figure, ax = small_axes(2.8, 3.0)
        tops = {}
        for regime, style in zip(REGIMES, ("-", "--", ":"), strict=True):
            start, part = (centred.loc[(kind, regime, layer)] for kind in ("initial", "trained"))
            ax.fill_between(part.index + 1, part["low"], part["high"], color=BAND, lw=0, zorder=0)
            ax.plot(start.index + 1, start["energy"], color=NOISE, lw=0.9, ls=style)
            ax.plot(part.index + 1, part["energy"], color=TRAINED, lw=1.9, ls=style)
            tops[regime] = part["energy"].iloc[-1]
        place = 0.0
        for regime, value in sorted(tops.items(), key=lambda item: item[1]):
            place = max(np.log2(value), place + 0.42)
            ax.text(10.3, 2**place, regime, color=TRAINED, va="center", **BOLD)
        ax.text(1, 1.25, "initial", color=NOISE, va="bottom", **WORDS)
        ax.set_yscale("log", base=2)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.set(xlim=(0.5, 14.4), ylim=ends, xticks=[1, 4, 7, 10], xlabel="tenth of the levels", title=layer)
        ax.set_ylabel("variance, relative")
        told = ", ".join(f"{regime} {value:.1f}" for regime, value in tops.items())
        drawn.append(
            drawing(figure, alt=f"{layer}: relative variance along the largest tenth: {told}; initial vectors stay near one.")
        )
    return side_by_side(*drawn)


def loss_by_share(carried: pd.DataFrame, ranked: pd.DataFrame) -> Row:
    """Loss of accuracy without a tenth of the levels, against its share of the squared levels and of the response."""
    marks = dict(zip(REGIMES, (("o", TRAINED), ("o", "none"), ("x", TRAINED)), strict=True))
    drawn = []
    for quantity, words in {"nu2": r"share of $\nu^2$, %", "response": "share of the response, %"}.items():
        figure, ax = small_axes(3.4, 3.0)
        for regime, (marker, face) in marks.items():
            part = carried.loc[regime]
            look = {"fmt": marker, "ms": 4, "color": TRAINED, "mfc": face, "elinewidth": 0.6}
            ax.errorbar(100 * part[quantity], 100 * part["loss"], 100 * part["loss_error"], **look)
        ax.set(xscale="log", xlabel=words, ylabel="loss of accuracy, points", xlim=(0.1, 100), ylim=(-2.5, 90))
        ax.set_yscale("symlog", linthresh=1)
        ax.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
        ax.set_yticks([-1, 0, 1, 10], ["−1", "0", "1", "10"])
        ax.text(0.12, 25, "● rich   ○ typical   × lazy", color=TRAINED, **WORDS)
        rank = ranked.loc["all", quantity]
        ax.text(95, -1.6, f"rank correlation {rank:.2f}", ha="right", **BOLD)
        drawn.append(
            drawing(figure, alt=f"Points that rise from left to right; the rank correlation with the {words[:-3]} is {rank:.2f}.")
        )
    return side_by_side(*drawn)


def _name_layers(ax, x: float, y: float, *, step: float = -6):
    for place, (layer, (marker, opacity)) in enumerate(reversed(LAYERS.items())):
        mark = {"o": "●", "s": "■", "^": "▲"}[marker]
        ax.text(x, y + place * step, f"{layer} {mark}", ha="right", color=TRAINED, alpha=max(opacity, 0.75), **WORDS)


def _image(matrix: np.ndarray, words: str, *, spread: float = 0.6):
    figure, ax = small_axes(2.6, 2.5)
    ax.imshow(matrix, cmap="gray", interpolation="none", vmin=-spread, vmax=1 + spread)
    ax.set_title(words, fontsize=9.5)
    ax.set_axis_off()
    return drawing(figure, alt=f"{words[0].upper()}{words[1:]}: a picture with {len(matrix)} rows.")
