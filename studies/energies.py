"""How strong the inputs of a layer are along its singular vectors: tenths of the levels, and what random directions would see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

__all__ = ["random_bands", "tenths"]


def tenths(nu: np.ndarray, V: np.ndarray, C: np.ndarray) -> Iterator[tuple[float, dict[str, float]]]:
    r"""Energy of each tenth of the levels, and its shares.

    Parameters
    ----------
    nu : numpy.ndarray of shape (m,)
        Singular values, ascending.
    V : numpy.ndarray of shape (m, n_in)
        Their input vectors.
    C : numpy.ndarray of shape (n_in, n_in)
        Second moments of the inputs.

    Yields
    ------
    energy : float
        Mean of :math:`v^T C v` over the tenth, over :math:`\mathrm{tr}\, C / n_{in}`.
    shares : dict
        ``nu2`` of the tenth in the sum of :math:`\nu^2`, and ``response`` in the sum of :math:`\nu^2 v^T C v`.
    """
    m, nu2, energy = len(nu), nu**2, np.einsum("ki,ki->k", V @ C, V)
    for tenth in range(10):
        part = slice(tenth * m // 10, (tenth + 1) * m // 10)
        shares = {"nu2": nu2[part].sum() / nu2.sum(), "response": nu2[part] @ energy[part] / (nu2 @ energy)}
        yield energy[part].mean() / (np.trace(C) / len(C)), shares


def random_bands(matrices: Iterable[np.ndarray], number: int, draws: int) -> np.ndarray:
    """Bounds of 99 % of the relative mean energies of so many random orthonormal directions, for each matrix of moments.

    Returns
    -------
    numpy.ndarray of shape (matrices, 2)
    """
    # Random directions look the same from every basis: take that of the principal axes.
    values = np.array([np.linalg.eigvalsh(C) for C in matrices])
    values /= values.mean(axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    frames = (np.linalg.qr(rng.standard_normal((values.shape[1], number)))[0] for _ in range(draws))
    return np.quantile([values @ np.mean(frame**2, axis=1) for frame in frames], [0.005, 0.995], axis=0).T
