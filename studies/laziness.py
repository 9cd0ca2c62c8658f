"""From rich to lazy: accuracies of networks and of their linearisations over the laziness, and what a verdict hangs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

import rmtlib
from rmtlib.claims import Outcome
from rmtlib.runs import Run, find_runs, initial, load_run

from . import verdicts
from .regimes import RECIPE

__all__ = [
    "between",
    "by_laziness",
    "centred_numbers",
    "end_tests_by_layer",
    "figure",
    "in_full",
    "layer_outcomes",
    "linear_table",
    "outcomes",
    "over_alpha",
    "sweep",
    "update_size",
    "window_numbers",
    "windows",
]

SHOWN = {
    "train_accuracy": "training",
    "linearized_train_accuracy": "training, linearised",
    "test_accuracy": "test",
    "linearized_test_accuracy": "test, linearised",
    "gap": "test, gap",
}
LONG = 10  # intervals of number variance beyond this length are long


def sweep(measured: pd.DataFrame, *, network: str = "mlp512", folder=None, **settings) -> pd.DataFrame:
    """All networks of the recipe, in the order of laziness and seed, with the accuracies of their linearisations.

    Parameters
    ----------
    measured : pandas.DataFrame
        From `studies.linearized.read`.
    network : str
    folder : path, optional
        Folder of runs; by default the book's.
    **settings
        Values of the `TrainingConfig` that differ from the recipe as stated, such as ``centred=True``.

    Returns
    -------
    pandas.DataFrame
        Rows of ``measured``, accuracies as shares, with the columns ``laziness`` and ``seed``. Of a run that was not measured,
        the accuracies of its linearisation are NaN.
    """
    runs = find_runs(folder=folder, network=network, **RECIPE | settings)
    place = {key: [run.config[key] for run in runs] for key in ("laziness", "seed")}
    known = {f"{images}_accuracy": [getattr(run, f"{images}_accuracy") for run in runs] for images in ("train", "test")}
    return measured.reindex([run.name for run in runs]).assign(**known, **place)


def by_laziness(networks: pd.DataFrame) -> pd.DataFrame:
    """Means over the networks of each laziness, accuracies and their gap in per cent, and the number of networks."""
    groups = networks.groupby("laziness")
    return (100 * groups[list(SHOWN)].mean()).rename(columns=SHOWN).assign(networks=groups.size())


def linear_table(networks: pd.DataFrame, *, folder=None, layer: str = "dense2") -> pd.DataFrame:
    """How linear networks are in what one layer has learned, means over the networks of each laziness.

    Returns
    -------
    pandas.DataFrame
        Test accuracy of the network with the layer set back to its initial value, in per cent; gaps on test and on training
        images, in points; error of the linearised logits, relative to what the learning of the layer changes in them; of the test
        accuracy that this learning adds, the share that the linearisation keeps, in per cent; the laziness times the relative
        size of the update. What was not measured is NaN.
    """
    moved = {name: update_size(load_run(name, folder=folder), layer) for name in networks.index}
    added = networks["test_accuracy"] - networks["reset_test_accuracy"]
    rows = pd.DataFrame(
        {
            "laziness": networks["laziness"],
            "set back, %": 100 * networks["reset_test_accuracy"],
            "gap, test": 100 * networks["gap"],
            "gap, training": 100 * (networks["train_accuracy"] - networks["linearized_train_accuracy"]),
            "error of the logits": networks["logit_error"],
            "kept, %": 100 * (networks["linearized_test_accuracy"] - networks["reset_test_accuracy"]) / added,
            "α × update": networks["laziness"] * pd.Series(moved),
        }
    )
    return rows.groupby("laziness").mean()


def centred_numbers(stated: pd.DataFrame, centred: pd.DataFrame, layer: str = "dense2") -> dict[str, float]:
    """What subtracting the untrained logits changes in the laziest networks, for the ledger.

    Parameters
    ----------
    stated, centred : pandas.DataFrame
        From `sweep`, of the recipe as stated and with centred logits.
    layer : str

    Returns
    -------
    dict of str to float
        Number of centred networks, their laziness times the relative update at 5 and at 10, and at 10 both recipes' accuracies on
        training and test images, in per cent.
    """
    update = linear_table(centred, layer=layer)["α × update"]
    found: dict[str, float] = {
        "centred_networks": len(centred),
        "update_centred_5": update[5.0],
        "update_centred_10": update[10.0],
    }
    for name, networks in (("stated", stated), ("centred", centred)):
        means = by_laziness(networks).loc[10.0]
        found |= {f"{name}_10_{images}": float(means[images]) for images in ("training", "test")}
    return found


def in_full(networks: pd.DataFrame) -> str:
    """How many networks of each laziness were measured with the weights of all their layers, in words."""
    counts = networks.dropna(subset="logit_error").groupby("laziness").size()
    told = []
    for count, own in counts.groupby(counts):
        *others, last = (f"{alpha:g}" for alpha in own.index)
        where = f"{', '.join(others)} and {last}" if others else last
        told.append(f"{count} network{'s' * (count > 1)}{' each' * bool(others)} at α = {where}")
    return ", ".join(told)


def update_size(run: Run, layer: str = "dense2") -> float:
    """Frobenius norm of the update of a layer over that of its initial matrix."""
    W, W0 = rmtlib.load_weights(run)[layer].matrix, initial(run, layer)
    return float(np.linalg.norm(W - W0) / np.linalg.norm(W0))


def outcomes(networks: pd.DataFrame) -> dict[str, Outcome]:
    """C8-between, C9, C9-train, E7 and E8 as entries of a ledger, by the criteria of ``paper.toml``.

    Parameters
    ----------
    networks : pandas.DataFrame
        From `sweep`.
    """
    points = {
        "C9": 100 * networks["gap"],
        "C9_train": 100 * (networks["train_accuracy"] - networks["linearized_train_accuracy"]),
    }
    gaps = {id: _gaps(values, networks["laziness"]) for id, values in points.items()}
    found = {"C8_between": between(networks)} | {id: _equally_good(id.replace("_", "-"), own) for id, own in gaps.items()}
    lazy, rich = gaps["C9"][5.0], gaps["C9"][0.5]
    found["E7"] = Outcome(verdicts.equivalent(lazy, 0.0, verdicts.margin("E7")), says=f"gap {lazy.words()} points")
    found["E8"] = Outcome(verdicts.above(rich, verdicts.margin("E8")), says=f"gap {rich.words()} points")
    return found


def _gaps(values, laziness):
    """Interval of each laziness; where there are fewer than three networks, with the scatter of the five at 5."""
    values = values.dropna()
    usual = values[laziness.loc[values.index] == 5.0]
    return {alpha: verdicts.interval(own, others=usual) for alpha, own in values.groupby(laziness.loc[values.index])}


def _equally_good(id, gaps):
    words = {alpha: verdicts.equivalent(gap, 0.0, verdicts.margin(id)) for alpha, gap in gaps.items() if alpha > 1}
    shown = ", ".join(
        f"{gaps[alpha].mean:+.1f} at α = {alpha:g} ({gaps[alpha].low:+.1f} to {gaps[alpha].high:+.1f})" for alpha in words
    )
    few = [f"{alpha:g}" for alpha in words if gaps[alpha].borrowed]
    note = f"; fewer than three networks at α = {', '.join(few)}, scatter of α = 5" if few else ""
    return Outcome(verdicts.worst(words.values()), says=f"gap in points {shown}{note}")


def between(networks: pd.DataFrame) -> Outcome:
    """C8-between: the best laziness between rich and lazy on seed 0, and what it leads by on the other seeds."""
    accuracy = 100 * networks.pivot(index="seed", columns="laziness", values="test_accuracy")
    inside = accuracy.loc[0, [alpha for alpha in accuracy if 0.5 < alpha < 5]]
    best = inside.idxmax()
    leads = {other: (accuracy[best] - accuracy[other]).drop(index=0).dropna() for other in (0.5, 5.0)}
    count = int(accuracy[best].count())
    if count < verdicts.FEWEST:
        trained = f"{count} network was" if count == 1 else f"{count} networks were"
        says = f"best on seed 0 is α = {best:g}, of which {trained} trained and {verdicts.FEWEST} are asked for"
        return Outcome("not tested here", says=says)
    usual = {other: (accuracy[1.0] - accuracy[other]).dropna() for other in leads}
    found = {other: verdicts.interval(lead, others=usual[other]) for other, lead in leads.items()}
    return Outcome(
        verdicts.worst(verdicts.above(lead) for lead in found.values()),
        says=f"best on seed 0 is α = {best:g}; on the others it leads "
        + ", ".join(f"α = {o:g} by {x.words()}" for o, x in found.items()),
    )


def figure(found: Mapping[str, Outcome]) -> Outcome:
    """F4: the worst of its sentences."""
    words = {id.replace("_", "-"): str(found[id].verdict) for id in ("C8_between", "C9", "C9_train")}
    return Outcome(verdicts.worst(words.values()), says=", ".join(f"{id} {word}" for id, word in words.items()))


def layer_outcomes(tests: Mapping[str, rmtlib.EndTests]) -> dict[str, Outcome | int]:
    """In how many layers vectors dip at the large end, regime by regime, and whether any layer dips at the small end."""
    large = {regime: 0 for regime in next(iter(tests.values())).dips.index}
    for test in tests.values():
        for regime in large:
            large[regime] += bool(test.dips.loc[regime].xs("large", level=1).any())
    small = pd.concat([test.dips.xs("small", axis=1, level=1) for test in tests.values()])
    dips = int(small.to_numpy().sum())
    counts: dict[str, Outcome | int] = {f"layers_dip_{regime}": count for regime, count in large.items()}
    return counts | {"layers_in_all": len(tests), "small_end_dips": Outcome(dips > 0, dips=dips, tests=small.size)}


def window_numbers(table: pd.DataFrame) -> dict[str, float]:
    """Smallest p, and number variance of the lazy over that of the rich layer, for every half window of `windows`."""
    found, long_range = {}, f"number variance beyond L = {LONG}"
    for window, rows in table.groupby(level=0):
        rows, a = rows.droplevel(0), str(window).removeprefix("a = ")
        found[f"window_p_{a}"] = rows["spacing p, calibrated"].min()
        found[f"window_lazy_{a}"] = rows[long_range]["lazy"] / rows[long_range]["rich"]
    return found


def end_tests_by_layer(networks: Mapping[str, Mapping], *, a: int = 15) -> dict[str, rmtlib.EndTests]:
    """Tests of the vectors at both ends, layer by layer, of one network a regime."""
    names = list(next(iter(networks.values())))
    return {
        name: rmtlib.end_tests({(regime, 0): rmtlib.analyse(weights[name], a=a) for regime, weights in networks.items()})
        for name in names
    }


def windows(matrices: Mapping[str, np.ndarray], half_windows: Sequence[int]) -> pd.DataFrame:
    """Spacings and long-range number variance of the same levels, unfolded with several half windows."""
    L, rows = np.linspace(LONG + 0.5, 20, 20), {}
    for a in half_windows:
        for regime, W in matrices.items():
            xi = rmtlib.unfold(rmtlib.spectrum(W, vectors=False).nu, a=a)
            rows[f"a = {a}", regime] = {
                "spacing p, calibrated": rmtlib.spacing_test(xi, a=a).calibrated_pvalue,
                f"number variance beyond L = {LONG}": rmtlib.number_variance(xi, L).mean(),
            }
    return pd.DataFrame(rows).T


def over_alpha(layer: str = "dense2", *, network: str = "mlp512", seed: int = 0, a: int = 15, folder=None) -> pd.DataFrame:
    """One layer of the networks of one seed over the laziness: accuracy, outliers, and the mean p of the vectors at the ends."""
    rows = {}
    for run in find_runs(folder=folder, network=network, seed=seed, **RECIPE):
        s = rmtlib.analyse(rmtlib.load_weights(run)[layer], a=a)
        output = rmtlib.end_means(s.output)
        rows[run.config["laziness"]] = {
            "test accuracy, %": 100 * run.test_accuracy,
            "levels beyond the edge": s.bulk.n_outliers if s.bulk else np.nan,
            "large end, output": output.large,
            "large end, input": rmtlib.end_means(s.input).large,
            "small end, output": output.small,
        }
    return pd.DataFrame(rows).T.rename_axis("α")
