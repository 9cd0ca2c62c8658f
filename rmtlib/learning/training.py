r"""Train one network as the paper does, from lazy to rich.

The laziness :math:`\alpha` multiplies the logits and divides the cost (eq. 3 of the paper),

.. math:: \ell = -\frac{1}{N\alpha^2} \sum_k y^{(k)} \cdot \ln \operatorname{softmax}(\alpha z^{(k)}),

so that to leading order the logits :math:`\alpha z` learn at a rate that does not depend on :math:`\alpha`, while the
weights move by :math:`\Delta W \sim 1/\alpha`: large :math:`\alpha` is lazy, small :math:`\alpha` is rich.

A run is a folder. While it trains, the folder holds one checkpoint, replaced after each epoch; when it is done it holds
``run.json``, ``history.csv`` and ``weights.safetensors``. The order of the batches, and where images are cropped, is drawn from
``[seed, epoch]``: the state after an epoch is the weights and the momentum, nothing else, and a resumed run equals an
uninterrupted one bit by bit. That holds for one machine and one number of threads (``OMP_NUM_THREADS``): another number sums in
another order, and the last bits of the weights change.
"""

from __future__ import annotations

import copy
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from tqdm import tqdm

from .. import __version__
from ..files import file_sha256, write_atomically
from ..marchenko_pastur import fit_marchenko_pastur
from ..runs import ADDED_SETTINGS, Run, RunError, commit, load_run, processor, write_history
from ..spectra import spectrum
from .architectures import NETWORKS, Network, build_network, initialize
from .datasets import DATASETS, STANDARDIZATIONS, Dataset, load_dataset

__all__ = ["ConfigError", "DivergedError", "TrainingConfig", "noisy_labels", "train"]

Logits = Callable[[torch.Tensor], torch.Tensor]  # a network, or what is made of one


class ConfigError(ValueError):
    """A training configuration that cannot be run; the message lists every wrong value and what is expected."""


class DivergedError(RuntimeError):
    """The loss or a logit is no longer finite: the run is marked as diverged and has no result."""


def _one_of(default, options, named=None):
    expects = f"one of {', '.join(options)}"
    return field(default=default, metadata={"kind": str, "expects": expects, "check": options.__contains__, "named": named})


def _number(default, kind, expects, check, named=None):
    return field(default=default, metadata={"kind": kind, "expects": expects, "check": check, "named": named})


