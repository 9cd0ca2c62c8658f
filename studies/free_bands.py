"""Free addition put to the test: is a trained layer what its update makes of fresh noise? Bands over draws, and their null.

Thirty bands of 95 % hold together once in five times even for noise. A band here is that of one further normal number, by
Student's t, at the level of ``paper.toml`` over the number of bands that have to hold.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.stats

from rmtlib import checks
from rmtlib.claims import Outcome
from rmtlib.learning import Dataset, Run
from rmtlib.runs import book_data

from . import bulk_origin, verdicts

__all__ = ["inside", "judged", "measure", "read"]

STATISTICS = ("lower", "outliers")


def measure(
    run: Run, data: Dataset | None = None, *, layer: str = "dense2", draws: int = 200, turns: int = 20, bands: int = 30, rng=0
) -> pd.DataFrame:
    """A trained layer, and its update turned at random, within bands of fresh noise plus update.

    Parameters
    ----------
    run : Run
    data : Dataset, optional
        As in the other studies; weights alone are looked at.
    layer : str
        Name of the layer.
    draws : int
        Of fresh noise, whose mean and standard deviation give the band.
    turns : int
        Updates turned at random, which have to lie in the band but for chance.
    bands : int
        That have to hold together: two a network.
    rng : seed or numpy.random.Generator

    Returns
    -------
    pandas.DataFrame
        One row, with ``run`` and ``layer``; for the mean square of the ``lower`` levels and the number of ``outliers``
        (`studies.bulk_origin.statistics`) the trained value, that of the initial matrix (``_initial``), of the draws mean,
        standard deviation and the ends of the band (``_mean``, ``_sd``, ``_low``, ``_high``), and how many of the ``turns`` lie
        in it (``_turned``).

    Raises
    ------
    ValueError
        If there are fewer than 40 draws, no turn or no band.
    """
    bands = checks.integer(bands, "bands", at_least=1)
    draws, turns = checks.integer(draws, "draws", at_least=40), checks.integer(turns, "turns", at_least=1)
    rng, origin = np.random.default_rng(rng), bulk_origin.of_run(run, layer)

    def values(spectra):
        return pd.DataFrame([bulk_origin.statistics(nu, origin) for nu in spectra])

    fresh = values(origin.draw(rng) for _ in range(draws))
    turned = values(bulk_origin.turned(origin, rng).trained_nu for _ in range(turns))
    trained, start = values([origin.trained_nu]).loc[0], values([origin.start_nu]).loc[0]
    row: dict[str, object] = {"run": run.name, "layer": layer, "draws": draws, "turns": turns, "bands": bands}
    level = verdicts.level("B-free-addition") / bands
    half = float(scipy.stats.t.ppf(1 - level / 2, draws - 1)) * np.sqrt(1 + 1 / draws)
    for name in STATISTICS:
        mean, sd = fresh[name].mean(), fresh[name].std()
        low, high = mean - half * sd, mean + half * sd
        row |= {name: trained[name], f"{name}_initial": start[name], f"{name}_mean": mean, f"{name}_sd": sd}
        row |= {f"{name}_low": low, f"{name}_high": high, f"{name}_turned": int(turned[name].between(low, high).sum())}
    return pd.DataFrame([row])


def read() -> pd.DataFrame:
    """The rows that `measure` found, as the data of the book hold them."""
    return pd.read_csv(book_data() / "free_addition.csv")


def inside(table: pd.DataFrame) -> pd.DataFrame:
    """Whether the trained values of `measure` lie in their bands: a row a network, a column a statistic.

    Raises
    ------
    ValueError
        If there are more networks than the bands allow for.
    """
    needed = len(STATISTICS) * len(table)
    if table["bands"].min() < needed:
        msg = f"table must have bands of at least {needed} for {len(table)} networks; got {table['bands'].min()}"
        raise ValueError(msg)
    return pd.DataFrame({name: table[name].between(table[f"{name}_low"], table[f"{name}_high"]) for name in STATISTICS})


def judged(table: pd.DataFrame | None = None) -> Outcome:
    """B-free-addition: whether trained values lie in their bands, and the share of the change that the prediction gives.

    Parameters
    ----------
    table : pandas.DataFrame, optional
        Of `measure`, a row a network; by default what the data of the book hold.
    """
    table = read() if table is None else table
    within = inside(table)
    turned = sum(table[f"{name}_turned"].sum() for name in STATISTICS) / (len(STATISTICS) * table["turns"].sum())
    change = table["lower"] - table["lower_initial"]
    share = (table["lower_mean"] - table["lower_initial"]).sum() / change.sum()
    says = (
        f"in the band: lower levels of {within['lower'].sum()}, outliers of {within['outliers'].sum()} of {len(table)} networks; "
        f"the prediction gives {share:.0%} of the change of the lower levels, summed over the networks; of "
        f"{table['turns'].iloc[0]} random turns of each update {turned:.0%} are in the band"
    )
    return Outcome(bool(within.to_numpy().all()), says=says)
