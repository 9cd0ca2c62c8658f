"""Train a network and measure the plain rivals of filtering: early stopping, and the average of the weights of several epochs.

Usage: measure_rivals.py RUNS_FOLDER TABLE.csv name=value...

name=value are fields of the TrainingConfig. The weights after each epoch are kept beside the run, so that an interrupted training
goes on; delete RUNS_FOLDER/NAME/epochs when the table is there. Rows of other runs in the table stay. Rows:
    stop     the network after `epoch` epochs
    average  the mean of the weights after the epochs from `epoch` to the last
Accuracies are those on all test images and on both halves, as in measure_filtering.py.
"""

import argparse
from pathlib import Path

import pandas as pd
from configuration import from_options
from safetensors.torch import load_file, save
from trained_network import accuracies, correct, load_trained

from rmtlib.files import write_atomically
from rmtlib.learning import train

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("runs", type=Path)
parser.add_argument("output", type=Path)
parser.add_argument("options", nargs="*")
arguments = parser.parse_args()
config = from_options(arguments.options)
epochs = arguments.runs / config.name / "epochs"


def keep(epoch, network):
    epochs.mkdir(exist_ok=True)
    write_atomically(epochs / f"{epoch:04}.safetensors", save(dict(network.state_dict())))


network, data = load_trained(train(config, folder=arguments.runs, on_epoch=keep))


def row(kind, epoch, weights):
    network.load_state_dict(weights)
    rightly = correct(network, data)
    shares = accuracies(rightly, rightly)
    return {"kind": kind, "epoch": epoch} | {name: shares[name] for name in ("accuracy", "first_half", "second_half")}


rows, total, count = [], None, 0
for epoch in range(config.epochs, 0, -1):
    weights = load_file(epochs / f"{epoch:04}.safetensors")
    rows.append(row("stop", epoch, weights))
    total = {key: tensor.double() + (total[key] if total else 0) for key, tensor in weights.items()}
    count += 1
    rows.append(row("average", epoch, {key: (tensor / count).float() for key, tensor in total.items()}))
table = pd.DataFrame(rows).sort_values(["kind", "epoch"], ascending=[False, True])
setting = {"run": config.name, "laziness": config.laziness, "seed": config.seed, "label_noise": config.label_noise}
for place, (name, value) in enumerate(setting.items()):
    table.insert(place, name, value)
if arguments.output.exists():
    others = pd.read_csv(arguments.output).query("run != @config.name")
    table = pd.concat([others, table]).sort_values("run", kind="stable")
arguments.output.parent.mkdir(parents=True, exist_ok=True)
write_atomically(arguments.output, table.to_csv(index=False, float_format="%.6g").encode())
