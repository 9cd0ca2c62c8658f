"""What filtering does to the test accuracy of a trained network, layer by layer and in all hidden layers at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

import rmtlib
from rmtlib.claims import Outcome
from rmtlib.filtering import FilteredMatrix, filter_matrix, honest_gain
from rmtlib.learning import Dataset, Run, load_network
from rmtlib.runs import book_data

from . import verdicts
from .network import accuracies, hidden_layers, setting
from .regimes import REGIMES

__all__ = ["RANKS", "at_the_edge", "chosen_gains", "cuts", "measure", "outcomes", "read", "recovery", "tail_numbers"]

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 320, 384, 448)
ENOUGH = 0.5  # points that a filter has to gain
KINDS: dict[str, bool | str] = {"plain": False, "frobenius": "frobenius", "inverse": "inverse"}


def measure(run: Run, data: Dataset) -> pd.DataFrame:
    """Test accuracies after singular values were removed or shrunk.

    Parameters
    ----------
    run : Run
        Its weights file must hold the trained tensors of all layers.
    data : Dataset
        The images that the run was trained on, standardised as its configuration says.

    Returns
    -------
    pandas.DataFrame
        Rows are layers, and all hidden layers together (``"all"``), times what was done to their singular values:

        - ``decile``: the tenth that starts at ``value / 10`` of the levels, in ascending order, is set to zero;
        - ``plain``: the largest levels, in number ``value``, are kept as they are;
        - ``frobenius``, ``inverse``: the same, and outliers among them are shrunk (`rmtlib.filtering`).

        A value of 0 means the outliers: the cut that `rmtlib.filtering.filter_network` makes, which leaves a layer without
        outliers as it is. The first row is the network as it was trained. Accuracies are those of `studies.network.accuracies`.
        In rows of all layers ``kept`` and ``outliers`` are -1.

    Raises
    ------
    RunError
        If a trained tensor is missing.
    ValueError
        If the logits of the run are centred: they are not those of the layers that follow one another.
    """
    if run.config["centred"]:
        msg = f"run must have logits that are not centred; got {run.name!r}"
        raise ValueError(msg)
    network = load_network(run)
    trained = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    images, labels = torch.from_numpy(data.test_images), torch.from_numpy(data.test_labels)
    unchanged = _is_right(network, images, labels)
    columns = ("layer", "treatment", "value", "kept", "outliers")
    rows = [_row(run, columns, ("none", "none", 0, 0, 0), unchanged, unchanged)]
    hidden = hidden_layers(network)
    places = {key: i for i, (key, _) in enumerate(network.named_children())}
    together: dict[tuple[str, int], dict[str, torch.Tensor]] = {}
    for layer in tqdm(hidden, desc=run.name):
        before = network[: places[layer]](images)
        weight = hidden[layer].weight
        W = weight.numpy().copy()
        found = rmtlib.spectrum(W)
        U, V = (np.asarray(vectors) for vectors in (found.output_vectors, found.input_vectors))
        outliers = rmtlib.fit_marchenko_pastur(found.nu, W.shape).n_outliers
        for treatment, value, kept, nu in _new_levels(W, found.nu, outliers):
            filtered = torch.from_numpy(((U.T * nu) @ V).astype(np.float32))
            weight.copy_(filtered)
            right = _is_right(network, before, labels, places[layer])
            rows.append(_row(run, columns, (layer, treatment, value, kept, outliers), right, unchanged))
            together.setdefault((treatment, value), {})[f"{layer}.weight"] = filtered
        weight.copy_(torch.from_numpy(W))
    for (treatment, value), matrices in tqdm(together.items(), desc="all layers"):
        if len(matrices) == len(hidden):
            network.load_state_dict(trained | matrices)
            right = _is_right(network, images, labels)
            rows.append(_row(run, columns, ("all", treatment, value, -1, -1), right, unchanged))
    return pd.DataFrame(rows)


def read(name: str = "mlp512", folder: Path | None = None) -> pd.DataFrame:
    """What the book has measured.

    Parameters
    ----------
    name : str
        Of the table: ``"mlp512"``, the three regimes; ``"noisy"``, networks with wrong labels.
    folder : path, optional
        Where the tables lie; by default the book's ``data/filtering``.

    Returns
    -------
    pandas.DataFrame
        Columns of `measure`.
    """
    return pd.read_csv((folder or book_data() / "filtering") / f"{name}.csv")


def cuts(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `measure` in which the largest levels are kept, as they are or shrunk."""
    return table[table["treatment"].isin(KINDS)]


def at_the_edge(table: pd.DataFrame) -> pd.DataFrame:
    """Gains of the cut at the outliers: rows by laziness, layer and number of outliers (none for all layers), columns by kind."""
    edge = cuts(table)[lambda rows: rows["value"] == 0]
    edge = edge.assign(outliers=edge["outliers"].astype(str).replace("-1", ""))
    return edge.pivot(index=["laziness", "layer", "outliers"], columns="treatment", values="gain")


