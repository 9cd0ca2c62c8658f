"""The assignments as they are written: cells, points, reference solutions, and catalogued answers to try the tests on."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import jupytext
from nbformat import NotebookNode

FOLDER = Path(__file__).parent
ANSWER = re.compile(r"^## (right|wrong|hidden): (.+?)\n(.*?)^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HIDDEN = re.compile(r"^### BEGIN HIDDEN TESTS\n.*?^### END HIDDEN TESTS", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """A possible answer: code that replaces some functions of the reference solution.

    Its kind is right, wrong, or hidden: right, but by a call of what is hidden while the assignment is graded.
    """

    kind: str
    name: str
    code: str

    @property
    def functions(self) -> tuple[str, ...]:
        return functions(self.code)


@dataclass(frozen=True, eq=False)
class Assignment:
    """One assignment with solutions and hidden tests."""

    name: str
    notebook: NotebookNode

    @property
    def tests(self) -> dict[str, str]:
        """Source of every test by the name of its cell, in order."""
        return {metadata(cell)["grade_id"]: cell.source for cell in self.notebook.cells if is_test(cell)}

    @property
    def points(self) -> dict[str, float]:
        """Points of every test, and of every question that is graded by hand."""
        graded = [metadata(cell) for cell in self.notebook.cells if metadata(cell).get("grade")]
        return {data["grade_id"]: data["points"] for data in graded}

    @property
    def solutions(self) -> dict[str, str]:
        """Source of every reference solution."""
        return {metadata(cell)["grade_id"]: cell.source for cell in self.notebook.cells if is_task(cell)}

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of the functions that a student writes: all that a test may call."""
        return tuple(name for code in self.solutions.values() for name in functions(code))

    @property
    def tasks(self) -> list[tuple[tuple[str, ...], dict[str, float]]]:
        """Functions of each task, and the points of the tests that follow it up to the next."""
        found: list[tuple[tuple[str, ...], dict[str, float]]] = []
        for cell in self.notebook.cells:
            if is_task(cell):
                found.append((functions(cell.source), {}))
            elif is_test(cell):
                found[-1][1][metadata(cell)["grade_id"]] = metadata(cell)["points"]
        return found

    @property
    def hidden(self) -> tuple[str, ...]:
        """Functions of libraries that solve an exercise by themselves, and cannot be called while it is graded."""
        return tuple(self.notebook.metadata.get("hidden", ()))

    def answers(self) -> list[Answer]:
        """The catalogue of right and wrong answers; none for an assignment that is graded by hand."""
        file = FOLDER / "answers" / f"{self.name}.md"
        found = ANSWER.findall(file.read_text()) if file.is_file() else []
        return [Answer(kind, name, code) for kind, name, _, code in found]

    def namespace(self, answer: Answer | None = None) -> dict:
        """What the notebook defines, with an answer in the place of the reference solution."""
        names = {"__name__": "__main__"}
        for cell in self.notebook.cells:
            if cell.cell_type == "code" and not metadata(cell).get("grade"):
                # cells that only show results stay away: they print
                if metadata(cell).get("solution") or "import " in cell.source:
                    exec(compile(cell.source, self.name, "exec"), names)
        if answer:
            exec(compile(answer.code, answer.name, "exec"), names)
        return names


def names() -> list[str]:
    """All assignments."""
    return sorted(path.stem for path in (FOLDER / "assignments").glob("*.md"))


def read(name: str) -> Assignment:
    """One assignment."""
    return Assignment(name, jupytext.read(FOLDER / "assignments" / f"{name}.md"))


def metadata(cell: NotebookNode) -> dict:
    """What nbgrader wrote into a cell."""
    found = cell.metadata.get("nbgrader", {})
    return found if isinstance(found, dict) else {}


def is_test(cell: NotebookNode) -> bool:
    """Whether a cell is a test: it has points and holds no answer."""
    return bool(metadata(cell).get("grade")) and not metadata(cell).get("solution")


def is_task(cell: NotebookNode) -> bool:
    """Whether a cell is for code of the student."""
    return cell.cell_type == "code" and bool(metadata(cell).get("solution"))


def visible(test: str) -> str:
    """A test without what is hidden from students."""
    return HIDDEN.sub("", test)


def functions(code: str) -> tuple[str, ...]:
    """Names of the functions defined at the top level of the code."""
    return tuple(node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef))


def run_test(code: str, functions: dict) -> Exception | None:
    """Run a test in a namespace of its own that holds the student's functions and nothing else; what it raised."""
    try:
        exec(compile(code, "test", "exec"), {"__name__": "test", **functions})
    except Exception as error:
        return error
    return None
