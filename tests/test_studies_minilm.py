"""Tables and sentences about a transformer, from a made-up one."""

import numpy as np
import pandas as pd
import pytest

import rmtlib
from rmtlib.claims import Outcome
from studies import minilm

KEY, FEED, OUT = (
    "encoder.layer.0.attention.self.key",
    "encoder.layer.1.intermediate.dense",
    "encoder.layer.5.attention.output.dense",
)
WORDS, POOLER = "embeddings.word_embeddings", "pooler.dense"


@pytest.fixture
def network():
    rng = np.random.default_rng(1)
    words = rng.standard_normal((900, 60)) * np.geomspace(1, 30, 900)[:, None]
    square = rng.standard_normal((60, 60))
    arrays = {f"{KEY}.weight": square, f"{WORDS}.weight": words.astype("float32")}
    return rmtlib.load_weights(arrays, min_levels=2)


@pytest.fixture
def table():
    rows = {
        KEY: ("nothing", 0.25, 7, 0, 8.0, 0.04, 0.520),
        FEED: ("nothing", 0.80, 5, 11, 6.0, 0.9, 0.530),
        OUT: ("nothing", np.nan, np.nan, np.nan, 4.0, 0.9, 0.540),
        WORDS: ("nothing", 1.25, 1, 2, 20.0, 0.9, 0.530),
        POOLER: ("nothing found that noise would not show", 0.5, 0, 0, 1.9, 0.9, 0.530),
    }
    columns = ["summary", "bulk_fraction", "outliers", "outliers_below", "largest", "spacing_qvalue", "spacing_ratio"]
    table = pd.DataFrame(rows, columns).T.rename_axis("layer").reset_index()
    table = table.assign(
        outlier_edge=2.0,
        input_rejected=0.1,
        output_rejected=0.9,
        number_variance_ratio=1.0,
        shape=[(60, 60)] * 5,
        spacing_calibrated_pvalue=0.5,
    )
    return table.infer_objects()


def test_names_lose_what_they_share(table):
    assert minilm.short_names(table).tolist() == ["0.key", "1.intermediate", "5.attention.output", "word_embeddings", "pooler"]


def test_rows_of_one_length_are_not_rejected_and_uneven_ones_are(network):
    assert minilm.rejected_by_lengths(np.ones((900, 60))) < 0.05
    assert minilm.rejected_by_lengths(network[WORDS].matrix) > 0.95


def test_every_id_is_told_from_the_table(table, network):
    found = minilm.outcomes(table, network)
    assert set(found) == set(minilm.missing())
    plain = {name.removeprefix("minilm-"): value for name, value in found.items() if not isinstance(value, Outcome)}
    lengths = plain.pop("lengths")
    assert lengths > 95
    names = plain.pop("no-bulk-names")
    assert names == "5.attention.output"
    assert plain == pytest.approx(
        {
            "matrices": 5,
            "rejected": 1,
            "smallest-q": 0.04,
            "above": 13,
            "below": 13,
            "below-wide": 11,
            "edge": 10,
            "edge-key": 4,
            "feed": 80,
            "attention": 25,
            "most-bulk": 125,
            "no-bulk": 1,
            "words": 90,
        }
    )
    assert found["minilm-universal"].numbers == pytest.approx({"ratio": 0.53, "matrices": 5})
    assert [found[f"minilm-{name}"].verdict for name in ("universal", "pooler")] == ["reproduced"] * 2
    assert found["minilm-pooler"].numbers == {"bulk": 50}


def test_spacings_of_two_rejected_matrices_or_of_another_ratio_are_not_universal(table, network):
    rejected = table.assign(spacing_qvalue=[0.01, 0.02, 0.9, 0.9, 0.9])
    other = table.assign(spacing_ratio=0.51)
    for changed in (rejected, other):
        assert minilm.outcomes(changed, network)["minilm-universal"].verdict == "not reproduced"


def test_a_network_without_such_matrices_has_dashes(table, network):
    found = minilm.outcomes(table[table["layer"] == WORDS], network)
    assert {found[f"minilm-{name}"] for name in ("edge-key", "feed", "attention", "pooler")} == {"–"}
    assert set(minilm.missing().values()) == {"–"}
