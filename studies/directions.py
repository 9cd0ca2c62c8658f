"""What the singular vectors of trained layers carry: how strong the inputs of a layer are along them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from rmtlib.learning import Dataset, Run, load_network
from rmtlib.learning.architectures import Network
from rmtlib.learning.trained import initial_network
from rmtlib.runs import book_data

from .energies import random_bands, tenths
from .network import batches, hidden_layers, setting
from .regimes import REGIMES

__all__ = ["losses", "measure", "rank_correlations", "read"]

SHARES = ["nu2", "energy", "response"]


def measure(run: Run, data: Dataset, *, draws: int = 1000) -> pd.DataFrame:
    r"""Energies of the activations along the singular vectors, in tenths of the singular values.

    The activations x before a layer, over all training images, have the second moments C, about zero or about their mean. Along a
    singular vector v they have the energy :math:`v^T C v`, whose mean over all directions is :math:`\mathrm{tr}\, C / n_{in}`.

    Parameters
    ----------
    run : Run
        Its weights file must hold the trained tensors of all layers.
    data : Dataset
        The images that the run was trained on, standardised as its configuration says.
    draws : int
        Random sets of directions (seed 0).

    Returns
    -------
    pandas.DataFrame
        Rows are tenths of the singular values (``decile``), those of `studies.filtering`, ascending, of every dense hidden layer,
        for the trained matrix and for the initial one of the same run, with C ``about`` zero or the mean:

        - ``energy``: mean of :math:`v^T C v` over the tenth, over :math:`\mathrm{tr}\, C / n_{in}`;
        - ``low``, ``high``: between them lie 99 % of such means for random orthonormal directions;
        - ``nu2``: share of the tenth in the sum of :math:`\nu^2`;
        - ``response``: share of the tenth in :math:`\mathrm{tr}\, W C W^T`, the sum of :math:`\nu^2 v^T C v`.

        C is that of the trained network for both matrices, so that they differ in their singular vectors alone.

    Raises
    ------
    RunError
        If a trained tensor is missing.
    """
    network = load_network(run)
    untrained = initial_network(run)
    dense = {key: module for key, module in hidden_layers(network).items() if isinstance(module, torch.nn.Linear)}
    rows = []
    for layer, module in tqdm(dense.items(), desc=run.name):
        matrices = {"trained": module.weight.numpy(), "initial": untrained.get_parameter(f"{layer}.weight").numpy()}
        found = {kind: np.linalg.svd(W.astype(np.float64), full_matrices=False)[1:] for kind, W in matrices.items()}
        seconds, m = _moments(network, data.train_images, layer), min(module.weight.shape)
        bands = random_bands(seconds.values(), m // 10, draws)
        for (about, C), (low, high) in zip(seconds.items(), bands, strict=True):
            for kind, (nu, V) in found.items():
                common = setting(run) | {"layer": layer, "weights": kind, "about": about}
                for tenth, shares in enumerate(tenths(nu[::-1], V[::-1], C)):
                    rows.append(common | {"decile": tenth, "energy": shares[0], "low": low, "high": high} | shares[1])
    return pd.DataFrame(rows)


def read(path: Path | None = None) -> pd.DataFrame:
    """What the book has measured.

    Parameters
    ----------
    path : path, optional
        By default the book's ``data/filtering/directions.csv``.

    Returns
    -------
    pandas.DataFrame
        Columns of `measure`, and ``outside``: whether the energy is one that random directions have in less than 1 % of cases.
        Rows by ``about``, ``weights``, ``regime``, ``layer`` and ``decile``, in this order of the index.
    """
    table = pd.read_csv(path or book_data() / "filtering" / "directions.csv")
    table["regime"] = table["laziness"].map({alpha: regime for regime, alpha in REGIMES.items()})
    table["outside"] = ~table["energy"].between(table["low"], table["high"])
    return table.set_index(["about", "weights", "regime", "layer", "decile"]).sort_index()


def losses(directions: pd.DataFrame, path: Path | None = None) -> pd.DataFrame:
    """What each tenth of the trained singular values carries, beside what its removal costs.

    Parameters
    ----------
    directions : pandas.DataFrame
        Of `read`.
    path : path, optional
        Table of `studies.filtering`; by default the book's ``data/filtering/mlp512.csv``.

    Returns
    -------
    pandas.DataFrame
        Rows by regime, layer and decile: ``nu2``, ``energy`` and ``response`` about the mean, the ``loss`` of test accuracy as a
        share of the images, and its standard error ``loss_error``.
    """
    measured = pd.read_csv(path or book_data() / "filtering" / "mlp512.csv")
    removed = measured[measured["treatment"] == "decile"].rename(columns={"value": "decile", "gain_error": "loss_error"})
    cost = removed.assign(loss=-removed["gain"])[["run", "layer", "decile", "loss", "loss_error"]]
    carried = directions.loc[("mean", "trained")].reset_index()
    both = carried.merge(cost, on=["run", "layer", "decile"])
    return both.set_index(["regime", "layer", "decile"])[[*SHARES, "loss", "loss_error"]]


def rank_correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of the loss with what a tenth carries: a row a regime of `losses`, and one of them all."""
    groups = {regime: part for regime in REGIMES if len(part := table[table.index.get_level_values("regime") == regime])}
    ranked = {name: part[SHARES].corrwith(part["loss"], method="spearman") for name, part in (groups | {"all": table}).items()}
    return pd.DataFrame(ranked).T


def _moments(network: Network, images: np.ndarray, layer: str) -> dict[str, np.ndarray]:
    """Second moments of the inputs of a layer, about zero and about their mean."""
    total, squares = torch.zeros(()), torch.zeros(())
    for x in batches(network, images, until=layer):
        total = total + x.sum(0, dtype=torch.float64)
        squares = squares + (x.T @ x).double()
    mean, C = (total / len(images)).numpy(), (squares / len(images)).numpy()
    return {"zero": C, "mean": C - np.outer(mean, mean)}
