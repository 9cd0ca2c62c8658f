"""A network layer by layer: the analysis of every layer, several at a time, as one table."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import analysis, checks, parallel, wording
from .files import atomic_file
from .layer_analysis import LayerAnalysis
from .multiple import benjamini_hochberg

__all__ = ["analyse_network"]


def analyse_network(
    weights: Mapping,
    *,
    a: int = 15,
    biwhiten: bool = True,
    workers: int | None = None,
    progress: bool = True,
    on_layer: Callable[[LayerAnalysis], object] | None = None,
    csv=None,
):
    """Analyse every layer of a network, several at a time.

    Parameters
    ----------
    weights : mapping of str to Layer or array
        From `rmtlib.load_weights`, whose layers are read only when it is their turn.
    a : int
        Half window, as in `analyse`.
    biwhiten : bool
        Take sizes out as well, as in `analyse`.
    workers : int, optional
        Layers at a time; by default one for each processor that this process may use. It is always one where threadpoolctl, which
        keeps BLAS to one thread a layer, was left out of the installation.
    progress : bool
        Show a progress bar over the layers.
    on_layer : callable, optional
        Called with the `LayerAnalysis` of every layer as it finishes, in the thread of the caller.
    csv : path, optional
        File to which the table of the finished layers is written anew whenever one finishes.

    Returns
    -------
    pandas.DataFrame
        One row a layer in the order of ``weights``, with the columns of `LayerAnalysis.row`, which lists them with their units,
        and ``spacing_qvalue``, the Benjamini-Hochberg q-value of the calibrated p of the spacings among the layers, by which
        alone ``summary`` speaks of spacings. A layer that cannot be analysed keeps its row: its ``summary`` says why, the other
        columns are empty.

    Raises
    ------
    ValueError
        If ``weights`` is no mapping or has no layers (what `rmtlib.load_weights` skipped is then named), or the folder of ``csv``
        does not exist.

    Warns
    -----
    UserWarning
        If Ctrl-C (``KeyboardInterrupt``) ends the analysis early. The table of the finished layers is returned, and the rows of
        the others say "interrupted". With no layer finished, the interrupt is passed on.

    Notes
    -----
    Layers of up to 2**24 entries are analysed side by side, with one BLAS thread each: never more busy threads of BLAS than
    ``workers``, and faster than BLAS's own threads, which mostly wait in the decomposition of a single layer. Larger layers
    follow, one at a time with all threads of BLAS. Memory is that of the largest layer or of ``workers`` layers of 2**24
    entries (0.4 GB each), whichever is more. After Ctrl-C a large layer under way may keep a processor busy until its
    decomposition ends: LAPACK cannot be interrupted.

    Examples
    --------
    >>> import rmtlib
    >>> shapes = {"fc1": (120, 100), "fc2": (100, 90)}
    >>> layers = {
    ...     name: rmtlib.ensembles.gaussian(shape, seed)
    ...     for seed, (name, shape) in enumerate(shapes.items())
    ... }
    >>> analyse_network(layers, progress=False)["levels"].tolist()
    [100, 90]
    """
    a = checks.integer(a, "a", at_least=1)
    checks.choice(biwhiten, "biwhiten", (True, False))
    workers = parallel.processors() if workers is None else checks.integer(workers, "workers", at_least=1)
    if not isinstance(weights, Mapping):
        msg = f"weights must be a mapping of names to layers, as load_weights gives; got {type(weights).__name__}"
        raise ValueError(msg)
    if csv is not None and not Path(csv).parent.is_dir():
        msg = f"csv must be a file in a folder that exists; got {str(csv)!r}"
        raise ValueError(msg)
    names = list(weights)
    if not names:
        skipped = "; ".join(f"{s.name} {tuple(s.shape)}: {s.reason}" for s in getattr(weights, "skipped", ())[:5])
        msg = f"weights holds no matrix to analyse{f' (skipped: {skipped})' if skipped else ''}"
        raise ValueError(msg)

    def analysed(name, layer):
        try:
            return replace(analysis.analyse(layer, a=a, biwhiten=biwhiten, name=name), spacing_qvalue=None)
        except (ValueError, MemoryError) as error:
            return _not_analysed(name, parallel.matrix_of(layer).shape, str(error) or "not enough memory")

    rows, finished, interrupted = {}, 0, False
    results = parallel.as_they_finish(analysed, weights, workers=workers)
    try:
        with closing(results), tqdm(total=len(names), desc="layers", unit="layer", disable=not progress) as bar:
            for name, result in results:
                if isinstance(result, ValueError):
                    result = _not_analysed(name, None, str(result))
                rows[name] = result.row() if isinstance(result, LayerAnalysis) else result
                finished += isinstance(result, LayerAnalysis)
                bar.update()
                if csv is not None:
                    _write(_table([rows[name] for name in names if name in rows]), csv)
                if on_layer is not None and isinstance(result, LayerAnalysis):
                    on_layer(result)
    except KeyboardInterrupt:
        if not finished:
            raise
        interrupted = True
    table = _table([rows.get(name) or _not_analysed(name, None, "interrupted") for name in names])
    if csv is not None:
        _write(table, csv)
    if interrupted:
        message = f"interrupted after {finished} of {len(names)} layers: the table holds these, and names the others"
        warnings.warn(message, stacklevel=2)
    return table


def _not_analysed(name, shape, reason):
    return {"layer": name, "shape": shape, "summary": f"{name}: not analysed: {reason.removeprefix(f'{name}: ')}"}


def _table(rows):
    import pandas as pd

    table = pd.DataFrame(rows)
    if "spacing_calibrated_pvalue" in table:
        known = table["spacing_calibrated_pvalue"].notna()
        qvalues = pd.Series(np.nan, table.index)
        if known.any():
            qvalues[known] = benjamini_hochberg(table.loc[known, "spacing_calibrated_pvalue"].astype(float))
        table.insert(table.columns.get_loc("spacing_calibrated_pvalue") + 1, "spacing_qvalue", qvalues)
        table["summary"] = [wording.with_spacings(*row) for row in zip(table["summary"], table["layer"], qvalues, strict=True)]
    return table


def _write(table, path):
    with atomic_file(path) as part:
        table.to_csv(part, index=False)
