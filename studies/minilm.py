"""A sentence transformer, all-MiniLM-L6-v2: what the book says of the table of its matrices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import rmtlib
from rmtlib.claims import Outcome

__all__ = ["missing", "outcomes", "rejected_by_lengths", "short_names"]

IDS = tuple(
    f"minilm-{name}"
    for name in (
        "matrices universal rejected smallest-q above below below-wide edge edge-key feed attention most-bulk "
        "no-bulk no-bulk-names words lengths pooler"
    ).split()
)
WIDE = r"intermediate|\d\.output\.dense"  # the feed-forward parts
GOE_RATIO = 0.5307  # the mean gap ratio of large random matrices (Atas et al. 2013)
NEAR = 0.01  # of it
MISSING = "–"


def short_names(table: pd.DataFrame) -> pd.Series:
    """Names of the layers without what all of them share, as in ``"5.attention.output"``."""
    return table["layer"].replace(r"^encoder\.layer\.|^embeddings\.|\.dense$|attention\.self\.", "", regex=True)


def rejected_by_lengths(W, seed: int = 0) -> float:
    """Share of the output vectors that are not random, of noise whose rows have the lengths of the rows of a matrix.

    Parameters
    ----------
    W : array of shape (n_out, n_in)
    seed : int
        Of the noise.

    Returns
    -------
    float
        At a false discovery rate of five per cent.
    """
    lengths = np.linalg.norm(W, axis=1, keepdims=True)
    uneven = lengths * np.random.default_rng(seed).standard_normal(W.shape)
    with threadpool_limits(1):
        test = rmtlib.porter_thomas(rmtlib.spectrum(uneven).output_vectors)
    return float(np.mean(test.qvalue < 0.05))


def missing() -> dict[str, str]:
    """A dash for everything that `outcomes` tells, where the network is not installed."""
    return dict.fromkeys(IDS, MISSING)


def outcomes(table: pd.DataFrame, network: Mapping[str, rmtlib.Layer], *, seed: int = 0) -> dict[str, Outcome | float | str]:
    """What the book says of the transformer.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `rmtlib.analyse_network`.
    network : mapping of str to Layer
        Its matrices.
    seed : int
        Of `rejected_by_lengths`, of the longest matrix.

    Returns
    -------
    dict of str to Outcome, float or str
        By the ids of ``IDS``; shares in per cent. A dash where another transformer has no such matrix.
    """
    rows = table.set_index("layer")
    wide, query_key, key = (rows.index.str.contains(words) for words in (WIDE, "query|key", "key"))
    bulk, edges = rows["bulk_fraction"], rows["largest"] / rows["outlier_edge"]
    ratio, rejected = rows["spacing_ratio"].mean(), int((rows["spacing_qvalue"] < 0.05).sum())
    words = max(network, key=lambda name: network[name].matrix.shape[0])
    pooler = rows[rows.index.str.contains("pooler")]
    found = {
        "minilm-matrices": len(rows),
        "minilm-universal": Outcome(abs(ratio - GOE_RATIO) < NEAR and rejected <= 1, ratio=ratio, matrices=len(rows)),
        "minilm-rejected": rejected,
        "minilm-smallest-q": rows["spacing_qvalue"].min(),
        "minilm-above": rows["outliers"].sum(),
        "minilm-below": rows["outliers_below"].sum(),
        "minilm-below-wide": rows["outliers_below"][wide].sum(),
        "minilm-edge": edges.max(),
        "minilm-edge-key": edges[key].max(),
        "minilm-feed": 100 * bulk[wide].mean(),
        "minilm-attention": 100 * bulk[query_key].mean(),
        "minilm-most-bulk": 100 * bulk.max(),
        "minilm-no-bulk": int(bulk.isna().sum()),
        "minilm-no-bulk-names": ", ".join(short_names(table)[bulk.isna().to_numpy()]) or "none",
        "minilm-words": 100 * rows["output_rejected"].get(words, 0),
        "minilm-lengths": 100 * rejected_by_lengths(network[words].matrix, seed),
        "minilm-pooler": Outcome(pooler["summary"].str.contains("nothing found").all(), bulk=100 * pooler["bulk_fraction"].mean())
        if len(pooler)
        else MISSING,
    }
    return {id: MISSING if isinstance(value, float) and np.isnan(value) else value for id, value in found.items()}
