"""Analysis of a whole network, rmtlib against weightwatcher, on the same file in one run.

Usage: python benchmarks/network.py [FILE] [--rounds 3] [--layers 12]

FILE is anything that `rmtlib report` takes; by default all-MiniLM-L6-v2 where it is installed, otherwise a run of the book.
weightwatcher (pip install -r requirements-bench.txt) gets the same matrices as a torch network of dense layers and does what
comes nearest: `analyze` with the fit of the bulk, a randomised copy, and the singular vectors. Contenders take turns in every
round. Reading the file counts for both. Only the ratio of the medians means anything; it should be at least 5.
"""

import argparse
import itertools
import logging
import time

import numpy as np
import torch
import weightwatcher

import rmtlib
from rmtlib import report

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("file", nargs="?", default="minilm" if report.minilm() else "mlp512-cifar10-alpha0.5-seed0")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--layers", type=int, help="only the first layers with two dimensions")
arguments = parser.parse_args()
logging.disable(logging.WARNING)


def dense_layers(weights):
    """The first of the layers, without embeddings, which weightwatcher leaves out."""
    return itertools.islice((layer for layer in weights.values() if layer.kind in ("dense", "attention")), arguments.layers)


def ours():
    weights = report.find_network(arguments.file)
    return len(rmtlib.analyse_network({layer.name: layer for layer in dense_layers(weights)}, progress=False))


def theirs():
    network = torch.nn.ModuleList()
    for layer in dense_layers(report.find_network(arguments.file)):
        linear = torch.nn.Linear(*layer.matrix.shape[::-1], bias=False)
        linear.weight.data = torch.from_numpy(layer.matrix)
        network.append(linear)
    watcher = weightwatcher.WeightWatcher(model=network)
    return len(watcher.analyze(mp_fit=True, randomize=True, vectors=True, plot=False))


seconds, counts = {ours: [], theirs: []}, {}
for _ in range(arguments.rounds):
    for contender, times in seconds.items():
        start = time.perf_counter()
        counts[contender] = contender()
        times.append(time.perf_counter() - start)
    print(", ".join(f"{contender.__name__} {times[-1]:.1f} s" for contender, times in seconds.items()), flush=True)
assert counts[ours] == counts[theirs], "the contenders analysed different layers"
ratio = np.median(seconds[theirs]) / np.median(seconds[ours])
print(f"{arguments.file}, {counts[ours]} layers: {ratio:.1f} x faster than weightwatcher {weightwatcher.__version__} (target: 5)")