def _switch(named):
    return field(default=False, metadata={"kind": bool, "expects": "True or False", "check": lambda _: True, "named": named})


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that determines the outcome of a run; the defaults are the paper's, on the digits.

    Attributes
    ----------
    dataset : {"cifar10", "digits"}
    network : {"mlp512", "mlp1024", "minialexnet", "minialexnet3x3"}
    laziness : float
        The paper's alpha: rich 0.5, typical 1, lazy 5.
    epochs : int
        Passes over the training images.
    batch_size : int
    learning_rate : float
        Rate of the first epoch.
    learning_rate_decay : float
        The rate is multiplied by this after every ``decay_every`` epochs.
    momentum : float
    weight_decay : float
        Coefficient lambda of the cost ``lambda / 2 * sum W^2`` on weights, not on biases (of "minialexnet3x3" on those of its
        first two dense layers alone). Keras has no 1/2: the paper's L2 regularisation of miniAlexNet, 1e-4, is 2e-4 here.
    standardization : {"image", "channel"}
    seed : int
        Seed of the initial weights and of the order of the batches.
    label_noise : float
        Share of the training labels that are replaced by random ones, see ``noisy_labels``. The training accuracy counts the
        labels that the network was shown.
    decay_every : int
        Epochs between two steps of the rate: 1 is the paper's smooth decay, more is a staircase.
    centred : bool
        Subtract the logits of the initial network, so that every network starts from zero logits (Chizat et al.).
    bulk_variance : bool
        Fit the bulk of every hidden layer after each epoch and add the variance of its entries to the history, in columns
        ``bulk_variance.<layer>``. The weights do not depend on it.

    Raises
    ------
    ConfigError
        If a value has the wrong type or lies out of range.
    """

    dataset: str = _one_of("digits", DATASETS)
    network: str = _one_of("mlp512", NETWORKS)
    laziness: float = _number(1.0, float, "a finite number above 0", lambda v: 0 < v < np.inf)
    epochs: int = _number(100, int, "an integer of at least 1", lambda v: v >= 1, "epochs")
    batch_size: int = _number(32, int, "an integer of at least 1", lambda v: v >= 1, "batch")
    learning_rate: float = _number(0.001, float, "a finite number above 0", lambda v: 0 < v < np.inf, "rate")
    learning_rate_decay: float = _number(0.95, float, "a number above 0 and at most 1", lambda v: 0 < v <= 1, "decay")
    momentum: float = _number(0.95, float, "a number from 0 to below 1", lambda v: 0 <= v < 1, "momentum")
    weight_decay: float = _number(0.0, float, "a finite number of at least 0", lambda v: 0 <= v < np.inf, "l2_")
    standardization: str = _one_of("image", STANDARDIZATIONS, "per_")
    seed: int = _number(0, int, "an integer of at least 0", lambda v: v >= 0)
    label_noise: float = _number(0.0, float, "a number from 0 to below 1", lambda v: 0 <= v < 1, "noise")
    decay_every: int = _number(1, int, "an integer of at least 1", lambda v: v >= 1, "every")
    centred: bool = _switch("centred")
    bulk_variance: bool = _switch(None)

    def __post_init__(self):
        problems = []
        for f in fields(self):
            value, kind = getattr(self, f.name), f.metadata["kind"]
            if isinstance(value, np.generic):
                object.__setattr__(self, f.name, value := value.item())
            if kind is float and type(value) is int:
                object.__setattr__(self, f.name, value := float(value))
            if type(value) is not kind or not f.metadata["check"](value):
                problems.append(f"{f.name} must be {f.metadata['expects']}; got {value!r}")
        if problems:
            raise ConfigError("; ".join(problems))

    @property
    def name(self) -> str:
        """Name of the run's folder unless another is given; it tells every difference from the paper's recipe.

        Examples
        --------
        >>> TrainingConfig(dataset="cifar10", seed=3, learning_rate=0.004).name
        'mlp512-cifar10-alpha1-seed3-rate0.004'
        """
        name = f"{self.network}-{self.dataset}-alpha{self.laziness:g}-seed{self.seed}"
        for f in fields(self):
            value, named = getattr(self, f.name), f.metadata["named"]
            if named and value != f.default:
                name += f"-{named}" + ("" if value is True else f"{value:g}" if isinstance(value, float) else str(value))
        return name


def train(
    config: TrainingConfig,
    *,
    folder="runs",
    name: str | None = None,
    data_folder=None,
    on_epoch: Callable[[int, Network], None] | None = None,
    progress: bool = True,
) -> Run:
    """Train a network, or go on where an interrupted training stopped, or return the run that is already done.

    Parameters
    ----------
    config : TrainingConfig
        What to train.
    folder : path
        Folder of runs; the run gets a folder of its own in it.
    name : str, optional
        Name of the run; ``config.name`` by default.
    data_folder : path, optional
        Where CIFAR-10 lies, see `rmtlib.learning.load_dataset`.
    on_epoch : callable, optional
        Called with the number of epochs done and the network, before the first epoch (0) and after each one, to watch the weights
        as they move. It must not change them. It comes before the checkpoint: after an interruption an epoch may be seen twice.
    progress : bool
        Show a progress bar over the epochs with loss and accuracies.

    Returns
    -------
    Run
        The finished run.

    Raises
    ------
    ConfigError
        If the folder holds a run or a checkpoint of another configuration (the message says what differs), or
        ``name`` is not a plain name.
    RunError
        If the run diverged before, or its files were altered.
    DivergedError
        If the loss or a logit is not finite; ``run.json`` then says in which epoch.
    """
    path = Path(folder) / (name or config.name)
    if path.parent != Path(folder) or path.name in ("", ".."):
        msg = f"name must be the plain name of a folder in {str(folder)!r}; got {name!r}"
        raise ConfigError(msg)
    if (path / "run.json").exists():
        run = load_run(path.name, folder=folder)
        _require_same(config, run.config, path)
        _remove_leftovers(path)
        return run
    path.mkdir(parents=True, exist_ok=True)
    checkpoint = path / "checkpoint.safetensors"

    data = load_dataset(config.dataset, folder=data_folder, standardization=config.standardization)
    data = replace(data, train_labels=noisy_labels(data.train_labels, config.label_noise, [config.seed, 0, 1], data.n_classes))
    network = build_network(config.network, shape=data.shape, n_classes=data.n_classes)
    initialize(network, config.seed)
    logits = centre(network, copy.deepcopy(network)) if config.centred else network
    initial = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    optimizer = sgd(network, config)
    history, seconds = _restore(checkpoint, config, network, optimizer)
    images, labels = _aligned(data.train_images), torch.from_numpy(data.train_labels)

    if on_epoch and not history:
        on_epoch(0, network)
    with tqdm(range(config.epochs), initial=len(history), desc=path.name, unit="epoch", disable=not progress) as bar:
        for epoch in range(len(history), config.epochs):
            start = time.perf_counter()
            rate = config.learning_rate * config.learning_rate_decay ** (epoch // config.decay_every)
            for group in optimizer.param_groups:
                group["lr"] = rate
            rng = np.random.default_rng([config.seed, epoch])
            train_loss, train_accuracy = train_epoch(network, optimizer, images, labels, config, rng, logits)
            row = {
                "epoch": epoch + 1,
                "learning_rate": rate,
                "train_loss": train_loss,
                "train_accuracy": train_accuracy,
                "test_accuracy": accuracy(logits, data.test_images, data.test_labels, network.evaluation_batch),
            }
            if config.bulk_variance:
                row |= {f"bulk_variance.{name}": variance for name, variance in bulk_variances(network).items()}
            history.append(row)
            seconds += time.perf_counter() - start
            if not np.isfinite([row["train_loss"], row["test_accuracy"]]).all():
                return _stop_diverged(path, config, row, seconds)
            if on_epoch:
                on_epoch(epoch + 1, network)
            _save_checkpoint(checkpoint, config, network, optimizer, history, seconds)
            bar.set_postfix({key: f"{row[key]:.4g}" for key in ("train_loss", "train_accuracy", "test_accuracy")})
            bar.update()
    return finish(path, config, initial, network, logits, data, history, seconds)


def noisy_labels(labels: np.ndarray, share: float, rng, n_classes: int = 10) -> np.ndarray:
    """Replace a share of the labels by labels drawn uniformly from all classes.

    Parameters
    ----------
    labels : numpy.ndarray of int, shape (records,)
    share : float
        Of the labels that are replaced, from 0 to below 1; their number is rounded. One in ``n_classes`` of them stays right by
        chance.
    rng : seed or numpy.random.Generator
        Passed to `numpy.random.default_rng`. Training draws from ``[seed, 0, 1]``: no stream of initial weights or batches.
    n_classes : int

    Returns
    -------
    numpy.ndarray
        A copy, of the dtype of ``labels``.

    Raises
    ------
    ValueError
        If the share is out of range.

    Examples
    --------
    >>> noisy_labels(np.zeros(8, int), 0.5, 0)
    array([0, 0, 1, 6, 8, 0, 9, 0])
    """
    if not 0 <= share < 1:
        msg = f"share must be a number from 0 to below 1; got {share!r}"
        raise ValueError(msg)
    rng, noisy = np.random.default_rng(rng), labels.copy()
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    noisy[chosen] = rng.integers(n_classes, size=len(chosen))
    return noisy


def sgd(network: Network, config: TrainingConfig) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum, and with weight decay on the weights that the network names."""
    decayed = [p for name, p in network.named_parameters() if network.is_decayed(name, p)]
    others = [p for name, p in network.named_parameters() if not network.is_decayed(name, p)]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others}]
    return torch.optim.SGD(
        groups,
        lr=config.learning_rate,
        momentum=config.momentum,
        fused=True,
    )


