"""MLP1024 and miniAlexNet: the panels of the paper's figures 1 and 2 that are about networks other than MLP512."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

import rmtlib
from rmtlib.claims import Outcome, Untested
from rmtlib.null_laws import noise_singular_values
from rmtlib.runs import Run, RunError, find_runs, initial

from . import verdicts
from .exponents import recipe_of
from .layers import LevelStatistics, fewest_levels, level_statistics
from .measured import FEW
from .randomness import spacings_none, variance_ratio

__all__ = [
    "PANELS",
    "Panels",
    "beside_update",
    "every_layer",
    "figure_outcomes",
    "finished",
    "initial_matrix",
    "layer_ends",
    "level_statistics_of",
    "noise_ratios",
    "numbers",
    "overview",
    "panels_of",
    "spacings_outcome",
    "variance_outcome",
    "variance_table",
    "vectors_outcome",
]


@dataclass(frozen=True)
class Panels:
    """What the paper draws of one network.

    Attributes
    ----------
    spacings, number_variance, vectors, table : str
        Ids of its panels and of its rows of table 2.
    layer : str
        The matrix of figure 1.
    pvalue : float
        Of its spacings, in the paper.
    shown : tuple of str
        Layers of figure 2.
    command : str
        How to train it.
    """

    spacings: str
    number_variance: str
    vectors: str
    table: str
    layer: str
    pvalue: float
    shown: tuple[str, ...]
    command: str


LONGEST = 20.0  # interval of the number variance, in mean spacings
MIDDLE = (0.025, 0.975)
REACH = "as large, %"
TRAIN = "rmtlib run chapters/09_training.md -p dataset cifar10 -p epochs 100 -p network"
MINI = Panels(
    "F1a2",
    "F1b2",
    "F2d",
    "T2-minialexnet",
    "conv2",
    0.85,
    ("conv2", "dense1"),
    f"{TRAIN} minialexnet -p weight_decay 0.0002",
)
PANELS = {
    "mlp1024": Panels("F1a1", "F1b1", "F2b", "T2-mlp1024", "dense2", 0.81, ("dense2",), f"{TRAIN} mlp1024"),
    "minialexnet": MINI,
    "minialexnet3x3": replace(
        MINI, command=f"{TRAIN} minialexnet3x3 -p learning_rate 0.01 -p momentum 0.0 -p weight_decay 0.0002"
    ),
}


def finished(names: Iterable[str], *, laziness: float = 1.0, folder=None) -> dict[str, list[Run]]:
    """Finished runs of these networks, reading by reading.

    Returns
    -------
    dict of str to list of Run
        Networks that differ in their seeds alone stand together, by the name of the network. Further recipes of one network have
        their differences behind its name. A network without a run is left out.
    """
    found: dict[str, list[Run]] = {}
    for name in names:
        try:
            runs = find_runs(folder=folder, network=name, laziness=laziness)
        except RunError:
            continue
        recipes: dict[str, list[Run]] = {}
        for run in runs:
            recipes.setdefault(recipe_of(run), []).append(run)
        for i, (recipe, own) in enumerate(sorted(recipes.items())):
            differences = recipe.removeprefix(f"{name}-{own[0].config['dataset']}-")
            found[f"{name} {differences}" if i else name] = own
    return found


def panels_of(runs: Sequence[Run]) -> Panels:
    """What the paper draws of the network that these runs are of."""
    return PANELS[runs[0].config["network"]]


def overview(runs: Mapping[str, list[Run]]) -> pd.DataFrame:
    """How many networks of each reading there are, their epochs and test accuracies, or how to train one."""
    rows = {
        name: {
            "networks": len(own := runs.get(name, [])),
            "epochs": ", ".join(str(run.config["epochs"]) for run in own),
            "test accuracy, %": ", ".join(f"{100 * run.test_accuracy:.1f}" for run in own),
            **({} if own else {"how to train it": PANELS[name].command}),
        }
        for name in dict.fromkeys([*PANELS, *runs])
    }
    return pd.DataFrame(rows).T


def initial_matrix(run: Run, layer: str) -> np.ndarray:
    """Initial weights of a layer as `rmtlib.load_weights` orients its trained ones, of shape (n_out, n_in)."""
    return rmtlib.load_weights({layer: initial(run, layer)})[layer].matrix


def level_statistics_of(runs: Mapping[str, list[Run]], *, a: int = 15) -> dict[tuple[str, str, str], LevelStatistics]:
    """Levels of the matrices of figure 1 by reading, layer and "initial" or "trained"; the first run of each reading."""
    found = {}
    for name, own in runs.items():
        run, layer = own[0], panels_of(own).layer
        found[name, layer, "initial"] = level_statistics(initial_matrix(run, layer), a=a)
        found[name, layer, "trained"] = level_statistics(rmtlib.load_weights(run)[layer].matrix, a=a)
    return found


def every_layer(runs: Mapping[str, list[Run]], *, a: int = 15) -> dict[tuple[str, int, str], rmtlib.LayerAnalysis]:
    """Every layer that has enough levels for its spacings, of all runs, by reading, seed and layer."""
    return {
        (name, run.config["seed"], layer): rmtlib.analyse(weight, a=a)
        for name, own in runs.items()
        for run in own
        for layer, weight in rmtlib.load_weights(run, min_levels=fewest_levels(a)).items()
    }


def noise_ratios(shape: tuple[int, int], networks: int, *, a: int = 15, draws: int = 300, rng=0) -> np.ndarray:
    """Number variance over its law, L from 1 to 20, in noise of a shape: means over as many matrices as there are networks."""
    rng = np.random.default_rng(rng)
    spectra = (noise_singular_values(shape, rng) for _ in range(draws * networks))
    return np.array([variance_ratio(nu, a=a, longest=LONGEST) for nu in spectra]).reshape(draws, networks).mean(axis=1)


def figure_outcomes(
    runs: Mapping[str, list[Run]],
    every: Mapping[tuple[str, int, str], rmtlib.LayerAnalysis],
    noise: Mapping[str, np.ndarray],
    *,
    space: str = "output",
) -> dict[str, Outcome | Untested]:
    """Panels of figures 1 and 2 and rows of table 2, decided by the criteria of ``paper.toml``.

    Parameters
    ----------
    runs : mapping of str to list of Run
        From `finished`.
    every : mapping
        From `every_layer`.
    noise : mapping of str to array
        From `noise_ratios`, by reading.
    space : str
        Of the vectors of figure 2.

    Returns
    -------
    dict of str to Outcome or Untested
        By id. Of several readings each is judged by itself, and what holds in all of them counts.
    """
    found: dict[str, dict[str, Outcome]] = {}
    for name, own_runs in runs.items():
        panels, epochs = panels_of(own_runs), own_runs[0].config["epochs"]
        kind = f"; reconstructed network, {epochs} epochs" if "minialexnet" in name else ""
        own = {key[1:]: s for key, s in every.items() if key[0] == name}
        of_layer = [s for (_, layer), s in own.items() if layer == panels.layer]
        shown = {wanted: [s for (_, layer), s in own.items() if layer == wanted] for wanted in panels.shown}
        seeds = len({seed for seed, _ in own})
        of_seeds = f"; {seeds} seed" + "s" * (seeds > 1)
        outcomes = {
            panels.spacings: spacings_outcome(panels.spacings, of_layer, kind),
            panels.number_variance: variance_outcome([s.nu for s in of_layer], noise[name], kind, a=of_layer[0].a),
            panels.vectors: vectors_outcome(shown, space, of_seeds + kind),
            panels.table: _none(panels.table, list(own.values()), kind),
        }
        for id, outcome in outcomes.items():
            found.setdefault(id, {})[name] = outcome
    commands = {id: p.command for p in reversed(PANELS.values()) for id in (p.spacings, p.number_variance, p.vectors, p.table)}
    return {id: _of_all(found[id]) if id in found else Untested(command) for id, command in commands.items()}


def _of_all(readings):
    if len(readings) == 1:
        return next(iter(readings.values()))
    word = verdicts.worst(str(outcome.verdict) for outcome in readings.values())
    told = [f"{name}: {outcome.verdict}, {outcome.numbers['says']}" for name, outcome in readings.items()]
    return Outcome(word, says="; ".join(told))


def _none(id, layers, kind):
    p, levels = [s.spacing.calibrated_pvalue for s in layers], [len(s.nu) for s in layers]
    outcome = spacings_none(id, pd.Series(p), pd.Series(levels))
    return Outcome(outcome.verdict, says=outcome.numbers["says"] + kind)


def spacings_outcome(id: str, layers: Sequence[rmtlib.LayerAnalysis | LevelStatistics], note: str = "") -> Outcome:
    """Spacings of one layer of every network by the criterion C1-none; ``id`` is the sentence whose level counts."""
    shown = " and ".join(f"{s.spacing.pvalue:.2f}" for s in layers if s.spacing)
    outcome = _none(id, layers, note)
    return Outcome(outcome.verdict, says=f"p = {shown} (scipy); {outcome.numbers['says']}")


def variance_outcome(spectra: Sequence[np.ndarray], noise: np.ndarray, note: str = "", *, a: int = 15) -> Outcome:
    """Number variance of one layer of every network by the criterion F1b1: a ratio in the band of noise.

    Parameters
    ----------
    spectra : sequence of array
        Singular values of the layer, one network after the other.
    noise : array
        From `noise_ratios`, of its shape and as many networks.
    note : str
        Comes last in what the outcome says.
    a : int
        Half window of the unfolding.
    """
    ratio = float(np.mean([variance_ratio(nu, a=a, longest=LONGEST) for nu in spectra]))
    word, smallest = verdicts.within_band(ratio, noise)
    low, high = np.quantile(noise, MIDDLE)
    seen = f"a ratio larger by {100 * smallest:.0f} % would be seen every second time"
    return Outcome(word, says=f"{ratio:.2f} of the filtered law up to L = 20, noise {low:.2f} to {high:.2f}; {seen}{note}")


def variance_table(
    runs: Mapping[str, list[Run]], noise: Mapping[str, np.ndarray], *, a: int = 15, draws: int = 100, rng=0
) -> pd.DataFrame:
    """Number variance over its law, L from 1 to 20, of the matrices of figure 1, beside two nulls: noise, and noise with update.

    The second null puts the layer's update on fresh noise in place of its initial matrix. Its spectra have the shape that
    training gave to this one, and their levels know nothing of each other beyond that.

    Parameters
    ----------
    runs : mapping of str to list of Run
        From `finished`.
    noise : mapping of str to array
        From `noise_ratios`, by reading.
    a : int
        Half window of the unfolding.
    draws : int
        Of noise under the update.
    rng : int or numpy.random.Generator

    Returns
    -------
    pandas.DataFrame
        By reading: means over its networks before and after training, the middle 95 % of noise, the median of noise with update,
        and the share of its draws that reach the trained mean, in per cent.
    """
    rng = np.random.default_rng(rng)

    def ratio(matrix):
        return variance_ratio(rmtlib.spectrum(matrix, vectors=False).nu, a=a, longest=LONGEST)

    rows = {}
    for name, own in runs.items():
        layer = panels_of(own).layer
        pairs = [(initial_matrix(run, layer), rmtlib.load_weights(run)[layer].matrix) for run in own]
        fresh = [
            np.mean([ratio(rng.normal(0, before.std(), before.shape) + after - before) for before, after in pairs])
            for _ in range(draws)
        ]
        means = [float(np.mean([ratio(matrix) for matrix in matrices])) for matrices in zip(*pairs, strict=True)]
        reach = 100 * np.mean(np.array(fresh) >= means[1])
        rows[name] = [*means, *np.quantile(noise[name], MIDDLE), np.median(fresh), reach]
    columns = ["before training", "trained", "noise from", "noise to", "noise + update", REACH]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def beside_update(table: pd.DataFrame) -> str:
    """How often noise with the update of a convolution reaches its number variance, reading by reading, in words."""
    found = table.loc[table.index.str.startswith("minialexnet"), REACH]
    return " and ".join(f"{share:.0f} % ({name})" for name, share in found.items())


def layer_ends(layers: Iterable[rmtlib.LayerAnalysis], space: str = "output") -> dict[str, tuple[float, str]]:
    """Mean p of fifteen vectors over networks and what it is, for both ends, as it is and biwhitened (``large_biwhitened``)."""
    layers, found = list(layers), {}
    for suffix in ("", "_biwhitened"):
        parts = [s.biwhitened if suffix else s for s in layers]
        if any(part is None for part in parts):
            continue
        means = [rmtlib.end_means(getattr(part, space)) for part in parts]
        for end in ("large", "small"):
            mean = float(np.mean([getattr(one, end) for one in means]))
            found[end + suffix] = mean, verdicts.end(mean, FEW * len(parts))
    return found


def vectors_outcome(layers: Mapping[str, Sequence[rmtlib.LayerAnalysis]], space: str = "output", note: str = "") -> Outcome:
    """Vectors of some layers by the criterion C4, in all of them: the large end dips and the small one does not.

    Parameters
    ----------
    layers : mapping of str to sequence of LayerAnalysis
        By name, one of every network.
    space : {"output", "input"}
    note : str
        Comes last in what the outcome says.
    """
    words, parts = [], []
    for name, own in layers.items():
        ends = layer_ends(own, space)
        words.append(verdicts.large_end_alone(ends["large"][1], ends["small"][1]))
        shown = ", ".join(
            f"{end.replace('_biwhitened', ' end without sizes')} {mean:.2f} ({word})" for end, (mean, word) in ends.items()
        )
        parts.append(f"{name}: {shown}")
    return Outcome(verdicts.worst(words), says="; ".join(parts) + note)


def numbers(
    runs: Mapping[str, list[Run]], every: Mapping[tuple[str, int, str], rmtlib.LayerAnalysis], *, space: str = "output"
) -> dict[str, float | str]:
    """Numbers of these networks that the text of their chapter gives; none where one is missing. As `figure_outcomes`."""
    if {"mlp1024", "minialexnet"} - runs.keys():
        return {}
    mini, seed = runs["minialexnet"][0], runs["minialexnet"][0].config["seed"]
    convolution = every["minialexnet", seed, "conv2"]
    names = list(dict.fromkeys(layer for network, _, layer in every if network == "mlp1024"))
    ends = {
        name: layer_ends((s for (n, _, layer), s in every.items() if (n, layer) == ("mlp1024", name)), space) for name in names
    }
    first = every["mlp1024", runs["mlp1024"][0].config["seed"], "dense2"]
    reconstructed = {name: own for name, own in runs.items() if "minialexnet" in name}
    return {
        "wide_ends": "; ".join(
            f"{name} {own['large'][0]:.2f} ({own['large'][1]}), {own['small'][0]:.2f} ({own['small'][1]})"
            for name, own in ends.items()
        ),
        "wide_accuracy": 100 * float(np.mean([run.test_accuracy for run in runs["mlp1024"]])),
        "wide_seeds": len(runs["mlp1024"]),
        "wide_outliers": int(first.row()["outliers"]),
        "mini_accuracies": ", ".join(
            f"{100 * run.test_accuracy:.1f} % after {run.config['epochs']} epochs ({name})"
            for name, own in reconstructed.items()
            for run in own
        ),
        "mini_networks": sum(map(len, reconstructed.values())),
        "mini_decay": mini.config["learning_rate_decay"],
        "mini_levels": len(convolution.nu) - 4 * convolution.a,
        "mini_filters": len(convolution.nu),
        "mini_outliers": int(convolution.row()["outliers"]),
    }
