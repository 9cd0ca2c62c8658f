"""Small singular values of a transformer: levels below the bulk, activations along their vectors, what is lost without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

import rmtlib
from rmtlib import checks
from rmtlib.runs import book_data

from . import text
from .energies import random_bands, tenths
from .packages import minilm_weights
from .sizes import profile_noise
from .transformer import ROLES, Encoder, embed, load_minilm, tokenise

__all__ = ["corpus", "damage", "directions", "levels", "measure_damage", "measure_directions", "measure_levels", "read"]

ROOT = Path(__file__).parents[1]
PAGES = ("chapters/*.md", "coursework/*.md", "*.md")
MOMENTS, JUDGED = (1200, 48)  # sentences: for the moments of the activations, and for the embeddings
NEIGHBOURS = 5
NULL_TENTHS = (0, 4, 9)  # of the network of noise
COUNTS = {
    "outliers_below": "below",
    "outliers_below_biwhitened": "below_biwhitened",
    "outliers": "above",
    "outliers_biwhitened": "above_biwhitened",
    "bulk_fraction": "bulk",
    "sizes_settled": "settled",
}


def corpus(number: int) -> list[str]:
    """So many sentences, half of them docstrings of the standard library and half of the book, as far as there are."""
    files = sorted({file for pattern in PAGES for file in ROOT.glob(pattern)})
    of_the_book = text.spread(text.pages(files), number // 2)
    return text.spread(text.docstrings(), number - len(of_the_book)) + of_the_book


def measure_levels() -> pd.DataFrame:
    """`levels` of MiniLM; no rows without the package that holds it."""
    return levels({name: layer.matrix for name, layer in minilm_weights().items() if name != "pooler"})


def levels(matrices: Mapping[str, np.ndarray], *, seed: int = 0) -> pd.DataFrame:
    """Levels outside the bulk, before and after the sizes of neurons are taken out.

    Parameters
    ----------
    matrices : mapping of str to numpy.ndarray
        By names such as ``"0.intermediate"``.
    seed : int
        Of the noise.

    Returns
    -------
    pandas.DataFrame
        For each matrix (``weights`` is ``trained``) and for noise whose rows and columns have its sizes (``noise``): levels
        ``below`` and ``above`` the bulk and the share of the ``bulk``, as in `rmtlib.LayerAnalysis.row`; the same counts
        ``_biwhitened``; whether the sizes of noise ``settled``; and ``low_input``, ``low_output``: of the vectors of the smallest
        tenth, without sizes, the share that a false discovery rate of 5 % over all vectors rejects.
    """
    rows = []
    for i, (layer, W) in enumerate(tqdm(matrices.items(), desc="levels")):
        for weights, matrix in (("trained", W), ("noise", profile_noise(W, [seed, i]))):
            found = rmtlib.analyse(matrix)
            row, tenth = found.row(), len(found.nu) // 10
            low = {
                f"low_{side}": np.nan
                if found.biwhitened is None
                else np.mean(getattr(found.biwhitened, side).qvalue[:tenth] < 0.05)
                for side in ("input", "output")
            }
            rows.append({"layer": layer, "weights": weights} | {to: row[column] for column, to in COUNTS.items()} | low)
    return pd.DataFrame(rows)


def measure_directions() -> pd.DataFrame:
    """`directions` of MiniLM on the `corpus`; no rows without the package that holds it."""
    encoder = load_minilm()
    return pd.DataFrame() if encoder is None else directions(encoder, tokenise(corpus(MOMENTS)))


def directions(encoder: Encoder, tokens: Sequence[Sequence[int]], *, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    r"""Energies of the activations along the input vectors of every matrix, in tenths of the singular values.

    Parameters
    ----------
    encoder : Encoder
    tokens : sequence of sequences of int
        Texts, from `studies.transformer.tokenise`.
    draws : int
        Random sets of directions, for the bands.
    seed : int
        Of the null.

    Returns
    -------
    pandas.DataFrame
        Rows by ``role``, ``block``, ``about`` (second moments about ``zero`` or the ``mean``) and ``decile`` (from 0, ascending);
        the energies of `studies.energies.tenths` of the ``trained`` matrix, of Gaussian ``noise`` of its shape, and of the
        trained matrix on activations that are ``turned`` at random; ``low`` and ``high``, between which 99 % of random directions
        lie; ``nu2`` and ``response`` of the trained matrix.
    """
    rng = np.random.default_rng(seed)
    moments = _moments(encoder, tokens)
    rows = []
    for role in tqdm(ROLES, desc="directions"):
        of_role = {(block, about): C for block in range(encoder.blocks) for about, C in moments[role, block].items()}
        m, n_in = min(encoder.matrix(role, 0).shape), encoder.matrix(role, 0).shape[1]
        bands = random_bands(of_role.values(), m // 10, draws)
        for ((block, about), C), (low, high) in zip(of_role.items(), bands, strict=True):
            W = encoder.matrix(role, block)
            Q = np.linalg.qr(rng.standard_normal((n_in, n_in)))[0]
            nu, V = _levels_and_inputs(W)
            energies = {
                "trained": tenths(nu, V, C),
                "noise": tenths(*_levels_and_inputs(rng.standard_normal(W.shape)), C),
                "turned": tenths(nu, V, Q @ C @ Q.T),
            }
            for decile, found in enumerate(zip(*energies.values(), strict=True)):
                common = {"role": role, "block": block, "about": about, "decile": decile}
                values = dict(zip(energies, (energy for energy, _ in found), strict=True))
                rows.append(common | values | {"low": low, "high": high} | found[0][1])
    return pd.DataFrame(rows)


def measure_damage() -> pd.DataFrame:
    """`damage` of MiniLM, and of the same network with noise in its blocks; no rows without the package that holds it."""
    encoder = load_minilm()
    if encoder is None:
        return pd.DataFrame()
    tokens = tokenise(corpus(JUDGED))
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
        Rows by ``role`` and ``decile``: ``cost``, one minus the cosine between the embeddings before and after, in the mean over
        the texts; ``random_cost``, the same along random directions, in the mean over draws too; their ``ratio``, with its
        standard error over texts and draws, ``ratio_error``; ``draw_spread``, the relative standard deviation of the cost of a
        single draw, one number for all tenths of a role; ``lost`` and ``random_lost``, the share of the five nearest texts that
        are no longer among the five nearest. Standard errors over the texts: ``cost_error``, ``lost_error``.

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
        by_draw = np.array([cost[1:].mean(1) for cost, _ in measured])
        of_a_draw = np.mean(np.var(by_draw, axis=1, ddof=1) / by_draw.mean(1) ** 2)
        for decile, (cost, lost) in zip(deciles, measured, strict=True):
            rows.append({"role": role, "decile": decile} | _summary(cost, lost, of_a_draw))
    return pd.DataFrame(rows)


def read(name: str, path: Path | None = None) -> pd.DataFrame:
    """What the book has measured: ``"levels"``, ``"directions"`` or ``"damage"``, columns as in the functions above."""
    return pd.read_csv((path or book_data() / "transformer") / f"{name}.csv")


def _moments(encoder: Encoder, tokens) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    """Second moments of the inputs of each matrix, about zero and about their mean."""
    sums: dict[tuple[str, int], list] = {}

    def add(role, block, x):
        total = sums.setdefault((role, block), [0, 0.0, 0.0])
        for i, value in enumerate((len(x), x.sum(0, dtype=np.float64), (x.T @ x).astype(np.float64))):
            total[i] = total[i] + value

    embed(encoder, tokens, on_input=add)
    found = {}
    for place, (number, total, squares) in sums.items():
        mean, C = total / number, squares / number
        found[place] = {"zero": C, "mean": C - np.outer(mean, mean)}
    return found


def _svd(W: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Output vectors (columns), levels and input vectors (rows), in ascending order of the levels."""
    U, nu, V = np.linalg.svd(W.astype(np.float64), full_matrices=False)
    return U[:, ::-1], nu[::-1], V[::-1]


