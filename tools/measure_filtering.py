"""Measure what filtering does to the test accuracy of trained networks, and write it as a table.

Usage: measure_filtering.py [--runs FOLDER] [--output data/filtering/mlp512.csv] RUN_NAME...

Rows are layers, and all hidden layers together ("all"), times what was done to their singular values:
    decile   the tenth that starts at value / 10 of the levels, in ascending order, is set to zero
    plain    the largest levels, in number value, are kept as they are
    frobenius, inverse   the same, and outliers among them are shrunk (rmtlib.filtering)
A value of 0 means the outliers: the cut that filter_network makes, which leaves a layer without outliers as it is. The first
row of each run is the network as it was trained. Accuracies are those on all test images and on both halves, so that a cut can
be chosen on one half and judged on the other; gain_error is the standard error of the paired difference, over images. In rows of
all layers kept and outliers are -1.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from trained_network import accuracies, hidden_layers, load_trained

import rmtlib
from rmtlib.files import write_atomically
from rmtlib.filtering import filter_matrix
from rmtlib.learning import load_run

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 320, 384, 448)
KINDS = {"plain": False, "frobenius": "frobenius", "inverse": "inverse"}

parser = argparse.ArgumentParser()
parser.add_argument("names", nargs="+", metavar="RUN_NAME")
parser.add_argument("--runs", type=Path, help="folder of runs (default: data/runs)")
parser.add_argument("--output", type=Path, default=Path("data/filtering/mlp512.csv"))
arguments = parser.parse_args()


def correct(network, inputs, labels, start=0):
    """Whether each image is classified rightly, from the activations before one of the modules."""
    return (network[start:](inputs).argmax(1) == labels).numpy()


def new_levels(W, found, outliers):
    """What is done to the singular values: (treatment, value, number kept, levels afterwards)."""
    m = len(found.nu)
    for tenth in range(10):
        nu = found.nu.copy()
        nu[tenth * m // 10 : (tenth + 1) * m // 10] = 0
        yield "decile", tenth, np.count_nonzero(nu), nu
    for kind, shrink in KINDS.items():
        shrunk = filter_matrix(W, cut=1.0, shrink=shrink).filtered_nu
        for value in (0, *RANKS, m):
            kept = value or outliers or m
            if value <= m:
                yield kind, value, kept, np.where(np.arange(m) >= m - kept, shrunk, 0)


rows = []
for name in arguments.names:
    run = load_run(name, folder=arguments.runs)
    network, data = load_trained(run)
    trained = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    images, labels = torch.from_numpy(data.test_images), torch.from_numpy(data.test_labels)
    unchanged = correct(network, images, labels)

    def record(layer, treatment, value, kept, outliers, rightly, run=run, unchanged=unchanged):
        rows.append(
            {
                "run": run.name,
                "laziness": run.config["laziness"],
                "seed": run.config["seed"],
                "layer": layer,
                "treatment": treatment,
                "value": value,
                "kept": kept,
                "outliers": outliers,
            }
            | accuracies(rightly, unchanged)
        )

    record("none", "none", 0, 0, 0, unchanged)
    hidden = hidden_layers(network)
    places = {key: i for i, (key, _) in enumerate(network.named_children())}
    together = {}
    for layer in tqdm(hidden, desc=run.name):
        before = network[: places[layer]](images)
        weight = hidden[layer].weight
        W = weight.numpy().copy()
        found = rmtlib.spectrum(W)
        outliers = rmtlib.fit_marchenko_pastur(found.nu, W.shape).n_outliers
        for treatment, value, kept, nu in new_levels(W, found, outliers):
            filtered = torch.from_numpy(((found.output_vectors.T * nu) @ found.input_vectors).astype(np.float32))
            weight.copy_(filtered)
            record(layer, treatment, value, kept, outliers, correct(network, before, labels, places[layer]))
            together.setdefault((treatment, value), {})[f"{layer}.weight"] = filtered
        weight.copy_(torch.from_numpy(W))
    for (treatment, value), filtered in tqdm(together.items(), desc="all layers"):
        if len(filtered) == len(hidden):
            network.load_state_dict(trained | filtered)
            record("all", treatment, value, -1, -1, correct(network, images, labels))

arguments.output.parent.mkdir(parents=True, exist_ok=True)
write_atomically(arguments.output, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g").encode())
