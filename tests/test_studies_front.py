"""The drawings of the first pages show what their texts say."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

import rmtlib
from rmtlib.runs import load_run
from studies import front


@pytest.fixture(scope="module")
def puzzle():
    front.set_style()
    return ElementTree.fromstring(front.puzzle().svg)


@pytest.mark.parametrize("name", sorted(set(front.__all__) - {"puzzle", "set_style"}))
def test_small_drawings_have_a_text_and_words(name):
    svg = ElementTree.fromstring(getattr(front, name)().svg)
    assert svg.get("aria-label").endswith(".")
    assert len(list(svg.iter("text"))) > 2


def test_puzzle_marks_each_value_beyond_the_edge(puzzle):
    W = rmtlib.load_weights(load_run("mlp512-cifar10-alpha0.5-seed0"))["dense2"].matrix
    nu = np.linalg.svd(W, compute_uv=False)
    outliers = int((nu > rmtlib.fit_marchenko_pastur(nu[::-1], W.shape).outlier_edge).sum())
    assert outliers > 0
    assert f"{outliers} values" in puzzle.get("aria-label")
    words = " ".join(text.text or "" for text in puzzle.iter("text"))
    assert f"{outliers} values beyond" in words
    # each mark uses the shape of one mark; the axes use theirs a few times
    uses = [use.get("href") for use in puzzle.iter("use")]
    assert max(map(uses.count, set(uses))) == outliers


def test_puzzle_names_its_panels_and_not_its_answer(puzzle):
    words = [text.text for text in puzzle.iter("text")]
    assert {"A", "B", "C"} <= set(words)
    assert not any(re.search("lazy|untrained|initial", word or "") for word in words)
