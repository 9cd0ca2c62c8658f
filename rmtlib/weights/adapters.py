"""Low-rank adapters: the pair of matrices of a layer to their product, the update of the layer's weight."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from .made import made_of_floats, replaced
from .tensors import Owner, Tensor

__all__ = ["adapters"]


class _Form(NamedTuple):
    """How a package names and lays out a pair: the factor that takes the inputs, and the other one."""

    into: re.Pattern
    out_of: str
    product: Callable[[np.ndarray, np.ndarray], np.ndarray]
    shape: Callable[[tuple, tuple], tuple]
    embedding: bool = False


def _applied(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """``B A`` of matrices ``(r, n_in)`` and ``(n_out, r)``, or of a convolution and a pointwise one after it."""
    joined = B.reshape(len(B), -1).astype(np.float64) @ A.reshape(len(A), -1)
    return joined.reshape(len(B), *A.shape[1:])


def _applied_shape(A: tuple, B: tuple) -> tuple:
    fits = len(A) == len(B) >= 2 and math.prod(B[2:]) == 1 and B[1] == A[0] and 0 not in (*A, *B)
    return (B[0], *A[1:]) if fits else ()


def _form(into: str, out_of: str) -> _Form:
    return _Form(re.compile(into), out_of, _applied, _applied_shape)


def _turned(shape: tuple) -> tuple:
    return shape[::-1] if len(shape) == 2 else ()


FORMS = (
    _form(r"\.lora_A(\.(?P<adapter>\w+))?\.weight$", ".lora_B{adapter}.weight"),
    _form(r"\.lora_A$", ".lora_B"),
    _form(r"\.lora_a\.weight$", ".lora_b.weight"),
    _form(r"\.lora_down\.weight$", ".lora_up.weight"),
    _form(r"\.lora\.down\.weight$", ".lora.up.weight"),
    _form(r"_lora\.down\.weight$", "_lora.up.weight"),
    # Tokens are looked up: row by row.
    _Form(
        re.compile(r"\.lora_embedding_A(\.(?P<adapter>\w+))?$"),
        ".lora_embedding_B{adapter}",
        lambda A, B: _applied(A, B).T,
        lambda A, B: _turned(_applied_shape(A, B)),
        embedding=True,
    ),
    # MLX: (n_in, r) and (r, n_out).
    _Form(
        re.compile(r"\.lora_a$"),
        ".lora_b",
        lambda A, B: _applied(B, A).T,
        lambda A, B: _turned(_applied_shape(B, A)),
    ),
)
OTHERS = re.compile(
    r"(^|\.)(hada_w[12]_[abt]|hada_t[12]|lokr_w[12](_[ab])?|lokr_t2|b?oft_\w+|ia3_l|vera_(lambda_\w+|[AB])|lora_E|hra_u|bone_\w*|"
    r"(miss|randlora|shira|fourierft|vblora|c3a|road|beft|deft|delora|frod|glora|gralora|hira|osf|peanut|poly_lora|psoft|pvera|"
    r"supertuning|tinylora|unilora|waveft|lora_monteclora)_\w+)(\.\w+)*$"
)
OTHER = "part of an adapter that is no LoRA pair: merge it into its network first"
TOKENS = re.compile(r"(^|\.)trainable_tokens_delta(\.\w+)*$")
ROWS = "rows that take the place of an embedding's: merge the adapter into its network first"
FACTOR = re.compile(r"[._](lora_(embedding_)?[ABab]|lora[._](up|down)|lora_(up|down))(\.(?!bias$)\w+)?(\.weight)?$")
BESIDE = re.compile(r"\.lora_(magnitude_vector|E|diag)(\.|$)")
WRAPPED = re.compile(r"^base_model\.model\.")
# Beginnings of a training that change the base as well.
STARTS = ("pissa", "olora", "corda", "lora_ga", "loftq")
LARGEST = 1e300  # of an alpha, which JSON tells with as many digits as it likes
# Regular expressions that are run: without a repeated group, with two repetitions at most, and few ways to match a name.
SIMPLE = re.compile(r"((\\[.dw]|\[\^?[\w-]+\]|[\w.-])[*+?]?|[(|)](?![*+?])|[\^$])*")
LONGEST_NAME = 300
WAYS = 2 * 10**6


def adapters(tensors: list[Tensor], config: Mapping) -> list[Tensor]:
    """LoRA pairs to their product, ``(n_out, n_in)``, scaled where the source tells alpha.

    Parameters
    ----------
    tensors : list of Tensor
    config : mapping
        PEFT's ``adapter_config.json``: ``peft_type``; ``lora_alpha``, ``r`` and their exceptions ``alpha_pattern`` and
        ``rank_pattern``; ``use_rslora``; and what makes a pair more or less than the update of a weight.

    Returns
    -------
    list of Tensor
        As `rmtlib.weights.composite.combine` returns them; the product is called ``layer.lora``. A pair for a stack of experts
        gives a stack.
    """
    known = {tensor.name: tensor for tensor in tensors}
    if isinstance(kind := config.get("peft_type"), str) and kind not in ("LORA", "ADALORA"):
        reason = f"part of an adapter of the kind {kind}, no LoRA pair: merge it into its network first, where that can be done"
        return replaced(tensors, {}, {name: reason for name in known if not _saved_whole(name, config)})
    beside = {(name[: match.start()], match[1]) for name in known if (match := BESIDE.search(name))}
    made: dict[str, Tensor] = {}
    reasons = {n: OTHER for n in known if OTHERS.search(n)} | {n: ROWS for n in known if TOKENS.search(n)}
    for name, into in known.items():
        found = next(((form, match) for form in FORMS if (match := form.into.search(name))), None)
        if found is None or into.skip:
            continue
        form, match = found
        layer, adapter = name[: match.start()], match.groupdict().get("adapter")
        end = f".{adapter}" if adapter else ""
        out_of = known.get(layer + form.out_of.format(adapter=end))
        if out_of is None or out_of.skip:
            continue
        shape = form.shape(into.shape, out_of.shape)
        rank = next((n for n in into.shape if n in out_of.shape[:2]), 0) if form.embedding else _rank(form, into)
        what = _no_update(layer, beside, config) or ("" if shape else "does not fit together")
        if not what and (told := _told(config, "r", "rank_pattern", layer)) is not None and told != rank:
            if isinstance(told, int) and told > 0 and rank % told == 0 and len(shape) == 2 and config.get("target_parameters"):
                form, shape, rank = _experts(rank // told), (rank // told, *shape), told
            else:
                what = f"has the rank {rank} where its configuration says {told:g}"
        if what:
            reasons |= dict.fromkeys((name, out_of.name), f"an adapter's pair {into.shape}, {out_of.shape} that {what}")
            continue
        alpha = known.get(f"{layer}.alpha")
        made[name] = _product(form, f"{layer}.lora{end}.weight", shape, into, out_of, alpha, _scale(layer, rank, config), rank)
        reasons[out_of.name] = f"a factor of {layer}.lora{end}"
        if alpha is not None and alpha.size == 1:
            reasons[alpha.name] = f"the scale of the adapter that makes {layer}.lora{end}"
    lonely = {n: "a factor of an adapter, whose other factor is missing" for n in known if FACTOR.search(n) and n not in made}
    return replaced(tensors, made, lonely | reasons)


def _saved_whole(name: str, config: Mapping) -> bool:
    """Whether a tensor is of a module that an adapter keeps beside its own parts."""
    modules = config.get("modules_to_save")
    return isinstance(modules, list) and any(f".{module}." in f".{name}" for module in modules)


def _no_update(layer: str, beside: set[tuple[str, str]], config: Mapping) -> str:
    """Why the product of a pair is not what the adapter adds to the weight of a layer; empty if it is."""
    start = config.get("init_lora_weights")
    if (layer, "magnitude_vector") in beside:
        return "is no product, as DoRA scales the sum with its base: merge it first"
    if (layer, "E") in beside:
        return "is no product, as AdaLoRA has singular values between them"
    if (layer, "diag") in beside:
        return "is no product, as KaSA has singular values between them and changes the base: merge it first"
    if layer.endswith(".base_layer.out_proj"):
        return "is not the whole update, as PEFT adds it twice to the way out of torch's attention: merge it first"
    if config.get("use_bdlora"):
        return "is no product, as BD-LoRA keeps the blocks of a factor alone: merge it first"
    if config.get("use_qalora"):
        return "is no product, as QA-LoRA takes means over groups of inputs"
    if isinstance(start, str) and start.startswith(STARTS):
        return f"is not the whole update, as {start!r} changes the base as well: convert it when it is saved, or merge it first"
    return ""


def _experts(count: int) -> _Form:
    """PEFT's pair for a stack: the first factor holds expert after expert, the other one has the experts innermost."""

    def product(A: np.ndarray, B: np.ndarray) -> np.ndarray:
        return B.reshape(len(B), -1, count).transpose(2, 0, 1).astype(np.float64) @ A.reshape(count, -1, A.shape[1])

    return _Form(re.compile(""), "", product, _applied_shape)


