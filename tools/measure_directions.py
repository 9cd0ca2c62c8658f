"""Measure what the singular vectors of trained layers carry: how strong the inputs of a layer are along them, as a table.

Usage: measure_directions.py [--runs FOLDER] [--output data/filtering/directions.csv] [--draws 1000] RUN_NAME...

The activations x before a layer, over all training images, have the second moments C, about zero or about their mean (column
"about"). Along a singular vector v they have the energy v^T C v, whose mean over all directions is tr C / n_in. Rows are tenths
of the singular values, those of measure_filtering.py, ascending, for the trained matrix and for the initial one of the same run:
    energy     mean of v^T C v over the tenth, over tr C / n_in
    low, high  between them lie 99 % of such means for random orthonormal directions (seed 0)
    nu2        share of the tenth in the sum of nu^2
    response   share of the tenth in tr W C W^T, the sum of nu^2 v^T C v
C is that of the trained network for both matrices, so that they differ in their singular vectors alone. Dense hidden layers only.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from trained_network import batches, hidden_layers, load_trained

from rmtlib.files import write_atomically
from rmtlib.learning import build_network, load_run
from rmtlib.learning.architectures import initialize

parser = argparse.ArgumentParser()
parser.add_argument("names", nargs="+", metavar="RUN_NAME")
parser.add_argument("--runs", type=Path, help="folder of runs (default: data/runs)")
parser.add_argument("--output", type=Path, default=Path("data/filtering/directions.csv"))
parser.add_argument("--draws", type=int, default=1000, help="random sets of directions")
arguments = parser.parse_args()


def moments(network, images, layer):
    """Second moments of the inputs of a layer, about zero and about their mean."""
    total, squares = 0, 0
    for x in batches(network, images, until=layer):
        total = total + x.sum(0, dtype=torch.float64)
        squares = squares + (x.T @ x).double()
    mean, C = (total / len(images)).numpy(), (squares / len(images)).numpy()
    return {"zero": C, "mean": C - np.outer(mean, mean)}


def random_bands(matrices, number):
    """Bounds of 99 % of the relative mean energies of so many random orthonormal directions, for each C."""
    # Random directions look the same from every basis: take that of the principal axes.
    values = np.array([np.linalg.eigvalsh(C) for C in matrices])
    values /= values.mean(axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    frames = (np.linalg.qr(rng.standard_normal((values.shape[1], number)))[0] for _ in range(arguments.draws))
    return np.quantile([values @ np.mean(frame**2, axis=1) for frame in frames], [0.005, 0.995], axis=0).T


rows = []
for name in arguments.names:
    run = load_run(name, folder=arguments.runs)
    network, data = load_trained(run)
    untrained = build_network(run.config["network"], shape=data.shape, n_classes=data.n_classes)
    initialize(untrained, run.config["seed"])
    start = {key: tensor.numpy() for key, tensor in untrained.state_dict().items()}
    dense = {key: module for key, module in hidden_layers(network).items() if isinstance(module, torch.nn.Linear)}
    for layer, module in tqdm(dense.items(), desc=run.name):
        matrices = {"trained": module.weight.numpy(), "initial": start[f"{layer}.weight"]}
        found = {kind: np.linalg.svd(W.astype(np.float64), full_matrices=False)[1:] for kind, W in matrices.items()}
        seconds, m = moments(network, data.train_images, layer), min(module.weight.shape)
        bands = random_bands(seconds.values(), m // 10)
        for (about, C), (low, high) in zip(seconds.items(), bands, strict=True):
            for kind, (nu, V) in found.items():
                energy = np.einsum("ki,ki->k", V @ C, V)[::-1]
                nu2 = nu[::-1] ** 2
                for tenth in range(10):
                    part = slice(tenth * m // 10, (tenth + 1) * m // 10)
                    rows.append(
                        {
                            "run": run.name,
                            "laziness": run.config["laziness"],
                            "seed": run.config["seed"],
                            "layer": layer,
                            "weights": kind,
                            "about": about,
                            "decile": tenth,
                            "energy": energy[part].mean() / (np.trace(C) / len(C)),
                            "low": low,
                            "high": high,
                            "nu2": nu2[part].sum() / nu2.sum(),
                            "response": nu2[part] @ energy[part] / (nu2 @ energy),
                        }
                    )

arguments.output.parent.mkdir(parents=True, exist_ok=True)
write_atomically(arguments.output, pd.DataFrame(rows).to_csv(index=False, float_format="%.5g").encode())
