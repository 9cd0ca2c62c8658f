r"""Rich, typical and lazy networks: which runs they are, and the paper's sentences about them as tests of one layer in each.

The sentences are decided over several seeds. They say *where* in the spectrum vectors are not random (`rmtlib.end_tests`), where
the bulk ends, and how the number variance grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import scipy.stats

from rmtlib import EndTests, LayerAnalysis, analyse, checks, load_weights, number_variance, porter_thomas, spectrum, unfold
from rmtlib.analysis import LENGTHS
from rmtlib.claims import Outcome
from rmtlib.null_laws import noise_singular_values
from rmtlib.runs import Run, RunError, find_runs, initial

__all__ = [
    "PAPER_ACCURACY",
    "RECIPE",
    "REGIMES",
    "SENTENCES",
    "accuracy_outcomes",
    "accuracy_table",
    "analyses",
    "common_direction",
    "describe",
    "ends_in_words",
    "in_words",
    "largest_initial",
    "long_range_spread",
    "runs_of",
    "runs_of_seed",
    "sentence_outcomes",
    "sentences",
    "spacing_outcomes",
]

REGIMES = {"rich": 0.5, "typical": 1.0, "lazy": 5.0}  # the paper's alpha, here called laziness
RECIPE = {"dataset": "cifar10", "learning_rate": 0.001, "standardization": "image", "epochs": 100}  # of the paper, as stated
PAPER_ACCURACY = {"rich": 52.7, "typical": 55.2, "lazy": 50.4}  # in per cent: its N2, N3 and N1
NUMBERS = {"N1": "lazy", "N2": "rich", "N3": "typical"}  # the paper's accuracies
NEAR = 1.5  # points of accuracy
REJECTS_NONE = 0.30  # the paper's N4
LONG = 10  # intervals of number variance beyond this length are long
EDGE_STAYS = 0.05  # a threshold of our own choice: the paper gives none

SENTENCES = {
    "C4": "typical: dips at large singular values alone",
    "C5": "rich: a dip at small singular values",
    "C6": "lazy: no dip, and the edge of the bulk stays",
    "C7": "number variance grows no slower when lazy",
    "C10": "rich: more large levels than typical, for every seed",
}


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


def accuracy_table(runs: Mapping[str, list[Run]]) -> pd.DataFrame:
    """Test accuracies of every regime in per cent: number of networks, mean, standard error, lowest and highest."""
    percent = {regime: np.array([100 * run.test_accuracy for run in own]) for regime, own in runs.items()}
    rows = {
        regime: {
            "networks": len(values),
            "test accuracy, %": values.mean(),
            "standard error": scipy.stats.sem(values),
            "lowest": values.min(),
            "highest": values.max(),
        }
        for regime, values in percent.items()
    }
    return pd.DataFrame(rows).T


def accuracy_outcomes(table: pd.DataFrame) -> dict[str, Outcome]:
    """The paper's N1, N2 and N3: the mean with its error, reproduced if within one and a half points of the paper's."""
    means, errors = table["test accuracy, %"], table["standard error"]
    return {
        id: Outcome(abs(means[regime] - PAPER_ACCURACY[regime]) <= NEAR, value=means[regime], error=errors[regime])
        for id, regime in NUMBERS.items()
    }


def analyses(runs: Mapping[str, list[Run]], layer: str = "dense2", *, a: int = 15) -> dict[tuple[str, int], LayerAnalysis]:
    """One trained layer of every network, analysed, by regime and seed."""
    networks = {(regime, run.config["seed"]): load_weights(run) for regime, own in runs.items() for run in own}
    return {key: analyse(weights[layer], a=a) for key, weights in networks.items()}


def in_words(values: pd.Series | Mapping[str, float], style: str) -> str:
    """Values with their names, as in ``"rich 0.85, typical 0.79"``."""
    return ", ".join(f"{name} {value:{style}}" for name, value in values.items())


def ends_in_words(tests: EndTests, regime: str, side: str) -> str:
    """Mean p at both ends of one space, with a word where it is too small for random vectors."""
    ends = tests.mean.loc[regime, side].items()
    return ", ".join(f"{end} end {p:.2f}" + " (not random)" * bool(tests.dips.loc[regime, (side, end)]) for end, p in ends)


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


def describe(layers: Mapping[tuple[str, int], LayerAnalysis], initial_largest: Mapping[int, float]) -> pd.DataFrame:
    """Spacings, number variance and bulk of every network, one row each.

    Parameters
    ----------
    layers : mapping of (regime, seed) to LayerAnalysis
        The same layer of every network.
    initial_largest : mapping of int to float
        Largest singular value of the layer before training, by seed.

    Returns
    -------
    pandas.DataFrame
        Rows by regime and seed; levels and edges are counted from, and divided by, the largest initial singular value.

    Raises
    ------
    ValueError
        If there is no layer, a bulk could not be fitted, or a seed has no initial value.
    """
    if not layers:
        msg = "layers must hold at least one analysed layer; got none"
        raise ValueError(msg)
    missing = sorted({seed for _, seed in layers} - set(initial_largest))
    if missing:
        msg = f"initial_largest must have a value for every seed; there is none for {', '.join(map(str, missing))}"
        raise ValueError(msg)
    bulks = {key: s.bulk for key, s in layers.items() if s.bulk is not None}
    if unfitted := [key for key in layers if key not in bulks]:
        msg = f"layers must have a bulk that can be fitted; {', '.join(map(str, unfitted))} have none"
        raise ValueError(msg)
    tested = {key: (s.spacing, s.number_variance) for key, s in layers.items() if s.spacing and s.number_variance}
    if untested := [key for key in layers if key not in tested]:
        msg = f"layers must have spacings that can be tested; {', '.join(map(str, untested))} have too few levels"
        raise ValueError(msg)
    curves = {key: curve for key, (_, curve) in tested.items()}
    rows = {
        (regime, seed): {
            "spacing p, scipy": tested[regime, seed][0].pvalue,
            "spacing p, calibrated": tested[regime, seed][0].calibrated_pvalue,
            f"number variance beyond L = {LONG}": curves[regime, seed].values[curves[regime, seed].L > LONG].mean(),
            "bulk fraction": bulks[regime, seed].bulk_fraction,
            "fitted edge over initial largest": bulks[regime, seed].nu_plus / initial_largest[seed],
            "levels above initial largest": np.sum(s.nu > initial_largest[seed]),
        }
        for (regime, seed), s in layers.items()
    }
    return pd.DataFrame(rows).T.rename_axis(["regime", "seed"])


def largest_initial(runs: Iterable[Run], layer: str = "dense2") -> dict[int, float]:
    """Largest singular value of a layer before training, by seed: runs of one seed share their initial weights.

    Parameters
    ----------
    runs : iterable of Run
    layer : str

    Returns
    -------
    dict of int to float
    """
    one = {run.config["seed"]: run for run in runs}
    return {seed: float(spectrum(initial(run, layer), vectors=False).nu[-1]) for seed, run in one.items()}


def long_range_spread(shape: tuple[int, int], *, a: int = 15, draws: int = 300, rng=0) -> float:
    """Standard deviation, from one noise matrix to the next, of the mean number variance beyond L = 10.

    Parameters
    ----------
    shape : tuple of int
        Of the matrix.
    a : int
        Half window of the unfolding.
    draws : int
        Number of noise matrices.
    rng : seed or numpy.random.Generator

    Returns
    -------
    float
        In the unit of the column of `describe`, the variance of a number of levels. 0.080 for 512 x 512; 3 s for 300 draws.

    Raises
    ------
    ValueError
        If ``draws`` is below 2, or the shape leaves fewer levels than intervals of length 20 need.
    """
    draws, rng = checks.integer(draws, "draws", at_least=2), np.random.default_rng(rng)
    L = LENGTHS[LENGTHS > LONG]
    means = [number_variance(unfold(noise_singular_values(shape, rng), a=a), L).mean() for _ in range(draws)]
    return float(np.std(means, ddof=1))


def sentences(table: pd.DataFrame, tests: EndTests, *, side: str, spread: float) -> dict[str, bool]:
    """Which of the paper's sentences (``SENTENCES``) are true of these networks.

    Parameters
    ----------
    table : pandas.DataFrame
        From `describe`.
    tests : EndTests
        From `end_tests`, of the same networks.
    side : {"output", "input"}
        The space whose vectors the sentences are about.
    spread : float
        From `long_range_spread`, for the shape of the layer.

    Returns
    -------
    dict of str to bool
        Notes tell how each is decided.

    Raises
    ------
    ValueError
        If ``side`` is neither space, ``spread`` is not above 0, or no rich network has the seed of a typical one.

    Notes
    -----
    C4: the typical networks dip at the large end and not at the small one. C5: the rich ones dip at the small end. C6: the lazy
    ones dip nowhere, and their fitted edge is on average within 5 % of the largest initial level. C7: beyond L = 10 the number
    variance of the lazy networks is on average not lower than that of the rich ones by more than noise matrices would differ in
    19 of 20 cases. C10: every rich network has more levels
    above the largest initial one than the typical one of the same seed. Thresholds and levels are ours; the paper gives none.
    """
    checks.choice(side, "side", ("output", "input"))
    if not spread > 0:
        msg = f"spread must be a number above 0; got {spread!r}"
        raise ValueError(msg)
    dips, mean = tests.dips[side], table.groupby(level="regime", sort=False).mean()
    edge, long_range = mean["fitted edge over initial largest"], mean[f"number variance beyond L = {LONG}"]
    large = table["levels above initial largest"]
    more = (large["rich"] - large["typical"]).dropna()
    if more.empty:
        msg = "table must have a rich and a typical network of the same seed"
        raise ValueError(msg)
    networks = table.groupby(level="regime").size()
    by_chance = 1.645 * spread * np.sqrt(1 / networks["lazy"] + 1 / networks["rich"])
    return {
        "C4": bool(dips.loc["typical", "large"] and not dips.loc["typical", "small"]),
        "C5": bool(dips.loc["rich", "small"]),
        "C6": bool(not dips.loc["lazy"].any() and abs(edge["lazy"] - 1) < EDGE_STAYS),
        "C7": bool(long_range["rich"] - long_range["lazy"] < by_chance),
        "C10": bool((more > 0).all()),
    }


def sentence_outcomes(
    held: Mapping[str, Mapping[str, bool]], table: pd.DataFrame, tests: EndTests, *, space: str, spread: float
) -> dict[str, Outcome]:
    """The sentences as entries of a ledger, with the numbers behind them.

    Parameters
    ----------
    held : mapping of str to mapping of str to bool
        From `sentences`, by space.
    table, tests, spread
        As for `sentences`.
    space : {"output", "input"}
        That of the paper's vectors. C6 has to hold in both.
    """
    mean, networks = table.groupby(level="regime", sort=False).mean(), table.groupby(level="regime").size()
    long_range = mean[f"number variance beyond L = {LONG}"]
    ends = {regime: ends_in_words(tests, regime, space) for regime in mean.index}
    return {
        "C4": Outcome(held[space]["C4"], ends=ends["typical"]),
        "C4_input": Outcome(held["input"]["C4"], ends=ends_in_words(tests, "typical", "input")),
        "C5": Outcome(held[space]["C5"], ends=ends["rich"]),
        "C6": Outcome(
            all(own["C6"] for own in held.values()),
            ends=ends["lazy"],
            edge=mean["fitted edge over initial largest"]["lazy"],
        ),
        "C7": Outcome(
            held[space]["C7"],
            means=in_words(long_range, ".2f"),
            difference=long_range["lazy"] - long_range["rich"],
            by_chance=spread * np.sqrt(1 / networks["rich"] + 1 / networks["lazy"]),
        ),
        "C10": Outcome(held[space]["C10"], counts=in_words(mean["levels above initial largest"], ".1f")),
    }


def spacing_outcomes(spacings: pd.DataFrame, layer: str) -> dict[str, Outcome | float]:
    """What the spacings of all layers say of N4 and of C1, and those of one layer of F3b.

    Parameters
    ----------
    spacings : pandas.DataFrame
        From `studies.layers.spacings_table`, by regime and layer.
    layer : str
        That of figure 3.
    """
    p, smallest = spacings["p, calibrated"].astype(float), spacings["p, scipy"].min()
    (regime, name), allowed, of_figure = p.idxmin(), 0.05 / len(p), p.xs(layer, level=-1)
    return {
        "smallest_p": smallest,
        "smallest_calibrated_p": p.min(),
        "layers_tested": len(p),
        "layers_passing": (p > allowed).sum(),
        "familywise": allowed,
        "N4": Outcome(smallest > REJECTS_NONE, layers=len(p), smallest=smallest),
        "C1_none": Outcome(
            p.min() > allowed, layers=len(p), smallest=p.min(), allowed=allowed, where=f"{name} of the {regime} network"
        ),
        "F3b": Outcome(of_figure.min() > 0.05 / len(of_figure), p=in_words(of_figure, ".2f")),
    }
