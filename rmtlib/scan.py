r"""Singular values alone, one matrix after the other: a table of any checkpoint, as large as it may be.

What a *scan* says of a matrix needs no singular vectors: how strong its noise is, where its levels end, how many levels lie
outside, with and without the sizes of neurons, how heavy the tail is beside that of noise, and a signal-to-noise ratio.

**The signal-to-noise ratio** is the sum of the levels above an edge over the sum of those below, divided by the largest. Spectrum
(Hartford et al., arXiv 2406.06623), which chooses by it the layers to be fine-tuned, takes :math:`\sigma = \mathrm{IQR}/1.349`
from the quartiles of the levels and the edge :math:`\sigma (1 + \sqrt\beta)`, with :math:`\beta` the ratio of the sides. Levels
are no sample of a normal law, and noise has no edge there: a large part of pure noise, up to all of it, counts as signal. ``snr``
has the same form with a calibrated edge, that of a fitted bulk, which the largest level of noise passes in one matrix of a
hundred (Tracy-Widom). It is 0 for noise. Nobody has shown that layers chosen by it fine-tune better.
"""

from __future__ import annotations

import json
import math
import re
import time
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import biwhitening, checks, departures, gram, laws, layer_levels, parallel
from .biwhitening import BiwhitenError
from .files import write_atomically
from .layer_table import table_of_layers
from .spectra import spectrum, stable_rank
from .tails import noise_exponent
from .unfolding import half_window
from .weights import Layer
from .wording import counted, uncounted

__all__ = ["SCHEMA", "in_words", "scan", "signal_to_noise", "spectrum_ratio", "table_file", "write_scan", "write_snr"]

SCHEMA = 1  # of the JSON that `write_scan` writes
ZERO = 1e-6  # of the largest level: what a Gram matrix cannot tell from zero
QUANTILES = 4096  # levels of noise from which Spectrum's number is made, at most


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
    Levels come from the Gram matrix (`rmtlib.gram`), for large float32 matrices in float32 where the smallest level is above 0.03
    of the largest: it then has a relative error below 1e-3, others a much smaller one. That is far less than the distance of two
    levels, and no count, edge or exponent notices. Half precision is converted to float32 exactly.

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
        parameters={"scan": SCHEMA, "biwhiten": biwhiten},
        failed=_not_scanned,
        layers=layers,
        workers=workers,
        scheduler=scheduler,
        csv=csv,
        resume=resume,
        progress=progress,
    )


def signal_to_noise(nu, edge: float) -> float:
    """Sum of the levels above an edge over the sum of those below, divided by the largest.

    Parameters
    ----------
    nu : array_like, shape (m,)
        Singular values, ascending, the largest above 0.
    edge : float
        Where noise ends, in units of ``nu``.

    Returns
    -------
    float
        In inverse units of ``nu``; infinite if nothing lies below.

    Raises
    ------
    ValueError
        If ``nu`` is not ascending and finite, or its largest is not above 0.

    Examples
    --------
    >>> signal_to_noise([1.0, 1.0, 4.0], 2.0)
    0.5
    """
    nu = checks.levels(nu, "nu")
    if nu[-1] <= 0:
        msg = f"nu must have a level above 0; the largest is {nu[-1]:g}"
        raise ValueError(msg)
    above, below = float(nu[nu > edge].sum()), float(nu[nu <= edge].sum())
    return above / below / float(nu[-1]) if below > 0 else math.inf


def spectrum_ratio(nu, shape: tuple[int, int]) -> float:
    r"""The signal-to-noise ratio by which Spectrum chooses layers.

    Parameters
    ----------
    nu : array_like, shape (m,)
        Singular values, ascending, all of them.
    shape : tuple of int
        Shape of the matrix, in either order.

    Returns
    -------
    float
        In inverse units of ``nu``.

    Raises
    ------
    ValueError
        As `signal_to_noise`.

    Notes
    -----
    The edge is :math:`\sigma (1 + \sqrt{m/n})`, with :math:`\sigma` the interquartile range of the levels over 1.349.

    References
    ----------
    Hartford, Atkins, Fernandes Neto and Golchinfar, arXiv 2406.06623 (2024).

    Examples
    --------
    Noise of aspect ratio 4 is all signal:

    >>> from rmtlib import ensembles
    >>> nu = np.linalg.svd(ensembles.gaussian((400, 100), 0), compute_uv=False)[::-1]
    >>> spectrum_ratio(nu, (400, 100))
    inf
    """
    nu = checks.levels(nu, "nu")
    lower, upper = np.quantile(nu, [0.25, 0.75])
    return signal_to_noise(nu, (upper - lower) / 1.349 * (1 + math.sqrt(min(shape) / max(shape))))


