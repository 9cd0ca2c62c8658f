"""The drawings of the chapters about training: each from networks and measurements that ship with the book."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

import rmtlib
from rmtlib.runs import Run, initial
from rmtlib.vector import Drawing, Row, drawing, side_by_side, small_axes

from .bulk_origin import Origin, difference, turned
from .layers import LevelStatistics
from .pens import BAND, EXACT, FILTERED, INITIAL, LAW, OTHER, TRAINED

__all__ = [
    "alignment",
    "alike",
    "apart",
    "apart_from_law",
    "bulks",
    "counts",
    "ends",
    "exponents",
    "filters",
    "growth",
    "history",
    "leaving",
    "levels",
    "paths",
    "ridges",
    "river",
    "sum_of_two",
    "sweep",
    "vectors",
    "walking",
]


def paths(runs: Mapping[str, Run], layer: str = "dense2") -> Drawing:
    """How far a layer of each network moved from the start that all share, and in which direction.

    Parameters
    ----------
    runs : mapping of str to Run
        Three, by regime, of one seed; the first gives the direction that the others are held against.
    layer : str

    Returns
    -------
    Drawing
        Distances from the start, in units of the norm of the initial matrix, and angles with the first update are true.
    """
    updates = {}
    for regime, run in runs.items():
        start = initial(run, layer)
        updates[regime] = (rmtlib.load_weights(run)[layer].matrix - start) / np.linalg.norm(start)
    reference = next(iter(updates.values()))
    figure, ax = small_axes(4.0, 2.5)
    turn = np.linspace(-0.3, 0.52, 60)
    ax.plot(np.sqrt(2) * np.cos(turn), np.sqrt(2) * np.sin(turn), ":", color=INITIAL)
    ax.text(1.32, -0.3, "any other\nrandom start", color=INITIAL, fontsize=9, ha="right", va="center")
    ax.plot(0, 0, "o", color=INITIAL, ms=6)
    ax.text(-0.04, 0, "the start", color=INITIAL, fontsize=9, ha="right", va="center")
    told = []
    places = ((-0.55, 0.03), (0.03, 0.03), (0.03, -0.03))  # of the words, from the tip
    for (regime, update), (right, up) in zip(updates.items(), places, strict=True):
        length = np.linalg.norm(update)
        angle = np.sign(up) * np.arccos(np.clip(np.vdot(update, reference) / length / np.linalg.norm(reference), -1, 1))
        x, y = length * np.cos(angle), length * np.sin(angle)
        ax.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": TRAINED, "lw": 2, "shrinkA": 0, "shrinkB": 0})
        words = f"{regime}: moved {100 * length:.0f} %,\n{100 * runs[regime].test_accuracy:.0f} % of images right"
        ax.text(x + right, y + up, words, color=TRAINED, fontsize=9, va="bottom" if up > 0 else "top")
        told.append(f"{regime} {100 * length:.0f}")
    ax.set(xlim=(-0.32, 1.46), ylim=(-0.38, 0.64), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    alt = f"Arrows from one start to three trained layers; their lengths in per cent of the start's norm: {', '.join(told)}."
    return drawing(figure, alt=alt + " A dotted arc far beyond them is where other random starts lie.")


def history(table: Mapping[str, Sequence[float]]) -> Row:
    """Cost and accuracies of a training over its epochs.

    Parameters
    ----------
    table : mapping of str to sequence of float
        The history of a run.

    Returns
    -------
    Row
        Two drawings.
    """
    epoch = table["epoch"]
    left, ax = small_axes()
    ax.plot(epoch, table["train_loss"], "o-", ms=3, color=TRAINED)
    ax.set(xlabel="epoch", ylabel=r"cost $\ell$", yscale="log")
    ax.set_title("the cost falls", loc="left")
    _plain(ax.yaxis)
    right, ax = small_axes()
    for name, label, color, side in (("train", "training images", TRAINED, "bottom"), ("test", "test images", OTHER, "top")):
        share = 100 * np.asarray(table[f"{name}_accuracy"])
        ax.plot(epoch, share, "o-", ms=3, color=color)
        ax.text(epoch[-1], share[-1] + (2 if side == "bottom" else -2), label, color=color, fontsize=9, ha="right", va=side)
    ax.set(xlabel="epoch", ylabel="accuracy (%)", ylim=(None, 105))
    ax.set_title("the accuracy rises", loc="left")
    return side_by_side(
        drawing(left, alt="The cost of the training images falls with the epochs."),
        drawing(right, alt="The accuracies on training and test images rise with the epochs, that on test images less far."),
    )


def apart(
    trained: Mapping[str, rmtlib.LayerAnalysis],
    start: rmtlib.LayerAnalysis,
    vectors: Mapping[str, Sequence[rmtlib.PorterThomasTest]],
) -> Row:
    """What tells the regimes apart: columns a and d of the paper's figure 3.

    Parameters
    ----------
    trained : mapping of str to LayerAnalysis
        One layer of one network of each regime.
    start : LayerAnalysis
        The same layer before training.
    vectors : mapping of str to sequence of PorterThomasTest
        Tests of all networks of each regime.

    Returns
    -------
    Row
        A drawing with the spectra and one with the vectors, each with a panel a regime.
    """
    return side_by_side(_spectra(trained, start), _vectors(vectors))


def _spectra(trained, start):
    figure, axes = small_axes(3.4, 5.4, rows=len(trained))
    top = 1.03 * max(layer.nu[-1] for layer in trained.values())
    bins = np.linspace(0, top, 61)
    told = []
    for ax, (regime, layer) in zip(axes, trained.items(), strict=True):
        ax.hist(start.nu, bins, color=INITIAL, alpha=0.4, ec="none")
        ax.hist(layer.nu, bins, color=TRAINED, alpha=0.55, ec="none")
        x = np.linspace(0, top, 600)
        y = layer.bulk.pdf(x) * len(layer.nu) * bins[1]
        ax.plot(x[y > 0], y[y > 0], "--", color=LAW, lw=1.2)
        outside = layer.nu[layer.nu > layer.bulk.outlier_edge]
        ax.plot(outside, np.full(len(outside), 11.0), "|", color=TRAINED, ms=8, mew=0.9)
        ax.axvline(layer.bulk.outlier_edge, ymax=0.55, color=LAW, lw=0.8, ls=":")
        words = f"{len(outside)} outliers" if len(outside) else "no outlier"
        ax.text(0.98, 0.6, words, color=TRAINED, fontsize=10, fontweight="bold", ha="right", transform=ax.transAxes)
        ax.set_title(regime, loc="left", fontweight="bold")
        ax.set(xlim=(0, top), ylim=(0, 34), ylabel="levels")
        told.append(f"{regime}: {words}")
    axes[0].annotate("before training", (1.3, 20), (1.7, 29), color=INITIAL, fontsize=9, arrowprops=_arrow(INITIAL))
    axes[-1].annotate("fitted bulk", (1.2, 19.5), (1.7, 28), fontsize=9, arrowprops=_arrow())
    edge = trained[list(trained)[1]].bulk.outlier_edge
    axes[1].annotate("edge of the noise", (edge, 16), (edge + 0.2, 27), fontsize=9, arrowprops=_arrow())
    axes[-1].set_xlabel(r"singular value $\nu$")
    return drawing(figure, alt=f"Spectra before and after training, one below the other. {'; '.join(told)}.")


def _vectors(tests):
    figure, axes = small_axes(3.4, 5.4, rows=len(tests))
    told = []
    for ax, (regime, own) in zip(axes, tests.items(), strict=True):
        curves, m = np.array([test.moving_mean for test in own]), len(own[0].pvalue)
        places, high = own[0].positions + 1, (own[0].band[1] - 0.5) / np.sqrt(len(own))
        mean = curves.mean(axis=0)
        below, above = mean < 0.5 - high, mean > 0.5 + high
        ax.axhspan(0.5 - high, 0.5 + high, color=BAND, lw=0, zorder=0)
        ax.plot(places, curves.T, color=TRAINED, lw=0.5, alpha=0.5)
        ax.plot(places, mean, color=TRAINED, lw=1.8)
        ax.plot(places[below], np.full(below.sum(), 0.03), "|", color=TRAINED, ms=6, mew=1)
        if below.any():
            ax.text(0.97 * m, 0.13, "not random", color=TRAINED, fontsize=9, fontweight="bold", ha="right")
        if above.mean() > 0.5:
            ax.text(0.45 * m, 0.83, "more Gaussian than noise", color=TRAINED, fontsize=9, fontweight="bold", ha="center")
        if not (below | above).any():
            ax.text(0.5 * m, 0.13, "all within the band of noise", fontsize=9, ha="center")
        ax.set_title(regime, loc="left", fontweight="bold")
        ax.set(xlim=(1, m), ylim=(0, 1), yticks=[0, 0.5, 1], xticks=[1, m // 4, m // 2, 3 * m // 4, m], ylabel="mean p")
        told.append(
            f"{regime}: {100 * below.mean():.0f} % of the curve below the band of noise, {100 * above.mean():.0f} % above it"
        )
    axes[-1].set_xlabel("singular value, smallest to largest")
    return drawing(figure, alt=f"Mean p of singular vectors along the spectrum, one panel a regime. {'; '.join(told)}.")


def alike(trained: Mapping[str, rmtlib.LayerAnalysis], start: rmtlib.LayerAnalysis, *, a: int = 15) -> Row:
    """What is alike in all regimes and before training: columns b and c of the paper's figure 3.

    Parameters
    ----------
    trained : mapping of str to LayerAnalysis
    start : LayerAnalysis
        The same layer before training.
    a : int
        Half window of the unfolding.

    Returns
    -------
    Row
        Two drawings: the spacings, and the number variance, each with all networks in one panel.

    Raises
    ------
    ValueError
        If a layer has too few levels.
    """
    shown = [(start, INITIAL), *((layer, TRAINED) for layer in trained.values())]
    curves = [(layer.number_variance, color) for layer, color in shown if layer.number_variance is not None]
    if len(curves) < len(shown):
        msg = "trained and start must have enough levels for a number variance; one of them has not"
        raise ValueError(msg)
    left, ax = small_axes()
    x = np.linspace(0, 3.2, 200)
    for layer, color in shown:
        s = np.sort(rmtlib.spacings(layer.xi))
        ax.step(s, np.arange(1, len(s) + 1) / len(s), where="post", color=color, lw=1)
    ax.plot(x, rmtlib.laws.wigner_surmise.cdf(x), "--", color=LAW)
    ax.plot(x, rmtlib.laws.poisson_spacing.cdf(x), ":", color=LAW)
    ax.annotate(f"Wigner surmise, and\n{len(shown)} layers on it", (1.35, 0.76), (1.6, 0.45), fontsize=9, arrowprops=_arrow())
    ax.annotate("if levels did not\nrepel each other", (0.33, 0.28), (0.05, 0.8), fontsize=9, arrowprops=_arrow())
    ax.set(xlim=(0, 3.2), ylim=(0, 1.02), xlabel="spacing $s$ (mean spacings)", ylabel="share below $s$")
    right, ax = small_axes()
    L = curves[0][0].L
    for variance, color in curves:
        ax.plot(L, variance.values, color=color, lw=1)
    ax.plot(L, rmtlib.laws.number_variance_goe(L), **EXACT)
    ax.plot(L, rmtlib.laws.number_variance_unfolded(L, a), **FILTERED)
    ax.text(L[-1], rmtlib.laws.number_variance_goe(L)[-1] + 0.02, "exact law", fontsize=9, ha="right", va="bottom")
    ax.text(L[-1], 0.35, f"the law as the unfolding\nfilters it, and {len(shown)} layers", fontsize=9, ha="right")
    ax.set(xlabel="length $L$ (mean spacings)", ylabel=r"number variance $\Sigma^2$", ylim=(0, None), xlim=(0, L[-1]))
    return side_by_side(
        drawing(
            left,
            alt="The distributions of spacings of all layers lie on the Wigner surmise, far from that of independent levels.",
        ),
        drawing(right, alt="The number variances of all layers scatter about the filtered law, below the exact one."),
    )


def ridges(runs: Sequence[Run], layer: str = "dense2") -> Drawing:
    """Spectra of one layer, one above the other, from the richest network to the laziest, with a stroke for each outlier.

    Parameters
    ----------
    runs : sequence of Run
        In the order of their laziness.
    layer : str

    Returns
    -------
    Drawing
    """
    spectra = [rmtlib.spectrum(rmtlib.load_weights(run)[layer].matrix, vectors=False) for run in runs]
    edges = [rmtlib.fit_marchenko_pastur(s.nu, s.shape).outlier_edge for s in spectra]
    top = 1.02 * max(s.nu[-1] for s in spectra)
    bins = np.linspace(0, top, 81)
    figure, ax = small_axes(3.8, 0.46 * len(runs) + 0.5)
    told = []
    for i, (run, s, edge) in enumerate(zip(runs, spectra, edges, strict=True)):
        foot = len(runs) - 1 - i
        height = np.histogram(s.nu, bins)[0]
        ax.stairs(foot + 0.8 * height / height.max(), bins, baseline=foot, fill=True, color=TRAINED, alpha=0.55, lw=0)
        outside = s.nu[s.nu > edge]
        ax.plot(outside, np.full(len(outside), foot + 0.42), "|", color=TRAINED, ms=7, mew=0.9)
        words = f"{len(outside)} outlier{'s' * (len(outside) != 1)}" if len(outside) else "no outlier"
        ax.text(top, foot + 0.71, words, color=TRAINED, fontsize=9, fontweight="bold", ha="right", va="center")
        told.append(f"alpha {run.config['laziness']:g}: {words}")
    ax.set(xlim=(0, top), ylim=(-0.05, len(runs)), xlabel=r"singular value $\nu$", ylabel=r"laziness $\alpha$")
    ax.set_yticks(range(len(runs)), [f"{run.config['laziness']:g}" for run in reversed(runs)])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return drawing(figure, alt=f"Spectra of one layer from rich to lazy, one above the other. {'; '.join(told)}.")


def sweep(networks: pd.DataFrame) -> Row:
    """Accuracies of networks and of their linearisations against laziness: the paper's figure 4.

    Parameters
    ----------
    networks : pandas.DataFrame
        Of `studies.laziness.sweep`.

    Returns
    -------
    Row
        A drawing for test images and one for training images; networks are crosses, linearisations circles.
    """
    means = 100 * networks.groupby("laziness").mean(numeric_only=True)
    panels = []
    for images, name in (("test", "test images"), ("train", "training images")):
        figure, ax = small_axes(3.4, 2.8)
        full, linear = means[f"{images}_accuracy"], means[f"linearized_{images}_accuracy"]
        ax.fill_between(means.index, linear, full, color=BAND, alpha=0.6, lw=0)
        for prefix, marker, color in (("", "x", TRAINED), ("linearized_", "o", OTHER)):
            column = f"{prefix}{images}_accuracy"
            ax.plot(means.index, means[column], lw=1.2, color=color)
            ax.plot(networks["laziness"], 100 * networks[column], marker, ms=5, mfc="none", color=color, ls="none")
        ax.set(xscale="log", xlabel=r"laziness $\alpha$", ylabel="accuracy (%)")
        ax.set_xticks([0.3, 0.5, 1, 2.5, 5, 10], ["0.3", "0.5", "1", "2.5", "5", "10"])
        ax.minorticks_off()
        ax.set_title(name, loc="left")
        first = means.index[0]
        ax.text(first * 1.25, full.iloc[0] + 0.06 * np.ptp(linear), "the network", color=TRAINED, fontsize=9, va="bottom")
        ax.text(first * 1.55, linear.iloc[0] + 0.1 * np.ptp(linear), "its linearisation", color=OTHER, fontsize=9)
        ax.margins(y=0.12)
        wide = (full - linear).iloc[[0, -1]]
        alt = (
            f"Accuracy on {name}: the gap between network and linearisation is {wide.iloc[0]:.0f} points for the richest network"
        )
        panels.append(drawing(figure, alt=f"{alt} and {wide.iloc[1]:.0f} for the laziest."))
    return side_by_side(*panels)


def ends(table: pd.DataFrame, *, bound: float = 0.40) -> Row:
    """Mean p of the vectors at both ends of the spectrum, of several readings of one recipe, with and without sizes of neurons.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows by reading, regime and ``"large"`` or ``"small"`` end; ``sd`` is the standard deviation that noise gives a mean
        of its number of vectors, every other column is a mean p by its label.
    bound : float
        Below which a mean is a dip.

    Returns
    -------
    Row
        A drawing for each end, with a panel for each regime; the bars hold 90 % of noise.
    """
    readings, regimes = (list(table.index.unique(level)) for level in (0, 1))
    kinds = [column for column in table if column != "sd"]
    styles = [("o", TRAINED, TRAINED), ("o", TRAINED, "none"), ("x", OTHER, None)]
    names = ["\n".join(textwrap.wrap(name, 16)) for name in readings]
    panels = []
    height = 1.5 + 0.34 * len(regimes) * len(readings)
    for end in ("large", "small"):
        figure, axes = small_axes(3.4, height, rows=len(regimes))
        for ax, regime in zip(axes, regimes, strict=True):
            own = table.xs((regime, end), level=(1, 2))
            places = [readings.index(name) for name in own.index]
            ax.barh(places, 3.29 * own["sd"], left=0.5 - 1.645 * own["sd"], height=0.75, color=BAND, ec="none")
            for kind, (marker, color, face) in zip(kinds, styles, strict=False):
                ax.plot(own[kind], places, marker, ls="none", ms=6, color=color, mfc=face)
            ax.axvline(bound, color=LAW, lw=0.8, ls="--")
            ax.set(xlim=(-0.03, 1), xticks=[0, 0.5, 1], ylim=(len(readings) - 0.5, -0.5))
            ax.set_yticks(range(len(readings)), names)
            ax.set_title(f"{regime}, {end} end", loc="left")
        axes[-1].set_xlabel("mean p")
        means = table.xs(end, level=2)["as it is"]
        told = f"{int((means < bound).sum())} of {len(means)} lie below {bound:g} as they are"
        panels.append(drawing(figure, alt=f"Mean p of the vectors at the {end} end, by regime and reading; {told}."))
    return side_by_side(*panels)


def filters(W, size: int, count: int = 4) -> Drawing:
    """The strongest filters of a first convolution as images, and each as a row of its matrix.

    Parameters
    ----------
    W : array of shape (filters, 3 * size**2)
        Rows: three colours, each ``size`` times ``size`` pixels.
    size : int
    count : int
        How many filters.

    Returns
    -------
    Drawing
    """
    import matplotlib.pyplot as plt

    rows = np.asarray(W)[np.argsort(np.linalg.norm(W, axis=1))[::-1][:count]]
    scale = np.abs(rows).max()
    figure, axes = plt.subplots(
        count, 2, figsize=(3.8, 0.52 * count + 0.3), width_ratios=[1, 6], layout="constrained", squeeze=False
    )
    for (image, strip), row in zip(axes, rows, strict=True):
        image.imshow(0.5 + row.reshape(3, size, size).transpose(1, 2, 0) / (2 * scale), interpolation="nearest")
        strip.imshow(row[None], cmap="gray", vmin=-scale, vmax=scale, aspect="auto", interpolation="nearest")
        for ax in (image, strip):
            ax.axis("off")
    axes[0, 0].set_title("filter", fontsize=9)
    axes[0, 1].set_title(f"its {W.shape[1]} weights as a row: red, green, blue", fontsize=9, loc="left")
    alt = f"{count} filters as small colour images; beside each the row of {W.shape[1]} grey values that it becomes."
    return drawing(figure, alt=alt)


def levels(found: Mapping[str, tuple[LevelStatistics, LevelStatistics]], *, a: int = 15) -> Row:
    """Spacings and number variance of layers before and after training: panels of the paper's figure 1.

    Parameters
    ----------
    found : mapping of str to (LevelStatistics, LevelStatistics)
        By the title of a panel: the initial and the trained layer.
    a : int
        Half window of the unfolding.

    Returns
    -------
    Row
        Two drawings a layer.
    """
    panels = []
    for title, (start, end) in found.items():
        left, ax = small_axes()
        x = np.linspace(0, 3.2, 200)
        ax.hist(np.diff(end.xi), np.linspace(0, 3.2, 21), density=True, color=TRAINED, alpha=0.55, ec="none")
        ax.plot(x, rmtlib.laws.wigner_surmise.pdf(x), "--", color=LAW)
        ax.annotate("Wigner surmise", (1.45, 0.58), (1.75, 0.75), fontsize=9, arrowprops=_arrow())
        ax.set(xlim=(0, 3.2), ylim=(0, 1), xlabel="spacing $s$ (mean spacings)", ylabel="density")
        ax.set_title(title, loc="left")
        right, ax = small_axes()
        ax.plot(end.L, start.number_variance, color=INITIAL, lw=1.4)
        ax.plot(end.L, end.number_variance, color=TRAINED, lw=1.8)
        ax.plot(end.L, rmtlib.laws.number_variance_goe(end.L), **EXACT)
        ax.plot(end.L, rmtlib.laws.number_variance_unfolded(end.L, a), **FILTERED)
        ax.text(0.04, 0.96, "trained", color=TRAINED, fontsize=9, fontweight="bold", va="top", transform=ax.transAxes)
        ax.text(0.04, 0.85, "before training", color=INITIAL, fontsize=9, fontweight="bold", va="top", transform=ax.transAxes)
        ax.text(0.97, 0.16, "dotted: exact law", fontsize=9, ha="right", transform=ax.transAxes)
        ax.text(0.97, 0.05, "dashed: filtered law", fontsize=9, ha="right", transform=ax.transAxes)
        ax.set(xlabel="length $L$ (mean spacings)", ylabel=r"number variance $\Sigma^2$", xlim=(0, end.L[-1]))
        ax.set_ylim(0, 1.1 * ax.get_ylim()[1])
        ax.set_title(title, loc="left")
        filtered = rmtlib.laws.number_variance_unfolded(end.L[-1], a)
        exact = rmtlib.laws.number_variance_goe(end.L[-1])
        last = (
            f"{start.number_variance[-1]:.2f} before and {end.number_variance[-1]:.2f} after training at L = {end.L[-1]:g}, "
            f"{filtered:.2f} by the filtered law and {exact:.2f} by the exact one"
        )
        panels += [
            drawing(left, alt=f"{title}: a histogram of {len(end.xi) - 1} spacings and the Wigner surmise."),
            drawing(right, alt=f"{title}: number variance, {last}."),
        ]
    return side_by_side(*panels, across=2)


def vectors(tests: Mapping[str, tuple[rmtlib.PorterThomasTest, rmtlib.PorterThomasTest]]) -> Row:
    """Moving mean of the p of singular vectors before and after training: panels of the paper's figure 2.

    Parameters
    ----------
    tests : mapping of str to (PorterThomasTest, PorterThomasTest)
        By the title of a panel: of the initial and of the trained layer.

    Returns
    -------
    Row
        A drawing a layer.
    """
    panels = []
    for title, (start, end) in tests.items():
        figure, ax = small_axes(2.9, 2.5)
        ax.axhspan(*end.band, color=BAND, lw=0, zorder=0)
        ax.plot(start.positions + 1, start.moving_mean, color=INITIAL, lw=1.2)
        ax.plot(end.positions + 1, end.moving_mean, color=TRAINED, lw=1.8)
        ax.plot(end.positions[-1] + 1, end.moving_mean[-1], "o", color=TRAINED, ms=4)
        ax.set(xlim=(1, len(end.pvalue)), ylim=(0, 1), yticks=[0, 0.5, 1], xlabel="smallest to largest", ylabel="mean p")
        ax.text(0.04, 0.93, "before training", color=INITIAL, fontsize=9, fontweight="bold", va="top", transform=ax.transAxes)
        ax.text(0.04, 0.07, "trained", color=TRAINED, fontsize=9, fontweight="bold", transform=ax.transAxes)
        ax.set_title(title, loc="left")
        last = f"the trained curve ends at {end.moving_mean[-1]:.2f}, the initial one at {start.moving_mean[-1]:.2f}"
        panels.append(drawing(figure, alt=f"{title}: mean p of the vectors along the spectrum; {last}."))
    return side_by_side(*panels)


def exponents(table: pd.DataFrame) -> Drawing:
    """Test accuracy against the exponent of a layer, in standard deviations from that of noise.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `studies.exponents.of_runs`.

    Returns
    -------
    Drawing
    """
    figure, ax = small_axes(3.8, 2.8)
    ax.axvspan(-2, 2, color=BAND, lw=0)
    side = np.sign(np.log(table["laziness"]))
    for name, kind, marker in (
        ("rich, α < 1", -1, "v"),
        ("typical, α = 1", 0, "o"),
        ("lazy, α > 1", 1, "s"),
    ):
        x, y = (table.loc[side == kind, column] for column in ("above noise", "test accuracy, %"))
        ax.plot(x, y, marker, color=TRAINED, mfc="none", ls="none", ms=5)
        at = x[y.idxmin()]
        below = table["test accuracy, %"][abs(table["above noise"] - at) < 1].min()
        ax.text(at, below - 1, name, fontsize=9, color=TRAINED, va="top", ha="center")
    ax.margins(0.1)
    ax.set_ylim(ax.get_ylim()[0] - 4)
    ax.text(1.9, ax.get_ylim()[0] + 1.3, "as in\nnoise", fontsize=9, ha="right")
    ax.set(xlabel="exponent, in standard deviations from noise", ylabel="test accuracy (%)")
    alt = "Rich networks lie to the left and high, lazy ones within the band of noise; trends within one laziness differ."
    return drawing(figure, alt=alt)


def river(nu, outliers: int) -> Drawing:
    """Every level of a layer over the epochs of its training, and those that leave the bulk.

    Parameters
    ----------
    nu : array of shape (epochs + 1, m)
        Singular values, ascending; the first row is the initial matrix.
    outliers : int
        How many of the largest end beyond the bulk.

    Returns
    -------
    Drawing
    """
    figure, ax = small_axes(4.0, 3.2)
    epochs, bulk = np.arange(len(nu)), nu.shape[1] - outliers
    drawn = epochs[(epochs <= 20) | (epochs % 10 == 0)]
    ax.plot(drawn, nu[drawn, :bulk:8], color=INITIAL, lw=0.5, alpha=0.6)
    ax.plot(drawn, nu[drawn, bulk:], color=TRAINED, lw=0.8)
    ax.axhline(nu[0, -1], color=LAW, lw=1, ls="--")
    words = {"fontsize": 10, "fontweight": "bold"}
    ax.text(0.1, 0.75 * nu[-1, -1], f"{outliers} leave the bulk", color=TRAINED, **words)
    ax.text(0.1, 0.4 * nu[0, -1], f"{bulk} stay, and rise together", color=INITIAL, **words)
    _epochs(ax, epochs[-1])
    ax.set(ylabel=r"singular value $\nu$", ylim=(0, None))
    alt = (
        f"Lines of singular values over the epochs. {outliers} rise in the first epochs and settle above the largest initial one"
    )
    return drawing(figure, alt=f"{alt}; the others stay below and all rise a little.")


def leaving(outliers, curves: Mapping[str, np.ndarray], band: tuple[float, float]) -> Row:
    """How many levels have left the bulk, and whether vectors are random, over the epochs of a training.

    Parameters
    ----------
    outliers : array of shape (epochs + 1,)
    curves : mapping of str to array of shape (epochs + 1, k)
        Moving means of the p of the ``"input"`` and ``"output"`` vectors along the spectrum.
    band : tuple of float
        That holds a whole curve of noise.

    Returns
    -------
    Row
        Three drawings: the outliers, and the p of the vectors of the largest and of the smallest singular values.
    """
    epochs = np.arange(len(outliers))
    figure, ax = small_axes(2.9, 2.5)
    ax.plot(epochs, outliers, color=TRAINED)
    half = int(np.argmax(outliers >= outliers[-1] / 2))
    ax.plot(half, outliers[half], "o", color=TRAINED, ms=5)
    ax.text(half * 1.25, outliers[half], f"half are out\nafter epoch {half}", fontsize=9, va="top")
    _epochs(ax, epochs[-1])
    ax.set(ylabel="outliers", ylim=(0, None))
    ax.set_title("levels leave", loc="left")
    panels = [drawing(figure, alt=f"Outliers over the epochs: half of the final {outliers[-1]} are out after epoch {half}.")]
    for place, name in ((-1, "largest"), (0, "smallest")):
        figure, ax = small_axes(2.9, 2.5)
        ax.axhspan(*band, color=BAND, lw=0)
        for space, color, up in (("input", OTHER, 0.9), ("output", TRAINED, 0.8)):
            ax.plot(epochs, curves[space][:, place], color=color)
            ax.text(epochs[-1], up, space, color=color, fontsize=9, fontweight="bold", ha="right")
        _epochs(ax, epochs[-1])
        ax.set(ylabel="mean p of fifteen", ylim=(0, 1), yticks=[0, 0.5, 1])
        ax.set_title(f"vectors, {name}", loc="left")
        last = f"input {curves['input'][-1, place]:.2f} and output {curves['output'][-1, place]:.2f}"
        panels.append(
            drawing(
                figure,
                alt=f"Mean p of the vectors of the {name} singular values over the epochs, with the band of noise; last {last}.",
            )
        )
    return side_by_side(*panels)


def sum_of_two(origin: Origin, *, corner: int = 48) -> Row:
    """Initial matrix, update and their sum, each as an image and by its singular values.

    Parameters
    ----------
    origin : Origin
    corner : int
        Rows and columns of the images.

    Returns
    -------
    Row
        Three drawings; the third has the law of noise plus update.
    """
    import matplotlib.pyplot as plt

    top, scale = 1.02 * origin.trained_nu[-1], 3 * origin.sigma
    bins = np.linspace(0, top, 51)
    parts = (
        ("the initial noise", origin.start, origin.start_nu, INITIAL),
        ("plus an update", origin.update, origin.update_nu, OTHER),
        ("is the trained layer", origin.start + origin.update, origin.trained_nu, TRAINED),
    )
    panels = []
    for title, matrix, nu, color in parts:
        figure, (image, ax) = plt.subplots(2, 1, figsize=(2.7, 4.4), height_ratios=[1.25, 1], layout="constrained")
        image.imshow(matrix[:corner, :corner], cmap="gray", vmin=-scale, vmax=scale, interpolation="nearest")
        image.axis("off")
        image.set_title(title, fontsize=11, fontweight="bold", color=color)
        ax.hist(nu, bins, color=color, alpha=0.55, ec="none")
        ax.set(xlim=(0, top), ylim=(0, 60), xlabel=r"singular value $\nu$", ylabel="levels")
        ax.tick_params(labelsize=8.5)
        if color == TRAINED:
            ax.plot((bins[1:] + bins[:-1]) / 2, len(nu) * np.diff(origin.law.cdf(bins)), "--", color=LAW)
            ax.annotate("the law of the sum,\nnothing fitted", (0.45 * top, 7), (0.36 * top, 34), fontsize=9, arrowprops=_arrow())
        alt = f"{title}: an image of {corner} rows and columns, above a histogram of its singular values up to {nu[-1]:.1f}."
        panels.append(drawing(figure, alt=alt))
    return side_by_side(*panels)


def counts(origin: Origin, *, lowest: float = 1.4) -> Drawing:
    """How many levels lie above a value: before and after training, by the law of noise plus update, and with alignment."""
    figure, ax = small_axes(4.0, 2.7)
    m, nu, start = len(origin.trained_nu), origin.trained_nu, origin.start_nu
    above, x = m - np.arange(m), np.linspace(lowest, nu[-1], 300)
    ax.plot(nu[nu >= lowest], above[nu >= lowest], color=TRAINED, lw=2)
    ax.plot(start[start >= lowest], above[start >= lowest], color=INITIAL, lw=2)
    ax.plot(x, m * origin.law.sf(x), "--", color=LAW)
    ax.plot(x, m * origin.aligned_law.sf(x), ":", color=LAW, lw=1.6)
    ax.set(xlim=(lowest, nu[-1]), ylim=(0, None), xlabel=r"singular value $\nu$", ylabel=r"levels above $\nu$")
    ax.text(start[-1] + 0.05, 4, "before\ntraining", color=INITIAL, fontsize=9, fontweight="bold")
    place = lowest + 0.3 * (nu[-1] - lowest)
    high, low = m - np.searchsorted(nu, place), m * float(origin.law.sf(place - 0.25))
    look = {"fontsize": 9, "ha": "left"}
    words = "trained, and the law\nwith alignment (dotted)"
    ax.annotate(words, (place, high), (place + 0.1, high + 55), color=TRAINED, arrowprops=_arrow(TRAINED), **look)
    ax.annotate("noise plus update\n(dashed)", (place - 0.25, low), (place + 0.5, low - 20), arrowprops=_arrow(), **look)
    alt = (
        "Numbers of levels above a value. The trained curve lies above the dashed law of noise plus update and on the dotted one"
    )
    return drawing(figure, alt=f"{alt}, all far beyond the initial one.")


def apart_from_law(origins: Mapping[str, Origin], *, draws: int = 10, rng=0) -> Row:
    """Share of the levels below a value, minus the law of noise plus update.

    Parameters
    ----------
    origins : mapping of str to Origin
        By the title of a panel.
    draws : int
        Of fresh noise, which make the band.
    rng : seed

    Returns
    -------
    Row
        A drawing an origin.
    """
    panels: list[Drawing] = []
    for title, origin in origins.items():
        own = np.random.default_rng(rng)
        band = 100 * np.array([difference(origin.draw(own), origin.law) for _ in range(draws)])
        turned_nu, nu = turned(origin, own).trained_nu, origin.trained_nu
        figure, ax = small_axes(2.9, 2.6)
        ax.fill_between(origin.law.levels, band.min(0), band.max(0), color=BAND, lw=0)
        ax.plot(turned_nu, 100 * difference(turned_nu, origin.law), color=INITIAL, lw=1)
        ax.plot(nu, 100 * difference(nu, origin.law), color=TRAINED, lw=1.8)
        ax.plot(nu, 100 * difference(nu, origin.aligned_law), "--", color=TRAINED, lw=1)
        ax.set(xlabel=r"singular value $\nu$", ylabel="share minus law (points)", ylim=(-3.6, 1))
        ax.set_title(title, loc="left")
        if len(panels) == len(origins) - 1:
            words = (("trained", TRAINED), ("turned", INITIAL), ("dashed: with alignment", TRAINED), ("band: fresh noise", LAW))
            for i, (word, color) in enumerate(words):
                ax.text(0.04, 0.36 - 0.1 * i, word, color=color, fontsize=9, transform=ax.transAxes)
        far = 100 * np.abs(difference(nu, origin.law)).max()
        panels.append(
            drawing(figure, alt=f"{title}: the trained curve is up to {far:.1f} points from the law, the others stay near zero.")
        )
    return side_by_side(*panels)


def alignment(table: pd.DataFrame, *, seeds: int) -> Drawing:
    """Component of the initial matrix along the directions of the update, by their rank.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `studies.bulk_origin.alignments`: a column a regime.
    seeds : int
        Networks that each is the mean of.

    Returns
    -------
    Drawing
        The band holds 95 % of means where the update does not know the noise.
    """
    figure, ax = small_axes(3.8, 2.8)
    rank, high = np.arange(1, len(table) + 1), 1.96 / np.sqrt(seeds)
    ax.axhspan(-high, high, color=BAND, lw=0)
    for name, width in zip(table, (2.2, 1.4, 0.8), strict=False):
        ax.plot(rank, table[name], color=TRAINED, lw=width)
        top = int(np.argmax(table[name].to_numpy()))
        places = {table.columns[0]: (top * 1.5 + 1, table[name].iloc[top]), table.columns[-1]: (1.1, table[name].iloc[0] + 0.5)}
        x, y = places.get(name, (3, 0.45 * table[name].iloc[2]))
        ax.text(x, y, name, color=TRAINED, fontsize=9, fontweight="bold")
    ax.set(
        xscale="log",
        xlim=(1, len(table)),
        ylim=(-4, None),
        xlabel="direction of the update, strongest first",
        ylabel=r"$a_k / \sigma$",
    )
    ax.text(rank[-1] * 0.9, -3.3, "band: if the update did not know the noise", fontsize=9, ha="right", va="center")
    ax.set_xticks([1, 10, 100], ["1", "10", "100"])
    alt = "Curves that begin far above the band of chance at the strongest directions and fall into it towards the weakest"
    return drawing(figure, alt=f"{alt}: {', '.join(table)}.")


def growth(table: pd.DataFrame) -> Drawing:
    """By how much the lower levels grew against laziness, and what the two laws say.

    Parameters
    ----------
    table : pandas.DataFrame
        By laziness: ``trained``, ``predicted`` and ``with alignment``, in per cent.

    Returns
    -------
    Drawing
    """
    figure, ax = small_axes(3.8, 2.8)
    for column, look in (("trained", "o-"), ("predicted", "--"), ("with alignment", ":")):
        ax.plot(table.index, table[column], look, color=TRAINED if column == "trained" else LAW, ms=4)
    ax.axhline(0, color=LAW, lw=0.6)
    ax.set(xscale="log", xlabel=r"laziness $\alpha$", ylabel="growth of lower levels (%)")
    ax.set_yscale("symlog", linthresh=1)
    ax.set_ylim(top=2 * table.max(axis=None))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xticks([0.3, 1, 2.5, 10], ["0.3", "1", "2.5", "10"])
    ax.minorticks_off()
    ax.text(table.index[1] * 1.1, table["trained"].iloc[1] * 1.35, "trained; with alignment (dotted)", color=TRAINED, fontsize=9)
    ax.text(table.index[3] * 0.95, table["predicted"].iloc[3] * 0.55, "noise plus\nupdate", fontsize=9, ha="right", va="top")
    return drawing(
        figure,
        alt="Growth falls with laziness. The law with alignment follows it everywhere; noise plus update alone falls away.",
    )


def walking(walk, paths) -> Row:
    """A matrix whose entries walk at random: some entries, its singular values, and the variance of an entry.

    Parameters
    ----------
    walk : array of shape (steps, n, m)
        The matrix after each step of variance one.
    paths : array of shape (steps, m)
        Its singular values.

    Returns
    -------
    Row
        Three drawings.
    """
    steps = np.arange(1, len(walk) + 1)
    some, ax = small_axes(2.9, 2.5)
    ax.plot(steps[::2], walk.reshape(len(walk), -1)[::2, :12], color=INITIAL, lw=0.7)
    ax.set(xlabel="step", ylabel="twelve entries", xlim=(0, len(walk)))
    ax.set_title("entries walk at random", loc="left")
    all_levels, ax = small_axes(2.9, 2.5)
    ax.plot(steps[::2], paths[::2], color=INITIAL, lw=0.8)
    ax.set(xlabel="step", ylabel=r"singular values $\nu$", xlim=(0, len(walk)), ylim=(0, None))
    ax.set_title("levels spread, never cross", loc="left")
    variance, ax = small_axes(2.9, 2.5)
    ax.plot(steps, np.mean(walk**2, axis=(1, 2)), color=INITIAL, lw=1.6)
    ax.plot(steps, steps, "--", color=LAW)
    ax.text(0.05 * len(walk), 0.8 * len(walk), "dashed:\nin proportion\nto time", fontsize=9)
    ax.set(xlabel="step", ylabel=r"variance $\sigma^2$", xlim=(0, len(walk)), ylim=(0, None))
    ax.set_title("the variance grows", loc="left")
    apart = np.diff(-paths, axis=1).min()
    return side_by_side(
        drawing(some, alt="Twelve ragged lines that start at zero and wander apart."),
        drawing(all_levels, alt=f"{paths.shape[1]} lines that grow like square roots; the closest two come within {apart:.2f}."),
        drawing(variance, alt="The variance of an entry rises in proportion to the steps, along the dashed line."),
    )


def bulks(followed: Mapping[str, pd.DataFrame], *, learned: float) -> Drawing:
    """The growth of the bulk's variance over the epochs of trainings, and where each has learned its images.

    Parameters
    ----------
    followed : mapping of str to pandas.DataFrame
        `studies.noise_growth.growth` by regime.
    learned : float
        Training accuracy at which an image set counts as learned.

    Returns
    -------
    Drawing
    """
    figure, ax = small_axes(4.0, 2.8)
    told, ends = [], []
    for regime, table in followed.items():
        epochs = 1 + np.arange(len(table))
        at = int((table["train_accuracy"] < learned).sum())
        grown = 100 * table["growth"].to_numpy()
        ends.append((epochs[at], grown[at]))
        ax.plot(epochs, grown, color=TRAINED, lw=1.8)
        ax.plot(*ends[-1], "o", color=TRAINED, ms=6)
        ax.text(epochs[-1], grown[-1] + 1.5, regime, color=TRAINED, fontsize=10, fontweight="bold", ha="right")
        told.append(f"{regime}: {grown[-1]:.0f} per cent, learned after epoch {epochs[at]}")
    epoch, highest = max(ends, key=lambda end: end[1])
    ax.annotate(
        f"{100 * learned:.0f} % of its\nimages learned",
        (epoch, highest),
        (epoch + 0.08 * len(epochs), 0.7 * highest),
        fontsize=9,
        arrowprops=_arrow(),
    )
    ax.set(xlabel="epoch", ylabel=r"growth of $\sigma^2$ (%)", xlim=(0, epochs[-1]), ylim=(0, None))
    return drawing(
        figure, alt=f"Curves that rise almost straight and become flat where the images are learned. {'; '.join(told)}."
    )


def _epochs(ax, last):
    ax.set_xscale("symlog", linthresh=1)
    ticks = [tick for tick in (0, 1, 10, 100) if tick <= last]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel="epoch", xlim=(0, last))


def _arrow(color=LAW):
    return {"arrowstyle": "->", "lw": 0.9, "color": color}


def _plain(axis):
    """Plain numbers on a logarithmic axis of a few units."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
