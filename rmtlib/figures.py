"""The paper's panels: each function draws on an axis, returns it, and computes nothing but histogram heights.

Colours keep one meaning throughout the book: trained weights are blue, initial weights and noise are orange, laws
are black and dashed, and what a null hypothesis allows is a grey band. Figures are those of the paper.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "COLORS",
    "number_variance_panel",
    "porter_thomas_panel",
    "set_style",
    "spacing_panel",
    "spectrum_panel",
]

COLORS = {"trained": "#0173b2", "initial": "#d55e00", "noise": "#d55e00", "law": "black", "other": "#029e73", "band": "#d1d1d1"}


def set_style() -> None:
    """The book's style: seaborn's ticks, legible in print and on a phone, colour-blind safe."""
    import seaborn

    seaborn.set_theme(
        context="notebook",
        style="ticks",
        palette="colorblind",
        rc={
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": "medium",
            "patch.force_edgecolor": False,  # white edges are those of a white page
            "legend.frameon": False,
            "legend.fontsize": "small",
            "svg.hashsalt": "rmtlib",
        },
    )


def spectrum_panel(ax, nu, *, initial=None, fit=None, bins=50):
    r"""Densities of singular values, trained and initial, with a fitted bulk: figure 2a and row a of figure 3.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    nu : array
        Singular values of the trained matrix.
    initial : array, optional
        Singular values of the initial matrix.
    fit : MarchenkoPasturFit, optional
        The bulk of ``nu``; its density is drawn.
    bins : int
        Bins of the histogram up to the largest of all singular values.
    """
    top = max(nu[-1], 0 if initial is None else initial[-1]) * 1.02
    edges = np.linspace(0, top, bins + 1)
    if initial is not None:
        ax.hist(initial, edges, density=True, color=COLORS["initial"], alpha=0.45, label="initial")
    ax.hist(nu, edges, density=True, color=COLORS["trained"], alpha=0.55, label="trained")
    if fit is not None:
        x = np.linspace(0, top, 600)
        y = fit.pdf(x)
        ax.plot(x[y > 0], y[y > 0], "--", color=COLORS["law"], label="fitted bulk")
    ax.set(xlabel=r"singular value $\nu$", ylabel=r"density $P(\nu)$", xlim=(0, top))
    return ax


def spacing_panel(
    ax, s, *, law, law_label="Wigner surmise", others=None, color=COLORS["trained"], label="trained", inset=True, bins=25
):
    """Spacings of unfolded levels against a law, with the cumulative distributions in an inset: row b of figure 3.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    s : array
        Spacings, mean 1.
    law : object with ``pdf`` and ``cdf``
        The law to draw, such as ``rmtlib.laws.wigner_surmise``.
    law_label : str
        Name of the law in the legend.
    others : dict of str to object with ``pdf``, optional
        Further laws by their label, dotted.
    color, label : str
        Of the histogram.
    inset : bool
        Draw the cumulative distributions.
    bins : int
        Bins on [0, 3.5].
    """
    x = np.linspace(0, 3.5, 300)
    ax.hist(s, np.linspace(0, 3.5, bins + 1), density=True, color=color, alpha=0.55, label=label)
    ax.plot(x, law.pdf(x), "--", color=COLORS["law"], label=law_label)
    for name, other in (others or {}).items():
        ax.plot(x, other.pdf(x), ":", color=COLORS["law"], label=name)
    ax.set(xlabel="spacing $s$ (mean spacings)", ylabel="density $P(s)$", xlim=(0, 3.5))
    if inset:
        small = ax.inset_axes([0.64, 0.34, 0.35, 0.38])
        small.step(np.sort(s), np.arange(1, len(s) + 1) / len(s), where="post", color=color)
        small.plot(x, law.cdf(x), "--", color=COLORS["law"])
        small.set(xlim=(0, 3), ylim=(0, 1), xticks=[0, 1, 2, 3], yticks=[0, 1])
        small.set_title("cumulative", fontsize="small", pad=3)
        small.tick_params(labelsize="small")
    return ax


def number_variance_panel(ax, L, *, laws=None, **curves):
    r"""Number variance against the length of the interval: row c of figure 3.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    L : array
        Interval lengths in mean spacings.
    laws : dict of str to array, optional
        Values of laws at ``L`` by their label; the first is dashed, the others dotted.
    **curves : array or (array, array)
        Values at ``L``, or values and standard errors, by ``trained`` or ``initial``.
    """
    for name, curve in curves.items():
        values, errors = curve if isinstance(curve, tuple) else (curve, None)
        ax.plot(L, values, "o", ms=3.5, color=COLORS.get(name, COLORS["other"]), label=name)
        if errors is not None:
            ax.fill_between(L, values - errors, values + errors, color=COLORS.get(name, COLORS["other"]), alpha=0.2, lw=0)
    for (name, values), style in zip((laws or {}).items(), ("--", ":", "-."), strict=False):
        ax.plot(L, values, style, color=COLORS["law"], label=name)
    ax.set(xlabel="interval length $L$ (mean spacings)", ylabel=r"number variance $\Sigma^2(L)$", ylim=(0, None))
    return ax


def porter_thomas_panel(ax, test, *, color=COLORS["trained"], label="trained"):
    """p-values of singular vectors along the spectrum, with their moving mean and its null band: row d of figure 3.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    test : PorterThomasTest
        Of all vectors of one space, in the order of ascending singular values.
    color, label : str
        Of the points and the moving mean.
    """
    rank = np.linspace(1, 0, len(test.pvalue))[::-1]  # a single vector is that of the largest level
    # A second test on the same axis shows its band, but the legend names it once.
    name = None if ax.patches else "95 % null band"
    ax.axhspan(*test.band, color=COLORS["band"], lw=0, label=name, zorder=0)
    ax.plot(rank, test.calibrated_pvalue, ".", ms=2.5, alpha=0.3, color=color)
    ax.plot(rank[test.positions], test.moving_mean, color=color, lw=1.8, label=label)
    ax.set(xlabel="rank (0 smallest, 1 largest)", ylabel="Porter–Thomas $p$", xlim=(0, 1), ylim=(0, 1))
    return ax
