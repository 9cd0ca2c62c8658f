"""Finished runs, smaller: what the repository keeps of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from rmtlib.files import file_sha256, write_atomically
from rmtlib.runs import Run, load_run

__all__ = ["TENSORS", "keep"]

TENSORS = ("all", "half", "layer")


def keep(run: Run, folder: Path, *, tensors: str, layer: str = "dense2") -> Run:
    """Copy a run into another folder of runs, with the tensors that are kept and their new hash.

    Initial tensors that are not kept follow from the seed.

    Parameters
    ----------
    run : Run
    folder : path
        Where the run gets a folder of its own; an older copy is replaced.
    tensors : {"all", "half", "layer"}
        All trained tensors as they are, and the initial ones of the layer; all trained tensors in half precision; or the trained
        tensors of the layer in half precision.
    layer : str
        The layer that is analysed.

    Returns
    -------
    Run
        The copy.

    Raises
    ------
    ValueError
        If ``tensors`` is another word, or the run holds none of the tensors to keep.
    """
    if tensors not in TENSORS:
        msg = f"tensors must be one of {', '.join(TENSORS)}; got {tensors!r}"
        raise ValueError(msg)
    kept = {"all": ("trained.", f"initial.{layer}."), "half": ("trained.",), "layer": (f"trained.{layer}.",)}[tensors]
    precision = np.float32 if tensors == "all" else np.float16
    held = load_file(run.weights_file)
    content = {name: tensor.astype(precision, copy=False) for name, tensor in held.items() if name.startswith(kept)}
    if not content:
        msg = f"layer must be one of run {run.name!r}, which holds {', '.join(held)}; got {layer!r}"
        raise ValueError(msg)
    target = Path(folder) / run.name
    target.mkdir(parents=True, exist_ok=True)
    write_atomically(target / "weights.safetensors", save(content))
    write_atomically(target / "history.csv", (run.path / "history.csv").read_bytes())
    record = json.loads((run.path / "run.json").read_text())
    record["sha256"] = {file: file_sha256(target / file) for file in record["sha256"]}
    write_atomically(target / "run.json", (json.dumps(record, indent=2) + "\n").encode())
    return load_run(run.name, folder=folder)
