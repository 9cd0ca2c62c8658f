"""Trained layers as initial noise plus update: what free addition predicts of their spectrum, and what alignment adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import scipy.stats

import rmtlib
from rmtlib import checks, ensembles
from rmtlib.claims import Outcome
from rmtlib.free import FreeAddition, free_addition
from rmtlib.runs import Run, initial

__all__ = ["Origin", "alignments", "compare", "difference", "growth", "numbers", "of_run", "over_seeds", "statistics", "turned"]

Key = tuple[str, int]  # regime and seed
LOWER = 0.6  # share of the levels that count as the lower ones
BEYOND = 1.02  # of the edge of the noise: a level above is an outlier
STRONGEST = 32  # directions of the update whose mean alignment is told


@dataclass(frozen=True, eq=False)
class Origin:
    """A layer taken apart.

    Attributes
    ----------
    start, update : numpy.ndarray of shape (n_out, n_in)
        Initial matrix, and trained minus initial matrix.
    sigma : float
        Standard deviation of the law that the initial entries were drawn from.
    """

    start: np.ndarray
    update: np.ndarray
    sigma: float

    @cached_property
    def trained_nu(self) -> np.ndarray:
        """Singular values of the trained matrix, ascending."""
        return rmtlib.spectrum(self.start + self.update, vectors=False).nu

    @cached_property
    def start_nu(self) -> np.ndarray:
        """Singular values of the initial matrix, ascending."""
        return rmtlib.spectrum(self.start, vectors=False).nu

    @cached_property
    def update_nu(self) -> np.ndarray:
        """Singular values of the update, ascending."""
        return self._directions[1][::-1]

    @cached_property
    def alignment(self) -> np.ndarray:
        r"""Overlap :math:`u_k^T W_0 v_k / \sigma` of the initial matrix with each direction of the update, ascending in its size.

        Of standard normal size where the update does not know the initial matrix.
        """
        U, _, Vt = self._directions
        return np.einsum("ik,ij,kj->k", U, self.start, Vt, optimize=True)[::-1] / self.sigma

    @cached_property
    def _directions(self):
        return np.linalg.svd(self.update, full_matrices=False)

    @cached_property
    def law(self) -> FreeAddition:
        """Free addition of noise and update: from ``update_nu`` and ``sigma`` alone."""
        return free_addition(self.update_nu, self.start.shape, self.sigma)

    @cached_property
    def aligned_law(self) -> FreeAddition:
        """The same once what the initial matrix has along the directions of the update was moved from noise to update."""
        moved = self.sigma * self.alignment
        levels = np.sort(np.abs(self.update_nu + moved))
        left = self.sigma**2 - np.sum(moved**2) / self.start.size
        return free_addition(levels, self.start.shape, float(np.sqrt(left)))

    @property
    def cosine(self) -> float:
        """Cosine of update and initial matrix, as vectors of their entries."""
        return float(np.vdot(self.start, self.update) / np.linalg.norm(self.start) / np.linalg.norm(self.update))

    def draw(self, rng) -> np.ndarray:
        """Singular values of the update added to fresh initial weights."""
        fresh = ensembles.glorot_uniform(self.start.shape, rng) * self.sigma / np.sqrt(2 / sum(self.start.shape))
        return rmtlib.spectrum(fresh + self.update, vectors=False).nu


def of_run(run: Run, layer: str = "dense2") -> Origin:
    """A layer of a run, whose initial weights were drawn with Glorot's variance."""
    start = np.asarray(initial(run, layer), dtype=float)
    trained = np.asarray(rmtlib.load_weights(run)[layer].matrix, dtype=float)
    return Origin(start, trained - start, float(np.sqrt(2 / sum(start.shape))))


def turned(origin: Origin, rng) -> Origin:
    """The same layer with its update turned at random, by independent Haar rotations of outputs and inputs."""
    rng = np.random.default_rng(rng)
    left, right = (scipy.stats.ortho_group.rvs(side, random_state=rng) for side in origin.update.shape)
    return Origin(origin.start, left @ origin.update @ right, origin.sigma)


def statistics(nu, origin: Origin, law: FreeAddition | None = None) -> dict[str, float]:
    """What of a spectrum is compared with a law.

    Parameters
    ----------
    nu : array_like of shape (m,)
        Singular values, ascending.
    origin : Origin
        The layer, whose noise is the unit.
    law : FreeAddition, optional
        By default the one of the layer.

    Returns
    -------
    dict of str to float
        ``lower``, mean square of the lower six tenths of the levels, over that of all levels of noise alone; ``outliers``,
        levels above 1.02 edges of the noise; ``largest`` level in edges; ``distance``, the largest `difference` from the law.
    """
    nu, law = checks.levels(nu, "nu"), origin.law if law is None else law
    edge = origin.law.noise_edge
    return {
        "lower": float(np.mean(nu[: round(LOWER * len(nu))] ** 2) / (origin.sigma**2 * max(origin.start.shape))),
        "outliers": float(np.sum(nu > BEYOND * edge)),
        "largest": float(nu[-1] / edge),
        "distance": float(np.abs(difference(nu, law)).max()),
    }


def difference(nu, law: FreeAddition) -> np.ndarray:
    """Share of the levels up to each level, itself counted half, minus what a law says."""
    nu = checks.levels(nu, "nu")
    return (np.arange(len(nu)) + 0.5) / len(nu) - law.cdf(nu)


