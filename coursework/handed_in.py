"""Read what was handed in, and make it whole: the cells of the assignment, with its tests as they were given out.

Whatever is wrong with a file is said in words, as `RefusedError` if it cannot be graded and as a remark if it can.
"""

from __future__ import annotations

import ast
import os
import re
import stat
import warnings
from pathlib import Path

import nbformat
import notebooks
import plain
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

LARGEST, MANY_OUTPUTS = 64 * 2**20, 2**20  # bytes of a notebook that is still read, and of outputs that are worth a remark
MOST_CELLS, LONGEST_CELL = 1000, 200_000  # characters
CELLS = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}


class RefusedError(Exception):
    """A file that is not a submission, and why."""


def content(file: Path) -> bytes:
    """What is in a file that was handed in: opened once, through no link, and never waited for."""
    # Windows has neither of the two
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(file, flags)
    except OSError:
        msg = "not a file"
        raise RefusedError(msg) from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or file.is_symlink():
            msg = "not a file"
            raise RefusedError(msg)
        if found.st_size > LARGEST:
            msg = f"{found.st_size / 2**20:.0f} MB are too much: clear the outputs and hand it in again"
            raise RefusedError(msg)
        with os.fdopen(os.dup(handle), "rb") as opened:
            data = opened.read(LARGEST + 1)
    finally:
        os.close(handle)
    if not data:
        msg = "the file is empty"
        raise RefusedError(msg)
    return data


def read(data: bytes) -> tuple[nbformat.NotebookNode, list[str]]:
    """A notebook that was handed in, and what is unusual about it."""
    try:
        with warnings.catch_warnings():
            # of cells that have no name or one name: none of it matters here
            warnings.simplefilter("ignore")
            notebook = nbformat.reads(data.decode("utf-8-sig"), as_version=4)
        kernel, language = (notebook.metadata.get(key) or {} for key in ("kernelspec", "language_info"))
        spoken = {str(found).lower() for found in (kernel.get("language"), language.get("name")) if found}
        code = sum(len(cell.source) for cell in notebook.cells)
        odd = [cell for cell in notebook.cells if cell.cell_type not in CELLS or not isinstance(cell.metadata, dict)]
        longest = max([len(cell.source) for cell in notebook.cells], default=0)
    except Exception as error:
        msg = f"not a notebook: {plain.line(error, 100) or type(error).__name__}"
        raise RefusedError(msg) from None
    if odd:
        msg = "not a notebook: one of its cells is of an unknown kind"
        raise RefusedError(msg)
    if not notebook.cells:
        msg = "the notebook has no cells"
        raise RefusedError(msg)
    if len(notebook.cells) > MOST_CELLS or longest > LONGEST_CELL:
        msg = f"more than {MOST_CELLS} cells, or more than {LONGEST_CELL} characters in one"
        raise RefusedError(msg)
    if spoken - {"python", "ipython"}:
        languages = plain.line(", ".join(sorted(spoken)), 40)
        name = plain.line(repr(kernel.get("name")), 40)
        msg = f"made with the kernel {name} for {languages}; this course uses Python"
        raise RefusedError(msg)
    heavy = len(data) - code > MANY_OUTPUTS
    return notebook, [f"{len(data) / 2**20:.0f} MB, nearly all of them outputs, which were left out"] if heavy else []


def complete(notebook, released) -> tuple[nbformat.NotebookNode, list[str]]:
    """The submission with every cell of the assignment, each test as it was released and nothing that pretends to be one."""
    known = {notebooks.metadata(cell)["grade_id"]: cell for cell in released.cells if notebooks.metadata(cell)}
    cells, seen, remarks = [], set(), []
    for number, cell in enumerate(notebook.cells, 1):
        grade_id = notebooks.metadata(cell).get("grade_id")
        if not isinstance(grade_id, str) or grade_id not in known or grade_id in seen:
            if isinstance(grade_id, str) and grade_id in seen:
                remarks.append(f"{grade_id}: this cell is there more than once, and the code of the last one holds")
            cells.append(CELLS[cell.cell_type](cell.source))
            grade_id = None
        else:
            seen.add(grade_id)
            original = known[grade_id]
            given = notebooks.metadata(original)
            if cell.cell_type != original.cell_type:
                remarks.append(
                    f"{grade_id}: this cell was turned into one of kind {cell.cell_type}, and is taken as it was given out"
                )
            # a question that is graded by hand is answered in the cell that has its points
            source = original.source if given["grade"] and not given["solution"] else cell.source
            cells.append(CELLS[original.cell_type](source, metadata=original.metadata))
        if cells[-1].cell_type == "code" and (problem := syntax_error(cell.source)):
            remarks.append(f"{grade_id or f'cell {number}'}: {problem}")
    if not seen:
        msg = "without the metadata of the assignment: hand in the notebook itself, not a copy of its cells"
        raise RefusedError(msg)
    for grade_id, original in known.items():
        if grade_id not in seen:
            remarks.append(f"{grade_id}: this cell was missing")
            given = notebooks.metadata(original)
            source = original.source if given["grade"] and not given["solution"] else "# this cell was missing"
            cells.append(CELLS[original.cell_type](source, metadata=original.metadata))
    return new_notebook(cells=cells, metadata={"kernelspec": released.metadata.kernelspec}), remarks


def syntax_error(code: str) -> str | None:
    """Why the code of a cell, with IPython's own commands, cannot be run; None if it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(TransformerManager().transform_cell(code))
    except SyntaxError as error:
        return plain.line(f"{type(error).__name__}: {error.msg}, line {error.lineno}", 200)
    except Exception as error:  # null bytes, too many brackets, or whatever else IPython's own parser meets
        return f"not code: {plain.line(error, 200) or type(error).__name__}"
    return None


def same_code(whole, released) -> str | None:
    """The code of the tasks without comments, blanks and docstrings; None if it is no more than what was given out."""

    def counted(notebook):
        sources = [
            cell.source for cell in notebook.cells if notebooks.metadata(cell).get("solution") and cell.cell_type == "code"
        ]
        return [_counted(source) for source in sources]

    found = counted(whole)
    return None if found == counted(released) else "\n".join(found)


def _counted(source):
    try:
        tree = ast.parse(source)
    except Exception:
        return re.sub(r"\s+", " ", source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
