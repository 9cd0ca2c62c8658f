"""The drawings of the first pages: each from networks and measurements that ship with the book, in a second or so."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import scipy.stats

import rmtlib
from rmtlib import figures, laws
from rmtlib.null_laws import spacing_null
from rmtlib.runs import initial, load_run
from rmtlib.vector import Drawing, drawing

from . import bulk_origin, filtering, label_noise, regimes, rivals
from .pens import EXACT, FILTERED, LAW, NOISE, TRAINED

__all__ = [
    "common_direction",
    "early_stopping",
    "filtered_variance",
    "free_addition",
    "neuron_sizes",
    "puzzle",
    "set_style",
    "textbook_pvalue",
    "wrong_labels",
]

SMALL = (3.5, 2.3)  # inches
LAYER = "dense2"
BINS = 55


def set_style() -> None:
    """The book's style, in the size of small drawings."""
    figures.set_style()
    plt.rcParams.update({"xtick.labelsize": 9, "ytick.labelsize": 9, "axes.labelsize": 10})


def puzzle() -> Drawing:
    """Spectra of one layer: of a lazy network, of weights that nobody trained, and of a rich network with its outliers marked."""
    runs = regimes.runs_of_seed(0)
    shown = {
        "A": rmtlib.load_weights(runs["lazy"])[LAYER].matrix,
        "B": initial(load_run("mlp512-cifar10-alpha5-seed1"), LAYER),
        "C": rmtlib.load_weights(runs["rich"])[LAYER].matrix,
    }
    spectra = {name: rmtlib.spectrum(W, vectors=False) for name, W in shown.items()}
    fits = {name: rmtlib.fit_marchenko_pastur(s.nu, shown[name].shape) for name, s in spectra.items()}
    top = 1.03 * spectra["C"].nu[-1]
    figure, axes = plt.subplots(3, 1, figsize=(4.9, 4.6), sharex=True, sharey=True)
    for ax, (name, s) in zip(axes, spectra.items(), strict=True):
        outside = s.nu[s.nu > fits[name].outlier_edge]
        _histogram(ax, s.nu, top, color=TRAINED if len(outside) else "black", alpha=0.55 if len(outside) else 0.35)
        _curve(ax, fits[name], top, len(s.nu))
        ax.plot(outside, np.full(len(outside), 9.0), "|", color=TRAINED, ms=8, mew=1)
        ax.text(-0.02, 0.97, name, transform=ax.transAxes, fontsize=15, fontweight="bold", va="top", ha="right")
        ax.set(yticks=[], xlim=(0, top))
        ax.spines["left"].set_visible(False)
    middle = axes[1]
    middle.annotate("the law of noise", (1.5, 12.5), (2.25, 22), arrowprops=_arrow(), fontsize=10)
    middle.annotate("noise ends here", (fits["B"].nu_plus, 0.5), (2.6, 10), arrowprops=_arrow(), fontsize=10)
    last = axes[2]
    told = f"{len(outside)} values beyond\neven a wider noise"
    last.text(2.3, 12.5, told, fontsize=11, color=TRAINED, fontweight="bold")
    last.set_xlabel("singular value")
    words = (
        "A and B fill the same curve up to the same end. C has a tail beyond it; "
        f"{len(outside)} values, marked one by one, lie beyond even a wider noise."
    )
    alt = f"Three histograms of singular values, one above the other, each with the curve of noise. {words}"
    return drawing(figure, alt=alt)


def textbook_pvalue() -> Drawing:
    """How often noise falls below a p-value of the spacings: the textbook's and the calibrated one."""
    null = spacing_null(451)
    distance = np.linspace(0.005, 0.09, 200)
    book = scipy.stats.kstwo.sf(distance, 451)
    figure, ax = plt.subplots(figsize=SMALL)
    ax.plot([0, 1], [0, 1], "--", color=LAW, lw=1)
    ax.plot(book, [null.pvalue(d) for d in distance], color=NOISE)
    ax.text(0.36, 0.47, "calibrated", rotation=37, fontsize=9)
    ax.text(0.63, 0.12, "textbook", color=NOISE, fontsize=9, fontweight="bold")
    ax.set(xlabel="p-value", ylabel="share of noise below it", xlim=(0, 1), ylim=(0, 1))
    alt = "Far fewer noise matrices fall below a textbook p-value than its name promises; calibrated ones lie on the diagonal."
    return drawing(figure, alt=alt)


