"""What the book says of a scan of VGG16's convolutions, beside Spectrum's own number."""

from __future__ import annotations

import numpy as np

from .packages import CONVOLUTION

__all__ = ["IDS", "missing", "outcomes"]

IDS = ("vgg-layers", "vgg-all-signal", "vgg-snr-largest", "vgg-snr-largest-layer", "vgg-snr-smallest", "vgg-snr-smallest-layer")


def missing() -> dict[str, str]:
    """A dash for everything that `outcomes` tells, where the network is not installed."""
    return dict.fromkeys(IDS, "–")


def outcomes(table) -> dict[str, int | float | str]:
    """Numbers of a scan.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `rmtlib.scan.scan`, of convolutions with Keras's names.

    Returns
    -------
    dict of str to int, float or str
        How many layers there are; in how many of them Spectrum's edge lies below all levels of *noise* of their shape; the
        largest and the smallest calibrated signal-to-noise ratio, with their layers.
    """
    ratios = table["snr"].astype(float)
    largest, smallest = ratios.idxmax(), ratios.idxmin()
    layers = table["layer"].str.extract(f"({CONVOLUTION.pattern})", expand=False).fillna(table["layer"])
    return {
        "vgg-layers": len(table),
        "vgg-all-signal": int(np.isinf(table["spectrum_snr_noise"].astype(float)).sum()),
        "vgg-snr-largest": float(ratios[largest]),
        "vgg-snr-largest-layer": layers[largest],
        "vgg-snr-smallest": float(ratios[smallest]),
        "vgg-snr-smallest-layer": layers[smallest],
    }
