"""Images to learn from: CIFAR-10 in its official binary version, and scikit-learn's digits.

The paper trains on CIFAR-10 and standardises *each image*: its mean is subtracted and it is divided by
its standard deviation (appendix A). Whether the three colour channels share one mean is not said; both
readings are offered as ``standardization="image"`` and ``"channel"``.

Records are put into a canonical order, sorted by the SHA-256 of their bytes, before anything is done with
them. A run therefore depends on the images and on its seed, not on the order in which some archive happens
to hold the images.
"""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import download

__all__ = ["DATASETS", "STANDARDIZATIONS", "Dataset", "DatasetError", "load_dataset", "standardize"]

SHAPES = {"cifar10": (3, 32, 32), "digits": (1, 8, 8)}
DATASETS = tuple(SHAPES)
N_CLASSES = 10
STANDARDIZATIONS = ("image", "channel")

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_HASH = "md5:c32a1d4ab5d03f1284b67883e8d87530"
CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR10_TEST = "test_batch.bin"
CIFAR10_RECORDS = 10_000
_RECORD_BYTES = 1 + 3 * 32 * 32


class DatasetError(ValueError):
    """Images are missing or are not what they should be."""


@dataclass(frozen=True)
class Dataset:
    """Standardised images and their labels, split for training and testing.

    Attributes
    ----------
    name : str
        One of ``DATASETS``.
    shape : tuple of int
        Channels, height and width of one image.
    n_classes : int
        Labels run from 0 to ``n_classes - 1``.
    train_images, test_images : numpy.ndarray
        float32, shape ``(records, channels * height * width)``, standardised.
    train_labels, test_labels : numpy.ndarray
        int64, shape ``(records,)``.
    """

    name: str
    shape: tuple[int, int, int]
    n_classes: int
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load_dataset(name: str, *, folder=None, standardization: str = "image") -> Dataset:
    """Load a data set, standardised and in canonical order.

    Parameters
    ----------
    name : {"cifar10", "digits"}
        CIFAR-10 (50,000 and 10,000 colour images of 32 x 32), or scikit-learn's 1,797 handwritten digits
        of 8 x 8, which need no download.
    folder : path, optional
        Where ``cifar-10-batches-bin`` lies (its parent is accepted too). Without it the environment variable
        ``RMTLIB_DATA`` is read; without that, the official archive is downloaded once, verified and cached.
    standardization : {"image", "channel"}
        Subtract mean and divide by standard deviation of each image, or of each channel of each image.

    Raises
    ------
    DatasetError
        If the name or the standardisation is unknown, or the files are missing, truncated or mislabelled.
    """
    if name not in DATASETS:
        msg = f"name must be one of {', '.join(DATASETS)}; got {name!r}"
        raise DatasetError(msg)
    _require_standardization(standardization)
    train, test = _read_digits() if name == "digits" else _read_cifar10(folder)
    shape, sets = SHAPES[name], []
    for images, labels in (train, test):
        order = _canonical_order(images, labels)
        sets += [standardize(images[order], shape, standardization), labels[order].astype(np.int64)]
    return Dataset(name, shape, N_CLASSES, *sets)


def standardize(images: np.ndarray, shape: tuple[int, int, int], standardization: str) -> np.ndarray:
    """Zero mean and unit variance for each image, or for each channel of each image.

    Parameters
    ----------
    images : array of shape (records, channels * height * width)
        Pixels in any unit.
    shape : tuple of int
        Channels, height and width.
    standardization : {"image", "channel"}
        What is standardised together.

    Returns
    -------
    numpy.ndarray
        float32, of the shape of ``images``. A constant image becomes zero.

    Raises
    ------
    DatasetError
        If ``standardization`` is unknown.
    """
    _require_standardization(standardization)
    groups = 1 if standardization == "image" else shape[0]
    x = images.reshape(len(images), groups, -1).astype(np.float32)
    x -= x.mean(axis=2, keepdims=True)
    deviation = x.std(axis=2, keepdims=True)
    x /= np.where(deviation > 0, deviation, 1)
    return x.reshape(len(images), -1)


def _require_standardization(standardization):
    if standardization not in STANDARDIZATIONS:
        msg = f"standardization must be one of {', '.join(STANDARDIZATIONS)}; got {standardization!r}"
        raise DatasetError(msg)


def _canonical_order(images, labels):
    keys = [hashlib.sha256(bytes([label]) + image.tobytes()).digest() for image, label in zip(images, labels, strict=True)]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__))


def _read_digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels, labels = digits.data.astype(np.uint8), digits.target.astype(np.uint8)
    test = np.arange(len(labels)) % 5 == 0
    return (pixels[~test], labels[~test]), (pixels[test], labels[test])


def _read_cifar10(folder):
    folder = folder or download.environment_folder()
    read = _read_archive_members(download_cifar10()) if folder is None else _folder_reader(Path(folder))
    parts = [_decode(name, read(name)) for name in CIFAR10_TRAIN]
    train = tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return train, _decode(CIFAR10_TEST, read(CIFAR10_TEST))


def _folder_reader(folder: Path):
    inside = folder / CIFAR10_FOLDER if (folder / CIFAR10_FOLDER).is_dir() else folder
    missing = [name for name in (*CIFAR10_TRAIN, CIFAR10_TEST) if not (inside / name).is_file()]
    if missing:
        msg = f"folder {str(folder)!r} holds no CIFAR-10: {', '.join(missing)} missing. {_both_ways()}"
        raise DatasetError(msg)
    return lambda name: (inside / name).read_bytes()


def _read_archive_members(path):
    with tarfile.open(path) as archive:
        files = {Path(member.name).name: archive.extractfile(member) for member in archive if member.name.endswith(".bin")}
        members = {name: file.read() for name, file in files.items() if file is not None}
    return members.__getitem__


def download_cifar10(url: str = CIFAR10_URL, known_hash: str = CIFAR10_HASH, cache=None) -> str:
    """Path of the verified archive in the cache; nothing is left there unless the hash is right."""
    try:
        return str(download.download(url, known_hash, cache or download.cache_folder()))
    except download.DownloadError as error:
        msg = f"CIFAR-10 could not be downloaded from {url}: {error}. {_both_ways()}"
        raise DatasetError(msg) from error


def _both_ways() -> str:
    return (
        f"Either unpack {CIFAR10_URL} and give the folder {CIFAR10_FOLDER} by the parameter data_folder or the "
        "environment variable RMTLIB_DATA, or give neither and be online: the archive is then downloaded once."
    )


def _decode(name: str, raw: bytes):
    expected = CIFAR10_RECORDS * _RECORD_BYTES
    if len(raw) != expected:
        msg = (
            f"{name} has {len(raw)} bytes where the binary version of CIFAR-10 has {expected}: "
            "the file is truncated or of another format"
        )
        raise DatasetError(msg)
    records = np.frombuffer(raw, np.uint8).reshape(CIFAR10_RECORDS, _RECORD_BYTES)
    labels = records[:, 0]
    if labels.max() > 9:
        bad = int(np.argmax(labels > 9))
        msg = f"{name} has label {labels[bad]} in record {bad}; labels run from 0 to 9"
        raise DatasetError(msg)
    return records[:, 1:], labels
