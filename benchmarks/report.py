"""`rmtlib report` as a whole process against the analysis that it needs, the size of its page, and weightwatcher on the file.

Usage: python benchmarks/report.py [NETWORK ...] [--rounds 3] [--weightwatcher]

NETWORK is anything that `rmtlib report` takes; by default a run of the book and, where it is installed, all-MiniLM-L6-v2. Two
threads. In every round the contenders take turns, each as a process of its own: *report* the command, *bare* the same analyses
without a page (network and noise, read, analysed and written to a CSV), *start* the import of the library alone. What the page
costs is report less bare. weightwatcher (pip install -r requirements-bench.txt) is given the same file by torch, where it is of
dense layers alone: `analyze` with the fit of the bulk, a randomised copy and the vectors, which writes no page.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rmtlib import report

THREADS = "2"
MEGABYTE = 1e6
MOST = {"minilm": (8.0, 3.0), "mlp512-cifar10-alpha0.5-seed0": (5.0, 3.0)}  # seconds (above bare, or whole), megabytes
BARE = """
import sys, rmtlib
from rmtlib import report
network = report.find_network(sys.argv[1])
rmtlib.analyse_network(report.noise_like(network), progress=False)
rmtlib.analyse_network(network, csv=sys.argv[2], progress=False)
"""
WEIGHTWATCHER = """
import logging, sys, torch, weightwatcher
from rmtlib import report
logging.disable(logging.WARNING)
network = torch.nn.ModuleList()
for layer in report.find_network(sys.argv[1]).values():
    if layer.kind in ("dense", "attention"):
        linear = torch.nn.Linear(*layer.matrix.shape[::-1], bias=False)
        linear.weight.data = torch.from_numpy(layer.matrix)
        network.append(linear)
weightwatcher.WeightWatcher(model=network).analyze(mp_fit=True, randomize=True, vectors=True, plot=False)
"""


def contenders(network: str, folder: Path, with_weightwatcher: bool) -> dict[str, list[str]]:
    """Command lines by name."""
    python = [sys.executable]
    commands = {
        "start": [*python, "-c", "import rmtlib.report"],
        "bare": [*python, "-c", BARE, network, str(folder / "bare.csv")],
        "report": [*python, "-m", "rmtlib", "report", network, "-o", str(folder / "report")],
    }
    return commands | ({"weightwatcher": [*python, "-c", WEIGHTWATCHER, network]} if with_weightwatcher else {})


def measure(network: str, rounds: int, with_weightwatcher: bool) -> None:
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), THREADS)
    with tempfile.TemporaryDirectory() as name:
        commands = contenders(network, Path(name), with_weightwatcher)
        seconds: dict[str, list[float]] = {contender: [] for contender in commands}
        for _ in range(rounds):
            for contender, command in commands.items():
                began = time.perf_counter()
                subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                seconds[contender].append(time.perf_counter() - began)
            print(", ".join(f"{contender} {times[-1]:.1f} s" for contender, times in seconds.items()), flush=True)
        size = (Path(name) / "report.html").stat().st_size / MEGABYTE
    medians = {contender: float(np.median(times)) for contender, times in seconds.items()}
    differences = np.subtract(seconds["report"], seconds["bare"])
    most, largest = MOST.get(network, (np.nan, np.nan))
    whole = network != "minilm"
    target = f"target: {'report' if whole else 'page'} <= {most:g} s, {largest:g} MB"
    page = f"page {np.median(differences):.1f} s (from {differences.min():.1f} to {differences.max():.1f})"
    print(f"{network}: report {medians['report']:.1f} s, bare {medians['bare']:.1f} s, {page}, {size:.2f} MB; {target}")
    if with_weightwatcher:
        print(f"{network}: weightwatcher takes {medians['weightwatcher'] / medians['report']:.2f} x the time of the report")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = ["mlp512-cifar10-alpha0.5-seed0", *(["minilm"] if report.minilm() else [])]
    parser.add_argument("networks", nargs="*", default=usual, metavar="NETWORK")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weightwatcher", action="store_true")
    arguments = parser.parse_args()
    for network in arguments.networks:
        measure(network, arguments.rounds, arguments.weightwatcher)
