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
        """The same after what the initial matrix has along each direction of the update was counted as update."""
        levels = np.abs(self.update_nu + self.sigma * self.alignment)
        return free_addition(np.sort(levels), self.start.shape, self.sigma)

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


def statistics(nu, law: FreeAddition) -> dict[str, float]:
    """What of a spectrum is compared with a law.

    Parameters
    ----------
    nu : array_like of shape (m,)
        Singular values, ascending.
    law : FreeAddition

    Returns
    -------
    dict of str to float
        ``lower``, mean square of the lower six tenths of the levels, over that of all levels of noise alone; ``outliers``,
        levels above 1.02 edges of the noise; ``largest`` level in edges; ``distance``, the largest `difference` from the law.
    """
    nu = checks.levels(nu, "nu")
    m = len(nu)
    unit = law.sigma**2 * max(law.shape)
    return {
        "lower": float(np.mean(nu[: round(LOWER * m)] ** 2) / unit),
        "outliers": float(np.sum(nu > BEYOND * law.noise_edge)),
        "largest": float(nu[-1] / law.noise_edge),
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
        Rows by regime, seed and what: ``initial``, ``predicted`` (the law), ``fresh noise`` (mean of the draws), ``scatter``
        (their standard deviation), ``turned`` (the update turned against the same initial matrix), ``with alignment`` (the
        aligned law), ``trained``. Columns are those of `statistics`. The distance is from the law; that of ``with alignment``
        is of the trained levels from the aligned law.
    """
    rng = np.random.default_rng(rng)
    rows: dict[tuple[str, int, str], dict[str, float]] = {}
    for key, origin in origins.items():
        law, aligned = origin.law, origin.aligned_law
        fresh = pd.DataFrame([statistics(origin.draw(rng), law) for _ in range(draws)])
        of_law, of_aligned = (_predicted(each) for each in (law, aligned))
        found = {
            "initial": statistics(origin.start_nu, law),
            "predicted": of_law,
            "fresh noise": fresh.mean().to_dict(),
            "scatter": fresh.std().to_dict(),
            "turned": statistics(turned(origin, rng).trained_nu, law),
            "with alignment": of_aligned | {"distance": statistics(origin.trained_nu, aligned)["distance"]},
            "trained": statistics(origin.trained_nu, law),
        }
        rows |= {(*key, what): values for what, values in found.items()}
    return pd.DataFrame(rows).T.rename_axis(["regime", "seed", "what"])


def _predicted(law: FreeAddition) -> dict[str, float]:
    return statistics(law.levels, law) | {"outliers": law.outliers(BEYOND * law.noise_edge), "distance": 0.0}


def over_seeds(table: pd.DataFrame, column: str, digits: int = 3) -> pd.DataFrame:
    """One column of `compare` in words, a row a regime: mean over the seeds and its standard error."""
    cells = (
        table[column]
        .unstack("what")[["initial", "predicted", "turned", "with alignment", "trained"]]
        .groupby("regime", sort=False)
    )
    mean, error = cells.mean(), cells.sem()
    return mean.map(f"{{:.{digits}f}}".format) + error.map(f" ± {{:.{digits}f}}".format)


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """How much larger the lower levels are than those of the initial matrix, in per cent: a row a network."""
    lower = table["lower"].unstack("what")
    return 100 * lower[["predicted", "with alignment", "trained"]].div(lower["initial"], axis=0) - 100


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
    rise, scatter = lower["trained"] - lower["initial"], lower["scatter"].groupby("regime").transform("mean")
    by_network = {
        "grown": 100 * rise / lower["initial"],
        "explained": 100 * (lower["predicted"] - lower["initial"]) / rise,
        "aligned": 100 * (lower["with alignment"] - lower["initial"]) / rise,
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
