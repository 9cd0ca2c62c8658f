"""A network compared with itself plus noise, with itself plus planted directions, and with what training made of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

import rmtlib
from rmtlib.comparison import Comparison
from rmtlib.runs import Run, initial
from rmtlib.subspaces import Intruders

__all__ = [
    "before",
    "by_threshold",
    "counted",
    "hidden",
    "hidden_numbers",
    "in_bfloat16",
    "intruder_numbers",
    "numbers",
    "with_update",
]


def before(run: Run) -> dict[str, np.ndarray]:
    """Initial weights of every layer of a run that can be analysed, by name."""
    return {layer: initial(run, layer) for layer in rmtlib.load_weights(run)}


def with_update(
    network: Mapping[str, np.ndarray], *, noise: float, rank: int = 0, times: float = 0.0, seed: int = 0
) -> dict[str, np.ndarray]:
    """A network plus an update that is known.

    Parameters
    ----------
    network : mapping of str to numpy.ndarray
        Matrices by name.
    noise : float
        Size of the update's noise over that of the matrix.
    rank, times : int, float
        Number of its directions, and their strength in units of that from which on a direction shows beyond noise of this size.
    seed : int

    Returns
    -------
    dict of str to numpy.ndarray
    """
    tuned = {}
    for number, (name, W) in enumerate(network.items()):
        rng = np.random.default_rng([seed, number])
        sigma = noise * np.sqrt(np.mean(W**2, dtype=float))
        left, right = (np.linalg.qr(rng.standard_normal((side, max(rank, 1))))[0][:, :rank] for side in W.shape)
        strength = times * sigma * (W.shape[0] * W.shape[1]) ** 0.25
        tuned[name] = (W + sigma * rng.standard_normal(W.shape) + strength * left @ right.T).astype(np.float32)
    return tuned


def by_threshold(found: Intruders, thresholds: tuple[float, ...] = (0.5, 0.8)) -> pd.DataFrame:
    """How many top vectors have no base vector within a cosine, in the update and on average in noise of its sizes.

    Returns
    -------
    pandas.DataFrame
        A row a threshold; the last one has the count by p < 0.05.
    """
    rows: dict[str, tuple[int, float]] = {
        f"cosine < {at:g}": (int(np.sum(found.cosines < at)), float(np.mean(np.sum(found.noise < at, axis=1))))
        for at in thresholds
    }
    rows["p < 0.05"] = (found.count, found.expected)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["update", "noise"])


def in_bfloat16(W: np.ndarray) -> np.ndarray:
    """The nearest numbers that bfloat16 has, as float32."""
    bits = np.ascontiguousarray(W, dtype=np.float32).view(np.uint32)
    odd = (bits >> 16) & 1  # ties go to even
    return ((bits + 0x7FFF + odd) & np.uint32(0xFFFF0000)).view(np.float32)


def hidden(start: np.ndarray, end: np.ndarray, shares: tuple[float, ...] = (1.0, 0.1, 0.01)) -> pd.DataFrame:
    """What is left of a share of an update once both matrices are stored as bfloat16.

    Returns
    -------
    pandas.DataFrame
        A row a share: size of the update before and after rounding, entries that did not change, and directions beyond noise
        (None where they cannot be counted) of the update before and after, all by `rmtlib.compare`.
    """
    rows = {}
    for share in shares:
        tuned = (start + share * (end.astype(float) - start)).astype(np.float32)
        plain, rounded = (
            rmtlib.compare({"w": stored(start)}, {"w": stored(tuned)}, progress=False).table.iloc[0]
            for stored in (np.asarray, in_bfloat16)
        )
        rows[share] = (plain["update_size"], rounded["update_size"], rounded["unchanged"], plain["rank"], rounded["rank"])
    columns = ["size", "size, rounded", "unchanged", "directions", "directions, rounded"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def numbers(table: pd.DataFrame, layer: str, prefix: str) -> dict[str, float]:
    """What the book says of one layer: size, overlap with the base in per cent, directions, cosine with the base."""
    (row,) = table[table["layer"] == layer].to_dict("records")
    return {
        f"{prefix}-size": 100 * row["update_size"],
        f"{prefix}-directions": row["rank"],
        f"{prefix}-cosine": row["alignment"],
        f"{prefix}-kept": 100 * row["overlap"],
        f"{prefix}-stable-rank": row["stable_rank_tuned"] / row["stable_rank_base"],
    }


def counted(null: Comparison, planted: Comparison, directions: int = 4) -> dict[str, float]:
    """What is found in an update of noise, and in how many layers of one with planted ``directions`` their number is right."""
    ranks = null.table["rank"]
    return {
        "null-directions": int(ranks.sum()),
        "null-layers": len(ranks),
        "planted-right": int((planted.table["rank"] == directions).sum()),
        "null-size": 100 * null.table["update_size"].mean(),
        "planted-size": 100 * planted.table["update_size"].mean(),
    }


def intruder_numbers(counts: Mapping[str, pd.DataFrame], vectors: Mapping[str, Intruders]) -> dict[str, float]:
    """Of each update the vectors below a cosine of one half, as many of noise, those that are new, and the p of these."""
    found: dict[str, float] = {}
    for name, count in counts.items():
        fixed = count.loc["cosine < 0.5"]
        found |= {f"{name}-fixed": fixed["update"], f"{name}-fixed-noise": fixed["noise"]}
        found |= {f"{name}-new": count.loc["p < 0.05", "update"], f"{name}-new-p": vectors[name].count_pvalue}
    return found


def hidden_numbers(table: pd.DataFrame) -> dict[str, float]:
    """Entries that a coarse grid leaves unchanged, in per cent, and the directions of the smallest update with and without it."""
    small = table.loc[0.01]
    return {
        "hidden-tenth": 100 * table.loc[0.1, "unchanged"],
        "hidden-hundredth": 100 * small["unchanged"],
        "hidden-directions": small["directions"],
        "hidden-directions-left": small["directions, rounded"],
    }
