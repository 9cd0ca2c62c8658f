"""The four panels of a layer, as inline SVG."""

from __future__ import annotations

import numpy as np

from .. import laws
from ..figures import COLORS
from ..layer_analysis import LayerAnalysis
from .svg import Plot

__all__ = ["panels"]

ROW = '<div class="panels" style="display:flex;flex-wrap:wrap;gap:6px">'
ROOM = 1.24  # above the highest point, for the legend
POINTS, DOTS = 400, 600  # of a curve and of p-values, at most: of more vectors every second, third, ... is drawn
FEW = 30  # vectors, below which each has a dot that is seen alone
BAND = "#d1d1d1"


def panels(analysis: LayerAnalysis) -> str:
    """Spectrum with bulk, spacings, number variance, and p-values of the vectors.

    Parameters
    ----------
    analysis : LayerAnalysis

    Returns
    -------
    str
        HTML: a ``<div>`` of four ``<svg>``, which stand side by side or below each other as the page is wide. Names are escaped.
    """
    drawn = [_spectrum(analysis), _spacings(analysis), _number_variance(analysis), _vectors(analysis)]
    return f"{ROW}{''.join(plot.svg(f'{what} of {analysis.name}') for what, plot in drawn)}</div>"


def _spectrum(analysis):
    nu, fit = analysis.nu, analysis.bulk
    top = 1.02 * float(nu[-1])
    edges = np.linspace(0, top, 51)
    heights = np.histogram(nu, edges, density=True)[0]
    x = np.linspace(0, top, 300)
    curve = np.zeros_like(x) if fit is None else fit.pdf(x)
    plot = Plot("Spectrum", "singular value", "density", xlim=(0, top), ylim=(0, ROOM * max(heights.max(), curve.max())))
    plot.bars(edges, heights, COLORS["trained"])
    plot.line(x, np.where(curve > 0, curve, np.nan), dashes="5 3")
    plot.note("levels", color=COLORS["trained"])
    plot.note("no bulk that could be fitted" if fit is None else "– – fitted bulk", line=1)
    return "Spectrum and fitted bulk", plot


def _spacings(analysis):
    s = np.array([]) if analysis.xi is None else np.diff(analysis.xi)
    edges, x = np.linspace(0, 3.5, 26), np.linspace(0, 3.5, 100)
    heights = np.histogram(s, edges, density=True)[0] if len(s) else np.zeros(25)
    law = laws.wigner_surmise.pdf(x)
    plot = Plot("Spacings", "spacing (mean spacings)", "density", xlim=(0, 3.5), ylim=(0, ROOM * max(heights.max(), law.max())))
    if len(s):
        plot.bars(edges, heights, COLORS["trained"])
    plot.line(x, law, dashes="5 3")
    plot.note("levels" if len(s) else "left out: too few levels, or a gap", color=COLORS["trained"])
    plot.note("– – Wigner surmise", line=1)
    return "Spacings and Wigner surmise", plot


def _number_variance(analysis):
    curve = analysis.number_variance
    L = np.linspace(0.5, 20, 40) if curve is None else curve.L
    expected = laws.number_variance_unfolded(L, analysis.a)
    values, errors = (np.full_like(L, np.nan),) * 2 if curve is None else (curve.values, curve.standard_errors)
    top = ROOM * np.nanmax([*expected, *values])
    plot = Plot("Number variance", "interval length (mean spacings)", "variance of the count", xlim=(0, L[-1]), ylim=(0, top))
    if curve is not None:
        plot.band(L, values - errors, values + errors, COLORS["trained"], 0.25)
        plot.dots(L, values, COLORS["trained"])
    plot.line(L, expected, dashes="5 3")
    plot.note(
        "levels, ± 1 standard error" if curve is not None else "left out, as the spacings", color=COLORS["trained"], below=True
    )
    plot.note(f"– – random matrix, unfolded with a = {analysis.a}", line=1, below=True)
    return "Number variance and that of a random matrix", plot


def _vectors(analysis):
    plot = Plot("Vectors", "rank (0 smallest, 1 largest level)", "Porter–Thomas p", xlim=(0, 1), ylim=(0, ROOM))
    low, high = analysis.output.band
    plot.band([0, 1], low, high, BAND)
    for line, side, color in ((0, "output", COLORS["trained"]), (1, "input", COLORS["other"])):
        test = getattr(analysis, side)
        rank = np.linspace(1, 0, len(test.pvalue))[::-1]  # a single vector is that of the largest level
        few, step = (slice(None, None, -(-count // most)) for count, most in ((len(rank), DOTS), (len(test.positions), POINTS)))
        size, opacity = (4, 1) if len(rank) < FEW else (2, 0.3)
        plot.dots(rank[few], test.calibrated_pvalue[few], color, size=size, opacity=opacity)
        plot.line(rank[test.positions][step], test.moving_mean[step], color)
        plot.note(f"{side}: p and moving mean", line=line, color=color)
    return "Porter–Thomas p-values of the vectors", plot
