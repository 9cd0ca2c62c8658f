"""Interactive figures about trained networks, whose spectra and accuracies come in small tables."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

import rmtlib
from rmtlib import laws
from rmtlib.filtering import filter_matrix
from rmtlib.runs import find_runs, load_run

from . import marks
from .interactive import INITIAL, INK, OTHER, TRAINED, Interactive, Slider
from .regimes import RECIPE, REGIMES

__all__ = ["cut_the_network", "turn_laziness", "watch_training"]

LONG = 20  # lengths of the number variance end here
RIVALS = {"aware": ("looking at activations", OTHER), "svd": ("singular values", TRAINED), "pruned": ("pruned", INITIAL)}
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)


def turn_laziness(networks: pd.DataFrame, *, layer: str = "dense2", seed: int = 0, a: int = 15, folder=None) -> Interactive:
    """Spectrum, vectors, levels and accuracy of the networks of one seed, by their laziness.

    Parameters
    ----------
    networks : pandas.DataFrame
        From `studies.laziness.sweep`: accuracies of all networks.
    layer : str
        Whose spectrum is drawn; it is square.
    seed : int
        Of the networks.
    a : int
        Half window of the unfolding.
    folder : path, optional
        Folder of runs; by default the book's.
    """
    runs = {run.config["laziness"]: run for run in find_runs(folder=folder, network="mlp512", seed=seed, **RECIPE)}
    alphas, L = sorted(runs), np.arange(1.0, LONG + 1)
    spectra, vectors, counts = [], [], []
    for alpha in alphas:
        W = rmtlib.load_weights(runs[alpha])[layer].matrix
        s = rmtlib.spectrum(W)
        test = rmtlib.porter_thomas(s.output_vectors)
        spectra.append(marks.histogram(s.nu, 5, alpha=alpha))
        vectors.append(marks.curve(test.positions[::8] / len(s.nu), test.moving_mean[::8], alpha=alpha))
        counts.append(marks.curve(L, rmtlib.number_variance(rmtlib.unfold(s.nu, a=a), L), alpha=alpha))
    own = networks[networks["seed"] == seed]
    kinds = {"test_accuracy": ("network", TRAINED), "linearized_test_accuracy": ("linearised", OTHER)}
    shown = "datum.alpha == alpha"
    spectrum = {"x": marks.x_axis("singular value", 5), "y": marks.y_axis("density", 0.8)}
    rank = {"x": marks.x_axis("rank of the vector", 1), "y": marks.y_axis("mean Porter–Thomas p", 1)}
    length = {"x": marks.x_axis("length, mean spacings", LONG), "y": marks.y_axis("number variance", 1)}
    band = alt.Chart(pd.DataFrame([dict(zip(("low", "high"), test.band, strict=True))])).mark_rect(color=INK, opacity=0.15)
    charts = [
        marks.area(pd.concat(spectra), TRAINED, shown, **spectrum)
        + marks.circle(**spectrum)
        + marks.note("dashed: before training", 5, 0.72),
        band.encode(y=alt.Y("low:Q"), y2="high")
        + marks.line(pd.concat(vectors), TRAINED, shown, **rank)
        + marks.note("grey: noise", 1, 0.93),
        marks.law(marks.curve(L, laws.number_variance_unfolded(L, a)), **length)
        + marks.line(pd.concat(counts), TRAINED, shown, **length)
        + marks.note("dashed: law of noise", LONG, 0.1),
        marks.accuracies(
            pd.concat(
                [
                    marks.curve(own["laziness"], 100 * own[key], kind=kind, alpha=own["laziness"])
                    for key, (kind, _) in kinds.items()
                ]
            ),
            dict(kinds.values()),
            shown,
            x=alt.X(
                "x:Q",
                title="laziness α",
                scale=alt.Scale(type="log", domain=[0.28, 11], nice=False),
                axis=alt.Axis(values=[0.5, 1, 2, 5, 10]),
            ),
            y=marks.y_axis("test accuracy, %", 80, values=[0, 20, 40, 60]),
        ),
    ]
    text = (
        "Four charts of one layer: its singular values with the quarter circle of the initial noise; the mean p of its singular "
        "vectors with the band of noise; its number variance with the law; and the test accuracy of the network and of its "
        "linearisation. The slider sets the laziness of the network."
    )
    return Interactive(charts, [Slider("alpha", "laziness α", alphas, alphas.index(1.0))], alt=text)


def watch_training(
    nu: np.ndarray, moving_mean: np.ndarray, *, epochs: Sequence[int] | np.ndarray, band: tuple[float, float], top: float = 4.5
) -> Interactive:
    """Spectrum and vectors of a layer after each epoch.

    Parameters
    ----------
    nu : numpy.ndarray of shape (epochs, m)
        Singular values of a square layer, in units in which noise of its initial variance ends at two.
    moving_mean : numpy.ndarray of shape (epochs, k)
        Moving mean of the Porter-Thomas p of its vectors.
    epochs : sequence of int
        Which they are; the slider begins at the last.
    band : tuple of float
        Null band of the moving mean.
    top : float
        End of the axis of singular values.
    """
    ranks = (np.arange(moving_mean.shape[1]) + (nu.shape[1] - moving_mean.shape[1]) / 2) / (nu.shape[1] - 1)
    spectra = [marks.histogram(row, top, epoch=epoch) for epoch, row in zip(epochs, nu, strict=True)]
    vectors = [marks.curve(ranks[::8], row[::8], epoch=epoch) for epoch, row in zip(epochs, moving_mean, strict=True)]
    shown = "datum.epoch == epoch"
    spectrum = {"x": marks.x_axis("singular value", top), "y": marks.y_axis("density", 0.8)}
    rank = {"x": marks.x_axis("rank of the vector", 1), "y": marks.y_axis("mean Porter–Thomas p", 1)}
    noise = alt.Chart(pd.DataFrame([dict(zip(("low", "high"), band, strict=True))])).mark_rect(color=INK, opacity=0.15)
    charts = [
        marks.area(pd.concat(spectra), TRAINED, shown, **spectrum)
        + marks.circle(**spectrum)
        + marks.note("dashed: before training", top, 0.72),
        noise.encode(y=alt.Y("low:Q"), y2="high")
        + marks.line(pd.concat(vectors), TRAINED, shown, **rank)
        + marks.note("grey: noise", 1, 0.93),
    ]
    text = (
        "Left, the singular values of the layer with the quarter circle of the initial noise. Right, the mean p of its singular "
        "vectors with the band of noise. The slider sets the epoch."
    )
    return Interactive(charts, [Slider("epoch", "epoch", epochs, len(epochs) - 1)], alt=text)


def cut_the_network(measured: pd.DataFrame, *, layer: str = "dense1", folder=None) -> Interactive:
    """A layer of MLP512 cut at a rank, and the accuracy that the cut and its rivals leave to the network.

    Parameters
    ----------
    measured : pandas.DataFrame
        From `studies.compression.read`.
    layer : str
        Whose spectrum is drawn.
    folder : path, optional
        Folder of runs; by default the book's.
    """
    own = measured[measured["network"] == "mlp512"].assign(net=lambda table: table["laziness"].map(list(REGIMES.values()).index))
    spectra, cuts, said, edges = [], [], [], []
    for net, part in own.groupby("net"):
        weights = rmtlib.load_weights(load_run(part["run"].iloc[0], folder=folder))
        nu = rmtlib.spectrum(weights[layer].matrix, vectors=False).nu
        ranks = part[(part["treatment"] == "svd") & (part["budget"] != "edge")].set_index("budget")["ranks"]
        kept = [int(ranks[f"{share:g}"].split()[list(weights).index(layer)]) for share in SHARES]
        spectra.append(marks.histogram(nu, 6, bins=90, net=net))
        cuts.append([round(float(nu[-rank]), 3) for rank in kept])
        said += [{"net": net, "at": at, "text": f"rank {rank} of {len(nu)}"} for at, rank in enumerate(kept)]
        beyond = filter_matrix(weights[layer].matrix).rank
        edges.append({"net": net, "x": float(nu[-beyond]) if beyond else float(nu[-1]), "text": f"edge: {beyond} beyond"})
    table, now = pd.concat(spectra), "datum.net == net && datum.at == at"
    axes = {"x": marks.x_axis(f"singular value of {layer}", 6), "y": marks.y_axis("density", 1.5)}
    edge = alt.Chart(pd.DataFrame(edges)).transform_filter("datum.net == net")
    cut = f"datum.x >= {cuts}[net][at]"
    charts = [
        marks.area(table, INITIAL, "datum.net == net", **axes)
        + marks.area(table, TRAINED, f"datum.net == net && {cut}", 0.9, **axes)
        + edge.mark_rule(**marks.DASHED).encode(x="x:Q", y=alt.datum(0), y2=alt.datum(1.1))
        + edge.mark_text(align="left", dx=5, dy=4).encode(x="x:Q", y=alt.datum(1.1), text="text:N")
        + marks.words(pd.DataFrame(said), now, 6, 1.4),
        marks.accuracies(
            _rivals(own),
            dict(RIVALS.values()),
            now,
            "datum.net == net",
            x=_log_share(),
            y=marks.y_axis("test accuracy, %", 80, values=[0, 20, 40, 60]),
        )
        + _at_the_edge(own),
    ]
    text = (
        "Left, the singular values of the first layer: those that are kept are blue, a dashed line is the edge of noise. Right, "
        "test accuracy against the share of the numbers that is kept, for three ways to cut the network, and a diamond for the "
        "cut at the edge. One slider chooses the network, the other the share."
    )
    network = Slider("net", "network", range(len(REGIMES)), 0, [f"{name}, α = {alpha:g}" for name, alpha in REGIMES.items()])
    share = Slider("at", "numbers kept", range(len(SHARES)), SHARES.index(0.3), [f"{100 * share:.0f} %" for share in SHARES])
    return Interactive(charts, [network, share], alt=text)


def _rivals(table):
    """Accuracies of the ways to cut, by network and by the number of the share."""
    rows = table[table["treatment"].isin(RIVALS) & (table["budget"] != "edge")]
    shares = 100 * rows["budget"].astype(float)
    numbers = rows["budget"].astype(float).map(SHARES.index)
    return marks.curve(
        shares,
        rows["accuracy"],
        kind=rows["treatment"].map({key: kind for key, (kind, _) in RIVALS.items()}),
        net=rows["net"],
        at=numbers,
    )


def _log_share():
    scale, axis = alt.Scale(type="log", domain=[4.5, 105], nice=False), alt.Axis(values=[5, 10, 20, 40, 80])
    return alt.X("x:Q", title="numbers kept, %", scale=scale, axis=axis)


def _at_the_edge(table):
    rows = table[table["treatment"] == "edge"]
    cut = alt.Chart(marks.curve(rows["share"], rows["accuracy"], net=rows["net"])).transform_filter("datum.net == net")
    return cut.mark_point(shape="diamond", filled=True, size=90, opacity=1, color=INK).encode(x="x:Q", y="y:Q")
