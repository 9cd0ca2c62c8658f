"""Networks from packages are the ones that they are said to be."""

import numpy as np
import pytest

from studies import packages


@pytest.fixture(scope="module")
def convolutions():
    found = packages.vgg16_convolutions()
    assert found, f"the gate installs the package: {packages.VGG16}"
    return found


# Entries (row, column, input channel, output channel) of Keras's own file, as other projects print or assert them.
KERAS = {
    ("block1_conv1", (0, 0, 0, 0)): 0.42947057,
    ("block1_conv1", (0, 0, 0, 1)): 0.11727387,
    ("block1_conv1", (0, 0, 0, 2)): 0.03401296,
    ("block1_conv1", (0, 0, 1, 0)): 0.55037946,
    ("block1_conv1", (0, 0, 1, 1)): 0.02087744,
    ("block1_conv2", (2, 2, 63, 63)): 0.016082443,
    ("block5_conv1", (1, 0, 63, 269)): -0.011236359,
    ("block5_conv3", (0, 2, 0, 400)): -0.008714244,
}
# And of its biases.
BIASES = {("block1_conv1", 25): 0.7446502, ("block2_conv1", 1): 0.06440781, ("block5_conv2", 510): 0.23517226}


@pytest.mark.parametrize(("place", "value"), KERAS.items())
def test_the_kernels_are_those_of_vgg16_as_keras_publishes_it(convolutions, place, value):
    name, (row, column, channel, output) = place
    matrix = convolutions[name].matrix
    # Columns run over kernel rows, kernel columns, input channels.
    entry = matrix.reshape(len(matrix), 3, 3, -1)[output, row, column, channel]
    assert entry == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("place", "value"), BIASES.items())
def test_the_biases_are_those_of_vgg16_as_keras_publishes_it(place, value):
    onnx = pytest.importorskip("onnx")
    name, index = place
    graph = onnx.load(packages.vgg16_file()).graph
    vectors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if name in tensor.name}
    assert any(np.isclose(v.ravel()[index], value, rtol=1e-6) for v in vectors.values() if v.size > index and v.ndim == 1)


def test_there_are_thirteen_convolutions_in_their_order(convolutions):
    blocks = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}
    assert list(convolutions) == [f"block{b}_conv{c}" for b, last in blocks.items() for c in range(1, last + 1)]


def test_layers_are_named_by_network_and_unknown_ones_are_refused():
    found = packages.layers(minilm=["pooler"], vgg16=["block1_conv2"])
    assert {name: W.shape for name, W in found.items()} == {"minilm pooler": (384, 384), "vgg16 block1_conv2": (64, 576)}
    with pytest.raises(ValueError, match="vgg16 has no layer block9; it has block1_conv1"):
        packages.layers(vgg16=["block9"])
    with pytest.raises(ValueError, match="networks are minilm, vgg16; got 'alexnet'"):
        packages.layers(alexnet=["fc"])


def test_without_the_packages_there_is_nothing(monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    assert packages.vgg16_file() is None
    assert packages.vgg16_convolutions() == {}
