r"""The whole analysis of one layer, or of a network layer by layer: every statistic of the book by one call.

The spectrum says *how much* deviates from noise, level by level; the vectors say *where*: in the space of the layer's inputs or
of its outputs. `LayerAnalysis.summary` puts both into one line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from . import _checks
from .calibration import benjamini_hochberg
from .marchenko_pastur import MarchenkoPasturFit, fit_marchenko_pastur
from .number_variance import NumberVariance, number_variance_curve
from .porter_thomas import PorterThomasTest, porter_thomas
from .spacings import SpacingTest, spacing_ratios, spacing_test
from .spectra import spectrum
from .unfolding import unfold
from .weights import Layer

__all__ = ["LayerAnalysis", "analyse", "analyse_network"]

FALSE_DISCOVERY_RATE = 0.05
LENGTHS = np.linspace(0.5, 20, 40)


@dataclass(frozen=True, repr=False, eq=False)
class LayerAnalysis:
    """Everything that random matrix theory says about one layer.

    Attributes
    ----------
    name : str
    shape : tuple of int
        ``(n_out, n_in)`` of the analysed matrix.
    nu : numpy.ndarray
        Singular values, ascending.
    xi : numpy.ndarray
        Unfolded levels.
    a : int
        Half window of the unfolding.
    spacing : SpacingTest
        Spacings of ``xi`` against the Wigner surmise.
    ratio : float
        Mean ratio of neighbouring gaps of ``nu``; 0.5307 for the GOE.
    number_variance : NumberVariance
        At lengths 0.5 to 20, as far as the spectrum allows, with standard errors.
    bulk : MarchenkoPasturFit
        Fitted bulk, its edges and the outliers.
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
    bulk: MarchenkoPasturFit
    input: PorterThomasTest
    output: PorterThomasTest

    @property
    def informative(self) -> dict[str, np.ndarray]:
        """Indices of the vectors that are not random at a false discovery rate of 5 %, by space."""
        return {side: np.flatnonzero(getattr(self, side).qvalue < FALSE_DISCOVERY_RATE) for side in ("input", "output")}

    @property
    def summary(self) -> str:
        """Where information sits, in one line."""
        found = []
        for place, count in (("above", self.bulk.n_outliers), ("below", self.bulk.n_outliers_below)):
            if count:
                found.append(f"{count} singular value{'s' * (count > 1)} {place} the bulk")
        for side, vectors in self.informative.items():
            if len(vectors):
                top = np.mean(vectors >= 0.9 * len(self.nu))
                found.append(f"{len(vectors)} {side} vector{'s' * (len(vectors) > 1)}, {top:.0%} of them in the top tenth")
        if self.spacing.calibrated_pvalue < 0.05:
            found.append(f"spacings (p = {self.spacing.calibrated_pvalue:.2g})")
        return f"{self.name}: " + ("; ".join(found) if found else "nothing found that noise would not show")

    def row(self) -> dict:
        """The analysis as one row of a table."""
        curve = self.number_variance
        return {
            "layer": self.name,
            "shape": self.shape,
            "levels": len(self.nu),
            "spacing_pvalue": self.spacing.pvalue,
            "spacing_calibrated_pvalue": self.spacing.calibrated_pvalue,
            "spacing_ratio": self.ratio,
            "number_variance_ratio": self._number_variance_ratio(),
            "bulk_fraction": self.bulk.bulk_fraction,
            "nu_plus": self.bulk.nu_plus,
            "sigma": self.bulk.sigma,
            "outliers": self.bulk.n_outliers,
            "outliers_below": self.bulk.n_outliers_below,
            "number_variance_reach": float(curve.L[-1]),
            **{f"{side}_rejected": len(vectors) / len(self.nu) for side, vectors in self.informative.items()},
            "summary": self.summary,
        }

    def plot(self):
        """The paper's four panels: spectrum with bulk, spacings, number variance, Porter-Thomas.

        Returns
        -------
        matplotlib.figure.Figure
        """
        import matplotlib.pyplot as plt

        from . import figures, laws

        curve = self.number_variance
        figure, axes = plt.subplots(1, 4, figsize=(15, 3.4), layout="constrained")
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
            f"{bulk.n_outliers} outliers above, {bulk.n_outliers_below} below",
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
    a = _checks.integer(a, "a", at_least=1)
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
        bulk=fit_marchenko_pastur(nu, decomposition.shape, a=a),
        input=porter_thomas(decomposition.input_vectors),
        output=porter_thomas(decomposition.output_vectors),
    )


def analyse_network(weights, *, a: int = 15, progress: bool = True):
    """Analyse every layer of a network, one after another.

    Parameters
    ----------
    weights : mapping of str to Layer
        From `rmtlib.load_weights`; layers are loaded one at a time.
    a : int
        Half window, as in `analyse`.
    progress : bool
        Show a progress bar over the layers.

    Returns
    -------
    pandas.DataFrame
        One row a layer, with the columns of `LayerAnalysis.row` and ``spacing_qvalue``, the Benjamini-Hochberg q-value of the
        spacings among the layers. A layer that cannot be analysed keeps its row: its ``summary`` says why, the other columns
        are empty.
    """
    import pandas as pd

    rows = []
    for name in tqdm(weights, desc="layers", disable=not progress):
        layer = weights[name]
        try:
            rows.append(analyse(layer, a=a, name=name).row())
        except ValueError as error:
            rows.append({"layer": name, "shape": layer.matrix.shape, "summary": f"{name}: not analysed: {error}"})
    table = pd.DataFrame(rows)
    if "spacing_calibrated_pvalue" in table:
        analysed = table["spacing_calibrated_pvalue"].notna()
        qvalues = pd.Series(benjamini_hochberg(table.loc[analysed, "spacing_calibrated_pvalue"]), table.index[analysed])
        table.insert(table.columns.get_loc("spacing_calibrated_pvalue") + 1, "spacing_qvalue", qvalues)
    return table
