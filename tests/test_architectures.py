from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rmtlib.ensembles import glorot_uniform
from rmtlib.learning import training
from rmtlib.learning.architectures import NETWORKS, LocalResponseNorm, build_network, initialize
from rmtlib.learning.datasets import load_dataset
from rmtlib.learning.training import TrainingConfig, accuracy, sgd, train

CIFAR10 = (3, 32, 32)
PIXELS = 3 * 32 * 32


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def mini_alexnet():
    network = build_network("minialexnet", shape=CIFAR10, n_classes=10)
    initialize(network, 5)
    return network


def gaussian(*shape, seed=0, dtype=np.float32):
    return torch.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype))


# Layers and initial weights


def test_mini_alexnet_has_the_layers_of_the_reconstruction(mini_alexnet):
    shapes = {name: tuple(tensor.shape) for name, tensor in mini_alexnet.named_parameters() if tensor.ndim > 1}
    assert shapes == {
        "conv1.weight": (300, 3, 5, 5),
        "conv2.weight": (150, 300, 5, 5),
        "dense1.weight": (384, 150 * 7 * 7),
        "dense2.weight": (192, 384),
        "dense3.weight": (10, 192),
    }
    assert set(mini_alexnet.state_dict()) == set(shapes) | {name.replace("weight", "bias") for name in shapes}


@pytest.mark.parametrize("name", NETWORKS)
def test_initial_weights_are_glorot_uniform_streams_of_seed_and_layer_and_biases_zero(name):
    network = build_network(name, shape=(1, 8, 8), n_classes=10)
    initialize(network, 5)
    weights = [tensor for tensor in network.parameters() if tensor.ndim > 1]
    for i, tensor in enumerate(weights, start=1):
        np.testing.assert_array_equal(tensor.detach().numpy(), glorot_uniform(tuple(tensor.shape), [5, i]))
    biases = [tensor for tensor in network.parameters() if tensor.ndim == 1]
    assert len(biases) == len(weights)
    assert not any(tensor.any() for tensor in biases)


def test_the_variance_of_a_convolution_counts_its_kernel(mini_alexnet):
    # Fans of conv2: 25 * 300 and 25 * 150.
    W = mini_alexnet.conv2.weight.detach().numpy()
    assert W.var() == pytest.approx(2 / (25 * 450), rel=0.01)
    assert np.abs(W).max() <= np.float32(np.sqrt(6 / (25 * 450)))


def test_mini_alexnet_equals_the_composition_of_tensorflow_s_operations(mini_alexnet):
    import tensorflow as tf

    images = gaussian(3, PIXELS)
    tensors = {name: tensor.detach().numpy() for name, tensor in mini_alexnet.named_parameters()}
    x = images.reshape(-1, *CIFAR10)[:, :, 2:30, 2:30].permute(0, 2, 3, 1).numpy()
    for i in (1, 2):
        x = tf.nn.relu(tf.nn.conv2d(x, tensors[f"conv{i}.weight"].transpose(2, 3, 1, 0), strides=1, padding="SAME"))
        x = tf.nn.local_response_normalization(x, depth_radius=5, bias=1.0, alpha=1.0, beta=0.5)
        x = tf.nn.max_pool2d(x, 3, strides=2, padding="SAME")
    x = tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (3, -1))
    for i in (1, 2, 3):
        x = x @ tensors[f"dense{i}.weight"].T
        x = x if i == 3 else tf.nn.relu(x)
    logits = mini_alexnet(images).detach().numpy()
    np.testing.assert_allclose(logits, x.numpy(), atol=1e-5 * np.abs(logits).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_one_logit_a_class_on_digits(name):
    network = build_network(name, shape=(1, 8, 8), n_classes=7)
    initialize(network, 0)
    assert network(gaussian(4, 64)).shape == (4, 7)


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match="network must be one of mlp512, mlp1024, minialexnet, minialexnet3x3; got 'mlp'"):
        build_network("mlp", shape=(1, 8, 8), n_classes=10)


def test_images_too_small_for_two_poolings_are_refused():
    with pytest.raises(ValueError, match=r"shape must hold images of at least 8 x 8 pixels for minialexnet; got \(1, 8, 7\)"):
        build_network("minialexnet", shape=(1, 8, 7), n_classes=10)


# Crops


def coordinates(records):
    """Flat images that say at each pixel where it is: 1000 * channel + 32 * row + column."""
    channel, row, column = np.indices(CIFAR10)
    image = (1000 * channel + 32 * row + column).reshape(-1).astype(np.float32)
    return torch.from_numpy(np.tile(image, (records, 1)))


