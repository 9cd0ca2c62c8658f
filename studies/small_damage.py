"""What the embeddings of a transformer lose when a tenth of its levels is set to zero, and when as much is taken at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from rmtlib import checks

from .small_values import corpus
from .transformer import ROLES, Encoder, embed, load_minilm, tokenise

__all__ = ["damage", "measure_damage"]

NEIGHBOURS = 5
NULL_TENTHS = (0, 4, 9)  # of the network of noise


def measure_damage() -> pd.DataFrame:
    """`damage` of MiniLM and of the same network with noise in its blocks; no rows without the package that holds it."""
    encoder = load_minilm()
    if encoder is None:
        return pd.DataFrame()
    tokens = tokenise(corpus("damage"))
    trained = damage(encoder, tokens).assign(weights="trained")
    noise = damage(_with_noise(encoder, 0), tokens, deciles=NULL_TENTHS).assign(weights="noise")
    return pd.concat([trained, noise])


def damage(
    encoder: Encoder, tokens: Sequence[Sequence[int]], *, deciles: Sequence[int] = range(10), draws: int = 2, seed: int = 1
) -> pd.DataFrame:
    """What embeddings lose when a tenth of the singular values is set to zero, in all matrices of one role.

    Parameters
    ----------
    encoder : Encoder
    tokens : sequence of sequences of int
        Texts whose embeddings judge.
    deciles : sequence of int
        The tenths, ascending from 0.
    draws : int
        As often, the singular values of the tenth are taken away along random directions instead: the matrix that is subtracted
        has the same singular values and random vectors.
    seed : int
        Of the directions.

    Returns
    -------
    pandas.DataFrame
        Rows by ``role`` and ``decile``:

        - ``cost``: one minus the cosine between the embeddings before and after, in the mean over the texts, with its standard
          error ``cost_error``; ``random_cost``: the same along random directions, in the mean over draws too;
        - ``ratio`` of both, with its standard error over texts and draws, ``ratio_error``; ``draw_spread``: relative standard
          deviation of the cost of a single draw, one number for all tenths of a role;
        - all of these with ``centred_`` before, of embeddings from which the mean over the texts is subtracted, so that a shift
          that all share costs nothing;
        - ``lost``: share of the five nearest texts that are no longer among the five nearest, with its standard error
          ``lost_error`` over the texts; ``random_lost``: the same along random directions.

    Raises
    ------
    ValueError
        If ``draws`` is below two.
    """
    draws = checks.integer(draws, "draws", at_least=2)
    rng = np.random.default_rng(seed)
    whole = embed(encoder, tokens)
    rows = []
    for role in ROLES:
        blocks = {block: _svd(encoder.matrix(role, block)) for block in range(encoder.blocks)}
        measured = []
        for decile in tqdm(deciles, desc=role):
            own = _without(encoder, role, blocks, decile, None)
            random = (_without(encoder, role, blocks, decile, rng) for _ in range(draws))
            found = [_losses(whole, embed(changed, tokens)) for changed in (own, *random)]
            measured.append([np.array(values) for values in zip(*found, strict=True)])
        costs, centred, lost = zip(*measured, strict=True)
        summaries = (_ratios(costs), _ratios(centred, "centred_"), map(_lost, lost))
        for decile, *parts in zip(deciles, *summaries, strict=True):
            row = {"role": role, "decile": decile}
            rows.append(row | {name: value for part in parts for name, value in part.items()})
    return pd.DataFrame(rows)


def _svd(W: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Output vectors (columns), levels and input vectors (rows), in ascending order of the levels."""
    U, nu, V = np.linalg.svd(W.astype(np.float64), full_matrices=False)
    return U[:, ::-1], nu[::-1], V[::-1]


def _with_noise(encoder: Encoder, seed: int) -> Encoder:
    """The encoder with Gaussian matrices in its blocks, as large as its own."""
    rng = np.random.default_rng(seed)
    places = [(role, block) for role in ROLES for block in range(encoder.blocks)]
    own = {place: encoder.matrix(*place) for place in places}
    return encoder.with_matrices({place: W.std() * rng.standard_normal(W.shape) for place, W in own.items()})


def _without(encoder: Encoder, role: str, blocks: Mapping[int, tuple], decile: int, rng) -> Encoder:
    """The encoder without one tenth of the levels of a role, along their own vectors or (with a Generator) along random ones."""
    changed = {}
    for block, (U, nu, V) in blocks.items():
        m = len(nu)
        part = slice(decile * m // 10, (decile + 1) * m // 10)
        left, right = U[:, part], V[part].T
        if rng is not None:
            left, right = (np.linalg.qr(rng.standard_normal(vectors.shape))[0] for vectors in (left, right))
        changed[role, block] = encoder.matrix(role, block) - (left * nu[part]) @ right.T
    return encoder.with_matrices(changed)


def _losses(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each text: one minus the cosine, the same of centred embeddings, and the share of the nearest texts that are lost."""
    cost = 1 - np.einsum("ij,ij->i", before.astype(np.float64), after)
    centred = [x - x.mean(0) for x in (before.astype(np.float64), after.astype(np.float64))]
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in centred)
    near = zip(_nearest(before), _nearest(after), strict=True)
    return cost, 1 - np.einsum("ij,ij->i", a, b), 1 - np.array([len(old & new) / NEIGHBOURS for old, new in near])


def _nearest(embeddings: np.ndarray) -> list[set[int]]:
    cosines = embeddings @ embeddings.T
    np.fill_diagonal(cosines, -np.inf)
    return [set(row) for row in np.argsort(-cosines, axis=1)[:, :NEIGHBOURS].tolist()]


def _ratios(costs: Sequence[np.ndarray], kind: str = "") -> list[dict[str, float]]:
    """Means and errors, tenth by tenth; rows of an array: the own directions, then the draws of random ones; columns: texts."""
    by_draw = np.array([cost[1:].mean(1) for cost in costs])
    of_a_draw = np.mean(np.var(by_draw, axis=1, ddof=1) / by_draw.mean(1) ** 2)
    rows = []
    for cost in costs:
        texts, draws = cost.shape[1], len(cost) - 1
        own, random = cost[0], cost[1:].mean(0)
        ratio = own.mean() / random.mean()
        over_texts = np.var(own / own.mean() - random / random.mean(), ddof=1) / texts
        row = {
            "cost": own.mean(),
            "cost_error": own.std(ddof=1) / np.sqrt(texts),
            "random_cost": random.mean(),
            "ratio": ratio,
            "ratio_error": ratio * np.sqrt(over_texts + of_a_draw / draws),
            "draw_spread": np.sqrt(of_a_draw),
        }
        rows.append({f"{kind}{name}": value for name, value in row.items()})
    return rows


def _lost(lost: np.ndarray) -> dict[str, float]:
    own, texts = lost[0], lost.shape[1]
    return {"lost": own.mean(), "lost_error": own.std(ddof=1) / np.sqrt(texts), "random_lost": lost[1:].mean()}
