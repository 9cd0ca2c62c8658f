"""The network of a finished run, as its training began and as it ended."""

from __future__ import annotations

from safetensors.torch import load_file

from ..runs import Run, RunError
from .architectures import Network, build_network, initialize
from .datasets import N_CLASSES, SHAPES

__all__ = ["initial_network", "load_network"]


def load_network(run: Run) -> Network:
    """The network of a run with its trained weights, ready to be evaluated.

    Parameters
    ----------
    run : Run
        Its weights file must hold the trained tensors of all layers.

    Returns
    -------
    Network
        Its parameters ask for no gradient. Called on images it gives the logits that were trained: those of a centred run are
        the network's minus those of the initial network.

    Raises
    ------
    RunError
        If the file lacks a trained tensor, or a tensor has not the shape that the network needs.
    """
    network, saved = _network(run), load_file(run.weights_file)
    missing = [name for name in network.state_dict() if f"trained.{name}" not in saved]
    if missing:
        msg = (
            f"run {run.name!r} keeps no trained {', '.join(missing)}; its network needs the trained tensors of all layers: "
            "train the run again under another name"
        )
        raise RunError(msg)
    _require_shapes(run, network, saved)
    network.load_state_dict({name: saved[f"trained.{name}"] for name in network.state_dict()})
    if run.config["centred"]:
        start = initial_network(run)
        network.register_forward_hook(lambda _, images, logits: logits - start(*images))
    return network.requires_grad_(False).eval()


def initial_network(run: Run) -> Network:
    """The network of a run before its training: tensors that the file does not hold are drawn again from the seed.

    Parameters
    ----------
    run : Run

    Returns
    -------
    Network
        Its parameters ask for no gradient.

    Raises
    ------
    RunError
        If a tensor of the file has not the shape that the network needs.
    """
    network, saved = _network(run), load_file(run.weights_file)
    _require_shapes(run, network, saved)
    initialize(network, run.config["seed"])
    kept = {name: saved[f"initial.{name}"] for name in network.state_dict() if f"initial.{name}" in saved}
    network.load_state_dict(kept, strict=False)
    return network.requires_grad_(False).eval()


def _network(run):
    return build_network(run.config["network"], shape=SHAPES[run.config["dataset"]], n_classes=N_CLASSES)


def _require_shapes(run, network, saved):
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    for key, tensor in saved.items():
        shape = expected.get(key.partition(".")[2], tensor.shape)
        if tensor.shape != shape:
            msg = f"run {run.name!r}: {key} must have the shape {tuple(shape)}; got {tuple(tensor.shape)}"
            raise RunError(msg)
