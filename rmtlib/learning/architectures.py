r"""The networks of the paper as ``torch.nn.Sequential`` models with named layers; they map flat images to logits.

Initial weights are Glorot uniform with zero biases (appendix A). Each layer draws from a stream of its own,
``default_rng([seed, layer])``, so that the initial matrix of a layer can be made again from its shape alone.

miniAlexNet is *reconstructed*: the table of the paper that lists its layers is lost, what is left is the legend. It is read as

    random crop to 28 x 28, convolution 5 x 5 with 300 filters, response normalisation, max pooling 3 x 3, convolution 5 x 5 with
    150 filters, response normalisation, max pooling 3 x 3, flattening, dense layers of 384, 192 and 10,

the shape of the small AlexNet of Zhang et al. and of TensorFlow's CIFAR-10 tutorial. A rectified linear unit follows each layer
with weights but the last. Padding is that tutorial's, "same" for convolutions and (where sides are even, as here) for pooling;
pooling has stride 2, so that the pictures have sides of 28, 14 and 7. Each image is cropped at a place of its own in training,
and at the centre in evaluation.

The group's later code suggests another reading, ``minialexnet3x3``: the second convolution is 3 x 3, images are not cropped,
responses are not normalised, and only the first two dense layers are regularised.

References
----------
Zhang, Bengio, Hardt, Recht and Vinyals, ICLR (2017), arXiv 1611.03530.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..ensembles import glorot_uniform

__all__ = ["NETWORKS", "LocalResponseNorm", "Network", "build_network", "initialize"]

HIDDEN_WIDTHS = {"mlp512": (512, 512, 512), "mlp1024": (1024, 512, 512)}
NETWORKS = (*HIDDEN_WIDTHS, "minialexnet", "minialexnet3x3")


class Network(nn.Sequential):
    """Named layers, from flat images of shape ``(records, channels * height * width)`` to logits.

    Attributes
    ----------
    evaluation_batch : int
        Images to evaluate at a time: as many as fill the processor without filling the memory.
    """

    evaluation_batch = 1000

    def augment(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """The images of one batch as training is to see them: unchanged, unless the network crops."""
        return images

    def is_decayed(self, name: str, parameter: torch.Tensor) -> bool:
        """Whether weight decay acts on a parameter: on weights, not on biases."""
        return parameter.ndim > 1


class _DenseDecayNetwork(Network):
    evaluation_batch = 100

    def is_decayed(self, name, parameter):
        return name in ("dense1.weight", "dense2.weight")


class _CroppingNetwork(Network):
    crop: _Crop
    evaluation_batch = 100

    def augment(self, images, rng):
        pictures, (height, width) = images.unflatten(1, self.crop.shape), self.crop.size
        top = rng.integers(pictures.shape[2] - height + 1, size=len(images)).tolist()
        left = rng.integers(pictures.shape[3] - width + 1, size=len(images)).tolist()
        corners = zip(pictures, top, left, strict=True)
        return torch.stack([picture[:, y : y + height, x : x + width] for picture, y, x in corners])


def build_network(name: str, *, shape: tuple[int, int, int], n_classes: int) -> Network:
    """An untrained network; call ``initialize`` for the paper's initial weights.

    Parameters
    ----------
    name : {"mlp512", "mlp1024", "minialexnet", "minialexnet3x3"}
        Hidden widths 512, 512, 512 and 1024, 512, 512 with layers ``dense1`` to ``dense4``; both readings of miniAlexNet with
        layers ``conv1``, ``conv2`` and ``dense1`` to ``dense3``.
    shape : tuple of int
        Channels, height and width of one input image.
    n_classes : int
        Number of output logits.

    Raises
    ------
    ValueError
        If the name is unknown, or the images are too small to be pooled twice.

    Notes
    -----
    miniAlexNet crops to 7/8 of height and width, 28 of the 32 pixels of CIFAR-10; ``minialexnet3x3`` does not crop. Its L2
    regularisation of 1e-4 is meant in the convention of Keras, a cost of ``1e-4 * sum W^2``: give
    `rmtlib.learning.TrainingConfig` a ``weight_decay`` of 2e-4.
    """
    if name not in NETWORKS:
        msg = f"network must be one of {', '.join(NETWORKS)}; got {name!r}"
        raise ValueError(msg)
    if name == "minialexnet":
        return _mini_alexnet(shape, n_classes)
    if name == "minialexnet3x3":
        return _mini_alexnet_3x3(shape, n_classes)
    widths = (shape[0] * shape[1] * shape[2], *HIDDEN_WIDTHS[name], n_classes)
    return Network(_dense(widths))


def _dense(widths):
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (n_in, n_out) in enumerate(zip(widths, widths[1:], strict=False), start=1):
        layers[f"dense{i}"] = nn.Linear(n_in, n_out)
        layers[f"relu{i}"] = nn.ReLU()
    layers.popitem()
    return layers


def _mini_alexnet(shape, n_classes):
    _require_pixels(shape, "minialexnet")
    crop = _Crop(shape, tuple(7 * n // 8 for n in shape[1:]))
    layers: OrderedDict[str, nn.Module] = OrderedDict(crop=crop)
    for i, (n_in, n_out) in enumerate([(shape[0], 300), (300, 150)], start=1):
        layers[f"conv{i}"] = nn.Conv2d(n_in, n_out, 5, padding="same")
        layers[f"conv{i}_relu"] = nn.ReLU()
        layers[f"norm{i}"] = LocalResponseNorm()
        layers[f"pool{i}"] = nn.MaxPool2d(3, 2, ceil_mode=True)
    return _CroppingNetwork(layers | _head(crop.size, n_classes))


def _mini_alexnet_3x3(shape, n_classes):
    _require_pixels(shape, "minialexnet3x3")
    layers: OrderedDict[str, nn.Module] = OrderedDict(crop=_Crop(shape, shape[1:]))
    for i, (n_in, n_out, side) in enumerate([(shape[0], 300, 5), (300, 150, 3)], start=1):
        layers[f"conv{i}"] = nn.Conv2d(n_in, n_out, side, padding="same")
        layers[f"conv{i}_relu"] = nn.ReLU()
        layers[f"pool{i}"] = nn.MaxPool2d(3, 2, ceil_mode=True)
    return _DenseDecayNetwork(layers | _head(shape[1:], n_classes))


def _require_pixels(shape, name):
    if min(shape[1:]) < 8:
        msg = f"shape must hold images of at least 8 x 8 pixels for {name}; got {shape}"
        raise ValueError(msg)


def _head(size, n_classes):
    height, width = (n // 2 // 2 for n in size)
    return {"flatten": nn.Flatten()} | _dense((150 * height * width, 384, 192, n_classes))


class _Crop(nn.Module):
    """The centre of flat images, or of pictures; pictures of the right size are left as they are."""

    def __init__(self, shape, size):
        super().__init__()
        self.shape, self.size = shape, size

    def forward(self, x):
        x = x.unflatten(1, self.shape) if x.ndim == 2 else x
        for axis, size in zip((2, 3), self.size, strict=True):
            x = x.narrow(axis, (x.shape[axis] - size) // 2, size)
        # Channels last, because convolutions, normalisation and pooling keep this order and are faster in it.
        return x.contiguous(memory_format=torch.channels_last)


class LocalResponseNorm(nn.Module):
    r"""Divide by the root of the local energy across channels, as ``tf.nn.local_response_normalization`` does for beta = 1/2.

    .. math:: y_c = x_c \Bigl(b + \alpha \sum_{|c' - c| \le r} x_{c'}^2\Bigr)^{-1/2}

    Parameters
    ----------
    depth_radius : int
        Channels r on either side; the window is cut off at the first and the last channel.
    bias, alpha : float
        b and alpha; the defaults are those of the paper.

    Notes
    -----
    The same as ``torch.nn.LocalResponseNorm(2 * r + 1, alpha=(2 * r + 1) * alpha, beta=0.5, k=bias)``, which averages where
    TensorFlow sums, and several times faster. Backward and forward derivatives are written out, as the sum over the window is its
    own adjoint; second derivatives are refused.
    """

    def __init__(self, depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0):
        super().__init__()
        self.depth_radius, self.bias, self.alpha = depth_radius, bias, alpha

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise pictures of shape ``(records, channels, height, width)``."""
        return _Normalize.apply(x, self.depth_radius, self.bias, self.alpha)[0]

    def extra_repr(self) -> str:
        return f"depth_radius={self.depth_radius}, bias={self.bias}, alpha={self.alpha}"


