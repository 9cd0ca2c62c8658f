"""Measure what compression costs in test accuracy, and write it as a table.

Usage: measure_compression.py [--runs FOLDER] [--output data/filtering/compression.csv] [--images NUMBER]
           [--budgets SHARE...] [--] RUN_NAME...

All hidden layers are compressed at once; the output layer and the biases stay. Treatments:
    svd       truncated singular value decomposition, each layer with the same share of its parameters
    aware     the same ranks, but the outputs that the layer has on training images are kept best: the truncated decomposition of
              W C^(1/2), C the second moments of the inputs, which is W with its outputs projected on their principal components
    edge      singular values beyond the noise: the ranks that rmtlib.filtering.filter_matrix reads off the spectrum
    shrunk    the same, and shrunk; it costs what edge costs
    edge-aware    the ranks of edge, with the projection of aware
    pruned    the entries of least magnitude are set to zero, each layer keeps as many numbers as its factors would have
    pruned-global    the same number in all, the least entries of all layers, each layer in units of its root mean square
Budgets are shares of the numbers in the hidden matrices; the budget "edge" is what the cut at the edge keeps. A layer without
singular values beyond the noise, or whose factors would be larger than the matrix, stays a matrix.

parameters counts the numbers kept in the hidden matrices: of a pruned matrix the values alone, the places of which cost extra (an
index each, or one bit for every entry of the matrix). multiply_adds is that of one image through the hidden layers, where zeros
are skipped. The first row of each run is the network as it was trained; gain_error is the standard error of the paired
difference, over images.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from trained_network import accuracies, batches, correct, hidden_layers, load_trained

from rmtlib.files import write_atomically
from rmtlib.filtering import filter_matrix
from rmtlib.learning import load_run

BUDGETS = (0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)

parser = argparse.ArgumentParser()
parser.add_argument("names", nargs="+", metavar="RUN_NAME")
parser.add_argument("--runs", type=Path, help="folder of runs (default: data/runs)")
parser.add_argument("--output", type=Path, default=Path("data/filtering/compression.csv"))
parser.add_argument("--images", type=int, help="training images that determine C (default: all)")
parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="shares of the numbers of the hidden matrices")
arguments = parser.parse_args()


class HiddenLayer:
    """The matrix of a layer, and what its compression needs to know."""

    def __init__(self, network, name, module, images):
        self.module = module
        self.W = module.weight.flatten(1).numpy().astype(np.float64)
        outputs = 0
        for x in batches(network, images, until=name):
            y = (module(x).movedim(1, -1).flatten(0, -2) - module.bias).double()
            outputs = outputs + y.T @ y
        self.positions = y.shape[0] // len(x)
        self.components = np.linalg.eigh(outputs.numpy())[1][:, ::-1]
        self.U, self.nu, self.V = np.linalg.svd(self.W, full_matrices=False)
        self.at_edge = {kind: self._filtered(kind == "shrunk") for kind in ("edge", "shrunk")}

    def _filtered(self, shrink):
        try:
            result = filter_matrix(self.W, shrink=shrink)
        except ValueError:  # the bulk cannot be fitted
            return 0, self.W
        return result.rank, result.matrix if result.rank else self.W

    def size(self, rank):
        """Numbers in the factors of this rank; rank 0 is the matrix."""
        return min(rank * sum(self.W.shape), self.W.size) if rank else self.W.size

    def rank(self, share):
        return max(1, int(share * self.W.size / sum(self.W.shape)))

    def truncated(self, rank):
        return (self.U[:, :rank] * self.nu[:rank]) @ self.V[:rank] if self.size(rank) < self.W.size else self.W

    def projected(self, rank):
        U = self.components[:, :rank]
        return U @ (U.T @ self.W) if self.size(rank) < self.W.size else self.W


def largest(matrices, number):
    """The matrices with all but this number of entries, the largest of them all, set to zero."""
    magnitudes = np.concatenate([np.abs(W).ravel() for W in matrices])
    kept = np.zeros(len(magnitudes), bool)
    kept[np.argpartition(magnitudes, len(magnitudes) - number)[len(magnitudes) - number :]] = True
    parts = np.split(kept, np.cumsum([W.size for W in matrices])[:-1])
    return [np.where(part.reshape(W.shape), W, 0) for part, W in zip(parts, matrices, strict=True)]


def compressed(layers):
    """(treatment, budget, ranks or None, numbers kept in each layer, matrices)."""
    edge = [layer.at_edge["edge"][0] for layer in layers]
    sizes = [layer.size(rank) for layer, rank in zip(layers, edge, strict=True)]
    whole = sum(layer.W.size for layer in layers)
    for kind in ("edge", "shrunk"):
        yield kind, "edge", edge, sizes, [layer.at_edge[kind][1] for layer in layers]
    plans = [(str(budget), budget, None) for budget in arguments.budgets]
    if sum(sizes) < whole:
        matrices = [layer.projected(rank) if rank else layer.W for layer, rank in zip(layers, edge, strict=True)]
        yield "edge-aware", "edge", edge, sizes, matrices
        plans.append(("edge", sum(sizes) / whole, sizes))
    for budget, share, sizes in plans:
        ranks = [layer.rank(share) for layer in layers]
        equal = [layer.size(rank) for layer, rank in zip(layers, ranks, strict=True)]
        yield "svd", budget, ranks, equal, [layer.truncated(rank) for layer, rank in zip(layers, ranks, strict=True)]
        yield "aware", budget, ranks, equal, [layer.projected(rank) for layer, rank in zip(layers, ranks, strict=True)]
        sizes = sizes or equal
        pruned = [largest([layer.W], size)[0] for layer, size in zip(layers, sizes, strict=True)]
        yield "pruned", budget, None, sizes, pruned
        scales = [np.sqrt(np.mean(layer.W**2)) for layer in layers]
        scaled = largest([layer.W / scale for layer, scale in zip(layers, scales, strict=True)], sum(sizes))
        numbers = [np.count_nonzero(W) for W in scaled]
        yield "pruned-global", budget, None, numbers, [W * scale for W, scale in zip(scaled, scales, strict=True)]


rows = []
for name in arguments.names:
    run = load_run(name, folder=arguments.runs)
    network, data = load_trained(run)
    images = data.train_images[: arguments.images]
    layers = [HiddenLayer(network, *item, images) for item in tqdm(hidden_layers(network).items(), desc=run.name)]
    unchanged = correct(network, data)

    def record(treatment, budget, ranks, sizes, run=run, layers=layers, unchanged=unchanged, network=network, data=data):
        rows.append(
            {
                "run": run.name,
                "laziness": run.config["laziness"],
                "seed": run.config["seed"],
                "treatment": treatment,
                "budget": budget,
                "ranks": " ".join(map(str, ranks or ())),
                "parameters": sum(sizes),
                "share": sum(sizes) / sum(layer.W.size for layer in layers),
                "multiply_adds": sum(size * layer.positions for size, layer in zip(sizes, layers, strict=True)),
            }
            | accuracies(correct(network, data), unchanged)
        )

    record("none", "none", None, [layer.W.size for layer in layers])
    for treatment, budget, ranks, sizes, matrices in tqdm(compressed(layers), desc="budgets"):
        for layer, matrix in zip(layers, matrices, strict=True):
            layer.module.weight.copy_(torch.from_numpy(matrix).reshape(layer.module.weight.shape))
        record(treatment, budget, ranks, sizes)

arguments.output.parent.mkdir(parents=True, exist_ok=True)
write_atomically(arguments.output, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g").encode())
