"""Figures of the chapters on noise: what their cells computed, with words on the curves and marks on what matters."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np

import rmtlib
from rmtlib import figures, laws
from rmtlib.vector import Drawing, Row, drawing, side_by_side

from .front import set_style
from .pens import EXACT, FILTERED, LAW, NOISE, OTHER, TRAINED

__all__ = [
    "bulk",
    "cumulative",
    "density_of_spacings",
    "entries",
    "levels_and_law",
    "number_variance",
    "sizes_of_noise",
    "vectors",
    "waves",
]

WIDE, HALF, THIRD = (4.9, 3.0), (3.4, 2.7), (2.7, 2.2)  # inches
ARROW = {"arrowstyle": "->", "lw": 0.9, "color": "black"}


def entries(initial, trained) -> Drawing:
    """Histograms of the entries of an initial and a trained matrix."""
    set_style()
    figure, ax = plt.subplots(figsize=HALF)
    bins = np.linspace(-3.5 * initial.std(), 3.5 * initial.std(), 60)
    _bars(ax, initial.ravel(), bins, color=NOISE, alpha=0.45)
    _bars(ax, trained.ravel(), bins, color=TRAINED, alpha=0.55)
    top = ax.get_ylim()[1]
    ax.text(2.15 * initial.std(), 0.62 * top, "initial:\na box", color=NOISE, fontweight="bold", fontsize=9)
    ax.text(2.15 * initial.std(), 0.25 * top, "trained:\nsmeared", color=TRAINED, fontweight="bold", fontsize=9)
    ax.set(xlabel="entry $W_{ij}$", ylabel="density", yticks=[])
    return drawing(
        figure, alt="The entries of the initial matrix fill a box; those of the trained one have soft shoulders beyond it."
    )


def levels_and_law(initial, trained, law) -> Drawing:
    """Singular values of an initial and a trained matrix with a law, and the largest one after training."""
    set_style()
    figure, ax = plt.subplots(figsize=HALF)
    figures.spectrum_panel(ax, trained, initial=initial, bins=36)
    for bar in ax.patches:
        bar.set_edgecolor("none")
    x = np.linspace(1e-3, law.nu_plus, 400)
    ax.plot(x, law.pdf(x), "--", color=LAW)
    top = ax.get_ylim()[1]
    ax.plot(trained[-1], 0.02 * top, "v", color=TRAINED, ms=6)
    ax.annotate("largest,\ntrained", (trained[-1], 0.05 * top), (trained[-1], 0.24 * top), ha="center", color=TRAINED, fontsize=9)
    ax.annotate(
        "law of noise",
        (0.62 * law.nu_plus, law.pdf(0.62 * law.nu_plus)),
        (0.75 * law.nu_plus, 0.95 * top),
        arrowprops=ARROW,
        fontsize=9,
    )
    ax.annotate("noise ends", (law.nu_plus, 0), (0.99 * law.nu_plus, 0.55 * top), arrowprops=ARROW, fontsize=9)
    ax.set(yticks=[])
    return drawing(figure, alt="Initial singular values fill a quarter of a circle; the trained ones reach beyond its end.")


def density_of_spacings(spacings, *, title: str, color: str = NOISE, size=THIRD, independent: bool = False) -> Drawing:
    """Histogram of spacings, or outlines of several, with the Wigner surmise and the law of independent levels.

    Parameters
    ----------
    spacings : array, or mapping of str to array
    title : str
    color : str
    size : tuple of float
        Inches.
    independent : bool
        Whether the spacings are those of independent levels, whose law is then drawn in full.
    """
    set_style()
    figure, ax = plt.subplots(figsize=size)
    samples = spacings if isinstance(spacings, Mapping) else {"": spacings}
    bins, x = np.linspace(0, 3.5, 26), np.linspace(0, 3.5, 200)
    for (name, s), style in zip(samples.items(), ("-", "--", ":"), strict=False):
        if name:
            _bars(ax, s, bins, histtype="step", lw=1.6, ls=style, color=color)
        else:
            _bars(ax, s, bins, color=color, alpha=0.5)
    ax.plot(x, laws.wigner_surmise.pdf(x), "--", color=LAW, lw=1.2)
    ax.plot(x, np.exp(-x), ":" if not independent else "-", color=LAW, lw=1.2)
    ax.text(1.55, 0.62, "repelling\n(surmise)", fontsize=9)
    ax.text(0.1, 0.98, "independent", fontsize=9)
    ax.set_title(title, loc="left", fontsize=10, color=color)
    ax.set(xlabel="spacing $s$ (mean spacings)", yticks=[], xlim=(0, 3.5), ylim=(0, 1.1))
    ax.spines["left"].set_visible(False)
    follow = "the exponential of independent levels" if independent else "the surmise, which begins at zero"
    return drawing(figure, alt=f"Histogram of spacings, {title}: it follows {follow}.")


def cumulative(samples: Mapping[str, np.ndarray]) -> Drawing:
    """Share of spacings up to s minus what the surmise says, of a trained layer and of noise, with the largest distances."""
    set_style()
    figure, ax = plt.subplots(figsize=THIRD)
    ax.axhline(0, color=LAW, lw=1, ls="--")
    for (name, s), color, up in zip(samples.items(), (TRAINED, NOISE), (1, -1), strict=True):
        s = np.sort(s)
        law, share = laws.wigner_surmise.cdf(s), np.arange(1, len(s) + 1) / len(s)
        away = np.where(share - law > law - share + 1 / len(s), share - law, share - 1 / len(s) - law)
        worst = np.abs(away).argmax()
        ax.step(s, away, where="post", color=color, lw=1.2)
        ax.plot(s[worst], away[worst], "o", mfc="none", color=color, ms=7)
        ax.text(3.45, 0.05 * up, f"{name}, D = {abs(away[worst]):.3f}", color=color, fontsize=9, ha="right", va="center")
    ax.set_title("distance from the surmise", loc="left", fontsize=10)
    ax.set(xlabel="spacing $s$ (mean spacings)", xlim=(0, 3.5), ylim=(-0.07, 0.07), yticks=[-0.05, 0, 0.05])
    return drawing(figure, alt="The cumulative distributions of both samples stay within a few per cent of the surmise.")


def bulk(nu, initial, fit) -> Drawing:
    """Initial and trained singular values, the fitted bulk, the edge of noise, and every outlier."""
    set_style()
    figure, ax = plt.subplots(figsize=WIDE)
    figures.spectrum_panel(ax, nu, initial=initial, fit=fit, bins=55)
    for bar in ax.patches:
        bar.set_edgecolor("none")
    top = ax.get_ylim()[1]
    outside = nu[nu > fit.outlier_edge]
    ax.plot(outside, np.full(len(outside), 0.1 * top), "|", color=TRAINED, ms=11, mew=1.3)
    ax.axvline(fit.outlier_edge, ymax=0.42, color=LAW, lw=1, ls=":")
    ax.text(fit.outlier_edge, 0.44 * top, "outlier edge", fontsize=10.5)
    place = outside.mean() if len(outside) else fit.outlier_edge
    ax.text(place, 0.17 * top, f"{len(outside)} outliers", color=TRAINED, fontweight="bold", fontsize=11)
    ax.text(0.02 * nu[-1], 1.0 * top, "initial", color=NOISE, fontweight="bold", va="top")
    shoulder, words = (0.98 * fit.nu_plus, 0.2 * top), (1.02 * fit.nu_plus, 0.66 * top)
    ax.annotate("trained", shoulder, words, color=TRAINED, fontweight="bold", arrowprops=ARROW)
    at = 0.75 * fit.nu_plus
    ax.annotate("fitted bulk", (at, fit.pdf(at)), (1.1 * at, 0.92 * top), arrowprops=ARROW, fontsize=10.5)
    ax.set(yticks=[], ylabel="density")
    return drawing(
        figure,
        alt=f"A quarter circle of initial singular values and a trained spectrum that is wider, with the fitted bulk; "
        f"{len(outside)} ticks beyond the edge of noise are outliers.",
    )


def waves(blocks: Mapping[str, np.ndarray], ladders: Mapping[str, np.ndarray]) -> Row:
    """Mean spacings along the spectrum before and after unfolding, and distances from a perfect ladder.

    Parameters
    ----------
    blocks : mapping of str to array
        Mean spacings of blocks of levels, "as they are" and "unfolded".
    ladders : mapping of str to array
        Unfolded level minus its number, by the density that unfolded it.
    """
    set_style()
    figure, ax = plt.subplots(figsize=HALF)
    for (name, means), face, offset in zip(blocks.items(), ("none", TRAINED), (-0.14, 0.07), strict=True):
        ax.plot(np.arange(1, len(means) + 1), means, "o-", color=TRAINED, ms=5, mfc=face)
        ax.text(1, means[0] + offset, name, color=TRAINED, fontsize=9, fontweight="bold" if offset > 0 else None)
    ax.set(xlabel="block of the spectrum", ylabel="mean spacing", xticks=range(1, len(means) + 1), ylim=(0, None))
    even = drawing(
        figure, alt="Mean spacings in blocks: as they are they grow along the spectrum, unfolded they are one everywhere."
    )
    figure, ax = plt.subplots(figsize=HALF)
    for (name, ladder), color, height in zip(ladders.items(), (NOISE, OTHER), (2.5, -2.7), strict=True):
        ax.plot(ladder - ladder.mean(), color=color, lw=1)
        ax.text(len(ladder), height, name, color=color, ha="right", fontsize=9, fontweight="bold")
    ax.set(xlabel="level", ylabel=r"$\xi_i - i$ (mean spacings)", ylim=(-3, 3))
    return side_by_side(
        even, drawing(figure, alt="Two wiggly lines about zero; the one of the broadening lacks the slow waves of the other.")
    )


def number_variance(L, exact, filtered, curves: Mapping[str, tuple], *, title: str, a: int) -> Drawing:
    """Number variance with the law of the GOE, exact and as the unfolding filters it.

    Parameters
    ----------
    L, exact, filtered : array of shape (k,)
    curves : mapping of str to (array, str) or (array, str, array)
        Values at ``L``, colour and standard errors, by the words beside the curve.
    title : str
    a : int
        Half window of the unfolding.
    """
    set_style()
    figure, ax = plt.subplots(figsize=HALF)
    ax.plot(L, exact, **EXACT)
    ax.plot(L, filtered, **FILTERED)
    ax.plot(L, L, "-", color=LAW, lw=1)
    ax.text(2.0, 1.4, "independent:\n$\\Sigma^2 = L$", fontsize=9)
    for (name, (values, color, *errors)), height in zip(curves.items(), (0.2, 0.08), strict=False):
        ax.plot(L, values, "o", ms=3, color=color, mfc=color if height == 0.2 else "none")
        if errors:
            ax.fill_between(L, values - errors[0], values + errors[0], color=color, alpha=0.2, lw=0)
        ax.text(20, height, ("● " if height == 0.2 else "○ ") + name, color=color, fontsize=9, ha="right")
    ax.text(20, exact[-1] + 0.09, "random matrix, exact", fontsize=9, ha="right")
    ax.text(20, filtered[-1] - 0.27, f"unfolded with a = {a}", fontsize=9, ha="right")
    ax.set_title(title, loc="left", fontsize=10)
    ax.set(xlabel="interval length $L$ (mean spacings)", ylabel=r"number variance $\Sigma^2(L)$", xlim=(0, 20.5), ylim=(0, 1.65))
    return drawing(figure, alt=f"Number variance, {title}: it grows like a logarithm, far below that of independent levels.")


def vectors(tests: Mapping[str, tuple], marks: Mapping[str, float] | None = None) -> Drawing:
    """p of all vectors along the spectrum, moving mean and band, one panel above the other.

    Parameters
    ----------
    tests : mapping of str to (PorterThomasTest, str)
        With the colour, by title.
    marks : mapping of str to float, optional
        Rank of a dip to point at, by title.
    """
    set_style()
    height = 1.35 * len(tests) + 0.3
    figure, axes = plt.subplots(len(tests), 1, figsize=(WIDE[0], height), sharex=True, sharey=True, layout="none")
    figure.subplots_adjust(0.125, 0.5 / height, 0.98, 1 - 0.25 / height, hspace=0.45)
    for ax, (title, (test, color)) in zip(axes, tests.items(), strict=True):
        figures.porter_thomas_panel(ax, test, color=color).set_title(title, loc="left", fontsize=11, color=color)
        rank = (marks or {}).get(title)
        if rank is not None:
            low = test.moving_mean.min()
            ax.annotate("dip", (rank, low), (rank - 0.14, low + 0.02), color=LAW, arrowprops=ARROW, va="center")
        rejected = np.flatnonzero(test.qvalue < 0.05)
        ax.plot(
            rejected / (len(test.pvalue) - 1), test.calibrated_pvalue[rejected], "o", mfc="none", color=LAW, ms=5, clip_on=False
        )
        ax.set(xlabel="", ylabel="p", yticks=[0, 0.5, 1])
    axes[-1].set_xlabel("rank (0 smallest, 1 largest singular value)")
    told = "; ".join(f"{title}, {np.sum(test.qvalue < 0.05)} rejected" for title, (test, _) in tests.items())
    return drawing(
        figure, alt=f"p of singular vectors with their moving mean and the band of noise, one panel above the other: {told}."
    )


def sizes_of_noise(matrices: Mapping[str, np.ndarray], *, edge: float = 2.0) -> Row:
    """Spectra of noise, scaled to one variance, with the law of noise and the edge beyond which a fit counts outliers."""
    panels = []
    for title, W in matrices.items():
        set_style()
        nu = np.linalg.svd(W / (W.std() * np.sqrt(len(W))), compute_uv=False)
        figure, ax = plt.subplots(figsize=THIRD)
        _bars(ax, nu, np.linspace(0, 4.4, 56), color=NOISE, alpha=0.5)
        x = np.linspace(0, edge, 300)
        ax.plot(x, laws.marchenko_pastur(1.0, 1.0).pdf(x), "--", color=LAW, lw=1.2)
        tail, fit = nu.max() > 1.1 * edge, rmtlib.fit_marchenko_pastur(nu[::-1], W.shape)
        ax.axvline(fit.outlier_edge, ymax=0.95, color=LAW, lw=1, ls=":")
        ax.text(fit.outlier_edge + 0.12, 1.04, f"fitted edge,\n{fit.n_outliers} beyond", fontsize=9, va="top")
        if tail:
            ax.text(2.25, 0.34, "a tail that\nnobody learned", fontsize=9, color=NOISE)
        ax.set_title(title, loc="left", fontsize=10)
        ax.set(xlabel=r"singular value $\nu$", yticks=[], xlim=(0, 4.4), ylim=(0, 1.1))
        ax.spines["left"].set_visible(False)
        told = "a tail reaches beyond the end of the law" if tail else "they end where the law ends"
        panels.append(
            drawing(figure, alt=f"Singular values of noise, {title}: {told}; {fit.n_outliers} lie beyond the fitted edge.")
        )
    return side_by_side(*panels)


def _bars(ax, values, bins, **look):
    edge = {} if "histtype" in look else {"ec": "none"}  # white edges are those of a white page
    ax.hist(values, bins, density=True, **edge, **look)
