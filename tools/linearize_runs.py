"""Accuracies of runs linearised around the initial weights of one layer, added to data/linearized.csv (minutes a run).

Usage: linearize_runs.py [--layer dense2] RUN_FOLDER...

The runs must hold all trained tensors, as training leaves them; CIFAR-10 comes from RMTLIB_DATA or a download.
"""

import argparse
from pathlib import Path

import pandas as pd
from registry import DATA, write_registry
from tqdm import tqdm

from rmtlib.files import write_atomically
from rmtlib.learning import linearized_accuracy, load_dataset, load_run

parser = argparse.ArgumentParser()
parser.add_argument("runs", nargs="+", type=Path)
parser.add_argument("--layer", default="dense2")
arguments = parser.parse_args()
table = DATA / "linearized.csv"

for source in tqdm(arguments.runs, unit="run"):
    run = load_run(source.name, folder=source.parent)
    images = load_dataset(run.config["dataset"], standardization=run.config["standardization"])
    accuracies = linearized_accuracy(run, arguments.layer, images)
    row = {
        "run": run.name,
        "layer": arguments.layer,
        "train_accuracy": run.train_accuracy,
        "test_accuracy": run.test_accuracy,
        "linearized_train_accuracy": accuracies.train,
        "linearized_test_accuracy": accuracies.test,
    }
    rows = pd.read_csv(table).to_dict("records") if table.exists() else []
    rows = [other for other in rows if (other["run"], other["layer"]) != (run.name, arguments.layer)] + [row]
    rows.sort(key=lambda row: (row["run"], row["layer"]))
    write_atomically(table, pd.DataFrame(rows).to_csv(index=False).encode())

write_registry()
