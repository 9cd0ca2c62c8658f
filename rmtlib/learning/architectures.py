"""The networks of the paper, as plain ``torch.nn.Sequential`` models with named layers.

Initial weights are Glorot uniform with zero biases (appendix A). Each layer draws from a stream of its own,
``default_rng([seed, layer])``, so that the initial matrix of a layer can be made again from its shape alone.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from ..ensembles import glorot_uniform

__all__ = ["NETWORKS", "build_network", "initialize"]

HIDDEN_WIDTHS = {"mlp512": (512, 512, 512), "mlp1024": (1024, 512, 512)}
NETWORKS = tuple(HIDDEN_WIDTHS)


def build_network(name: str, *, shape: tuple[int, int, int], n_classes: int) -> nn.Sequential:
    """An untrained network; call `initialize` for the paper's initial weights.

    Parameters
    ----------
    name : {"mlp512", "mlp1024"}
        Hidden widths 512, 512, 512 and 1024, 512, 512, rectified linear units.
    shape : tuple of int
        Channels, height and width of one input image.
    n_classes : int
        Number of output logits.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}; got {name!r}")
    widths = (shape[0] * shape[1] * shape[2], *HIDDEN_WIDTHS[name], n_classes)
    layers = OrderedDict()
    for i, (n_in, n_out) in enumerate(zip(widths, widths[1:], strict=False), start=1):
        layers[f"dense{i}"] = nn.Linear(n_in, n_out)
        layers[f"relu{i}"] = nn.ReLU()
    layers.popitem()
    return nn.Sequential(layers)


def initialize(network: nn.Module, seed: int) -> None:
    """Fill weights with Glorot uniform draws and biases with zeros, in place.

    Parameters
    ----------
    network : torch.nn.Module
        Its tensors of two or more dimensions are weights, counted from 1 in the order of definition.
    seed : int
        Seed of the streams ``[seed, layer]``.
    """
    layer = 0
    with torch.no_grad():
        for tensor in network.parameters():
            if tensor.ndim < 2:
                tensor.zero_()
                continue
            layer += 1
            tensor.copy_(torch.from_numpy(glorot_uniform(tuple(tensor.shape), [seed, layer])))
