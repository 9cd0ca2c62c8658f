r"""Seeded null matrices: what a weight matrix looks like when it holds no information, or a planted amount of it.

Every function takes a seed or a `numpy.random.Generator` and returns new arrays. ``shape`` is ``(n_out, n_in)``, as torch
stores a weight matrix; :math:`n` is the larger, :math:`m` the smaller of the two, and ``c = m/n``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import checks

__all__ = ["SpikedMatrix", "gaussian", "glorot_uniform", "goe", "shuffled", "spiked", "spiked_singular_value", "student_t"]


def glorot_uniform(shape: tuple[int, ...], rng) -> np.ndarray:
    r"""Uniform entries on :math:`\pm\sqrt{6/(n_\mathrm{in} + n_\mathrm{out})}`, the paper's initial weights.

    Parameters
    ----------
    shape : tuple of int
        ``(n_out, n_in)`` for a dense layer, ``(n_out, n_in, height, width)`` for a convolution, as torch
        stores them. The fan of a convolution is multiplied by the size of its kernel.
    rng : seed or numpy.random.Generator
        Passed to `numpy.random.default_rng`.

    Returns
    -------
    numpy.ndarray
        float32, of the given shape; the variance of an entry is ``2 / (n_in + n_out)``.

    Raises
    ------
    ValueError
        If the shape is not two or more whole numbers of at least 1.

    References
    ----------
    Glorot and Bengio, AISTATS 9, 249 (2010).
    """
    shape = _shape(shape)
    if len(shape) < 2:
        msg = f"shape must be (n_out, n_in), or that of a convolution; got {shape}"
        raise ValueError(msg)
    receptive = int(np.prod(shape[2:]))
    bound = np.sqrt(6 / ((shape[0] + shape[1]) * receptive))
    return checks.generator(rng).uniform(-bound, bound, shape).astype(np.float32)


def gaussian(shape: tuple[int, ...], rng, *, sigma: float = 1.0) -> np.ndarray:
    r"""Independent Gaussian entries of mean 0.

    Parameters
    ----------
    shape : tuple of int
        Any number of dimensions.
    rng : seed or numpy.random.Generator
        Passed to `numpy.random.default_rng`.
    sigma : float
        Standard deviation of an entry.

    Returns
    -------
    numpy.ndarray
        float64, of the given shape. The singular values of an n x m matrix fill
        :math:`\sigma(\sqrt n \pm \sqrt m)` as n and m grow.

    Raises
    ------
    ValueError
        If the shape is empty or ``sigma`` is not above 0.
    """
    return checks.generator(rng).normal(scale=checks.positive(sigma, "sigma"), size=_shape(shape))


def student_t(shape: tuple[int, ...], rng, *, df: float, sigma: float = 1.0) -> np.ndarray:
    r"""Independent entries of Student's t law, scaled to a given standard deviation: noise with heavy tails.

    Parameters
    ----------
    shape : tuple of int
        Any number of dimensions.
    rng : seed or numpy.random.Generator
        Passed to `numpy.random.default_rng`.
    df : float
        Degrees of freedom, above 2: the standard deviation is infinite at 2.
    sigma : float
        Standard deviation of an entry, in expectation.

    Returns
    -------
    numpy.ndarray
        float64, of the given shape.

    Raises
    ------
    ValueError
        If ``df`` is not above 2, or the shape or ``sigma`` are not as `gaussian` wants them.

    Notes
    -----
    The bulk follows the Marchenko-Pastur law for every ``df`` above 2, but the largest singular value sticks to the edge of the
    bulk only if the fourth moment exists (``df`` above 4); below it single large entries make outliers.

    References
    ----------
    Bai, Silverstein and Yin, J. Multivariate Anal. 26, 166 (1988).
    """
    given, df = df, checks.positive(df, "df")
    if df <= 2:
        msg = f"df must be above 2, where the standard deviation is finite; got {given!r}"
        raise ValueError(msg)
    scale = checks.positive(sigma, "sigma") / np.sqrt(df / (df - 2))
    return scale * checks.generator(rng).standard_t(df, size=_shape(shape))


def shuffled(W, rng, *, within: str = "matrix") -> np.ndarray:
    """A null without a law of the entries: the entries of a matrix in random order.

    Parameters
    ----------
    W : array_like of shape (n_out, n_in)
        A real matrix, for instance the weights themselves.
    rng : seed or numpy.random.Generator
        Passed to `numpy.random.default_rng`.
    within : {"matrix", "rows"}
        Where entries may go: anywhere, or anywhere in their row. Rows keep their sizes in the second.

    Returns
    -------
    numpy.ndarray
        float64 or float32, of the shape of ``W``.

    Raises
    ------
    ValueError
        If ``W`` is not a finite real matrix of at least 2 x 2, or ``within`` is unknown.

    Notes
    -----
    Every order of the entries is equally likely if they are independent and of one law (or of one law a row). What a statistic
    shows on the weights and not on their shuffles is order and not the law of the entries: heavy tails and zeros are kept.

    Examples
    --------
    >>> shuffled([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]], 0, within="rows").sum(axis=1)
    array([ 6., 60.])
    """
    W = checks.matrix(W)
    within = checks.choice(within, "within", ("matrix", "rows"))
    rng = checks.generator(rng)
    return rng.permuted(W, axis=1) if within == "rows" else rng.permutation(W.ravel()).reshape(W.shape)


def goe(n: int, rng) -> np.ndarray:
    r"""One matrix of the Gaussian orthogonal ensemble: real symmetric, density proportional to :math:`e^{-\mathrm{tr} H^2/4}`.

    Parameters
    ----------
    n : int
        Number of rows and columns, at least 1.
    rng : seed or numpy.random.Generator
        Passed to `numpy.random.default_rng`.

    Returns
    -------
    numpy.ndarray
        float64, n x n. Entries have mean 0; the variance is 1 off the diagonal and 2 on it, and the eigenvalues fill the
        semicircle of radius :math:`2\sqrt n`.

    Raises
    ------
    ValueError
        If ``n`` is not an integer of at least 1.

    References
    ----------
    Mehta, *Random Matrices*, 3rd ed., Elsevier (2004), chapter 2.

    Examples
    --------
    >>> H = goe(400, 0)
    >>> bool((H == H.T).all()), round(float(np.linalg.eigvalsh(H)[-1] / 20), 1)
    (True, 2.0)
    """
    n = checks.integer(n, "n", at_least=1)
    A = checks.generator(rng).normal(size=(n, n))
    return (A + A.T) / np.sqrt(2)


@dataclass(frozen=True, eq=False)
class SpikedMatrix:
    r"""Noise with a planted matrix of low rank, :math:`W = \sigma G + \sigma\sqrt n \sum_i t_i u_i v_i^T`.

    Attributes
    ----------
    matrix : numpy.ndarray
        W, of shape ``(n_out, n_in)``.
    left_vectors, right_vectors : numpy.ndarray
        The planted :math:`u_i` of length ``n_out`` and :math:`v_i` of length ``n_in``, orthonormal, one a row.
    strengths : numpy.ndarray
        The :math:`t_i`, ascending, in units of :math:`\sigma\sqrt n`. One is detectable above :math:`c^{1/4}`.
    sigma : float
        Standard deviation of an entry of the noise.
    """

    matrix: np.ndarray
    left_vectors: np.ndarray
    right_vectors: np.ndarray
    strengths: np.ndarray
    sigma: float

    @property
    def singular_values(self) -> np.ndarray:
        """Where the singular values of ``matrix`` that belong to the strengths lie for large n; see `spiked_singular_value`."""
        n, m = max(self.matrix.shape), min(self.matrix.shape)
        return self.sigma * np.sqrt(n) * spiked_singular_value(self.strengths, m / n)

    @property
    def left_overlaps(self) -> np.ndarray:
        """Squared overlap of each planted left vector with the left singular vector found in ``matrix``, for large n."""
        return self._overlaps(0)

    @property
    def right_overlaps(self) -> np.ndarray:
        """Squared overlap of each planted right vector with the right singular vector found in ``matrix``, for large n."""
        return self._overlaps(1)

    def _overlaps(self, axis):
        n, m = max(self.matrix.shape), min(self.matrix.shape)
        c, square = m / n, self.strengths**2
        detectable = square > np.sqrt(c)
        square = np.where(detectable, square, 1.0)
        if self.matrix.shape[axis] == n:
            overlap = 1 - (c + square) / (square * (square + 1))
        else:
            overlap = 1 - c * (1 + square) / (square * (square + c))
        return np.where(detectable, overlap, 0.0)


def spiked(shape: tuple[int, int], rng, *, strengths, sigma: float | None = None) -> SpikedMatrix:
    r"""Gaussian noise plus planted orthonormal singular vectors with given strengths.

    Parameters
    ----------
    shape : tuple of int
        ``(n_out, n_in)``.
    rng : seed or numpy.random.Generator
        Passed to `numpy.random.default_rng`. Noise, left and right vectors are drawn from it, in this order.
    strengths : float or array_like, shape (rank,)
        Planted singular values t in units of :math:`\sigma\sqrt n`, above 0 and at most m of them.
    sigma : float, optional
        Standard deviation of an entry of the noise; by default :math:`1/\sqrt n`, so that strengths are singular values.

    Returns
    -------
    SpikedMatrix
        The matrix, what was planted in it (vectors as rows, in ascending order of strength) and what theory expects to find.

    Raises
    ------
    ValueError
        If the shape is not two numbers of at least 2, a strength is not a finite number above 0, or there are more than m.

    Notes
    -----
    For large n at fixed ``c = m/n`` a spike above :math:`c^{1/4}` moves one singular value out of the bulk, to
    `spiked_singular_value`. The squared overlap of the singular vectors found with the planted ones is

    .. math:: 1 - \frac{c (1 + t^2)}{t^2 (t^2 + c)} \quad\text{(length m)}, \qquad
              1 - \frac{c + t^2}{t^2 (t^2 + 1)} \quad\text{(length n)}

    and 0 below the threshold. For ``n_out >= n_in`` right vectors have length m. Costs O(n m rank).

    References
    ----------
    Benaych-Georges and Nadakuditi, J. Multivariate Anal. 111, 120 (2012).

    Examples
    --------
    >>> planted = spiked((2000, 500), 0, strengths=[1.5, 3.0])
    >>> found = np.linalg.svd(planted.matrix, compute_uv=False)[1::-1]
    >>> found.round(1), planted.singular_values.round(1)
    (array([1.9, 3.2]), array([1.9, 3.2]))
    """
    sizes = _shape(shape)
    if len(sizes) != 2 or min(sizes) < 2:
        msg = f"shape must be (n_out, n_in), both of at least 2; got {sizes}"
        raise ValueError(msg)
    n, m = max(sizes), min(sizes)
    t = np.sort(np.atleast_1d(checks.reals(strengths, "strengths")))
    if t.ndim != 1 or not 1 <= len(t) <= m or not (np.isfinite(t) & (t > 0)).all():
        msg = f"strengths must hold 1 to {m} finite numbers above 0; got {strengths!r}"
        raise ValueError(msg)
    sigma = 1 / np.sqrt(n) if sigma is None else checks.positive(sigma, "sigma")
    rng = checks.generator(rng)
    noise = rng.normal(scale=sigma, size=sizes)
    left, right = (_orthonormal_rows(len(t), length, rng) for length in sizes)
    return SpikedMatrix(noise + (left.T * (sigma * np.sqrt(n) * t)) @ right, left, right, t, float(sigma))


def spiked_singular_value(t, c: float):
    r"""Singular value that a planted one of strength ``t`` leads to in noise of variance 1/n, for large n.

    Parameters
    ----------
    t : float or array_like
        Planted strengths, not negative.
    c : float
        m/n, above 0 and at most 1.

    Returns
    -------
    numpy.ndarray or float
        :math:`\sqrt{(1 + t^2)(c + t^2)}/t` above the threshold :math:`t = c^{1/4}`; at or below it the edge of the bulk,
        :math:`1 + \sqrt c`, which the formula meets there.

    Raises
    ------
    ValueError
        If a strength is negative or not finite, or ``c`` out of range.

    Examples
    --------
    >>> spiked_singular_value([0.5, 2.0], 1.0)
    array([2. , 2.5])
    """
    if checks.positive(c, "c") > 1:
        msg = f"c = m/n must be at most 1; got {c!r}"
        raise ValueError(msg)
    t, c = checks.reals(t, "t"), float(c)
    if not (np.isfinite(t) & (t >= 0)).all():
        msg = "t must hold finite strengths that are not negative"
        raise ValueError(msg)
    above = np.maximum(t, c**0.25)
    return np.sqrt((1 + above**2) * (c + above**2)) / above


def _orthonormal_rows(rank: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Rows with the rotation-invariant law: without the signs of R, the QR decomposition prefers some directions."""
    Q, R = np.linalg.qr(rng.normal(size=(length, rank)))
    return (Q * np.sign(np.diag(R))).T


def _shape(shape) -> tuple[int, ...]:
    try:
        sizes = np.atleast_1d(checks.indices(shape, "shape"))
    except ValueError:
        sizes = np.array([])
    if sizes.ndim != 1 or len(sizes) == 0 or (sizes < 1).any():
        msg = f"shape must hold whole numbers of at least 1; got {shape!r}"
        raise ValueError(msg)
    return tuple(int(size) for size in sizes)