def test_a_crop_is_a_piece_of_28_by_28_at_a_place_of_its_own_for_each_image(mini_alexnet):
    crops = mini_alexnet.augment(coordinates(5000), np.random.default_rng(1)).numpy()
    assert crops.shape == (5000, 3, 28, 28)
    channel, row, column = np.indices((3, 28, 28))
    corners = crops[:, 0, 0, 0]
    np.testing.assert_array_equal(crops, corners[:, None, None, None] + 1000 * channel + 32 * row + column)
    places, counts = np.unique(corners, return_counts=True)
    np.testing.assert_array_equal(places, [32 * top + left for top in range(5) for left in range(5)])
    # 200 expected, standard deviation 14.
    assert np.abs(counts - 200).max() < 60


def test_crops_are_decided_by_the_generator(mini_alexnet):
    images = coordinates(64)
    one, same, other = (mini_alexnet.augment(images, np.random.default_rng([0, epoch])) for epoch in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    rng = np.random.default_rng([0, 3])
    assert not torch.equal(mini_alexnet.augment(images, rng), mini_alexnet.augment(images, rng))


def test_evaluation_sees_the_centre(mini_alexnet):
    images = gaussian(3, PIXELS)
    centre = images.reshape(-1, *CIFAR10)[:, :, 2:30, 2:30]
    assert torch.equal(mini_alexnet.crop(images), centre)
    assert torch.equal(mini_alexnet(images), mini_alexnet(centre))
    assert torch.equal(mini_alexnet.crop(mini_alexnet.crop(images)), centre)


@pytest.mark.parametrize("name", ["mlp512", "mlp1024"])
def test_multilayer_perceptrons_see_their_images_unchanged_and_draw_nothing(name):
    network, images = build_network(name, shape=(1, 8, 8), n_classes=10), gaussian(3, 64)
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert network.augment(images, rng) is images
    assert rng.bit_generator.state == before


# Response normalisation


@pytest.mark.parametrize(
    ("radius", "bias", "alpha", "shape"),
    [(5, 1.0, 1.0, (2, 300, 4, 3)), (5, 1.0, 1.0, (2, 7, 4, 3)), (2, 0.7, 1.3, (1, 12, 3, 3)), (0, 2.0, 0.5, (2, 1, 2, 2))],
)
def test_normalisation_equals_tensorflow_s_operation_and_its_gradient(radius, bias, alpha, shape):
    import tensorflow as tf

    x, g = gaussian(*shape, seed=1).requires_grad_(), gaussian(*shape, seed=2)
    y = LocalResponseNorm(radius, bias, alpha)(x)
    y.backward(g)
    inputs, outputs = (tf.constant(t.detach().permute(0, 2, 3, 1).numpy()) for t in (x, g))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        expected = tf.nn.local_response_normalization(inputs, depth_radius=radius, bias=bias, alpha=alpha, beta=0.5)
    gradient = tape.gradient(expected, inputs, output_gradients=outputs)
    for ours, theirs in ((y, expected), (x.grad, gradient)):
        np.testing.assert_allclose(ours.detach().permute(0, 2, 3, 1).numpy(), theirs.numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_normalisation_equals_torch_s_module_in_any_memory_format(memory_format):
    x = gaussian(2, 20, 5, 4).contiguous(memory_format=memory_format).requires_grad_()
    other, g = x.detach().clone().requires_grad_(), gaussian(2, 20, 5, 4, seed=1)
    y, theirs = LocalResponseNorm()(x), nn.LocalResponseNorm(11, alpha=11, beta=0.5, k=1)(other)
    y.backward(g)
    theirs.backward(g)
    torch.testing.assert_close(y, theirs)
    torch.testing.assert_close(x.grad, other.grad)
    assert y.is_contiguous(memory_format=memory_format)
    assert x.grad.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize(("radius", "bias", "alpha"), [(5, 1.0, 1.0), (1, 0.5, 2.0)])
def test_backward_and_forward_derivatives_of_the_normalisation_are_right(radius, bias, alpha):
    x = gaussian(2, 8, 2, 3, dtype=np.float64).requires_grad_()
    assert torch.autograd.gradcheck(LocalResponseNorm(radius, bias, alpha), x, check_forward_ad=True)


def test_normalisation_has_no_second_derivative():
    x = gaussian(1, 4, 2, 2).requires_grad_()
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        torch.autograd.grad(LocalResponseNorm()(x).sum(), x, create_graph=True)


def test_normalisation_is_faster_than_torch_s_module():
    x, g = F.relu(gaussian(4, 300, 28, 28)), gaussian(4, 300, 28, 28, seed=1)
    times = []
    for norm in (LocalResponseNorm(), nn.LocalResponseNorm(11, alpha=11, beta=0.5, k=1)):
        x = x.detach().requires_grad_()
        laps = []
        for _ in range(3):
            start = time.process_time()
            norm(x).backward(g)
            laps.append(time.process_time() - start)
        times.append(min(laps))
    assert times[0] < times[1] / 2


# Training


@pytest.fixture
def few_digits(monkeypatch):
    """Training on the first digits."""
    digits = load_dataset("digits")
    train_set = {"train_images": digits.train_images[:80], "train_labels": digits.train_labels[:80]}
    few = replace(digits, **train_set, test_images=digits.test_images[:150], test_labels=digits.test_labels[:150])
    monkeypatch.setattr(training, "load_dataset", lambda *args, **options: few)
    return few


CONFIG = TrainingConfig(network="minialexnet", epochs=3, batch_size=16, learning_rate=0.03, weight_decay=2e-4)


class _Stop(Exception):
    pass


def test_mini_alexnet_learns_and_resumes_bit_by_bit(few_digits, tmp_path, monkeypatch):
    whole = train(CONFIG, folder=tmp_path / "whole", progress=False)
    assert whole.name == CONFIG.name == "minialexnet-digits-alpha1-seed0-epochs3-batch16-rate0.03-l2_0.0002"
    loss = whole.history["train_loss"]
    assert loss[0] == pytest.approx(np.log(10), rel=0.1)
    assert loss[-1] < loss[0] - 0.1
    calls = []

    def stop_in_second_epoch(*args):
        calls.append(args)
        if len(calls) == 2:
            raise _Stop
        return accuracy(*args)

    with monkeypatch.context() as patch:
        patch.setattr(training, "accuracy", stop_in_second_epoch)
        with pytest.raises(_Stop):
            train(CONFIG, folder=tmp_path, progress=False)
    assert [file.name for file in (tmp_path / CONFIG.name).iterdir()] == ["checkpoint.safetensors"]
    resumed = train(CONFIG, folder=tmp_path, progress=False)
    for file in ("history.csv", "weights.safetensors"):
        assert (resumed.path / file).read_bytes() == (whole.path / file).read_bytes()


def test_training_crops_at_random_and_evaluation_does_not(few_digits, tmp_path, monkeypatch):
    seen = []
    original = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda layer, x: (seen.append(x), original(layer, x))[1])
    train(replace(CONFIG, epochs=1), folder=tmp_path, progress=False)
    first = [x for x in seen if x.shape[1] == 1]
    assert {x.shape[2:] for x in first} == {(7, 7)}
    # Five batches, then the test and the training images, at most 100 at a time.
    assert [len(x) for x in first] == [16] * 5 + [100, 50] + [80]
    pictures = torch.from_numpy(few_digits.train_images).reshape(-1, 8, 8)
    centre = pictures[:, :7, :7]
    assert torch.equal(first[-1][:, 0], centre)
    rng = np.random.default_rng([CONFIG.seed, 0])
    order = rng.permutation(80)
    network = build_network("minialexnet", shape=(1, 8, 8), n_classes=10)
    for x, batch in zip(first, order.reshape(5, 16), strict=False):
        assert torch.equal(x, network.augment(torch.from_numpy(few_digits.train_images[batch]), rng))
        assert not torch.equal(x[:, 0], centre[batch])


def test_the_later_reading_of_minialexnet_is_what_keras_would_build():
    network = build_network("minialexnet3x3", shape=CIFAR10, n_classes=10)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.named_parameters() if tensor.ndim > 1}
    assert shapes == {
        "conv1.weight": (300, 3, 5, 5),
        "conv2.weight": (150, 300, 3, 3),
        "dense1.weight": (384, 150 * 8 * 8),
        "dense2.weight": (192, 384),
        "dense3.weight": (10, 192),
    }
    kinds = {type(module).__name__ for module in network}
    assert "LocalResponseNorm" not in kinds
    pictures, rng = torch.randn(2, 3 * 32 * 32), np.random.default_rng(0)
    assert network.augment(pictures, rng) is pictures
    assert network.crop(pictures).shape == (2, 3, 32, 32)
    assert network(pictures).shape == (2, 10)


def test_the_later_reading_regularises_its_first_two_dense_layers_alone():
    network = build_network("minialexnet3x3", shape=CIFAR10, n_classes=10)
    decayed, others = sgd(network, TrainingConfig(network="minialexnet3x3", weight_decay=2e-4)).param_groups
    assert {id(p) for p in decayed["params"]} == {id(network.get_parameter(f"dense{i}.weight")) for i in (1, 2)}
    assert (decayed["weight_decay"], others["weight_decay"]) == (2e-4, 0)
    assert len(decayed["params"]) + len(others["params"]) == len(list(network.parameters()))


def test_images_too_small_for_the_later_reading_are_refused():
    with pytest.raises(ValueError, match=r"shape must hold images of at least 8 x 8 pixels for minialexnet3x3; got \(1, 8, 7\)"):
        build_network("minialexnet3x3", shape=(1, 8, 7), n_classes=10)
