r"""How the noise in a layer grows: a random walk of its entries, and the variance of the bulk over the epochs of real trainings.

Gradients of single images differ. If what differs were noise, the same in every step, a step of size :math:`\eta` over a batch of
:math:`B` images would add :math:`\eta^2 S / B` to the variance of an entry, and an epoch of :math:`N` images
:math:`\eta^2 S N / B^2`; momentum :math:`\mu` multiplies this by :math:`(1 - \mu)^{-2}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

import rmtlib
from rmtlib import checks
from rmtlib.claims import Outcome, Untested
from rmtlib.runs import Run, RunError, find_runs, initial

__all__ = ["COMMAND", "final_growth", "grid", "grid_outcome", "growth", "sgd_without_signal", "speed_outcome", "speeds"]

COMMAND = "rmtlib sweep sweeps/book.yaml"
LEARNED = 0.99  # accuracy on the training images from which on there is nothing left to learn
BATCHES, RATES = (16, 32, 64), (0.001, 0.002, 0.004)
GRID = {"dataset": "cifar10", "network": "mlp512", "laziness": 1.0, "seed": 0, "epochs": 10, "bulk_variance": True}
NEAR = 0.5  # of an exponent


def sgd_without_signal(
    rng, *, rate: float, batch: int, epochs: int = 10, images: int = 960, shape: tuple[int, int] = (80, 60), momentum: float = 0.0
) -> pd.DataFrame:
    r"""Stochastic gradient descent that has nothing to learn.

    The gradient of one image is the outer product of two Gaussian vectors, and has the mean zero; the initial entries have
    variance one.

    Parameters
    ----------
    rng : seed or numpy.random.Generator
    rate : float
        Size of a step.
    batch : int
        Images a step.
    epochs, images : int
        Passes, and images in each.
    shape : tuple of int
    momentum : float
        From 0 to below 1.

    Returns
    -------
    pandas.DataFrame
        By epoch, from 0: ``variance`` of an entry as the fit of the bulk finds it, and as ``expected``,
        :math:`1 + e N \eta^2 / (B (1 - \mu))^2`, where e counts epochs.

    Raises
    ------
    ValueError
        If there are fewer images than one batch holds.
    """
    batch = checks.integer(batch, "batch", at_least=1)
    if images < batch:
        msg = f"images must be at least batch = {batch}; got {images}"
        raise ValueError(msg)
    rng = np.random.default_rng(rng)
    W, velocity = rng.standard_normal(shape), np.zeros(shape)
    rows = []
    for epoch in range(epochs + 1):
        fit = rmtlib.fit_marchenko_pastur(rmtlib.spectrum(W, vectors=False).nu, shape)
        expected = 1 + epoch * (images // batch) * rate**2 / (batch * (1 - momentum) ** 2)
        rows.append({"epoch": epoch, "variance": fit.sigma**2, "expected": expected})
        for _ in range(images // batch):
            errors, inputs = rng.standard_normal((batch, shape[0])), rng.standard_normal((batch, shape[1]))
            velocity = momentum * velocity - rate * errors.T @ inputs / batch
            W = W + velocity
    return pd.DataFrame(rows).set_index("epoch")


def growth(run: Run, layer: str = "dense2") -> pd.DataFrame:
    """The variance of the bulk over the epochs of a run.

    Parameters
    ----------
    run : Run
        Trained with ``bulk_variance``.
    layer : str

    Returns
    -------
    pandas.DataFrame
        By epoch: ``growth`` of the variance since the first epoch, over that of the initial entries; ``clock``, what a random
        walk would grow by, the squared learning rates added up since then, in units of the first; ``train_accuracy``.

    Raises
    ------
    RunError
        If the history of the run has no variance of this layer.
    """
    column = f"bulk_variance.{layer}"
    if column not in run.history:
        msg = f"run {run.name!r} has no {column} in its history; it must be trained with bulk_variance"
        raise RunError(msg)
    history = pd.DataFrame(run.history).set_index("epoch")
    variance, squares = history[column], history["learning_rate"] ** 2
    clock = (squares.cumsum() - squares.iloc[0]) / squares.iloc[0]
    grown = (variance - variance.iloc[0]) / initial(run, layer).var()
    return pd.DataFrame({"growth": grown, "clock": clock, "train_accuracy": history["train_accuracy"]})


def speeds(table: pd.DataFrame) -> pd.DataFrame:
    """How fast a bulk grows by the clock of the random walk, in the first and the second half of the time in which it learns.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `growth`.

    Returns
    -------
    pandas.DataFrame
        Rows ``first half``, ``second half`` of the epochs up to a training accuracy of 99 %, and ``learned``, the epochs after:
        number of ``epochs``, ``speed`` in the mean over them, and its standard ``error``.
    """
    learning = int((table["train_accuracy"] < LEARNED).sum())
    steps = table[["growth", "clock"]].diff().iloc[1:]
    speed = (steps["growth"] / steps["clock"]).to_numpy()
    middle = learning // 2
    parts = {"first half": speed[:middle], "second half": speed[middle:learning], "learned": speed[learning:]}
    rows = {
        name: {"epochs": len(part), "speed": part.mean(), "error": part.std(ddof=1) / np.sqrt(len(part))}
        for name, part in parts.items()
        if len(part) > 1
    }
    return pd.DataFrame(rows).T.astype({"epochs": int})


def speed_outcome(table: pd.DataFrame) -> Outcome:
    """Whether a bulk grows as by constant noise: compatible if both halves of learning have one speed, within two errors."""
    found = speeds(table)
    first, second = found.loc["first half"], found.loc["second half"]
    ratio = second["speed"] / first["speed"]
    error = ratio * np.hypot(second["error"] / second["speed"], first["error"] / first["speed"])
    return Outcome("compatible" if abs(ratio - 1) < 2 * error else "not reproduced", ratio=ratio, sd=error)


def final_growth(runs: Mapping[str, Mapping[str, Run]], layer: str = "dense2") -> pd.DataFrame:
    """Growth of the variance of the bulk at two rates.

    Parameters
    ----------
    runs : mapping of str to mapping of str to Run
        The slower and the faster runs, by regime.

    Returns
    -------
    pandas.DataFrame
        Rows by regime, columns by rate, in per cent of the initial variance; ``ratio``, fast over slow; the ratio ``of updates``,
        the mean squares of what was added to the initial entries.
    """
    found: dict[str, dict[str, float]] = {}
    updates: dict[str, dict[str, float]] = {}
    for rate, of_rate in runs.items():
        for regime, run in of_rate.items():
            W, W0 = rmtlib.load_weights(run)[layer].matrix, initial(run, layer)
            fit = rmtlib.fit_marchenko_pastur(rmtlib.spectrum(W, vectors=False).nu, W.shape)
            found.setdefault(rate, {})[regime] = 100 * (fit.sigma**2 / W0.var() - 1)
            updates.setdefault(rate, {})[regime] = np.mean((W - W0) ** 2)
    table, squares = pd.DataFrame(found), pd.DataFrame(updates)
    slow, fast = table.columns
    return table.assign(**{"ratio": table[fast] / table[slow], "of updates": squares[fast] / squares[slow]})


def grid(folder=None) -> list[Run]:
    """Those of the nine runs, three rates times three batches, that are there."""
    try:
        found = find_runs(folder=folder, **GRID)
    except RunError:
        return []
    return [run for run in found if run.config["batch_size"] in BATCHES and run.config["learning_rate"] in RATES]


def grid_outcome(runs: Sequence[Run], layer: str = "dense2") -> Outcome | Untested:
    """Exponents of the growth in rate and batch; not tested while any of the nine runs is missing.

    The random walk of constant noise is reproduced if the variance of the bulk grows in an epoch as the rate to the power of two
    and the batch to the power of minus two, each within one half.
    """
    if len(runs) < len(BATCHES) * len(RATES):
        return Untested(COMMAND)
    first = [growth(run, layer) for run in runs]
    y = np.log([table["growth"].iloc[1] for table in first])
    settings = np.log([[run.config["learning_rate"], run.config["batch_size"]] for run in runs])
    rate, batch = np.linalg.lstsq(np.column_stack([settings, np.ones(len(y))]), y, rcond=None)[0][:2]
    return Outcome(bool(abs(rate - 2) < NEAR and abs(batch + 2) < NEAR), rate=rate, batch=batch)
