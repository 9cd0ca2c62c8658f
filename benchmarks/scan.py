"""A scan beside torch's singular values, Spectrum's computation and weightwatcher; its memory; and one dask worker against two.

Usage: python benchmarks/scan.py [time directions memory cluster layers] [--shape 11008 4096] [--rounds 1] [--threads 2]

time      `rmtlib.scan` of noise over `torch.linalg.svdvals` in float32 of the same matrix (targets: 1.3 without sizes, 2.7 with
          them); beside it Spectrum's computation, which is those values, their quartiles and two sums, and weightwatcher where it
          is installed (pip install -r requirements-bench.txt).
directions  the same of noise with 16 directions.
memory    peak of `rmtlib scan` on a sharded bfloat16 checkpoint of 2 GB with matrices of the shape, written to a temporary folder
          (target: 1.5 GB); it scans two layers of two shards, as the peak is that of the largest.
layers    processor time and memory of one layer of each shape in the blocks of a network of 70 billion parameters, noise, and the
          time of the whole network, extrapolated.
cluster   24 layers of 1024 x 1024 on one dask worker of one thread and on two, start-up excluded (target: 1.6 times as fast).

Contenders take turns in every round. Ratios of medians are what counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BLOCKS = 80  # of Llama 3's 70 billion parameters; rows, columns and how many in a block
SHAPES = {(1024, 8192): 2, (8192, 8192): 2, (28672, 8192): 3}
LAYER = """
import json, resource, sys, time
import numpy as np
import rmtlib
from threadpoolctl import threadpool_limits

n, m, sizes = map(int, sys.argv[1:])
rng, W = np.random.default_rng(0), np.empty((n, m), np.float32)
for i in range(0, n, 512):
    W[i : i + 512] = rng.standard_normal((len(W[i : i + 512]), m), dtype=np.float32)
with threadpool_limits(1):
    start = time.process_time()
    rmtlib.scan({"w": W}, biwhiten=bool(sizes), workers=1, progress=False)
