r"""How the noise in a layer grows: a random walk of its entries, and the variance of the bulk over the epochs of real trainings.

Gradients of single images differ. If what differs were noise, the same in every step, a step of size :math:`\eta` over a batch of
:math:`B` images would add :math:`\eta^2 S / B` to the variance of an entry, and an epoch of :math:`N` images
:math:`\eta^2 S N / B^2`; momentum :math:`\mu` multiplies this by :math:`(1 - \mu)^{-2}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import scipy.stats

import rmtlib
from rmtlib import checks
from rmtlib.claims import Outcome, Untested
from rmtlib.runs import Run, RunError, find_runs, initial

from . import verdicts

__all__ = [
    "COMMAND",
    "final_growth",
    "grid",
    "grid_outcome",
    "growth",
    "growth_without_signal",
    "sgd_without_signal",
    "speed_ratios",
    "speeds",
]

COMMAND = "rmtlib sweep sweeps/rate_batch.yaml"
LEARNED = 0.99  # accuracy on the training images from which on there is nothing left to learn
BATCHES, RATES = (16, 32, 64), (0.001, 0.002, 0.004)
GRID = {"dataset": "cifar10", "network": "mlp512", "laziness": 1.0, "seed": 0, "epochs": 10, "bulk_variance": True}
Setting = tuple[float, int, float]  # rate, batch, momentum


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


def growth_without_signal(settings: Sequence[Setting], *, draws: int = 20, rng=0) -> pd.DataFrame:
    """Growth of the fitted variance where there is nothing to learn, over several draws.

    Parameters
    ----------
    settings : sequence of (float, int, float)
        Rate, batch and momentum of `sgd_without_signal`.
    draws : int
        Of each setting.
    rng : seed

    Returns
    -------
    pandas.DataFrame
        By rate, batch and momentum, in per cent of the initial variance: growth ``expected``, ``found`` in the mean over the
        draws, from the fit of the initial matrix to that of the last, and its standard ``error``; ``off``, found minus
        expected, and ``off error``, both in per cent of what is expected.
    """
    rows = {}
    for i, (rate, batch, momentum) in enumerate(settings):
        walks = [sgd_without_signal([rng, i, draw], rate=rate, batch=batch, momentum=momentum) for draw in range(draws)]
        found = [100 * (walk["variance"].iloc[-1] - walk["variance"].iloc[0]) for walk in walks]
        expected = 100 * (walks[0]["expected"].iloc[-1] - 1)
        mean, error = _mean(found)
        off = {"off": 100 * (mean / expected - 1), "off error": 100 * error / expected}
        rows[rate, batch, momentum] = {"expected": expected, "found": mean, "error": error} | off
    return pd.DataFrame(rows).T.rename_axis(["rate", "batch", "momentum"])


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
        number of ``epochs``, and the ``speed``, growth over clock.
    """
    learning = int((table["train_accuracy"] < LEARNED).sum())
    steps = table[["growth", "clock"]].diff().iloc[1:]
    middle = learning // 2
    parts = {
        "first half": steps.iloc[:middle],
        "second half": steps.iloc[middle:learning],
        "learned": steps.iloc[learning:],
    }
    rows = {
        name: {"epochs": len(part), "speed": part["growth"].sum() / part["clock"].sum()}
        for name, part in parts.items()
        if len(part)
    }
    return pd.DataFrame(rows).T.astype({"epochs": int})


def speed_ratios(followed: Mapping[str, Sequence[pd.DataFrame]]) -> pd.DataFrame:
    """How much faster bulks grow in the second half of learning than in the first, and once the images are learned.

    Parameters
    ----------
    followed : mapping of str to sequence of pandas.DataFrame
        Of `growth`, by regime, one a network.

    Returns
    -------
    pandas.DataFrame
        By regime: number of ``networks``, means over them of ``second over first`` and of ``learned over first`` with their
        standard errors (``error``, ``learned error``). Constant noise has one speed, and both are one.
    """
    rows = {}
    for regime, tables in followed.items():
        speed = pd.DataFrame([speeds(table)["speed"] for table in tables])
        ratio, error = _mean(speed["second half"] / speed["first half"])
        learned, learned_error = _mean(speed["learned"] / speed["first half"])
        first = {"networks": len(tables), "second over first": ratio, "error": error}
        rows[regime] = first | {"learned over first": learned, "learned error": learned_error}
    return pd.DataFrame(rows).T.astype({"networks": int})


