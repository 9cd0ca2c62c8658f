"""A layer in motion: its spectrum after every epoch, and the Porter-Thomas p of its vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from safetensors import safe_open
from safetensors.numpy import save

import rmtlib
from rmtlib.files import write_atomically
from rmtlib.learning import Dataset, Run

from .epochs import epoch_weights

__all__ = ["Motion", "measure", "read", "write"]

COLUMNS = ("nu", "input_pvalue", "output_pvalue")


class Motion(NamedTuple):
    """What a file of `write` holds.

    Attributes
    ----------
    config : dict
        Configuration of the run.
    nu : numpy.ndarray of shape (epochs + 1, m)
        Singular values, ascending; the first row is the initial matrix.
    pvalue : dict of str to numpy.ndarray of shape (epochs + 1, m)
        Calibrated Porter-Thomas p of the vectors of each space, ``"input"`` and ``"output"``.
    """

    config: dict
    nu: np.ndarray
    pvalue: dict[str, np.ndarray]


def measure(run: Run, data: Dataset | None = None, *, layer: str = "dense2") -> pd.DataFrame:
    """Singular values and calibrated p of both spaces, before the first epoch (0) and after each one.

    Parameters
    ----------
    run : Run
        From `studies.epochs.train_keeping_epochs`.
    data : Dataset, optional
        As in the other studies; weights alone are looked at.
    layer : str
        Name of the layer.

    Returns
    -------
    pandas.DataFrame
        Columns ``layer``, ``epoch``, ``nu``, ``input_pvalue``, ``output_pvalue``; a row a level, ascending within each epoch.

    Raises
    ------
    RunError
        If the weights of an epoch were not kept.
    """
    frames = []
    for epoch in range(run.config["epochs"] + 1):
        s = rmtlib.spectrum(epoch_weights(run, epoch)[f"{layer}.weight"].numpy())
        p = (rmtlib.porter_thomas(vectors).calibrated_pvalue for vectors in (s.input_vectors, s.output_vectors))
        values = dict(zip(COLUMNS, (s.nu, *p), strict=True))
        frames.append(pd.DataFrame({"layer": layer, "epoch": epoch} | values))
    return pd.concat(frames, ignore_index=True)


def write(path: Path, table: pd.DataFrame, run: Run) -> None:
    """Write a table of `measure` as float32 tensors of shape (epochs + 1, levels), with the run's configuration as metadata."""
    epochs = table["epoch"].nunique()
    tensors = {name: table[name].to_numpy(np.float32).reshape(epochs, -1) for name in COLUMNS}
    metadata = {"config": json.dumps(run.config), "layer": table["layer"].iloc[0]}
    write_atomically(path, save(tensors, metadata=metadata))


def read(path: Path) -> Motion:
    """Read a file of `write`."""
    with safe_open(path, framework="np") as file:
        nu, *pvalues = (file.get_tensor(name) for name in COLUMNS)
        config = json.loads(file.metadata()["config"])
    return Motion(config, nu, dict(zip(("input", "output"), pvalues, strict=True)))
