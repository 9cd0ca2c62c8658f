"""From rich to lazy: accuracies of networks and of their linearisations over the laziness, and what a verdict hangs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

import rmtlib
from rmtlib.claims import Outcome
from rmtlib.runs import find_runs

from .regimes import LONG, RECIPE

__all__ = [
    "by_laziness",
    "end_tests_by_layer",
    "gap_outcome",
    "layer_outcomes",
    "lead_of_typical",
    "outcomes",
    "over_alpha",
    "sweep",
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
SMALL_GAP = 2.0  # points: E7 and E8


def sweep(measured: pd.DataFrame, *, network: str = "mlp512", folder=None) -> pd.DataFrame:
    """All networks of the recipe as stated, in the order of laziness and seed, with the accuracies of their linearisations.

    Parameters
    ----------
    measured : pandas.DataFrame
        From `studies.linearized.read`.
    network : str
    folder : path, optional
        Folder of runs; by default the book's.

    Returns
    -------
    pandas.DataFrame
        Rows of ``measured``, accuracies as shares, with the columns ``laziness`` and ``seed``.

    Raises
    ------
    KeyError
        If a run was not measured.
    """
    runs = find_runs(folder=folder, network=network, **RECIPE)
    settings = {key: [run.config[key] for run in runs] for key in ("laziness", "seed")}
    return measured.loc[[run.name for run in runs]].assign(**settings)


def by_laziness(networks: pd.DataFrame) -> pd.DataFrame:
    """Means over the networks of each laziness, accuracies and their gap in per cent, and the number of networks."""
    groups = networks.groupby("laziness")
    return (100 * groups[list(SHOWN)].mean()).rename(columns=SHOWN).assign(networks=groups.size())


def gap_outcome(networks: pd.DataFrame, laziness: float, *, small: bool) -> Outcome:
    """Whether the mean gap on test images is below two points (``small``), or not: E7 and E8."""
    gap = 100 * networks.loc[networks["laziness"] == laziness, "gap"]
    return Outcome(bool((gap.mean() < SMALL_GAP) == small), laziness=laziness, gap=gap.mean(), sem=gap.sem(), seeds=len(gap))


def lead_of_typical(networks: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of typical minus that of rich and of lazy networks, paired by seed, in points with their standard errors."""
    by_seed = 100 * networks.pivot(index="seed", columns="laziness", values="test_accuracy")[[0.5, 1, 5]].dropna()
    leads = {"rich": by_seed[1] - by_seed[0.5], "lazy": by_seed[1] - by_seed[5]}
    return pd.DataFrame({name: {"points": lead.mean(), "s.e.": lead.sem(), "seeds": len(lead)} for name, lead in leads.items()}).T


def outcomes(networks: pd.DataFrame) -> dict[str, Outcome | float]:
    """C8, C9, E7 and E8 as entries of a ledger.

    Parameters
    ----------
    networks : pandas.DataFrame
        From `sweep`.

    Notes
    -----
    C9: every gap above laziness 1 is less than half of the mean one below it. C8: typical networks lead rich and lazy ones by
    more than two standard errors over seeds; C8_between: the best laziness is none of the ends.
    """
    means, ahead = by_laziness(networks), lead_of_typical(networks)
    gap, best = means["test, gap"], means["test"].idxmax()
    leads = {f"{name}{'_sem' * (column == 's.e.')}": ahead[column][name] for name in ahead.index for column in ("points", "s.e.")}
    return {
        "C9": Outcome(
            gap[gap.index > 1].max() < 0.5 * gap[gap.index < 1].mean(),
            gaps=", ".join(f"{value:.1f} at α = {alpha:g}" for alpha, value in gap.items()),
        ),
        "E7": gap_outcome(networks, 5, small=True),
        "E8": gap_outcome(networks, 0.5, small=False),
        "C8_lead": means["test"].max() - means["test"][0.5],
        "C8_between": Outcome(means.index[0] < best < means.index[-1], best=best),
        "C8": Outcome((ahead["points"] > 2 * ahead["s.e."]).all(), **leads, seeds=ahead["seeds"]["rich"]),
    }


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
