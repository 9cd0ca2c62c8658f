"""One training step, side by side: the step of `rmtlib.learning.train`, its lower bound, and the usual ways to write it.

Usage: training.py [--steps 300] [--mini-steps 6] [--rounds 7] [--threads 1] [--clock wall|cpu] [--only mlp512|norm|minialexnet]

Contenders take turns in every round and each is compared with ours in the same round, so that a machine that is busy now and idle
then slows all of them alike. Printed are medians over the rounds, ratios with their quartiles. ``--clock cpu`` counts processor
seconds of all threads in place of time on the wall. Images are noise of the shape of CIFAR-10: nothing is downloaded.

Rows of mlp512
    products    the eleven matrix products of a step and one fused update; no images picked, no rectifiers, no loss: a lower bound
    loader      `DataLoader`, `torch.optim.SGD` as it comes, the loss and the hits read after each step
    keras       `Model.fit` of the same network
Rows of norm, forward and backward on (32, 300, 28, 28)
    torch       `torch.nn.LocalResponseNorm`
Rows of minialexnet
    loader      as above with `torch.nn.LocalResponseNorm`, crops in the data set's ``__getitem__``
"""

from __future__ import annotations

import argparse
import os
import time
from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from rmtlib.learning.architectures import LocalResponseNorm, build_network, initialize
from rmtlib.learning.training import TrainingConfig, sgd, train_epoch

SHAPE, PIXELS, N_CLASSES = (3, 32, 32), 3 * 32 * 32, 10
TORCH_NORM = {"size": 11, "alpha": 11.0, "beta": 0.5, "k": 1.0}
# Ratio to our time, and what it should be.
TARGETS = {
    ("mlp512", "products"): "> 0.83 (ours at most 1.2 times as long)",
    ("mlp512", "keras"): ">= 1.7",
    ("norm", "torch"): "> 1",
    ("minialexnet", "loader"): ">= 1.5",
}


def noise(records: int):
    """Images and labels."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((records, PIXELS), dtype=np.float32), rng.integers(N_CLASSES, size=records)


def network_of(config):
    network = build_network(config.network, shape=SHAPE, n_classes=N_CLASSES)
    initialize(network, config.seed)
    return network


def ours(config, steps):
    network, (images, labels) = network_of(config), map(torch.from_numpy, noise(steps * config.batch_size))
    optimizer, rng = sgd(network, config), np.random.default_rng(0)
    return lambda: train_epoch(network, optimizer, images, labels, config, rng)


def products(config, steps):
    weights = [p.detach().requires_grad_() for p in network_of(config).parameters() if p.ndim > 1]
    optimizer = torch.optim.SGD(weights, lr=0.0, momentum=config.momentum, fused=True)
    x = torch.from_numpy(noise(config.batch_size)[0])
    activations = [x, *(torch.randn(len(x), len(W)) for W in weights)]
    deltas = [torch.randn_like(a) for a in activations]
    for W in weights:
        W.grad = torch.randn_like(W)

    @torch.no_grad()
    def run():
        for _ in range(steps):
            for W, below, above in zip(weights, activations, activations[1:], strict=False):
                torch.mm(below, W.T, out=above)
            for i, W in reversed(list(enumerate(weights))):
                torch.mm(deltas[i + 1].T, activations[i], out=W.grad)
                if i:
                    torch.mm(deltas[i + 1], W, out=deltas[i])
            optimizer.step()

    return run


class Crops(Dataset):
    """Pictures, cropped at random when they are asked for."""

    def __init__(self, images, labels):
        self.pictures, self.labels = images.reshape(-1, *SHAPE), labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        y, x = (int(torch.randint(5, ())) for _ in range(2))
        return self.pictures[i, :, y : y + 28, x : x + 28], self.labels[i]


def loader(config, steps):
    layers = OrderedDict(network_of(config).named_children())
    if layers.pop("crop", None):
        layers |= {name: nn.LocalResponseNorm(**TORCH_NORM) for name in ("norm1", "norm2")}
    network = nn.Sequential(layers)
    images, labels = map(torch.from_numpy, noise(steps * config.batch_size))
    batches = DataLoader((Crops if "conv1" in layers else TensorDataset)(images, labels), config.batch_size, shuffle=True)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )

    def run():
        total = correct = 0
        for x, target in batches:
            optimizer.zero_grad()
            logits = network(x)
            loss = F.cross_entropy(logits, target)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
            correct += (logits.argmax(1) == target).sum().item()
        return total, correct

    return run


def keras(config, steps):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(torch.get_num_threads())
    model = tf.keras.Sequential([tf.keras.Input((PIXELS,)), *(tf.keras.layers.Dense(512, "relu") for _ in range(3))])
    model.add(tf.keras.layers.Dense(N_CLASSES))
    model.compile(
        optimizer=tf.keras.optimizers.SGD(config.learning_rate, momentum=config.momentum),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    images, labels = noise(steps * config.batch_size)
    return lambda: model.fit(images, labels, batch_size=config.batch_size, epochs=1, verbose=0)


def normalisation(norm, steps):
    x, gradient = torch.randn(32, 300, 28, 28).relu_().requires_grad_(), torch.randn(32, 300, 28, 28)

    def run():
        for _ in range(steps):
            norm(x).backward(gradient)
            x.grad = None

    return run


def compare(name: str, contenders: dict, steps: int, rounds: int, clock) -> None:
    """Let the contenders take turns and print their times and ratios; the first one is ours."""
    for run in contenders.values():
        run()
    seconds = {label: [] for label in contenders}
    for i in range(rounds):
        order = list(contenders)[:: 1 if i % 2 else -1]
        for label in order:
            start = clock()
            contenders[label]()
            seconds[label].append((clock() - start) / steps)
    for label, times in seconds.items():
        low, ratio, high = np.quantile(np.divide(times, seconds["ours"]), (0.25, 0.5, 0.75))
        numbers = f"{1e3 * np.median(times):9.2f} {ratio:9.2f}  ({low:.2f} to {high:.2f})"
        print(f"{name:<12} {label:<9} {numbers}  {TARGETS.get((name, label), '')}".rstrip(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="steps of mlp512 in a round")
    parser.add_argument("--mini-steps", type=int, default=6, help="steps of the others in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--only", choices=("mlp512", "norm", "minialexnet"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[options.clock]

    mlp, mini = TrainingConfig(dataset="cifar10"), TrainingConfig(dataset="cifar10", network="minialexnet", weight_decay=2e-4)
    norms = {"ours": LocalResponseNorm(), "torch": nn.LocalResponseNorm(**TORCH_NORM)}
    studies = {
        "mlp512": (options.steps, lambda n: {make.__name__: make(mlp, n) for make in (ours, products, loader, keras)}),
        "norm": (options.mini_steps, lambda n: {label: normalisation(norm, n) for label, norm in norms.items()}),
        "minialexnet": (options.mini_steps, lambda n: {make.__name__: make(mini, n) for make in (ours, loader)}),
    }
    print(f"{options.clock} clock, threads: {options.threads}\n{'':<22} {'ms/step':>9} {'to ours':>9}  (quartiles)     target")
    for name, (steps, contenders) in studies.items():
        if options.only in (None, name):
            compare(name, contenders(steps), steps, options.rounds, clock)


if __name__ == "__main__":
    main()
