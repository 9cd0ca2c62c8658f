r"""Singular values from the smaller Gram matrix, block by block: no second copy of a large matrix, scaled or not.

The eigenvalues of :math:`X^T X` with :math:`X = \mathrm{diag}(r)\, W\, \mathrm{diag}(c)` are accumulated over blocks of rows, so
that memory holds W itself, one block and one square matrix of the smaller side. Squaring costs digits: a singular value
:math:`\nu_k` has an error of about :math:`\epsilon\,\nu_m^2 / \nu_k`; `rmtlib.spectrum` refines small ones or avoids them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.linalg import blas, lapack

from .blas_threads import one_thread_below

ROWS = 1024  # of a block
SINGLE_FROM = 2**22  # entries from which float32 arithmetic is worth its thought
SINGLE_ABOVE = 0.03  # of the largest: the smallest level that float32 arithmetic gives to a few 1e-4
POWER_STEPS = 6
SQUARES = 1e-24, 1e30  # largest eigenvalues whose parts are ordinary float32 numbers


@dataclass(frozen=True, eq=False)
class Decomposed:
    """Singular values, and the right vectors of the largest on demand.

    Attributes
    ----------
    nu : numpy.ndarray of shape (m,)
        float64, ascending.
    leading : callable
        ``leading(count)`` gives the right vectors of the largest levels as columns, shape ``(m, count)``.
    single : bool
        Whether float32 arithmetic was used.
    """

    nu: np.ndarray
    leading: Callable[[int], np.ndarray]
    single: bool


def decomposed(W: np.ndarray, rows=None, columns=None) -> Decomposed:
    r"""Decompose ``rows[:, None] * W * columns`` by way of its Gram matrix.

    Parameters
    ----------
    W : numpy.ndarray of shape (n, m)
        float32 or float64, with n >= m.
    rows, columns : numpy.ndarray, optional
        Factors, shapes ``(n,)`` and ``(m,)``; by default 1.

    Returns
    -------
    Decomposed

    Notes
    -----
    A float32 matrix of at least 2**22 entries is decomposed in float32 where that permits it (`permits_single`): sums over more
    than one block are formed in float32 as well, and the tridiagonal matrix they lead to is solved in float64. Where the smallest
    level then turns out below 0.03 of the largest, all is done again in float64. The relative error of a level is near 1e-6 for
    noise of aspect ratio 2 and above, 5e-4 for a level at that limit; the mean distance of levels is 1/m of the largest.
    """
    single = W.dtype == np.float32 and W.size >= SINGLE_FROM and permits_single(W, rows, columns)
    found = _decomposed(W, rows, columns, np.float32 if single else np.float64)
    if single and found.nu[0] < SINGLE_ABOVE * found.nu[-1]:
        return _decomposed(W, rows, columns, np.float64)
    return found


def permits_single(W: np.ndarray, rows=None, columns=None) -> bool:
    r"""Whether the smallest level is expected above 0.03 of the largest, so that float32 arithmetic will do.

    Parameters
    ----------
    W, rows, columns
        As in `decomposed`.

    Returns
    -------
    bool
        From the largest level, by power iteration, and the lower edge :math:`\sqrt{\sum\nu^2/m}\,(1 - \sqrt{m/n})` of noise
        as strong as the rest. A few passes over W.
    """
    n, m = W.shape
    vector = np.ones(m, np.float32)
    with np.errstate(all="ignore"):
        r, c = (np.float32(1) if x is None else x.astype(np.float32) for x in (rows, columns))
        for _ in range(POWER_STEPS):
            vector = c * ((r * (r * (W @ (c * vector)))) @ W)
            length = np.sqrt(vector @ vector)
            if not SQUARES[0] < length < SQUARES[1]:
                return False
            vector /= length
    largest = float(length)  # an eigenvalue of the Gram matrix
    square_sum = sum(
        float(np.sum(np.square(block, dtype=np.float64))) for block in _blocks(W, rows, columns, np.dtype(np.float32))
    )
    rest = max(square_sum - largest, 0.0) / m
    return rest * (1 - np.sqrt(m / n)) ** 2 > SINGLE_ABOVE**2 * largest


def _blocks(W, rows, columns, dtype):
    for i in range(0, len(W), ROWS):
        block = W[i : i + ROWS].astype(dtype, order="C")
        if rows is not None:
            block *= rows[i : i + ROWS, None].astype(dtype)
        if columns is not None:
            block *= columns.astype(dtype)
        yield block


def _decomposed(W, rows, columns, dtype):
    m = W.shape[1]
    names = ("syrk",), ("sytrd", "sytrd_lwork", "ormqr")
    (syrk,) = blas.get_blas_funcs(names[0], dtype=dtype)
    tridiagonal, workspace, multiply = lapack.get_lapack_funcs(names[1], dtype=dtype)
    gram = np.zeros((m, m), dtype, order="F")
    for block in _blocks(W, rows, columns, dtype):
        gram = syrk(1.0, block.T, beta=1.0, c=gram, overwrite_c=1, lower=1)
    del block
    with one_thread_below(m):
        lwork = int(workspace(m, lower=1)[0])
        gram, diagonal, beside, tau, _ = tridiagonal(gram, lower=1, lwork=lwork, overwrite_a=1)
        diagonal, beside = diagonal.astype(np.float64), beside.astype(np.float64)
        values = scipy.linalg.eigvalsh_tridiagonal(diagonal, beside, lapack_driver="sterf", check_finite=False)

    def leading(count):
        if count == 0:
            return np.empty((m, 0))
        # LAPACK finds a few vectors of a tridiagonal matrix faster than all of them, and all of them faster than many
        some = {"select": "i", "select_range": (m - count, m - 1)} if 16 * count < m else {}
        with one_thread_below(m):
            vectors = scipy.linalg.eigh_tridiagonal(diagonal, beside, check_finite=False, **some)[1][:, -count:]
            below = np.asfortranarray(vectors[1:], dtype=dtype)
            vectors[1:] = multiply("L", "N", np.asfortranarray(gram[1:, :-1]), tau, below, lwork)[0]
        return vectors

    return Decomposed(np.sqrt(np.maximum(values, 0)), leading, dtype == np.float32)
