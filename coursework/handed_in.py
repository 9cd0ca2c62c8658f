"""Read what was handed in, and make it whole: the cells of the assignment, with its tests as they were given out.

Whatever is wrong with a file is said in words, as `RefusedError` if it cannot be graded and as a remark if it can.
"""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

import nbformat
import notebooks
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

LARGEST, MANY_OUTPUTS = 200 * 2**20, 2**20  # bytes of a notebook that is still read, and of outputs that are worth a remark
CELLS = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}


class RefusedError(Exception):
    """A file that is not a submission, and why."""


def read(file: Path) -> tuple[nbformat.NotebookNode, list[str]]:
    """A notebook that was handed in, and what is unusual about it."""
    if file.is_symlink() or not file.is_file():
        raise RefusedError("not a file")
    size = file.stat().st_size
    if not size:
        raise RefusedError("the file is empty")
    if size > LARGEST:
        raise RefusedError(f"{size / 2**20:.0f} MB are too much: clear the outputs and hand it in again")
    try:
        with warnings.catch_warnings():
            # of cells that have no name or one name: none of it matters here
            warnings.simplefilter("ignore")
            notebook = nbformat.reads(file.read_text(encoding="utf-8"), as_version=4)
        kernel, language = (notebook.metadata.get(key) or {} for key in ("kernelspec", "language_info"))
        spoken = {str(found).lower() for found in (kernel.get("language"), language.get("name")) if found}
        code = sum(len(cell.source) for cell in notebook.cells)
        odd = [cell for cell in notebook.cells if cell.cell_type not in CELLS or not isinstance(cell.metadata, dict)]
    except Exception as error:
        raise RefusedError(f"not a notebook: {' '.join(str(error).split())[:100] or type(error).__name__}") from None
    if odd:
        raise RefusedError("not a notebook: one of its cells is of an unknown kind")
    if not notebook.cells:
        raise RefusedError("the notebook has no cells")
    if spoken - {"python", "ipython"}:
        languages = ", ".join(sorted(spoken))
        raise RefusedError(f"made with the kernel {kernel.get('name')!r} for {languages}; this course uses Python")
    heavy = size - code > MANY_OUTPUTS
    return notebook, [f"{size / 2**20:.0f} MB, nearly all of them outputs, which were left out"] if heavy else []


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
            source = original.source if notebooks.metadata(original)["grade"] else cell.source
            cells.append(new_code_cell(source, metadata=original.metadata))
        if cell.cell_type == "code" and (problem := syntax_error(cell.source)):
            remarks.append(f"{grade_id or f'cell {number}'}: {problem}")
    if not seen:
        raise RefusedError("without the metadata of the assignment: hand in the notebook itself, not a copy of its cells")
    for grade_id, original in known.items():
        if grade_id not in seen:
            remarks.append(f"{grade_id}: this cell was missing")
            test = notebooks.metadata(original)["grade"]
            source = original.source if test else "# this cell was missing"
            cells.append(new_code_cell(source, metadata=original.metadata))
    return new_notebook(cells=cells, metadata={"kernelspec": released.metadata.kernelspec}), remarks


def syntax_error(code: str) -> str | None:
    """Why the code of a cell, with IPython's own commands, cannot be run; None if it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(TransformerManager().transform_cell(code))
    except SyntaxError as error:
        return f"{type(error).__name__}: {error.msg}, line {error.lineno}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"not code: {error or type(error).__name__}"
    return None
