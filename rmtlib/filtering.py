r"""Take the noise out of the weights of a network: cut each spectrum where information begins, and shrink the rest.

Where noise ends is read off the spectrum by `rmtlib.fit_marchenko_pastur`, or given as a rank. The levels beyond were pushed up
by those of the noise, and `rmtlib.shrinkage` undoes that. `filter_matrix` treats one matrix, `filter_network` the layers of a
network, which it returns in the format in which it came.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from . import checks
from .marchenko_pastur import fit_marchenko_pastur
from .shrinkage import SHRINKERS, LowRankFactors, low_rank_factors, shrink_singular_values, spiked_strength, truncate
from .spectra import decompose, frobenius
from .weights import Skipped, WeightsError, load_weights
from .weights.write import open_sink

if TYPE_CHECKING:
    import pandas

__all__ = [
    "FilteredMatrix",
    "FilteredNetwork",
    "LowRankFactors",
    "filter_matrix",
    "filter_network",
    "honest_gain",
    "low_rank_factors",
    "shrink_singular_values",
    "spiked_strength",
    "truncate",
]

REPORT = ["layer", "shape", "levels", "rank", "removed", "cut", "edge", "sigma", "norm_before", "norm_after", "note"]


@dataclass(frozen=True, eq=False)
class FilteredMatrix:
    """A matrix without its noise.

    Attributes
    ----------
    matrix : numpy.ndarray
        float64, of the shape of the given matrix.
    nu, filtered_nu : numpy.ndarray
        Singular values before (ascending) and, in the same order, after: 0 where removed.
    rank, removed : int
        Numbers of singular values kept and removed.
    cut : float
        Singular values of at least this were kept.
    edge, sigma : float
        Where the noise ends, and the standard deviation of its entries, as fitted; nan where nothing was fitted.
    """

    matrix: np.ndarray
    nu: np.ndarray
    filtered_nu: np.ndarray
    rank: int
    removed: int
    cut: float
    edge: float
    sigma: float


@dataclass(frozen=True, eq=False)
class FilteredNetwork:
    """A network without the noise of its layers.

    Attributes
    ----------
    weights : dict or pathlib.Path
        What `filter_network` was given, in the same format: a mapping of all its tensors, or the path of the new file.
    report : pandas.DataFrame
        One row a matrix: ``layer``, ``shape``, ``levels``, ``rank`` (kept), ``removed``, ``cut``, ``edge``, ``sigma``,
        ``norm_before``, ``norm_after`` (Frobenius), and ``note``: why a matrix was left as it is, otherwise empty.
    skipped : list of Skipped
        Tensors that are no matrix, too small, or only part of one that several make; they are passed on unchanged.
    """

    weights: dict | Path
    report: pandas.DataFrame
    skipped: list[Skipped]


def filter_matrix(W, *, cut="edge", shrink: bool | str = True, a: int = 15) -> FilteredMatrix:
    r"""Remove small singular values and shrink the large ones.

    Parameters
    ----------
    W : array_like of shape (n_out, n_in)
    cut : "edge", int or float
        What is kept: the levels that noise does not reach, a number of levels, or a share of them (above 0, at most 1).
    shrink : bool or {"frobenius", "inverse"}
        How kept levels beyond the noise are shrunk, see `shrink_singular_values`; True is "frobenius", False leaves them.
    a : int
        Half window of the broadened density in the fit of the noise.

    Returns
    -------
    FilteredMatrix

    Raises
    ------
    ValueError
        If ``W`` is not a finite real matrix, an option is out of range, or the bulk of ``W`` cannot be fitted.

    Notes
    -----
    The noise ends at ``outlier_edge`` of `rmtlib.fit_marchenko_pastur`: pure noise keeps a level about once in 100 matrices.
    With r outliers the noise is that of an (n - r) x (m - r) matrix, there and here. A cut below the edge keeps levels inside the
    bulk. The map has no inverse for them: they stay as they are, and may then be larger than levels that were shrunk. Outliers
    below the bulk are removed with it.

    Costs one decomposition with vectors and, unless ``cut`` is a number and ``shrink`` is False, one fit.

    Examples
    --------
    >>> from rmtlib.ensembles import spiked
    >>> planted = spiked((800, 400), 0, strengths=[1.5, 2.0, 3.0])
    >>> filtered = filter_matrix(planted.matrix)
    >>> filtered.rank, filtered.nu[-3:].round(1), filtered.filtered_nu[-3:].round(1)
    (3, array([2. , 2.4, 3.3]), array([1. , 1.7, 2.8]))
    """
    W = checks.matrix(W)
    kind = _shrinker(shrink)
    levels = min(W.shape)
    rank = None if _is_edge(cut) else _kept(cut, levels, "cut")
    nu, inputs, outputs = decompose(W)
    edge = sigma = np.nan
    filtered = nu.copy()
    if rank is None or kind is not None:
        fit = fit_marchenko_pastur(nu, W.shape, a=a)
        edge, sigma = fit.outlier_edge, fit.sigma
        rank = fit.n_outliers if rank is None else rank
        if kind is not None and fit.n_outliers:
            r = fit.n_outliers + fit.n_outliers_below
            noise = (W.shape[0] - r, W.shape[1] - r)
            filtered[-fit.n_outliers :] = shrink_singular_values(nu[-fit.n_outliers :], noise, sigma=sigma, kind=kind)
    removed = levels - rank
    filtered[:removed] = 0
    return FilteredMatrix(
        matrix=(outputs[removed:].T * filtered[removed:]) @ inputs[removed:],
        nu=nu,
        filtered_nu=filtered,
        rank=rank,
        removed=removed,
        cut=float(edge if _is_edge(cut) else nu[removed]),
        edge=edge,
        sigma=sigma,
    )


def filter_network(
    model_or_weights,
    output=None,
    *,
    cut="edge",
    shrink: bool | str = True,
    layers: Iterable[str] | None = None,
    a: int = 15,
    min_levels: int = 16,
    groups: Mapping[str, int] | None = None,
    layout: str | None = None,
    progress: bool = True,
) -> FilteredNetwork:
    """Filter the weight matrices of a network, and return it in the format in which it came.

    Parameters
    ----------
    model_or_weights : path, mapping or torch.nn.Module
        A ``.safetensors`` file, a torch state dict or another mapping of names to arrays, or a live module (its state dict is
        returned). Of a run's file the trained tensors are filtered.
    output : path, optional
        The new ``.safetensors`` file, for a file alone. It must not be the input by any name; another file there is replaced.
    cut : "edge", int, float or mapping of str to these
        As in `filter_matrix`, for all layers, or by layer name: layers that the mapping does not name are left as they are.
    shrink : bool or {"frobenius", "inverse"}
        As in `filter_matrix`.
    layers : iterable of str, optional
        Names of the layers to filter, as `rmtlib.load_weights` gives them; by default all.
    a : int
        Half window of the broadened density in the fit of the noise.
    min_levels, groups, layout
        As in `rmtlib.load_weights`: which tensors are matrices, and how.
    progress : bool
        Show a progress bar over the layers.

    Returns
    -------
    FilteredNetwork
        New weights of the names, shapes and dtypes of the old ones, a report, and the tensors that are no matrices.

    Raises
    ------
    ValueError
        If the source cannot be read or is of another format, ``output`` is missing, superfluous or the input itself, a layer does
        not exist, an option is out of range, or filtered weights overflow their dtype. No file is left then.

    Notes
    -----
    The input is never changed, and no result shares memory with it. A layer in which noise explains every level, or whose bulk
    cannot be fitted, is left as it is rather than erased; its ``note`` says so. Convolutions are filtered as the matrices of the
    convolution rule, each group by itself. Tied tensors of a state dict stay tied. A new file is the old one, metadata included,
    with filtered tensors in their places; it appears whole or not at all.

    Filtering assumes that what looks like noise is noise. A layer of random features that later layers have learned to read
    loses them: check the accuracy afterwards.
    """
    import pandas as pd

    sink = open_sink(model_or_weights, output)
    _shrinker(shrink)
    a = checks.integer(a, "a", at_least=1)
    weights = load_weights(model_or_weights, min_levels=min_levels, groups=groups, layout=layout)
    cuts = _cuts(weights, cut, layers)
    rows, tensors = [], {name: weights.tensor(name) for name in cuts}

    def changed():
        with tqdm(cuts, desc="layers", disable=not progress or not sys.stderr) as progressed:
            for tensor, names in groupby(progressed, tensors.get):
                array = None
                for name in names:
                    try:
                        layer = weights[name]
                    except WeightsError:
                        if name in weights or layers is not None:
                            raise
                        continue  # found not to be finite, and from now on among the skipped
                    row, matrix = _filter_layer(layer, cuts[name], shrink, a)
                    rows.append(row)
                    if matrix is not None:
                        array = weights.replace(name, matrix, into=array)
                if array is not None:
                    yield tensor, array

    with closing(changed()) as arrays:
        stored = sink(arrays)
    return FilteredNetwork(stored, pd.DataFrame(rows, columns=REPORT), weights.skipped)


def honest_gain(treatments, untreated) -> float:
    """Gain in accuracy of the best of several treatments, each chosen on images that do not judge it.

    Parameters
    ----------
    treatments : pandas.DataFrame
        One row a treatment; columns ``first_half`` and ``second_half`` hold its accuracies on two halves of the test images.
    untreated : mapping
        The same two accuracies of the network as it was trained.

    Returns
    -------
    float
        Mean over both halves of the gain on one of them, by the treatment that was best on the other; in the unit of the table.

    Raises
    ------
    ValueError
        If there is no treatment.

    Notes
    -----
    The best of many looks better than it is: chosen and judged on the same images, treatments that do nothing seem to help.

    Examples
    --------
    >>> import pandas as pd
    >>> cuts = pd.DataFrame({"first_half": [0.52, 0.50], "second_half": [0.49, 0.51]})
    >>> round(honest_gain(cuts, {"first_half": 0.5, "second_half": 0.5}), 3)
    -0.005
    """
    if not len(treatments):
        msg = "treatments must have at least one row; got none"
        raise ValueError(msg)
    halves = ("first_half", "second_half")
    treatments = treatments.reset_index(drop=True)
    gains = [treatments.loc[treatments[chooser].idxmax(), judge] - untreated[judge] for chooser, judge in (halves, halves[::-1])]
    return float(np.mean(gains))


def _filter_layer(layer, cut, shrink, a):
    """A row of the report, and the filtered matrix, or None where the layer is left as it is."""
    norm = frobenius(layer.matrix)
    levels = min(layer.matrix.shape)
    row = {"layer": layer.name, "shape": layer.matrix.shape, "levels": levels, "norm_before": norm}
    untouched = {"rank": levels, "removed": 0, "norm_after": norm}
    try:
        result = filter_matrix(layer.matrix, cut=cut, shrink=shrink, a=a)
    except ValueError as error:
        return row | untouched | {"note": f"left as it is: {error}"}, None
    row |= {"edge": result.edge, "sigma": result.sigma, "cut": result.cut}
    if result.rank == 0:
        return row | untouched | {"note": "left as it is: no singular value beyond those of noise"}, None
    after = frobenius(result.filtered_nu)
    return row | {"rank": result.rank, "removed": result.removed, "norm_after": after, "note": ""}, result.matrix


def _cuts(weights, cut, layers):
    """The cut of each layer that is to be filtered, checked."""
    if layers is not None and (isinstance(layers, str) or not isinstance(layers, Iterable)):
        msg = f"layers must be names of matrices in a list; got {layers!r}"
        raise ValueError(msg)
    if isinstance(cut, Mapping):
        chosen = list(cut if layers is None else layers)
        if missing := [name for name in chosen if name not in cut]:
            msg = f"cut must name every layer of layers; it lacks {', '.join(map(repr, missing))}"
            raise ValueError(msg)
    else:
        chosen = [name for name in weights if not weights.tensor(name).members] if layers is None else list(layers)
        cut = dict.fromkeys(chosen, cut)
    if not chosen:
        reasons = "".join(f"; {skipped.name}: {skipped.reason}" for skipped in weights.skipped)
        msg = f"there is no layer to filter{reasons}"
        raise ValueError(msg)
    for name in chosen:
        if name not in weights:
            try:
                weights[name]
            except KeyError as error:
                msg = f"layers must name matrices of the network; {error.args[0]}"
                raise ValueError(msg) from None
        if made := weights.tensor(name).members:
            msg = f"layers must name matrices that are stored; {name!r} is made of {', '.join(made)}"
            raise ValueError(msg)
        if not _is_edge(cut[name]):
            _kept(cut[name], min(weights.shapes[name]), f"cut of {name!r}")
    wanted = set(chosen)
    return {name: cut[name] for name in weights if name in wanted}


def _is_edge(cut) -> bool:
    return isinstance(cut, str) and cut == "edge"


def _kept(cut, levels, name: str = "cut") -> int:
    """The number of levels that a cut keeps."""
    whole = isinstance(cut, int | np.integer) and not isinstance(cut, bool)
    if whole and 1 <= cut <= levels:
        return int(cut)
    if isinstance(cut, float | np.floating) and 0 < cut <= 1:
        return max(1, round(float(cut) * levels))
    expected = f"'edge', a whole number from 1 to the {levels} singular values, or a share of them above 0 and at most 1"
    msg = f"{name} must be {expected}; got {cut!r}"
    raise ValueError(msg)


def _shrinker(shrink) -> str | None:
    if isinstance(shrink, bool | np.bool_):
        return "frobenius" if shrink else None
    if not isinstance(shrink, str) or shrink not in SHRINKERS:
        msg = f"shrink must be True, False, {' or '.join(map(repr, SHRINKERS))}; got {shrink!r}"
        raise ValueError(msg)
    return shrink
