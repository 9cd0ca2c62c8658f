"""A network layer by layer: the analysis of every layer, several at a time, as one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from . import analysis, checks, parallel, wording
from .layer_analysis import LayerAnalysis
from .layer_table import table_of_layers
from .multiple import benjamini_hochberg

__all__ = ["analyse_network"]


def analyse_network(
    weights: Mapping,
    *,
    a: int = 15,
    biwhiten: bool = True,
    layers: str | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
    on_layer: Callable[[LayerAnalysis], object] | None = None,
    csv=None,
    resume: bool = False,
):
    """Analyse every layer of a network, several at a time, on this machine or on many.

    Parameters
    ----------
    weights : mapping of str to Layer or array
        From `rmtlib.load_weights`, whose layers are read only when it is their turn.
    a : int
        Half window, as in `analyse`.
    biwhiten : bool
        Take sizes out as well, as in `analyse`.
    layers : str, optional
        Analyse only the layers in whose name this regular expression is found, such as ``"attn|mlp"``.
    workers : int, optional
        Layers at a time on this machine; by default one for each processor that this process may use. It is always one where
        threadpoolctl, which keeps BLAS to one thread a layer, was left out of the installation.
    scheduler : str, optional
        Address of a running dask scheduler, such as ``tcp://host:8786``: its workers analyse the layers, large ones first, and
        read them from files that they all see. ``workers`` is not used then.
    progress : bool
        Show a progress bar over the layers.
    on_layer : callable, optional
        Called with the `LayerAnalysis` of every layer as it finishes, in the thread of the caller; not for layers that ``resume``
        skips. From a ``scheduler`` they come without their biwhitened matrices (`LayerAnalysis.light`).
    csv : path, optional
        File to which the table of the finished layers is written anew as they finish, at most every five seconds and always at
        the end: a process that is killed loses what was finished in these seconds. Its last two columns say of which file a row
        is, by a hash of header, size and time, and with which parameters.
    resume : bool
        Take the rows that ``csv`` holds already for this file and these parameters, and analyse the other layers. What was
        interrupted or failed is done again. Rows of layers that are not chosen now stay in ``csv`` as they are, with the
        ``spacing_qvalue`` among the layers of their own table; the table that is returned is of the chosen ones.

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
        If ``weights`` is no mapping or has no layers (what `rmtlib.load_weights` skipped is then named); if ``layers`` is no
        regular expression or found in no name; if ``csv`` cannot be written there, or with ``resume`` is of another file; or if
        the scheduler does not answer in 20 seconds, has no workers, or has some that do not see the file.

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
    if on_layer is not None and not callable(on_layer):
        msg = f"on_layer must be a function of a LayerAnalysis; got {on_layer!r}"
        raise ValueError(msg)
    return table_of_layers(
        partial(_analysed, a=a, biwhiten=biwhiten, light=scheduler is not None),
        weights,
        parameters={"a": a, "biwhiten": biwhiten},
        failed=_not_analysed,
        finish=_with_qvalues,
        undo=_without_qvalue,
        on_result=on_layer,
        layers=layers,
        workers=workers,
        scheduler=scheduler,
        csv=csv,
        resume=resume,
        progress=progress,
    )


def _analysed(name, layer, *, a, biwhiten, light):
    try:
        found = replace(analysis.analyse(layer, a=a, biwhiten=biwhiten, name=name), spacing_qvalue=None)
    except (ValueError, MemoryError) as error:
        return _not_analysed(name, parallel.matrix_of(layer).shape, str(error) or "not enough memory")
    return found.light() if light else found


def _not_analysed(name, shape, reason):
    return {"layer": name, "shape": shape, "summary": f"{name}: not analysed: {reason.removeprefix(f'{name}: ')}"}


def _with_qvalues(rows):
    """The rows with the q of their spacings, which depends on all of them, and the words that follow from it."""
    known = [row.get("spacing_calibrated_pvalue") is not None for row in rows]
    qvalues = np.full(len(rows), np.nan)
    if any(known):
        qvalues[known] = benjamini_hochberg([row["spacing_calibrated_pvalue"] for row, k in zip(rows, known, strict=True) if k])
    return [_with_qvalue(row, float(q)) for row, q in zip(rows, qvalues, strict=True)]


def _with_qvalue(row, qvalue):
    result = {}
    for column, value in row.items():
        result[column] = value
        if column == "spacing_calibrated_pvalue":
            result["spacing_qvalue"] = qvalue
    return result | {"summary": wording.with_spacings(row["summary"], row["layer"], qvalue)}


def _without_qvalue(row):
    """A row as `LayerAnalysis.row` gives it."""
    kept = {column: value for column, value in row.items() if column != "spacing_qvalue"}
    return kept | {"summary": wording.without_spacings(row["summary"], row["layer"])}
