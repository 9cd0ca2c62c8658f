"""Typical networks that were taught wrong labels: what their spectra show, and what filtering and its rivals give back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

import rmtlib
from rmtlib.claims import Outcome
from rmtlib.runs import Run, find_runs

from . import rivals, verdicts
from .regimes import RECIPE, REGIMES

__all__ = [
    "SHARES",
    "by_layer_at_the_edge",
    "compared",
    "gain_outcomes",
    "runs_taught",
    "taught_numbers",
    "taught_table",
]

SHARES = (0.0, 0.2, 0.4, 0.6)  # of the training labels, replaced by random ones
ENOUGH = 0.5  # points that a filter has to gain
JUDGED = 0.4  # the share with several seeds
CUTS = ["edge, layer 3", "chosen cut, all layers", "chosen cut, one layer"]
RIVALS = ["early stopping", "average of weights"]


def runs_taught(shares: Iterable[float] = SHARES, *, network: str = "mlp512", folder: Path | None = None) -> list[Run]:
    """Finished typical networks by the paper's recipe, in the order of the shares of replaced labels and of their seeds."""
    settings = RECIPE | {"network": network, "laziness": REGIMES["typical"]}
    return [run for share in shares for run in find_runs(folder=folder, label_noise=share, **settings)]


def taught_table(runs: Iterable[Run], layers: Mapping[tuple[float, int], rmtlib.LayerAnalysis]) -> pd.DataFrame:
    """Accuracies of networks, and the spectrum of one of their layers.

    Parameters
    ----------
    runs : iterable of Run
        From `runs_taught`.
    layers : mapping of (float, int) to LayerAnalysis
        The layer of each network, by its share of replaced labels and its seed.

    Returns
    -------
    pandas.DataFrame
        Rows by share and seed; accuracies in per cent. A level is ``beyond`` the end of the fitted curve, and an outlier beyond
        what noise of that width reaches; the last two columns are the mean p of fifteen output vectors.
    """
    rows = {}
    for run in runs:
        key = run.config["label_noise"], run.config["seed"]
        s, ends = layers[key], rmtlib.end_means(layers[key].output)
        rows[key] = {
            "own, %": 100 * run.train_accuracy,
            "test, %": 100 * run.test_accuracy,
            "curve ends": s.bulk.nu_plus if s.bulk else np.nan,
            "beyond": np.sum(s.nu > s.bulk.nu_plus) if s.bulk else np.nan,
            "noise ends": s.bulk.outlier_edge if s.bulk else np.nan,
            "outliers": s.bulk.n_outliers if s.bulk else np.nan,
            "largest": s.nu[-1],
            "spacing p": s.spacing.calibrated_pvalue if s.spacing else np.nan,
            "p, large": ends.large,
            "p, small": ends.small,
        }
    return pd.DataFrame(rows).T.rename_axis(["label noise", "seed"])


def taught_numbers(table: pd.DataFrame) -> dict[str, float]:
    """Means over the seeds without wrong labels and at the largest share, and the smallest p of all, of a `taught_table`."""
    means = table.groupby(level="label noise").mean()
    clean, noisy = means.iloc[0], means.iloc[-1]
    return {
        "taught-learned": noisy["own, %"],
        "taught-outliers-clean": clean["outliers"],
        "taught-outliers-noisy": noisy["outliers"],
        "taught-edge-clean": clean["curve ends"],
        "taught-edge-noisy": noisy["curve ends"],
        "taught-beyond-noisy": noisy["beyond"],
        "taught-largest-noisy": noisy["largest"],
        "taught-noise-ends": noisy["noise ends"],
        "taught-p": table["spacing p"].min(),
    }


def compared(runs: Iterable[Run], cuts: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Test accuracies, %, by method (`studies.rivals.methods`), of every network with replaced labels.

    Parameters
    ----------
    runs : iterable of Run
    cuts : pandas.DataFrame
        Of `studies.filtering.measure`.
    epochs : pandas.DataFrame
        Of `studies.rivals.measure`.

    Returns
    -------
    pandas.DataFrame
        Rows by share and seed.
    """
    rows = {
        (run.config["label_noise"], run.config["seed"]): rivals.methods(
            cuts[cuts["run"] == run.name], epochs[epochs["run"] == run.name]
        )
        for run in runs
        if run.config["label_noise"] > 0
    }
    return pd.DataFrame(rows).T.rename_axis(["label noise", "seed"])


def by_layer_at_the_edge(runs: Iterable[Run], cuts: pd.DataFrame) -> pd.DataFrame:
    """Mean gain in points of the shrunk cut at the outliers: rows by share of replaced labels, columns by layer."""
    share = {run.name: run.config["label_noise"] for run in runs}
    edge = cuts[(cuts["layer"] != "none") & (cuts["value"] == 0) & (cuts["treatment"] == "frobenius")]
    keys = [edge["run"].map(share).rename("label noise"), edge["layer"]]
    return (100 * edge["gain"]).groupby(keys).mean().unstack()


def gain_outcomes(table: pd.DataFrame, at_edge: pd.DataFrame) -> dict[str, Outcome | float]:
    """What filtering and its rivals give back to the networks of the share that has several seeds.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `compared`.
    at_edge : pandas.DataFrame
        Of `by_layer_at_the_edge`.

    Returns
    -------
    dict of str to Outcome or float
        By the name of the claim; gains in points, means over seeds with their standard errors. Sentences are decided by the
        criteria of ``paper.toml``.
    """
    gains = table.sub(table["trained to the end"], axis=0).xs(JUDGED, level="label noise")
    mean, error = gains.mean(), gains.sem()
    names = {
        "noise-edge-all": "edge, all layers",
        "noise-edge-3": "edge, layer 3",
        "noise-chosen": "chosen cut, one layer",
        "noise-stop": "early stopping",
        "noise-average": "average of weights",
    }
    third, chosen = gains["edge, layer 3"], gains["chosen cut, one layer"]
    improves = verdicts.interval(chosen)
    ahead = verdicts.interval(gains[mean[CUTS].idxmax()] - gains[mean[RIVALS].idxmax()])
    return {
        **{id: Outcome(value=mean[method], error=error[method]) for id, method in names.items()},
        "noise-seeds": len(gains),
        "noise-edge-3-least": third.min(),
        "noise-edge-3-most": third.max(),
        "edge-3-clean": at_edge["dense3"].iloc[0],
        "edge-3-most": at_edge["dense3"].iloc[-1],
        "B-filtering-noisy": Outcome(
            verdicts.above(improves, refuted=ENOUGH), says=f"gain of the cut that other images chose {improves.words()}, points"
        ),
        "B-filtering-rivals": Outcome(
            verdicts.above(ahead), says=f"{mean[CUTS].idxmax()} minus {mean[RIVALS].idxmax()} {ahead.words()}, points"
        ),
    }
