r"""A trained network linearised around the initial weights of one layer (appendix D of the paper).

With the logits :math:`z(W)` as a function of the weights of one layer, everything else at its trained value, the linearised
network has the logits

.. math:: z_\mathrm{lin}(x) = z_{W_0}(x) + \frac{\partial z_W(x)}{\partial W}\Big|_{W_0} \cdot (W - W_0),

:math:`W_0` the initial and :math:`W` the trained weights of the layer. It is not trained: it asks how far the trained network is
linear in what the layer has learned. A lazy network is (large :math:`\alpha`), a rich one is not.

The derivative along :math:`W - W_0` is a Jacobian-vector product by forward differentiation: no Jacobian is ever formed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.func import functional_call, jvp

from ..runs import Run
from .datasets import Dataset
from .trained import initial_network, load_network
from .training import accuracy

__all__ = ["LinearizedAccuracy", "linearize", "linearized_accuracy"]


@dataclass(frozen=True)
class LinearizedAccuracy:
    """Shares in [0, 1] of images that the linearised network classifies rightly.

    Attributes
    ----------
    train, test : float
        On the training and on the test images.
    """

    train: float
    test: float


def linearized_accuracy(run: Run, layer: str | None, data: Dataset, *, biases: bool = False) -> LinearizedAccuracy:
    """Accuracies of a trained network linearised around the initial weights of one layer, or of all layers.

    Parameters
    ----------
    run : Run
        Its weights file must hold the trained tensors of all layers.
    layer : str or None
        Name of the layer, "dense2" for the paper's second layer; None linearises in the weights of all layers together.
    data : Dataset
        The images that the run was trained on, standardised as its configuration says.
    biases : bool
        Linearise in the biases of these layers too, which start at zero. By default they stay at their trained values. With
        ``layer=None`` and ``biases=True`` nothing trained is left but the direction: the tangent model of lazy training.

    Returns
    -------
    LinearizedAccuracy
        To be compared with the run's ``train_accuracy`` and ``test_accuracy``.

    Raises
    ------
    ValueError
        If there is no such layer, or the data are not those of the run: of another data set, or with images for which its trained
        network has another test accuracy than the recorded one.
    RunError
        If the file lacks a trained tensor, or a tensor has not the shape that the network needs.

    Notes
    -----
    Initial tensors that the file does not hold are drawn again from the seed of the run. Images are cropped at the centre, as in
    every evaluation. The cost is about two evaluations of the network on all images.
    """
    if data.name != run.config["dataset"]:
        msg = f"data must be {run.config['dataset']}, which {run.name} was trained on; got {data.name}"
        raise ValueError(msg)
    network = load_network(run)
    layers = [name.removesuffix(".weight") for name, tensor in network.named_parameters() if tensor.ndim > 1]
    if layer is not None and layer not in layers:
        msg = f"layer must be one of {', '.join(layers)}, or None for all of them; got {layer!r}"
        raise ValueError(msg)
    found = accuracy(network, data.test_images, data.test_labels)
    recorded = run.test_accuracy
    if not abs(found - recorded) < 0.005:
        msg = (
            f"data must be the images of {run.name}: its test accuracy is {found:.2%} on them, and {recorded:.2%} was recorded; "
            f"load them with standardization={run.config['standardization']!r}"
        )
        raise ValueError(msg)
    kinds = ("weight", "bias") if biases else ("weight",)
    expanded = [f"{name}.{kind}" for name in layers if layer in (None, name) for kind in kinds]
    initial = initial_network(run).state_dict()
    logits = linearize(network, {name: initial[name] for name in expanded})
    sets = ((data.train_images, data.train_labels), (data.test_images, data.test_labels))
    return LinearizedAccuracy(*(accuracy(logits, *images, network.evaluation_batch) for images in sets))


def linearize(network: torch.nn.Module, initial: Mapping[str, torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network's output to first order in some of its parameters.

    Parameters
    ----------
    network : torch.nn.Module
        A trained network.
    initial : mapping of str to torch.Tensor
        Parameters to linearise in, by their names in ``network.named_parameters()``, with the values to expand around. All others
        stay as they are in the network.

    Returns
    -------
    callable
        Maps inputs to the outputs of the expansion, evaluated at the parameters of the network.

    Raises
    ------
    ValueError
        If ``initial`` is empty, or names a parameter that the network has not, or with another shape.

    Examples
    --------
    The product of two weights, 5 and 3, to first order in the first one around 2 is exact: it is linear in each.

    >>> layers = [torch.nn.Linear(1, 1, bias=False) for _ in range(2)]
    >>> product = torch.nn.Sequential(*layers)
    >>> for layer, weight in zip(product, (5.0, 3.0)):
    ...     _ = torch.nn.init.constant_(layer.weight, weight)
    >>> x, first = torch.ones(1, 1), {"0.weight": torch.tensor([[2.0]])}
    >>> linearize(product, first)(x).item()
    15.0

    In both weights, around 2 and 1, it is not: 2 * 1 + 1 * (5 - 2) + 2 * (3 - 1) = 9.

    >>> both = first | {"1.weight": torch.tensor([[1.0]])}
    >>> linearize(product, both)(x).item()
    9.0
    """
    trained = {name: tensor.detach() for name, tensor in network.named_parameters()}
    wrong = [name for name in initial if name not in trained or trained[name].shape != initial[name].shape]
    if wrong or not initial:
        known = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in trained.items())
        got = ", ".join(f"{name} {tuple(initial[name].shape)}" for name in wrong) or "none"
        msg = f"initial must hold parameters of the network, {known}; got {got}"
        raise ValueError(msg)
    start = {name: tensor.to(trained[name].dtype) for name, tensor in initial.items()}
    change = {name: trained[name] - tensor for name, tensor in start.items()}

    def linearized(inputs):
        value, slope = jvp(lambda weights: functional_call(network, trained | weights, (inputs,)), (start,), (change,))[:2]
        return value + slope

    return linearized
