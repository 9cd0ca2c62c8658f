r"""Noise through the criteria: initial matrices of fresh seeds, and spectra that depart from it.

Two tables of ``data/``. Of every fresh seed of MLP512 ``noise.csv`` has the numbers of the second layer, as of a trained one, and
the spacings of the other two. ``spacings_power.csv`` says how often spectra are rejected of which some levels know nothing of
the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

import rmtlib
from rmtlib import laws
from rmtlib.ensembles import glorot_uniform
from rmtlib.goodness import bulk_test, counting_deviation
from rmtlib.null_laws import noise_singular_values
from rmtlib.runs import book_data

from .measured import layer_numbers

__all__ = ["any_below", "bulk_against_law", "draw", "draw_power", "power", "read", "read_power", "with_independent_levels"]

FIRST = 1000  # seed of a network that nobody trained
SIDE = 512
INPUTS = 3072
STRETCH = 1.05  # of a tenth of the rows: what the test of initial matrices is asked about
HALF = 1.3  # of half of the rows: what the fit of a trained bulk is asked about
SHARES = (0.0, 0.05, 0.1, 0.2)  # of independent levels
LEVELS = (77, 90, 150, 256, 512, 1024)
MOST_TESTS = 30


def bulk_against_law(nu, shape: tuple[int, int], sigma: float) -> dict[str, float]:
    r"""How far singular values are from the Marchenko-Pastur law of a known sigma.

    Parameters
    ----------
    nu : array of shape (m,)
        Singular values, ascending.
    shape : tuple of int
    sigma : float
        Standard deviation of an entry.

    Returns
    -------
    dict of str to float
        ``deviation``: largest distance of the counting function from the law, over :math:`\sqrt{\ln m - 1}/\pi`;
        ``largest_p``: of the largest level by the Tracy-Widom law, two-sided.
    """
    n, m = max(shape), min(shape)
    law = laws.marchenko_pastur(m / n, sigma * np.sqrt(n))
    counted = np.abs(np.arange(m) + 0.5 - m * law.cdf(nu)).max() / counting_deviation(m)
    roots = np.sqrt([n - 1, m])
    scaled = (nu[-1] ** 2 / sigma**2 - roots.sum() ** 2) / (roots.sum() * np.sum(1 / roots) ** (1 / 3))
    tail = laws.tracy_widom.sf(scaled)
    return {"deviation": float(counted), "largest_p": float(2 * min(tail, 1 - tail))}


def draw(seeds: int = 400, *, first: int = FIRST, side: int = SIDE, inputs: int = INPUTS, a: int = 15) -> pd.DataFrame:
    """Initial networks of fresh seeds through every statistic.

    Parameters
    ----------
    seeds : int
        Number of networks.
    first : int
        Seed of the first one.
    side, inputs : int
        Width of the hidden layers, and number of inputs of the first one.
    a : int
        Half window of the unfolding.

    Returns
    -------
    pandas.DataFrame
        A row a seed: `studies.measured.layer_numbers` of the second layer; ``deviation`` and ``largest_p`` of
        `bulk_against_law`, the same with ``_uneven`` after a tenth of the rows was made larger by a twentieth;
        ``bulk_p_uneven``: of the bulk after half of the rows was made larger by three tenths;
        ``spacing_p1``, ``scipy_p1``, ``spacing_p3``, ``scipy_p3`` of the first and the third layer.
    """
    rows = {}
    larger, half = (np.where(np.arange(side) < side // part, by, 1.0)[:, None] for part, by in ((10, STRETCH), (2, HALF)))
    for seed in range(first, first + seeds):
        W = glorot_uniform((side, side), [seed, 2])
        s, sigma = rmtlib.analyse(W, a=a), np.sqrt(1 / side)
        rows[seed] = layer_numbers(s) | bulk_against_law(s.nu, W.shape, sigma)
        uneven = bulk_against_law(rmtlib.spectrum(larger * W, vectors=False).nu, W.shape, sigma)
        rows[seed] |= {f"{name}_uneven": value for name, value in uneven.items()}
        halves = rmtlib.spectrum(half * W, vectors=False).nu
        rows[seed]["bulk_p_uneven"] = bulk_test(halves, W.shape, outliers=(0, 0)).pvalue
        for layer, width in ((1, inputs), (3, side)):
            test = _spacings(rmtlib.spectrum(glorot_uniform((side, width), [seed, layer]), vectors=False).nu, a)
            rows[seed] |= {f"spacing_p{layer}": test.calibrated_pvalue, f"scipy_p{layer}": test.pvalue}
    return pd.DataFrame(rows).T.rename_axis("seed")


def with_independent_levels(m: int, share: float, rng) -> np.ndarray:
    """Levels of square noise, a share of them (below one) replaced by as many independent ones of the same law."""
    rng = np.random.default_rng(rng)
    k = round(share * m)
    own = noise_singular_values((m - k, m - k), rng) * np.sqrt(m / (m - k))
    return np.sort(np.concatenate([own, laws.marchenko_pastur(1.0, np.sqrt(m)).ppf(rng.random(k))]))


def draw_power(draws: int = 600, *, levels=LEVELS, shares=SHARES, a: int = 15, seed: int = 0) -> pd.DataFrame:
    """How often the calibrated test of spacings rejects `with_independent_levels`, at five per cent over a number of tests.

    Parameters
    ----------
    draws : int
        Spectra of each kind; four times as many of noise, the share 0.
    levels : sequence of int
        Numbers of levels.
    shares : sequence of float
        Of independent levels.
    a : int
        Half window of the unfolding.
    seed : int

    Returns
    -------
    pandas.DataFrame
        Columns ``levels``, ``share``, ``tests`` and ``power``.
    """
    rows = []
    for m in levels:
        rng = np.random.default_rng([seed, m])
        for share in shares:
            times = draws if share else 4 * draws
            p = np.array([_spacings(with_independent_levels(m, share, rng), a).calibrated_pvalue for _ in range(times)])
            rows += [(m, share, tests, float(np.mean(p < 0.05 / tests))) for tests in range(1, MOST_TESTS + 1)]
    return pd.DataFrame(rows, columns=["levels", "share", "tests", "power"])


def read(path: Path | None = None) -> pd.DataFrame:
    """The table of `draw`, by default the book's."""
    return pd.read_csv(path or book_data() / "noise.csv", index_col="seed")