def _rank(form: _Form, into: Tensor) -> int:
    return into.shape[1] if form.out_of == ".lora_b" else into.shape[0]


def _product(form: _Form, name: str, shape, into: Tensor, out_of: Tensor, alpha: Tensor | None, scale: float | None, rank: int):
    members = {"A": into, "B": out_of}
    if alpha is not None and alpha.size == 1:
        members["alpha"] = alpha

    def compute(A, B, alpha=None):
        factor = float(alpha.ravel()[0]) / rank if alpha is not None else 1 if scale is None else scale
        return factor * form.product(A, B)

    told = scale is not None or "alpha" in members
    how = "LoRA, alpha / r times B A" if told else "LoRA, B A without alpha, which the source does not tell"
    type_, parameter = f"torch Conv{len(shape) - 2}d", "weight"
    if form.embedding or len(shape) == 2:
        type_ = "torch Embedding" if form.embedding else "torch Linear"
    elif len(into.shape) == 2:
        type_, parameter = "stack", "outputs first"
    return made_of_floats(members, name, shape, how, compute, Owner(type_, parameter, {}, "an adapter's pair of tensors"))


def _scale(layer: str, rank: int, config: Mapping) -> float | None:
    """``alpha / r``, or ``alpha / sqrt(r)`` where the configuration says so; None if it does not tell alpha."""
    alpha = _told(config, "lora_alpha", "alpha_pattern", layer)
    if alpha is None:
        return None
    return alpha / math.sqrt(rank) if config.get("use_rslora") is True else alpha / rank


def _told(config: Mapping, key: str, pattern: str, layer: str) -> float | None:
    """A number of a layer: that of the configuration, or its first exception for the layer; None if that is not known."""
    number, exceptions = config.get(key), config.get(pattern)
    for expression, value in exceptions.items() if isinstance(exceptions, Mapping) else ():
        if (found := _matches(expression, WRAPPED.sub("", layer))) is None:
            return None
        if found:
            number = value
            break
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= LARGEST:
        return None
    return number


def _matches(expression: str, layer: str) -> bool | None:
    """Whether PEFT takes a regular expression for a layer; None for one that could take forever, which is not run."""
    repeated = expression.count("*") + expression.count("+")
    if not SIMPLE.fullmatch(expression) or repeated > 2 or max(len(layer), len(expression)) > LONGEST_NAME:
        return None
    ways = 2 ** expression.count("?") * math.prod(part.count("|") + 1 for part in re.split(r"[()]", expression))
    if ways * (len(layer) + 1) ** (1 + repeated) > WAYS:
        return None
    try:
        return re.match(rf"(.*\.)?({expression})$", layer) is not None
    except (re.error, RecursionError):
        return None