class _Normalize(torch.autograd.Function):
    # Image by image wherever a window is summed: one image stays in the cache, a batch does not.

    @staticmethod
    def forward(x, radius, bias, alpha):
        scale = torch.empty_like(x)
        for one, result in zip(x.split(1), scale.split(1), strict=True):
            torch.rsqrt(_window_sum(one * one, radius).mul_(alpha).add_(bias), out=result)
        return x * scale, scale

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.radius, _, ctx.alpha = inputs
        ctx.save_for_backward(x, output[1])
        ctx.save_for_forward(x, output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx, gradient, _):
        x, scale = ctx.saved_tensors
        result = torch.empty_like(x)
        for x1, s, g, out in zip(x.split(1), scale.split(1), gradient.split(1), result.split(1), strict=True):
            g = g * s
            torch.sub(g, _window_sum(g * s * s * x1, ctx.radius).mul_(x1).mul_(ctx.alpha), out=out)
        return result, None, None, None

    @staticmethod
    def jvp(ctx, tangent, *_):
        x, scale = ctx.saved_tensors
        return tangent * scale - ctx.alpha * x * scale**3 * _window_sum(x * tangent, ctx.radius), None


def _window_sum(x, radius):
    """Sums over the channels from c - radius to c + radius, as far as they exist."""
    # Sums of few terms: differences of a cumulative sum would lose digits.
    padded = F.pad(x, (0, 0, 0, 0, radius, radius))
    total = padded.narrow(1, 0, x.shape[1]).clone()
    for shift in range(1, 2 * radius + 1):
        total += padded.narrow(1, shift, x.shape[1])
    return total


def initialize(network: nn.Module, seed: int) -> None:
    """Fill weights with Glorot uniform draws and biases with zeros, in place.

    Parameters
    ----------
    network : torch.nn.Module
        Its tensors of two or more dimensions are weights, counted from 1 in the order of definition.
    seed : int
        Seed of the streams ``[seed, layer]``.
    """
    layer = 0
    with torch.no_grad():
        for tensor in network.parameters():
            if tensor.ndim < 2:
                tensor.zero_()
                continue
            layer += 1
            tensor.copy_(torch.from_numpy(glorot_uniform(tuple(tensor.shape), [seed, layer])))
