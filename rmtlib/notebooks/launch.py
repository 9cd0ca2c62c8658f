"""Run a notebook with other parameters: ``rmtlib run chapters/09_training.md -p laziness 0.5``.

Papermill executes the notebook, after its parameters were checked against the notebook's cell tagged ``parameters``, whose
lines look like ``laziness: float = 1.0  # rich 0.5, typical 1, lazy 5``. Papermill itself only warns at an unknown name and
passes a value of any type.

Relative paths, those in the parameters included, start from the folder in which the command is typed, and the notebook runs
there. The executed notebook appears whole or not at all.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

import jupytext
import nbformat
import papermill
from traitlets.config import Config

from ..files import write_atomically

__all__ = ["NotebookError", "ParameterError", "check_parameters", "launch", "output_name", "read_notebook"]

_TYPES = {"str": str, "int": int, "float": float, "bool": bool}


class ParameterError(ValueError):
    """Parameters that the notebook does not have, or of another type; the message lists the right ones."""


class NotebookError(RuntimeError):
    """A cell of the notebook failed; the message holds its traceback."""


def read_notebook(path) -> nbformat.NotebookNode:
    """Read a notebook, as MyST-markdown or as ipynb.

    Parameters
    ----------
    path : path
        A file that ends in ``.md`` or ``.ipynb``.

    Returns
    -------
    nbformat.NotebookNode

    Raises
    ------
    ValueError
        If there is no such file, or it is no notebook.
    """
    path = Path(path)
    if path.suffix not in (".md", ".ipynb") or not path.is_file():
        msg = f"notebook must be a file that ends in .md or .ipynb; got {str(path)!r}"
        raise ValueError(msg)
    try:
        notebook = jupytext.read(path)
    except (ValueError, KeyError, nbformat.ValidationError) as error:
        msg = f"notebook {str(path)!r} cannot be read: {error}"
        raise ValueError(msg) from error
    # Papermill wants to be told the language, which markdown does not hold.
    notebook.metadata.setdefault("language_info", {"name": "python"})
    notebook.metadata.setdefault("kernelspec", {"name": "python3", "language": "python", "display_name": "Python 3"})
    return notebook


def check_parameters(notebook: nbformat.NotebookNode, parameters: Mapping, *, from_text: bool = False) -> dict:
    """Parameters in the order of the notebook, each of the type that the notebook declares.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        From `read_notebook`.
    parameters : mapping of str to value
        Integers are taken where floats are declared, and paths where strings are.
    from_text : bool
        Convert strings to the declared type, as for values from a command line.

    Returns
    -------
    dict

    Raises
    ------
    ParameterError
        If the notebook lacks a parameter or declares another type. The message names everything that is wrong
        and lists the notebook's parameters with types, defaults and help.

    Notes
    -----
    Checked are the types ``str``, ``int``, ``float`` and ``bool``, declared or taken from the default. A value for
    any other type passes unchecked; as text it is read as a Python literal.
    """
    declared = papermill.inspect_notebook(notebook)
    if parameters and not declared:
        msg = f"the notebook has no cell tagged 'parameters', so it takes no {', '.join(parameters)}"
        raise ParameterError(msg)
    problems = [f"there is no parameter {name!r}" for name in parameters if name not in declared]
    checked = {}
    for name, parameter in declared.items():
        if name not in parameters:
            continue
        kind = _declared_type(parameter)
        try:
            checked[name] = _value(parameters[name], kind, from_text)
        except (ValueError, TypeError, KeyError, SyntaxError, OverflowError):
            problems.append(f"{name} must be {kind}; got {parameters[name]!r}")
    if problems:
        known = "\n".join(
            f"  {name}: {_declared_type(p)} = {p['default']}" + (f"  # {p['help']}" if p["help"] else "")
            for name, p in declared.items()
        )
        msg = f"{'; '.join(problems)}. The notebook's parameters are\n{known}"
        raise ParameterError(msg)
    return checked


def launch(
    notebook,
    parameters: Mapping | None = None,
    *,
    output=None,
    cwd=None,
    log: TextIO | None = None,
    metadata: dict | None = None,
) -> Path:
    """Execute a notebook with the given parameters.

    Parameters
    ----------
    notebook : path or nbformat.NotebookNode
        MyST-markdown or ipynb.
    parameters : mapping of str to value, optional
        Values for the notebook's parameters; the others keep their defaults.
    output : path, optional
        The executed notebook; by default ``runs/<notebook>-<parameters>.ipynb``. An older one is replaced.
    cwd : path, optional
        Folder in which the notebook runs; by default the current folder.
    log : text stream, optional
        Receives what the notebook prints, while it prints it.
    metadata : dict, optional
        Stored in the executed notebook as ``metadata.rmtlib``.

    Returns
    -------
    pathlib.Path
        ``output``.

    Raises
    ------
    ParameterError
        If a parameter is unknown or of another type; nothing is executed then.
    NotebookError
        If a cell fails or the kernel dies; no output is written then.
    """
    if not isinstance(notebook, nbformat.NotebookNode):
        stem, notebook = Path(notebook).stem, read_notebook(notebook)
    else:
        stem = "notebook"
    parameters = check_parameters(notebook, parameters or {})
    output = Path(output or Path("runs") / output_name(stem, parameters)).absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    executed = execute(notebook, parameters, Path(cwd or Path.cwd()).absolute(), log)
    if metadata is not None:
        executed.metadata["rmtlib"] = metadata
    write_atomically(output, nbformat.writes(executed).encode())
    return output


def output_name(stem: str, parameters: Mapping, *, shown=None) -> str:
    """A file name that differs where the parameters differ, and shows them, or those named in ``shown``.

    >>> output_name("09_training", {"laziness": 0.5, "dataset": "cifar10"})
    '09_training-laziness=0.5-dataset=cifar10-7db8be62.ipynb'
    """
    if not parameters:
        return f"{stem}.ipynb"
    readable = "-".join(f"{name}={value}" for name, value in parameters.items() if shown is None or name in shown)
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True, default=repr).encode()).hexdigest()
    return f"{stem}-{re.sub(r'[^a-zA-Z0-9_.=-]+', '_', readable)[:120]}-{digest[:8]}.ipynb"


def _declared_type(parameter) -> str:
    if parameter["inferred_type_name"] != "None":
        return parameter["inferred_type_name"]
    try:
        return type(ast.literal_eval(parameter["default"])).__name__
    except (ValueError, SyntaxError):
        return "object"


def _value(value, kind: str, from_text: bool):
    if isinstance(value, os.PathLike) and kind == "str":
        value = os.fspath(value)
    if hasattr(value, "item"):
        value = value.item()
    if from_text and isinstance(value, str) and kind != "str":
        read: dict[str, Callable[[str], object]] = {
            "int": int,
            "float": float,
            "bool": lambda text: {"true": True, "false": False}[text.lower()],
        }
        value = read.get(kind, ast.literal_eval)(value)
    if kind == "float" and type(value) is int:
        value = float(value)
    if kind in _TYPES and type(value) is not _TYPES[kind]:
        raise TypeError
    return value


def execute(notebook, parameters, cwd, log):
    """The notebook, executed by papermill with these parameters; what its cells print goes to the log."""
    with tempfile.TemporaryDirectory(prefix="rmtlib-") as sockets:
        config = Config()
        # Kernels that choose TCP ports at the same moment may choose the same one. A path is limited to about 100 bytes.
        if os.name == "posix" and len(sockets) < 80:
            config.KernelManager.transport, config.KernelManager.ip = "ipc", f"{sockets}/kernel"
        try:
            return papermill.execute_notebook(
                notebook,
                None,
                parameters,
                kernel_name="python3",
                progress_bar=False,
                stdout_file=log,
                stderr_file=log,
                # A kernel that is shut down reports the interrupt as an error.
                extra_arguments=["--log-level=CRITICAL"],
                # Not papermill's cwd, which changes the folder of the whole process.
                resources={"metadata": {"path": str(cwd)}},
                config=config,
            )
        except papermill.PapermillExecutionError as error:
            msg = f"{error.ename}: {error.evalue}\n{error}"
            raise NotebookError(msg) from None
        except RuntimeError as error:
            msg = f"the kernel was killed, ran out of memory or did not start: {error}"
            raise NotebookError(msg) from error
