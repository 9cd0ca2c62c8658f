"""Cost of `rmtlib.analyse` against the decomposition that it needs and against weightwatcher, side by side in one run.

Usage: python benchmarks/analysis.py [--rounds 5] [--weightwatcher]

Every round times all candidates one after another; the table shows medians and their ratios. Only ratios mean anything.
weightwatcher is measured if it is asked for (pip install -r requirements-bench.txt).
"""

import argparse
import time
import tracemalloc

import numpy as np
import scipy
from scipy.special import ndtr

import rmtlib

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--weightwatcher", action="store_true")
arguments = parser.parse_args()


def medians(candidates):
    """Median seconds of each candidate, over rounds in which all of them take turns."""
    times = {name: [] for name in candidates}
    for _ in range(arguments.rounds):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def weightwatcher_analysis(W):
    import logging

    import torch
    import weightwatcher

    logging.disable(logging.WARNING)
    layer = torch.nn.Linear(W.shape[1], W.shape[0], bias=False)
    layer.weight.data = torch.from_numpy(W)
    model = torch.nn.Sequential(layer)
    return lambda: weightwatcher.WeightWatcher(model=model).analyze(mp_fit=True, randomize=True, vectors=True, plot=False)


def dense_unfolding(nu, a=15):
    m = len(nu)
    width = (nu[2 * a :] - nu[: m - 2 * a]) / 2
    return ndtr((nu[2 * a : m - 2 * a, None] - nu[a : m - a]) / width).sum(axis=1)


print(f"{'matrix':>12} {'candidate':<34} {'seconds':>9} {'ratio':>7}")
for shape in ((4096, 1024), (2048, 2048)):
    W = rmtlib.ensembles.gaussian(shape, 0).astype(np.float32)
    candidates = {
        "numpy.linalg.svd, float64": lambda W=W: np.linalg.svd(W.astype(np.float64), full_matrices=False),
        "rmtlib.spectrum": lambda W=W: rmtlib.spectrum(W),
        "rmtlib.analyse": lambda W=W: rmtlib.analyse(W),
    }
    if arguments.weightwatcher:
        candidates["weightwatcher fit, randomize, vectors"] = weightwatcher_analysis(W)
    seconds = medians(candidates)
    bare = seconds["numpy.linalg.svd, float64"]
    for name, value in seconds.items():
        print(f"{shape[0]:>6} x {shape[1]:<4}{name:<36} {value:>8.3f} {value / bare:>7.2f}")
    rest = seconds["rmtlib.analyse"] - seconds["rmtlib.spectrum"]
    print(f"{'':>13}all but the decomposition: {rest / seconds['rmtlib.spectrum']:.0%} of it")
    tracemalloc.start()
    rmtlib.analyse(W)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{'':>13}peak memory: {peak / (8 * W.size):.1f} x the float64 matrix")

nu = rmtlib.spectrum(rmtlib.ensembles.gaussian((4096, 4096), 0), vectors=False).nu
seconds = medians({"unfold": lambda: rmtlib.unfold(nu), "dense": lambda: dense_unfolding(nu)})
print(f"unfolding of 4096 levels: {seconds['dense'] / seconds['unfold']:.1f} x faster than the dense sum of error functions")

vectors = rmtlib.spectrum(rmtlib.ensembles.gaussian((1024, 1024), 0)).output_vectors
law = scipy.stats.norm(scale=1 / np.sqrt(vectors.shape[1])).cdf
seconds = medians(
    {"porter_thomas": lambda: rmtlib.porter_thomas(vectors), "loop": lambda: [scipy.stats.kstest(v, law).pvalue for v in vectors]}
)
ratio = seconds["loop"] / seconds["porter_thomas"]
print(f"Porter-Thomas of 1024 vectors: {ratio:.1f} x faster than a loop over scipy.stats.kstest")
