"""What `rmtlib compare` makes of noise and of planted updates, how its p of intruders are calibrated, and what these cost.

Usage: python benchmarks/comparison.py [noise planted intruders cost alpha] [-n 100] [--shape 512 256] [--timed 1024 1024]

Base and update are noise, the update a tenth of the base; *sized*: rows and columns have sizes that differ by half of their mean.

noise      N updates of each kind, and in how many no direction is called beyond noise (target: at least 95 of 100).
planted    N/10 updates of each kind with 1, 5 or 16 directions at 2, 5 and 50 times the threshold, and how many counts are right
           to one (target: all).
intruders  N/2 pairs without a planted direction, 20 p-values of each, half of them sized: how many are below 0.05 (target: .03 to
           .07), and how many vectors a fixed threshold on the cosine calls new.
cost       What a comparison and its intruders cost in decompositions of the base in double precision (target: at most 10).
alpha      N/2 sized noises of each shape: mean and standard deviation of (alpha - alpha of noise) / its standard deviation, once
           sizes are taken out (targets: 0 within .2, and .8 to 1.2).
"""

import argparse
import time
from itertools import product

import ml_dtypes
import numpy as np

import rmtlib
from rmtlib import subspaces, updates
from rmtlib.spectra import spectrum

STORED = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}
UPDATE = 0.1  # standard deviation of its entries, where those of the base have 1
RANKS, TIMES = (1, 5, 16), (2, 5, 50)


def sizes(shape, rng, sized):
    return np.outer(*(np.exp(0.5 * rng.standard_normal(n)) for n in shape)) if sized else 1.0


def noise(shape, rng, sized):
    """Base, update and the sizes of both."""
    scale = sizes(shape, rng, sized)
    W, D = rng.standard_normal((2, *shape)) * scale
    return W, UPDATE * D, scale


def rank_of_update(W, D, dtype):
    base, tuned = ((X.astype(STORED[dtype])).astype(np.float32) for X in (W, W + D))
    return updates.update_rank(tuned.astype(np.float64) - base, updates.grid(base), updates.grid(tuned)).rank


def kinds():
    return product((("plain", False), ("sized", True)), STORED)


def measure_noise(n, shape):
    print(f"noise, {shape[0]} x {shape[1]}: updates in which nothing is beyond noise")
    for (kind, sized), dtype in kinds():
        found = [rank_of_update(*noise(shape, np.random.default_rng([0, seed]), sized)[:2], dtype) for seed in range(n)]
        print(f"  {kind}, {dtype:<9} {sum(rank == 0 for rank in found):4d} of {n}", flush=True)


def measure_planted(n, shape):
    threshold = UPDATE * (shape[0] * shape[1]) ** 0.25
    print("planted: counts that are right to one (and exactly), by times the threshold")
    for (kind, sized), dtype in kinds():
        for rank in RANKS:
            said = []
            for times in TIMES:
                off = []
                for seed in range(n):
                    rng = np.random.default_rng([1, seed])
                    W, D, scale = noise(shape, rng, sized)
                    left, right = (np.linalg.qr(rng.standard_normal((side, rank)))[0] for side in shape)
                    found = rank_of_update(W, D + scale * (times * threshold * left @ right.T), dtype)
                    off.append(np.inf if found is None else abs(found - rank))
                said.append(f"{times}: {sum(o <= 1 for o in off)} ({sum(o == 0 for o in off)}) of {n}")
            print(f"  {kind}, {dtype:<9} rank {rank:2d}   {'   '.join(said)}", flush=True)


def measure_intruders(n, shape):
    found = []
    for seed in range(n):
        rng = np.random.default_rng([2, seed])
        W, D, _ = noise(shape, rng, seed % 2)
        found.append(subspaces.intruders(W, D, rng=rng))
    p, cosines = (np.concatenate([getattr(one, what) for one in found]) for what in ("pvalue", "cosines"))
    print(f"intruders: {np.mean(p < 0.05):.3f} of {len(p)} p-values of {n} pairs below 0.05, {np.mean(p < 0.5):.2f} below 0.5")
    print(f"  pairs whose number of intruders has p < 0.05: {np.mean([one.count_pvalue < 0.05 for one in found]):.2f}")
    for fixed in (0.5, 0.8):
        print(f"  vectors without a base vector within a cosine of {fixed:g}: {np.mean(cosines < fixed):.0%}", flush=True)


def measure_cost(shape, rounds=3):
    times: dict = {"decomposition": [], "compare": [], "intruders": []}
    for seed in range(rounds):
        rng = np.random.default_rng([3, seed])
        W, D, _ = noise(shape, rng, False)
        base = spectrum(W)
        calls = {
            "decomposition": lambda W=W: np.linalg.svd(W, full_matrices=False),
            "compare": lambda W=W, D=D: rmtlib.compare({"w": W}, {"w": W + D}, workers=1, progress=False),
            "intruders": lambda W=W, D=D, rng=rng, base=base: subspaces.intruders(W, D, rng=rng, base=base),
        }
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    one, whole, extra = (np.median(found) for found in times.values())
    print(f"cost, {shape[0]} x {shape[1]}: one decomposition {one:.2f} s; a comparison {whole / one:.1f} of them")
    print(f"  intruders {extra / one:.1f} more (target: 10)", flush=True)


def measure_alpha(n):
    print("alpha of sized noise, sizes taken out, less that of noise over its standard deviation")
    for shape in ((256, 256), (512, 256), (1024, 256)):
        found = []
        for seed in range(n):
            rng = np.random.default_rng([4, seed])
            row = rmtlib.analyse(noise(shape, rng, True)[0]).row()
            found.append((row["alpha_biwhitened"] - row["alpha_noise"]) / row["alpha_noise_sd"])
        print(f"  {shape[0]} x {shape[1]}: {np.mean(found):+.2f}, standard deviation {np.std(found, ddof=1):.2f}", flush=True)


if __name__ == "__main__":
    parts = {
        "noise": lambda options: measure_noise(options.n, options.shape),
        "planted": lambda options: measure_planted(max(options.n // 10, 1), options.shape),
        "intruders": lambda options: measure_intruders(max(options.n // 2, 2), options.shape),
        "cost": lambda options: measure_cost(options.timed),
        "alpha": lambda options: measure_alpha(max(options.n // 2, 2)),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(parts), metavar="PART", help=f"{', '.join(parts)} (default: all)")
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--shape", nargs=2, type=int, default=(512, 256))
    parser.add_argument("--timed", nargs=2, type=int, default=(1024, 1024), help="shape of the matrix that is timed")
    arguments = parser.parse_args()
    for part in arguments.parts:
        parts[part](arguments)
