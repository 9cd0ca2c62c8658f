"""MLP1024 and miniAlexNet: the panels of the paper's figures 1 and 2 that are about networks other than MLP512."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

import rmtlib
from rmtlib.claims import Outcome, Untested
from rmtlib.runs import Run, RunError, find_runs, initial

from .layers import LevelStatistics, fewest_levels, level_statistics

__all__ = [
    "PANELS",
    "Panels",
    "every_layer",
    "figure_outcomes",
    "finished",
    "initial_matrix",
    "level_statistics_of",
    "numbers",
    "overview",
]


@dataclass(frozen=True)
class Panels:
    """What the paper draws of one network.

    Attributes
    ----------
    spacings, number_variance, vectors, table : str
        Ids of its panels and of its rows of table 2.
    layer : str
        The matrix of figure 1.
    pvalue : float
        Of its spacings, in the paper.
    shown : tuple of str
        Layers of figure 2.
    command : str
        How to train it.
    """

    spacings: str
    number_variance: str
    vectors: str
    table: str
    layer: str
    pvalue: float
    shown: tuple[str, ...]
    command: str


TRAIN = "rmtlib run chapters/09_training.md -p dataset cifar10 -p epochs 100 -p network"
PANELS = {
    "mlp1024": Panels("F1a1", "F1b1", "F2b", "T2-mlp1024", "dense2", 0.81, ("dense2",), f"{TRAIN} mlp1024"),
    "minialexnet": Panels(
        "F1a2",
        "F1b2",
        "F2d",
        "T2-minialexnet",
        "conv2",
        0.85,
        ("conv2", "dense1"),
        f"{TRAIN} minialexnet -p weight_decay 0.0002",
    ),
}


def finished(names: Iterable[str], *, laziness: float = 1.0, folder=None) -> dict[str, list[Run]]:
    """Finished runs of these networks; one without any is left out."""
    found = {}
    for name in names:
        try:
            found[name] = find_runs(folder=folder, network=name, laziness=laziness)
        except RunError:
            continue
    return found


def overview(runs: Mapping[str, list[Run]]) -> pd.DataFrame:
    """How many networks of each kind there are, their epochs and test accuracies, or how to train one."""
    rows = {
        name: {
            "networks": len(own := runs.get(name, [])),
            "epochs": ", ".join(str(run.config["epochs"]) for run in own),
            "test accuracy, %": ", ".join(f"{100 * run.test_accuracy:.1f}" for run in own),
            **({} if own else {"how to train it": PANELS[name].command}),
        }
        for name in PANELS
    }
    return pd.DataFrame(rows).T


def initial_matrix(run: Run, layer: str) -> np.ndarray:
    """Initial weights of a layer as `rmtlib.load_weights` orients its trained ones, of shape (n_out, n_in)."""
    return rmtlib.load_weights({layer: initial(run, layer)})[layer].matrix


def level_statistics_of(runs: Mapping[str, list[Run]], *, a: int = 15) -> dict[tuple[str, str, str], LevelStatistics]:
    """Levels of the matrices of figure 1 by network, layer and "initial" or "trained"; the first run of each network."""
    found = {}
    for name, (run, *_) in runs.items():
        layer = PANELS[name].layer
        found[name, layer, "initial"] = level_statistics(initial_matrix(run, layer), a=a)
        found[name, layer, "trained"] = level_statistics(rmtlib.load_weights(run)[layer].matrix, a=a)
    return found


def every_layer(runs: Mapping[str, list[Run]], *, a: int = 15) -> dict[tuple[str, int, str], rmtlib.LayerAnalysis]:
    """Every layer that has enough levels for its spacings, of all runs, by network, seed and layer."""
    return {
        (name, run.config["seed"], layer): rmtlib.analyse(weight, a=a)
        for name, own in runs.items()
        for run in own
        for layer, weight in rmtlib.load_weights(run, min_levels=fewest_levels(a)).items()
    }


def figure_outcomes(
    runs: Mapping[str, list[Run]],
    levels: Mapping[tuple[str, str, str], LevelStatistics],
    noise: Mapping[str, tuple[float, float]],
    table: pd.DataFrame,
    ends: rmtlib.EndTests,
    *,
    space: str = "output",
) -> dict[str, Outcome | Untested]:
    """Panels of figures 1 and 2 and rows of table 2, decided.

    Parameters
    ----------
    runs : mapping of str to list of Run
        From `finished`.
    levels : mapping
        From `level_statistics_of`.
    noise : mapping of str to pair of float
        From `studies.layers.ratio_of_noise`, by network.
    table : pandas.DataFrame
        From `studies.layers.layers_table` of `every_layer`, indexed by network, seed and layer.
    ends : EndTests
        Of `every_layer`, whose regimes are network and layer in one word pair.
    space : str
        Of the vectors of figure 2.

    Returns
    -------
    dict of str to Outcome or Untested
        By id. Spacings are reproduced if no calibrated p of the layer is below five per cent over the number of networks; the
        number variance if its mean ratio to the law is one of 95 % of noise; vectors if their large end dips at five per cent and
        the small one does not, in every layer of the panel; a row of table 2 if no layer is rejected, by Bonferroni.
    """
    found: dict[str, Outcome | Untested] = {}
    for name, panels in PANELS.items():
        ids = (panels.spacings, panels.number_variance, panels.vectors, panels.table)
        if name not in runs:
            found |= {id: Untested(panels.command) for id in ids}
            continue
        epochs = runs[name][0].config["epochs"]
        kind = f"; reconstructed network, {epochs} epochs" if name == "minialexnet" else ""
        s, (low, high) = levels[name, panels.layer, "trained"], noise[name]
        of_layer = table.loc[name].xs(panels.layer, level="layer")["p, calibrated"]
        small_p = {layer: ends.pvalue[space].loc[f"{name} {layer}"] < 0.05 for layer in panels.shown}
        means = {layer: ends.mean[space].loc[f"{name} {layer}"] for layer in panels.shown}
        p = table.loc[name]["p, calibrated"]
        seeds = "".join(f", of another seed {value:.2f}" for value in of_layer.iloc[1:])
        words = "; ".join(
            f"{layer}: mean p of fifteen vectors {mean['large']:.2f} at the large end, {mean['small']:.2f} at the small one"
            for layer, mean in means.items()
        )
        count = f"{len(runs[name])} seed" + "s" * (len(runs[name]) > 1)
        found[panels.spacings] = Outcome(
            of_layer.min() > 0.05 / len(of_layer),
            p=s.spacing.pvalue,
            paper=panels.pvalue,
            calibrated=s.spacing.calibrated_pvalue,
            seeds=seeds + kind,
        )
        found[panels.number_variance] = Outcome(low < s.ratio < high, ratio=s.ratio, low=low, high=high, kind=kind)
        dips = all(both["large"] and not both["small"] for both in small_p.values())
        found[panels.vectors] = Outcome(dips, words=f"{words} ({count}{kind})")
        found[panels.table] = Outcome(p.min() > 0.05 / len(p), layers=len(p), smallest=p.min(), allowed=0.05 / len(p), kind=kind)
    return found


def numbers(
    runs: Mapping[str, list[Run]],
    levels: Mapping[tuple[str, str, str], LevelStatistics],
    table: pd.DataFrame,
    ends: rmtlib.EndTests,
    *,
    space: str = "output",
) -> dict[str, Outcome | float]:
    """Numbers of both networks that the text of their chapter gives; none where one of them is missing. As `figure_outcomes`."""
    if PANELS.keys() - runs.keys():
        return {}
    wide, (mini, *_) = table.loc["mlp1024"], runs["minialexnet"]
    convolution = table.loc["minialexnet"].xs("conv2", level="layer").iloc[0]
    mean, small = ends.mean[space], ends.pvalue[space] < 0.05
    own = {name: name.split()[1] for name in mean.index if name.startswith("mlp1024")}
    words = "; ".join(f"{layer} {mean['large'][name]:.2f}, {mean['small'][name]:.2f}" for name, layer in own.items())
    return {
        "wide_typical": Outcome(small["large"][list(own)].all() and not small["small"][list(own)].any(), ends=words),
        "wide_accuracy": 100 * np.mean([run.test_accuracy for run in runs["mlp1024"]]),
        "wide_smallest": wide["p, calibrated"].min(),
        "wide_tested": len(wide),
        "wide_seeds": len(runs["mlp1024"]),
        "wide_bound": 0.05 / len(wide),
        "wide_outliers": wide["beyond the edge"].xs("dense2", level=-1).iloc[0],
        "mini_accuracy": 100 * mini.test_accuracy,
        "mini_epochs": mini.config["epochs"],
        "mini_decay": mini.config["learning_rate_decay"],
        "mini_levels": len(levels["minialexnet", "conv2", "trained"].xi),
        "mini_filters": convolution["levels"],
        "mini_outliers": convolution["beyond the edge"],
    }
