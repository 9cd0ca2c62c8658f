from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rmtlib import runs
from rmtlib.learning import TrainingConfig, build_network, load_dataset, load_network, train
from rmtlib.learning.architectures import NETWORKS
from rmtlib.learning.trained import initial_network
from rmtlib.learning.training import accuracy


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "centred"])
def run(request, tmp_path_factory):
    config = TrainingConfig(epochs=2, batch_size=240, learning_rate=0.01, laziness=2, seed=3, centred=request.param)
    return train(config, folder=tmp_path_factory.mktemp("runs"), progress=False)


def keep(run, folder, kept):
    """A run that holds some of its tensors, as the book keeps them."""
    (folder / run.name).mkdir()
    save_file(
        {name: t for name, t in load_file(run.weights_file).items() if kept(name)}, folder / run.name / "weights.safetensors"
    )
    return replace(run, path=folder / run.name)


def test_a_trained_network_has_the_recorded_accuracies(run, digits):
    network = load_network(run)
    assert accuracy(network, digits.test_images, digits.test_labels) == run.test_accuracy
    assert accuracy(network, digits.train_images, digits.train_labels) == run.train_accuracy
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_initial_tensors_are_the_same_read_and_drawn_again(run, tmp_path, digits):
    short = keep(run, tmp_path, lambda name: name.startswith("trained."))
    saved = load_file(run.weights_file)
    for name, tensor in initial_network(short).state_dict().items():
        assert torch.equal(tensor, saved[f"initial.{name}"])
    x = torch.from_numpy(digits.test_images[:20])
    assert torch.equal(load_network(short)(x), load_network(run)(x))


def test_a_missing_tensor_and_one_of_another_shape_are_refused(run, tmp_path):
    short = keep(run, tmp_path, lambda name: "dense2" in name)
    with pytest.raises(
        runs.RunError, match=r"keeps no trained dense1\.weight, dense1\.bias, dense3\.weight, .* train the run again"
    ):
        load_network(short)
    save_file({"initial.dense2.weight": torch.ones(3, 4)}, short.weights_file)
    with pytest.raises(runs.RunError, match=r"initial\.dense2\.weight must have the shape \(512, 512\); got \(3, 4\)"):
        initial_network(short)


@pytest.mark.parametrize("name", NETWORKS)
def test_initial_weights_without_torch_are_those_of_the_network(name, tmp_path):
    network = build_network(name, shape=(1, 8, 8), n_classes=10)
    save_file({f"trained.{key}": tensor for key, tensor in network.state_dict().items()}, tmp_path / "weights.safetensors")
    config = {"network": name, "dataset": "digits", "seed": 11, "centred": False}
    run = runs.Run("some", tmp_path, config, 0.5, 0.5, {})
    drawn = {key: tensor for key, tensor in initial_network(run).state_dict().items() if tensor.ndim > 1}
    assert [f"{layer}.weight" for layer in runs.LAYERS[name]] == list(drawn)
    for key, tensor in drawn.items():
        np.testing.assert_array_equal(runs.initial(run, key.removesuffix(".weight")), tensor.numpy())
