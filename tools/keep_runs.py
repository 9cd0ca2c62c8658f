"""Copy finished runs into data/runs, smaller, and write the registry anew.

Usage: keep_runs.py [--analysed-only] [--layer dense2] RUN_FOLDER...

All trained tensors are kept, and of the initial ones those of the analysed layer; with --analysed-only the trained tensors of the
other layers are left out too. Tensors keep their bytes; the hash in run.json is renewed.
"""

import argparse
import json
from pathlib import Path

from safetensors.numpy import load_file, save

from rmtlib.learning.runs import FILES, file_sha256, load_run, write_atomically

parser = argparse.ArgumentParser()
parser.add_argument("runs", nargs="*", type=Path)
parser.add_argument("--analysed-only", action="store_true")
parser.add_argument("--layer", default="dense2")
arguments = parser.parse_args()
data = Path("data")

for source in arguments.runs:
    run = load_run(source.name, folder=source.parent)
    kept = {
        name: tensor
        for name, tensor in load_file(run.weights_file).items()
        if f".{arguments.layer}." in name or (name.startswith("trained.") and not arguments.analysed_only)
    }
    target = data / "runs" / run.name
    target.mkdir(parents=True, exist_ok=True)
    write_atomically(target / "weights.safetensors", save(kept))
    write_atomically(target / "history.csv", (run.path / "history.csv").read_bytes())
    record = json.loads((run.path / "run.json").read_text())
    record["sha256"] = {file: file_sha256(target / file) for file in record["sha256"]}
    write_atomically(target / "run.json", (json.dumps(record, indent=2) + "\n").encode())

lines = ["# file sha256 origin"]
for folder in sorted(path for path in (data / "runs").iterdir() if path.is_dir()):
    config = json.loads((folder / "run.json").read_text())["config"]
    options = " ".join(f"-p {key} {value}" for key, value in config.items())
    lines += [f"runs/{folder.name}/{file} {file_sha256(folder / file)} make run ARGS='{options}'" for file in FILES]
write_atomically(data / "registry.txt", ("\n".join(lines) + "\n").encode())
