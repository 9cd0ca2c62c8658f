"""Cost of `rmtlib.analyse` beside the decomposition that it needs and beside its peers, side by side in one run.

Usage: python benchmarks/analysis.py [--rounds 5] [--weightwatcher]

Two threads, float32 layers. In every round all candidates of a comparison take turns; the table shows medians, and the least and
the largest value in brackets, beside the target of the project. Only ratios mean anything on another machine.
weightwatcher is measured if it is asked for (pip install -r requirements-bench.txt). empyricalRMT needs a numba that does not
install on Python 3.11; `polynomial_unfolding` and `sampled_number_variance` below are its two algorithms.
"""

import argparse
import os
import subprocess
import sys
import time
import tracemalloc

THREADS = 2
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(THREADS)
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])

import numpy as np  # noqa: E402 - numpy reads the number of threads when it is imported
import scipy  # noqa: E402
from scipy.special import ndtr  # noqa: E402

import rmtlib  # noqa: E402
import rmtlib.analysis  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--weightwatcher", action="store_true")
arguments = parser.parse_args()


def seconds(candidates):
    """Seconds of each candidate, over rounds in which all of them take turns."""
    times = {name: [] for name in candidates}
    for _ in range(arguments.rounds):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in times.items()}


def line(what, values, target="", unit="", digits=2):
    """One row of the table: median, least and largest value, and the target."""
    values = np.atleast_1d(values)
    spread = f"[{values.min():.{digits}f}, {values.max():.{digits}f}]" if len(values) > 1 else ""
    print(f"  {what:<62} {np.median(values):>8.{digits}f}{unit:<3} {spread:<18} {target}", flush=True)


def timed_parts(W):
    """Seconds of one analysis, and of the decomposition within it."""
    within, spectrum = [], rmtlib.analysis.spectrum

    def timed_spectrum(*args, **options):
        start = time.perf_counter()
        result = spectrum(*args, **options)
        within.append(time.perf_counter() - start)
        return result

    rmtlib.analysis.spectrum = timed_spectrum
    start = time.perf_counter()
    rmtlib.analyse(W)
    total = time.perf_counter() - start
    rmtlib.analysis.spectrum = spectrum
    return total, within[0]


def peak_memory(call):
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def weightwatcher_analysis(W):
    import logging

    import torch
    import weightwatcher

    logging.disable(logging.WARNING)
    torch.set_num_threads(THREADS)
    layer = torch.nn.Linear(W.shape[1], W.shape[0], bias=False)
    layer.weight.data = torch.from_numpy(W)
    model = torch.nn.Sequential(layer)
    return lambda: weightwatcher.WeightWatcher(model=model).analyze(mp_fit=True, randomize=True, vectors=True, plot=False)


def dense_unfolding(nu, a=15):
    m = len(nu)
    width = (nu[2 * a :] - nu[: m - 2 * a]) / 2
    return ndtr((nu[2 * a : m - 2 * a, None] - nu[a : m - a]) / width).sum(axis=1)


def polynomial_unfolding(nu, degree=7):
    """empyricalRMT's: a polynomial through the staircase, in powers of the level itself."""
    return np.sort(np.polynomial.polynomial.polyval(nu, np.polynomial.polynomial.polyfit(nu, np.arange(1, len(nu) + 1), degree)))


def sampled_number_variance(xi, lengths, rng, tolerance=0.01, last=1000, step=500):
    """empyricalRMT's: windows placed at random over the whole spectrum, so that some hang over its ends, until the running
    variance of their numbers of levels has kept within a tolerance for the last 1000 windows.

    Its loop compares every level with every window; here a search finds the levels, which is faster.
    """
    found = []
    for length in lengths:
        numbers = np.empty(0)
        while True:
            centers = rng.uniform(xi[0], xi[-1], step)
            inside = np.searchsorted(xi, centers + length / 2, "right") - np.searchsorted(xi, centers - length / 2)
            numbers = np.append(numbers, inside)
            count = np.arange(1, len(numbers) + 1)
            running = np.cumsum(numbers**2) / count - (np.cumsum(numbers) / count) ** 2
            if len(running) >= last and np.ptp(running[-last:]) < tolerance:
                break
        found.append(running[-1])
    return np.array(found)


