"""Interactive figures about noise. Laws are computed in the page; what is measured comes in small tables."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

import rmtlib
from rmtlib import laws
from rmtlib.runs import initial, load_run

from . import marks
from .interactive import INITIAL, INK, TRAINED, Interactive, Slider
from .regimes import runs_of_seed

__all__ = ["is_it_noise", "neuron_sizes", "q_and_sigma", "spike", "two_levels", "window"]

# Marchenko and Pastur's density at datum.x, of matrices of shape q and scale s.
MARCHENKO_PASTUR = (
    "datum.x > s*(1-sqrt(q)) && datum.x < s*(1+sqrt(q)) ? "
    "sqrt((pow(s*(1+sqrt(q)),2)-pow(datum.x,2))*(pow(datum.x,2)-pow(s*(1-sqrt(q)),2)))/(PI*q*s*s*datum.x) : 0"
)
BULK = "datum.x > s*(1-sqrt(q)) - 0.01 && datum.x < s*(1+sqrt(q)) + 0.01"
# The modified Bessel function I0(z) exp(-z), by Abramowitz and Stegun's 9.8.1 (t is z/3.75 squared) and 9.8.2 (v is 3.75/z).
BESSEL = (
    "datum.z < 3.75 ? exp(-datum.z)*(1+datum.t*(3.5156229+datum.t*(3.0899424+datum.t*(1.2067492"
    "+datum.t*(0.2659732+datum.t*(0.0360768+datum.t*0.0045813)))))) : "
    "(0.39894228+datum.v*(0.01328592+datum.v*(0.00225319+datum.v*(-0.00157565+datum.v*(0.00916281+datum.v*(-0.02057706"
    "+datum.v*(0.02635537+datum.v*(-0.01647633+datum.v*0.00392377))))))))/sqrt(datum.z)"
)
LONG = 20  # lengths of the number variance end here


def q_and_sigma(nu: np.ndarray, *, scale: float, top: float = 3.4) -> Interactive:
    """Singular values of a square layer under the law of noise, whose shape and scale are set by sliders.

    Parameters
    ----------
    nu : numpy.ndarray of shape (m,)
        Singular values.
    scale : float
        The unit of the axis, the scale of the initial noise.
    top : float
        End of the axis, in this unit.
    """
    axes = {"x": marks.x_axis("singular value, in units of the initial scale", top), "y": marks.y_axis("density", 1.5)}
    law = (
        alt.Chart(marks.points(0.004, top))
        .transform_filter(BULK)
        .transform_calculate(y=MARCHENKO_PASTUR)
        .mark_line(**marks.DASHED)
    )
    ends = alt.Chart(pd.DataFrame({"sign": [-1, 1], "name": ["ν₋", "ν₊"]})).transform_calculate(x="s*(1+datum.sign*sqrt(q))")
    ruled = ends.mark_rule(color=INK, opacity=0.5).encode(x="x:Q", y=alt.datum(0), y2=alt.datum(1.3))
    named = ends.mark_text(align="left", dx=4, dy=6).encode(x="x:Q", y=alt.datum(1.3), text="name:N")
    shape = Slider("q", "shape q = m/n", np.arange(0.2, 1.01, 0.05), 16, "{:.2f}")
    size = Slider("s", "scale σ√n", np.arange(0.5, 1.51, 0.05), 10, "{:.2f} × initial")
    text = (
        "Histogram of the singular values of a trained layer, with the Marchenko–Pastur law and its two ends. The first slider "
        "sets the shape of the matrix, the second the scale of the noise."
    )
    return Interactive(
        [
            marks.area(marks.histogram(nu / scale, top), TRAINED, **axes)
            + ruled
            + law.encode(**axes)
            + named
            + marks.note("dashed: law of noise", top, 1.42)
        ],
        [shape, size],
        alt=text,
    )


def neuron_sizes(n: int = 256, *, seed: int = 0, top: float = 4.5) -> Interactive:
    """Spectrum of noise whose rows and columns have unequal sizes, and of the same matrix biwhitened.

    Parameters
    ----------
    n : int
        Side of the matrix.
    seed : int
        Of the noise and of the sizes.
    top : float
        End of the axis; larger singular values are counted and not drawn.
    """
    rng = np.random.default_rng(seed)
    plain, logs = rng.standard_normal((n, n)), rng.standard_normal((2, n))
    spreads = np.arange(0, 0.81, 0.1).round(1)
    ways: dict[str, tuple[list, list]] = {"as it is": ([], []), "sizes taken out": ([], [])}
    for spread in spreads:
        rows, columns = np.exp(spread * logs)
        uneven = rows[:, None] * plain * columns
        matrices = uneven / np.sqrt(np.mean(uneven**2)), rmtlib.biwhiten(uneven, "total").matrix
        for (spectra, counts), W in zip(ways.values(), matrices, strict=True):
            nu = rmtlib.spectrum(W, vectors=False).nu / np.sqrt(n)
            spectra.append(marks.histogram(nu, top, spread=spread))
            fit = rmtlib.fit_marchenko_pastur(nu, W.shape)
            counts.append(
                {
                    "spread": spread,
                    "edge": round(fit.outlier_edge, 3),
                    "fitted": f"dotted: the fitted edge, {fit.n_outliers} beyond",
                    "even": f"dashed: noise of one size, {np.sum(nu > 2)} beyond",
                }
            )
    axes, shown = {"x": marks.x_axis("singular value", top), "y": marks.y_axis("density", 1.2)}, "datum.spread == spread"
    charts = []
    for name, (spectra, counts) in ways.items():
        told = pd.DataFrame(counts)
        edge = alt.Chart(told).transform_filter(shown).mark_rule(**marks.DOTTED)
        chart = (
            marks.area(pd.concat(spectra), INITIAL, shown, **axes)
            + marks.circle(**axes)
            + edge.encode(x="edge:Q", y=alt.datum(0), y2=alt.datum(0.9))
            + marks.words(told, shown, top, 1.1, "fitted")
            + marks.words(told, shown, top, 0.97, "even")
        )
        charts.append(chart.properties(title=name))
    text = (
        "Histograms of the singular values of pure noise with the quarter circle, left with rows and columns of unequal size and "
        "right with the sizes taken out. The slider makes the sizes more unequal: only the left histogram grows a tail, and the "
        "fit takes ever more of it for outliers."
    )
    factors = [f"typical factor {np.exp(spread):.2f}" for spread in spreads]
    return Interactive(charts, [Slider("spread", "unequal sizes", spreads, 4, factors)], alt=text)


def two_levels() -> Interactive:
    """Two levels that meet, and the spacings of two levels with random couplings, by the strength of the coupling."""
    meet = {"x": marks.x_axis("distance without coupling", 3, -3), "y": marks.y_axis("the two levels", 2, -2)}
    levels = [
        alt.Chart(marks.points(-3, 3))
        .transform_calculate(y=f"{sign}sqrt(pow(datum.x/2,2)+c*c)")
        .mark_line(color=INITIAL)
        .encode(**meet)
        for sign in ("", "-")
    ]
    alone = [
        alt.Chart(marks.points(-3, 3))
        .transform_calculate(y=f"{sign}datum.x/2")
        .mark_line(**marks.DASHED | {"opacity": 0.6})
        .encode(**meet)
        for sign in ("", "-")
    ]
    # The distance d without coupling scatters by A, twice the coupling by B; s² = d² + 4c², whose mean is that of the surmise.
    steps = {
        "A": "sqrt(4/(PI*(1+c*c)))",
        "B": "datum.A*max(c,0.001)",
        "z": "pow(datum.x,2)*(1/pow(datum.B,2)-1/pow(datum.A,2))/4",
    }
    steps |= {"t": "pow(datum.z/3.75,2)", "v": "3.75/max(datum.z,0.001)", "bessel": BESSEL}
    steps |= {"y": "datum.x/(datum.A*datum.B)*exp(-pow(datum.x/datum.A,2)/2)*datum.bessel"}
    density = alt.Chart(marks.points(0.004, 3.5))
    for name, expression in steps.items():
        density = density.transform_calculate(**{name: expression})
    spacing = {"x": marks.x_axis("distance of the two levels", 3.5), "y": marks.y_axis("density", 1)}
    surmise = (
        alt.Chart(marks.points(0, 3.5)).transform_calculate(y="PI*datum.x/2*exp(-PI*pow(datum.x,2)/4)").mark_line(**marks.DASHED)
    )
    text = (
        "Left, two levels against the distance that they would have without coupling: with it they do not meet. Right, the "
        "density of their distance when distance and coupling are random, with the Wigner surmise. The slider sets the coupling."
    )
    coupling = Slider("c", "coupling", np.arange(0, 1.01, 0.05), 6, "{:.2f} of the scatter")
    charts = [
        sum([*levels[1:], *alone, marks.note("dashed: without coupling", 1.4, 1.8)], start=levels[0]),
        density.mark_line(color=INITIAL).encode(**spacing)
        + surmise.encode(**spacing)
        + marks.note("dashed: the surmise", 3.5, 0.93),
    ]
    return Interactive(charts, [coupling], alt=text)


def spike() -> Interactive:
    """Where a planted direction puts a singular value, and how much of the direction is found, by its strength."""
    found = "t > pow(q,0.25)"
    bulk = {"x": marks.x_axis("singular value", 4), "y": marks.y_axis("density", 2.2)}
    law = (
        alt.Chart(marks.points(0.004, 4))
        .transform_filter(BULK.replace("s*", ""))
        .transform_calculate(y=MARCHENKO_PASTUR.replace("s*", ""))
    )
    outlier = alt.Chart(pd.DataFrame({"y": [0.6]})).transform_calculate(
        x=f"{found} ? sqrt((1+t*t)*(q+t*t))/t : 1+sqrt(q)", text=f"{found} ? 'outlier' : 'nothing to see'"
    )
    strength = {"x": marks.x_axis("strength t", 3), "y": marks.y_axis("squared overlap", 1)}
    # Of the vectors of the shorter side.
    overlap = "{0} > pow(q,0.25) ? 1-q*(1+{0}*{0})/({0}*{0}*({0}*{0}+q)) : 0"
    curve = alt.Chart(marks.points(0.01, 3)).transform_calculate(y=overlap.format("datum.x")).mark_line(**marks.DASHED)
    here = alt.Chart(pd.DataFrame({"one": [1]})).transform_calculate(x="t", y=overlap.format("t"))
    charts = [
        law.mark_area(color=INITIAL, opacity=0.45).encode(**bulk)
        + outlier.mark_rule(color=TRAINED, strokeWidth=3).encode(
            x="x:Q", y="y:Q", y2=alt.datum(0), opacity=alt.condition(found, alt.value(1), alt.value(0))
        )
        + outlier.mark_text(align="left", dx=5).encode(x="x:Q", y="y:Q", text="text:N"),
        curve.encode(**strength) + here.mark_point(filled=True, size=90, opacity=1, color=TRAINED).encode(**strength),
    ]
    text = (
        "Left, the Marchenko–Pastur law of noise and a line where a planted direction puts a singular value. Right, the squared "
        "overlap of the direction found with the one planted, against its strength. Below a threshold both are nothing. "
        "Sliders set the strength and the shape of the matrix."
    )
    sliders = [
        Slider("t", "strength t", np.arange(0.1, 3.01, 0.1), 12, "{:.1f} σ√n"),
        Slider("q", "shape q = m/n", np.arange(0.1, 1.01, 0.1), 4),
    ]
    return Interactive(charts, sliders, alt=text)


def window(spectra: Sequence[np.ndarray], windows: Sequence[int] = (2, 3, 5, 8, 12, 15, 20, 30, 45, 60)) -> Interactive:
    """Density of one spectrum and number variance of several, unfolded with windows of several widths.

    Parameters
    ----------
    spectra : sequence of numpy.ndarray
        Singular values of square matrices of noise, in units of their scale.
    windows : sequence of int
        Half windows; 15 among them.
    """
    L, first = np.arange(1.0, LONG + 1), spectra[0]
    densities, filtered, measured = [], [], []
    for a in windows:
        inside = first[2 * a : len(first) - 2 * a]
        slope = np.gradient(rmtlib.unfold(first, a=a), inside) / len(first)
        densities.append(marks.curve(inside[::6], slope[::6], a=a))
        filtered.append(marks.curve(L, laws.number_variance_unfolded(L, a), a=a))
        measured.append(
            marks.curve(L, np.mean([rmtlib.number_variance(rmtlib.unfold(nu, a=a), L) for nu in spectra], axis=0), a=a)
        )
    spectrum = {"x": marks.x_axis("singular value", 2.1), "y": marks.y_axis("density of levels", 0.9)}
    length = {"x": marks.x_axis("length, mean spacings", LONG), "y": marks.y_axis("number variance", 1.8)}
    exact = marks.curve(L, laws.number_variance_goe(L))
    points = (
        alt.Chart(pd.concat(measured)).transform_filter("datum.a == a").mark_point(filled=True, size=35, color=INITIAL, opacity=1)
    )
    charts = [
        marks.line(pd.concat(densities), INITIAL, "datum.a == a", **spectrum)
        + marks.circle(**spectrum)
        + marks.note("dashed: true density", 2.1, 0.8),
        alt.Chart(exact).mark_line(**marks.DOTTED).encode(**length)
        + marks.law(pd.concat(filtered), "datum.a == a", **length)
        + points.encode(**length)
        + marks.note("dotted: exact law", LONG, 0.28)
        + marks.note("dashed: what the unfolding leaves", LONG, 0.13),
    ]
    text = (
        "Left, the density of one spectrum of noise as the unfolding sees it, with the quarter circle. Right, number variance of "
        "noise as points, the exact law dotted, and the law that the unfolding leaves dashed. The slider sets the half window."
    )
    half = Slider("a", "half window a", list(windows), list(windows).index(15), "{:.0f} levels")
    return Interactive(charts, [half], alt=text)


def is_it_noise(layer: str = "dense2", *, seed: int = 0) -> Interactive:
    """Five spectra: which of the matrices were trained?

    Parameters
    ----------
    layer : str
        Of the networks MLP512.
    seed : int
        Of the made-up noise.
    """
    runs = runs_of_seed(0)
    trained = {regime: rmtlib.load_weights(run)[layer].matrix for regime, run in runs.items()}
    untouched = initial(load_run("mlp512-cifar10-alpha5-seed1"), layer)
    rng = np.random.default_rng(seed)
    uneven = rng.standard_normal(untouched.shape) * np.exp(0.25 * rng.standard_normal((len(untouched), 1)))
    rounds = [
        (trained["typical"], "trained: a few values are too large for noise"),
        (untouched, "noise: nobody trained it"),
        (uneven, "noise: its rows have unequal sizes"),
        (trained["lazy"], "trained: and the spectrum hardly shows it"),
        (trained["rich"], "trained: many values are too large for noise"),
    ]
    spectra, answers = [], []
    for number, (W, answer) in enumerate(rounds):
        nu = rmtlib.spectrum(W, vectors=False).nu
        unit = rmtlib.fit_marchenko_pastur(nu, W.shape).sigma * np.sqrt(len(W))
        spectra.append(marks.histogram(nu / unit, 3.4, number=number))
        answers.append({"number": number, "text": answer})
    axes, now = (
        {"x": marks.x_axis("singular value, in units of the bulk", 3.4), "y": marks.y_axis("density", 0.9)},
        "datum.number == number",
    )
    told = marks.words(pd.DataFrame(answers), f"{now} && shown == 1", 3.4, 0.82)
    text = (
        "Histogram of the singular values of one of five matrices, with the quarter circle of noise. One slider chooses the "
        "matrix, the other shows whether it was trained."
    )
    sliders = [
        Slider("number", "matrix", range(5), 0, [f"{number} of 5" for number in range(1, 6)]),
        Slider("shown", "answer", range(2), 0, ["hidden", "shown"]),
    ]
    return Interactive(
        [marks.area(pd.concat(spectra), INK, now, **axes) + marks.circle(**axes) + told + marks.note("dashed: noise", 3.4, 0.72)],
        sliders,
        alt=text,
    )
