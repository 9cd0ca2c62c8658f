"""Four trainings by a sweep with two workers of one thread each, against one after the other with two threads.

Usage: sweep.py [--epochs 3] [--dataset cifar10] [--rounds 2]

Both execute chapter 9, start-up of the kernels included. Rounds alternate; printed is each round and the median ratio, which
should be at least 1.2. CIFAR-10 comes from RMTLIB_DATA or a download.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHAPTER = Path(__file__).parents[1] / "chapters" / "09_training.md"
SEEDS = range(4)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def rmtlib(*arguments, threads, folder):
    environment = os.environ | dict.fromkeys(THREADS, str(threads))
    command = [sys.executable, "-m", "rmtlib", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def one_after_the_other(settings, folder):
    for seed in SEEDS:
        parameters = [part for name, value in (settings | {"seed": seed}).items() for part in ("-p", name, str(value))]
        rmtlib("run", str(CHAPTER), *parameters, threads=2, folder=folder)


def two_workers(settings, folder):
    lines = [f"notebook: {CHAPTER}", "output: runs", f"base: {settings}", f"grid: {{seed: {list(SEEDS)}}}"]
    (Path(folder) / "grid.yaml").write_text("\n".join(lines))
    rmtlib("sweep", "grid.yaml", "--workers", "2", threads=1, folder=folder)


def seconds(run, settings):
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run(settings, folder)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    settings = {"dataset": options.dataset, "epochs": options.epochs}
    ratios = []
    for i in range(options.rounds):
        order = (one_after_the_other, two_workers)[:: 1 if i % 2 else -1]
        times = {run.__name__: seconds(run, settings) for run in order}
        ratios.append(times["one_after_the_other"] / times["two_workers"])
        print(", ".join(f"{name} {time_:.0f} s" for name, time_ in sorted(times.items())), f"ratio {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f} (target: at least 1.2)")


if __name__ == "__main__":
    main()
