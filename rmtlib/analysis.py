r"""The whole analysis of one layer: every statistic of the book by one call.

The spectrum says *how much* deviates from noise, level by level; the vectors say *where*: in the space of the layer's inputs or
of its outputs. `rmtlib.LayerAnalysis.summary` puts both into one line.
"""

import numpy as np

from . import biwhitening, checks, departures, layer_levels, wording
from .biwhitening import BiwhitenError
from .goodness import BulkTest, bulk_test
from .layer_analysis import BiwhitenedAnalysis, LayerAnalysis
from .marchenko_pastur import MarchenkoPasturFit
from .null_laws import FEWEST_SPACINGS
from .number_variance import number_variance_curve
from .porter_thomas import unit_rows_test
from .spacings import spacing_ratios, spacing_test
from .spectra import spectrum
from .unfolding import half_window, unfold
from .weights import Layer
from .wording import uncounted

__all__ = ["analyse"]

LENGTHS = np.linspace(0.5, 20, 40)


def analyse(layer, *, a: int = 15, biwhiten: bool = True, name: str | None = None) -> LayerAnalysis:
    """Analyse one layer: spectrum, spacings, number variance, bulk and vectors of both spaces, with and without sizes of neurons.

    Parameters
    ----------
    layer : Layer or array_like of shape (n_out, n_in)
        A layer of `rmtlib.load_weights`, or a real matrix.
    a : int
        Half window of the unfolding and of the broadened density, in levels on each side. Where that leaves fewer than 16
        spacings, it is `rmtlib.unfolding.half_window` of the number of levels: 15 from 77 levels on, 7 from 45, less below.
        The null of the spacings is at hand for 15 and 7. For another window it is simulated once for every number of levels, and
        kept: seconds for 100 levels, half a minute for 512, ten minutes for 4096.
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
    if name is None:
        name = layer.name if isinstance(layer, Layer) else "matrix"
    W = checks.matrix(layer.matrix if isinstance(layer, Layer) else layer)
    shape = W.shape
    missing: dict[str, str] = {}
    W = layer_levels.without_empty(W, missing)
    if W.min() == W.max():
        msg = f"W is constant (every entry is {W.min():.6g}): it has rank 1 and no spectrum to analyse"
        raise ValueError(msg)
    decomposition = spectrum(W, deficient=True)
    nu, vectors = decomposition.nu, _vector_tests(decomposition)
    del decomposition
    rank = len(nu)
    full = layer_levels.is_full(rank, W.shape, missing)
    a = a if rank >= 4 * a + FEWEST_SPACINGS + 1 else half_window(max(rank, 5))
    xi, spacing, ratio, curve = _spacings(nu, a, full, missing)
    bulk = layer_levels.fitted_bulk(nu, W.shape, a, missing) if full else None
    noise, total = _biwhitened(W, a, missing) if full and biwhiten else (None, None)
    sparse = departures.sparse_null(W) if departures.zero_share(W) >= departures.SPARSE else None
    goodness = _goodness(nu, bulk, missing)
    alphas = [layer_levels.exponent(levels, missing) if full else None for levels in (nu, getattr(noise, "nu", None))]
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
        goodness=goodness,
        **vectors,
        biwhitened=noise,
        total=total,
        alpha=alphas[0],
        alpha_biwhitened=alphas[1],
        alpha_noise=None if alphas[0] is None else layer_levels.exponent_of_noise(W.shape),
        departures=_departures(W, sparse, nu, vectors, noise, total),
        missing=missing,
        sparse=sparse,
        spacing_qvalue=getattr(spacing, "calibrated_pvalue", None),
    )


def _vector_tests(decomposition):
    window = min(15, len(decomposition.nu) - 1 + len(decomposition.nu) % 2)
    sides = {"input": decomposition.input_vectors, "output": decomposition.output_vectors}
    return {side: unit_rows_test(vectors, window) for side, vectors in sides.items()}


def _spacings(nu, a, full, missing):
    """Unfolded levels, the test of their spacings, mean ratio and number variance: what of it can be said."""
    if not full:
        return None, None, None, None
    if len(nu) < layer_levels.FEWEST_UNFOLDED:
        missing["spacings, number variance"] = f"{len(nu)} levels are too few, they need {layer_levels.FEWEST_UNFOLDED}"
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


def _goodness(nu: np.ndarray, bulk: MarchenkoPasturFit | None, missing: dict[str, str]) -> BulkTest | None:
    if bulk is None or uncounted(bulk):
        return None
    try:
        return bulk_test(nu, bulk.shape, outliers=(bulk.n_outliers_below, bulk.n_outliers))
    except ValueError as error:  # too few levels without the outliers, or more than its table holds
        missing["goodness of fit of the bulk"] = str(error)
        return None


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
    bulk = layer_levels.fitted_bulk(nu, W.shape, a, {})
    return BiwhitenedAnalysis(nu, bulk, _goodness(nu, bulk, {}), **_vector_tests(decomposition), biwhitened=taken)


def _departures(W, sparse, nu, vectors, noise, total):
    if noise is None:
        return wording.departures(W, sparse, nu, vectors, None)
    sizes = wording.sizes((noise if noise.biwhitened.settled else total).biwhitened)
    return (*sizes, *wording.departures(W, sparse, nu, vectors, total.biwhitened))