def _levels_and_inputs(W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _svd(W)[1:]


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


def _losses(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each text: one minus the cosine, and the share of the nearest texts that are lost."""
    cost = 1 - np.einsum("ij,ij->i", before.astype(np.float64), after)
    near = map(_nearest, (before, after))
    return cost, 1 - np.array([len(a & b) / NEIGHBOURS for a, b in zip(*near, strict=True)])


def _nearest(embeddings: np.ndarray) -> list[set[int]]:
    cosines = embeddings @ embeddings.T
    np.fill_diagonal(cosines, -np.inf)
    return [set(row) for row in np.argsort(-cosines, axis=1)[:, :NEIGHBOURS].tolist()]


def _summary(cost: np.ndarray, lost: np.ndarray, of_a_draw: float) -> dict[str, float]:
    """Means and errors; rows of both arrays: the own directions, then the draws of random ones; columns: texts."""
    texts, draws = cost.shape[1], len(cost) - 1
    own, random = cost[0], cost[1:].mean(0)
    ratio = own.mean() / random.mean()
    over_texts = np.var(own / own.mean() - random / random.mean(), ddof=1) / texts
    return {
        "cost": own.mean(),
        "cost_error": own.std(ddof=1) / np.sqrt(texts),
        "random_cost": random.mean(),
        "ratio": ratio,
        "ratio_error": ratio * np.sqrt(over_texts + of_a_draw / draws),
        "draw_spread": np.sqrt(of_a_draw),
        "lost": lost[0].mean(),
        "lost_error": lost[0].std(ddof=1) / np.sqrt(texts),
        "random_lost": lost[1:].mean(),
    }
