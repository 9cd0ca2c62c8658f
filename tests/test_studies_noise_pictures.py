"""Pictures and figures of the chapters on noise show what they say, and their words are true of the numbers drawn."""

import re

import numpy as np
import pytest

import rmtlib
from rmtlib import ensembles, laws
from rmtlib.runs import load_run
from studies import noise_figures, noise_pictures


@pytest.fixture(scope="module")
def noise():
    return rmtlib.spectrum(ensembles.gaussian((200, 200), 0, sigma=200**-0.5))


def alt(drawing):
    return re.search(r'aria-label="([^"]*)"', drawing.svg)[1]


def words(drawing):
    return [re.sub(r"<[^>]*>|\n", "", text) for text in re.findall(r"<text.*?</text>", drawing.svg, flags=re.DOTALL)]


def test_a_planted_direction_is_found_the_better_the_stronger_it_is():
    found = [int(share) for share in re.findall(r"(\d+) %", alt(noise_pictures.planted()))]
    assert found == sorted(found)
    assert max(found[:2]) < 10  # below the threshold
    assert found[2:] == pytest.approx([100 * (1 - 1 / t**2) for t in (1.5, 2, 3)], abs=6)


def test_windows_hold_the_levels_that_are_counted_in_them(noise):
    ladder = np.arange(400.0)
    told = alt(noise_pictures.counted(ladder, length=10, windows=6))
    assert re.findall(r"trained: ([\d, ]+)", told) == ["10, 10, 10, 10, 10, 10"]


def test_images_are_those_of_the_vectors():
    svg = noise_pictures.vectors_as_images(load_run("mlp512-cifar10-alpha1-seed0"), each=3).svg
    assert svg.count("<image") == 9


def test_outliers_are_counted_and_marked(noise):
    planted = ensembles.spiked((200, 200), 0, strengths=[3.0, 4.0]).matrix
    nu = rmtlib.spectrum(planted, vectors=False).nu
    fit = rmtlib.fit_marchenko_pastur(nu, planted.shape)
    assert "2 outliers" in words(noise_figures.bulk(nu, noise.nu, fit))
    without = rmtlib.fit_marchenko_pastur(noise.nu, noise.shape)
    assert "0 outliers" in words(noise_figures.bulk(noise.nu, noise.nu, without))


def test_distance_from_the_surmise_is_that_of_the_test():
    xi = {name: rmtlib.unfold(rmtlib.spectrum(ensembles.gaussian((200, 200), s)).nu) for s, name in enumerate(("a", "b"))}
    told = " ".join(words(noise_figures.cumulative({name: rmtlib.spacings(levels) for name, levels in xi.items()})))
    for levels in xi.values():
        assert f"D = {rmtlib.spacing_test(levels).statistic:.3f}" in told


def test_rejected_vectors_are_counted(noise):
    flat = np.zeros((200, 200))
    flat[:, :20] = 1
    vectors = np.vstack([noise.output_vectors[:-1], np.r_[np.full(4, 0.5), np.zeros(196)]])
    test = rmtlib.porter_thomas(vectors)
    told = alt(
        noise_figures.vectors(
            {"planted": (test, noise_figures.NOISE)} | {"noise": (rmtlib.porter_thomas(noise.output_vectors), "black")}
        )
    )
    assert f"planted, {np.sum(test.qvalue < 0.05)} rejected" in told
    assert np.sum(test.qvalue < 0.05) >= 1


def test_a_tail_is_told_where_there_is_one(noise):
    rows = np.exp(np.random.default_rng(0).normal(size=(200, 1)))
    plain = ensembles.gaussian((200, 200), 0)
    drawn = noise_figures.sizes_of_noise({"plain": plain, "uneven": rows * plain}).drawings
    told = [alt(one) for one in drawn]
    assert "end where the law ends" in told[0]
    assert "a tail reaches" in told[1]
    for W, one in zip((plain, rows * plain), drawn, strict=True):
        fit = rmtlib.fit_marchenko_pastur(rmtlib.spectrum(W, vectors=False).nu, W.shape)
        assert f">{fit.n_outliers} beyond<" in one.svg
        assert f"{fit.n_outliers} lie beyond" in alt(one)


def test_law_and_levels_of_noise_end_together(noise):
    law = laws.marchenko_pastur(1.0, 1.0)
    assert "noise ends" in words(noise_figures.levels_and_law(noise.nu, noise.nu, law))
