from __future__ import annotations

import doctest
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from rmtlib.files import file_sha256
from rmtlib.learning import linearization
from rmtlib.learning.architectures import build_network, initialize
from rmtlib.learning.datasets import load_dataset
from rmtlib.learning.linearization import LinearizedAccuracy, linearize, linearized_accuracy
from rmtlib.learning.training import TrainingConfig, train
from rmtlib.runs import RunError, load_run

LAYERS = ("dense1", "dense2", "dense3", "dense4")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def gaussian(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape))


def with_weights(network, seed):
    """The network in float64 with Gaussian parameters, biases too."""
    network = network.double()
    with torch.no_grad():
        for i, tensor in enumerate(network.parameters()):
            tensor.copy_(gaussian(*tensor.shape, seed=100 * seed + i) / tensor[0].numel() ** 0.5)
    return network


def initial_of(network, names, seed=50):
    return {name: gaussian(*network.get_parameter(name).shape, seed=seed) / 4 for name in names}


def linear_part(network, initial, x, step=1e-6):
    """Value at the initial parameters, and the derivative along the change, by a central difference."""
    trained = {name: tensor.detach() for name, tensor in network.named_parameters()}

    def output(t):
        moved = {name: tensor + t * (trained[name] - tensor) for name, tensor in initial.items()}
        return torch.func.functional_call(network, trained | moved, (x,)).detach()

    return output(0), (output(step) - output(-step)) / (2 * step)


# The expansion


def test_a_rectified_layer_keeps_the_gates_of_its_initial_weights():
    # V relu(W x + b) is V g (W x + b) with the gates g = [W x + b > 0]; linearised, the gates are those of the initial W.
    network = with_weights(nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3)), seed=1)
    (start,) = (initial := initial_of(network, ["0.weight"])).values()
    x = gaussian(40, 6, seed=2)
    first, last = network[0], network[2]
    gates = x @ start.T + first.bias > 0
    expected = gates * (x @ first.weight.T + first.bias) @ last.weight.T + last.bias
    assert not torch.equal(gates, first(x) > 0)
    torch.testing.assert_close(linearize(network, initial)(x), expected.detach())


def test_a_squared_weight_becomes_its_tangent():
    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([3.0]))

        def forward(self, x):
            return self.weight**2 * x

    # (w^2)' = 2 w: 2^2 + 2 * 2 * (3 - 2) = 8.
    assert linearize(Square(), {"weight": torch.tensor([2.0])})(torch.ones(1)).item() == 8


@pytest.mark.parametrize("names", [["dense2.weight"], ["dense1.weight", "dense3.weight", "dense3.bias"]])
def test_the_expansion_of_an_mlp_is_value_plus_finite_difference(names):
    network = with_weights(build_network("mlp512", shape=(1, 8, 8), n_classes=10), seed=3)
    initial, x = initial_of(network, names), gaussian(5, 64)
    value, slope = linear_part(network, initial, x)
    assert slope.abs().min() > 1e-4
    torch.testing.assert_close(linearize(network, initial)(x), value + slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["conv1.weight", "conv2.weight", "dense1.weight"])
def test_the_expansion_of_mini_alexnet_is_value_plus_finite_difference(name):
    network = with_weights(build_network("minialexnet", shape=(1, 8, 8), n_classes=10), seed=4)
    initial, x = initial_of(network, [name]), gaussian(2, 64)
    value, slope = linear_part(network, initial, x)
    assert slope.abs().max() > 1e-3
    torch.testing.assert_close(linearize(network, initial)(x), value + slope, rtol=1e-5, atol=1e-6)


def test_the_error_of_the_expansion_is_quadratic_in_the_change():
    network = with_weights(nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 3)), seed=1)
    weight, x = network[0].weight.detach(), gaussian(40, 6, seed=2)
    direction = gaussian(20, 6, seed=9)
    errors = [(linearize(network, {"0.weight": weight - t * direction})(x) - network(x)).norm().item() for t in (0.01, 0.005)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)


def test_a_network_linear_in_the_layer_equals_its_linearisation():
    network = with_weights(build_network("mlp512", shape=(1, 8, 8), n_classes=10), seed=3)
    x = gaussian(5, 64)
    last = linearize(network, initial_of(network, ["dense4.weight", "dense4.bias"]))
    torch.testing.assert_close(last(x), network(x).detach())
    second = linearize(network, initial_of(network, ["dense2.weight"]))
    assert (second(x) - network(x)).abs().max() > 0.01


def test_at_unmoved_weights_the_linearisation_is_the_network():
    network = with_weights(build_network("mlp512", shape=(1, 8, 8), n_classes=10), seed=3)
    unmoved = {"dense2.weight": network.dense2.weight.detach().clone()}
    torch.testing.assert_close(linearize(network, unmoved)(x := gaussian(5, 64)), network(x).detach())


