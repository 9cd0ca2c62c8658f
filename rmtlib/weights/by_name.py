"""Orientation where nothing but names and shapes is known: what the tensors of a file say of one another."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from .maps import LinearMap, convolution, dense, depthwise, embedding, stack, transposed_convolution
from .tensors import Tensor

__all__ = ["Names", "kind_of_matrix", "is_normalisation", "last_part"]

EMBEDDING = re.compile(r"embe?d|(^|[._/])w[tp]e\b", re.IGNORECASE)
ATTENTION = re.compile(r"attn|attention|qkv|(^|[._/])([qkvo]_proj|query|key|value|in_proj_weight)\b", re.IGNORECASE)
NORMALISATION = re.compile(r"norm|(^|[._/])(bn|ln)_?\d*\b|gamma\b|beta\b|running_|moving_", re.IGNORECASE)
STACK = re.compile(r"(^|[./_])experts?([./_]|$)|(^|[./_])moe([./_]|$)|_exps(\.|$)", re.IGNORECASE)
FLAT_STACK = re.compile(r"(^|[./])experts[./](?!\d)")
INTO = re.compile(r"(^|[./_])(gate_up_proj|gate_proj|up_proj|w1|w3|v1|wi|wi_0|wi_1|fc1|input_linear|gate_exps|up_exps)$")
OUT_OF = re.compile(r"(^|[./_])(down_proj|w2|wo|fc2|output_linear|down_exps)$")
TWO_IN_ONE = re.compile(r"(gate_up_proj|input_linear)$")
GPT2 = re.compile(r"\b(c_attn|c_fc|c_proj|q_attn)(\.base_layer)?\.weight$")
# Hugging Face's modules for experts: whether they multiply from the right with (E, in, out).
EXPERTS_INPUTS_FIRST = {"gpt_oss": True, "llama4": True, "llama4_text": True, "granitemoe": False, "mixtral": False}
LONGEST_KERNEL = 31
TRANSPOSED = re.compile(r"deconv|conv\d?d?_?trans(pose)?|trans(posed?)?_?conv|convtr(?!ain)", re.IGNORECASE)
HEADS_IN = re.compile(r"(query|key|value)$")
HEADS_OUT = re.compile(r"(attention_output|out|output)$")


def last_part(name: str) -> str:
    """What stands after the last dot or slash."""
    return re.split(r"[./]", name)[-1]


def is_normalisation(name: str) -> bool:
    """Whether a vector of this name scales or shifts what is normalised."""
    return NORMALISATION.search(name) is not None


def kind_of_matrix(name: str) -> str:
    """The kind of a matrix by its name."""
    return "embedding" if EMBEDDING.search(name) else "attention" if ATTENTION.search(name) else "dense"


class Names:
    """All names and shapes of a source, and the configuration beside it, for rules that look at more than one tensor.

    Parameters
    ----------
    tensors : iterable of Tensor
    config : mapping
        Of a Hugging Face folder, otherwise empty.
    """

    def __init__(self, tensors: Iterable[Tensor], config: Mapping):
        self.shapes = {tensor.name: tensor.shape for tensor in tensors}
        self.config = config
        # transformers' GPT-2 stores (in, out) under names that other codes use for (out, in): its c_attn (d, 3 d) gives it away.
        attention = [shape for name, shape in self.shapes.items() if re.search(r"c_attn(\.base_layer)?\.weight$", name)]
        self.gpt2 = any(len(shape) == 2 and shape[1] == 3 * shape[0] for shape in attention)
        told = [self._told_by_bias(name, shape) for name, shape in self.shapes.items() if last_part(name) == "w"]
        self.haiku = True in told and False not in told

    def number(self, *keys: str) -> int | None:
        """The first of these entries of the configuration that is a positive integer; a dot descends."""
        for key in keys:
            value: Any = self.config
            for part in key.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
        return None

    @functools.cached_property
    def width(self) -> int | None:
        """Width of the stream between layers: the configuration's, or that of the token embedding."""
        if known := self.number("hidden_size", "d_model", "n_embd", "text_config.hidden_size"):
            return known
        tokens = re.compile(r"(embed_tokens|wte|tok_embeddings|word_embeddings|token_embd)\.weight$")
        return next((shape[1] for name, shape in self.shapes.items() if len(shape) == 2 and tokens.search(name)), None)

    def decide(
        self, tensor: Tensor, layer: str, *, layout: str | None, groups: int | None, split_gates: bool
    ) -> tuple[LinearMap, str] | str:
        """The matrix in a tensor and the ground of the decision, or the reason why there is none.

        Parameters
        ----------
        tensor : Tensor
            Of two to five dimensions.
        layer : str
            Its name without an ending.
        layout : {"torch", "keras"} or None
            What the caller says.
        groups : int or None
            What the caller says: groups of a convolution, or experts of a stack.
        split_gates : bool
        """
        shape, name = tensor.shape, tensor.name
        kind = kind_of_matrix(name)
        if len(shape) == 2 and kind == "embedding" or len(shape) == 3 and kind == "embedding" and shape[0] == 1:
            return embedding(shape), "its name"
        if len(shape) == 2 and (FLAT_STACK.search(name) and re.search(r"\d$|proj$|weight$", name)) and "router" not in name:
            return self._flat_stack(tensor, groups)
        if len(shape) == 3 and (STACK.search(name) or self._bias_is_stacked(name, shape)):
            return self._stack(tensor, layout)
        store = layout or tensor.layout
        if store is None and re.search(r"(^|[./])kernel(:0)?$", name):
            store = "keras"
        if len(shape) == 3 and kind == "attention" and store == "keras":
            if HEADS_IN.search(layer):
                return LinearMap("attention", shape, (1, 2), (0,)), "its name, a kernel of attention heads"
            if HEADS_OUT.search(layer):
                return LinearMap("attention", shape, (2,), (0, 1)), "its name, a kernel of attention heads"
        if len(shape) > 2:
            return self._convolution(tensor, store, groups)
        return self._matrix(tensor, kind, layout, store, split_gates)

    def _convolution(self, tensor: Tensor, store: str | None, groups: int | None) -> tuple[LinearMap, str] | str:
        shape, last = tensor.shape, store == "keras"
        if "depthwise_kernel" in last_part(tensor.name):
            return depthwise(shape), "its name"
        if tensor.layout == "mlx":
            return LinearMap("convolution", shape, (0,), tuple(range(1, len(shape)))), "the kind of file"
        bias = self._bias(tensor.name)
        usual, other = (shape[-1], shape[-2]) if last else shape[:2]
        turned = bias is not None and usual != other and bias == (other * (groups or 1),)
        told = turned or bias == (usual,)
        long = shape[0] if last else shape[2]
        if len(shape) == 3 and long > LONGEST_KERNEL and "conv" not in tensor.name.lower() and shape[1] > 1 and not told:
            return (
                f"three dimensions, which a stack of matrices has as well as a convolution of length {long}: "
                "its name does not tell; give each matrix by itself"
            )
        if turned or TRANSPOSED.search(tensor.name) and not (told and usual != other):
            if groups and shape[0] % groups:
                return f"a transposed convolution of {shape[0]} inputs, which {groups} groups do not divide"
            ground = "the length of its bias, a transposed convolution" if turned else "its name, a transposed convolution"
            return transposed_convolution(shape, groups=groups or 1, channels_last=last), ground
        return convolution(shape, groups=groups or 1, channels_last=last), "its dimensions"

    def _matrix(self, tensor, kind, layout, store, split_gates) -> tuple[LinearMap, str]:
        shape, name = tensor.shape, tensor.name
        inputs_first, ground = store == "keras", "its name" if store == "keras" else "the usual order (n_out, n_in)"
        if layout is not None:
            ground = f"layout={layout!r}"
        elif (told := self._told_by_bias(name, shape)) is not None:
            inputs_first, ground = told, "the length of its bias"
        elif tensor.layout is not None:
            ground = "the kind of file"
        elif self.gpt2 and GPT2.search(name):
            inputs_first, ground = True, "its name, and GPT-2's c_attn of (d, 3 d)"
        elif self.haiku and last_part(name) == "w":
            inputs_first, ground = True, "its name, and biases beside other tensors of that name"
        result = dense(shape, inputs_first=inputs_first, kind=kind)
        if split_gates and (gates := self._gates(name, shape)):
            order, rnn = gates
            return result.split(*(f"#{gate}" for gate in order)), f"its name, a recurrent layer of the shapes of {rnn}"
        return result, ground

    def _gates(self, name: str, shape) -> tuple[str, str] | None:
        """Order of the gates: torch's ``weight_hh_l0`` is (k h, h), Keras' ``recurrent_kernel`` (h, k h)."""
        if torch := re.search(r"weight_[ih]h(_l\d+(_reverse)?)?$", name):
            prefix, end = name[: torch.start()], torch[0][9:]
            if f"{prefix}weight_hr{end}" in self.shapes:
                return ("ifgo", "torch's LSTM") if shape[0] % 4 == 0 else None
            recurrent = self.shapes.get(f"{prefix}weight_hh{end}", ())
            known = {4.0: ("ifgo", "torch's LSTM"), 3.0: ("rzn", "torch's GRU")}
            ratio = recurrent[0] / recurrent[1] if len(recurrent) == 2 else 0.0
        elif keras := re.search(r"(recurrent_)?kernel(:0)?$", name):
            recurrent = self.shapes.get(f"{name[: keras.start()]}recurrent_kernel{keras[2] or ''}", ())
            known = {4.0: ("ifco", "Keras' LSTM"), 3.0: ("zrh", "Keras' GRU")}
            ratio = recurrent[1] / recurrent[0] if len(recurrent) == 2 else 0.0
        else:
            return None
        return known.get(ratio)

    def _bias(self, name: str) -> tuple[int, ...] | None:
        """Shape of the bias beside a tensor."""
        for old, new in (("weight", "bias"), ("kernel", "bias"), ("w", "b"), ("W", "b"), ("W", "B")):
            match = re.search(rf"(^|[._/]){old}(:0)?$", name)
            if match:
                sibling = f"{name[: match.start()]}{match[1]}{new}{match[2] or ''}"
                if sibling in self.shapes:
                    return self.shapes[sibling]
        return self.shapes.get(f"{name}_bias")

    def _told_by_bias(self, name: str, shape) -> bool | None:
        bias = self._bias(name)
        if bias is None or len(bias) != 1 or len(shape) != 2 or shape[0] == shape[1] or bias[0] not in shape:
            return None
        return bias[0] == shape[1]

    def _bias_is_stacked(self, name: str, shape) -> bool:
        bias = self._bias(name)
        return bias is not None and len(bias) == 2 and bias[0] == shape[0] and bias[1] in shape[1:]

    def _stack(self, tensor: Tensor, layout: str | None) -> tuple[LinearMap, str] | str:
        """One matrix an expert, if the file tells which side of each is the input."""
        _, rows, columns = shape = tensor.shape
        layer = tensor.name.removesuffix(".weight")
        bias, into, width = self._bias(tensor.name), INTO.search(layer), self.width
        if layout is not None:
            return stack(shape, inputs_first=layout == "keras"), f"layout={layout!r}"
        if re.search(r"block_sparse_moe\.(input|output)_linear$", layer):
            return stack(shape, inputs_first=False), "its name, Granite's experts"
        if tensor.layout == "torch" and "_exps" in layer:
            return stack(shape, inputs_first=False), "the kind of file"
        if rows != columns and bias is not None and len(bias) == 2 and bias[1] in (rows, columns):
            return stack(shape, inputs_first=bias[1] == columns), "the width of its bias"
        if rows != columns and width in (rows, columns) and (into or OUT_OF.search(layer)):
            # The stream's width is the input on the way into an expert, and the output on the way back.
            return stack(shape, inputs_first=(rows == width) == bool(into)), f"the network's width {width}"
        if (told := self._told_by_partner(layer, shape)) is not None:
            return stack(shape, inputs_first=told), "the shapes of both stacks of the experts"
        if (known := EXPERTS_INPUTS_FIRST.get(str(self.config.get("model_type")))) is not None:
            return stack(shape, inputs_first=known), f"the configuration's model_type {self.config['model_type']}"
        return "a stack of experts, whose orientation a file does not tell: give each matrix by itself, or the layout"

    def _told_by_partner(self, layer: str, shape) -> bool | None:
        """Whether inputs come first, from gate and up in one tensor (twice as many outputs) and the way back in another."""
        stem = re.sub(r"(gate_up_proj|input_linear|down_proj|output_linear)$", "", layer)
        names = ("down_proj", "output_linear") if TWO_IN_ONE.search(layer) else ("gate_up_proj", "input_linear")
        found = [self.shapes.get(f"{stem}{name}{end}") for name in names for end in ("", ".weight")]
        partner = next((other for other in found if other and len(other) == 3), None)
        if partner is None or stem == layer:
            return None
        into, out = (shape, partner) if TWO_IN_ONE.search(layer) else (partner, shape)
        outputs_first = out[1] == into[2] and into[1] == 2 * out[2]
        inputs_first = out[2] == into[1] and into[2] == 2 * out[1]
        return inputs_first if outputs_first != inputs_first else None

    def _flat_stack(self, tensor: Tensor, groups: int | None) -> tuple[LinearMap, str] | str:
        """Experts one below the other in a matrix, as DBRX stores them."""
        keys = ("ffn_config.moe_num_experts", "num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
        count, layer = groups or self.number(*keys), tensor.name.removesuffix(".weight")
        if count is None:
            return "experts one below the other, whose number the file does not tell: give it by groups"
        if tensor.shape[0] % count:
            return f"experts one below the other, but {tensor.shape[0]} rows are not those of {count} experts"
        view = (count, tensor.shape[0] // count, tensor.shape[1])
        ground = "groups" if groups else "the configuration's number of experts"
        return replace(stack(view, inputs_first=OUT_OF.search(layer) is not None)), ground