def chosen_gains(table: pd.DataFrame) -> pd.DataFrame:
    """Gain of the best cut of each layer and kind, chosen on images that do not judge it.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `measure`, one run for each laziness.

    Returns
    -------
    pandas.DataFrame
        `rmtlib.filtering.honest_gain` of the cuts to a given number of levels: rows by laziness and layer, columns by kind.
    """
    whole = table[table["layer"] == "none"].set_index("laziness")
    given = cuts(table)[lambda rows: rows["value"] > 0].groupby(["laziness", "layer", "treatment"])
    gains = {key: honest_gain(rows, whole.loc[key[0]]) for key, rows in given}
    return pd.Series(gains).rename_axis(["laziness", "layer", "treatment"]).unstack()


def outcomes(table: pd.DataFrame) -> dict[str, Outcome | float]:
    """What the book says of filtering the three regimes.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `measure`, one run for each laziness.

    Returns
    -------
    dict of str to Outcome or float
        By the name of the claim; gains and losses in points. The gain of the cut at the outliers in the second layer
        (``edge-…``), of the best cut that is chosen on other images, of the most significant of all cuts in standard errors; the
        largest loss without the largest tenth of one layer's levels; of the removals of a tenth from the lower half, how many
        there are, how many change the accuracy by more than three standard errors, and how many of these in the lazy network.
        That filtering improves is decided by the criterion of ``paper.toml``.
    """
    kept, edge, largest = cuts(table), at_the_edge(table)["frobenius"], chosen_gains(table).max(axis=None)
    improves = _chosen(table)
    second = 100 * edge.xs("dense2", level="layer").droplevel("outliers")
    deciles = table[(table["treatment"] == "decile") & (table["layer"] != "all")]
    lower = deciles[deciles["value"] < 5]
    clear = lower["gain"].abs() > 3 * lower["gain_error"]
    top = deciles[(deciles["value"] == 9) & (deciles["laziness"] == REGIMES["typical"])]
    return {
        "B-filtering-clean": Outcome(
            verdicts.above(improves, refuted=ENOUGH),
            says=f"gain of the cut that other images chose, {improves.n} networks: {improves.mean:+.2f} "
            f"({improves.low:+.2f} to {improves.high:+.2f}), points",
        ),
        "edge-typical": second[REGIMES["typical"]],
        "edge-rich": second[REGIMES["rich"]],
        "best-honest": 100 * largest,
        "cuts": len(kept),
        "best-z": (kept["gain"] / kept["gain_error"].where(kept["gain_error"] > 0)).max(),
        "top-decile-typical": -100 * top["gain"].min(),
        "bottom-deciles": len(lower),
        "bottom-clear": int(clear.sum()),
        "bottom-clear-lazy": int(clear[lower["laziness"] == REGIMES["lazy"]].sum()),
    }


def recovery(noise: FilteredMatrix, filtered: Mapping, errors: Mapping) -> dict[str, float]:
    """Singular values that are kept of noise and of a planted matrix, and the errors of its filters, by their shrinkage."""
    return {
        "filter-noise-rank": noise.rank,
        "filter-planted-rank": filtered["frobenius"].rank,
        "filter-error": errors["frobenius"],
        "filter-error-inverse": errors["inverse"],
        "filter-error-cut": errors[False],
    }


def tail_numbers(initial: pd.Series, rich: pd.Series) -> dict[str, float]:
    """Exponents and p of two rows of a table of tails, and how many levels the second has in its tail."""
    return {
        "tail-initial": initial["exponent"],
        "tail-initial-p": initial["p"],
        "tail-rich": rich["exponent"],
        "tail-rich-p": rich["p"],
        "tail-rich-levels": rich["levels"],
    }


def _chosen(table):
    """Gain in points of the cut of each network that half of the images chose, mean over networks; the error is over images."""
    whole = table[table["layer"] == "none"].set_index("laziness")
    halves, gains, errors = ("first_half", "second_half"), [], []
    for laziness, own in cuts(table)[lambda rows: rows["value"] > 0].groupby("laziness"):
        gains.append(100 * honest_gain(own, whole.loc[laziness]))
        errors.append(100 * np.mean([own.loc[own[half].idxmax(), "gain_error"] for half in halves]))
    return verdicts.known_interval(gains, float(np.sqrt(np.mean(np.square(errors)))))


def _is_right(network, inputs, labels, start: int = 0) -> np.ndarray:
    """Whether each image is classified rightly, from the activations before one of the modules."""
    return (network[start:](inputs).argmax(1) == labels).numpy()


def _row(run, columns, values, right, unchanged) -> dict:
    return setting(run) | dict(zip(columns, values, strict=True)) | accuracies(right, unchanged)


def _new_levels(W: np.ndarray, nu: np.ndarray, outliers: int) -> Iterator[tuple[str, int, int, np.ndarray]]:
    """What is done to the singular values: (treatment, value, number kept, levels afterwards)."""
    m = len(nu)
    for tenth in range(10):
        without = nu.copy()
        without[tenth * m // 10 : (tenth + 1) * m // 10] = 0
        yield "decile", tenth, int(np.count_nonzero(without)), without
    for kind, shrink in KINDS.items():
        shrunk = filter_matrix(W, cut=1.0, shrink=shrink).filtered_nu
        for value in (0, *RANKS, m):
            kept = value or outliers or m
            if value <= m:
                yield kind, value, kept, np.where(np.arange(m) >= m - kept, shrunk, 0)
