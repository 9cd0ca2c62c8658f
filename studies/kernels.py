"""Convolutions, whose kernels are smooth in space: what that does to the singular values, of noise as well."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

import rmtlib
from rmtlib import checks

__all__ = ["bulks", "covariance", "neighbours", "numbers", "smooth_noise", "whitened"]

SIDE = 3  # of the kernels


def covariance(W) -> np.ndarray:
    """Mean products of the weights at two places of a kernel, over all pairs of channels.

    Parameters
    ----------
    W : array_like of shape (n_out, 9 * n_in)
        A convolution with 3 x 3 kernels; columns run over kernel rows, kernel columns and input channels.

    Returns
    -------
    numpy.ndarray of shape (9, 9)

    Raises
    ------
    ValueError
        If the columns are not nine times a number of channels.
    """
    kernels = _kernels(W)
    return np.einsum("oki,oli->kl", kernels, kernels) / (kernels.shape[0] * kernels.shape[2])


def neighbours(W) -> float:
    """Mean correlation of weights at places of a kernel that touch along a side."""
    C = covariance(W)
    row, column = np.divmod(np.arange(SIDE**2), SIDE)
    touch = np.abs(row[:, None] - row) + np.abs(column[:, None] - column) == 1
    return float(np.mean((C / np.sqrt(np.outer(np.diag(C), np.diag(C))))[touch]))


def whitened(W) -> np.ndarray:
    """A convolution whose places are uncorrelated and have mean square one: each row times the inverse root of `covariance`."""
    return _mixed(_kernels(W), *np.linalg.eigh(covariance(W)), power=-0.5)


def smooth_noise(W, rng) -> np.ndarray:
    """Gaussian noise whose kernels are as smooth as those of a convolution: independent but for its `covariance` of places.

    Parameters
    ----------
    W : array_like of shape (n_out, 9 * n_in)
    rng : seed or numpy.random.Generator

    Returns
    -------
    numpy.ndarray of shape (n_out, 9 * n_in)
    """
    independent = np.random.default_rng(rng).standard_normal(_kernels(W).shape)
    return _mixed(independent, *np.linalg.eigh(covariance(W)), power=0.5)


def bulks(layers: Mapping[str, rmtlib.Layer], rng=0) -> pd.DataFrame:
    """Share of the levels in the fitted bulk, in per cent, of convolutions and of noise, a row a layer.

    Parameters
    ----------
    layers : mapping of str to Layer
        Convolutions with 3 x 3 kernels.
    rng : seed or numpy.random.Generator

    Returns
    -------
    pandas.DataFrame
        Columns ``neighbours`` (see `neighbours`), ``as it is``, ``smoothness out`` (`whitened`), ``noise as smooth``
        (`smooth_noise`) and ``noise``; the first is a correlation.
    """
    rng, rows = np.random.default_rng(rng), {}
    for name, layer in layers.items():
        W = layer.matrix
        matrices = {
            "as it is": W,
            "smoothness out": whitened(W),
            "noise as smooth": smooth_noise(W, rng),
            "noise": rng.standard_normal(W.shape),
        }
        rows[name] = {"neighbours": neighbours(W)} | {what: 100 * _bulk_share(X) for what, X in matrices.items()}
    return pd.DataFrame(rows).T


def numbers(table: pd.DataFrame) -> dict[str, float]:
    """Least and most of every column of `bulks`, by short names."""
    short = {"neighbours": "neighbours", "as it is": "bulk", "smoothness out": "rough", "noise as smooth": "smooth"}
    short["noise"] = "plain"
    return {f"{name}-{end}": getattr(table[column], end)() for column, name in short.items() for end in ("min", "max")}


def _kernels(W) -> np.ndarray:
    W = checks.matrix(W)
    n_out, columns = W.shape
    if columns % SIDE**2:
        msg = f"W must have nine columns for each input channel of a 3 x 3 convolution; got {columns} columns"
        raise ValueError(msg)
    return W.reshape(n_out, SIDE**2, -1).astype(float)


def _mixed(kernels, variances, modes, *, power: float) -> np.ndarray:
    root = (modes * variances**power) @ modes.T
    return np.einsum("oki,kl->oli", kernels, root).reshape(len(kernels), -1)


def _bulk_share(W) -> float:
    nu = rmtlib.spectrum(W, vectors=False).nu
    return rmtlib.fit_marchenko_pastur(nu, W.shape).bulk_fraction
