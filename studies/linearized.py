"""How far a trained network is linear in what one layer has learned: accuracies, logits and the size of the update."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from rmtlib.learning import Dataset, Run, linearized_accuracy, load_network
from rmtlib.learning.linearization import linearize
from rmtlib.learning.trained import initial_network
from rmtlib.learning.training import accuracy
from rmtlib.runs import book_data

__all__ = ["measure", "read"]


def measure(run: Run, data: Dataset, *, layer: str = "dense2") -> pd.DataFrame:
    r"""The trained network, its linearisation around the initial weights of a layer, and the network with the layer set back.

    With the logits :math:`z` of the trained network, :math:`z_0` of the same network with the weights of this layer alone set
    back to their initial values :math:`W_0`, and :math:`z_{lin}` linearised around :math:`W_0` (`rmtlib.learning.linearization`):
    :math:`z - z_0` is what the learning of the layer changes, and :math:`z - z_{lin}` the part of it that is not linear.

    Parameters
    ----------
    run : Run
        Its weights file must hold the trained tensors of all layers.
    data : Dataset
        The images that the run was trained on, standardised as its configuration says.
    layer : str
        Name of the layer.

    Returns
    -------
    pandas.DataFrame
        One row: accuracies on training and test images of the trained network (as the run recorded them), of its linearisation
        (``linearized_``) and with the layer set back (``reset_``); with Frobenius norms over all test images and classes
        ``logit_error`` = :math:`\|z - z_{lin}\| / \|z - z_0\|`, relative to the change that the layer's learning makes (0 for a
        network linear in the layer; 1 for a linearisation that is as far off as no learning), and ``logit_error_total`` =
        :math:`\|z - z_{lin}\| / \|z\|`, relative to the logits; ``update_size`` = :math:`\|W - W_0\| / \|W_0\|`.
        Of a run with centred logits, :math:`z` are the centred ones.

    Raises
    ------
    ValueError
        If there is no such layer, or the data are not those of the run.
    RunError
        If a trained tensor is missing.
    """
    linear = linearized_accuracy(run, layer, data)
    network, reset, name = load_network(run), load_network(run), f"{layer}.weight"
    W, W0 = network.get_parameter(name), initial_network(run).get_parameter(name)
    reset.get_parameter(name).copy_(W0)
    functions = (network, linearize(network, {name: W0}), reset)
    images = torch.from_numpy(data.test_images).split(network.evaluation_batch)
    z, z_lin, z_reset = (torch.cat([function(x) for x in images]).double() for function in functions)
    error = (z - z_lin).norm()
    set_back = (accuracy(reset, *part) for part in ((data.train_images, data.train_labels), (data.test_images, data.test_labels)))
    row = {
        "run": run.name,
        "layer": layer,
        "train_accuracy": run.train_accuracy,
        "test_accuracy": run.test_accuracy,
        "linearized_train_accuracy": linear.train,
        "linearized_test_accuracy": linear.test,
        **dict(zip(("reset_train_accuracy", "reset_test_accuracy"), set_back, strict=True)),
        "logit_error": (error / (z - z_reset).norm()).item(),
        "logit_error_total": (error / z.norm()).item(),
        "update_size": ((W - W0).double().norm() / W0.double().norm()).item(),
    }
    return pd.DataFrame([row])


def read(layer: str = "dense2", path: Path | None = None) -> pd.DataFrame:
    """The rows of one layer, by run, with the ``gap`` in test accuracy between the network and its linearisation.

    Parameters
    ----------
    layer : str
    path : path, optional
        By default the book's ``data/linearized.csv``.

    Returns
    -------
    pandas.DataFrame
        Columns of `measure`, accuracies as shares; what was not measured is NaN.
    """
    table = pd.read_csv(path or book_data() / "linearized.csv")
    own = table[table["layer"] == layer].drop(columns="layer").set_index("run")
    return own.assign(gap=own["test_accuracy"] - own["linearized_test_accuracy"])
