"""Release the assignments, collect what is handed in, grade it and write feedback, with nbgrader.

Usage: classroom.py [FOLDER] [--seconds S]

FOLDER is the folder of a class. The first run writes the notebooks for the students into FOLDER/release. Put what they hand in
into FOLDER/inbox/STUDENT/ASSIGNMENT.ipynb and run it again: it writes FOLDER/grades.csv and FOLDER/feedback. Without FOLDER it
makes up a class of three in _build/classroom and grades it.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import logging
import os
import re
import shutil
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.v4 import new_output

sys.path.insert(0, str(Path(__file__).parent))
import apart
import handed_in
import notebooks
from handed_in import RefusedError

try:
    from nbconvert.preprocessors import ClearMetadataPreprocessor, CSSHTMLHeaderPreprocessor
    from nbgrader.api import Gradebook, MissingEntry
    from nbgrader.apps.api import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.preprocessors import (
        AssignLatePenalties,
        CheckCellMetadata,
        ClearHiddenTests,
        GetGrades,
        NbGraderPreprocessor,
        SaveAutoGrades,
    )
    from sqlalchemy.exc import SAWarning
    from traitlets import Float, Unicode
    from traitlets.config import Config
except ImportError as missing:
    sys.exit(f"{missing}: pip install -r requirements-classroom.txt")

WRAPPED = "<style>pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }</style></head>"  # no line ends out of sight
MARK = re.compile(r"^ *### (BEGIN|END) SOLUTION\n?", re.MULTILINE)
REMARKS: dict[tuple[str, str], list[str]] = {}  # of the preprocessor, which nbgrader makes


@dataclass
class Row:
    """One line of the list of grades."""

    student: str
    assignment: str
    score: float
    points: float
    remarks: list[str] = field(default_factory=list)

    def __str__(self):
        return f"{self.student:12} {self.assignment:18} {self.score:4g} of {self.points:g}  {'; '.join(self.remarks)}"


class RunApart(NbGraderPreprocessor):
    """Run the submission in a process apart, and the tests here; in the place of nbgrader's `Execute`, which runs both in one."""

    root = Unicode(help="Folder of the class.").tag(config=True)
    seconds = Float(30.0, help="For a cell or a call, as `apart.Watch` counts them.").tag(config=True)
    total = Float(120.0, help="For one submission.").tag(config=True)

    def preprocess(self, nb, resources):
        student, name = resources["nbgrader"]["student"], resources["nbgrader"]["assignment"]
        source = Path(self.root) / "source" / name / f"{name}.ipynb"
        assignment = notebooks.Assignment(name, nbformat.read(source, as_version=4))
        remarks = REMARKS[student, name] = []
        with apart.Submission(seconds=self.seconds, total=self.total) as submission:
            functions = submission.functions(assignment.functions)
            for number, cell in enumerate(nb.cells, 1):
                if cell.cell_type != "code":
                    continue
                grade_id = notebooks.metadata(cell).get("grade_id")
                if grade_id in assignment.tests:
                    # never the text that was handed in: it would run outside the sandbox
                    cell.source = assignment.tests[grade_id]
                    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                        error = notebooks.run_test(cell.source, functions)
                    cell.outputs = [] if error is None else [error_output(error)]
                    if isinstance(error, (apart.StoppedError, apart.SubmissionError)):
                        remarks.append(f"{grade_id}: {error}")
                    continue
                try:
                    cell.outputs = submission.run(cell.source)
                except apart.StoppedError as error:
                    cell.outputs = [error_output(error)]
                    remarks.append(f"{grade_id or f'cell {number}'}: {error}")
                for output in cell.outputs:
                    if output.output_type == "error" and output.ename != "StoppedError":
                        words = f"{output.ename}: {output.evalue}".removesuffix(": ")[:300]
                        remarks.append(f"{grade_id or f'cell {number}'}: {words}")
        return nb, resources


def error_output(error):
    words = f"{type(error).__name__}: {error}"
    return new_output("error", ename=type(error).__name__, evalue=str(error), traceback=[words])


def api(root: Path, seconds: float) -> NbGraderAPI:
    config = Config()
    config.CourseDirectory.root = str(root)
    # nbgrader complains about its place for exchanging files, which nothing here uses
    config.Exchange.root = str(root)
    config.RunApart.root, config.RunApart.seconds = str(root), seconds
    graded = [RunApart, ClearMetadataPreprocessor, SaveAutoGrades, AssignLatePenalties, CheckCellMetadata]
    config.Autograde.autograde_preprocessors = graded
    # the tests stay hidden in what is given back
    config.ClearHiddenTests.enforce_metadata = False
    config.GenerateFeedback.preprocessors = [ClearHiddenTests, GetGrades, CSSHTMLHeaderPreprocessor]
    found = NbGraderAPI(CourseDirectory(config=config), config=config)
    found.log.setLevel(logging.CRITICAL)
    return found


def succeed(done: dict, words: str) -> None:
    if not done["success"]:
        reason = " ".join((done.get("error") or done.get("log") or "no reason given").split())
        raise RefusedError(f"nbgrader could not {words}: {reason[-300:]}")


def release(root: Path, course: NbGraderAPI) -> None:
    """Write the notebooks for students, without solutions and hidden tests."""
    for name in notebooks.names():
        source = root / "source" / name / f"{name}.ipynb"
        notebook = notebooks.read(name).notebook
        notebook.metadata.pop("jupytext", None)
        source.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, source)
        succeed(course.generate_assignment(name), f"release {name}")
        text = (root / "release" / name / f"{name}.ipynb").read_text()
        if "BEGIN SOLUTION" in text or "BEGIN HIDDEN" in text:
            raise RefusedError(f"{name} would be released with its solutions or hidden tests")


