r"""The whole analysis of one layer, or of a network layer by layer: every statistic of the book by one call.

The spectrum says *how much* deviates from noise, level by level; the vectors say *where*: in the space of the layer's inputs or
of its outputs. `rmtlib.LayerAnalysis.summary` puts both into one line.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import checks, parallel
from .files import atomic_file
from .marchenko_pastur import MarchenkoPasturFit, fit_marchenko_pastur
from .multiple import benjamini_hochberg
from .number_variance import NumberVariance, number_variance_curve
from .porter_thomas import PorterThomasTest, unit_rows_test
from .spacings import SpacingTest, spacing_ratios, spacing_test
from .spectra import spectrum
from .unfolding import unfold
from .weights import Layer

__all__ = ["LayerAnalysis", "analyse", "analyse_network"]

FALSE_DISCOVERY_RATE = 0.05
LENGTHS = np.linspace(0.5, 20, 40)
BULK_COLUMNS = {
    "bulk_fraction": "bulk_fraction",
    "nu_plus": "nu_plus",
    "sigma": "sigma",
    "outliers": "n_outliers",
    "outlier_edge": "outlier_edge",
    "outliers_below": "n_outliers_below",
    "outlier_edge_below": "outlier_edge_below",
}


@dataclass(frozen=True, repr=False, eq=False)
class LayerAnalysis:
    """Everything that random matrix theory says about one layer.

    Attributes
    ----------
    name : str
        Name of the layer.
    shape : tuple of int
        ``(n_out, n_in)`` of the analysed matrix.
    nu : numpy.ndarray of shape (m,)
        Singular values, ascending, in the units of the weights.
    xi : numpy.ndarray of shape (m - 4 * a,)
        Unfolded levels, in mean spacings.
    a : int
        Half window of the unfolding.
    spacing : SpacingTest
        Spacings of ``xi`` against the Wigner surmise.
    ratio : float
        Mean ratio of neighbouring gaps of ``nu``; 0.5307 for the GOE.
    number_variance : NumberVariance
        At lengths 0.5 to 20, as far as the spectrum allows, with standard errors.
    bulk : MarchenkoPasturFit or None
        Fitted bulk, its edges and the outliers; None if the spectrum has no upper edge that a bulk could end at.
    input, output : PorterThomasTest
        Singular vectors in the space of the layer's inputs and outputs.
    """

    name: str
    shape: tuple[int, int]
    nu: np.ndarray
    xi: np.ndarray
    a: int
    spacing: SpacingTest
    ratio: float
    number_variance: NumberVariance
    bulk: MarchenkoPasturFit | None
    input: PorterThomasTest
    output: PorterThomasTest

    @property
    def informative(self) -> dict[str, np.ndarray]:
        """Indices of the vectors that are not random at a false discovery rate of 5 %, by space."""
        return {side: np.flatnonzero(getattr(self, side).qvalue < FALSE_DISCOVERY_RATE) for side in ("input", "output")}

    @property
    def summary(self) -> str:
        """Where information sits, in one line."""
        found = [] if self.bulk else ["no bulk that could be fitted"]
        for place, field in (("above", "n_outliers"), ("below", "n_outliers_below")):
            if count := getattr(self.bulk, field, 0):
                found.append(f"{count} singular value{'s' * (count > 1)} {place} the bulk")
        for side, vectors in self.informative.items():
            if len(vectors):
                top = np.mean(vectors >= 0.9 * len(self.nu))
                found.append(f"{len(vectors)} {side} vector{'s' * (len(vectors) > 1)}, {top:.0%} of them in the top tenth")
        if self.spacing.calibrated_pvalue < 0.05:
            found.append(f"spacings (p = {self.spacing.calibrated_pvalue:.2g})")
        return f"{self.name}: " + ("; ".join(found) if found else "nothing found that noise would not show")

    def row(self) -> dict:
        """The analysis as one row of a table.

        Returns
        -------
        dict
            Values by the names of their columns; those of the bulk are None where none could be fitted.

        Notes
        -----
        Singular values are in the units of the weights; p-values, ratios and shares have no unit.

        ``layer``, ``shape``
            Name, and ``(n_out, n_in)``.
        ``levels``
            Number of singular values.
        ``spacing_pvalue``, ``spacing_calibrated_pvalue``
            Of the spacings against the Wigner surmise: scipy's, and calibrated on noise.
        ``spacing_ratio``
            Mean ratio of neighbouring gaps; 0.5307 for the GOE.
        ``number_variance_ratio``
            Number variance over the GOE's as the unfolding leaves it, in the mean over the lengths.
        ``largest``
            Largest singular value.
        ``bulk_fraction``
            Integral of the fitted bulk, a share of the levels that is not bounded by 1.
        ``nu_plus``, ``sigma``
            Upper edge of the fitted bulk, and standard deviation of an entry of the noise.
        ``outliers``, ``outlier_edge``
            Number of levels above the edge of the noise, and this edge.
        ``outliers_below``, ``outlier_edge_below``
            The same below the bulk.
        ``number_variance_reach``
            Longest interval of the number variance, in mean spacings.
        ``input_rejected``, ``output_rejected``
            Shares of the vectors of each space that are not random, from 0 to 1, at a false discovery rate of 5 %.
        ``summary``
            Where information sits, in one line.
        """
        curve = self.number_variance
        return {
            "layer": self.name,
            "shape": self.shape,
            "levels": len(self.nu),
            "spacing_pvalue": self.spacing.pvalue,
            "spacing_calibrated_pvalue": self.spacing.calibrated_pvalue,
            "spacing_ratio": self.ratio,
            "number_variance_ratio": self._number_variance_ratio(),
            "largest": float(self.nu[-1]),
            **{column: getattr(self.bulk, field, None) for column, field in BULK_COLUMNS.items()},
            "number_variance_reach": float(curve.L[-1]),
            **{f"{side}_rejected": len(vectors) / len(self.nu) for side, vectors in self.informative.items()},
            "summary": self.summary,
        }

    def plot(self, figure=None):
        """The paper's four panels: spectrum with bulk, spacings, number variance, Porter-Thomas.

        Parameters
        ----------
        figure : matplotlib.figure.Figure, optional
            Where to draw them; by default a new figure of pyplot.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from . import figures, laws

        if figure is None:
            import matplotlib.pyplot as plt

            figure = plt.figure(figsize=(15, 3.4), layout="constrained")
        curve, axes = self.number_variance, figure.subplots(1, 4)
        figures.spectrum_panel(axes[0], self.nu, fit=self.bulk)
        figures.spacing_panel(axes[1], np.diff(self.xi), law=laws.wigner_surmise)
        expected = {
            "GOE, exact": laws.number_variance_goe(curve.L),
            f"unfolded, a = {self.a}": laws.number_variance_unfolded(curve.L, self.a),
        }
        figures.number_variance_panel(axes[2], curve.L, laws=expected, trained=(curve.values, curve.standard_errors))
        figures.porter_thomas_panel(axes[3], self.output, label="output vectors")
        figures.porter_thomas_panel(axes[3], self.input, color=figures.COLORS["other"], label="input vectors")
        axes[3].legend(loc="lower left")
        figure.suptitle(self.summary, x=0.01, ha="left", fontsize="medium")
        return figure

    def __repr__(self):
        n_out, n_in = self.shape
        levels, curve, bulk, spacing = len(self.nu), self.number_variance, self.bulk, self.spacing
        lines = [
            f"LayerAnalysis {self.name} ({n_out} x {n_in}, {levels} levels)",
            f"  spacings         calibrated p {spacing.calibrated_pvalue:.3f} (scipy {spacing.pvalue:.3f}), "
            f"mean ratio {self.ratio:.3f}",
            f"  number variance  {self._number_variance_ratio():.2f} of the filtered GOE law up to L = {curve.L[-1]:g}",
            f"  bulk             {bulk.bulk_fraction:.1%} of the levels, edge {bulk.nu_plus:.4g}, "
            f"{bulk.n_outliers} outliers above, {bulk.n_outliers_below} below"
            if bulk
            else "  bulk             none that could be fitted",
        ]
        for side, vectors in self.informative.items():
            lines.append(f"  {side + ' vectors':<17}{len(vectors)} of {levels} not random (false discovery rate 5 %)")
        return "\n".join([*lines, f"  {self.summary}"])

    def _number_variance_ratio(self):
        from . import laws

        curve = self.number_variance
        return float(np.mean(curve.values / laws.number_variance_unfolded(curve.L, self.a)))