def filtered_variance() -> Drawing:
    """Number variance of a trained layer, with the logarithm and with the law as the unfolding filters it."""
    L = np.linspace(0.5, 20, 60)
    nu = rmtlib.spectrum(rmtlib.load_weights(load_run("mlp512-cifar10-alpha1-seed0"))[LAYER].matrix, vectors=False).nu
    figure, ax = plt.subplots(figsize=SMALL)
    ax.plot(L, laws.number_variance_goe(L), **EXACT)
    ax.plot(L, laws.number_variance_unfolded(L, 15), **FILTERED)
    ax.plot(L, rmtlib.number_variance(rmtlib.unfold(nu, a=15), L), color=TRAINED)
    ax.text(7.5, 1.01, "the logarithm", fontsize=9)
    ax.text(6, 0.48, "trained layer, and the law\nas the unfolding filters it", fontsize=9, color=TRAINED)
    ax.set(xlabel="length $L$ in mean spacings", ylabel="number variance", xlim=(0, 20), ylim=(0, None))
    return drawing(figure, alt="The number variance of the trained layer leaves the logarithm and follows the filtered law.")


def neuron_sizes() -> Drawing:
    """The spectrum of noise before and after its rows and columns are given unequal sizes."""
    rng = np.random.default_rng(0)
    plain = rng.standard_normal((512, 512))
    rows, columns = np.exp(0.5 * rng.standard_normal((2, 512)))
    uneven = rows[:, None] * plain * columns
    uneven *= plain.std() / uneven.std()
    figure, ax = plt.subplots(figsize=SMALL)
    for W, look in ((plain, {"alpha": 0.45}), (uneven, {"histtype": "step", "lw": 1.6})):
        _histogram(ax, np.linalg.svd(W / np.sqrt(512), compute_uv=False), 4.5, color=NOISE, **look)
    ax.annotate("noise", (1.3, 13), (1.6, 21), arrowprops=_arrow(), fontsize=9)
    ax.annotate("the same noise,\nunequal neurons", (2.6, 2), (2.6, 9), arrowprops=_arrow(), fontsize=9)
    _bare(ax)
    return drawing(figure, alt="Noise ends at two. The same noise with rows and columns of unequal size has a long tail beyond.")


def free_addition() -> Drawing:
    """A rich layer before and after training, with the law of its initial noise plus its update."""
    origin = bulk_origin.of_run(load_run("mlp512-cifar10-alpha0.5-seed0"))
    nu = origin.trained_nu
    top = 1.02 * nu[-1]
    x = np.linspace(0, top, 60)
    figure, ax = plt.subplots(figsize=SMALL)
    _histogram(ax, origin.start_nu, top, color=NOISE, alpha=0.35)
    _histogram(ax, nu, top, color=TRAINED, alpha=0.5)
    ax.plot((x[1:] + x[:-1]) / 2, len(nu) * np.diff(origin.law.cdf(x)) * BINS / (len(x) - 1), "--", color=LAW, lw=1.4)
    ax.text(1.55, 17, "before training", color=NOISE, fontsize=9, fontweight="bold")
    ax.text(2.85, 6, "after", color=TRAINED, fontsize=9, fontweight="bold")
    ax.annotate("noise plus update,\nnothing fitted", (2.15, 5.2), (2.3, 11), arrowprops=_arrow(), fontsize=9)
    _bare(ax)
    return drawing(figure, alt="The trained spectrum is wider than the initial one and follows the law of noise plus update.")