def collect(root: Path) -> list[Row]:
    """Copy what is in the inbox to where nbgrader looks for it; one row for each file, with its remarks."""
    shutil.rmtree(root / "submitted", ignore_errors=True)
    rows = []
    for folder in visible(root / "inbox"):
        if folder.is_symlink() or not folder.is_dir():
            rows.append(Row(folder.name, "", 0.0, 0.0, ["ignored: not a student's folder, inbox/STUDENT/ASSIGNMENT.ipynb"]))
            continue
        for file in visible(folder):
            name = file.stem
            if file.suffix != ".ipynb" or name not in notebooks.names():
                remark = f"ignored: the name of no assignment; there are {', '.join(notebooks.names())}"
                rows.append(Row(folder.name, file.name, 0.0, 0.0, [remark]))
                continue
            row = Row(folder.name, name, 0.0, float(sum(notebooks.read(name).points.values())))
            rows.append(row)
            try:
                notebook, row.remarks = handed_in.read(file)
                released = nbformat.read(root / "release" / name / f"{name}.ipynb", as_version=4)
                notebook, remarks = handed_in.complete(notebook, released)
            except RefusedError as error:
                row.remarks = [f"not graded: {error}"]
                continue
            row.remarks += remarks
            target = root / "submitted" / folder.name / name / f"{name}.ipynb"
            target.parent.mkdir(parents=True)
            nbformat.write(notebook, target)
    return rows


def visible(folder: Path) -> list[Path]:
    """What is in a folder, without the hidden files that file managers and JupyterLab leave."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def autograde(root: Path, course: NbGraderAPI, row: Row) -> None:
    """Grade one submission that was collected. If it cannot be graded it gets a remark."""
    if not (root / "submitted" / row.student / row.assignment).exists():
        return
    try:
        succeed(course.autograde(row.assignment, row.student), "grade this")
        with Gradebook(course.coursedir.db_url) as gradebook:
            row.score = gradebook.find_submission(row.assignment, row.student).score
        succeed(course.generate_feedback(row.assignment, row.student), "write feedback")
        page = root / "feedback" / row.student / row.assignment / f"{row.assignment}.html"
        page.write_text(page.read_text(encoding="utf-8").replace("</head>", WRAPPED, 1), encoding="utf-8")
    except (RefusedError, MissingEntry) as error:
        row.remarks.append(f"not graded: {error}")
    for remark in REMARKS.get((row.student, row.assignment), []):
        # a syntax error was told of already, and whatever lacks the name follows from it
        if not (row.remarks and ("SyntaxError" in remark or "NameError" in remark)):
            row.remarks.append(remark)


def write_grades(root: Path, rows: list[Row]) -> None:
    with open(root / "grades.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["student", "assignment", "score", "points", "remarks"])
        for row in rows:
            writer.writerow([row.student, row.assignment, f"{row.score:g}", f"{row.points:g}", "; ".join(row.remarks)])


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


def make_up_class(root: Path) -> None:
    """Three students: all right, common mistakes, and notebooks that are broken in different ways."""
    loop = "def unfolded(nu, a=15):\n    while True:\n        a += 1\n"
    failing = {
        "unfolding": {"unfolded": loop},
        "spacings": {"level-spacings": "import package_of_a_friend\n"},
        "number_variance": {"variance": None, "variance-test": None},
        "marchenko_pastur": {"density": "def density(nu, shape, sigma)\n    return 0\n"},
    }
    mistakes = {
        "unfolding": "forgot to sort before unfolding",
        "spacings": "forgot to unfold",
        "number_variance": "level-centred windows",
        "marchenko_pastur": "sigma instead of sigma squared",
        "porter_thomas": "one-sided distance",
    }
    for name in notebooks.names():
        assignment = notebooks.read(name)
        right = {key: MARK.sub("", code) for key, code in assignment.solutions.items()}
        hand_in(root, "right", name, right)
        answer = next(answer for answer in assignment.answers() if answer.name == mistakes[name])
        changed = [key for key, code in right.items() if set(answer.functions) & set(notebooks.functions(code))]
        hand_in(root, "wrong", name, right | {key: f"{right[key]}\n\n\n{answer.code}" for key in changed})
        if name in failing:
            hand_in(root, "broken", name, right | failing[name])
        else:
            hand_in(root, "broken", name, right, language="R")


def main(arguments: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("folder", nargs="?", type=Path, help="folder of the class; without it, one that is made up")
    parser.add_argument("--seconds", type=float, default=30.0, help="of processor time, for one cell or one call of a function")
    given = parser.parse_args(arguments)
    root = (given.folder or Path("_build/classroom")).resolve()
    if not given.folder:
        shutil.rmtree(root, ignore_errors=True)
    apart.refuse_readable(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / ".gitignore").write_text("*\n")  # solutions and the work of students, in whatever repository the folder lies
    # nbgrader calls alembic by name, which is beside Python also where the environment is not activated
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # nbgrader's own use of its database
    warnings.filterwarnings("ignore", category=SAWarning)
    course = api(root, given.seconds)
    release(root, course)
    print(f"For the students: {root / 'release'}")
    if not given.folder:
        make_up_class(root)
    if not (root / "inbox").is_dir():
        print(f"Put what they hand in into {root / 'inbox'}/STUDENT/ASSIGNMENT.ipynb and run this again.")
        return []
    rows = collect(root)
    print(f"{len(rows)} files in the inbox. Isolation: {apart.isolation()}.", flush=True)
    for row in rows:
        autograde(root, course, row)
        print(row, flush=True)
    write_grades(root, rows)
    print(f"Grades: {root / 'grades.csv'}; feedback: {root / 'feedback'}")
    return rows


if __name__ == "__main__":
    try:
        main()
    except (RefusedError, ValueError) as error:
        sys.exit(str(error))
