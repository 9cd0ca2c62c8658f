"""Grade one submission: its cells run apart, the tests here. What is said about it is fit to be shown to whom it belongs."""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

import apart
import handed_in
import nbformat
import notebooks
import plain
from nbformat.v4 import new_output

GRADER = (
    "apart.py",
    "cgroups.py",
    "grading.py",
    "handed_in.py",
    "hidden.py",
    "notebooks.py",
    "outputs.py",
    "relay.py",
    "sandbox.py",
    "wire.py",
)
KNOWN = {name for name in dir(builtins) if name.endswith(("Error", "Exception", "Interrupt", "Exit"))} | {"LinAlgError"}


@dataclass(frozen=True)
class Conditions:
    """Under which a class is graded."""

    seconds: float = 30.0
    total: float = 120.0
    confined: bool = True


@dataclass
class Graded:
    """A submission after its cells and all tests have run: a notebook as JSON, with the errors of tests as their outputs."""

    notebook: str | None = None
    remarks: list[str] = field(default_factory=list)
    code: str | None = None
    digest: str = ""


def digest(data: bytes, source: Path, conditions: Conditions) -> str:
    """Changes whenever the submission, the assignment, the grader or the conditions do."""
    parts = [data, source.read_bytes(), repr(conditions).encode()]
    parts += [(Path(__file__).parent / name).read_bytes() for name in GRADER]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def grade(file: Path, source: Path, released: Path, conditions: Conditions) -> Graded:
    """Grade a file that was handed in."""
    try:
        data = handed_in.content(file)
        found = Graded(digest=digest(data, source, conditions))
    except handed_in.RefusedError as error:
        return Graded(remarks=[f"not graded: {error}"])
    try:
        notebook, remarks = handed_in.read(data)
        given = nbformat.read(released, as_version=4)
        notebook, more = handed_in.complete(notebook, given)
    except handed_in.RefusedError as error:
        found.remarks = [f"not graded: {error}"]
        return found
    assignment = notebooks.Assignment(source.stem, nbformat.read(source, as_version=4))
    found.remarks, found.code = remarks + more, handed_in.same_code(notebook, given)
    options = {"seconds": conditions.seconds, "total": conditions.total, "confined": conditions.confined}
    told = bool(found.remarks)
    with apart.Submission(hide=assignment.hidden, **options) as submission:
        functions = submission.functions(assignment.functions)
        for number, cell in enumerate(notebook.cells, 1):
            if cell.cell_type != "code":
                continue
            grade_id = notebooks.metadata(cell).get("grade_id")
            test = assignment.tests.get(grade_id)
            cell.outputs, remark = run_cell(submission, cell.source) if test is None else run_test(test, functions)
            # whatever lacks a name follows from what was told already
            if remark and not (told and re.match("SyntaxError|IndentationError|NameError|.* raised NameError", remark)):
                found.remarks.append(f"{grade_id or f'cell {number}'}: {remark}")
                told = True
    found.notebook = nbformat.writes(notebook)
    return found


def run_cell(submission: apart.Submission, source: str) -> tuple[list, str]:
    """Outputs of a cell of the submission, and a remark. After the first call by a test they say no word of its own."""
    called = submission.called
    try:
        outputs = submission.run(source)
    except apart.StoppedError as error:
        return [shown("StoppedError", str(error))], str(error)
    errors = [output for output in outputs if output.output_type == "error"]
    remark = plain.line(f"{errors[-1].ename}: {errors[-1].evalue}".removesuffix(": ")) if errors else ""
    if called:
        # it may have kept the arguments, which nobody but the test should know
        outputs = [shown(known(output.ename), "") for output in errors[-1:]]
    return outputs, remark


def run_test(test: str, functions: dict) -> tuple[list, str]:
    """What a test shows to the student, and a remark for the instructor."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        error = notebooks.run_test(notebooks.visible(test), functions)
        hidden = error is None
        if hidden:
            error = notebooks.run_test(test, functions)
    if error is None:
        return [], ""
    remark = plain.line(error) if isinstance(error, (apart.StoppedError, apart.SubmissionError)) else ""
    return [shown(type(error).__name__, words(error, hidden))], remark


def words(error: Exception, hidden: bool) -> str:
    """What may be said of an error: nothing that the submission chose, once arguments are those of a hidden test."""
    if not hidden or isinstance(error, (AssertionError, apart.StoppedError)):
        return plain.line(error, 500)
    if isinstance(error, apart.SubmissionError):
        return (
            f"one of your functions raised {known(error.error)}"
            if error.error
            else "one of your functions returned no usable value"
        )
    return "the value that your function returns is not what was asked for"


def known(name: str) -> str:
    """The name of an error if Python or numpy has one of this name."""
    return name if name in KNOWN else "an error of its own"


def shown(name: str, said: str):
    return new_output("error", ename=name, evalue=said, traceback=[f"{name}: {said}".removesuffix(": ")])
