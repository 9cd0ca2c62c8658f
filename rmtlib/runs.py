"""A finished run on disk: ``run.json``, ``history.csv`` and ``weights.safetensors`` in a folder of its own.

Reading one needs no torch. `rmtlib.learning.train` writes it.
"""

from __future__ import annotations

import csv
import json
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open

from .ensembles import glorot_uniform
from .files import file_sha256, write_atomically

__all__ = [
    "Run",
    "RunError",
    "book_data",
    "commit",
    "find_runs",
    "initial",
    "load_run",
    "processor",
    "run_records",
    "write_history",
]

FILES = ("run.json", "history.csv", "weights.safetensors")
RESULTS = {"sha256", "train_accuracy", "test_accuracy"}  # of a run that is completed
# Layers with weights in the order in which their initial weights are drawn.
LAYERS: dict[str, tuple[str, ...]] = dict.fromkeys(("mlp512", "mlp1024"), ("dense1", "dense2", "dense3", "dense4"))
LAYERS |= dict.fromkeys(("minialexnet", "minialexnet3x3"), ("conv1", "conv2", "dense1", "dense2", "dense3"))
# Settings that runs did not record before there was a choice.
ADDED_SETTINGS = {"label_noise": 0.0, "decay_every": 1, "centred": False, "bulk_variance": False}
# Where `pip install --editable` leaves the library: beside the book's folder ``data``.
CHECKOUT = Path(__file__).parents[1]


class RunError(ValueError):
    """A run that is missing, incomplete, altered or diverged."""


@dataclass(frozen=True)
class Run:
    """What one training left behind.

    Attributes
    ----------
    name : str
    path : pathlib.Path
        The run's folder.
    config : dict
        The `TrainingConfig` as plain values.
    train_accuracy, test_accuracy : float
        Shares in [0, 1] after the last epoch.
    history : dict of str to numpy.ndarray
        Columns of ``history.csv``, one entry an epoch.
    """

    name: str
    path: Path
    config: dict
    train_accuracy: float
    test_accuracy: float
    history: dict

    @property
    def weights_file(self) -> Path:
        """Tensors ``initial.<layer>`` and ``trained.<layer>``."""
        return self.path / "weights.safetensors"