def read_power(path: Path | None = None) -> pd.DataFrame:
    """The table of `draw_power`, by default the book's."""
    return pd.read_csv(path or book_data() / "spacings_power.csv")


def power(levels: int, share: float, tests: int, table: pd.DataFrame | None = None) -> float:
    """Probability that the calibrated test of spacings rejects a layer of which a share of the levels is independent.

    Parameters
    ----------
    levels : int
        Of the layer; between those of the table the power is interpolated, and beyond the most it is that of the most: more
        levels see more, so it is at least that.
    share : float
        One of the table's; for 0 the probability of a false alarm.
    tests : int
        Over which the level of five per cent is divided.
    table : pandas.DataFrame, optional
        From `draw_power`; by default the book's.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the table has no such share, no such number of tests, or only layers with more levels.
    """
    table = _stored_power() if table is None else table
    if not np.isclose(table["share"], share).any():
        msg = f"share must be one of {', '.join(map(str, table['share'].unique()))}; got {share}"
        raise ValueError(msg)
    own = table[np.isclose(table["share"], share)]
    for name, given in (("tests", tests), ("levels", levels)):
        least, most = own[name].min(), own[name].max()
        if given < least or (name == "tests" and given > most):
            msg = f"{name} must be {least}{f' to {most}' if name == 'tests' else ' or more'}, as in the table; got {given}"
            raise ValueError(msg)
    column = own[own["tests"] == tests].sort_values("levels")
    return float(np.interp(levels, column["levels"], column["power"]))


def any_below(levels: Iterable[int], bound: float, *, calibrated: bool = True, draws: int = 200, a: int = 15, rng=0) -> float:
    """Probability that the p of the spacings of at least one layer of noise falls below a bound.

    Parameters
    ----------
    levels : iterable of int
        Number of levels of each layer, on which alone the spacings of noise depend.
    bound : float
    calibrated : bool
        Whether the calibrated p is meant, or scipy's.
    draws : int
        Matrices for each number of levels.
    a : int
        Half window of the unfolding.
    rng : seed or numpy.random.Generator

    Returns
    -------
    float
        Of independent layers: one minus the product of the probabilities that they do not.

    Raises
    ------
    ValueError
        If there is no layer, or one has too few levels to be tested.
    """
    layers, rng = Counter(levels), np.random.default_rng(rng)
    if not layers:
        msg = "levels must have a number for each layer; got none"
        raise ValueError(msg)
    none = 1.0
    for m, number in layers.items():
        tests = (_spacings(noise_singular_values((2 * m, m), rng), a) for _ in range(draws))
        below = float(np.mean([(test.calibrated_pvalue if calibrated else test.pvalue) < bound for test in tests]))
        none *= (1 - below) ** number
    return float(1 - none)


@lru_cache(maxsize=1)
def _stored_power():
    return read_power()


def _spacings(nu, a):
    return rmtlib.spacing_test(rmtlib.unfold(nu, a=a), a=a)
