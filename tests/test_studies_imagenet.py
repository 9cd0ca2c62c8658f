"""What the paper says of networks that others trained, decided by made-up p-values, and what stands in for missing files."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rmtlib.claims import Untested
from studies import imagenet


def levels(second_p=0.33, third_p=0.5, second_ratio=1.19, third_ratio=0.75):
    return {
        "second dense layer": SimpleNamespace(spacing=SimpleNamespace(pvalue=second_p), ratio=second_ratio),
        "third dense layer": SimpleNamespace(spacing=SimpleNamespace(pvalue=third_p), ratio=third_ratio),
    }


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
    ("here", "second", "first"),
    [
        ([], ["mlp512 dense2", "mlp512 dense3"], ["mlp512 dense1", "mlp512 dense1"]),
        (["vgg16", "vgg19"], ["mlp512 dense2", "vgg19 classifier.6"], ["mlp512 dense1", "vgg19 classifier.0"]),
        (["alexnet"], ["alexnet classifier.4", "mlp512 dense3"], ["alexnet classifier.1", "mlp512 dense1"]),
    ],
)
def test_a_missing_network_is_replaced_by_the_same_layer_of_ours(here, second, first):
    assert list(map(" ".join, imagenet.shown_layers(here).values())) == second
    assert list(map(" ".join, imagenet.first_layers(here).values())) == first


def test_spacings_and_number_variances_are_held_to_the_papers():
    found = imagenet.level_outcomes(["alexnet", "vgg19"], levels())
    assert {id: outcome.verdict for id, outcome in found.items()} == {
        "F1a3": "reproduced",
        "F1b3": "reproduced",
        "F1a4": "not reproduced",
        "F1b4": "not reproduced",
    }
    assert found["F1a3"].value == 0.33
    near = imagenet.level_outcomes(["alexnet", "vgg19"], levels(0.25, 0.92, 1.21, 1.0))
    assert [near[id].verdict for id in ("F1a3", "F1b3", "F1a4", "F1b4")] == ["not reproduced"] * 2 + ["reproduced"] * 2


def test_what_is_missing_is_not_tested():
    found = imagenet.level_outcomes(["alexnet"], levels())
    assert found["F1a4"] == found["F1b4"] == Untested(imagenet.COMMAND)
    assert imagenet.vector_outcomes(["alexnet"], {("mlp512", "dense1"): vectors()})["F2c"] == Untested(imagenet.COMMAND)


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "reproduced"),
        ({"upper": 0.31}, "not reproduced"),
        ({"upper": 0.5, "lower": 0.1}, "not reproduced"),
        ({"rejected": 0.5}, "not reproduced"),
    ],
)
def test_vectors_leave_the_band_at_the_large_end_and_most_are_random(changed, verdict):
    both = {("alexnet", "classifier.1"): vectors(), ("vgg19", "classifier.0"): vectors(**changed)}
    found = imagenet.vector_outcomes(["alexnet", "vgg19"], both)
    assert found["F2c"].verdict == found["first-dense"].verdict == verdict
    assert (
        found["F2c"]
        .numbers["words"]
        .startswith(
            "alexnet classifier.1: lowest moving mean 0.40 in the lower and 0.20 in the upper half, "
            "band from 0.30, 25% of the vectors not random; vgg19 classifier.0: "
        )
    )


def test_rows_of_the_second_table_are_decided_network_by_network():
    index = pd.MultiIndex.from_tuples([("vgg19", "a"), ("vgg19", "b"), ("vgg19", "c"), ("alexnet", "a"), ("alexnet", "b")])
    table = pd.DataFrame({"p, calibrated": [0.03, np.nan, 0.9, 0.02, 0.5]}, index, dtype=object)
    smallest = imagenet.smallest_by_network(table)
    assert smallest.index.tolist() == ["vgg19", "alexnet"]
    assert smallest.loc["vgg19"].tolist() == [2, 0.03, 0.025]
    found = imagenet.layer_outcomes(smallest)
    assert found["T2-vgg19"].verdict == "reproduced"
    assert found["T2-alexnet"].verdict == "not reproduced"
    assert found["T2-vgg16"] == Untested(imagenet.COMMAND)
    assert found["T1"].command.startswith("the paper's cells are lost; for ours: rmtlib run chapters/09_training.md")
    numbers = imagenet.numbers(levels(), smallest, a=10)
    assert (numbers["layers-tested"], numbers["layers-smallest"], numbers["layers-bound"]) == (4, 0.02, 0.0125)
    # 8 layers of AlexNet, 16 of VGG16, 19 of VGG19; its second convolution has 64 filters
    assert (numbers["published-layers"], numbers["small-levels"], numbers["small-kept"]) == (43, 64, 24)
