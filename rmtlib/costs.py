r"""How long layers will take and how much memory a worker needs, before anything is read: an estimate from shapes.

The unit of time is the decomposition of an n x m matrix by its Gram matrix in float64, :math:`nm^2 + \frac{16}{3} m^3` operations
if those of the second part count four times, which run at a quarter of the speed. How fast this processor is, is measured once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from . import checks, gram, parallel
from .blas_threads import one_thread
from .layer_table import chosen_layers, named_by_text
from .table_file import identity

__all__ = ["estimate"]

PROBE = 1024  # rows and columns of the noise that is timed
UNITS = {
    **{("scan", False): 1.15, ("scan", True): 2.4, ("analysis", False): 4.5, ("analysis", True): 9.0},
    **{("comparison", False): 20.0, ("comparison", True): 20.0},
}
LEAST = {"scan": 0.02, "analysis": 0.15, "comparison": 0.1}  # seconds that the smallest layer takes
DRAWN = 9e4  # operations an entry for the noise that intruders are compared with
SINGLE = 0.6  # of the time in float64, where a scan may use float32
TALL = 1.5  # aspect ratio from which it usually may


def estimate(weights: Mapping, *, layers: str | None = None, full: bool = True, what: str = "scan"):
    """Estimate time and memory of every layer.

    Parameters
    ----------
    weights : mapping of str to Layer or array
        From `rmtlib.load_weights`, or for a comparison from `rmtlib.comparison.pair_networks`; none is read.
    layers : str, optional
        A regular expression, as in `rmtlib.analyse_network`.
    full : bool
        With sizes taken out, or of a comparison with intruders.
    what : {"scan", "analysis", "comparison"}
        For `rmtlib.scan`, `rmtlib.analyse_network` or `rmtlib.compare`.

    Returns
    -------
    pandas.DataFrame
        ``layer, shape``; ``seconds`` on one processor, good to a factor of two for noise and twice as long where many directions
        are found; ``gigabytes`` that a worker needs for the layer beside the 0.2 of the program.

    Raises
    ------
    ValueError
        If an argument is out of range, or ``layers`` is found in no name.
    """
    import pandas as pd

    checks.choice(what, "what", ("scan", "analysis", "comparison"))
    checks.choice(full, "full", (True, False))
    weights = named_by_text(weights)
    names = chosen_layers(weights, layers)
    shapes = weights.shapes if hasattr(weights, "shapes") else {n: parallel.matrix_of(weights[n]).shape for n in names}
    unit = _seconds_an_operation()
    rows = []
    for name in names:
        n, m = max(shapes[name]), min(shapes[name])
        single = what == "scan" and n * m >= gram.SINGLE_FROM and n >= TALL * m
        drawn = DRAWN * n * m if what == "comparison" and full else 0
        seconds = unit * (_operations(n, m) * UNITS[what, full] * (SINGLE if single else 1) + drawn)
        rows.append(
            {
                "layer": ": ".join(map(str, identity(name).values())),
                "shape": shapes[name],
                "seconds": LEAST[what] + seconds,
                "gigabytes": _bytes(n, m, what) / 1e9,
            }
        )
    return pd.DataFrame(rows)


def _operations(n, m):
    return n * m**2 + 16 / 3 * m**3


def _bytes(n, m, what):
    if what == "comparison":
        return 50 * n * m + 31 * m**2
    if what == "analysis":
        return 21 * n * m + 12 * m**2
    return 4 * n * m + max(2 * n * m, 8 * m**2 + 16 * min(n, gram.ROWS) * m)


def _seconds_an_operation():
    W = np.random.default_rng(0).standard_normal((PROBE, PROBE))
    times = []
    with one_thread():
        for _ in range(2):
            start = time.perf_counter()
            gram.decomposed(W)
            times.append(time.perf_counter() - start)
    return min(times) / _operations(PROBE, PROBE)
