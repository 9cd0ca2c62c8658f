"""The same training in Keras: the framework of the paper, to see that nothing depends on it (needs TensorFlow)."""

from __future__ import annotations

import os

import numpy as np

from ..ensembles import glorot_uniform
from .architectures import HIDDEN_WIDTHS
from .datasets import load_dataset
from .training import ConfigError, TrainingConfig

__all__ = ["train_in_keras"]


def train_in_keras(config: TrainingConfig, *, data_folder=None) -> dict[str, np.ndarray]:
    """Train a fully connected network in Keras, from the initial weights and on the batches of `rmtlib.learning.train`.

    Parameters
    ----------
    config : TrainingConfig
        Of a fully connected network without weight decay, label noise and centred logits.
    data_folder : path, optional
        Where CIFAR-10 lies, see `rmtlib.learning.datasets.load_dataset`.

    Returns
    -------
    dict of str to numpy.ndarray
        Trained weights by layer, ``"dense1"`` first, of shape ``(n_out, n_in)`` as torch stores them.

    Raises
    ------
    ConfigError
        If the network is not fully connected, weights decay, labels are noisy, or logits are centred.

    Notes
    -----
    Two things differ from the training in torch. Sums run in another order, so that weights part in their last digits and then
    further. And Keras keeps the velocity ``-rate * gradient`` where torch keeps the gradient: when the rate falls after an epoch,
    the steps already under way keep the old one in Keras.
    """
    if config.network not in HIDDEN_WIDTHS:
        msg = f"network must be one of {', '.join(HIDDEN_WIDTHS)} in Keras; got {config.network!r}"
        raise ConfigError(msg)
    for name in ("weight_decay", "label_noise", "centred"):
        if getattr(config, name):
            msg = f"{name} must be 0 in Keras; got {getattr(config, name)}"
            raise ConfigError(msg)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    data = load_dataset(config.dataset, folder=data_folder, standardization=config.standardization)
    images, labels = data.train_images.reshape(len(data.train_images), -1), data.train_labels
    widths = (images.shape[1], *HIDDEN_WIDTHS[config.network], data.n_classes)
    names = [f"dense{i}" for i in range(1, len(widths))]
    layers = [
        keras.layers.Dense(width, "relu" if name != names[-1] else None, name=name)
        for name, width in zip(names, widths[1:], strict=True)
    ]
    model = keras.Sequential([keras.Input((widths[0],)), *layers])
    for i, layer in enumerate(layers, start=1):
        kernel = glorot_uniform((widths[i], widths[i - 1]), [config.seed, i]).T
        layer.set_weights([kernel, np.zeros(widths[i])])

    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(config.learning_rate, momentum=config.momentum)
    model.compile(optimizer, lambda target, z: entropy(target, config.laziness * z) / config.laziness**2)
    for epoch in range(config.epochs):
        optimizer.learning_rate = config.learning_rate * config.learning_rate_decay ** (epoch // config.decay_every)
        order = np.random.default_rng([config.seed, epoch]).permutation(len(labels))
        model.fit(images[order], labels[order], batch_size=config.batch_size, shuffle=False, verbose=0)
    return {layer.name: layer.get_weights()[0].T for layer in layers}
