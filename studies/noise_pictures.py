"""A picture of the idea of each chapter on noise, drawn before its first formula."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

import rmtlib
from rmtlib import ensembles
from rmtlib.laws import marchenko_pastur
from rmtlib.null_laws import noise_singular_values
from rmtlib.runs import Run, initial
from rmtlib.vector import Drawing, Row, drawing, side_by_side

from .front import set_style
from .pens import BAND, LAW, NOISE, OTHER, TRAINED

__all__ = [
    "band_fills",
    "before_and_after",
    "counted",
    "network_to_vectors",
    "planted",
    "steps_made_even",
    "two_levels",
    "two_noises",
    "vectors_as_images",
    "which_was_trained",
]

WIDE = 4.9  # inches: letters of this width are legible on a phone
HALF = (3.3, 2.6)


def network_to_vectors() -> Drawing:
    """Three neurons that read four inputs, their weights as a matrix, and the matrix as a sum of patterns."""
    set_style()
    W = np.random.default_rng(3).normal(size=(3, 4))
    u, nu, vt = np.linalg.svd(W, full_matrices=False)
    scale = np.abs(W).max()
    figure = plt.figure(figsize=(WIDE, 3.9), layout="none")
    net = figure.add_axes((0.02, 0.5, 0.42, 0.44))
    for i, row_of in enumerate(W):
        for j, weight in enumerate(row_of):
            style = "-" if weight > 0 else ":"
            net.plot([0, 1], [3 - j, 2.5 - i], style, color=LAW, lw=2.6 * abs(weight) / scale)
    net.plot(np.zeros(4), np.arange(4), "o", color=LAW, ms=9)
    net.plot(np.ones(3), np.arange(3) + 0.5, "s", color=LAW, ms=10)
    net.text(0, 3.5, "inputs", ha="center", fontsize=11)
    net.text(1, 3.5, "neurons", ha="center", fontsize=11)
    net.set(xlim=(-0.25, 1.25), ylim=(-0.4, 3.9))
    whole = figure.add_axes((0.56, 0.5, 0.4, 0.36))
    _cells(whole, W, scale)
    whole.set_title("$W$: a row for each neuron", fontsize=11)
    for k in range(3):
        left = 0.05 + 0.335 * k
        part = figure.add_axes((left + 0.055, 0.06, 0.19, 0.2))
        _cells(part, nu[k] * np.outer(u[:, k], vt[k]), scale)
        column = figure.add_axes((left, 0.06, 0.04, 0.2))
        _cells(column, u[:, [k]], 1)
        across = figure.add_axes((left + 0.055, 0.285, 0.19, 0.06))
        _cells(across, vt[[k]], 1)
        part.set_xlabel(rf"$\nu_{3 - k}$ = {nu[k]:.1f}", fontsize=11, labelpad=4)
        figure.text(left - 0.02, 0.16, "=" if k == 0 else "+", fontsize=13, ha="center", va="center")
    figure.text(0.105, 0.37, "above: a pattern of inputs; at the left: how the neurons answer", fontsize=10)
    for ax in figure.axes:
        _bare(ax)
    return drawing(
        figure,
        alt="Four inputs joined to three neurons by lines as thick as the weights; the same weights as a matrix of grey cells; "
        f"and the matrix as a sum of three outer products with singular values {nu[0]:.1f}, {nu[1]:.1f} and {nu[2]:.1f}.",
    )


def before_and_after(run: Run, layer: str, *, corner: int = 96) -> Drawing:
    """A corner of a weight matrix before and after training, and what training changed, all on one scale of grey."""
    set_style()
    before = initial(run, layer)
    after = rmtlib.load_weights(run)[layer].matrix
    change = after - before
    figure, axes = plt.subplots(1, 3, figsize=(WIDE, 2.0))
    scale, strength = 3 * before.std(), before.std() / change.std()
    shown = {"before training": before, "after training": after, f"the difference × {strength:.1f}": strength * change}
    for ax, (title, W) in zip(axes, shown.items(), strict=True):
        ax.imshow(W[:corner, :corner], cmap="gray", vmin=-scale, vmax=scale, interpolation="nearest")
        ax.set_title(title, fontsize=10)
        _bare(ax)
    return drawing(
        figure,
        alt="Three grey images. Before and after training the weights look like the same grain of a bad photograph; what "
        "changed is grain too, with faint rows and columns.",
    )


def two_levels(draws: int = 500) -> Row:
    """Two levels pulled past each other, and how seldom both conditions for a meeting hold."""
    set_style()
    figure, ax = plt.subplots(figsize=HALF)
    x = np.linspace(-2, 2, 200)
    for z, style in ((0.0, ":"), (0.5, "-")):
        gap = np.sqrt(x**2 + 4 * z**2)
        for sign in (-1, 1):
            ax.plot(x, sign * gap / 2, style, color=LAW if z == 0 else NOISE, lw=1.2 if z == 0 else 2)
    ax.annotate("", (0, 0.5), (0, -0.5), arrowprops={"arrowstyle": "<->", "color": "black", "lw": 1})
    ax.text(0.08, 0.3, "$2|z|$", va="center", fontsize=10)
    ax.text(0, 0.88, "they turn away", color=NOISE, ha="center", fontweight="bold", fontsize=9)
    ax.text(1.02, 0, "without $z$\nthey cross", fontsize=9, va="center")
    ax.set(xlabel="$x - y$", ylabel="the two levels", xlim=(-2, 2), ylim=(-1.2, 1.2), yticks=[-1, 0, 1])
    crossing = drawing(figure, alt="Two levels against x − y: dotted lines cross where z is zero; with z they bend apart.")

    figure, ax = plt.subplots(figsize=HALF)
    a, b = 2 * np.random.default_rng(0).normal(size=(2, draws))
    near = np.hypot(a, b) < 0.5
    ax.plot(a[~near], b[~near], ".", color=NOISE, ms=3, alpha=0.6)
    ax.plot(a[near], b[near], ".", color=LAW, ms=4)
    ax.add_patch(plt.Circle((0, 0), 0.5, fill=False, color=LAW, lw=1.2))
    told = f"spacing below 0.5:\n{near.sum()} of {draws} draws"
    ax.annotate(told, (0.4, 0.35), (1.2, 4.2), arrowprops={"arrowstyle": "->", "color": "black"}, fontsize=9)
    ax.set(xlabel="$x - y$", ylabel="$2z$", xlim=(-6, 6), ylim=(-6, 6), aspect="equal", xticks=[-5, 0, 5], yticks=[-5, 0, 5])
    plane = drawing(figure, alt=f"A cloud of {draws} points in a plane; the small disc in its middle holds {near.sum()} of them.")
    return side_by_side(crossing, plane)


def planted(strengths=(0.5, 0.9, 1.5, 2.0, 3.0), *, n: int = 256, seed: int = 0) -> Drawing:
    """Levels of one matrix of noise with one direction of growing strength, and how much of the direction is found."""
    set_style()
    figure, ax = plt.subplots(figsize=(WIDE, 2.9))
    overlaps = []
    for place, t in enumerate(strengths):
        spike = ensembles.spiked((n, n), seed, strengths=[t])
        found = rmtlib.spectrum(spike.matrix)
        overlaps.append((found.output_vectors[-1] @ spike.left_vectors[0]) ** 2)
        ax.plot(found.nu[:-1], np.full(n - 1, -place), "|", color=NOISE, ms=13, mew=0.7)
        ax.plot(found.nu[-1:], [-place], "|", color=OTHER, ms=18, mew=2.4)
        ax.text(1.14, -place, f"{t:g}", ha="right", va="center")
        ax.text(3.55, -place, f"{100 * overlaps[-1]:.0f} %", va="center", color=OTHER, fontweight="bold")
    ax.axvline(2, color=LAW, lw=1, ls="--")
    ax.text(2.02, 0.75, "noise ends here", fontsize=11)
    ax.text(1.14, 0.75, "strength", ha="right", fontsize=11)
    ax.text(3.55, 0.75, "found", fontsize=11, color=OTHER)
    ax.set(xlabel=r"singular value $\nu$, the largest ones", xlim=(1.2, 3.5), ylim=(0.6 - len(strengths), 1.1), yticks=[])
    ax.spines["left"].set_visible(False)
    told = ", ".join(f"{100 * share:.0f} %" for share in overlaps)
    return drawing(
        figure,
        alt="Rows of ticks, one for each strength of a planted direction. Weak ones stay among the ticks of noise, strong ones "
        f"stand alone beyond its end; shares of the planted direction that are found: {told}.",
    )


def steps_made_even(*, levels: int = 18, n: int = 200, seed: int = 3) -> Drawing:
    """Levels at the upper end of noise, their staircase, and the even levels that its smooth curve makes of them."""
    set_style()
    own = noise_singular_values((n, n), seed)[-levels:] / np.sqrt(n)
    counts = np.arange(1, levels + 1)
    even = _smooth_count(own, n) - (n - levels)
    figure, ax = plt.subplots(figsize=(WIDE, 3.3))
    low, high, floor = own[0] - 0.06, 2.03, -1.6
    ax.step(np.r_[low, own, high], np.r_[0, counts, levels], where="post", color=NOISE, lw=1.6)
    x = np.linspace(own[0], 2, 300)
    ax.plot(x, _smooth_count(x, n) - (n - levels), "--", color=LAW)
    for place, level in zip(own, even, strict=True):
        ax.plot([place, place, low], [floor, level, level], color=LAW, lw=0.5, alpha=0.5)
    ax.plot(own, np.full(levels, floor), "|", color=NOISE, ms=15, mew=2, clip_on=False)
    ax.plot(np.full(levels, low), even, "_", color=OTHER, ms=15, mew=2, clip_on=False)
    ax.text(high, -0.6, "the levels: rarer and rarer", color=NOISE, ha="right", fontsize=11, fontweight="bold")
    ax.text(low + 0.015, levels - 0.4, "as frequent everywhere", color=OTHER, fontsize=11, fontweight="bold")
    ax.text(1.86, 11.5, "smooth count", fontsize=11)
    ax.set(xlabel=r"singular value $\nu$", xlim=(low, high), ylim=(floor, levels + 0.8), yticks=[])
    ax.set_ylabel("levels below", labelpad=14)
    return drawing(
        figure,
        alt="A staircase that rises by one at each singular value, with a smooth curve through it. Lines lead from ticks that "
        "become rarer to the right up to the curve and over to ticks at the left that are equally frequent everywhere.",
    )


def which_was_trained(xi, xi_noise, *, levels: int = 40) -> Drawing:
    """Unfolded levels of a trained layer and of noise, between independent levels and a ladder."""
    set_style()
    rng = np.random.default_rng(4)
    rows = {
        "independent": (np.cumsum(rng.exponential(size=levels)), OTHER),
        "A": (_stretch(xi, levels), LAW),
        "B": (_stretch(xi_noise, levels), LAW),
        "a ladder": (np.arange(levels) + 0.5, OTHER),
    }
    figure, ax = plt.subplots(figsize=(WIDE, 2.1))
    for place, (name, (points, color)) in enumerate(rows.items()):
        ax.plot(points, np.full(len(points), -place), "|", color=color, ms=19, mew=1.2)
        ax.text(-1.0, -place, name, ha="right", va="center", color=color, fontweight="bold" if len(name) == 1 else None)
    ax.set(xlim=(0, levels), ylim=(-3.5, 0.5), yticks=[], xlabel="mean spacings")
    ax.spines["left"].set_visible(False)
    return drawing(
        figure,
        alt="Four rows of ticks. Independent levels have clusters and holes; rows A and B keep their ticks apart and look alike; "
        "the ticks of the ladder are equally far apart.",
    )


def counted(xi, *, length: int = 10, windows: int = 6) -> Drawing:
    """Levels counted in windows of one length: independent ones, and those of a matrix."""
    set_style()
    total = length * windows
    rng = np.random.default_rng(2)
    rows = {"independent": (np.sort(rng.uniform(0, total, total)), OTHER), "trained": (_stretch(xi, total), TRAINED)}
    figure, ax = plt.subplots(figsize=(WIDE, 1.9))
    told = []
    for place, (name, (points, color)) in enumerate(rows.items()):
        points = points[(points > 0) & (points < total)]
        counts = np.histogram(points, np.arange(0, total + 1, length))[0]
        told.append(f"{name}: {', '.join(map(str, counts))}")
        ax.plot(points, np.full(len(points), -1.5 * place), "|", color=color, ms=17, mew=1.2)
        for window, count in enumerate(counts):
            ax.text(length * (window + 0.5), -1.5 * place + 0.5, count, ha="center", color=color, fontweight="bold", fontsize=11)
        ax.text(-0.8, -1.5 * place, name, ha="right", va="center", color=color)
    for edge in range(0, total + 1, length):
        ax.axvline(edge, color=LAW, lw=0.6, ls=":")
    ax.set(xlim=(0, total), ylim=(-2.1, 1.1), yticks=[], xticks=range(0, total + 1, length), xlabel="mean spacings")
    ax.spines["left"].set_visible(False)
    return drawing(figure, alt=f"Two rows of ticks and their number in each window of length {length}. {'. '.join(told)}.")


def vectors_as_images(run: Run, *, layer: str = "dense1", each: int = 4) -> Drawing:
    """Input vectors of the first layer as images of 32 × 32 pixels in colour: trained, of the bulk, and untrained."""
    set_style()
    trained = rmtlib.spectrum(rmtlib.load_weights(run)[layer].matrix).input_vectors
    start = rmtlib.spectrum(initial(run, layer)).input_vectors
    middle = len(trained) // 2
    rows = {
        "after training,\nlargest": (trained[::-1][:each], TRAINED),
        "after training,\nin the middle": (trained[middle : middle + each], TRAINED),
        "before training,\nlargest": (start[::-1][:each], NOISE),
    }
    figure, axes = plt.subplots(len(rows), each, figsize=(WIDE, 2.75))
    for line, (name, (vectors, color)) in zip(axes, rows.items(), strict=True):
        for ax, vector in zip(line, vectors, strict=True):
            image = vector.reshape(3, 32, 32).transpose(1, 2, 0)
            ax.imshow(np.clip(0.5 + image / (6 * image.std()), 0, 1), interpolation="nearest")
            _bare(ax)
        line[0].set_ylabel(name, color=color, rotation=0, ha="right", va="center", fontsize=10.5)
    return drawing(
        figure,
        alt="Three rows of small colour images. Those of the largest singular values after training show smooth patches of "
        "colour; those from the middle of the spectrum and those before training are grain.",
    )


def band_fills(shape, band, positions, *, window: int, draws: int = 20) -> Drawing:
    """Moving means of the p of noise, drawn one over the other, and the band that holds nineteen in twenty whole curves."""
    set_style()
    rng = np.random.default_rng(0)
    figure, ax = plt.subplots(figsize=(WIDE, 2.4))
    ax.axhspan(*band, color=BAND, lw=0)
    outside = 0
    for _ in range(draws):
        vectors = np.linalg.qr(rng.normal(size=shape[::-1]))[0].T
        mean = rmtlib.porter_thomas(vectors, window=window).moving_mean
        outside += bool((mean.min() < band[0]) | (mean.max() > band[1]))
        ax.plot(positions[::3] / (shape[0] - 1), mean[::3], color=NOISE, lw=0.8, alpha=0.7)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="rank (0 smallest, 1 largest)", ylabel="moving mean of p")
    ax.text(0.01, band[1] + 0.02, f"the band, and {draws} matrices of noise, of which {outside} leave it", fontsize=10)
    return drawing(figure, alt=f"{draws} curves of noise wander about one half and fill a grey band; {outside} leave it.")


def two_noises(plain, uneven, *, corner: int = 96) -> Drawing:
    """Two matrices of noise as images: of one size, and with rows and columns of unequal size."""
    set_style()
    figure, axes = plt.subplots(1, 2, figsize=(WIDE, 2.7))
    for ax, (title, W) in zip(axes, {"one size": plain, "unequal rows and columns": uneven}.items(), strict=True):
        scale = 3 * W.std()
        ax.imshow(W[:corner, :corner], cmap="gray", vmin=-scale, vmax=scale, interpolation="nearest")
        ax.set_title(title, fontsize=10)
        _bare(ax)
    return drawing(figure, alt="Two grey images of noise: one even, the other with a tartan of pale and strong rows and columns.")


def _smooth_count(nu, n):
    """Levels that the quarter circle puts below each value."""
    return n * marchenko_pastur(1.0, 1.0).cdf(nu)


def _stretch(xi, levels):
    """Levels of the middle of an unfolded spectrum, counted from zero."""
    own = xi[len(xi) // 2 : len(xi) // 2 + levels + 20]
    own = own - own[0] + 0.5
    return own[own < levels]


def _cells(ax, values, scale):
    ax.pcolormesh(np.asarray(values)[::-1], cmap="gray", vmin=-scale, vmax=scale, edgecolors="0.5", lw=0.6)


def _bare(ax):
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
