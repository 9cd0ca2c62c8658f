r"""Singular values and singular vectors of one weight matrix, in ascending order.

The singular value decomposition of a matrix of ``n_out`` rows and ``n_in`` columns is

.. math:: W = \sum_{k=1}^{m} \nu_k\, u_k v_k^T, \qquad \nu_1 \le \dots \le \nu_m, \quad m = \min(n_\mathrm{out}, n_\mathrm{in}),

with ``v_k`` in the space of the layer's inputs and ``u_k`` in the space of its outputs. Both are kept, by these names: which
of them "the" singular vectors of a square layer are depends on whether a framework stores ``W`` or its transpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from . import checks
from .blas_threads import one_thread_below

__all__ = ["Spectrum", "spectrum", "stable_rank"]

REFINED_BELOW = 1e-3  # of the largest singular value: these are computed again from W itself, if they are few
EXACT_BELOW = {True: 1e-7, False: 1e-5}  # with and without vectors, that is with and without this refinement
ROWS = 256  # rows converted to float64 at a time, so that no second copy of W is alive beside both sets of vectors


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values of a matrix, and its singular vectors as rows in the same order.

    Attributes
    ----------
    nu : numpy.ndarray
        float64, shape ``(k,)`` with ``k = min(shape)``, ascending, in the units of an entry of the matrix.
    input_vectors : numpy.ndarray or None
        Right singular vectors, shape ``(k, n_in)``, rows of length 1.
    output_vectors : numpy.ndarray or None
        Left singular vectors, shape ``(k, n_out)``, rows of length 1. Signs belong together:
        ``W = output_vectors.T @ numpy.diag(nu) @ input_vectors``.
    shape : tuple of int
        ``(n_out, n_in)``.
    """

    nu: np.ndarray
    input_vectors: np.ndarray | Any
    output_vectors: np.ndarray | Any
    shape: tuple[int, int]


def spectrum(W, vectors: bool = True, *, exact: bool = False, deficient: bool = False) -> Spectrum:
    r"""Singular values, ascending, and singular vectors in input and output space.

    Parameters
    ----------
    W : array_like
        Real matrix of shape ``(n_out, n_in)``, as torch stores a dense layer.
    vectors : bool
        Also compute the vectors of both spaces.
    exact : bool
        Decompose ``W`` itself even where its Gram matrix would do.
    deficient : bool
        Leave out levels that are zero, with their vectors, instead of refusing the matrix. Those of a float32 matrix below the
        rounding of its entries, 1.2e-7 of the largest level, are zeros as well.

    Returns
    -------
    Spectrum

    Raises
    ------
    ValueError
        If ``W`` is not a finite real matrix of at least 2 x 2, or is zero, constant or rank deficient: singular values that are
        zero up to rounding, ``nu <= max(shape) * eps * max(nu)`` in float64, have neither a level spacing nor a vector.

    Notes
    -----
    All arithmetic is float64. By default the eigenvectors of the smaller Gram matrix (:math:`W^T W` for ``n_out >= n_in``) are
    computed, and the other space by multiplication with ``W``. Forming the Gram matrix squares the condition number: an
    eigenvalue carries an error of about :math:`\epsilon\nu_m^2`, a singular value one of :math:`\epsilon\nu_m^2/\nu_k`, and two
    vectors obtained by multiplication are orthogonal to :math:`\epsilon\nu_m^2/(\nu_j\nu_k)`. Hence

    - singular values below 0.001 of the largest are refined, by a decomposition of ``W`` restricted to their eigenvectors. A
      square Gaussian matrix has about ``N / 800`` of them;
    - where more than one in 16 is that small, or the smallest one lies below 1e-7 of the largest (1e-5 without vectors,
      where nothing is refined), LAPACK decomposes ``W`` itself, as with ``exact=True``.

    Relative errors of singular values, and departures of the rows from orthonormality, stay below 1e-6 with vectors (near 1e-10
    for square random matrices, near 1e-14 for an aspect ratio of 4) and below 1e-5 without: a statistic of ``m`` levels sees
    no change of a spacing beyond ``1 / m**2``.

    The cost is that of two products and one symmetric eigenproblem of size ``k``. At its peak, results included, it holds about
    2.6 float64 copies of a square ``W`` and 1.4 of one with aspect ratio 4; LAPACK's decomposition of ``W`` itself holds 7 and
    4.3.

    Examples
    --------
    >>> s = spectrum([[0.0, 2.0], [1.0, 0.0], [0.0, 0.0]])
    >>> s.nu, s.output_vectors.shape
    (array([1., 2.]), (2, 3))
    """
    W = checks.matrix(W)
    low, high = float(W.min()), float(W.max())
    if low == high == 0:
        msg = "W is zero: it has no spectrum to analyse"
        raise ValueError(msg)
    if low == high and not deficient:
        msg = f"W is constant (every entry is {low:.6g}): it has rank 1 and no spectrum to analyse"
        raise ValueError(msg)
    nu, inputs, outputs = decompose(W, vectors, exact=exact)
    relative = max(W.shape) * np.finfo(np.float64).eps
    zeros = np.count_nonzero(nu <= (max(relative, np.finfo(W.dtype).eps) if deficient else relative) * nu[-1])
    if zeros and deficient:
        nu, inputs, outputs = (part if part is None else part[zeros:] for part in (nu, inputs, outputs))
    elif zeros:
        msg = (
            f"W is rank deficient: {zeros} of its {len(nu)} singular values are zero up to rounding; "
            f"remove dependent or empty rows and columns first ({_empty(W)})"
        )
        raise ValueError(msg)
    return Spectrum(nu, inputs, outputs, W.shape)


