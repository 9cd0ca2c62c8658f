"""What is left of a layer once the sizes of its neurons are taken out: counts as it is, with noise sizes and with total sizes."""

from __future__ import annotations

import numpy as np
import pandas as pd

import rmtlib
from rmtlib.biwhitening import biwhiten

__all__ = ["WAYS", "counts", "numbers", "planted", "profile_noise"]

WAYS = ("as it is", "noise", "total")


def counts(W: np.ndarray, *, space: str = "output", a: int = 15) -> pd.DataFrame:
    """Outliers and vectors of one matrix, as it is and biwhitened.

    Parameters
    ----------
    W : numpy.ndarray of shape (n_out, n_in)
    space : {"output", "input"}
        Of the singular vectors.
    a : int
        Half window of the unfolding.

    Returns
    -------
    pandas.DataFrame
        Rows ``WAYS``: levels above the bulk; mean calibrated p of the fifteen vectors at either end; share of the vectors
        rejected at a false discovery rate of 5 %, in per cent; spread of the row sizes taken out; whether they settled.
    """
    whole = rmtlib.analyse(W, a=a)
    rows = {}
    for way, part in zip(WAYS, (whole, whole.biwhitened, whole.total), strict=True):
        if part is None:
            msg = f"W has no sizes that could be taken out: {whole.missing.get('sizes', whole.summary)}"
            raise ValueError(msg)
        test, taken = getattr(part, space), None if part is whole else part.biwhitened
        ends = rmtlib.end_means(test)
        rows[way] = {
            "outliers": part.bulk.n_outliers if part.bulk else np.nan,
            "large end": ends.large,
            "small end": ends.small,
            "rejected, %": 100 * np.mean(test.qvalue < 0.05),
            "row spread": np.nan if taken is None else taken.row_spread,
            "settled": np.nan if taken is None else float(taken.settled),
        }
    return pd.DataFrame(rows).T.astype({"outliers": "Int64"})


def profile_noise(W: np.ndarray, rng) -> np.ndarray:
    """Gaussian noise whose rows and columns have the mean squares of those of ``W``."""
    taken = biwhiten(W, "total")
    noise = np.random.default_rng(rng).standard_normal(W.shape)
    return taken.row_sizes[:, None] * noise * taken.column_sizes


def planted(n: int, rng, *, neurons: int = 20, strength: float = 5.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two kinds of large neurons: noise in which some rows are larger, and noise to which the same rows have learned a direction.

    Parameters
    ----------
    n : int
        Side of the square matrix.
    rng : seed or numpy.random.Generator
    neurons : int
        Rows that are larger.
    strength : float
        Of the direction, over the threshold at which it shows.

    Returns
    -------
    large, learned : numpy.ndarray of shape (n, n)
        Both have rows of the same mean squares, up to noise.
    rows : numpy.ndarray of bool, shape (n,)
        The larger ones.
    """
    rng = np.random.default_rng(rng)
    rows = np.arange(n) < neurons
    left = rows / np.sqrt(neurons)
    right = rng.standard_normal(n)
    direction = strength * np.sqrt(n) * np.outer(left, right / np.linalg.norm(right))
    learned = rng.standard_normal((n, n)) + direction
    size = np.sqrt(1 + strength**2 / neurons)
    large = np.where(rows, size, 1.0)[:, None] * rng.standard_normal((n, n))
    return large, learned, rows


def numbers(trained: pd.DataFrame) -> dict[str, float]:
    """Outliers and ends of rich, typical and lazy layers for the ledger.

    Parameters
    ----------
    trained : pandas.DataFrame
        Tables of `counts`, indexed by reading, regime and way; the first reading is the stated one, the second the faster.
    """
    found = {}
    for word, reading in zip(("stated", "faster"), trained.index.unique(0), strict=True):
        for regime in trained.loc[reading].index.unique(0):
            for way, row in trained.sort_index().loc[(reading, regime)].iterrows():
                end = str(way).replace(" ", "_")
                found[f"{word}_{regime}_{end}"] = row["outliers"]
                if regime == "rich" and word == "faster":
                    found[f"{word}_{regime}_large_{end}"] = row["large end"]
                    found[f"{word}_{regime}_small_{end}"] = row["small end"]
    return found
