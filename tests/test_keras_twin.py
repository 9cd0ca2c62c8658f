"""One network in two frameworks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import rmtlib
from rmtlib.learning.keras_twin import train_in_keras
from rmtlib.learning.training import ConfigError, TrainingConfig, train

CONFIG = TrainingConfig(epochs=5, laziness=0.5)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    run = train(CONFIG, folder=tmp_path_factory.mktemp("torch"), progress=False)
    torch = {name: layer.matrix for name, layer in rmtlib.load_weights(run, min_levels=2).items()}
    initial = {name: layer.matrix for name, layer in rmtlib.load_weights(run, initial=True, min_levels=2).items()}
    return torch, train_in_keras(CONFIG), initial


def test_both_frameworks_move_the_weights_alike(networks):
    torch, keras, initial = networks
    assert list(torch) == list(keras) == ["dense1", "dense2", "dense3", "dense4"]
    for name in torch:
        moved = np.linalg.norm(torch[name] - initial[name])
        assert moved > 0.05 * np.linalg.norm(initial[name])
        assert np.linalg.norm(torch[name] - keras[name]) < 0.04 * moved


def test_both_frameworks_give_the_same_spectral_statistics(networks):
    torch, keras = (rmtlib.analyse(weights["dense2"]) for weights in networks[:2])
    null = rmtlib.analyse(networks[2]["dense2"])
    # Agreement is asked for where it says something: far closer than two random matrices, or trained and initial weights, are.
    assert abs(torch.nu[-1] - keras.nu[-1]) < 0.05 * abs(torch.nu[-1] - null.nu[-1])
    assert torch.bulk.nu_plus == pytest.approx(keras.bulk.nu_plus, rel=0.005)
    assert abs(torch.bulk.n_outliers - keras.bulk.n_outliers) <= 1
    for one, other in ((torch, keras), (keras, torch)):
        curve = one.number_variance
        assert np.all(np.abs(curve.values - other.number_variance.values) < 0.5 * curve.standard_errors)
        assert one.spacing.calibrated_pvalue > 0.05
    for side in ("input", "output"):
        band = getattr(torch, side).band
        assert np.abs(getattr(torch, side).moving_mean - getattr(keras, side).moving_mean).max() < (band[1] - band[0]) / 2


def test_networks_that_the_twin_cannot_train_are_refused():
    with pytest.raises(ConfigError, match="network must be one of mlp512, mlp1024 in Keras; got 'minialexnet'"):
        train_in_keras(replace(CONFIG, dataset="cifar10", network="minialexnet"))
    with pytest.raises(ConfigError, match="weight_decay must be 0 in Keras; got 0.1"):
        train_in_keras(replace(CONFIG, weight_decay=0.1))
    with pytest.raises(ConfigError, match="label_noise must be 0 in Keras; got 0.2"):
        train_in_keras(replace(CONFIG, label_noise=0.2))