def stable_rank(nu) -> float:
    r"""How many directions share the size of a matrix, :math:`\sum_k \nu_k^2 / \nu_\max^2`.

    Parameters
    ----------
    nu : array_like, shape (m,)
        Singular values, at least one, ascending, the largest above 0.

    Returns
    -------
    float
        From 1, where one direction is all, to m, where all are equal; noise of n x m has
        :math:`m / (1 + \sqrt{m/n})^2` in the limit.

    Raises
    ------
    ValueError
        If ``nu`` is empty, not ascending or not finite, or has no positive level.

    References
    ----------
    Rudelson and Vershynin, J. ACM 54, 21 (2007).

    Examples
    --------
    >>> stable_rank([1.0, 1.0, 2.0])
    1.5
    """
    nu = checks.levels(nu, "nu", at_least=1)
    if nu[-1] <= 0 or nu[0] < 0:
        msg = "nu must hold singular values that are not negative, the largest above 0"
        raise ValueError(msg)
    return float(np.sum((nu / nu[-1]) ** 2))


def decompose(W: np.ndarray, vectors: bool = True, *, exact: bool = False):
    """Singular values and both sides as rows, of a matrix of any rank and scale."""
    unit = checks.unit(W)
    W = checks.divided(W, unit)
    found = None if exact else by_gram(W, vectors)
    nu, inputs, outputs = by_svd(W, vectors) if found is None else found
    return nu * unit, inputs, outputs


def frobenius(W: np.ndarray) -> float:
    """Root of the sum of all squares, which are summed in float64, of a matrix of any scale."""
    unit = checks.unit(W)
    W = checks.divided(W, unit)
    return unit * float(np.linalg.norm(W) if W.dtype == np.float64 else np.sqrt(np.einsum("ij,ij", W, W, dtype=np.float64)))


