"""Run a grid of parameters through one notebook, on this machine or on many: ``rmtlib sweep GRID.yaml``.

A grid is a YAML file:

.. code-block:: yaml

    notebook: chapters/09_training.md
    output: runs/regimes              # folder of the executed notebooks and of one log a run
    base: {network: mlp512}           # parameters of all runs
    grid: {laziness: [0.5, 1, 5], seed: [0, 1]}    # all combinations
    runs: [{laziness: 2, seed: 0}]    # and single runs

Paths start from the folder in which the command is typed. A text in braces is filled with the run's parameters, as in
``run_name: "mlp512-{standardization}-seed{seed}"``: runs that differ in more than network, data set, laziness, seed and
label noise need names of their own.

The work is done by dask: a cluster of this machine's cores with one thread each, or any cluster by its scheduler's address,
whose workers see the same files. What is done is skipped: an executed notebook holds a key made of its parameters, the
notebook's code and the library's training code. A worker or a sweep that is killed loses the epoch in flight, because
training goes on from its checkpoint. Where only code has changed, the notebook is executed again, but a training that it finds
done in ``runs_folder`` is not repeated: delete its folder for that.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import os
import platform
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import nbformat
import papermill
import yaml
from dask.distributed import as_completed
from dask.system import CPU_COUNT
from tqdm import tqdm

from .. import checks
from ..cluster import ONE_THREAD, open_client
from .launch import ParameterError, check_parameters, launch, output_name, read_notebook

__all__ = ["Grid", "SweepReport", "read_grid", "run_key", "sweep"]

_KEYS = ("notebook", "output", "base", "grid", "runs")


@dataclass(frozen=True)
class Grid:
    """What a grid file asks for.

    Attributes
    ----------
    notebook : nbformat.NotebookNode
    output : pathlib.Path
        Folder of executed notebooks and logs.
    runs : dict of str to dict
        Parameters by the file name of the executed notebook.
    """

    notebook: nbformat.NotebookNode
    output: Path
    runs: dict[str, dict]


@dataclass(frozen=True)
class SweepReport:
    """How the runs ended.

    Attributes
    ----------
    skipped, finished : tuple of pathlib.Path
        Executed notebooks that were there before, and those of this sweep.
    failed : dict of pathlib.Path to str
        For each run that failed its log and the error in one line.
    """

    skipped: tuple[Path, ...]
    finished: tuple[Path, ...]
    failed: dict[Path, str]


def read_grid(path) -> Grid:
    """Read and check a grid file.

    Parameters
    ----------
    path : path
        YAML, see the module.

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        If the file is not such a grid, or the notebook does not take the parameters; nothing was executed then.
    """
    try:
        content = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"grid {str(path)!r} cannot be read: {error}"
        raise ValueError(msg) from error
    _check_form(content, path)
    notebook = read_notebook(content["notebook"])
    base, grid, singles = content.get("base") or {}, content.get("grid") or {}, content.get("runs") or []
    products = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())] if grid else []
    runs = {}
    for own in [*products, *singles]:
        try:
            parameters = _fill(check_parameters(notebook, {**base, **own}, from_text=True), notebook)
        except ParameterError as error:
            msg = f"grid {str(path)!r}, run {own}: {error}"
            raise ParameterError(msg) from None
        runs[output_name(Path(content["notebook"]).stem, parameters, shown=own)] = parameters
    return Grid(notebook, Path(content["output"]).absolute(), runs)


def run_key(notebook: nbformat.NotebookNode, parameters: dict) -> str:
    """Key of a run: it changes with the parameters, the notebook's code and the library's training code.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        Before its execution. Its text does not matter.
    parameters : dict

    Returns
    -------
    str
        A hexadecimal SHA-256.
    """
    library = Path(__file__).parents[1]
    files = [*sorted(library.glob("learning/*.py")), library / "ensembles.py", library / "runs.py"]
    parts = [json.dumps(parameters, sort_keys=True).encode()]
    parts += [cell.source.encode() for cell in notebook.cells if cell.cell_type == "code"]
    parts += [file.read_bytes() for file in files]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def sweep(grid, *, scheduler: str | None = None, workers: int | None = None, progress: bool = True) -> SweepReport:
    """Execute the runs of a grid that are not done yet.

    Parameters
    ----------
    grid : path or Grid
        Grid file, or what `read_grid` made of it.
    scheduler : str, optional
        Address of a dask scheduler; without it a cluster is started on this machine.
    workers : int, optional
        Size of the local cluster; by default one worker a core.
    progress : bool
        Show a progress bar over the runs.

    Returns
    -------
    SweepReport
        A run that failed does not stop the others.

    Raises
    ------
    ValueError
        If the grid is wrong, ``workers`` is no number of workers, or no scheduler answers.
    """
    if workers is not None:
        checks.integer(workers, "workers", at_least=1)
    if not isinstance(grid, Grid):
        grid = read_grid(grid)
    keys = {name: run_key(grid.notebook, parameters) for name, parameters in grid.runs.items()}
    skipped = [name for name in grid.runs if _stored_key(grid.output / name) == keys[name]]
    todo = [name for name in grid.runs if name not in skipped]
    finished, failed = [], {}
    grid.output.mkdir(parents=True, exist_ok=True)
    text, cwd = nbformat.writes(grid.notebook), str(Path.cwd())
    with tqdm(total=len(grid.runs), initial=len(skipped), unit="run", disable=not progress) as bar:
        if todo:
            with open_client(scheduler, min(workers or CPU_COUNT, len(todo))) as client:
                futures = {}
                for name in todo:
                    output = grid.output / name
                    future = client.submit(_run, text, grid.runs[name], str(output), cwd, keys[name], pure=False)
                    futures[future] = output
                for future in as_completed(futures):
                    error = _error(future)
                    if error is None:
                        finished.append(futures[future])
                    else:
                        failed[_log_of(futures[future])] = error
                    bar.set_postfix(failed=len(failed))
                    bar.update()
    return SweepReport(tuple(grid.output / name for name in skipped), tuple(sorted(finished)), dict(sorted(failed.items())))


def _check_form(content, path):
    if not isinstance(content, dict):
        msg = f"grid {str(path)!r} must be a mapping with {', '.join(_KEYS)}; got {content!r}"
        raise ValueError(msg)
    problems = [f"{key!r} is unknown, known are {', '.join(_KEYS)}" for key in content if key not in _KEYS]
    problems += [f"{key} must be a path; got {content.get(key)!r}" for key in _KEYS[:2] if not isinstance(content.get(key), str)]
    base, grid, runs = content.get("base") or {}, content.get("grid") or {}, content.get("runs") or []
    if not isinstance(base, dict):
        problems.append(f"base must be a mapping of parameters; got {base!r}")
    if not isinstance(grid, dict) or not all(isinstance(values, list) and values for values in grid.values()):
        problems.append(f"grid must map parameters to lists of values; got {grid!r}")
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        problems.append(f"runs must be a list of mappings of parameters; got {runs!r}")
    if not grid and not runs:
        problems.append("grid or runs must say what to run")
    if problems:
        msg = f"grid {str(path)!r}: {'; '.join(problems)}"
        raise ValueError(msg)


def _fill(parameters, notebook):
    known = {}
    for name, parameter in papermill.inspect_notebook(notebook).items():
        try:
            known[name] = ast.literal_eval(parameter["default"])
        except (ValueError, SyntaxError):
            known[name] = parameter["default"]
    known |= parameters
    try:
        return {name: value.format_map(known) if isinstance(value, str) else value for name, value in parameters.items()}
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        msg = f"a text in braces cannot be filled with the parameters {', '.join(known)}: {error!r}"
        raise ParameterError(msg) from None


def _stored_key(output: Path):
    try:
        return json.loads(output.read_text())["metadata"]["rmtlib"]["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _log_of(output: Path) -> Path:
    return output.with_suffix(".log")


def _run(text, parameters, output, cwd, key):
    """Execute one run on a worker; return its error in one line, or None."""
    for variable, value in ONE_THREAD.items():
        os.environ.setdefault(variable, value)
    with open(_log_of(Path(output)), "a", encoding="utf-8") as log:
        print(f"== {time.strftime('%Y-%m-%d %H:%M:%S')} on {platform.node()}: {json.dumps(parameters)}", file=log, flush=True)
        try:
            notebook = nbformat.reads(text, as_version=4)
            launch(notebook, parameters, output=output, cwd=cwd, log=log, metadata={"key": key, "parameters": parameters})
        except Exception as error:
            traceback.print_exc(file=log)
            return f"{type(error).__name__}: {error}".splitlines()[0]
        print("== done", file=log)
    return None


def _error(future):
    try:
        return future.result()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
