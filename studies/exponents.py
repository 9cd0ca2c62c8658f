"""Does the exponent of a layer's power law tell how well its network classifies? Within one laziness, and across."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.stats

import rmtlib
from rmtlib.claims import Outcome
from rmtlib.runs import Run, find_runs
from rmtlib.tails import fit_power_law, noise_exponent

from . import verdicts

__all__ = ["correlations", "of_runs", "outcome"]

FEWEST = 4  # networks of one laziness that a rank correlation is taken of
STATED = 0.5  # correlation that should have been seen


def of_runs(runs: list[Run] | None = None, layer: str = "dense2") -> pd.DataFrame:
    """Exponent and accuracy of every network.

    Parameters
    ----------
    runs : list of Run, optional
        By default all of MLP512, whatever their recipe and their labels.
    layer : str

    Returns
    -------
    pandas.DataFrame
        By run: ``laziness``, ``test accuracy, %``, ``exponent`` of the eigenvalues of the layer and ``above noise``, its distance
        from the exponent of noise of the shape in standard deviations.
    """
    rows = {}
    for run in runs or _all_runs():
        W = rmtlib.load_weights(run)[layer].matrix
        exponent = fit_power_law(rmtlib.spectrum(W, vectors=False).nu ** 2).exponent
        null = noise_exponent(W.shape)
        rows[run.name] = {
            "laziness": run.config["laziness"],
            "test accuracy, %": 100 * run.test_accuracy,
            "exponent": exponent,
            "above noise": (exponent - null.mean) / null.standard_deviation,
        }
    return pd.DataFrame(rows).T


def correlations(table: pd.DataFrame, *, draws: int = 2000, rng=0) -> pd.DataFrame:
    """Rank correlations of both statistics with the accuracy, and what permutations give.

    Parameters
    ----------
    table : pandas.DataFrame
        From `of_runs`.
    draws : int
        Of permutations, within the networks of one laziness for ``within``.
    rng : seed or numpy.random.Generator

    Returns
    -------
    pandas.DataFrame
        A row for every statistic and way: ``within`` is the mean over the laziness values with at least four networks. Columns
        ``correlation``; ``p``, two-sided, by Holm's method over both statistics; ``half``, half of the interval of 90 % of the
        permutations.
    """
    rng, rows = np.random.default_rng(rng), {}
    for statistic in ("exponent", "above noise"):
        pairs = table[["laziness", statistic, "test accuracy, %"]].set_axis(["laziness", "x", "y"], axis=1)
        groups = {"within": [own for _, own in pairs.groupby("laziness") if len(own) >= FEWEST], "across": [pairs]}
        for way, parts in groups.items():
            if not parts:
                continue
            ranks = [(scipy.stats.rankdata(own["x"]), scipy.stats.rankdata(own["y"])) for own in parts]
            found = _mean_correlation(ranks)
            chance = np.array([_mean_correlation([(rng.permutation(x), y) for x, y in ranks]) for _ in range(draws)])
            p = (1 + np.sum(np.abs(chance) >= abs(found))) / (1 + draws)
            rows[statistic, way] = {"correlation": found, "p": p, "half": np.quantile(np.abs(chance), 0.9)}
    result = pd.DataFrame(rows).T
    for way in result.index.unique(1):
        own = result.xs(way, level=1)["p"]
        holm = np.maximum.accumulate(np.sort(own) * np.arange(len(own), 0, -1)).clip(max=1)
        result.loc[[(name, way) for name in own.sort_values(kind="stable").index], "p"] = holm
    return result


def outcome(found: pd.DataFrame, *, way: str = "within") -> Outcome:
    """B-exponent: told by the rank correlation, or not, or the data cannot tell.

    Parameters
    ----------
    found : pandas.DataFrame
        From `correlations`.
    way : {"within", "across"}
        Which correlation decides: that among networks of one laziness, or over all.
    """
    deciding = found.loc[("above noise", way)]
    size, half = abs(deciding["correlation"]), deciding["half"]
    if deciding["p"] < verdicts.level("B-exponent"):
        word = "reproduced"
    else:
        word = "inconclusive" if STATED - half < min(0.0, size) else "not reproduced"
    within, across = (found.loc[("above noise", name)] for name in ("within", "across"))
    says = (
        f"among networks of one laziness the rank correlation of exponent and accuracy is {within['correlation']:+.2f}, "
        f"where chance gives ± {within['half']:.2f}; over all networks it is {across['correlation']:+.2f}"
    )
    return Outcome(word, says=says)


def _all_runs():
    shares = (0.0, 0.2, 0.4, 0.6)
    settings = [{"label_noise": share} for share in shares] + [{"centred": True}, {"decay_every": 10}]
    runs: dict[str, Run] = {}
    for setting in settings:
        try:
            runs |= {run.name: run for run in find_runs(network="mlp512", dataset="cifar10", **setting)}
        except ValueError:
            continue
    return list(runs.values())


def _mean_correlation(ranks):
    return float(np.mean([np.corrcoef(x, y)[0, 1] for x, y in ranks]))
