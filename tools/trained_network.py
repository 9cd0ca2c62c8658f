"""The network of a run with its trained weights and its images, for the tools that change weights and measure what that costs."""

import numpy as np
import torch

from rmtlib.learning import load_dataset, load_network


def load_trained(run):
    """The trained network of a run that holds all its tensors, and the images it was trained on."""
    data = load_dataset(run.config["dataset"], standardization=run.config["standardization"])
    return load_network(run), data


def hidden_layers(network):
    """Layers with weights but the last, by name."""
    kinds = torch.nn.Linear | torch.nn.Conv2d
    return dict([(name, module) for name, module in network.named_children() if isinstance(module, kinds)][:-1])


def batches(network, images, until=None):
    """Activations before the module of this name, or logits, as many images at a time as the network evaluates."""
    first = network[: [name for name, _ in network.named_children()].index(until)] if until else network
    for x in torch.from_numpy(images).split(network.evaluation_batch):
        yield first(x)


def correct(network, data):
    """Whether each test image is classified rightly."""
    return torch.cat([logits.argmax(1) for logits in batches(network, data.test_images)]).numpy() == data.test_labels


def accuracies(rightly, unchanged):
    """Accuracy on all test images and both halves, and the paired gain with its standard error over the images."""
    half, gains = len(rightly) // 2, rightly.astype(float) - unchanged
    return {
        "accuracy": rightly.mean(),
        "first_half": rightly[:half].mean(),
        "second_half": rightly[half:].mean(),
        "gain": gains.mean(),
        "gain_error": gains.std(ddof=1) / np.sqrt(len(gains)),
    }
