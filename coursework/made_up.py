"""A class that is made up, to see how grading goes: right answers, common mistakes, and notebooks that are broken."""

from __future__ import annotations

import json
import re
from itertools import cycle, islice
from pathlib import Path

import nbformat
import notebooks

MARK = re.compile(r"^ *### (BEGIN|END) SOLUTION\n?", re.MULTILINE)
LOOP = "def unfolded(nu, a=15):\n    while True:\n        a += 1\n"
FAILING = {
    "unfolding": {"unfolded": LOOP},
    "spacings": {"level-spacings": "import package_of_a_friend\n"},
    "number_variance": {"variance": None, "variance-test": None},
    "marchenko_pastur": {"density": "def density(nu, shape, sigma)\n    return 0\n"},
}
MISTAKES = {
    "unfolding": "forgot to sort before unfolding",
    "spacings": "forgot to unfold",
    "number_variance": "level-centred windows",
    "marchenko_pastur": "sigma instead of sigma squared",
    "porter_thomas": "one-sided distance",
}


def hand_in(root: Path, student: str, name: str, changes: dict[str, str | None], language: str = "python") -> Path:
    """Put a notebook into the inbox: the released one with the given cells changed, or left out where the change is None."""
    notebook = nbformat.read(root / "release" / name / f"{name}.ipynb", as_version=4)
    cells = []
    for cell in notebook.cells:
        grade_id = notebooks.metadata(cell).get("grade_id")
        if grade_id in changes and changes[grade_id] is None:
            continue
        cell.source = changes.get(grade_id, cell.source)
        cells.append(cell)
    notebook.cells = cells
    if language != "python":
        notebook.metadata = {"kernelspec": {"name": "ir", "display_name": language, "language": language}}
    file = root / "inbox" / student / f"{name}.ipynb"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(notebook))
    return file


def right(name: str) -> dict[str, str]:
    """The reference solution of each task."""
    return {key: MARK.sub("", code) for key, code in notebooks.read(name).solutions.items()}


def answered(name: str, answer: notebooks.Answer) -> dict[str, str]:
    """The reference solution with the functions of one catalogued answer in their places."""
    found = right(name)
    changed = [key for key, code in found.items() if set(answer.functions) & set(notebooks.functions(code))]
    # the answer comes whole, in the first of its tasks, and is not overwritten by the reference in a later one
    for number, key in enumerate(changed):
        kept = [part for part in definitions(found[key]) if not set(notebooks.functions(part)) & set(answer.functions)]
        found[key] = "\n\n\n".join([*kept, answer.code] if number == 0 else kept) or "# see above"
    return found


def definitions(code: str) -> list[str]:
    """The functions of a piece of code, each as its own source."""
    return [part.strip() for part in re.split(r"^(?=def )", code, flags=re.MULTILINE) if part.strip()]


def small(root: Path) -> None:
    """Three students: all right, common mistakes, and notebooks that are broken in different ways."""
    for name in notebooks.names():
        hand_in(root, "right", name, right(name))
        if name in MISTAKES:
            answer = next(answer for answer in notebooks.read(name).answers() if answer.name == MISTAKES[name])
            hand_in(root, "wrong", name, answered(name, answer))
        if name in FAILING:
            hand_in(root, "broken", name, right(name) | FAILING[name])
        else:
            hand_in(root, "broken", name, right(name), language="R")


def large(root: Path, students: int) -> None:
    """As many students as asked for, who hand in catalogued answers, right ones and wrong ones in turn."""
    for name in notebooks.names():
        answers = notebooks.read(name).answers()
        for number, answer in enumerate(islice(cycle(answers), students), 1):  # none for what is graded by hand
            hand_in(root, f"student{number:03}", name, answered(name, answer))
