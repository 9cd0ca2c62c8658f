"""Train a network and record, epoch by epoch, the spectrum of one layer and the Porter-Thomas p of its vectors.

Usage: record_motion.py RUNS_FOLDER OUTPUT.safetensors [--layer dense2] name=value...

name=value are fields of the TrainingConfig. What each epoch showed is kept beside the run until all are there, so that an
interrupted training goes on. OUTPUT holds nu, input_pvalue and output_pvalue, float32 of shape (epochs + 1, levels), row 0 before
training, and the configuration as metadata.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from configuration import from_options
from safetensors.numpy import load_file, save

import rmtlib
from rmtlib.files import write_atomically
from rmtlib.learning import train

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("runs", type=Path)
parser.add_argument("output", type=Path)
parser.add_argument("options", nargs="*")
parser.add_argument("--layer", default="dense2")
arguments = parser.parse_args()
config = from_options(arguments.options)
frames = arguments.runs / config.name / "frames"


def record(epoch, network):
    s = rmtlib.spectrum(network.get_parameter(f"{arguments.layer}.weight").detach().numpy())
    frame = {
        "nu": s.nu,
        "input_pvalue": rmtlib.porter_thomas(s.input_vectors).calibrated_pvalue,
        "output_pvalue": rmtlib.porter_thomas(s.output_vectors).calibrated_pvalue,
    }
    frames.mkdir(exist_ok=True)
    write_atomically(frames / f"{epoch:04}.safetensors", save({key: row.astype(np.float32) for key, row in frame.items()}))


train(config, folder=arguments.runs, on_epoch=record)
rows = [load_file(frames / f"{epoch:04}.safetensors") for epoch in range(config.epochs + 1)]
motion = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
metadata = {"config": json.dumps(asdict(config)), "layer": arguments.layer}
write_atomically(arguments.output, save(motion, metadata=metadata))
