"""The forward pass of all-MiniLM-L6-v2, from sentences to embeddings, in numpy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import erf

from rmtlib.report import MINILM, minilm

__all__ = ["ROLES", "Encoder", "embed", "load_minilm", "matrix_name", "tokenise"]

ROLES = ("query", "key", "value", "attention.output", "intermediate", "output")
LONGEST = 128  # tokens of a text
CHUNK = 4096  # tokens that go through the network together


@dataclass(frozen=True, eq=False)
class Encoder:
    """An encoder of the kind of BERT (Devlin et al. 2019, arXiv:1810.04805).

    Attributes
    ----------
    tensors : mapping of str to numpy.ndarray
        Single precision, by the names that its file gives them.
    blocks, heads : int
        Number of blocks, and of attention heads in each.
    epsilon : float
        What is added to a variance before it divides.
    """

    tensors: Mapping[str, np.ndarray]
    blocks: int
    heads: int
    epsilon: float

    def matrix(self, role: str, block: int) -> np.ndarray:
        """The matrix (outputs, inputs) of one role in one block."""
        return self.tensors[f"{matrix_name(role, block)}.weight"]

    def with_matrices(self, matrices: Mapping[tuple[str, int], np.ndarray]) -> Encoder:
        """The same encoder with other matrices, given by role and block.

        Raises
        ------
        ValueError
            If a matrix has not the shape of the one that it replaces.
        """
        named = {}
        for (role, block), W in matrices.items():
            if W.shape != (shape := self.matrix(role, block).shape):
                msg = f"matrices: {role} of block {block} must have shape {shape}; got {W.shape}"
                raise ValueError(msg)
            named[f"{matrix_name(role, block)}.weight"] = W.astype(np.float32)
        return replace(self, tensors={**self.tensors, **named})


def matrix_name(role: str, block: int) -> str:
    """Name of a matrix in the file.

    Raises
    ------
    ValueError
        If there is no such role.
    """
    if role not in ROLES:
        msg = f"role must be one of {', '.join(ROLES)}; got {role!r}"
        raise ValueError(msg)
    place = f"attention.self.{role}" if role in ROLES[:3] else f"{role}.dense"
    return f"encoder.layer.{block}.{place}"


def load_minilm() -> Encoder | None:
    """all-MiniLM-L6-v2 from the package that holds it; None without the package."""
    from safetensors.numpy import load_file

    if (file := minilm()) is None:
        return None
    config = json.loads(file.with_name("config.json").read_text())
    tensors = {name: np.asarray(tensor) for name, tensor in load_file(file).items()}
    return Encoder(tensors, config["num_hidden_layers"], config["num_attention_heads"], config["layer_norm_eps"])


def tokenise(texts: Sequence[str]) -> list[list[int]]:
    """Numbers of the word pieces of each text, the marks of start and end included, by MiniLM's own tokenizer.

    Raises
    ------
    ModuleNotFoundError
        Without the package that holds MiniLM, or without ``tokenizers``.
    """
    from tokenizers import Tokenizer

    if (file := minilm()) is None:
        msg = f"the package that holds MiniLM is not installed; get it with: {MINILM}"
        raise ModuleNotFoundError(msg)
    tokenizer = Tokenizer.from_file(str(file.with_name("tokenizer.json")))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def embed(
    encoder: Encoder, tokens: Sequence[Sequence[int]], *, on_input: Callable[[str, int, np.ndarray], None] | None = None
) -> np.ndarray:
    """Embeddings of texts.

    Parameters
    ----------
    encoder : Encoder
    tokens : sequence of sequences of int
        Of each text, from `tokenise`.
    on_input : callable, optional
        Is told the role, the block and the inputs of each matrix, an array (tokens, n_in), some thousands of tokens at a time.

    Returns
    -------
    numpy.ndarray of shape (texts, width)
        Means over the tokens, divided by their lengths: scalar products are cosines.
    """
    found = []
    for texts in _chunks(tokens):
        ends = np.cumsum([len(text) for text in texts])
        x = _forward(encoder, texts, ends, on_input)
        means = np.array([part.mean(0) for part in np.split(x, ends[:-1])])
        found.append(means / np.linalg.norm(means, axis=1, keepdims=True))
    return np.concatenate(found)


def _chunks(tokens) -> Iterator[list]:
    """Texts in their order, so many at a time that their tokens are about ``CHUNK``."""
    texts: list = []
    for text in tokens:
        if texts and sum(map(len, texts)) + len(text) > CHUNK:
            yield texts
            texts = []
        texts.append(text)
    yield texts


def _forward(encoder: Encoder, texts, ends, on_input) -> np.ndarray:
    """Outputs of the last block, the tokens of all texts one after the other."""

    def linear(role, block, x):
        if on_input is not None:
            on_input(role, block, x)
        return x @ encoder.matrix(role, block).T + encoder.tensors[f"{matrix_name(role, block)}.bias"]

    def norm(x, name):
        x = x - x.mean(1, keepdims=True)
        x = x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + encoder.epsilon)
        return x * encoder.tensors[f"{name}.LayerNorm.weight"] + encoder.tensors[f"{name}.LayerNorm.bias"]

    words, places, kinds = (
        encoder.tensors[f"embeddings.{what}_embeddings.weight"] for what in ("word", "position", "token_type")
    )
    x = words[np.concatenate(texts)] + np.concatenate([places[: len(text)] for text in texts]) + kinds[0]
    x = norm(x, "embeddings")
    for block in range(encoder.blocks):
        queries, keys, values = (np.split(linear(role, block, x), ends[:-1]) for role in ROLES[:3])
        heard = np.concatenate([_attention(*qkv, encoder.heads) for qkv in zip(queries, keys, values, strict=True)])
        name = f"encoder.layer.{block}"
        x = norm(x + linear("attention.output", block, heard), f"{name}.attention.output")
        wide = linear("intermediate", block, x)
        wide = wide * (0.5 + 0.5 * erf(wide * np.float32(0.5**0.5)))
        x = norm(x + linear("output", block, wide), f"{name}.output")
    return x


def _attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, heads: int) -> np.ndarray:
    """What every token of one text takes from the others; all arrays (tokens, width)."""
    q, k, v = (x.reshape(len(x), heads, -1).transpose(1, 0, 2) for x in (q, k, v))
    scores = q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(q.shape[2]))
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return (weights @ v).transpose(1, 0, 2).reshape(q.shape[1], -1)