def load_run(name: str, *, folder=None) -> Run:
    """Load a finished run and check that its files are the ones it wrote.

    Parameters
    ----------
    name : str
        Name of the run's folder.
    folder : path, optional
        Folder of runs; by default ``data/runs`` of the book, looked for upwards from the current folder, then in
        the checkout that rmtlib lies in.

    Raises
    ------
    RunError
        If the run is missing, incomplete or diverged, or a file differs from its recorded hash.
    """
    folder = book_data() / "runs" if folder is None else Path(folder)
    path = folder / name
    if not path.is_dir():
        known = sorted(p.name for p in folder.glob("*") if p.is_dir()) if folder.is_dir() else []
        msg = f"no run {name!r} in {str(folder)!r}; there are: {', '.join(known) or 'none'}"
        raise RunError(msg)
    missing = [file for file in FILES if not (path / file).is_file()]
    if "run.json" in missing:
        msg = f"run {name!r} is incomplete: {', '.join(missing)} missing; train it again to finish it"
        raise RunError(msg)
    record = _record(path / "run.json")
    if record is None or (record["status"] == "completed" and not record.keys() >= RESULTS):
        msg = f"run {name!r}: run.json is not the record of a run; {_again(path)}"
        raise RunError(msg)
    if (status := record["status"]) != "completed":
        msg = f"run {name!r} {status} in epoch {record.get('epoch')} and has no result; {_again(path)}"
        raise RunError(msg)
    if missing:
        msg = f"run {name!r} is incomplete: {', '.join(missing)} missing; {_again(path)}"
        raise RunError(msg)
    for file, digest in record["sha256"].items():
        if file_sha256(path / file) != digest:
            msg = f"run {name!r}: {file} differs from the file that the run wrote; {_again(path)}"
            raise RunError(msg)
    with open(path / "history.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    history = {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}
    config = ADDED_SETTINGS | record["config"]
    return Run(name, path, config, record["train_accuracy"], record["test_accuracy"], history)


def run_records(folder) -> dict[str, dict]:
    """What the runs in a folder recorded, finished or diverged, by their names.

    Parameters
    ----------
    folder : path

    Returns
    -------
    dict of str to dict
        In the order of the names, each with ``status`` and ``config``. Folders whose ``run.json`` is cut off, or something else,
        are passed over.
    """
    records = {file.parent.name: _record(file) for file in sorted(Path(folder).glob("*/run.json"))}
    return {name: record for name, record in records.items() if record is not None}


def _record(file: Path) -> dict | None:
    """The record of a run; None if the file is none."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return record if isinstance(record, dict) and "status" in record and isinstance(record.get("config"), dict) else None


def find_runs(*, folder=None, **config) -> list[Run]:
    """All finished runs whose configuration has these values, in the order of laziness and seed.

    Parameters
    ----------
    folder : path, optional
        Folder of runs, as in `load_run`. Folders that hold no finished run are passed over.
    **config
        Values of the `TrainingConfig`, such as ``network="mlp512", seed=0``; none means every run without label noise, with the
        logits as they are and the smooth decay of the rate. Runs that differ in these are found by ``label_noise``, ``centred``
        and ``decay_every`` alone.

    Raises
    ------
    RunError
        If there is no such run, or the files of one differ from their recorded hashes.
    ValueError
        If a run has no such setting.
    """
    folder = book_data() / "runs" if folder is None else Path(folder)
    found, config = [], {"label_noise": 0.0, "centred": False, "decay_every": 1} | config
    for name, record in run_records(folder).items():
        settings = ADDED_SETTINGS | record["config"]
        unknown = config.keys() - settings.keys()
        if unknown:
            known = ", ".join(settings)
            msg = f"config must name settings of a run, {known}; got {', '.join(sorted(unknown))}"
            raise ValueError(msg)
        if record["status"] == "completed" and config.items() <= settings.items():
            found.append(load_run(name, folder=folder))
    if not found:
        msg = f"no finished run in {str(folder)!r} with {config}"
        raise RunError(msg)
    return sorted(found, key=lambda run: (run.config["laziness"], run.config["seed"]))


def initial(run: Run, layer: str) -> np.ndarray:
    """Initial weights of one layer of a run: read where its file holds them, otherwise drawn again from its seed.

    Parameters
    ----------
    run : Run
    layer : str
        Such as ``"dense2"``.

    Returns
    -------
    numpy.ndarray
        float32, of the shape that the layer has in the file: ``(n_out, n_in)``, of a convolution
        ``(n_out, n_in, height, width)``. Training starts from zero biases.

    Raises
    ------
    ValueError
        If the run's network has no such layer.
    RunError
        If the file holds neither initial nor trained weights of the layer, so that its shape is not known.

    Notes
    -----
    Layer k, counted from 1, is drawn from ``numpy.random.default_rng([seed, k])`` (Glorot uniform, appendix A of the paper).
    """
    names = LAYERS[run.config["network"]]
    if layer not in names:
        msg = f"layer must be one of {', '.join(names)}; got {layer!r}"
        raise ValueError(msg)
    with safe_open(run.weights_file, framework="numpy") as file:
        kept = set(file.keys())
        if f"initial.{layer}.weight" in kept:
            return file.get_tensor(f"initial.{layer}.weight").astype(np.float32, copy=False)
        if f"trained.{layer}.weight" not in kept:
            msg = f"run {run.name!r} keeps no weights of {layer}; it keeps {', '.join(sorted(kept)) or 'none'}"
            raise RunError(msg)
        shape = tuple(file.get_slice(f"trained.{layer}.weight").get_shape())
    return glorot_uniform(shape, [run.config["seed"], names.index(layer) + 1]).astype(np.float32, copy=False)


def _again(path: Path) -> str:
    return f"delete {str(path)!r} to train it again, or give the new run another name"


def book_data() -> Path:
    """The book's ``data`` folder, looked for upwards from the current folder, then in the checkout that rmtlib lies in."""
    for parent in (Path.cwd(), *Path.cwd().parents, CHECKOUT):
        if (parent / "data" / "registry.txt").is_file():
            return parent / "data"
    msg = (
        "no data/registry.txt in the current folder, above it, or beside the installed rmtlib; "
        "install rmtlib in place in a checkout of the book, or give the folder of the runs by folder="
    )
    raise RunError(msg)


def processor() -> str:
    """Name of the processor, as the operating system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def commit() -> str | None:
    """Commit of the checkout that rmtlib lies in, marked "+ changes" where files differ from it; None outside a checkout."""

    def git(*arguments):
        return subprocess.run(["git", "-C", str(CHECKOUT), *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        if not Path(git("rev-parse", "--show-toplevel")).samefile(CHECKOUT):
            return None
        return git("rev-parse", "HEAD") + (" + changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def write_history(path: Path, rows: list[dict]) -> None:
    """One line an epoch, floats with all their digits."""
    lines = [",".join(rows[0])] + [",".join(repr(value) for value in row.values()) for row in rows]
    write_atomically(path, ("\n".join(lines) + "\n").encode())