def centre(network: Logits, initial: torch.nn.Module) -> Logits:
    """The logits of a network minus those of the initial one, which is not trained (Chizat, Oyallon and Bach 2019)."""
    initial.requires_grad_(False)
    return lambda x: network(x) - initial(x)


def bulk_variances(network: Network) -> dict[str, float]:
    """Variance of an entry of the noise in every hidden layer, from the fitted bulk; nan where none can be fitted."""
    found = {}
    for name, tensor in list(network.named_parameters()):
        if tensor.ndim > 1:
            matrix = tensor.detach().numpy().reshape(len(tensor), -1)
            try:
                nu = spectrum(matrix, vectors=False).nu
                found[name.removesuffix(".weight")] = fit_marchenko_pastur(nu, matrix.shape).sigma ** 2
            except ValueError:
                found[name.removesuffix(".weight")] = float("nan")
    found.popitem()  # the layer of the logits
    return found


def train_epoch(network: Network, optimizer, images, labels, config: TrainingConfig, rng, function=None) -> tuple[float, float]:
    """One pass over the images in an order drawn from ``rng``; return mean loss and accuracy on the way.

    ``function`` gives the logits where they are not those of the network itself, as `centre` does.
    """
    function = function or network
    order = torch.from_numpy(rng.permutation(len(labels)))
    total, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
    for batch in order.split(config.batch_size):
        target = labels[batch]
        logits = config.laziness * function(network.augment(images.index_select(0, batch), rng))
        loss = F.cross_entropy(logits, target) / config.laziness**2
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            total += loss * len(batch)
            correct += (logits.argmax(1) == target).sum()
    return total.item() / len(labels), correct.item() / len(labels)


