r"""Rich, typical and lazy networks: the paper's sentences about them as tests of one layer in each, over several seeds.

The sentences say *where* in the spectrum vectors are not random. Of random vectors each calibrated p is uniform, so the mean
of n of them has mean 1/2 and standard deviation :math:`1/\sqrt{12 n}`; a mean that is too small says that they are not random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from . import checks
from .analysis import LENGTHS, LayerAnalysis
from .null_laws import noise_singular_values
from .number_variance import number_variance
from .unfolding import unfold

if TYPE_CHECKING:
    import pandas

__all__ = ["REGIMES", "SENTENCES", "EndTests", "describe", "end_tests", "long_range_spread", "sentences"]

REGIMES = {"rich": 0.5, "typical": 1.0, "lazy": 5.0}  # the paper's alpha, here called laziness
SIDES = ("output", "input")
LONG = 10  # intervals of number variance beyond this length are long
EDGE_STAYS = 0.05  # a threshold of our own choice: the paper gives none

SENTENCES = {
    "C4": "typical: dips at large singular values alone",
    "C5": "rich: a dip at small singular values",
    "C6": "lazy: no dip, and the edge of the bulk stays",
    "C7": "number variance grows no slower when lazy",
    "C10": "rich: more large levels than typical, for every seed",
}


@dataclass(frozen=True, eq=False)
class EndTests:
    """Tests of the vectors at both ends of the spectrum.

    Attributes
    ----------
    mean : pandas.DataFrame
        Mean calibrated p over the vectors of an end and over all seeds: regimes in rows, pairs of a space (``"output"``,
        ``"input"``) and an end (``"large"``, ``"small"`` singular values) in columns.
    pvalue : pandas.DataFrame
        Probability that the mean of random vectors is as small.
    level : float
        Of a single test: the familywise level over the number of tests (Bonferroni).
    """

    mean: pandas.DataFrame
    pvalue: pandas.DataFrame
    level: float

    @property
    def dips(self) -> pandas.DataFrame:
        """Where the mean is too small for random vectors."""
        return self.pvalue < self.level

    @property
    def rises(self) -> pandas.DataFrame:
        """Where it is too large for random vectors."""
        return 1 - self.pvalue < self.level

    @property
    def table(self) -> pandas.DataFrame:
        """The means as text; dips are marked with a star, rises with a dagger."""
        marks = self.dips.replace({True: " *", False: ""}) + self.rises.replace({True: " †", False: ""})
        return self.mean.map("{:.2f}".format) + marks


def end_tests(layers: Mapping[tuple[str, int], LayerAnalysis], *, vectors: int = 15, level: float = 0.05) -> EndTests:
    """Test the vectors of the largest and of the smallest singular values, over all networks of a regime.

    Parameters
    ----------
    layers : mapping of (regime, seed) to LayerAnalysis
        The same layer of every network.
    vectors : int
        Number of vectors at each end.
    level : float
        Familywise level, for all regimes, spaces and ends together.

    Returns
    -------
    EndTests

    Raises
    ------
    ValueError
        If there is no layer, if one has fewer than ``2 * vectors`` levels, or if ``level`` is not between 0 and 1.
    """
    import pandas as pd

    _some(layers)
    vectors = checks.integer(vectors, "vectors", at_least=1)
    if not 0 < level < 1:
        raise ValueError(f"level must be a number between 0 and 1; got {level!r}")
    for key, layer in layers.items():
        if len(layer.nu) < 2 * vectors:
            levels = len(layer.nu)
            raise ValueError(f"vectors must be at most half of the levels of every layer; {key} has {levels}, got {vectors}")
    ends = {"large": slice(-vectors, None), "small": slice(vectors)}
    regimes = list(dict.fromkeys(regime for regime, _ in layers))
    counts = vectors * pd.Series([regime for regime, _ in layers]).value_counts()[regimes]
    mean = pd.DataFrame(
        {
            (side, end): [
                np.mean([getattr(s, side).calibrated_pvalue[chosen] for (name, _), s in layers.items() if name == regime])
                for regime in regimes
            ]
            for side in SIDES
            for end, chosen in ends.items()
        },
        regimes,
    )
    return EndTests(mean, (mean - 0.5).mul(np.sqrt(12 * counts), axis=0).map(ndtr), level / mean.size)


def describe(layers: Mapping[tuple[str, int], LayerAnalysis], initial_largest: Mapping[int, float]) -> pandas.DataFrame:
    """Spacings, number variance and bulk of every network, one row each.

    Parameters
    ----------
    layers : mapping of (regime, seed) to LayerAnalysis
        The same layer of every network.
    initial_largest : mapping of int to float
        Largest singular value of the layer before training, by seed.

    Returns
    -------
    pandas.DataFrame
        Rows by regime and seed; levels and edges are counted from, and divided by, the largest initial singular value.

    Raises
    ------
    ValueError
        If there is no layer, or a seed has no initial value.
    """
    import pandas as pd

    _some(layers)
    missing = sorted({seed for _, seed in layers} - set(initial_largest))
    if missing:
        raise ValueError(f"initial_largest must have a value for every seed; there is none for {', '.join(map(str, missing))}")
    rows = {
        (regime, seed): {
            "spacing p, scipy": s.spacing.pvalue,
            "spacing p, calibrated": s.spacing.calibrated_pvalue,
            f"number variance beyond L = {LONG}": s.number_variance.values[s.number_variance.L > LONG].mean(),
            "bulk fraction": s.bulk.bulk_fraction,
            "fitted edge over initial largest": s.bulk.nu_plus / initial_largest[seed],
            "levels above initial largest": np.sum(s.nu > initial_largest[seed]),
        }
        for (regime, seed), s in layers.items()
    }
    return pd.DataFrame(rows).T.rename_axis(["regime", "seed"])


def long_range_spread(shape: tuple[int, int], *, a: int = 15, draws: int = 300, rng=0) -> float:
    """Standard deviation, from one noise matrix to the next, of the mean number variance beyond L = 10.

    Parameters
    ----------
    shape : tuple of int
        Of the matrix.
    a : int
        Half window of the unfolding.
    draws : int
        Number of noise matrices.
    rng : seed or numpy.random.Generator

    Returns
    -------
    float
        In the unit of the column of `describe`, the variance of a number of levels. 0.080 for 512 x 512; 3 s for 300 draws.

    Raises
    ------
    ValueError
        If ``draws`` is below 2, or the shape leaves fewer levels than intervals of length 20 need.
    """
    draws, rng = checks.integer(draws, "draws", at_least=2), np.random.default_rng(rng)
    L = LENGTHS[LENGTHS > LONG]
    means = [number_variance(unfold(noise_singular_values(shape, rng), a=a), L).mean() for _ in range(draws)]
    return float(np.std(means, ddof=1))


def sentences(table: pandas.DataFrame, tests: EndTests, *, side: str, spread: float) -> dict[str, bool]:
    """Which of the paper's sentences (``SENTENCES``) are true of these networks.

    Parameters
    ----------
    table : pandas.DataFrame
        From `describe`.
    tests : EndTests
        From `end_tests`, of the same networks.
    side : {"output", "input"}
        The space whose vectors the sentences are about.
    spread : float
        From `long_range_spread`, for the shape of the layer.

    Returns
    -------
    dict of str to bool
        Notes tell how each is decided.

    Raises
    ------
    ValueError
        If ``side`` is neither space, ``spread`` is not above 0, or no rich network has the seed of a typical one.

    Notes
    -----
    C4: the typical networks dip at the large end and not at the small one. C5: the rich ones dip at the small end. C6: the lazy
    ones dip nowhere, and their fitted edge is on average within 5 % of the largest initial level. C7: beyond L = 10 the number
    variance of the lazy networks is on average not lower than that of the rich ones by more than noise matrices would differ in
    19 of 20 cases. C10: every rich network has more levels
    above the largest initial one than the typical one of the same seed. Thresholds and levels are ours; the paper gives none.
    """
    checks.choice(side, "side", SIDES)
    if not spread > 0:
        raise ValueError(f"spread must be a number above 0; got {spread!r}")
    dips, mean = tests.dips[side], table.groupby(level="regime", sort=False).mean()
    edge, long_range = mean["fitted edge over initial largest"], mean[f"number variance beyond L = {LONG}"]
    large = table["levels above initial largest"]
    more = (large["rich"] - large["typical"]).dropna()
    if more.empty:
        raise ValueError("table must have a rich and a typical network of the same seed")
    networks = table.groupby(level="regime").size()
    by_chance = 1.645 * spread * np.sqrt(1 / networks["lazy"] + 1 / networks["rich"])
    return {
        "C4": bool(dips.loc["typical", "large"] and not dips.loc["typical", "small"]),
        "C5": bool(dips.loc["rich", "small"]),
        "C6": bool(not dips.loc["lazy"].any() and abs(edge["lazy"] - 1) < EDGE_STAYS),
        "C7": bool(long_range["rich"] - long_range["lazy"] < by_chance),
        "C10": bool((more > 0).all()),
    }


def _some(layers):
    if not layers:
        raise ValueError("layers must hold at least one analysed layer; got none")
