r"""The numbers of one layer that decide sentences of the paper: the same of trained layers, of initial ones and of noise."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import pandas as pd

import rmtlib
from rmtlib import laws
from rmtlib.goodness import bulk_test, outlier_range

__all__ = ["ENDS", "FEW", "MANY", "layer_numbers", "table"]

ENDS = [(space, end) for space in ("output", "input") for end in ("large", "small")]
FEW, MANY = 15, 31  # vectors at one end: the paper's moving mean, and that of the group's later code


def layer_numbers(s: rmtlib.LayerAnalysis) -> dict[str, float]:
    r"""What the criteria of ``paper.toml`` ask of one layer.

    Parameters
    ----------
    s : LayerAnalysis
        With its biwhitened parts; the bulk has to be there, and number variance up to L = 20.

    Returns
    -------
    dict of str to float
        ``spacing_p``, ``scipy_p``: calibrated and scipy's p of the spacings; ``ratio``: mean ratio of neighbouring gaps;
        ``variance_ratio``: mean over L = 1 to 10 of the number variance over its filtered law, ``wide_variance_ratio`` the same
        to L = 20; ``long_variance``: mean of the number variance at L = 10 to 20; ``sigma``: of the fitted bulk; ``outliers``
        with the least and the most that refits give (``outliers_low``, ``outliers_high``); ``bulk_p``: goodness of fit of
        the bulk; ``output_large`` and so on: mean p of 15 vectors at an end, ``output_large_31`` of 31. ``_biwhitened`` and
        ``_total``: without noise sizes and without total sizes.

    Raises
    ------
    ValueError
        If the layer has no bulk, or too few levels for its spacings.
    """
    if s.bulk is None or s.number_variance is None or s.spacing is None:
        msg = f"s must be a layer whose bulk and spacings can be told; of {s.name} they cannot: {', '.join(s.missing)}"
        raise ValueError(msg)
    curve, found = s.number_variance, outlier_range(s.nu, s.bulk)
    over_law, L = curve.values / laws.number_variance_unfolded(curve.L, s.a), curve.L
    row = {
        "spacing_p": s.spacing.calibrated_pvalue,
        "scipy_p": s.spacing.pvalue,
        "ratio": float(rmtlib.spacing_ratios(s.nu).mean()),
        "variance_ratio": float(over_law[(L >= 1) & (L <= 10)].mean()),
        "wide_variance_ratio": float(over_law[L >= 1].mean()),
        "long_variance": float(curve.values[L >= 10].mean()),
        "sigma": s.bulk.sigma,
        **_bulk(s.nu, s.bulk),
        "outliers_low": found.low,
        "outliers_high": found.high,
    }
    for suffix, part in {"": s, "_biwhitened": s.biwhitened, "_total": s.total}.items():
        if part is not None:
            row |= {f"{space}_{end}{suffix}": _end(getattr(part, space), end, FEW) for space, end in ENDS}
            row |= {f"{space}_{end}_{MANY}{suffix}": _end(getattr(part, space), end, MANY) for space, end in ENDS}
            if suffix and part.bulk is not None:
                row |= {f"{name}{suffix}": value for name, value in _bulk(part.nu, part.bulk).items()}
    return row


def table(layers: Mapping[Hashable, rmtlib.LayerAnalysis]) -> pd.DataFrame:
    """`layer_numbers` of many layers, with ``outliers_profile``: those of noise with the same total sizes."""
    return pd.DataFrame({key: layer_numbers(s) | {"outliers_profile": _profile_outliers(s)} for key, s in layers.items()}).T


def _profile_outliers(s):
    if s.total is None:
        return np.nan
    sizes = s.total.biwhitened
    noise = sizes.row_sizes[:, None] * np.random.default_rng(0).standard_normal(s.shape) * sizes.column_sizes
    try:
        return rmtlib.fit_marchenko_pastur(rmtlib.spectrum(noise, vectors=False).nu, s.shape, a=s.a).n_outliers
    except ValueError:
        return np.nan


def _bulk(nu, bulk):
    test = bulk_test(nu, bulk.shape, outliers=(bulk.n_outliers_below, bulk.n_outliers))
    return {"outliers": bulk.n_outliers, "bulk_p": test.pvalue}


def _end(test, end, vectors):
    p = test.calibrated_pvalue
    return float((p[-vectors:] if end == "large" else p[:vectors]).mean())
