r"""Named networks that others trained on ImageNet: ``rmtlib.load_weights("alexnet")``.

=========  ===========================================================  ==================
name       file                                                         verified by
=========  ===========================================================  ==================
alexnet    torchvision's ``IMAGENET1K_V1``, alexnet-owt-7be5be79.pth    start of SHA-256
vgg19      torchvision's ``IMAGENET1K_V1``, vgg19-dcbb9e9d.pth          start of SHA-256
vgg16      Keras, vgg16_weights_tf_dim_ordering_tf_kernels.h5           MD5
=========  ===========================================================  ==================

These are the sources that the paper names in its appendix A. A file is looked for in the folder that the environment variable
``RMTLIB_DATA`` names, or without it in the user's cache, and is downloaded there once. Its hash is compared whenever it is
opened. PyTorch publishes the first eight digits of each SHA-256, in the file's name, and no more; these are what is compared, as
torch itself does: a damaged file is found out, but a forged one could pass. Such a file is opened as tensors alone, and no code
of it is run. Keras publishes the whole MD5.

Without the internet, put the file there by hand; a copy that torch or Keras downloaded before will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..download import DownloadError, cache_folder, described, download, environment_folder, intact
from .tensors import WeightsError

__all__ = ["NETWORKS", "Network", "fetch", "find", "folder"]


@dataclass(frozen=True)
class Network:
    """A pretrained network and where its weights come from.

    Attributes
    ----------
    name : str
        What `rmtlib.load_weights` takes.
    source : str
        Who publishes the file.
    url : str
        Address of the file.
    known_hash : str
        ``"md5:"`` and the whole hash, or ``"sha256:"`` and its published first digits.
    shapes : mapping of str to tuple of int
        Shape of every tensor in the file, as stored there, by its name in the file.
    top1 : float
        Accuracy in per cent, the first guess on ImageNet's validation images, as the source publishes it.
    """

    name: str
    source: str
    url: str
    known_hash: str
    shapes: Mapping[str, tuple[int, ...]]
    top1: float

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.url.rpartition("/")[2]

    @property
    def parameters(self) -> int:
        """Number of weights and biases, four bytes each."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())


def folder() -> Path:
    """Where the files are looked for and downloaded to: ``RMTLIB_DATA`` if it is set, otherwise the user's cache."""
    return environment_folder() or cache_folder()


def find(name: str) -> Path | None:
    """The file of a network if it is there already, verified; nothing is downloaded.

    Parameters
    ----------
    name : {"alexnet", "vgg16", "vgg19"}

    Returns
    -------
    pathlib.Path or None
        None if there is no such file in `folder`.

    Raises
    ------
    WeightsError
        If the name is unknown, or a file is there but is not the published one.
    """
    network = _network(name)
    path = folder() / network.file
    if not path.is_file():
        return None
    if not intact(path, network.known_hash):
        msg = f"{path} is damaged or not the published file, {described(network.known_hash)}; remove it"
        raise WeightsError(msg)
    return path


def fetch(name: str) -> Path:
    """The verified file of a network, downloaded once, with a progress bar.

    Parameters
    ----------
    name : {"alexnet", "vgg16", "vgg19"}

    Returns
    -------
    pathlib.Path
        In `folder`.

    Raises
    ------
    WeightsError
        If the name is unknown or the download fails: the message says which file to put where. No part of a file is left behind.

    Notes
    -----
    An interrupted download starts again from the beginning. A file of that name with another hash is replaced.
    """
    network = _network(name)
    try:
        return download(network.url, network.known_hash, folder())
    except DownloadError as error:
        damaged = " in place of the damaged one there" if (folder() / network.file).is_file() else ""
        msg = (
            f"{name} could not be downloaded ({error}): put {network.file} from {network.url}, "
            f"{described(network.known_hash)}, into {folder()}{damaged}"
        )
        raise WeightsError(msg) from error


def _network(name: str) -> Network:
    if name not in NETWORKS:
        msg = f"name must be one of the pretrained networks {', '.join(NETWORKS)}; got {name!r}"
        raise WeightsError(msg)
    return NETWORKS[name]


def _torch_shapes(convolutions: dict[int, tuple[int, int, int]], dense: dict[int, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    """Convolutions of (c_out, c_in, k) and dense layers of (n_out, n_in) by their place in torchvision's two blocks."""
    kernels = {f"features.{i}": (c_out, c_in, k, k) for i, (c_out, c_in, k) in convolutions.items()}
    return _with_biases(kernels | {f"classifier.{i}": shape for i, shape in dense.items()}, ".weight", ".bias", 0)


def _with_biases(weights, weight, bias, outputs):
    return {
        name + ending: shape if ending == weight else (shape[outputs],)
        for name, shape in weights.items()
        for ending in (weight, bias)
    }


def _vgg(convolutions_of_a_block: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """(block, place in it, c_out, c_in) of the 3 x 3 convolutions of a VGG network."""
    layers, c_in = [], 3
    for block, (count, c_out) in enumerate(zip(convolutions_of_a_block, (64, 128, 256, 512, 512), strict=True), start=1):
        for place in range(1, count + 1):
            layers.append((block, place, c_out, c_in))
            c_in = c_out
    return layers


def _alexnet_shapes():
    convolutions = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    return _torch_shapes(convolutions, {1: (4096, 256 * 6 * 6), 4: (4096, 4096), 6: (1000, 4096)})


def _vgg19_shapes():
    # Every convolution is followed by its activation, and every block by its pooling.
    layers = _vgg((2, 2, 4, 4, 4))
    convolutions = {2 * i + block - 1: (c_out, c_in, 3) for i, (block, _, c_out, c_in) in enumerate(layers)}
    return _torch_shapes(convolutions, {0: (4096, 512 * 7 * 7), 3: (4096, 4096), 6: (1000, 4096)})


def _vgg16_shapes():
    kernels: dict[str, tuple[int, ...]] = {
        f"block{block}_conv{place}": (3, 3, c_in, c_out) for block, place, c_out, c_in in _vgg((2, 2, 3, 3, 3))
    }
    kernels |= {"fc1": (512 * 7 * 7, 4096), "fc2": (4096, 4096), "predictions": (4096, 1000)}
    return _with_biases({f"{name}/{name}": shape for name, shape in kernels.items()}, "_W_1:0", "_b_1:0", -1)


NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network(
            "alexnet",
            "PyTorch",
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            "sha256:7be5be79",
            _alexnet_shapes(),
            56.522,
        ),
        Network(
            "vgg16",
            "Keras",
            "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
            "md5:64373286793e3c8b2b4e3219cbf3544b",
            _vgg16_shapes(),
            71.268,
        ),
        Network(
            "vgg19",
            "PyTorch",
            "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
            "sha256:dcbb9e9d",
            _vgg19_shapes(),
            72.376,
        ),
    )
}