def test_the_examples_of_the_documentation_are_right():
    result = doctest.testmod(linearization)
    assert result.attempted >= 4
    assert result.failed == 0


@pytest.mark.parametrize(
    ("initial", "got"),
    [({}, "none"), ({"weigth": torch.ones(2, 3)}, r"weigth \(2, 3\)"), ({"weight": torch.ones(3, 2)}, r"weight \(3, 2\)")],
)
def test_initial_values_that_do_not_fit_are_refused(initial, got):
    with pytest.raises(ValueError, match=rf"parameters of the network, weight \(2, 3\), bias \(2,\); got {got}"):
        linearize(nn.Linear(3, 2), initial)


# The accuracy of a run


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """Far from linear: a small alpha."""
    config = TrainingConfig(laziness=0.05, epochs=4, batch_size=96, learning_rate=0.002, seed=7)
    return train(config, folder=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def lazy(tmp_path_factory):
    config = TrainingConfig(laziness=5.0, epochs=4, batch_size=96, learning_rate=0.003, seed=7)
    return train(config, folder=tmp_path_factory.mktemp("runs"), progress=False)


def copy_of(run, folder, keep=lambda name: True, change=lambda name, tensor: tensor):
    """A finished run that holds some of the tensors, as the book keeps them."""
    path = folder / run.name
    path.mkdir()
    tensors = {name: change(name, tensor) for name, tensor in load_file(run.weights_file).items() if keep(name)}
    save_file(tensors, path / "weights.safetensors")
    (path / "history.csv").write_bytes((run.path / "history.csv").read_bytes())
    record = json.loads((run.path / "run.json").read_text())
    record["sha256"] = {file: file_sha256(path / file) for file in record["sha256"]}
    (path / "run.json").write_text(json.dumps(record))
    return load_run(path.name, folder=folder)


def numpy_accuracies(run, layers, data, biases=False):
    """Forward differentiation by hand, in float64: each activation with its derivative along the change of the parameters."""
    saved = {name: tensor.astype(np.float64) for name, tensor in load_file(run.weights_file).items()}

    def share(images, labels):
        a, da = images.astype(np.float64), np.zeros(images.shape)
        for name in LAYERS:
            trained = saved[f"trained.{name}.weight"], saved[f"trained.{name}.bias"]
            W = saved[f"initial.{name}.weight"] if name in layers else trained[0]
            b = saved[f"initial.{name}.bias"] if name in layers and biases else trained[1]
            z, dz = a @ W.T + b, a @ (trained[0] - W).T + da @ W.T + trained[1] - b
            a, da = (z, dz) if name == LAYERS[-1] else (np.maximum(z, 0), dz * (z > 0))
        return np.mean((a + da).argmax(axis=1) == labels)

    return share(data.train_images, data.train_labels), share(data.test_images, data.test_labels)


@pytest.mark.parametrize("layer", ["dense2", "dense1", None])
def test_accuracies_are_those_of_a_forward_differentiation_by_hand(layer, rich, digits):
    expected = numpy_accuracies(rich, LAYERS if layer is None else (layer,), digits)
    found = linearized_accuracy(rich, layer, digits)
    # One image in 360 may fall on the other side.
    assert (found.train, found.test) == pytest.approx(expected, abs=0.003)
    assert found.train < rich.train_accuracy - 0.01


def test_around_the_last_layer_the_accuracy_is_that_of_the_run(rich, digits):
    for biases in (False, True):
        found = linearized_accuracy(rich, "dense4", digits, biases=biases)
        assert (found.train, found.test) == pytest.approx((rich.train_accuracy, rich.test_accuracy), abs=0.003)


def test_a_lazy_network_is_nearer_to_its_linearisation_than_a_rich_one(rich, lazy, digits):
    for layer, biases in (("dense1", False), (None, True)):
        gaps = [run.train_accuracy - linearized_accuracy(run, layer, digits, biases=biases).train for run in (rich, lazy)]
        assert abs(gaps[1]) < 0.05 < gaps[0]


def test_initial_tensors_that_were_not_kept_are_drawn_from_the_seed(rich, digits, tmp_path):
    kept = copy_of(rich, tmp_path, lambda name: name.startswith("trained.") or ".dense2." in name)
    assert "initial.dense1.weight" not in load_file(kept.weights_file)
    for layer in ("dense2", "dense1", None):
        assert linearized_accuracy(kept, layer, digits) == linearized_accuracy(rich, layer, digits)


def test_initial_tensors_that_were_kept_are_taken_from_the_file(rich, digits, tmp_path):
    trained = load_file(rich.weights_file)["trained.dense2.weight"]
    unmoved = copy_of(rich, tmp_path, change=lambda name, t: trained if name == "initial.dense2.weight" else t)
    found = linearized_accuracy(unmoved, "dense2", digits)
    assert (found.train, found.test) == (rich.train_accuracy, rich.test_accuracy)


def test_biases_stay_trained_unless_they_are_asked_for(rich, digits):
    by_hand = [numpy_accuracies(rich, LAYERS, digits, biases=biases)[0] for biases in (False, True)]
    assert abs(by_hand[0] - by_hand[1]) > 0.01
    found = [linearized_accuracy(rich, None, digits, biases=biases).train for biases in (False, True)]
    assert found == pytest.approx(by_hand, abs=0.003)


def test_a_missing_trained_tensor_is_named(rich, digits, tmp_path):
    kept = copy_of(rich, tmp_path, lambda name: ".dense2." in name or name == "trained.dense1.weight")
    message = r"keeps no trained dense1.bias, dense3.weight, dense3.bias, dense4.weight, dense4.bias; .* train the run again"
    with pytest.raises(RunError, match=message):
        linearized_accuracy(kept, "dense2", digits)


def test_tensors_of_another_network_are_refused(rich, digits, tmp_path):
    other = copy_of(rich, tmp_path, change=lambda name, t: t[:500] if name == "trained.dense3.weight" else t)
    with pytest.raises(RunError, match=r"trained.dense3.weight must have the shape \(512, 512\); got \(500, 512\)"):
        linearized_accuracy(other, "dense2", digits)


@pytest.mark.parametrize("layer", ["dense5", "dense2.weight", "all", 2])
def test_an_unknown_layer_is_refused(layer, rich, digits):
    with pytest.raises(ValueError, match=f"one of dense1, dense2, dense3, dense4, or None for all of them; got {layer!r}"):
        linearized_accuracy(rich, layer, digits)


def test_data_of_another_set_are_refused(rich, digits):
    with pytest.raises(ValueError, match="data must be digits, which .* was trained on; got cifar10"):
        linearized_accuracy(rich, "dense2", replace(digits, name="cifar10"))


def test_data_on_which_the_run_has_another_accuracy_are_refused(rich, digits):
    shuffled = replace(digits, test_images=digits.test_images[::-1].copy())
    with pytest.raises(ValueError, match=r"its test accuracy is \d+\.\d\d% on them, and \d+\.\d\d% was recorded; .*'image'"):
        linearized_accuracy(rich, "dense2", shuffled)


def test_a_convolution_of_a_run_can_be_linearised(digits, tmp_path, monkeypatch):
    few = replace(digits, train_images=digits.train_images[:64], train_labels=digits.train_labels[:64])
    few = replace(few, test_images=digits.test_images[:32], test_labels=digits.test_labels[:32])
    monkeypatch.setattr("rmtlib.learning.training.load_dataset", lambda *args, **options: few)
    config = TrainingConfig(network="minialexnet", epochs=2, batch_size=16, learning_rate=0.01, weight_decay=2e-4)
    run = train(config, folder=tmp_path, progress=False)
    found = linearized_accuracy(run, "conv2", few)
    network, start = build_network("minialexnet", shape=few.shape, n_classes=10), {}
    initialize(network, config.seed)
    start["conv2.weight"] = network.conv2.weight.detach().clone()
    saved = load_file(run.weights_file)
    network.load_state_dict({name: torch.from_numpy(saved[f"trained.{name}"]) for name in network.state_dict()})
    logits = linearize(network, start)(torch.from_numpy(few.test_images))
    assert found.test == pytest.approx(np.mean(logits.argmax(1).numpy() == few.test_labels), abs=0.04)
    assert isinstance(found, LinearizedAccuracy)


def test_the_logits_of_a_centred_run_are_linearised_from_zero(digits, tmp_path):
    config = TrainingConfig(epochs=2, batch_size=480, learning_rate=0.01, laziness=5, centred=True)
    run = train(config, folder=tmp_path, progress=False)
    saved, build = load_file(run.weights_file), lambda: build_network("mlp512", shape=digits.shape, n_classes=10)
    networks = {}
    for when in ("initial", "trained"):
        networks[when] = build().requires_grad_(False)
        networks[when].load_state_dict(
            {key.removeprefix(f"{when}."): torch.from_numpy(tensor) for key, tensor in saved.items() if key.startswith(when)}
        )
    x = torch.from_numpy(digits.test_images)
    start = {"dense2.weight": torch.from_numpy(saved["initial.dense2.weight"])}
    logits = linearize(networks["trained"], start)(x) - networks["initial"](x)
    expected = np.mean(logits.argmax(1).numpy() == digits.test_labels)
    assert linearized_accuracy(run, "dense2", digits).test == pytest.approx(expected, abs=0.003)
    uncentred = np.mean(linearize(networks["trained"], start)(x).argmax(1).numpy() == digits.test_labels)
    assert abs(uncentred - expected) > 0.01
