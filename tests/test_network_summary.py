"""A network in a few numbers and one paragraph."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

import rmtlib
from rmtlib.weights import Skipped

from . import builders


@pytest.fixture(scope="module")
def matrices():
    rng = np.random.default_rng(2)
    few = rmtlib.ensembles.spiked((120, 90), 0, strengths=[3.0, 4.0]).matrix
    many = rmtlib.ensembles.spiked((120, 90), 4, strengths=np.linspace(2, 9, 12)).matrix
    return {"noise": rng.standard_normal((120, 90)), "few": few, "many": many, "constant": np.ones((90, 80))}


@pytest.fixture(scope="module")
def table(matrices):
    return rmtlib.analyse_network(matrices, progress=False)


@pytest.fixture(scope="module")
def summary(table):
    return rmtlib.summarise_network(
        table, [Skipped("b", (3,), "bias vector"), Skipped("c", (3,), "bias vector"), Skipped("s", (), "scalar")]
    )


def test_layers_are_counted_and_sorted_into_those_that_stand_out_and_those_that_do_not(summary):
    assert (summary.layers, summary.analysed, summary.levels) == (4, 3, 270)
    assert summary.silent == ("noise",)
    assert summary.standing_out == ("many", "few")
    assert summary.not_analysed == ("constant",)
    assert summary.spacings_rejected == ()
    assert summary.skipped == {"bias vector": 2, "scalar": 1}


def test_levels_outside_are_those_of_the_layers(table, summary):
    assert summary.outliers == np.nansum(table["outliers"] + table["outliers_below"])
    assert summary.outliers == 14
    assert summary.outliers_biwhitened == np.nansum(table["outliers_biwhitened"] + table["outliers_below_biwhitened"])


def test_norms_are_those_of_the_matrices(matrices, summary):
    eigenvalues = [np.linalg.svd(W, compute_uv=False) ** 2 for name, W in matrices.items() if name != "constant"]
    assert summary.log_norm == pytest.approx(np.mean([np.log10(e.sum()) for e in eigenvalues]))
    assert summary.log_spectral_norm == pytest.approx(np.mean([np.log10(e.max()) for e in eigenvalues]))
    assert summary.stable_rank == pytest.approx(np.mean([e.sum() / e.max() for e in eigenvalues]))


def test_alpha_is_weighted_by_the_largest_eigenvalue(table, summary):
    done = table[table["levels"].notna()]
    expected = [alpha * math.log10(largest**2) for alpha, largest in zip(done["alpha"], done["largest"], strict=True)]
    assert summary.alpha_weighted == pytest.approx(np.mean(expected))
    edges = (done["nu_plus"] / done["largest"]).astype(float)
    assert summary.mp_softrank == pytest.approx(np.mean(edges**2))


def test_the_paragraph_says_the_same_in_words(summary):
    for words in (
        "The network has 4 weight matrices with 270 levels (singular values).",
        "In 1 nothing was found that noise would not show: noise.",
        f"Outside the bulk of noise lie {summary.outliers} levels",
        "What stands out most: many (",
        "Spacings differ from those of a random matrix in no matrix.",
        "Not analysed: constant.",
        "3 tensors gave no matrix, most often for this reason: bias vector.",
    ):
        assert words in summary.text
    assert not re.search(r"nan|None", summary.text)


def test_a_small_bulk_is_told_with_the_count():
    rows = [
        {
            "layer": "q",
            "shape": (90, 90),
            "levels": 90,
            "bulk_fraction": 0.16,
            "outliers": 60,
            "outliers_below": 0,
            "summary": "q: x",
        }
    ]
    found = rmtlib.summarise_network(pd.DataFrame(rows))
    assert "q (60 levels outside a bulk that holds 16%)" in found.text
    assert "In 1 matrix the bulk holds less than half of the levels" in found.text
    assert found.small_bulk == ("q",)


def test_what_the_null_does_not_cover_is_counted():
    rows = np.repeat(builders.gaussian(60, 90), 2, axis=0) + 0.1 * builders.gaussian(120, 90, seed=1)
    found = rmtlib.summarise_network(rmtlib.analyse_network({"twice": rows}, progress=False))
    assert found.uncovered == ("twice",)
    assert "In 1 matrix something differs from noise that the null does not cover" in found.text


def test_layers_that_were_all_refused_have_a_summary_too():
    found = rmtlib.summarise_network(rmtlib.analyse_network({"fc": np.ones((90, 80))}, progress=False))
    assert (found.analysed, found.levels) == (0, 0)
    assert math.isnan(found.alpha)
    assert "Not analysed: fc." in found.text


@pytest.mark.parametrize(
    "table", [None, pd.DataFrame(), pd.DataFrame({"layer": ["a"]}), pd.DataFrame({"layer": [], "summary": []})]
)
def test_what_is_no_table_of_a_network_gives_one_sentence(table):
    with pytest.raises(ValueError, match="table must be that of analyse_network, with at least one row"):
        rmtlib.summarise_network(table)