def final_growth(slow: Mapping[str, Sequence[Run]], fast: Mapping[str, Sequence[Run]], layer: str = "dense2") -> pd.DataFrame:
    """Growth of the variance of the bulk at two rates, means over the seeds that both have.

    Parameters
    ----------
    slow, fast : mapping of str to sequence of Run
        By regime.
    layer : str

    Returns
    -------
    pandas.DataFrame
        By regime: growth of the ``slow`` and the ``fast`` networks in per cent of the initial variance; ``ratio``, fast over
        slow, with its standard ``error`` over the seeds; the ratio ``of updates``, the mean squares of what was added to the
        initial entries, with its ``update error``.

    Raises
    ------
    ValueError
        If a regime has fewer than two seeds at both rates.
    """
    rows = {}
    for regime in slow:
        of_rate = [{run.config["seed"]: _grown(run, layer) for run in runs[regime]} for runs in (slow, fast)]
        seeds = sorted(of_rate[0].keys() & of_rate[1].keys())
        if len(seeds) < 2:
            msg = f"slow and fast must have two seeds in common; of {regime} they have {len(seeds)}"
            raise ValueError(msg)
        first, second = (np.array([own[seed] for seed in seeds]) for own in of_rate)
        (ratio, error), (updates, update_error) = (_mean(second[:, i] / first[:, i]) for i in (0, 1))
        means = {"slow": first[:, 0].mean(), "fast": second[:, 0].mean()}
        rows[regime] = means | {"ratio": ratio, "error": error, "of updates": updates, "update error": update_error}
    return pd.DataFrame(rows).T


def grid(folder=None) -> list[Run]:
    """Those of the nine runs, three rates times three batches, that are there."""
    try:
        found = find_runs(folder=folder, **GRID)
    except RunError:
        return []
    return [run for run in found if run.config["batch_size"] in BATCHES and run.config["learning_rate"] in RATES]


def grid_outcome(runs: Sequence[Run], layer: str = "dense2") -> Outcome | Untested:
    """B-bulk-growth, by the criterion of ``paper.toml``; not tested while any of the nine runs is missing.

    The growth of the fitted variance over all epochs has the square of rate over batch if noise of the batches makes it.
    """
    if len(runs) < len(BATCHES) * len(RATES):
        return Untested(COMMAND)
    grown = np.array([_since_the_beginning(run, layer) for run in runs])
    if grown.min() <= 0:
        return Outcome("inconclusive", says="a bulk has not grown, so its growth has no logarithm")
    rates, batches = (np.array([run.config[key] for run in runs]) for key in ("learning_rate", "batch_size"))
    x, y = np.log(rates / batches), np.log(grown)
    fit = scipy.stats.linregress(x, y)
    half = scipy.stats.t.ppf(0.95, len(y) - 2) * fit.stderr
    low, high = fit.slope - half, fit.slope + half
    equal = pd.Series(y).groupby(np.round(x, 6))
    spread = float(np.exp((equal.max() - equal.min()).max()))
    margin = verdicts.margin("B-bulk-growth")
    word = "inconclusive"
    if 2 - margin < low and high < 2 + margin and spread <= 1 + margin:
        word = "reproduced"
    elif low > 2 + margin or high < 2 - margin:
        word = "not reproduced"
    columns = np.column_stack([np.log(rates), np.log(batches), np.ones(len(y))])
    of_rate, of_batch, _ = np.linalg.lstsq(columns, y, rcond=None)[0]
    says = (
        f"the growth has the power {fit.slope:.2f} ({low:.2f} to {high:.2f}) of rate over batch, where noise of the batches "
        f"has 2; at equal quotients growths differ by a factor of up to {spread:.2f}; alone the rate has the "
        f"power {of_rate:+.2f}, the batch {of_batch:+.2f}"
    )
    return Outcome(word, says=says)


def _fitted_variance(W):
    return rmtlib.fit_marchenko_pastur(rmtlib.spectrum(W, vectors=False).nu, W.shape).sigma ** 2


def _since_the_beginning(run, layer):
    """Growth of the fitted variance from the initial weights to the last epoch, over that of the initial entries."""
    W0 = initial(run, layer)
    return (list(run.history[f"bulk_variance.{layer}"])[-1] - _fitted_variance(W0)) / W0.var()


def _grown(run, layer):
    """Growth of the variance of the bulk in per cent, and the mean square of the update."""
    W, W0 = rmtlib.load_weights(run)[layer].matrix, initial(run, layer)
    return 100 * (_fitted_variance(W) - _fitted_variance(W0)) / W0.var(), np.mean((W - W0) ** 2)


def _mean(values):
    """Mean and its standard error; of a single value the error is not known."""
    values = np.asarray(values, dtype=float)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
