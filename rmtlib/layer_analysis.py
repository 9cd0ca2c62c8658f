"""What the analysis of one layer found: its statistics, its row in a table, its picture and its words."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from . import wording
from .biwhitening import Biwhitened
from .departures import SparseNull
from .goodness import BulkTest
from .marchenko_pastur import MarchenkoPasturFit
from .number_variance import NumberVariance
from .porter_thomas import PorterThomasTest
from .spacings import SpacingTest
from .spectra import stable_rank
from .tails import NoiseExponent
from .wording import counted

__all__ = ["BiwhitenedAnalysis", "LayerAnalysis"]

FALSE_DISCOVERY_RATE = 0.05
BULK_COLUMNS = {
    "bulk_fraction": "bulk_fraction",
    "nu_plus": "nu_plus",
    "sigma": "sigma",
    "outliers": "n_outliers",
    "outlier_edge": "outlier_edge",
    "outliers_below": "n_outliers_below",
    "outlier_edge_below": "outlier_edge_below",
}


@dataclass(frozen=True, eq=False)
class BiwhitenedAnalysis:
    """Bulk and vectors of a layer once the sizes of its rows and columns are taken out.

    Attributes
    ----------
    nu : numpy.ndarray
        Singular values of the biwhitened matrix, ascending, zeros left out.
    bulk : MarchenkoPasturFit or None
        As in `LayerAnalysis`.
    goodness : BulkTest or None
        As in `LayerAnalysis`.
    input, output : PorterThomasTest
        As in `LayerAnalysis`.
    biwhitened : Biwhitened
        Matrix and sizes.
    """

    nu: np.ndarray
    bulk: MarchenkoPasturFit | None
    goodness: BulkTest | None
    input: PorterThomasTest
    output: PorterThomasTest
    biwhitened: Biwhitened

    @property
    def informative(self) -> dict[str, np.ndarray]:
        """Indices of the vectors that are not random at a false discovery rate of 5 %, by space."""
        return _informative(self)


@dataclass(frozen=True, repr=False, eq=False)
class LayerAnalysis:
    """Everything that random matrix theory says about one layer.

    Attributes
    ----------
    name : str
        Name of the layer.
    shape : tuple of int
        ``(n_out, n_in)`` of the analysed matrix.
    nu : numpy.ndarray of shape (rank,)
        Singular values, ascending, in the units of the weights; those that are zero are left out.
    rank : int
        Number of singular values that are not zero.
    a : int
        Half window of the unfolding, or of the broadened density of the bulk where nothing is unfolded.
    xi : numpy.ndarray of shape (rank - 4 * a,) or None
        Unfolded levels, in mean spacings.
    spacing : SpacingTest or None
        Spacings of ``xi`` against the Wigner surmise.
    ratio : float or None
        Mean ratio of neighbouring gaps of ``nu``; 0.5307 for the GOE.
    number_variance : NumberVariance or None
        At lengths 0.5 to 20, as far as the spectrum allows, with standard errors.
    bulk : MarchenkoPasturFit or None
        Fitted bulk, its edges and the outliers; None if the spectrum has no upper edge that a bulk could end at.
    goodness : BulkTest or None
        Whether the levels without the outliers follow the law of noise; None without a bulk that outliers are counted by.
    input, output : PorterThomasTest
        Singular vectors in the space of the layer's inputs and outputs.
    biwhitened : BiwhitenedAnalysis or None
        The same of the matrix without the sizes of its *noise*: is anything there beyond noise of unequal strength?
    total : BiwhitenedAnalysis or None
        The same without *total* sizes, what a neuron learned included: is anything there beyond sizes? Where both sizes are
        equal, it is ``biwhitened`` itself.
    alpha, alpha_biwhitened : float or None
        Exponent of the power law that fits the upper eigenvalues ``nu**2`` best, of the matrix as it is and of ``biwhitened``.
    alpha_noise : NoiseExponent or None
        What noise of this shape gives.
    departures : tuple of str
        What about the matrix the null does not cover: sizes that differ, and what `rmtlib.departures` finds.
    missing : dict of str to str
        What could not be said, and why.
    sparse : SparseNull or None
        Of a matrix of which at least half of the entries are zero: what the same zeros on other noise show.
    spacing_qvalue : float or None
        Calibrated p of the spacings for a layer that is analysed alone; among the layers of a network None until all are known.
    """

    name: str
    shape: tuple[int, int]
    nu: np.ndarray
    rank: int
    a: int
    xi: np.ndarray | None
    spacing: SpacingTest | None
    ratio: float | None
    number_variance: NumberVariance | None
    bulk: MarchenkoPasturFit | None
    goodness: BulkTest | None
    input: PorterThomasTest
    output: PorterThomasTest
    biwhitened: BiwhitenedAnalysis | None
    total: BiwhitenedAnalysis | None
    alpha: float | None
    alpha_biwhitened: float | None
    alpha_noise: NoiseExponent | None
    departures: tuple[str, ...]
    missing: dict[str, str]
    sparse: SparseNull | None
    spacing_qvalue: float | None

    @property
    def informative(self) -> dict[str, np.ndarray]:
        """Indices of the vectors that are not random at a false discovery rate of 5 %, by space."""
        return _informative(self)

    @property
    def row_spread(self) -> float | None:
        """Coefficient of variation of the sizes of the noise in the rows."""
        return None if self.biwhitened is None else self.biwhitened.biwhitened.row_spread

    @property
    def column_spread(self) -> float | None:
        """Coefficient of variation of the sizes of the noise in the columns."""
        return None if self.biwhitened is None else self.biwhitened.biwhitened.column_spread

    @property
    def summary(self) -> str:
        """Where information sits, what sizes explain of it, and what the null does not cover, in one line."""
        return wording.summary(self)

    def row(self) -> dict:
        """The analysis as one row of a table.

        Returns
        -------
        dict
            Values by the names of their columns.

        Notes
        -----
        Singular values are in the units of the weights; p-values, ratios and shares have no unit. What could not be said is None.

        ``layer``, ``shape``
            Name, and ``(n_out, n_in)``.
        ``levels``, ``rank``
            Number of singular values, and of those that are not zero.
        ``spacing_pvalue``, ``spacing_calibrated_pvalue``
            Of the spacings against the Wigner surmise: scipy's, and calibrated on noise.
        ``spacing_ratio``
            Mean ratio of neighbouring gaps; 0.5307 for the GOE.
        ``number_variance_ratio``
            Number variance over the GOE's as the unfolding leaves it, in the mean over the lengths.
        ``largest``, ``stable_rank``
            Largest singular value; sum of the squares of all over its square.
        ``bulk_fraction``
            Integral of the fitted bulk, a share of the levels that is not bounded by 1.
        ``nu_plus``, ``sigma``
            Upper edge of the fitted bulk, and standard deviation of an entry of the noise.
        ``outliers``, ``outlier_edge``
            Number of levels above the edge of the noise, and this edge. Outside a bulk of less than a tenth, none are counted.
        ``outliers_below``, ``outlier_edge_below``
            The same below the bulk.
        ``bulk_pvalue``
            Probability that the bulk of noise strays as far from the Marchenko-Pastur law (`rmtlib.goodness.bulk_test`), outliers
            left out. Sizes of neurons make it small.
        ``number_variance_reach``
            Longest interval of the number variance, in mean spacings.
        ``input_rejected``, ``output_rejected``
            Shares of the vectors of each space that are not random, from 0 to 1, at a false discovery rate of 5 %.
        ``outliers_biwhitened``, ``outliers_below_biwhitened``
            Levels above and below the bulk once the sizes of the noise in rows and columns are taken out.
        ``bulk_pvalue_biwhitened``
            That of the bulk then: what still makes it small are correlations.
        ``input_rejected_biwhitened``, ``output_rejected_biwhitened``
            Shares of the vectors that are not random then.
        ``outliers_total``, ``input_rejected_total``, ``output_rejected_total``
            Levels above the bulk and shares of the vectors once total sizes are taken out. One strong direction may make
            hundreds of such levels.
        ``largest_pvalue``, ``input_pvalue``, ``output_pvalue``
            Of the largest level against noise (Tracy-Widom), and of all vectors of a space together (Simes: the smallest q-value
            among them). Among the layers of a network they are to be corrected for their number.
        ``largest_pvalue_biwhitened``, ``input_pvalue_biwhitened``, ``output_pvalue_biwhitened``
            The same without sizes of noise.
        ``sizes_settled``
            Whether the sizes of the noise could be told from the signal; if not, both counts belong side by side.
        ``row_spread``, ``column_spread``
            Coefficients of variation of the sizes of the noise in rows and columns.
        ``alpha``, ``alpha_biwhitened``
            Exponent of the power law that fits the largest eigenvalues best, of the matrix as it is and without sizes of noise.
        ``alpha_noise``, ``alpha_noise_sd``
            Mean and standard deviation of this exponent in noise of the shape.
        ``summary``
            Where information sits, in one line.
        """
        curve, noise = self.number_variance, self.alpha_noise
        return {
            "layer": self.name,
            "shape": self.shape,
            "levels": min(self.shape),
            "rank": self.rank,
            "spacing_pvalue": getattr(self.spacing, "pvalue", None),
            "spacing_calibrated_pvalue": getattr(self.spacing, "calibrated_pvalue", None),
            "spacing_ratio": self.ratio,
            "number_variance_ratio": self._number_variance_ratio(),
            "largest": float(self.nu[-1]),
            "stable_rank": stable_rank(self.nu),
            **{column: self._of_bulk(field) for column, field in BULK_COLUMNS.items()},
            "bulk_pvalue": getattr(self.goodness, "pvalue", None),
            "number_variance_reach": None if curve is None else float(curve.L[-1]),
            **_rejected(self, ""),
            "outliers_biwhitened": counted(getattr(self.biwhitened, "bulk", None), "n_outliers"),
            "outliers_below_biwhitened": counted(getattr(self.biwhitened, "bulk", None), "n_outliers_below"),
            "bulk_pvalue_biwhitened": getattr(getattr(self.biwhitened, "goodness", None), "pvalue", None),
            **_rejected(self.biwhitened, "_biwhitened"),
            "outliers_total": counted(getattr(self.total, "bulk", None), "n_outliers"),
            **_rejected(self.total, "_total"),
            **_pvalues(self, ""),
            **_pvalues(self.biwhitened, "_biwhitened"),
            "sizes_settled": None if self.biwhitened is None else self.biwhitened.biwhitened.settled,
            "row_spread": self.row_spread,
            "column_spread": self.column_spread,
            "alpha": self.alpha,
            "alpha_biwhitened": self.alpha_biwhitened,
            "alpha_noise": None if noise is None else noise.mean,
            "alpha_noise_sd": None if noise is None else noise.standard_deviation,
            "summary": self.summary,
        }

    def light(self) -> LayerAnalysis:
        """The analysis without its biwhitened matrices, which no row and no picture needs: those of all layers fill a memory."""
        noise = _light(self.biwhitened)
        return replace(self, biwhitened=noise, total=noise if self.total is self.biwhitened else _light(self.total))

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
        if self.xi is None or curve is None:
            for panel, what in zip(axes[1:3], ("spacings", "number variance"), strict=True):
                panel.text(0.5, 0.5, f"{what} left out", ha="center", va="center", transform=panel.transAxes)
                panel.set_axis_off()
        else:
            figures.spacing_panel(axes[1], np.diff(self.xi), law=laws.wigner_surmise)
            expected = {
                f"unfolded, a = {self.a}": laws.number_variance_unfolded(curve.L, self.a),
                "GOE, exact": laws.number_variance_goe(curve.L),
            }
            figures.number_variance_panel(axes[2], curve.L, laws=expected, trained=(curve.values, curve.standard_errors))
        figures.porter_thomas_panel(axes[3], self.output, label="output vectors")
        figures.porter_thomas_panel(axes[3], self.input, color=figures.COLORS["other"], label="input vectors")
        axes[3].legend(loc="lower left")
        figure.suptitle(self.summary, x=0.01, ha="left", fontsize="medium")
        return figure

    def __repr__(self):
        n_out, n_in = self.shape
        curve, spacing = self.number_variance, self.spacing
        rank = f", rank {self.rank}" if self.rank < min(self.shape) else ""
        lines = [f"LayerAnalysis {self.name} ({n_out} x {n_in}, {min(self.shape)} levels{rank})"]
        if spacing is not None:
            lines.append(
                f"  spacings         calibrated p {spacing.calibrated_pvalue:.3f} (scipy {spacing.pvalue:.3f}), "
                f"mean ratio {self.ratio:.3f}"
            )
        if curve is not None:
            ratio = self._number_variance_ratio()
            lines.append(f"  number variance  {ratio:.2f} of the filtered GOE law up to L = {curve.L[-1]:g}")
        lines.append(f"  bulk             {wording.bulk(self.bulk)}")
        lines += [wording.vectors(side, vectors, self.rank) for side, vectors in self.informative.items()]
        parts = {"sizes of noise": self.biwhitened} | ({"total sizes": self.total} if self.total is not self.biwhitened else {})
        for title, part in parts.items():
            if part is not None:
                sizes = part.biwhitened
                lines.append(f"  without {title} (spread {sizes.row_spread:.0%} of rows, {sizes.column_spread:.0%} of columns)")
                lines.append(f"    bulk           {wording.bulk(part.bulk)}")
                lines += ["  " + wording.vectors(side, vectors, len(part.nu)) for side, vectors in part.informative.items()]
        lines += [f"  missing: {what}: {why}" for what, why in self.missing.items()]
        return "\n".join([*lines, f"  {self.summary}"])

    def _of_bulk(self, field):
        return counted(self.bulk, field) if field.startswith("n_") else getattr(self.bulk, field, None)

    def _number_variance_ratio(self):
        from . import laws

        curve = self.number_variance
        return None if curve is None else float(np.mean(curve.values / laws.number_variance_unfolded(curve.L, self.a)))


def _informative(analysed):
    return {side: np.flatnonzero(getattr(analysed, side).qvalue < FALSE_DISCOVERY_RATE) for side in ("input", "output")}


def _light(part):
    return None if part is None else replace(part, biwhitened=replace(part.biwhitened, matrix=np.empty((0, 0))))


def _rejected(part, suffix):
    if part is None:
        return dict.fromkeys((f"input_rejected{suffix}", f"output_rejected{suffix}"))
    return {f"{side}_rejected{suffix}": len(vectors) / len(part.nu) for side, vectors in part.informative.items()}


def _pvalues(part, suffix):
    names = [f"{name}_pvalue{suffix}" for name in ("largest", "input", "output")]
    if part is None:
        return dict.fromkeys(names)
    countable = part.bulk is not None and not wording.uncounted(part.bulk)
    largest = part.bulk.largest_pvalue(part.nu[-1]) if countable else None
    return dict(zip(names, (largest, float(part.input.qvalue.min()), float(part.output.qvalue.min())), strict=True))
