"""How long the analysis of a matrix takes, and how much of it is the decomposition."""

from __future__ import annotations

import functools
import time
import timeit
from collections.abc import Callable, Iterable

import pandas as pd
from threadpoolctl import threadpool_limits

import rmtlib
from rmtlib.claims import Outcome

__all__ = ["measure", "outcomes", "processor_seconds"]

REPEATS = 3


def processor_seconds(call: Callable, *arguments) -> float:
    """Processor time of a call, the best of three: a busy machine changes it little."""
    return min(timeit.repeat(lambda: call(*arguments), timer=time.process_time, number=1, repeat=REPEATS))


def measure(sizes: Iterable[int], *, seed: int = 0) -> pd.DataFrame:
    """Processor seconds of the decomposition alone and of the analysis as it is, without biwhitening, on one thread.

    Parameters
    ----------
    sizes : iterable of int
        Levels of square matrices of Gaussian noise.
    seed : int
        Of the noise.

    Returns
    -------
    pandas.DataFrame
        Rows by number of levels; columns ``decomposition``, ``whole analysis``.
    """
    calls: dict[str, Callable] = {
        "decomposition": rmtlib.spectrum,
        "whole analysis": functools.partial(rmtlib.analyse, biwhiten=False),
    }
    seconds = {}
    with threadpool_limits(1):
        for m in sizes:
            W = rmtlib.ensembles.gaussian((m, m), seed)
            seconds[m] = {name: processor_seconds(call, W) for name, call in calls.items()}
    return pd.DataFrame(seconds).T


def outcomes(seconds: pd.DataFrame) -> dict[str, Outcome]:
    """Whether the decomposition takes most of the time of the largest matrix, and the statistics that of the smallest.

    Parameters
    ----------
    seconds : pandas.DataFrame
        Of `measure`, in ascending order of the sizes.
    """
    share = seconds["decomposition"] / seconds["whole analysis"]
    return {
        "decomposition-dominates": Outcome(share.iloc[-1] > 0.5, m=share.index[-1]),
        "statistics-dominate": Outcome(share.iloc[0] < 0.5, m=share.index[0]),
    }
