"""Copy finished runs into data/runs, smaller, and write the registry anew.

Usage: keep_runs.py [--keep all|half|layer] [--layer dense2] RUN_FOLDER...

all: all trained tensors, byte by byte, and of the initial ones those of the analysed layer. half: all trained tensors in half
precision. layer: the trained tensors of the analysed layer, in half precision. Initial tensors that are not kept follow from the
seed. The hash in run.json is renewed.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from registry import DATA, write_registry
from safetensors.numpy import load_file, save

from rmtlib.files import file_sha256, write_atomically
from rmtlib.runs import load_run

parser = argparse.ArgumentParser()
parser.add_argument("runs", nargs="*", type=Path)
parser.add_argument("--keep", choices=("all", "half", "layer"), default="all")
parser.add_argument("--layer", default="dense2")
arguments = parser.parse_args()
layer = f".{arguments.layer}."
kept = {"all": ("trained.", f"initial{layer}"), "half": "trained.", "layer": f"trained{layer}"}[arguments.keep]
precision = np.float32 if arguments.keep == "all" else np.float16

for source in arguments.runs:
    run = load_run(source.name, folder=source.parent)
    tensors = {
        name: tensor.astype(precision, copy=False)
        for name, tensor in load_file(run.weights_file).items()
        if name.startswith(kept)
    }
    target = DATA / "runs" / run.name
    target.mkdir(parents=True, exist_ok=True)
    write_atomically(target / "weights.safetensors", save(tensors))
    write_atomically(target / "history.csv", (run.path / "history.csv").read_bytes())
    record = json.loads((run.path / "run.json").read_text())
    record["sha256"] = {file: file_sha256(target / file) for file in record["sha256"]}
    write_atomically(target / "run.json", (json.dumps(record, indent=2) + "\n").encode())

write_registry()
