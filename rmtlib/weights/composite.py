"""What several tensors make together: normed weights and the products of adapters, each a tensor of its own afterwards.

The tensors of which another is made do not give layers themselves; what a file lacks to make it is said in one reason for all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from .quantised import dequantise
from .tensors import Owner, Tensor, WeightsError, read_floats

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
    for rule in (dequantise, _weight_norm, _spectral_norm, _pruned, _adapters):
        tensors = rule(tensors, config)
    return [_parametrised(tensor) for tensor in tensors]


def _made(members: Mapping[str, Tensor], name: str, shape, made: str, compute: Callable, owner: Owner | None = None) -> Tensor:
    """A tensor whose values are computed from those of its members, read when it is."""

    def read():
        arrays = {role: read_floats(member) for role, member in members.items()}
        result = compute(**arrays)
        return np.ascontiguousarray(result, np.float64 if dtype == "float64" else np.float32)

    dtype = "float64" if any(member.dtype == "float64" for member in members.values()) else "float32"
    names = tuple(member.name for member in members.values())
    return Tensor(name, tuple(shape), dtype, read, owner=owner, members=names, made=made)


def _replaced(tensors: list[Tensor], made: Mapping[str, Tensor], reasons: Mapping[str, str]) -> list[Tensor]:
    """Put made tensors in the place of the members by whose name they are given, and skip the other members for a reason."""
    result = []
    for tensor in tensors:
        if tensor.name in made:
            result.append(made[tensor.name])
        elif tensor.name in reasons:
            result.append(replace(tensor, skip=tensor.skip or reasons[tensor.name]))
        else:
            result.append(tensor)
    return result


def _weight_norm(tensors, config):
    """``W = g v / |v|``; the axes along which g has more than one entry are those along which v is not summed."""
    known, made = {tensor.name: tensor for tensor in tensors}, {}
    reasons: dict[str, str] = {}
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
        made[name] = _made(members, whole, direction.shape, "weight norm, g v / |v|", normed, _as_weight(direction.owner))
        reasons[length.name] = f"the lengths g of the weight norm that makes {whole}"
    return _replaced(tensors, made, reasons)


def _as_weight(owner: Owner | None) -> Owner | None:
    return None if owner is None else replace(owner, parameter="weight")


def _spectral_norm(tensors, config):
    """``W / sigma`` with ``sigma = u W v`` from the vectors that torch keeps, as it does in evaluation."""
    known, made = {tensor.name: tensor for tensor in tensors}, {}
    reasons: dict[str, str] = {}
    for name, weight in known.items():
        if match := re.search(r"(^|\.)parametrizations\.(\w+)\.original$", name):
            names = [f"{name[: -len('original')]}0._{letter}" for letter in "uv"]
            whole = f"{name[: match.start()]}{match[1]}{match[2]}"
        elif name.endswith("_orig"):
            names, whole = [f"{name[:-5]}_{letter}" for letter in "uv"], name[:-5]
        else:
            continue
        vectors = [known[vector] for vector in names if vector in known]
        if len(vectors) < 2 or weight.skip or len(weight.shape) < 2:
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
                raise WeightsError("its spectral norm is not above zero")
            return W / sigma

        members = {"W": weight, "u": vectors[0], "v": vectors[1]}
        made[name] = _made(members, whole, weight.shape, "spectral norm, W / sigma", normed, _as_weight(weight.owner))
        reasons |= {vector.name: f"a vector of the spectral norm that makes {whole}" for vector in vectors}
    return _replaced(tensors, made, reasons)


def _pruned(tensors, config):
    """``W * mask``, as torch's pruning keeps them."""
    known, made = {tensor.name: tensor for tensor in tensors}, {}
    reasons: dict[str, str] = {}
    for name, weight in known.items():
        mask = known.get(f"{name.removesuffix('_orig')}_mask") if name.endswith("_orig") else None
        if mask is None or mask.shape != weight.shape or weight.skip or len(weight.shape) < 2:
            continue
        members, whole = {"W": weight, "mask": mask}, name[:-5]
        compute = lambda W, mask: W * mask  # noqa: E731
        made[name] = _made(members, whole, weight.shape, "pruning, W times its mask", compute, _as_weight(weight.owner))
        reasons[mask.name] = f"the mask of the pruning that makes {whole}"
    return _replaced(tensors, made, reasons)


def _parametrised(tensor: Tensor) -> Tensor:
    """A weight under a parametrisation that no rule above knows is not the one that acts."""
    if tensor.skip or not (re.search(r"(^|\.)parametrizations\.", tensor.name) or tensor.name.endswith("weight_orig")):
        return tensor
    reason = (
        "a parameter of a parametrisation that is not known: remove it first, torch.nn.utils.parametrize.remove_parametrizations"
    )
    return replace(tensor, skip=reason)


