r"""Singular values alone, one matrix after the other: a table of any checkpoint, as large as it may be.

What a *scan* says of a matrix needs no singular vectors: how strong its noise is, where its levels end, how many levels lie
outside, with and without the sizes of neurons, how heavy the tail is beside that of noise, and a signal-to-noise ratio
(`rmtlib.signal_to_noise`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

import numpy as np

from . import biwhitening, checks, departures, gram, layer_levels, parallel
from .biwhitening import BiwhitenError
from .layer_table import table_of_layers
from .signal_to_noise import ratio_of_noise, signal_to_noise, spectrum_ratio
from .spectra import spectrum, stable_rank
from .unfolding import half_window
from .weights import Layer
from .wording import counted, uncounted

__all__ = ["scan"]

ZERO = 1e-6  # of the largest level: what a Gram matrix cannot tell from zero


def scan(
    weights: Mapping,
    *,
    biwhiten: bool = True,
    layers: str | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
    csv=None,
    resume: bool = False,
):
    r"""Scan the singular values of every layer, with one matrix a worker in memory.

    Parameters
    ----------
    weights : mapping of str to Layer or array
        From `rmtlib.load_weights`, whose layers are read only when it is their turn.
    biwhiten : bool
        Say also what is left without the sizes of rows and columns, see `rmtlib.biwhiten`: twice as long, or four times where
        directions are found.
    layers, workers, scheduler, progress, csv, resume
        As in `rmtlib.analyse_network`.

    Returns
    -------
    pandas.DataFrame
        One row a layer, in the order of ``weights``:

        ``layer, kind, shape, levels, rank``
            Name, kind, ``(n_out, n_in)``, number of singular values, and of those that are not zero.
        ``largest, stable_rank, sigma``
            Largest level and standard deviation of an entry of the noise, in units of the weights; `rmtlib.spectra.stable_rank`.
        ``outlier_edge_below, outlier_edge, bulk_fraction``
            Limits of the levels of noise in units of the weights, and the share of the levels in the fitted bulk, see
            `rmtlib.MarchenkoPasturFit`.
        ``outliers, outliers_below``
            Levels beyond these limits; ``_biwhitened``: of the matrix without the sizes of its noise.
        ``sizes_settled, row_spread, column_spread``
            Whether these sizes could be told from signal, and their coefficients of variation.
        ``alpha, alpha_biwhitened, alpha_noise, alpha_noise_sd``
            Exponent of the power law closest to the upper eigenvalues ``nu**2``; mean and standard deviation for noise of the
            shape.
        ``snr, snr_biwhitened``
            Signal-to-noise ratio with the calibrated edge, as is and without sizes, in inverse units of the weights.
        ``spectrum_snr, spectrum_snr_noise``
            Spectrum's own number, and what it gives for noise of this shape and sigma; infinite where it calls every level
            signal.
        ``arithmetic, seconds``
            "float32" or "float64", in which the levels as they are were computed, and the time that the layer took.
        ``missing``
            What could not be said, and why.

    Raises
    ------
    ValueError
        As `rmtlib.analyse_network`.

    Warns
    -----
    UserWarning
        If Ctrl-C ends the scan early, as in `rmtlib.analyse_network`.

    Notes
    -----
    Levels come from the Gram matrix (``rmtlib.gram``), for large float32 matrices in float32 where the smallest level is above
    0.03 of the largest: it then has a relative error below 1e-3, others a much smaller one. That is far less than the distance
    of two levels, and no count, edge or exponent notices. Half precision is converted to float32 exactly.

    Memory is that of the matrix as float32, a square matrix of the smaller side and blocks of 1024 rows; while a float16 or
    bfloat16 tensor is read, half of the matrix more. Every worker holds as much.

    Examples
    --------
    >>> import rmtlib
    >>> noise = rmtlib.ensembles.gaussian((400, 200), 0)
    >>> table = scan({"noise": noise}, progress=False)
    >>> table[["outliers", "outliers_biwhitened", "snr"]].values.tolist()
    [[0.0, 0.0, 0.0]]
    >>> bool(table["spectrum_snr"][0] > 0)
    True
    """
    checks.choice(biwhiten, "biwhiten", (True, False))
    return table_of_layers(
        partial(_scanned, biwhiten=biwhiten),
        weights,
        parameters={"command": "scan", "biwhiten": biwhiten},
        failed=_not_scanned,
        layers=layers,
        workers=workers,
        scheduler=scheduler,
        csv=csv,
        resume=resume,
        progress=progress,
    )


def _not_scanned(name, shape, reason):
    return {"layer": name, "shape": shape, "missing": f"not scanned: {reason.removeprefix(f'{name}: ')}"}


def _scanned(name, layer, *, biwhiten):
    start = time.perf_counter()
    try:
        row = _row(name, layer, biwhiten)
    except (ValueError, MemoryError) as error:
        return _not_scanned(name, parallel.matrix_of(layer).shape, str(error) or "not enough memory")
    missing = row.pop("missing")
    told = "; ".join(f"{what}: {why}" for what, why in missing.items())
    return row | {"seconds": round(time.perf_counter() - start, 3), "missing": told or None}


def _row(name, layer, biwhiten):
    missing: dict[str, str] = {}
    W = checks.matrix(parallel.matrix_of(layer))
    shape, kind = W.shape, layer.kind if isinstance(layer, Layer) else "dense"
    W = layer_levels.without_empty(W, missing)
    if W.min() == W.max():
        msg = f"W is constant (every entry is {W.min():.6g}): it has rank 1 and no spectrum to scan"
        raise ValueError(msg)
    nu, arithmetic = _levels(W)
    full = layer_levels.is_full(len(nu), W.shape, missing)
    bulk = layer_levels.fitted_bulk(nu, W.shape, half_window(max(len(nu), 5)), missing) if full else None
    if bulk is not None and uncounted(bulk):
        missing["outliers"] = f"the bulk holds {bulk.bulk_fraction:.0%} of the levels, which is none to lie outside of"
    if (share := departures.zero_share(W)) >= departures.SPARSE:
        missing["edge"] = f"{share:.0%} of the entries are zero, so the edge of Gaussian noise is not theirs"
    alpha = layer_levels.exponent(nu, missing) if full else None
    noise = layer_levels.exponent_of_noise(W.shape) if alpha is not None else None
    everything = np.concatenate([np.zeros(min(shape) - len(nu)), nu])
    return {
        "layer": name,
        "kind": kind,
        "shape": shape,
        "levels": min(shape),
        "rank": len(nu),
        "largest": float(nu[-1]),
        "stable_rank": stable_rank(nu),
        "sigma": getattr(bulk, "sigma", None),
        "outlier_edge_below": getattr(bulk, "outlier_edge_below", None),
        "outlier_edge": getattr(bulk, "outlier_edge", None),
        "bulk_fraction": getattr(bulk, "bulk_fraction", None),
        "outliers": counted(bulk, "n_outliers"),
        "outliers_below": counted(bulk, "n_outliers_below"),
        **(_without_sizes(W, missing) if full and biwhiten else {}),
        "alpha": alpha,
        "alpha_noise": getattr(noise, "mean", None),
        "alpha_noise_sd": getattr(noise, "standard_deviation", None),
        "snr": None if bulk is None or uncounted(bulk) else signal_to_noise(nu, bulk.outlier_edge),
        "spectrum_snr": spectrum_ratio(everything, shape),
        "spectrum_snr_noise": None if bulk is None else ratio_of_noise(shape, bulk.sigma),
        "arithmetic": arithmetic,
        "missing": missing,
    }


def _levels(W):
    """Levels that are not zero, and the arithmetic they were computed in."""
    unit = checks.unit(W)
    W = checks.divided(W, unit)
    found = gram.decomposed(W if W.shape[0] >= W.shape[1] else W.T)
    if found.nu[0] <= ZERO * found.nu[-1]:
        return unit * spectrum(W, vectors=False, deficient=True).nu, "float64"
    return unit * found.nu, "float32" if found.single else "float64"


def _without_sizes(W, missing):
    try:
        sizes = biwhitening.find_sizes(W, "noise")
    except BiwhitenError as error:
        missing["sizes"] = str(error)
        return {}
    nu = sizes.nu
    if nu is None:
        rows, columns = 1 / sizes.row_sizes, 1 / sizes.column_sizes
        nu = gram.decomposed(W, rows, columns).nu if len(rows) >= len(columns) else gram.decomposed(W.T, columns, rows).nu
    nu = nu[nu > ZERO * nu[-1]]
    if not sizes.settled:
        missing["noise sizes"] = f"they did not settle in {sizes.iterations} rounds: noise and signal could not be told apart"
    bulk = layer_levels.fitted_bulk(nu, W.shape, half_window(len(nu)), {})
    unit = float(np.exp(np.log(sizes.row_sizes).mean()))  # of the weights, in which the ratio as is has its largest level
    ratio = None if bulk is None or uncounted(bulk) else signal_to_noise(unit * nu, unit * bulk.outlier_edge)
    return {
        "outliers_biwhitened": counted(bulk, "n_outliers"),
        "outliers_below_biwhitened": counted(bulk, "n_outliers_below"),
        "sizes_settled": sizes.settled,
        "row_spread": sizes.row_spread,
        "column_spread": sizes.column_spread,
        "alpha_biwhitened": layer_levels.exponent(nu, {}),
        "snr_biwhitened": ratio,
    }