def write_scan(weights: Mapping, output, *, snr: Path | str | None = None, **settings) -> tuple[Any, tuple[Path, ...]]:
    """Scan a network and write a table, the same as JSON, and on demand the ratios in Spectrum's form.

    Parameters
    ----------
    weights : mapping of str to Layer or array
        As in `scan`.
    output : path
        The files are ``output`` with ``.csv``, written anew as layers finish, and ``.json``, written at the end; in a folder that
        exists they are called ``scan``.
    snr : path, optional
        Where to write the ratios in the form that Spectrum reads, see `write_snr`.
    **settings
        Further arguments of `scan`.

    Returns
    -------
    table : pandas.DataFrame
        As `scan` gives it.
    files : tuple of pathlib.Path
        What was written.

    Raises
    ------
    ValueError
        As `scan`, or if the files cannot be written there.
    KeyboardInterrupt
        After Ctrl-C. The CSV holds the layers that were finished; ``resume=True`` goes on with it.
    """
    csv = table_file(output)
    if not csv.parent.is_dir():
        msg = f"output must be in a folder that exists; got {str(output)!r}"
        raise ValueError(msg)
    if snr is not None and not Path(snr).parent.is_dir():
        msg = f"snr must be a file in a folder that exists; got {str(snr)!r}"
        raise ValueError(msg)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "interrupted after", UserWarning)
        try:
            table = scan(weights, csv=csv, **settings)
        except UserWarning:
            raise KeyboardInterrupt from None
    files = [csv, csv.with_suffix(".json")]
    write_atomically(files[1], _as_json(table, weights, settings))
    if snr is not None:
        files.append(Path(snr))
        write_snr(table, snr)
    return table, tuple(files)


def in_words(table) -> str:
    """What a scan found, in a sentence or two.

    Parameters
    ----------
    table : pandas.DataFrame
        From `scan`.

    Returns
    -------
    str
    """
    count = len(table)
    known = table["outliers"].notna() if "outliers" in table else np.zeros(count, bool)
    whole = f"{known.sum()} of {_layers(count)} have a bulk of noise to be compared with"
    said = [f"{_layers(count)} scanned" if known.all() else whole]
    if known.any():
        above = table["outliers"].astype(float) > 0
        said.append(f"{above.sum() or 'none'} with levels above noise")
        if "outliers_biwhitened" in table:
            without = table["outliers_biwhitened"].astype(float) > 0
            said.append(f"{without.sum() or 'none'} once the sizes of neurons are taken out")
    if not known.all():
        said.append('the column "missing" says what could not be said of the others')
    return "; ".join(said)


def _layers(count):
    return f"{count} layer{'s' * (count != 1)}"


def table_file(output) -> Path:
    """The CSV that `write_scan` writes."""
    path = Path(output)
    return path / "scan.csv" if path.is_dir() else path.with_name(f"{path.name}.csv")


def write_snr(table, path) -> None:
    """Write the calibrated ratios of a scan in the form of Spectrum's result file, which axolotl's plug-in reads.

    Parameters
    ----------
    table : pandas.DataFrame
        From `scan`.
    path : path
        Spectrum's own place is ``model_snr_results/snr_results_<model>.json``.

    Raises
    ------
    ValueError
        If no layer of the table has a ratio.

    Notes
    -----
    A JSON object, ``{layer: {"snr": number, "type": name}}``: the ratio without sizes where the scan has it, otherwise the one as
    is; the type is the name after the number of the block, ``self_attn.q_proj`` of ``model.layers.0.self_attn.q_proj``, among
    which Spectrum takes its top share. Layers without a ratio are left out.
    """
    found = {}
    for row in table.to_dict("records"):
        known = [row.get(column) for column in ("snr_biwhitened", "snr")]
        ratio = next((float(value) for value in known if value is not None and math.isfinite(value)), None)
        if ratio is not None:
            found[row["layer"]] = {"snr": ratio, "type": _type(row["layer"])}
    if not found:
        msg = "table has no layer with a signal-to-noise ratio: 'missing' in it says why"
        raise ValueError(msg)
    write_atomically(path, (json.dumps(found, indent=4) + "\n").encode())


def _type(name):
    return re.split(r"(?:^|[./])\d+[./]", name, maxsplit=1)[-1]


def _as_json(table, weights, settings):
    from . import __version__

    origin = getattr(weights, "origin", None)
    rows = [{key: _plain(value) for key, value in row.items()} for row in table.to_dict("records")]
    content = {
        "schema": SCHEMA,
        "rmtlib": __version__,
        "file": None if origin is None else {"name": origin.path.name, "fingerprint": origin.fingerprint()},
        "parameters": {key: settings.get(key, default) for key, default in (("biwhiten", True), ("layers", None))},
        "layers": rows,
        "skipped": [{"tensor": s.name, "shape": list(s.shape), "reason": s.reason} for s in getattr(weights, "skipped", ())],
    }
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _plain(value):
    """A value that JSON has; not a number is null, infinity a text."""
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else "infinite" if value == math.inf else None
    if isinstance(value, np.generic):
        return value.item()
    return list(value) if isinstance(value, tuple) else value


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
    noise = noise_exponent(W.shape) if alpha is not None else None
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
        "spectrum_snr_noise": None if bulk is None else _ratio_of_noise(shape, bulk.sigma),
        "arithmetic": arithmetic,
        "missing": missing,
    }


def _levels(W):
    """Levels that are not zero, and the arithmetic they were computed in."""
    found = gram.decomposed(W if W.shape[0] >= W.shape[1] else W.T) if _is_ordinary(W) else None
    if found is None or found.nu[0] <= ZERO * found.nu[-1]:
        return spectrum(W, vectors=False, deficient=True).nu, "float64"
    return found.nu, "float32" if found.single else "float64"


def _is_ordinary(W):
    return 1e-100 < max(-float(W.min()), float(W.max())) < 1e100


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


def _ratio_of_noise(shape, sigma):
    """Spectrum's number of noise, from the quantiles of its law."""
    n, m = max(shape), min(shape)
    count = min(m, QUANTILES)
    nu = laws.marchenko_pastur(m / n, sigma * math.sqrt(n)).ppf((np.arange(count) + 0.5) / count)
    return spectrum_ratio(nu, shape)