PAIRS = (
    (re.compile(r"\.lora_A(\.(?P<adapter>\w+))?\.weight$"), ".lora_B{adapter}.weight"),
    (re.compile(r"\.lora_embedding_A(\.(?P<adapter>\w+))?$"), ".lora_embedding_B{adapter}"),
    (re.compile(r"\.lora_down\.weight$"), ".lora_up.weight"),
    (re.compile(r"\.lora\.down\.weight$"), ".lora.up.weight"),
    (re.compile(r"_lora\.down\.weight$"), "_lora.up.weight"),
)
OTHER_ADAPTERS = re.compile(
    r"\.(hada_w[12]_[abt]|hada_t[12]|lokr_w[12](_[ab])?|lokr_t2|oft_\w+|boft_\w+|ia3_l|vera_lambda_\w+)\b"
)


def _adapters(tensors, config):
    """LoRA pairs to their product ``B A``, ``(n_out, n_in)``, scaled where the source tells alpha."""
    known, made = {tensor.name: tensor for tensor in tensors}, {}
    reasons: dict[str, str] = {}
    for name, down in known.items():
        if OTHER_ADAPTERS.search(name):
            reasons[name] = "part of an adapter that is no LoRA pair: merge it into its network first"
        for pattern, partner in PAIRS:
            if not (match := pattern.search(name)):
                continue
            adapter = match.groupdict().get("adapter")
            layer, end = name[: match.start()], f".{adapter}" if adapter else ""
            up = known.get(layer + partner.format(adapter=end))
            if up is None or down.skip or up.skip:
                continue
            pair, whole = (down.name, up.name), f"{layer}.lora{end}.weight"
            shape = _product_shape(down.shape, up.shape)
            magnitude = next((n for n in known if n.startswith(f"{layer}.lora_magnitude_vector")), None)
            if shape is None or magnitude:
                what = "is no product, as DoRA scales the sum with its base" if magnitude else "does not fit together"
                reasons |= dict.fromkeys(pair, f"an adapter's pair {down.shape}, {up.shape} that {what}")
                continue
            scale, members = _scale(layer, down.shape[0], config), {"A": down, "B": up}
            if alpha := known.get(f"{layer}.alpha"):
                if alpha.size != 1:
                    continue
                members, reasons[alpha.name] = members | {"alpha": alpha}, f"the scale of the adapter that makes {whole}"
            if "embedding" in pattern.pattern:

                def product(A, B, alpha=None, scale=scale):
                    return (B.astype(np.float64) @ A).T * (1 if scale is None else scale)

                shape = shape[::-1]
            else:

                def product(A, B, alpha=None, scale=scale):
                    factor = float(alpha.ravel()[0]) / len(A) if alpha is not None else 1 if scale is None else scale
                    joined = B.reshape(len(B), -1).astype(np.float64) @ A.reshape(len(A), -1)
                    return factor * joined.reshape(len(B), *A.shape[1:])

            told = scale is not None or "alpha" in members
            how = "LoRA, alpha / r times B A" if told else "LoRA, B A without alpha, which the source does not tell"
            type_ = "torch Embedding" if "embedding" in pattern.pattern else _acts(shape)
            kind = Owner(type_, "weight", {}, "an adapter's pair of tensors")
            made[name] = _made(members, whole, shape, how, product, kind)
            reasons[up.name] = f"a factor of {whole}"
    return _replaced(tensors, made, reasons)


def _acts(shape) -> str:
    return "torch Linear" if len(shape) == 2 else f"torch Conv{len(shape) - 2}d"


def _product_shape(down, up):
    """Shape of ``B A`` for matrices, or for a convolution that a pointwise one follows."""
    if len(down) < 2 or len(down) != len(up) or math.prod(up[2:]) != 1 or up[1] != down[0] or 0 in (*down, *up):
        return None
    return (up[0], *down[1:])


def _scale(layer: str, rank: int, config: Mapping) -> float | None:
    """``alpha / r`` of PEFT's configuration, with its exceptions for single layers."""
    alpha = _pattern(config.get("alpha_pattern"), layer, config.get("lora_alpha"))
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        return None
    return alpha / math.sqrt(rank) if config.get("use_rslora") is True else alpha / rank


def _pattern(exceptions, layer, default):
    if isinstance(exceptions, Mapping):
        for key, value in exceptions.items():
            if layer == key or layer.endswith(f".{key}"):
                return value
    return default
