"""What several tensors make together: normed weights and the products of adapters, each a tensor of its own afterwards.

The tensors of which another is made do not give layers themselves; what a file lacks to make it is said in one reason for all.
A LoRA pair is read where its product is what the adapter adds to a weight. Where it is not (DoRA, PiSSA and other starts that
change the base, KaSA, BD-LoRA), and for the other kinds of PEFT, the reason says to merge the adapter first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .adapters import adapters
from .made import made_of_floats, replaced
from .quantised import dequantise
from .tensors import Owner, Tensor, WeightsError

__all__ = ["combine"]


def combine(tensors: list[Tensor], config: Mapping) -> list[Tensor]:
    """Replace tensors that only make sense together by what they make.

    Parameters
    ----------
    tensors : list of Tensor
        All of a source.
    config : mapping
        The configuration beside them, of a network or an adapter; empty if there is none.

    Returns
    -------
    list of Tensor
        Made tensors stand where the first of their members stood; members have a reason to be skipped.
    """
    for rule in (dequantise, _weight_norm, _spectral_norm, _pruned, adapters):
        tensors = rule(tensors, config)
    return [_parametrised(tensor) for tensor in tensors]


def _weight_norm(tensors, config):
    """``W = g v / |v|``; the axes along which g has more than one entry are those along which v is not summed."""
    known: dict = {tensor.name: tensor for tensor in tensors}
    made: dict = {}
    reasons: dict = {}
    for name, direction in known.items():
        if match := re.search(r"(^|\.)parametrizations\.(\w+)\.original1$", name):
            length = known.get(f"{name[:-1]}0")
            whole = f"{name[: match.start()]}{match[1]}{match[2]}"
        elif name.endswith("_v"):
            length, whole = known.get(f"{name[:-2]}_g"), name[:-2]
        else:
            continue
        if length is None or direction.skip or length.skip or len(direction.shape) < 2:
            continue
        if len(length.shape) == len(direction.shape):
            summed = tuple(i for i, n in enumerate(length.shape) if n == 1)
            fits = all(n in (1, m) for n, m in zip(length.shape, direction.shape, strict=True))
        else:
            summed, fits = tuple(range(len(direction.shape))), length.size == 1
        if not fits:
            reason = f"weight norm, but its lengths {length.shape} do not fit its directions {direction.shape}"
            reasons |= {name: reason, length.name: reason}
            continue

        def normed(g, v, summed=summed):
            norm = np.sqrt(np.sum(np.square(v, dtype=np.float64), axis=summed, keepdims=True))
            return g.reshape(g.shape if g.ndim == v.ndim else (1,) * v.ndim) * (v / norm)

        members = {"g": length, "v": direction}
        made[name] = made_of_floats(
            members, whole, direction.shape, "weight norm, g v / |v|", normed, _as_weight(direction.owner)
        )
        reasons[length.name] = f"the lengths g of the weight norm that makes {whole}"
    return replaced(tensors, made, reasons)


def _as_weight(owner: Owner | None) -> Owner | None:
    return None if owner is None else replace(owner, parameter="weight")


def _spectral_norm(tensors, config):
    """``W / sigma`` with ``sigma = u W v`` from the vectors that torch keeps, as it does in evaluation."""
    known: dict = {tensor.name: tensor for tensor in tensors}
    made: dict = {}
    reasons: dict = {}
    for name, weight in known.items():
        if match := re.search(r"(^|\.)parametrizations\.(\w+)\.original$", name):
            vectors: list = [known.get(f"{name[: -len('original')]}0._{letter}") for letter in "uv"]
            whole = f"{name[: match.start()]}{match[1]}{match[2]}"
        elif name.endswith("_orig"):
            vectors, whole = [known.get(f"{name[:-5]}_{letter}") for letter in "uv"], name[:-5]
        else:
            continue
        if None in vectors or weight.skip or len(weight.shape) < 2:
            continue
        sizes = tuple(vector.size for vector in vectors)
        # A transposed convolution is normed along its outputs, its second axis.
        axis = next((i for i in (0, 1) if sizes == (weight.shape[i], weight.size // max(weight.shape[i], 1))), None)
        if axis is None:
            reason = f"spectral norm, but its vectors of {sizes[0]} and {sizes[1]} do not fit {weight.shape}"
            reasons |= {name: reason} | {vector.name: reason for vector in vectors}
            continue

        def normed(W, u, v, axis=axis):
            sigma = u.ravel().astype(np.float64) @ np.moveaxis(W, axis, 0).reshape(W.shape[axis], -1) @ v.ravel()
            if not sigma > 0:
                msg = "its spectral norm is not above zero"
                raise WeightsError(msg)
            return W / sigma

        members = {"W": weight, "u": vectors[0], "v": vectors[1]}
        made[name] = made_of_floats(members, whole, weight.shape, "spectral norm, W / sigma", normed, _as_weight(weight.owner))
        reasons |= {vector.name: f"a vector of the spectral norm that makes {whole}" for vector in vectors}
    return replaced(tensors, made, reasons)


def _pruned(tensors, config):
    """``W * mask``, as torch's pruning keeps them."""
    known: dict = {tensor.name: tensor for tensor in tensors}
    made: dict = {}
    reasons: dict = {}
    for name, weight in known.items():
        mask = known.get(f"{name.removesuffix('_orig')}_mask") if name.endswith("_orig") else None
        if mask is None or mask.shape != weight.shape or weight.skip or len(weight.shape) < 2:
            continue
        members, whole = {"W": weight, "mask": mask}, name[:-5]
        compute = lambda W, mask: W * mask  # noqa: E731
        made[name] = made_of_floats(members, whole, weight.shape, "pruning, W times its mask", compute, _as_weight(weight.owner))
        reasons[mask.name] = f"the mask of the pruning that makes {whole}"
    return replaced(tensors, made, reasons)


def _parametrised(tensor: Tensor) -> Tensor:
    """A weight under a parametrisation that no rule above knows is not the one that acts."""
    if tensor.skip or not (re.search(r"(^|\.)parametrizations\.", tensor.name) or tensor.name.endswith("weight_orig")):
        return tensor
    reason = (
        "a parameter of a parametrisation that is not known: remove it first, torch.nn.utils.parametrize.remove_parametrizations"
    )
    return replace(tensor, skip=reason)
