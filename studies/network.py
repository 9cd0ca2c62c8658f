"""A trained network under study: its hidden layers, its activations, and which images it classifies rightly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from rmtlib.learning import Dataset
from rmtlib.learning.architectures import Network
from rmtlib.runs import Run

__all__ = ["WithWeights", "accuracies", "batches", "hidden_layers", "is_right", "setting"]

WithWeights = torch.nn.Linear | torch.nn.Conv2d


def hidden_layers(network: Network) -> dict[str, WithWeights]:
    """Layers with weights but the last, by name."""
    return dict([(name, module) for name, module in network.named_children() if isinstance(module, WithWeights)][:-1])


def batches(network: Network, images: np.ndarray, until: str | None = None) -> Iterator[torch.Tensor]:
    """Activations before the module of this name, or logits, as many images at a time as the network evaluates."""
    # The whole network, not all of its parts: logits of a centred one are taken from its own call.
    part = network[: [name for name, _ in network.named_children()].index(until)] if until else network
    for x in torch.from_numpy(images).split(network.evaluation_batch):
        yield part(x)


def is_right(network: Network, data: Dataset) -> np.ndarray:
    """Whether each test image is classified rightly, as booleans of shape (images,)."""
    return torch.cat([logits.argmax(1) for logits in batches(network, data.test_images)]).numpy() == data.test_labels


def accuracies(right: np.ndarray, unchanged: np.ndarray) -> dict[str, float]:
    """What a change of the weights does to the classification of the test images.

    Parameters
    ----------
    right, unchanged : numpy.ndarray of bool, shape (images,)
        Whether each image is classified rightly by the changed network, and by the network as it was trained.

    Returns
    -------
    dict
        ``accuracy`` on all images, ``first_half`` and ``second_half`` on halves of them, so that a change can be chosen on one
        half and judged on the other; ``gain`` in accuracy and ``gain_error``, the standard error of the paired difference over
        images.
    """
    half, gains = len(right) // 2, right.astype(float) - unchanged
    return {
        "accuracy": right.mean(),
        "first_half": right[:half].mean(),
        "second_half": right[half:].mean(),
        "gain": gains.mean(),
        "gain_error": gains.std(ddof=1) / np.sqrt(len(gains)),
    }


def setting(run: Run) -> dict[str, object]:
    """The first columns of every table: name, laziness and seed of the run."""
    return {"run": run.name, "laziness": run.config["laziness"], "seed": run.config["seed"]}