print(f"{THREADS} threads, {arguments.rounds} rounds: median [least, largest], target\n")
for shape, target in (((4096, 1024), "at most 1.5"), ((2048, 2048), "at most 1.5"), ((512, 512), "at most 3.5")):
    W = rmtlib.ensembles.gaussian(shape, 0).astype(np.float32)
    parts = []
    candidates = {
        "svd": lambda W=W: np.linalg.svd(W.astype(np.float64), full_matrices=False),
        "analyse": lambda W=W, parts=parts: parts.append(timed_parts(W)),
    }
    if arguments.weightwatcher:
        candidates["weightwatcher"] = weightwatcher_analysis(W)
    times = seconds(candidates)
    total, decomposition = np.transpose(parts)
    print(f"{shape[0]} x {shape[1]}")
    line("numpy.linalg.svd of the float64 matrix", times["svd"], unit=" s")
    line("rmtlib.analyse", total, unit=" s")
    line("rmtlib.analyse over numpy.linalg.svd", total / times["svd"], target)
    line("all but the first decomposition, over the decomposition", total / decomposition - 1)
    if arguments.weightwatcher:
        line("weightwatcher.analyze with fit, randomize and vectors", times["weightwatcher"], unit=" s")
        line("weightwatcher.analyze over rmtlib.analyse", times["weightwatcher"] / total, "at least 10", digits=1)
    peak = peak_memory(lambda W=W: rmtlib.analyse(W))
    line("peak memory of rmtlib.analyse over the float64 matrix", peak / (8 * W.size), "at most 3.5")

print("the first call of a process, 2048 x 2048")
FIRST = """
import time, numpy, rmtlib
W = rmtlib.ensembles.gaussian((2048, 2048), 0).astype(numpy.float32)
for _ in range(2):
    start = time.perf_counter()
    rmtlib.analyse(W)
    print(time.perf_counter() - start)
"""
runs = [subprocess.check_output([sys.executable, "-c", FIRST], text=True) for _ in range(arguments.rounds)]
first, second = np.transpose([[float(value) for value in run.split()] for run in runs])
line("first rmtlib.analyse over the second", first / second, "no warm-up: about 1")

print("4096 levels")
nu = rmtlib.null_laws.noise_singular_values((4096, 4096), 0)
xi, lengths, rng = rmtlib.unfold(nu), np.linspace(1, 20, 20), np.random.default_rng(0)
times = seconds(
    {
        "unfold": lambda: rmtlib.unfold(nu),
        "dense": lambda: dense_unfolding(nu),
        "rmtlib polynomial": lambda: rmtlib.unfold(nu, method="polynomial"),
        "polynomial": lambda: polynomial_unfolding(nu),
        "curve": lambda: rmtlib.number_variance_curve(xi, lengths),
        "exact": lambda: rmtlib.number_variance(xi, lengths),
        "sampled": lambda: sampled_number_variance(xi, lengths, rng),
    }
)
line("rmtlib.unfold, broadened", 1e3 * times["unfold"], unit=" ms")
line("dense sum of error functions over rmtlib.unfold", times["dense"] / times["unfold"], "at least 3", digits=1)
line("rmtlib.unfold, polynomial", 1e3 * times["rmtlib polynomial"], unit=" ms")
line("empyricalRMT's polynomial", 1e3 * times["polynomial"], unit=" ms")
line("rmtlib.number_variance at 20 lengths", 1e3 * times["exact"], unit=" ms")
line("rmtlib.number_variance_curve, with standard errors", 1e3 * times["curve"], unit=" ms")
line("empyricalRMT's sampled number variance", 1e3 * times["sampled"], unit=" ms")
line("sampled over rmtlib.number_variance", times["sampled"] / times["exact"], digits=1)
exact = float(rmtlib.laws.number_variance_goe(20.0))
spectra = [rmtlib.null_laws.noise_singular_values((1024, 1024), seed) for seed in range(40)]
levels = [rmtlib.unfold(nu, method="marchenko_pastur", shape=(1024, 1024), sigma=1.0) for nu in spectra]
ours = np.array([rmtlib.number_variance(xi, 20.0) for xi in levels]) / exact
theirs = np.array([sampled_number_variance(xi, [20.0], rng)[0] for xi in levels]) / exact
print("number variance at L = 20 over the exact law, mean of 40 spectra of 1024 levels, unfolded by the law")
line("rmtlib.number_variance", ours.mean(), "1")
line("empyricalRMT's", theirs.mean(), "1")

print("Porter-Thomas, 1024 vectors of 1024 entries")
vectors = rmtlib.spectrum(rmtlib.ensembles.gaussian((1024, 1024), 0)).output_vectors
law = scipy.stats.norm(scale=1 / np.sqrt(vectors.shape[1])).cdf
times = seconds(
    {"ours": lambda: rmtlib.porter_thomas(vectors), "loop": lambda: [scipy.stats.kstest(v, law).pvalue for v in vectors]}
)
line("loop over scipy.stats.kstest over rmtlib.porter_thomas", times["loop"] / times["ours"], digits=1)