print(json.dumps([time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6]))
"""
PEAK = """
import resource, sys
from rmtlib.cli import main
status = main(sys.argv[1:])
print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
sys.exit(status)
"""


def noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32) * np.float32(0.02)


def with_directions(shape, count=16, strength=5.0):
    rng = np.random.default_rng(1)
    left, right = (np.linalg.qr(rng.standard_normal((side, count)))[0] for side in shape)
    size = strength * 0.02 * (shape[0] * shape[1]) ** 0.25
    return noise(shape) + (size * left @ right.T).astype(np.float32)


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def spectrum_number(W):
    """What Spectrum computes of a layer."""
    import torch

    S = torch.linalg.svdvals(torch.from_numpy(W))
    lower, upper = torch.quantile(S, torch.tensor([0.25, 0.75]))
    threshold = (upper - lower) / 1.349 * (1 + np.sqrt(min(W.shape) / max(W.shape)))
    below = S[S <= threshold].sum()
    return float(S[S > threshold].sum() / below / S[0]) if below else np.inf


def weightwatcher_of(W):
    import torch
    import weightwatcher

    layer = torch.nn.Linear(*W.shape[::-1], bias=False)
    layer.weight.data = torch.from_numpy(W)
    return weightwatcher.WeightWatcher(model=torch.nn.Sequential(layer)).analyze(plot=False)


def measure_time(options):
    measure_contenders("noise", noise(options.shape), options)


def measure_directions(options):
    measure_contenders("16 directions", with_directions(options.shape), options)


def measure_contenders(what, W, options):
    import importlib.util

    import torch

    import rmtlib

    torch.set_num_threads(options.threads)
    contenders = {
        "torch.linalg.svdvals, float32": lambda: torch.linalg.svdvals(torch.from_numpy(W)),
        "rmtlib.scan without sizes": lambda: rmtlib.scan({"w": W}, biwhiten=False, workers=1, progress=False),
        "rmtlib.scan": lambda: rmtlib.scan({"w": W}, workers=1, progress=False),
        "Spectrum's number": lambda: spectrum_number(W),
    }
    if options.weightwatcher and importlib.util.find_spec("weightwatcher"):
        contenders["weightwatcher"] = lambda: weightwatcher_of(W)
    times: dict = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, call in contenders.items():
            times[name].append(seconds(call))
    first = np.median(times["torch.linalg.svdvals, float32"])
    print(f"{options.shape[0]} x {options.shape[1]}, {what}, {options.threads} threads")
    for name, found in times.items():
        print(f"  {name:<32} {np.median(found):7.2f} s  {np.median(found) / first:5.2f}", flush=True)


def measure_memory(options):
    n, m = options.shape
    count, a_shard = -(-2 * 10**9 // (2 * n * m)), 4
    with tempfile.TemporaryDirectory() as folder:
        rng, index = np.random.default_rng(0), {}
        for first in range(0, count, a_shard):
            shard = f"model-{first:05d}.safetensors"
            names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(first, min(first + a_shard, count))]
            write_bfloat16(Path(folder) / shard, names, (n, m), rng)
            index |= dict.fromkeys(names, shard)
        (Path(folder) / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e9
        command = [sys.executable, "-c", PEAK, "scan", folder, "-o", f"{folder}/scan", "--workers", "2", "--layers", r"\.[34]\."]
        start = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peak = float(done.stdout.split("PEAK")[1])
    print(f"memory: {size:.1f} GB in {count} matrices of {n} x {m}, two scanned in {time.perf_counter() - start:.0f} s")
    print(f"  peak {peak:.2f} GB (target: 1.5)", flush=True)


def write_bfloat16(path, names, shape, rng):
    """A safetensors file of random bfloat16 numbers, the upper halves of float32, which numpy has no name for."""
    size, header = 2 * shape[0] * shape[1], {}
    for i, name in enumerate(names):
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [i * size, (i + 1) * size]}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in names:
            (rng.standard_normal(shape, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16).tofile(file)


def measure_layers(options):
    totals = np.zeros(2)
    print("one thread          processor seconds      with sizes      memory")
    for shape, count in SHAPES.items():
        found = []
        for sizes in (0, 1):
            command = [sys.executable, "-c", LAYER, *map(str, (*shape, sizes))]
            found.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))
        (plain, _), (whole, memory) = found
        totals += BLOCKS * count * np.array([plain, whole])
        print(f"{shape[0]:>6} x {shape[1]:<6} {plain:>20.1f} {whole:>15.1f} {memory:>11.1f} GB", flush=True)
    plain, whole = totals / 3600
    print(f"all {BLOCKS} blocks, extrapolated: {plain:.0f} processor hours without sizes, {whole:.0f} with them", flush=True)


def measure_cluster(options):
    from dask.distributed import Client, LocalCluster
    from safetensors.numpy import save_file

    import rmtlib
    from rmtlib.cluster import LOCAL

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.safetensors"
        save_file({f"block.{i}.weight": noise((1024, 1024), i) for i in range(24)}, path)
        weights = rmtlib.load_weights(path)
        times: dict = {1: [], 2: []}
        for _ in range(options.rounds):
            for workers, found in times.items():
                with LocalCluster(n_workers=workers, **LOCAL) as cluster:
                    address = cluster.scheduler_address
                    with Client(address) as client:
                        client.run(warm_up)
                    found.append(seconds(lambda address=address: rmtlib.scan(weights, scheduler=address, progress=False)))
    medians = {workers: np.median(found) for workers, found in times.items()}
    print(f"cluster: 24 layers of 1024 x 1024 in {medians[1]:.1f} s on one worker, {medians[2]:.1f} s on two")
    print(f"  {medians[1] / medians[2]:.2f} times as fast (target: 1.6)", flush=True)


def warm_up():
    import numpy as np

    import rmtlib

    rmtlib.scan({"w": np.random.default_rng(0).standard_normal((128, 100))}, progress=False)


if __name__ == "__main__":
    parts = {
        **{"time": measure_time, "directions": measure_directions, "memory": measure_memory},
        **{"cluster": measure_cluster, "layers": measure_layers},
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(parts), metavar="PART", help=f"{', '.join(parts)} (default: all)")
    parser.add_argument("--shape", nargs=2, type=int, default=(11008, 4096))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-weightwatcher", dest="weightwatcher", action="store_false", help="it takes minutes")
    arguments = parser.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != str(arguments.threads):  # numpy reads it when it is imported
        environment = os.environ | {f"{library}_NUM_THREADS": str(arguments.threads) for library in ("OMP", "OPENBLAS", "MKL")}
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment).returncode)
    for part in arguments.parts:
        parts[part](arguments)