def compare(origins: Mapping[Key, Origin], *, draws: int = 10, rng=0) -> pd.DataFrame:
    """Spectra of layers beside their laws and beside draws of fresh noise.

    Parameters
    ----------
    origins : mapping of (str, int) to Origin
        By regime and seed.
    draws : int
        Of fresh initial weights for each layer.
    rng : seed or numpy.random.Generator

    Returns
    -------
    pandas.DataFrame
        Rows by regime, seed and what: ``initial``, ``noise`` (the law without update), ``predicted`` (the law), ``fresh noise``
        (mean of the draws), ``scatter`` (their standard deviation), ``turned`` (the update turned against the same initial
        matrix), ``with alignment`` (the aligned law), ``trained``. Columns are those of `statistics`. The distance is from the
        law; that of ``with alignment`` is of the trained levels from the aligned law.
    """
    rng = np.random.default_rng(rng)
    rows: dict[tuple[str, int, str], dict[str, float]] = {}
    for key, origin in origins.items():
        fresh = pd.DataFrame([statistics(origin.draw(rng), origin) for _ in range(draws)])
        aligned = statistics(origin.trained_nu, origin, origin.aligned_law)["distance"]
        found = {
            "initial": statistics(origin.start_nu, origin),
            "noise": _predicted(origin, free_addition([0.0], origin.start.shape, origin.sigma)),
            "predicted": _predicted(origin, origin.law),
            "fresh noise": fresh.mean().to_dict(),
            "scatter": fresh.std().to_dict(),
            "turned": statistics(turned(origin, rng).trained_nu, origin),
            "with alignment": _predicted(origin, origin.aligned_law) | {"distance": aligned},
            "trained": statistics(origin.trained_nu, origin),
        }
        rows |= {(*key, what): values for what, values in found.items()}
    return pd.DataFrame(rows).T.rename_axis(["regime", "seed", "what"])


def _predicted(origin: Origin, law: FreeAddition) -> dict[str, float]:
    counted = {"outliers": law.outliers(BEYOND * origin.law.noise_edge)}
    return statistics(law.levels, origin, law) | counted | {"distance": 0.0}


def over_seeds(table: pd.DataFrame, column: str, digits: int = 4) -> pd.DataFrame:
    """One column of `compare` in words, a row a regime: mean over the seeds and its standard error."""
    shown = ["initial", "predicted", "turned", "with alignment", "trained"]
    seeds = table[column].unstack("what")[shown].groupby("regime")
    words = seeds.mean().map(f"{{:.{digits}f}}".format) + seeds.sem().map(f" ± {{:.{digits}f}}".format)
    return words.reindex(table.index.unique("regime"))


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """How much larger the lower levels are than without the update, in per cent: a row a network.

    Laws are compared with the law of noise, and the trained matrix with its own initial one, whose fluctuation it shares.
    """
    lower = table["lower"].unstack("what")
    laws = lower[["predicted", "with alignment"]].div(lower["noise"], axis=0)
    return 100 * laws.assign(trained=lower["trained"] / lower["initial"]) - 100


def alignments(origins: Mapping[Key, Origin]) -> pd.DataFrame:
    """Mean alignment of update and initial matrix over seeds: directions of the update, the strongest first, by regimes."""
    columns: dict = {}
    for (regime, _), origin in origins.items():
        columns.setdefault(regime, []).append(origin.alignment[::-1])
    return pd.DataFrame({regime: np.mean(values, axis=0) for regime, values in columns.items()})


def numbers(table: pd.DataFrame, origins: Mapping[Key, Origin]) -> dict[str, Outcome | float]:
    """Numbers of the text by regime: a mean over the seeds and its standard error each.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `compare`.
    origins : mapping of (str, int) to Origin
        What the table was made of.

    Returns
    -------
    dict of str to Outcome or float
        By regime: ``-grown``, by how many per cent the lower levels grew; ``-explained`` and ``-aligned``, the shares of that
        which the law and the aligned law explain, in per cent; ``-apart``, trained minus fresh noise in standard deviations of a
        draw; ``-outliers``, ``-outliers-predicted`` and ``-outliers-aligned``; ``-distance`` and ``-distance-aligned``;
        ``-cosine``; ``-strongest``, the mean alignment of the strongest directions. Of the null: ``null-networks``, and of them
        ``null-within``, whose turned update gives lower levels within two standard deviations of fresh noise, and
        ``null-distance``, the mean distance of turned updates from the law.
    """
    lower, outliers, distance = (table[column].unstack("what") for column in ("lower", "outliers", "distance"))
    grown, scatter = growth(table), lower["scatter"].groupby("regime").transform("mean")
    by_network = {
        "grown": grown["trained"],
        "explained": 100 * grown["predicted"] / grown["trained"],
        "aligned": 100 * grown["with alignment"] / grown["trained"],
        "apart": (lower["trained"] - lower["fresh noise"]) / scatter,
        "outliers": outliers["trained"],
        "outliers-predicted": outliers["predicted"],
        "outliers-aligned": outliers["with alignment"],
        "distance": distance["trained"],
        "distance-aligned": distance["with alignment"],
        "cosine": pd.Series({key: origin.cosine for key, origin in origins.items()}),
        "strongest": pd.Series({key: origin.alignment[-STRONGEST:].mean() for key, origin in origins.items()}),
    }
    found: dict[str, Outcome | float] = {
        "null-networks": len(lower),
        "null-within": int(((lower["turned"] - lower["fresh noise"]).abs() < 2 * scatter).sum()),
        "null-distance": distance["turned"].mean(),
    }
    for name, values in by_network.items():
        for regime, of_regime in values.groupby(level=0, sort=False):
            found[f"{regime}-{name}"] = Outcome(value=of_regime.mean(), error=of_regime.sem())
    return found