@torch.no_grad()
def accuracy(network: Logits, images, labels, batch_size: int | None = None) -> float:
    """Share of images whose largest logit is that of their label; nan if a logit is not finite.

    Parameters
    ----------
    network : torch.nn.Module, or another function of the images
        Maps ``(records, pixels)`` to logits.
    images, labels : arrays of shapes (records, pixels) and (records,)
    batch_size : int, optional
        Images at a time; by default the network's ``evaluation_batch``, or 1000.
    """
    batch_size = batch_size or getattr(network, "evaluation_batch", 1000)
    correct = 0
    for x, y in zip(torch.as_tensor(images).split(batch_size), torch.as_tensor(labels).split(batch_size), strict=True):
        logits = network(x)
        if not torch.isfinite(logits).all():
            return float("nan")
        correct += (logits.argmax(1) == y).sum().item()
    return correct / len(labels)


def _aligned(array):
    # Owned by torch, hence aligned: BLAS may sum in another order on memory that is not.
    return torch.empty(array.shape).copy_(torch.from_numpy(array))


def _save_checkpoint(path, config, network, optimizer, history, seconds):
    tensors = dict(network.state_dict())
    for key, parameter in network.named_parameters():
        if config.momentum:
            tensors[f"momentum.{key}"] = optimizer.state[parameter]["momentum_buffer"]
    metadata = {"config": json.dumps(asdict(config)), "history": json.dumps(history), "seconds": repr(seconds)}
    write_atomically(path, save(tensors, metadata=metadata))


def _restore(path, config, network, optimizer):
    """Load weights and momentum from a checkpoint; return its history and the seconds spent."""
    if not path.exists():
        return [], 0.0
    try:
        saved = safe_open(path, framework="pt")
    except SafetensorError as error:
        msg = f"{path} is not a checkpoint ({error}); delete it to train from the start"
        raise RunError(msg) from error
    with saved:
        metadata = saved.metadata()
        _require_same(config, TrainingConfig(**json.loads(metadata["config"])), path)
        network.load_state_dict({key: saved.get_tensor(key) for key in network.state_dict()})
        for key, parameter in network.named_parameters() if config.momentum else ():
            buffer = saved.get_tensor(f"momentum.{key}")
            optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer).detach()
    return json.loads(metadata["history"]), float(metadata["seconds"])


def _require_same(config, other, path):
    mine, theirs = asdict(config), ADDED_SETTINGS | (other if isinstance(other, dict) else asdict(other))
    differing = [f"{key} is {theirs.get(key)!r} there and {mine[key]!r} here" for key in mine if mine[key] != theirs.get(key)]
    if differing:
        msg = f"{path} belongs to another configuration ({'; '.join(differing)}); give the run another name"
        raise ConfigError(msg)


def _record(path, config, status, seconds, **results):
    record = {
        "name": path.name,
        "status": status,
        "config": asdict(config),
        **results,
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "system": platform.platform(),
        "commit": commit(),
        "versions": {
            "rmtlib": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    write_atomically(path / "run.json", (json.dumps(record, indent=2) + "\n").encode())


def _stop_diverged(path, config, row, seconds):
    _record(path, config, "diverged", seconds, epoch=row["epoch"], train_loss=str(row["train_loss"]))
    _remove_leftovers(path)
    msg = (
        f"{path.name} diverged in epoch {row['epoch']}: its loss is {row['train_loss']}, its test accuracy {row['test_accuracy']}"
    )
    raise DivergedError(msg)


def finish(path, config, initial, network, logits, data: Dataset, history, seconds):
    """Write the weights and, last of all, the record that makes the folder a finished run."""
    tensors = {f"initial.{key}": tensor for key, tensor in initial.items()}
    tensors |= {f"trained.{key}": tensor for key, tensor in network.state_dict().items()}
    write_atomically(path / "weights.safetensors", save(tensors))
    write_history(path / "history.csv", history)
    results = {
        "train_accuracy": accuracy(logits, data.train_images, data.train_labels, network.evaluation_batch),
        "test_accuracy": history[-1]["test_accuracy"],
        "sha256": {file: file_sha256(path / file) for file in ("history.csv", "weights.safetensors")},
    }
    _record(path, config, "completed", seconds, **results)
    _remove_leftovers(path)
    return load_run(path.name, folder=path.parent)


def _remove_leftovers(path):
    for leftover in (path / "checkpoint.safetensors", *path.glob("*.part")):
        leftover.unlink(missing_ok=True)