def common_direction() -> Drawing:
    """Sums of the entries of singular vectors in the bulk of a rich layer, against those of random vectors."""
    s = rmtlib.spectrum(rmtlib.load_weights(load_run("mlp512-cifar10-alpha0.5-seed0"))[LAYER].matrix)
    sums = s.output_vectors[: 3 * len(s.nu) // 4].sum(axis=1)
    x = np.linspace(-3.2, 3.2, 200)
    figure, ax = plt.subplots(figsize=SMALL)
    ax.hist(sums, list(np.linspace(-3.2, 3.2, 41)), density=True, color=TRAINED, alpha=0.55, ec="none")
    ax.plot(x, scipy.stats.norm.pdf(x), "--", color=LAW)
    ax.text(0.75, 0.8, "vectors of the bulk", color=TRAINED, fontsize=9, fontweight="bold")
    ax.text(1.35, 0.22, "random vectors", fontsize=9)
    ax.set(xlabel="sum of the entries of a vector", yticks=[])
    ax.spines["left"].set_visible(False)
    return drawing(figure, alt="The sums gather near zero, far more narrowly than the normal law of random vectors.")


def wrong_labels() -> Drawing:
    """Spectra of one layer taught right labels and many wrong ones."""
    taught = {run.config["label_noise"]: run for run in label_noise.runs_taught() if run.config["seed"] == 0}
    figure, ax = plt.subplots(figsize=SMALL)
    for share, look in ((min(taught), {"alpha": 0.5}), (max(taught), {"histtype": "step", "lw": 1.6})):
        nu = rmtlib.spectrum(rmtlib.load_weights(taught[share])[LAYER].matrix, vectors=False).nu
        _histogram(ax, nu, 3.2, color=TRAINED, **look)
    ax.annotate("right labels", (1.95, 4), (2.15, 14), arrowprops=_arrow(), fontsize=9)
    ax.annotate(f"{100 * max(taught):.0f} % replaced", (2.4, 4), (2.35, 9), arrowprops=_arrow(), fontsize=9)
    _bare(ax)
    return drawing(figure, alt="With wrong labels the bulk of the spectrum is wider, and no value stands out of it.")


def early_stopping() -> Drawing:
    """Test accuracy along a training with wrong labels, and what filtering makes of its end."""
    run = "mlp512-cifar10-alpha1-seed0-noise0.4"
    epochs = rivals.read().query("run == @run and kind == 'stop'")
    cuts = filtering.read("noisy")
    best = 100 * cuts[cuts["run"] == run]["accuracy"].max()
    figure, ax = plt.subplots(figsize=SMALL)
    ax.plot(epochs["epoch"], 100 * epochs["accuracy"], color=TRAINED)
    ax.axhline(best, ls="--", color=LAW, lw=1)
    ax.text(100, best + 0.4, "trained to the end,\nbest of all filters", fontsize=9, ha="right")
    ax.text(6, 100 * epochs["accuracy"].max() - 0.6, "stopped early", color=TRAINED, fontsize=9, fontweight="bold")
    ax.set(xscale="log", xlabel="epoch", ylabel="test accuracy, %", xticks=[1, 10, 100], xticklabels=["1", "10", "100"])
    return drawing(figure, alt="Test accuracy peaks after a few epochs and falls far; the best filter regains little of it.")


def _histogram(ax, nu, top, **look):
    bars = {} if "histtype" in look else {"ec": "none"}  # white edges are those of a white page
    ax.hist(nu, np.linspace(0, top, BINS + 1), **bars, **look)


def _curve(ax, fit, top, levels):
    x = np.linspace(0, top, 500)
    y = fit.pdf(x) * levels * top / BINS
    ax.plot(x[y > 0], y[y > 0], "--", color=LAW, lw=1.2)


def _bare(ax):
    ax.set(xlabel="singular value", yticks=[])
    ax.spines["left"].set_visible(False)


def _arrow():
    return {"arrowstyle": "->", "lw": 0.9, "color": "black"}
