"""What is left of a layer once the sizes of its neurons are taken out: counts as it is, with noise sizes and with total sizes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

import rmtlib
from rmtlib.biwhitening import Biwhitened, biwhiten
from rmtlib.claims import Outcome
from rmtlib.layer_analysis import BiwhitenedAnalysis, LayerAnalysis

__all__ = ["LAYERS", "WAYS", "counts", "elsewhere", "numbers", "planted", "profile_noise", "two_questions"]

WAYS = ("as it is", "noise", "total")
LAYERS = {
    "minilm": ("2.attention.output", "2.intermediate", "2.output", "2.attention.self.query", "pooler"),
    "vgg16": ("block2_conv2", "block5_conv3"),
}
MANY = 5.0  # per cent of the vectors, of whose rejection an explanation is asked
MISSING = "–"


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

    Raises
    ------
    ValueError
        If the matrix cannot be analysed or has no sizes.
    """
    whole = rmtlib.analyse(W, a=a)
    if whole.biwhitened is None or whole.total is None:
        msg = f"W has no sizes that could be taken out: {whole.missing.get('sizes', whole.summary)}"
        raise ValueError(msg)
    parts: list[tuple[LayerAnalysis | BiwhitenedAnalysis, Biwhitened | None]] = [(whole, None)]
    parts += [(part, part.biwhitened) for part in (whole.biwhitened, whole.total)]
    rows = {}
    for way, (part, taken) in zip(WAYS, parts, strict=True):
        test = getattr(part, space)
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


def two_questions(two: pd.DataFrame) -> dict[str, Outcome]:
    """Whether the planted kinds of large neurons are told apart.

    Parameters
    ----------
    two : pandas.DataFrame
        Tables of `counts` of both matrices of `planted`, indexed by matrix and way.

    Returns
    -------
    dict of str to Outcome
        Neurons that are large by noise leave no level above the bulk with noise sizes; those that learned leave their direction,
        and noise sizes less than half as spread as total ones. Spreads in per cent.
    """
    large, learned = (two.loc[name] for name in two.index.unique(0))
    found = {}
    for name, table in (("by_noise", large), ("by_learning", learned)):
        above, spread = table["outliers"], 100 * table["row spread"]
        told = above["noise"] == 0 if name == "by_noise" else above["noise"] > 0 and spread["noise"] < spread["total"] / 2
        shown = {"before": above["as it is"], "after": above["noise"], "spread": spread["noise"], "total": spread["total"]}
        found[f"large_{name}"] = Outcome(bool(told), **{key: float(value) for key, value in shown.items()})
    return found


def elsewhere(matrices: Mapping[str, np.ndarray], counted: Mapping[str, pd.DataFrame]) -> dict[str, Outcome | str]:
    """What sizes explain of layers of a transformer and of a convolutional network.

    Parameters
    ----------
    matrices, counted : mapping
        Matrices of `studies.packages.layers`, and their tables of `counts`.

    Returns
    -------
    dict of str to Outcome or str
        A dash for a network that is missing. Of the transformer, whether total sizes explain more than half of the rejected
        vectors of every layer that has many; whether the pooler is noise by any count; how many levels of the query matrix lie
        above its bulk; of the other network, whether noise sizes settle in no layer. Then every layer by itself.
    """
    transformer, other = ({n: t for n, t in counted.items() if n.startswith(network)} for network in ("minilm", "vgg16"))
    found: dict[str, Outcome | str] = dict.fromkeys(("size_vectors", "size_pooler", "size_query", "size_settled"), MISSING)
    if transformer:
        shares = pd.DataFrame({name: table["rejected, %"] for name, table in transformer.items()}).T
        many = shares[shares["as it is"] > MANY]
        explained = bool((many["total"] < many["as it is"] / 2).all())
        before, noise = many["as it is"], many["noise"]
        found["size_vectors"] = Outcome(
            explained, low=before.min(), high=before.max(), left=many["total"].max(), least=noise.min(), most=noise.max()
        )
    for name, table in transformer.items():
        above = table["outliers"].astype(float)
        if name.endswith("pooler"):
            rejected = table["rejected, %"].max()
            found["size_pooler"] = Outcome(bool(above.max() == rejected == 0), outliers=above.max(), rejected=rejected)
        if name.endswith("query"):
            levels = min(matrices[name].shape)
            outside = {way.replace(" ", "_"): above[way] for way in WAYS}
            found["size_query"] = Outcome(bool(above["as it is"] > levels / 2), levels=levels, **outside)
    if other:
        settled = sum(table["settled"]["noise"] for table in other.values())
        found["size_settled"] = Outcome(settled == 0, settled=settled, layers=len(other))
    for name, table in counted.items():
        id = "size_of_" + name.replace(" ", "_").replace(".", "_")
        found[id] = Outcome(None, **{way.replace(" ", "_"): float(count) for way, count in table["outliers"].items()})
    return found
