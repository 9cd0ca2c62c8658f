"""The small end of a transformer's levels: those below the bulk, and the activations along their vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

import rmtlib
from rmtlib.runs import book_data

from .energies import random_bands, tenths
from .packages import minilm_weights
from .sizes import profile_noise
from .transformer import ROLES, Encoder, embed, load_minilm, tokenise

__all__ = ["corpus", "directions", "levels", "measure_directions", "measure_levels", "read"]

COUNTS = {
    "outliers_below": "below",
    "outliers_below_biwhitened": "below_biwhitened",
    "outliers": "above",
    "outliers_biwhitened": "above_biwhitened",
    "bulk_fraction": "bulk",
    "sizes_settled": "settled",
}


def corpus(table: str) -> list[str]:
    """The sentences on which ``"directions"`` or ``"damage"`` was measured: half of docstrings, half of the book as it was."""
    return (book_data() / "transformer" / f"{table}.txt").read_text(encoding="utf-8").splitlines()


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
    return pd.DataFrame() if encoder is None else directions(encoder, tokenise(corpus("directions")))


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


def _levels_and_inputs(W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels, ascending, and their input vectors as rows."""
    _, nu, V = np.linalg.svd(W.astype(np.float64), full_matrices=False)
    return nu[::-1], V[::-1]