def by_gram(W, vectors):
    """Both sides by way of the smaller Gram matrix, or None where that would lose too many digits."""
    transposed = W.shape[0] < W.shape[1]
    A = W.T if transposed else W
    if vectors:
        values, near = eigh_rows(_gram(A))
    else:
        gram = _gram(A)
        with one_thread_below(len(gram)):
            values = scipy.linalg.eigh(gram, eigvals_only=True, overwrite_a=True, check_finite=False, driver="evr")
        del gram
    nu = np.sqrt(np.maximum(values, 0))
    if nu[0] <= EXACT_BELOW[bool(vectors)] * nu[-1]:
        return None
    if not vectors:
        return nu, None, None
    small = np.count_nonzero(nu < REFINED_BELOW * nu[-1])
    if 16 * small > len(nu):
        return None
    far = np.empty((len(nu), A.shape[0]))
    for i in range(0, A.shape[0], ROWS):
        np.matmul(near, A[i : i + ROWS].T.astype(np.float64, copy=False), out=far[:, i : i + ROWS])
    if small:
        left, lengths, right = scipy.linalg.svd(far[:small], full_matrices=False, check_finite=False)
        near[:small] = left[:, ::-1].T @ near[:small]
        far[:small] = right[::-1] * lengths[::-1, None]
    nu = np.sqrt(np.einsum("ij,ij->i", far, far))
    far /= nu[:, None]
    nu.sort()
    return (nu, far, near) if transposed else (nu, near, far)


def _gram(A):
    """``A.T @ A`` in float64 for an A with at least as many rows as columns."""
    A = A.astype(np.float64, copy=False)
    return (A.T @ A).T


def eigh_rows(A):
    """Eigenvalues, and eigenvectors as rows, of a symmetric matrix in Fortran order, which is overwritten.

    The three steps of LAPACK's ``dsyevd``. Between them half of the first one's result, which the second does not need, is let
    go: 2.5 matrices at the peak instead of a little more than 3.
    """
    n = len(A)
    with one_thread_below(n):
        lwork = int(lapack.dsytrd_lwork(n, lower=1)[0])
        A, diagonal, beside, tau, _ = lapack.dsytrd(A, lower=1, lwork=lwork, overwrite_a=1)
        reflectors = [A[j:, j : j + ROWS].copy() for j in range(0, n, ROWS)]
        del A
        values, vectors = scipy.linalg.eigh_tridiagonal(diagonal, beside, check_finite=False)
        A = np.zeros((n, n), order="F")
        for j, columns in zip(range(0, n, ROWS), reflectors, strict=True):
            A[j:, j : j + ROWS] = columns
        del reflectors, columns
        A[0] = 0
        # The reflectors leave the first row alone. dormqr wants them without it: seen from the second element of the memory on,
        # each column ends with the next one's first element, which a zero in all reflectors keeps as it is: nothing is copied.
        Q, last = _from_second(A), np.append(vectors[1:, -1], 0)[:, None]
        lapack.dormqr("L", "N", Q, tau, _from_second(vectors), lwork=lwork, overwrite_c=1)
        vectors[1:, -1:] = lapack.dormqr("L", "N", Q, tau, last, lwork=lwork)[0][:-1]
        return values, vectors.T


def _from_second(A):
    """All but the first element of a square matrix in Fortran order, as columns of full length: one column less."""
    n = len(A)
    return A.T.reshape(-1)[1 : 1 + n * (n - 1)].reshape((n - 1, n)).T


def by_svd(W, vectors):
    """Singular values and, on demand, both sides as rows, by the singular value decomposition of the whole matrix."""
    W = W.astype(np.float64)
    with one_thread_below(max(W.shape)):
        if not vectors:
            return scipy.linalg.svdvals(W, overwrite_a=True, check_finite=False)[::-1].copy(), None, None
        u, nu, vt = scipy.linalg.svd(W, full_matrices=False, overwrite_a=True, check_finite=False)
    return nu[::-1].copy(), vt[::-1].copy(), np.ascontiguousarray(u.T[::-1])


def _empty(W):
    rows, columns = np.count_nonzero(~W.any(axis=1)), np.count_nonzero(~W.any(axis=0))
    return f"{rows} rows and {columns} columns hold only zeros"
