"""The plain rivals of filtering: early stopping, and the average of the weights of several epochs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rmtlib.filtering import honest_gain
from rmtlib.learning import Dataset, Run, load_network
from rmtlib.runs import book_data

from .epochs import epoch_weights
from .network import accuracies, is_right, setting

__all__ = ["measure", "methods", "read"]


def measure(run: Run, data: Dataset) -> pd.DataFrame:
    """Test accuracies of every stopped training, and of the mean weights from every epoch on.

    Parameters
    ----------
    run : Run
        From `studies.epochs.train_keeping_epochs`, with all layers.
    data : Dataset
        The images that the run was trained on, standardised as its configuration says.

    Returns
    -------
    pandas.DataFrame
        Rows of two kinds: ``stop``, the network after ``epoch`` epochs; ``average``, the mean of the weights after the epochs
        from ``epoch`` to the last. Accuracies on all test images and on both halves, as in `studies.network.accuracies`.

    Raises
    ------
    RunError
        If the weights of an epoch were not kept.
    """
    network = load_network(run)

    def row(kind: str, epoch: int, weights: dict) -> dict:
        network.load_state_dict(weights)
        right = is_right(network, data)
        shares = accuracies(right, right)
        known = setting(run) | {"label_noise": run.config["label_noise"], "kind": kind, "epoch": epoch}
        return known | {name: shares[name] for name in ("accuracy", "first_half", "second_half")}

    rows, total = [], {key: tensor.double().zero_() for key, tensor in network.state_dict().items()}
    for count, epoch in enumerate(range(run.config["epochs"], 0, -1), 1):
        weights = epoch_weights(run, epoch)
        rows.append(row("stop", epoch, weights))
        total = {key: tensor.double() + total[key] for key, tensor in weights.items()}
        rows.append(row("average", epoch, {key: (tensor / count).float() for key, tensor in total.items()}))
    return pd.DataFrame(rows).sort_values(["kind", "epoch"], ascending=[False, True], ignore_index=True)


def read(folder: Path | None = None) -> pd.DataFrame:
    """What the book has measured: rows of `measure`; ``folder`` is by default the book's ``data/filtering``."""
    return pd.read_csv((folder or book_data() / "filtering") / "rivals.csv")


def methods(cuts: pd.DataFrame, rivals: pd.DataFrame) -> dict[str, float]:
    """Test accuracies of one run by filtering and by its rivals; what is chosen is chosen on the other half of the images.

    Parameters
    ----------
    cuts : pandas.DataFrame
        Rows of the run from `studies.filtering.measure`.
    rivals : pandas.DataFrame
        Its rows from `measure`.

    Returns
    -------
    dict of str to float
        Accuracies in per cent, by method: trained to the end, cut at the edge in all layers or in the third, the best cut, the
        best epoch, the best average.
    """
    trained = cuts[cuts["layer"] == "none"].iloc[0]
    treated = cuts[(cuts["layer"] != "none") & (cuts["treatment"] != "decile")]
    edge = treated[(treated["value"] == 0) & (treated["treatment"] == "frobenius")].set_index("layer")["gain"]
    gains = {
        "trained to the end": 0.0,
        "edge, all layers": edge["all"],
        "edge, layer 3": edge["dense3"],
        "chosen cut, all layers": honest_gain(treated[treated["layer"] == "all"], trained),
        "chosen cut, one layer": honest_gain(treated[treated["layer"] != "all"], trained),
        "early stopping": honest_gain(rivals[rivals["kind"] == "stop"], trained),
        "average of weights": honest_gain(rivals[rivals["kind"] == "average"], trained),
    }
    return {method: float(100 * (trained["accuracy"] + gain)) for method, gain in gains.items()}
