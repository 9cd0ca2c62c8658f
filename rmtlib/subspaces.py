r"""Top singular vectors before and after: how much of a subspace stays, and which vectors are new beyond what noise makes new.

Two random subspaces of dimension k among n overlap by k/n; what is left of a layer's top subspace is compared with that. A tuned
vector that is close to no base vector has been called an *intruder*. Noise added to a matrix makes such vectors too, many where
levels lie close together, so each gets a p from the base plus noise with the update's own sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.special import betaincc

from . import checks
from .spectra import Spectrum, spectrum

__all__ = ["Intruders", "Overlap", "intruders", "overlap"]

DRAWS = 100
FEWEST_DRAWS = 99
TOP = 20
LEVEL = 0.05
SPARE = 12  # base vectors beyond the top ones that the search for the largest vectors starts from
RANDOM = 8  # and random ones, which find directions that the base has not
STEPS = 3


@dataclass(frozen=True)
class Overlap:
    """How much of the top subspaces of a matrix is left in those of another.

    Attributes
    ----------
    value : float
        Mean squared cosine between the top k vectors of both, averaged over input and output space; 1 if the subspaces are the
        same.
    random : float
        Its mean for random subspaces, the average of k over the dimension.
    pvalue : float
        Probability that random subspaces overlap as much.
    k : int
        Dimension of the subspaces.
    """

    value: float
    random: float
    pvalue: float
    k: int


@dataclass(frozen=True, eq=False)
class Intruders:
    """Top output vectors of a tuned matrix, and how close the nearest base vector is.

    Attributes
    ----------
    cosines : numpy.ndarray of shape (top,)
        Largest \\|cosine\\| of each vector with any base vector, from the largest singular value down.
    noise : numpy.ndarray of shape (draws, top)
        The same for the base plus noise.
    pvalue : numpy.ndarray of shape (top,)
        Probability that noise of the update's sizes leaves the vector of this rank as far from all base vectors.
    count : int
        Vectors with a p below 0.05.
    count_pvalue : float
        Probability that noise makes as many.
    expected : float
        Mean number that noise makes.
    """

    cosines: np.ndarray
    noise: np.ndarray
    pvalue: np.ndarray
    count: int
    count_pvalue: float
    expected: float


def overlap(base: Spectrum, tuned: Spectrum, k: int) -> Overlap:
    r"""Overlap of the top k-dimensional subspaces of two matrices, and its probability for random ones.

    Parameters
    ----------
    base, tuned : Spectrum
        With vectors, of matrices of one shape.
    k : int
        Dimension, at most the number of levels of either.

    Returns
    -------
    Overlap

    Raises
    ------
    ValueError
        If the shapes differ, or k is out of range.

    Notes
    -----
    For projectors P and Q on random k-dimensional subspaces of :math:`\mathbb{R}^n` the squared cosines are the levels of a
    Jacobi ensemble, and their mean :math:`\operatorname{tr} PQ / k` has the mean k/n and the variance
    :math:`2 (n-k)^2 / (n^2 (n-1)(n+2))`. The p value is that of a beta law with both moments, averaged over the two spaces; for
    k = 1 in one space the law is exact.

    References
    ----------
    Wachter, Ann. Stat. 8, 937 (1980).

    Examples
    --------
    >>> from rmtlib.ensembles import gaussian
    >>> found = overlap(spectrum(gaussian((200, 100), 0)), spectrum(gaussian((200, 100), 1)), 10)
    >>> round(found.random, 3), found.pvalue > 0.01
    (0.075, True)
    """
    for name, given in (("base", base), ("tuned", tuned)):
        if not isinstance(given, Spectrum) or given.input_vectors is None:
            msg = f"{name} must be a Spectrum with vectors, of rmtlib.spectrum; got {type(given).__name__}"
            raise ValueError(msg)
    if base.shape != tuned.shape:
        msg = f"base and tuned must have one shape; got {base.shape} and {tuned.shape}"
        raise ValueError(msg)
    k = checks.integer(k, "k", at_least=1)
    if k > min(len(base.nu), len(tuned.nu)):
        msg = f"k must be at most the number of levels, {min(len(base.nu), len(tuned.nu))}; got {k}"
        raise ValueError(msg)
    sides = ((base.input_vectors, tuned.input_vectors), (base.output_vectors, tuned.output_vectors))
    value = float(np.mean([np.sum((before[-k:] @ after[-k:].T) ** 2) / k for before, after in sides]))
    dimensions = np.array(base.shape[::-1], dtype=float)
    mean = float(np.mean(k / dimensions))
    variance = np.sum(2 * (dimensions - k) ** 2 / (dimensions**2 * (dimensions - 1) * (dimensions + 2))) / 4
    if variance == 0:
        return Overlap(value, mean, 1.0, k)
    weight = mean * (1 - mean) / variance - 1
    return Overlap(value, mean, float(betaincc(mean * weight, (1 - mean) * weight, min(value, 1.0))), k)


def intruders(W, D, *, rng, base: Spectrum | None = None, top: int = TOP, draws: int = DRAWS) -> Intruders:
    r"""Which top vectors of ``W + D`` are new beyond what noise of the sizes of ``D`` makes new.

    Parameters
    ----------
    W, D : array_like of shape (n_out, n_in)
        Base, and the update that was added to it.
    rng : seed or numpy.random.Generator
        Of the noise.
    base : Spectrum, optional
        That of ``W``, with vectors, if it is known.
    top : int
        Vectors to test, from the largest singular value down; at most a quarter of the levels are.
    draws : int
        Number of noises, at least 99.

    Returns
    -------
    Intruders

    Raises
    ------
    ValueError
        If the matrices are not real and finite, differ in shape, or a number is out of range.

    Notes
    -----
    The statistic of a tuned vector is its largest \|cosine\| with any base vector, small for an intruder. Noise is the update
    with a random sign on every entry: the law of independent symmetric entries of any sizes does not change by that, be they
    sizes of rows and columns, zeros or steps of a grid, and nothing is fitted. :math:`p = (1 + \#) / (\mathrm{draws} + 1)`, with
    the number of noises whose vector of the same rank is at least as far away.

    A direction in one row or column alone keeps its size under random signs, and is none for this test.

    The top vectors of every sum, that of the update included, come from three steps of a block Krylov method in float32, which
    starts from the base's top vectors and 8 random ones. Where it is not converged p is still exact, as both sides of the
    comparison are computed alike; ``cosines`` then are up to a few hundredths too large. Costs as much as 3 to 8 decompositions
    of the matrix for 99 draws.

    References
    ----------
    Shuttleworth et al., arXiv:2410.21228, count vectors below a fixed threshold; Davison and Hinkley, *Bootstrap Methods and
    their Application* (1997), ch. 4, for p values from simulated draws.

    Examples
    --------
    >>> from rmtlib.ensembles import gaussian
    >>> W, v = gaussian((200, 100), 0), gaussian((100,), 1)
    >>> found = intruders(W, 0.3 * np.outer(gaussian((200,), 2), v), rng=0)
    >>> round(float(found.pvalue[0]), 3)
    0.01
    """
    W, D = checks.matrix(W), checks.matrix(D, "D")
    if W.shape != D.shape:
        msg = f"D must have the shape of W, {W.shape}; got {D.shape}"
        raise ValueError(msg)
    top, draws = checks.integer(top, "top", at_least=1), checks.integer(draws, "draws", at_least=FEWEST_DRAWS)
    rng, base = checks.generator(rng), spectrum(W, deficient=True) if base is None else base
    top = max(1, min(top, len(base.nu) // 4))
    unit = float(np.abs(W).max()) or 1.0
    tall = W.shape[0] >= W.shape[1]
    A, update = (np.ascontiguousarray(X if tall else X.T, np.float32) for X in (W / unit, D / unit))
    near = base.input_vectors if tall else base.output_vectors
    known = np.ascontiguousarray(base.output_vectors, np.float32)
    start = np.vstack([near[-(top + SPARE) :], rng.standard_normal((RANDOM, near.shape[1]))])[: near.shape[1]]
    start = np.linalg.qr(start.T.astype(np.float32))[0]

    def nearest(change):
        vectors = _largest(A + change, start, top, left=tall)
        return np.abs(known @ vectors).max(axis=0)

    cosines = nearest(update)
    noise = np.array([nearest(_signs(update, rng)) for _ in range(draws)])
    pvalue = (1 + np.count_nonzero(noise <= cosines, axis=0)) / (draws + 1)
    # Every draw is compared with all others and the update, as the update is with them.
    together = np.vstack([cosines, noise])
    ranks = np.array([np.searchsorted(np.sort(column), column, side="right") for column in together.T])
    counts = np.count_nonzero(ranks / (draws + 1) < LEVEL, axis=0)
    count_pvalue = np.count_nonzero(counts >= counts[0]) / (draws + 1)
    cosines, noise = np.minimum(cosines, 1), np.minimum(noise, 1)
    return Intruders(cosines, noise, pvalue, int(counts[0]), float(count_pvalue), float(counts[1:].mean()))


def _signs(D, rng):
    """The matrix with random signs, by a random highest bit of every float32."""
    bits = np.unpackbits(np.frombuffer(rng.bytes(-(-D.size // 8)), np.uint8), count=D.size).reshape(D.shape).astype(np.uint32)
    bits <<= 31
    bits ^= D.view(np.uint32)
    return bits.view(np.float32)


def _largest(A, X, count, *, left):
    """Vectors of the largest singular values as columns, by a block Krylov method on the right that starts from X."""
    basis, images = [X], [A @ X]
    for _ in range(STEPS):
        room = A.shape[1] - sum(Q.shape[1] for Q in basis)
        if room == 0:
            break
        Y = (A.T @ images[-1])[:, :room]
        for _ in range(2):  # what is left of a subspace that holds all of A already is rounding: it must be new all the same
            for Q in basis:
                Y -= Q @ (Q.T @ Y)
            Y = np.linalg.qr(Y)[0]
        basis.append(Y)
        images.append(A @ Y)
    image = np.hstack(images)
    size = image.shape[1]
    values, R = scipy.linalg.eigh(image.T @ image, subset_by_index=(size - count, size - 1), check_finite=False, overwrite_a=True)
    vectors = image @ R / np.sqrt(values) if left else np.hstack(basis) @ R
    return vectors[:, ::-1]
