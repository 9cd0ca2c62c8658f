r"""Neurons have sizes: noise of unequal rows and columns brought back to noise of one variance.

The null of this book has independent entries of one variance. The rows and columns of a trained layer differ in size, and noise
:math:`r_i G_{ij} c_j` alone then has levels far above the Marchenko-Pastur edge and vectors that fail Porter and Thomas's test.
Dividing by sizes of rows and columns takes that out. Which sizes is a choice, and so is the question that remains:

total
    Every row and column gets mean square 1, whatever it is made of. Is anything there beyond the sizes of neurons?
noise
    What is left of rows and columns without the strong directions gets mean square 1. Is anything there beyond noise of unequal
    strength? A neuron that is large because it learned stays large.

A single strong direction makes every row as large as its part in it; total sizes divide this by itself and spread one direction
over hundreds of levels. Outliers are therefore counted with noise sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import checks, gram, shrinkage, sinkhorn
from .marchenko_pastur import fit_marchenko_pastur, fit_noise, middle_levels
from .sinkhorn import BiwhitenError
from .unfolding import half_window

__all__ = ["BiwhitenError", "Biwhitened", "Sizes", "biwhiten", "find_sizes"]

ROUNDS = 30
SETTLED = 0.01  # root mean square of the last relative change of the sizes
STRONGEST = 2.0  # the first round removes the levels within this factor of the largest, the second within its square
LEAST = 0.01  # of the average: estimates of the noise in a row that is nearly all signal may come out negative
FLOOR = 1 / 16  # of the total size, in units of the median: least size of the noise in a row or column
MEMORY = 3  # rounds that the extrapolation remembers
ROWS = 256  # treated at a time


@dataclass(frozen=True, eq=False, kw_only=True)
class Sizes:
    """Sizes of the rows and columns of a matrix, ``W = row_sizes[:, None] * noise * column_sizes``.

    Attributes
    ----------
    row_sizes : numpy.ndarray of shape (n_out,)
        Standard deviations, in the units of W: what an entry of the row would have in a column of size 1.
    column_sizes : numpy.ndarray of shape (n_in,)
        Relative sizes, with a geometric mean of 1.
    iterations : int
        Sweeps of Sinkhorn's algorithm ("total"), or rounds of one decomposition each ("noise").
    removed : int
        Directions whose part was taken out of the sizes: 0 for "total".
    settled : bool
        Whether the sizes stopped changing. Where they did not, noise and signal could not be told apart: no conclusion should
        hang on the noise sizes, and both counts of outliers belong side by side.
    sizes : str
        "noise" or "total".
    nu : numpy.ndarray or None
        Singular values of the matrix without these sizes, ascending, where finding the sizes gave them: for "noise" without
        directions.
    """

    row_sizes: np.ndarray
    column_sizes: np.ndarray
    iterations: int
    removed: int
    settled: bool
    sizes: str
    nu: np.ndarray | None

    @property
    def row_spread(self) -> float:
        """Coefficient of variation of the row sizes; about ``1 / sqrt(2 n_in)`` for noise of one size, and 0 if all are equal."""
        sizes = checks.divided(self.row_sizes, checks.unit(self.row_sizes))
        return float(sizes.std() / sizes.mean())

    @property
    def column_spread(self) -> float:
        """Coefficient of variation of the column sizes; about ``1 / sqrt(2 n_out)`` for noise of one size."""
        return float(self.column_sizes.std() / self.column_sizes.mean())


@dataclass(frozen=True, eq=False, kw_only=True)
class Biwhitened(Sizes):
    """A matrix without the sizes of its rows and columns, ``W = row_sizes[:, None] * matrix * column_sizes``.

    Attributes
    ----------
    matrix : numpy.ndarray of shape (n_out, n_in)
        In the precision of W. Every row and column of it ("total"), or of the noise in it ("noise"), has mean square 1.
    """

    matrix: np.ndarray


def biwhiten(W, sizes: str = "noise", tol: float = 1e-6) -> Biwhitened:
    r"""Take the sizes of rows and columns out of a matrix.

    Parameters
    ----------
    W : array_like of shape (n_out, n_in)
        A real matrix.
    sizes : {"noise", "total"}
        Whose mean squares become 1: those of the noise in the rows and columns, or those of the rows and columns themselves.
    tol : float
        Largest deviation of a mean square from 1 that "total" leaves, and that "noise" starts from.

    Returns
    -------
    Biwhitened

    Raises
    ------
    ValueError
        If ``W`` is not a finite real matrix, or an option is out of range.
    BiwhitenError
        A ValueError: if ``W`` has an empty row or column, its zeros leave no factors that would do, or "noise" is asked of fewer
        than 16 levels or of a matrix without noise.

    Notes
    -----
    *Total* sizes are found by Sinkhorn's algorithm on the squared entries (`rmtlib.sinkhorn`). Independent noise
    follows the Marchenko-Pastur law afterwards, and not only where variances are products of a row's and a column's: it is enough
    that all rows and columns have the same mean variance. A size is known to a relative
    :math:`1/\sqrt{2 n_\mathrm{in}}` (rows) or :math:`1/\sqrt{2 n_\mathrm{out}}` (columns) for Gaussian noise, and exactly where
    all entries are :math:`\pm r_i c_j`.

    *Noise* sizes make themselves consistent. In each round the matrix is divided by the sizes so far and decomposed; the
    Marchenko-Pastur fit gives sigma and the k levels outside. A planted strength t in noise of variance 1/n shows at
    :math:`y`, with squared overlap :math:`\theta^2` of the vector found with the one planted (`rmtlib.shrinkage`,
    `rmtlib.ensembles.spiked`), so that in units of the noise

    .. math:: \frac{n t^2}{\theta^2} \left(\hat u_i^2 - \frac{1 - \theta^2}{n}\right)

    is an unbiased estimate of the square sum of row i's part in the direction. What is left of the row's square sum belongs to
    the noise; columns likewise. Where a direction is hardly known, :math:`t^2/\theta^2` is cut off at :math:`y^2`. Taking out the
    levels as they are would take noise out with them, most in the rows that a direction lies in: a row that is a direction of its
    own would be left without noise, and here gets that of an average row.

    The rounds start from total sizes, by which strong directions look like many weak ones. So the first round removes only the
    levels above half of the largest, the second those above a quarter, and so on down to the edge of the noise. They end when k
    changes by at most 1 and sizes change by less than 1 % (root mean square). Once k stays, steps are extrapolated from the last
    three. If no level lies outside in the first round, noise sizes are the total ones.

    A neuron that directions explain altogether leaves nothing to measure its noise by: the noise in it is taken to be at least
    1/16 of its total size, in units of the median.

    ``settled`` is False after 30 rounds, where no bulk can be fitted in the end, or where directions are most of the levels: too
    little noise is left to take sizes from.

    A direction that lies in one row or column alone cannot be told from its size, and counts as size.

    Costs one decomposition without vectors for each round: noise takes one, clear directions two or three.

    References
    ----------
    Landa, Zhang and Kluger, SIAM J. Math. Data Sci. 4, 1420 (2022), for total sizes; Benaych-Georges and Nadakuditi,
    J. Multivariate Anal. 111, 120 (2012), for strengths and overlaps.

    Examples
    --------
    >>> from rmtlib.ensembles import spiked
    >>> W = spiked((300, 200), 0, strengths=[3.0, 30.0]).matrix * np.geomspace(1, 10, 300)[:, None]
    >>> found = biwhiten(W)
    >>> found.removed, found.settled
    (2, True)
    >>> bool(np.allclose(found.row_sizes[:, None] * found.matrix * found.column_sizes, W))
    True
    """
    found = find_sizes(W, sizes, tol)
    W = checks.matrix(W)
    matrix = np.empty(W.shape, W.dtype)
    for i in range(0, len(W), ROWS):  # in float64, also of float32
        matrix[i : i + ROWS] = W[i : i + ROWS] / found.row_sizes[i : i + ROWS, None] / found.column_sizes
    return Biwhitened(matrix=matrix, **vars(found))


def find_sizes(W, sizes: str = "noise", tol: float = 1e-6) -> Sizes:
    """The sizes that `rmtlib.biwhiten` takes out, without the matrix that is left.

    Parameters
    ----------
    W, sizes, tol
        As in `rmtlib.biwhiten`, which tells how they are found.

    Returns
    -------
    Sizes

    Raises
    ------
    ValueError
        As `rmtlib.biwhiten`.
    BiwhitenError
        As `rmtlib.biwhiten`.

    Notes
    -----
    Of a float32 matrix W no float64 copy is made (``rmtlib.gram``): a large one needs the memory of W and of a square matrix of
    its smaller side.
    """
    W = checks.matrix(W)
    checks.choice(sizes, "sizes", ("noise", "total"))
    tol = checks.positive(tol, "tol")
    if sizes == "noise" and min(W.shape) < checks.FEWEST_LEVELS:
        msg = (
            f"W must have at least {checks.FEWEST_LEVELS} levels for noise sizes, to tell noise from directions; "
            f'got {min(W.shape)}: sizes="total" needs no levels'
        )
        raise BiwhitenError(msg)
    unit = checks.unit(W)
    A = checks.divided(W, unit)
    rows, columns, iterations = sinkhorn.scaling_factors(A, tol)
    removed, settled, nu = 0, True, None
    if sizes == "noise":
        rows, columns, iterations, removed, settled, nu = _noise_factors(A, rows, columns)
    mean = np.exp(np.log(columns).mean())
    rows, columns = rows * mean, columns / mean
    return Sizes(
        row_sizes=unit / rows,
        column_sizes=1 / columns,
        iterations=iterations,
        removed=removed,
        settled=settled,
        sizes=sizes,
        nu=nu,
    )


def _noise_factors(A, rows, columns):
    """Factors of rows and columns, rounds, directions removed, whether the sizes settled, and the levels without directions."""
    if A.shape[0] < A.shape[1]:
        columns, rows, *rest = _noise_factors(A.T, columns, rows)
        return rows, columns, *rest
    n, m = A.shape
    start = np.log(np.concatenate([rows, columns]))
    count: int | None = None
    x, extrapolation = start, sinkhorn.Extrapolation(MEMORY)
    for iteration in range(1, ROUNDS + 1):
        rows, columns = np.exp(x[:n]), np.exp(x[n:])
        found = gram.decomposed(A, rows, columns)
        nu = found.nu
        sigma, outside, fitted = _noise(nu, n, m)
        if outside == 0 and iteration == 1:
            return rows, columns, iteration, 0, fitted, nu
        before, count = count, min(outside, int(np.count_nonzero(nu > nu[-1] / STRONGEST**iteration)))
        steady = count == outside and before is not None and abs(before - count) <= 1
        step = _steps(A, rows, columns, sigma, found.leading(count))
        change = max(np.std(step[:n]), np.std(step[n:]))
        x = _floored(extrapolation.after(x, step) if steady else x + step, start, n)
        if steady and change < SETTLED:
            break
    rows, columns = np.exp(x[:n]), np.exp(x[n:])
    settled = bool(steady and change < SETTLED and fitted and count < m / 2)
    return rows / sigma, columns, iteration, count, settled, None


def _floored(x, start, n):
    """Logarithms of factors with the largest cut off: a neuron that directions explain altogether has no noise to be measured."""
    drift = x - start
    for part in (drift[:n], drift[n:]):
        mean = part.mean()
        np.minimum(part, np.median(part) - np.log(FLOOR), out=part)
        part += mean - part.mean()
    return start + drift


def _noise(nu, n, m):
    """Standard deviation of the noise, number of levels above it, and whether a curve could be fitted."""
    try:
        fit = fit_marchenko_pastur(nu, (n, m), a=half_window(m))
    except ValueError:
        noise = fit_noise(nu, (n, m), middle_levels(m))
        if noise.sigma <= 1e-6 * nu[-1]:
            msg = 'W has no noise to take sizes from: most of its levels are zero; use sizes="total"'
            raise BiwhitenError(msg) from None
        return noise.sigma, noise.n_outliers, False
    return fit.sigma, fit.n_outliers, True


def _steps(A, rows, columns, sigma, right):
    """Logarithms of the factors that the noise beside these directions asks for, first of rows and then of columns."""
    left, scaled = np.empty((len(A), right.shape[1])), columns[:, None] * right
    for i in range(0, len(A), ROWS):
        left[i : i + ROWS] = rows[i : i + ROWS, None] * (A[i : i + ROWS] @ scaled)
    nu = np.sqrt(np.einsum("ij,ij->j", left, left))
    left /= nu
    n, m = (side - len(nu) for side in A.shape)
    c = m / n
    y = np.maximum(nu / (sigma * np.sqrt(n)), (1 + np.sqrt(c)) * (1 + 1e-9))
    square = shrinkage.spiked_strength(y, c) ** 2
    overlaps = 1 - (c + square) / (square * (square + 1)), 1 - c * (1 + square) / (square * (square + c))
    steps = []
    for sums, vectors, overlap in zip(_square_sums(A, rows, columns), (left, right), overlaps, strict=True):
        weight = np.minimum(square / np.maximum(overlap, 1e-12), y**2)
        noise = sums / sigma**2 - n * ((vectors**2 - (1 - overlap) / len(vectors)) @ weight)
        noise = np.log(np.maximum(noise / noise.mean(), LEAST))
        steps.append((noise.mean() - noise) / 2)
    return np.concatenate(steps)


def _square_sums(A, rows, columns):
    of_rows, of_columns = np.empty(len(rows)), np.zeros(len(columns))
    for i in range(0, len(rows), ROWS):
        squares = np.square(A[i : i + ROWS], dtype=np.float64)
        of_rows[i : i + ROWS] = squares @ columns**2
        of_columns += rows[i : i + ROWS] ** 2 @ squares
    return of_rows * rows**2, of_columns * columns**2
