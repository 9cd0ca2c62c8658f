r"""The whole analysis of one layer, or of a network layer by layer: every statistic of the book by one call.

The spectrum says *how much* deviates from noise, level by level; the vectors say *where*: in the space of the layer's inputs or
of its outputs. `rmtlib.LayerAnalysis.summary` puts both into one line.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import biwhitening, checks, departures, parallel, wording
from .biwhitening import Biwhitened, BiwhitenError
from .departures import SparseNull
from .files import atomic_file
from .marchenko_pastur import MarchenkoPasturFit, fit_marchenko_pastur, fit_noise
from .multiple import benjamini_hochberg
from .null_laws import FEWEST_SPACINGS
from .number_variance import NumberVariance, number_variance_curve
from .porter_thomas import PorterThomasTest, unit_rows_test
from .spacings import SpacingTest, spacing_ratios, spacing_test
from .spectra import spectrum, stable_rank
from .tails import NoiseExponent, fit_power_law, noise_exponent
from .unfolding import half_window, unfold
from .weights import Layer
from .wording import counted, uncounted

__all__ = ["BiwhitenedAnalysis", "LayerAnalysis", "analyse", "analyse_network"]

FALSE_DISCOVERY_RATE = 0.05
FEWEST_LEVELS = 16
FEWEST_UNFOLDED = 45
FULL = 0.9  # of the levels are not zero: the others are a few dimensions that noise has lost, and no low rank
WINDOW = 0.1, 0.6  # share of the levels that noise is estimated from where few levels allow no curve
ALPHA_LEVELS = 64, 4096  # that `noise_exponent` knows
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


@dataclass(frozen=True, eq=False)
class BiwhitenedAnalysis:
    """Bulk and vectors of a layer once the sizes of its rows and columns are taken out.

    Attributes
    ----------
    nu : numpy.ndarray
        Singular values of the biwhitened matrix, ascending, zeros left out.
    bulk : MarchenkoPasturFit or None
        As in `LayerAnalysis`.
    input, output : PorterThomasTest
        As in `LayerAnalysis`.
    biwhitened : Biwhitened
        Matrix and sizes.
    """

    nu: np.ndarray
    bulk: MarchenkoPasturFit | None
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
        ``number_variance_reach``
            Longest interval of the number variance, in mean spacings.
        ``input_rejected``, ``output_rejected``
            Shares of the vectors of each space that are not random, from 0 to 1, at a false discovery rate of 5 %.
        ``outliers_biwhitened``, ``outliers_below_biwhitened``
            Levels above and below the bulk once the sizes of the noise in rows and columns are taken out.
        ``input_rejected_biwhitened``, ``output_rejected_biwhitened``
            Shares of the vectors that are not random then.
        ``outliers_total``, ``input_rejected_total``, ``output_rejected_total``
            Levels above the bulk and shares of the vectors once total sizes are taken out. One strong direction may make
            hundreds of such levels.
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
            **{column: getattr(self.bulk, field, None) for column, field in BULK_COLUMNS.items()},
            "outliers": counted(self.bulk, "n_outliers"),
            "outliers_below": counted(self.bulk, "n_outliers_below"),
            "number_variance_reach": None if curve is None else float(curve.L[-1]),
            **_rejected(self, ""),
            "outliers_biwhitened": counted(getattr(self.biwhitened, "bulk", None), "n_outliers"),
            "outliers_below_biwhitened": counted(getattr(self.biwhitened, "bulk", None), "n_outliers_below"),
            **_rejected(self.biwhitened, "_biwhitened"),
            "outliers_total": counted(getattr(self.total, "bulk", None), "n_outliers"),
            **_rejected(self.total, "_total"),
            "sizes_settled": None if self.biwhitened is None else self.biwhitened.biwhitened.settled,
            "row_spread": self.row_spread,
            "column_spread": self.column_spread,
            "alpha": self.alpha,
            "alpha_biwhitened": self.alpha_biwhitened,
            "alpha_noise": None if noise is None else noise.mean,
            "alpha_noise_sd": None if noise is None else noise.standard_deviation,
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
        if self.xi is None or curve is None:
            for panel, what in zip(axes[1:3], ("spacings", "number variance"), strict=True):
                panel.text(0.5, 0.5, f"{what} left out", ha="center", va="center", transform=panel.transAxes)
                panel.set_axis_off()
        else:
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

    def _number_variance_ratio(self):
        from . import laws

        curve = self.number_variance
        return None if curve is None else float(np.mean(curve.values / laws.number_variance_unfolded(curve.L, self.a)))


def analyse(layer, *, a: int = 15, biwhiten: bool = True, name: str | None = None) -> LayerAnalysis:
    """Analyse one layer: spectrum, spacings, number variance, bulk and vectors of both spaces, with and without sizes of neurons.

    Parameters
    ----------
    layer : Layer or array_like of shape (n_out, n_in)
        A layer of `rmtlib.load_weights`, or a real matrix.
    a : int
        Half window of the unfolding and of the broadened density, in levels on each side. Where that leaves fewer than 16
        spacings, it is `rmtlib.unfolding.half_window` of the number of levels: 15 from 77 levels on, 7 from 45, less below.
    biwhiten : bool
        Say also what is left without the sizes of rows and columns, see `rmtlib.biwhiten`: two or three times as long.
    name : str, optional
        Name of the layer; by default that of ``layer``, or ``"matrix"``.

    Returns
    -------
    LayerAnalysis

    Raises
    ------
    ValueError
        If the matrix is not real and finite, is zero or constant, or has fewer than 16 rows or columns that are not empty.

    Notes
    -----
    What the matrix does not allow is left out, and named in ``missing``: spacings and number variance below 45 levels or across a
    gap in the levels; rows, columns and levels that are zero; for a rank below nine tenths of the full one everything but rank,
    levels and vectors. With z levels that are zero the others are compared with noise of a shape whose smaller side is shorter
    by z: centring the rows of a square matrix takes one dimension from its noise. Fewer than 45 levels may not bend enough for a
    fitted edge (one noise matrix in five of 16 levels); their bulk is then that of noise with the sigma of the lower levels.

    Examples
    --------
    >>> import rmtlib
    >>> print(analyse(rmtlib.ensembles.gaussian((300, 200), 0)).summary)
    matrix: nothing found that noise would not show
    """
    a = checks.integer(a, "a", at_least=1)
    checks.choice(biwhiten, "biwhiten", (True, False))
    name = name or (layer.name if isinstance(layer, Layer) else "matrix")
    W = checks.matrix(layer.matrix if isinstance(layer, Layer) else layer)
    shape = W.shape
    missing: dict[str, str] = {}
    W = _without_empty(W, missing)
    if W.min() == W.max():
        msg = f"W is constant (every entry is {W.min():.6g}): it has rank 1 and no spectrum to analyse"
        raise ValueError(msg)
    decomposition = spectrum(W, deficient=True)
    nu, vectors = decomposition.nu, _vector_tests(decomposition)
    del decomposition
    rank = len(nu)
    full = _is_full(rank, W.shape, missing)
    a = a if rank >= 4 * a + FEWEST_SPACINGS + 1 else half_window(max(rank, 5))
    xi, spacing, ratio, curve = _spacings(nu, a, full, missing)
    bulk = _bulk(nu, W.shape, a, missing) if full else None
    noise, total = _biwhitened(W, a, missing) if full and biwhiten else (None, None)
    sparse = departures.sparse_null(W) if departures.zero_share(W) >= departures.SPARSE else None
    alphas = [_alpha(levels, missing) if full else None for levels in (nu, getattr(noise, "nu", None))]
    if bulk is not None and sparse is None and uncounted(bulk):
        missing["outliers"] = f"the bulk holds {bulk.bulk_fraction:.0%} of the levels, which is none to lie outside of"
    return LayerAnalysis(
        name=name,
        shape=shape,
        nu=nu,
        rank=rank,
        a=a,
        xi=xi,
        spacing=spacing,
        ratio=ratio,
        number_variance=curve,
        bulk=bulk,
        **vectors,
        biwhitened=noise,
        total=total,
        alpha=alphas[0],
        alpha_biwhitened=alphas[1],
        alpha_noise=None if alphas[0] is None else noise_exponent(W.shape),
        departures=_departures(W, sparse, nu, vectors, noise, total),
        missing=missing,
        sparse=sparse,
        spacing_qvalue=getattr(spacing, "calibrated_pvalue", None),
    )


def _without_empty(W, missing):
    kept = [W.any(axis=axis) for axis in (1, 0)]
    empty = {what: int(np.count_nonzero(~k)) for what, k in zip(("row", "column"), kept, strict=True)}
    if not kept[0].any():
        msg = "W is zero: it has no spectrum to analyse"
        raise ValueError(msg)
    for what, count in empty.items():
        if count:
            missing[f"{what}s of zeros"] = (
                f"{count} left out: {'it has' if count == 1 else 'they have'} no size and no part in a vector"
            )
    W = W[kept[0]][:, kept[1]] if any(empty.values()) else W
    if min(W.shape) < FEWEST_LEVELS:
        but = " without its empty rows and columns" if any(empty.values()) else ""
        msg = f"W must have at least {FEWEST_LEVELS} levels to be analysed; got {min(W.shape)}{but}"
        raise ValueError(msg)
    return W


def _is_full(rank, shape, missing):
    """Whether the rank is so nearly full that noise of a slightly smaller shape is the null; what is zero is named."""
    m = min(shape)
    if rank < FULL * m or rank < FEWEST_LEVELS:
        missing[wording.NEED_FULL_RANK] = f"they need a full spectrum, and the matrix has rank {rank} of {m}"
        return False
    if rank < m:
        zero = "1 level that is zero is" if rank == m - 1 else f"{m - rank} levels that are zero are"
        missing["zero levels"] = f"{zero} left out, with {'its' if rank == m - 1 else 'their'} vectors"
    return True


def _vector_tests(decomposition):
    window = min(15, len(decomposition.nu) - 1 + len(decomposition.nu) % 2)
    sides = {"input": decomposition.input_vectors, "output": decomposition.output_vectors}
    return {side: unit_rows_test(vectors, window) for side, vectors in sides.items()}


def _spacings(nu, a, full, missing):
    """Unfolded levels, the test of their spacings, mean ratio and number variance: what of it can be said."""
    if not full:
        return None, None, None, None
    if len(nu) < FEWEST_UNFOLDED:
        missing["spacings, number variance"] = f"{len(nu)} levels are too few, they need {FEWEST_UNFOLDED}"
        return None, None, None, None
    try:
        ratio = float(spacing_ratios(nu).mean())
        if torn := departures.gap(nu, a):
            missing["spacings, number variance"] = (
                f"the levels have a gap above the lowest {torn}, and unfolding across it is no test of spacings"
            )
            return None, None, ratio, None
        xi = unfold(nu, a=a)
        lengths = LENGTHS[LENGTHS < (xi[-1] - xi[0]) / 3]
        return xi, spacing_test(xi, a=a), ratio, number_variance_curve(xi, lengths, a=a)
    except ValueError as error:
        missing["spacings, number variance"] = str(error)
        return None, None, None, None


def _bulk(nu, shape, a, missing):
    n, m = max(shape), len(nu)
    shape = shape if m == min(shape) else (n, m)
    try:
        return fit_marchenko_pastur(nu, shape, a=a)
    except ValueError as error:
        # Everything that is wrong with the matrix itself was refused before: this spectrum has no edge. The rest can be said.
        if m >= FEWEST_UNFOLDED:
            missing["bulk, outliers"] = str(error)
            return None
    missing["edges of the bulk"] = f"{m} levels do not bend down enough to fit them: those of noise are given"
    noise = fit_noise(nu, shape, np.arange(int(WINDOW[0] * m), int(WINDOW[1] * m)))
    lower, upper = (noise.sigma * (np.sqrt(n) + sign * np.sqrt(m)) for sign in (-1, 1))
    fraction = 1 - (noise.n_outliers + noise.n_outliers_below) / m
    return MarchenkoPasturFit(
        nu_minus=float(lower),
        nu_plus=float(upper),
        amplitude=float(4 * fraction / (np.pi * (upper - lower) ** 2)),
        bulk_fraction=fraction,
        share_below_edge=float(np.mean(nu <= upper)),
        **vars(noise),
        shape=shape,
        method="noise",
        reflect=False,
    )


def _biwhitened(W, a, missing):
    """The analyses without noise sizes and without total sizes; the same object where they are equal."""
    try:
        noise = _without_sizes(W, "noise", a)
        total = noise if noise.biwhitened.removed == 0 else _without_sizes(W, "total", a)
    except BiwhitenError as error:
        missing["sizes"] = str(error)
        return None, None
    if not noise.biwhitened.settled:
        why = "noise and signal could not be told apart" if noise.bulk else "no bulk could be fitted to what they leave"
        rounds = noise.biwhitened.iterations
        missing["noise sizes"] = (
            f"they did not settle in {rounds} round{'s' * (rounds > 1)}: {why}; look at total sizes beside them"
        )
    return noise, total


def _without_sizes(W, sizes, a):
    taken = biwhitening.biwhiten(W, sizes)
    decomposition = spectrum(taken.matrix, deficient=True)
    nu = decomposition.nu
    return BiwhitenedAnalysis(nu, _bulk(nu, W.shape, a, {}), **_vector_tests(decomposition), biwhitened=taken)


def _alpha(nu, missing):
    if nu is None:
        return None
    if not ALPHA_LEVELS[0] <= len(nu) <= ALPHA_LEVELS[1]:
        missing["alpha"] = f"there is a null from {ALPHA_LEVELS[0]} to {ALPHA_LEVELS[1]} levels; this layer has {len(nu)}"
        return None
    return fit_power_law(nu**2).exponent


def _departures(W, sparse, nu, vectors, noise, total):
    if noise is None:
        return wording.departures(W, sparse, nu, vectors, None)
    sizes = wording.sizes((noise if noise.biwhitened.settled else total).biwhitened)
    return (*sizes, *wording.departures(W, sparse, nu, vectors, total.biwhitened))


def _informative(analysed):
    return {side: np.flatnonzero(getattr(analysed, side).qvalue < FALSE_DISCOVERY_RATE) for side in ("input", "output")}


def _rejected(part, suffix):
    if part is None:
        return dict.fromkeys((f"input_rejected{suffix}", f"output_rejected{suffix}"))
    return {f"{side}_rejected{suffix}": len(vectors) / len(part.nu) for side, vectors in part.informative.items()}


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
            return replace(analyse(layer, a=a, biwhiten=biwhiten, name=name), spacing_qvalue=None)
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