def analyse(layer, *, a: int = 15, name: str | None = None) -> LayerAnalysis:
    """Analyse one layer: spectrum, spacings, number variance, bulk and vectors of both spaces.

    Parameters
    ----------
    layer : Layer or array_like of shape (n_out, n_in)
        A layer of `rmtlib.load_weights`, or a real matrix.
    a : int
        Half window of the unfolding and of the broadened density, in levels on each side.
    name : str, optional
        Name of the layer; by default that of ``layer``, or ``"matrix"``.

    Returns
    -------
    LayerAnalysis

    Raises
    ------
    ValueError
        If the matrix is not real and finite, is rank deficient, or has fewer levels than the tests need.

    Examples
    --------
    >>> import rmtlib
    >>> print(analyse(rmtlib.ensembles.gaussian((300, 200), 0)).summary)
    matrix: nothing found that noise would not show
    """
    matrix = layer.matrix if isinstance(layer, Layer) else layer
    name = name or (layer.name if isinstance(layer, Layer) else "matrix")
    decomposition = spectrum(matrix)
    nu = decomposition.nu
    a = checks.integer(a, "a", at_least=1)
    xi = unfold(nu, a=a)
    lengths = LENGTHS[LENGTHS < (xi[-1] - xi[0]) / 3]
    return LayerAnalysis(
        name=name,
        shape=decomposition.shape,
        nu=nu,
        xi=xi,
        a=a,
        spacing=spacing_test(xi, a=a),
        ratio=float(spacing_ratios(nu).mean()),
        number_variance=number_variance_curve(xi, lengths, a=a),
        bulk=_bulk(nu, decomposition.shape, a),
        input=unit_rows_test(decomposition.input_vectors),
        output=unit_rows_test(decomposition.output_vectors),
    )


def _bulk(nu, shape, a):
    try:
        return fit_marchenko_pastur(nu, shape, a=a)
    except ValueError:
        # Everything that is wrong with the matrix itself was refused before: this spectrum has no edge. The rest can be said.
        return None


def analyse_network(
    weights: Mapping,
    *,
    a: int = 15,
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
        and ``spacing_qvalue``, the Benjamini-Hochberg q-value of the calibrated p of the spacings among the layers. A layer that
        cannot be analysed keeps its row: its ``summary`` says why, the other columns are empty.

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
            return analyse(layer, a=a, name=name)
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
    return {"layer": name, "shape": shape, "summary": f"{name}: not analysed: {reason}"}


def _table(rows):
    import pandas as pd

    table = pd.DataFrame(rows)
    if "spacing_calibrated_pvalue" in table:
        known = table["spacing_calibrated_pvalue"].notna()
        qvalues = pd.Series(benjamini_hochberg(table.loc[known, "spacing_calibrated_pvalue"]), table.index[known])
        table.insert(table.columns.get_loc("spacing_calibrated_pvalue") + 1, "spacing_qvalue", qvalues)
    return table


def _write(table, path):
    with atomic_file(path) as part:
        table.to_csv(part, index=False)
