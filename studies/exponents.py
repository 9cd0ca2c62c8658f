"""Does the exponent of a layer's power law tell how well its network classifies? Within one laziness, and across."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import scipy.stats

import rmtlib
from rmtlib.claims import Outcome
from rmtlib.runs import Run, find_runs
from rmtlib.tails import fit_power_law, noise_exponent

from . import verdicts
from .regimes import REGIMES

__all__ = ["between_recipes", "by_laziness", "correlations", "of_runs", "outcome", "recipe_of"]

FEWEST = 4  # networks that a rank correlation is taken of
STATED = 0.5  # correlation that should have been seen
KEPT = {"one laziness": ["laziness"], "one laziness and recipe": ["laziness", "recipe"], "across": []}
PLACE = re.compile(r"-alpha[^-]+-seed\d+")  # in the name of a run: what is left is its recipe


def recipe_of(run: Run) -> str:
    """The name of a run without its laziness and seed: what it was trained by."""
    return PLACE.sub("", run.name)


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
        By run, sorted: ``laziness``, ``recipe``, ``test accuracy, %``, ``exponent`` of the eigenvalues of the layer and
        ``above noise``, its distance from the exponent of noise of the shape in standard deviations.
    """
    rows = {}
    for run in sorted(runs or _all_runs(), key=lambda run: run.name):
        W = rmtlib.load_weights(run)[layer].matrix
        exponent = fit_power_law(rmtlib.spectrum(W, vectors=False).nu ** 2).exponent
        null = noise_exponent(W.shape)
        rows[run.name] = {
            "laziness": run.config["laziness"],
            "recipe": recipe_of(run),
            "test accuracy, %": 100 * run.test_accuracy,
            "exponent": exponent,
            "above noise": (exponent - null.mean) / null.standard_deviation,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def correlations(table: pd.DataFrame, *, draws: int = 2000, rng=0) -> pd.DataFrame:
    """Rank correlations of exponent and accuracy among networks that are alike, and what permutations give.

    Parameters
    ----------
    table : pandas.DataFrame
        From `of_runs`.
    draws : int
        Of permutations, within the networks that are alike.
    rng : seed or numpy.random.Generator

    Returns
    -------
    pandas.DataFrame
        A row for networks of one laziness, of one laziness and recipe, and of all. ``networks`` and ``groups`` of at least four
        that were used; ``correlation``, the mean over the groups, weighted by their networks; ``p``, two-sided; ``half``, half of
        the interval of 90 % of the permutations. Without a group there is no row.
    """
    rng, rows = np.random.default_rng(rng), {}
    for alike, keys in KEPT.items():
        groups = _groups(table, keys)
        if not groups:
            continue
        ranks = [_ranks(own) for own in groups]
        found = _mean_correlation(ranks)
        chance = np.array([_mean_correlation([(rng.permutation(x), y) for x, y in ranks]) for _ in range(draws)])
        rows[alike] = {
            "networks": sum(map(len, groups)),
            "groups": len(groups),
            "correlation": found,
            "p": (1 + np.sum(np.abs(chance) >= abs(found))) / (1 + draws),
            "half": np.quantile(np.abs(chance), 0.9),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def by_laziness(table: pd.DataFrame) -> str:
    """The rank correlations among networks of one laziness, one by one, in words."""
    groups = _groups(table, ["laziness"])
    told = [f"{_mean_correlation([_ranks(own)]):+.2f} at α = {own['laziness'].iloc[0]:g} ({len(own)} networks)" for own in groups]
    return ", ".join(told)


def between_recipes(table: pd.DataFrame, recipe: str, *, stated: str = "mlp512-cifar10") -> str:
    """Mean exponent and accuracy of rich and of typical networks by the recipe as stated and by another, in words."""
    columns = ["exponent", "test accuracy, %"]
    means = table.groupby(["laziness", "recipe"])[columns].mean()
    told = []
    for regime in ("rich", "typical"):
        of = means.loc[REGIMES[regime]]
        told.append(f"{regime} " + " and ".join(f"{of.loc[stated, c]:.1f} to {of.loc[recipe, c]:.1f}" for c in columns) + " %")
    return ", ".join(told)


def outcome(found: pd.DataFrame, *, alike: str = "one laziness") -> Outcome:
    """B-exponent: a smaller exponent tells the better network, or does not, or the data cannot tell.

    Parameters
    ----------
    found : pandas.DataFrame
        From `correlations`.
    alike : {"one laziness", "one laziness and recipe", "across"}
        Which correlation decides.
    """
    deciding = found.loc[alike]
    if deciding["p"] < verdicts.level("B-exponent") and deciding["correlation"] < 0:
        word = "reproduced"
    else:
        word = "inconclusive" if deciding["half"] > STATED else "not reproduced"
    within, across = found.loc["one laziness"], found.loc["across"]
    says = (
        "among networks of one laziness the rank correlation of exponent and accuracy is on average "
        f"{within['correlation']:+.2f}, where chance gives ± {within['half']:.2f}; "
        f"over all networks it is {across['correlation']:+.2f}"
    )
    return Outcome(word, says=says)


def _groups(table, keys):
    if not keys:
        return [table]
    return [own for _, own in table.groupby(keys) if len(own) >= FEWEST]


def _ranks(own):
    return scipy.stats.rankdata(own["exponent"]), scipy.stats.rankdata(own["test accuracy, %"])


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
    return float(np.average([np.corrcoef(x, y)[0, 1] for x, y in ranks], weights=[len(x) for x, _ in ranks]))
