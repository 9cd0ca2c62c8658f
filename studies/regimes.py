"""Rich, typical and lazy networks: which runs they are, and the numbers of theirs that decide the paper's sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from rmtlib import LayerAnalysis, analyse, load_weights, porter_thomas, spectrum
from rmtlib.runs import Run, RunError, find_runs, initial, load_run

from .measured import table

__all__ = [
    "NUMBERS",
    "PAPER_ACCURACY",
    "RECIPE",
    "REGIMES",
    "Evidence",
    "analyses",
    "common_direction",
    "evidence",
    "in_words",
    "levels",
    "runs_of",
    "runs_of_seed",
]

REGIMES = {"rich": 0.5, "typical": 1.0, "lazy": 5.0}  # the paper's alpha, here called laziness
RECIPE = {  # of the paper, as stated
    "dataset": "cifar10",
    "standardization": "image",
    "epochs": 100,
    "batch_size": 32,
    "learning_rate": 0.001,
    "learning_rate_decay": 0.95,
    "momentum": 0.95,
    "weight_decay": 0.0,
}
PAPER_ACCURACY = {"rich": 52.7, "typical": 55.2, "lazy": 50.4}  # in per cent: its N2, N3 and N1
NUMBERS = {"N1": "lazy", "N2": "rich", "N3": "typical"}  # the paper's accuracies


@dataclass(frozen=True, eq=False)
class Evidence:
    """What decides the sentences about some networks.

    Attributes
    ----------
    trained : pandas.DataFrame
        `studies.measured.table` of one layer, by regime and seed.
    initial : pandas.DataFrame
        The same of the layer before training, by seed.
    accuracy : pandas.Series
        On test images, in per cent, by regime and seed.
    gaps : pandas.Series
        Accuracy of the network minus that of its linearisation, test images, in points; NaN where it was not measured.
    """

    trained: pd.DataFrame
    initial: pd.DataFrame
    accuracy: pd.Series
    gaps: pd.Series

    def growth(self, regime: str) -> pd.Series:
        """Fitted sigma of the trained layer over that of the initial one, seed by seed."""
        own = self.trained.loc[regime, "sigma"]
        return own / self.initial.loc[own.index, "sigma"]


def evidence(
    runs: Mapping[str, list[Run]], layer: str = "dense2", *, a: int = 15, gaps: Mapping[str, float] | None = None
) -> Evidence:
    """Analyse one layer of every network, trained and initial.

    Parameters
    ----------
    runs : mapping of str to list of Run
        By regime, from `runs_of`.
    layer : str
    a : int
        Half window of the unfolding.
    gaps : mapping of str to float, optional
        By run: column ``gap`` of `studies.linearized.read`.

    Returns
    -------
    Evidence

    Raises
    ------
    ValueError
        If a bulk or the spacings cannot be told.
    RunError
        If a regime has two runs with one seed.
    """
    of: dict[tuple[str, int], Run] = {}
    for regime, own in runs.items():
        for run in own:
            twin = of.setdefault((regime, run.config["seed"]), run)
            if twin is not run:
                msg = f"runs must tell one {regime} run with seed {run.config['seed']}; there are {twin.name} and {run.name}"
                raise RunError(msg)
    first = {seed: run for (_, seed), run in reversed(of.items())}
    shown = {run.name: np.nan if gaps is None else 100 * gaps.get(run.name, np.nan) for run in of.values()}
    return Evidence(
        pd.concat(
            [_numbers(run.name, str(run.path), layer, a, True) for run in of.values()], keys=list(of), names=["regime", "seed"]
        ).droplevel(-1),
        pd.concat({seed: _numbers(run.name, str(run.path), layer, a, False) for seed, run in first.items()})
        .droplevel(-1)
        .sort_index(),
        _by_regime({key: 100 * run.test_accuracy for key, run in of.items()}),
        _by_regime({key: shown[run.name] for key, run in of.items()}),
    )


@lru_cache(maxsize=256)
def _numbers(name, path, layer, a, trained):
    run = load_run(name, folder=Path(path).parent)
    W = load_weights(run)[layer].matrix if trained else load_weights({layer: initial(run, layer)})[layer].matrix
    return table({0: analyse(W, a=a)})


def _by_regime(values):
    return pd.Series(values, dtype=float).rename_axis(["regime", "seed"])


def runs_of(*, network: str = "mlp512", alphas: Mapping[str, float] = REGIMES, folder=None, **settings) -> dict[str, list[Run]]:
    """Finished runs of every regime by the paper's recipe, in the order of their seeds.

    Parameters
    ----------
    network : str
    alphas : mapping of str to float
        Laziness of each regime; another one is another reading of the paper's.
    folder : path, optional
        Folder of runs; by default the book's.
    **settings
        Values of the `TrainingConfig` that differ from ``RECIPE``, such as ``learning_rate=0.004, epochs=60``.

    Returns
    -------
    dict of str to list of Run

    Raises
    ------
    RunError
        If a regime has no finished run.
    ValueError
        If runs have no such setting.

    Examples
    --------
    >>> {regime: len(runs) for regime, runs in runs_of().items()}
    {'rich': 5, 'typical': 5, 'lazy': 5}
    """
    wanted = RECIPE | {"network": network} | settings
    return {regime: find_runs(folder=folder, laziness=alpha, **wanted) for regime, alpha in alphas.items()}


def runs_of_seed(seed: int = 0, **settings) -> dict[str, Run]:
    """One network of every regime, all with one seed: the same initial weights and the same order of batches.

    Parameters
    ----------
    seed : int
    **settings
        As in `runs_of`.

    Returns
    -------
    dict of str to Run

    Raises
    ------
    RunError
        If a regime has no such run, or several, which differ in settings that are not given.

    Examples
    --------
    >>> {regime: run.name for regime, run in runs_of_seed(0).items()}["lazy"]
    'mlp512-cifar10-alpha5-seed0'
    """
    found = runs_of(seed=seed, **settings)
    for regime, runs in found.items():
        if len(runs) > 1:
            msg = f"settings must tell one {regime} run with seed {seed}; there are {', '.join(run.name for run in runs)}"
            raise RunError(msg)
    return {regime: run for regime, (run,) in found.items()}


def analyses(runs: Mapping[str, list[Run]], layer: str = "dense2", *, a: int = 15) -> dict[tuple[str, int], LayerAnalysis]:
    """One trained layer of every network, analysed, by regime and seed."""
    networks = {(regime, run.config["seed"]): load_weights(run) for regime, own in runs.items() for run in own}
    return {key: analyse(weights[layer], a=a) for key, weights in networks.items()}


def levels(runs: Iterable[Run], layer: str = "dense2", *, trained: bool = True) -> dict[int, np.ndarray]:
    """Singular values of one layer of every network, ascending, by seed; before training if not ``trained``."""
    matrices = {run.config["seed"]: load_weights(run)[layer].matrix if trained else initial(run, layer) for run in runs}
    return {seed: spectrum(W, vectors=False).nu for seed, W in matrices.items()}


def in_words(values: pd.Series | Mapping[str, float], style: str) -> str:
    """Values with their names, as in ``"rich 0.85, typical 0.79"``."""
    return ", ".join(f"{name} {value:{style}}" for name, value in values.items())


def common_direction(matrices: Mapping[str, np.ndarray]) -> pd.DataFrame:
    r"""How much of the direction (1, ..., 1) the largest singular values hold, and what is left of it in the bulk.

    Parameters
    ----------
    matrices : mapping of str to array of shape (n_out, n_in)
        By regime.

    Returns
    -------
    pandas.DataFrame
        A row for each regime and space: the share that the vectors of the ten largest singular values hold; the variance of
        the sum of the entries :math:`\sum_i v_i` in the lower three quarters of the vectors, one for random ones; and their mean
        calibrated p.
    """
    rows = {}
    for regime, W in matrices.items():
        s = spectrum(W)
        for side in ("output", "input"):
            vectors = getattr(s, f"{side}_vectors")
            lower, sums = slice(3 * len(vectors) // 4), vectors.sum(axis=1)
            rows[regime, side] = {
                "share in the ten largest": np.sum(sums[-10:] ** 2) / vectors.shape[1],
                "variance of the sums": sums[lower].var(),
                "mean p": porter_thomas(vectors).calibrated_pvalue[lower].mean(),
            }
    return pd.DataFrame(rows).T
