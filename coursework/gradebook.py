"""nbgrader: release of the assignments, its book of grades, and the pages of feedback."""

from __future__ import annotations

import html
import logging
import os
import shutil
import sys
import warnings
from pathlib import Path

import nbformat
import notebooks
import plain
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
    from traitlets.config import Config
except ImportError as missing:
    sys.exit(f"{missing}: pip install -r requirements-classroom.txt")

WRAPPED = "<style>pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }</style></head>"  # no line ends out of sight
EXECUTED: dict[tuple[str, str], nbformat.NotebookNode] = {}  # for the preprocessor, which nbgrader makes


class TakeExecuted(NbGraderPreprocessor):
    """The notebook as it was executed apart; in the place of nbgrader's `Execute`, which runs submission and tests together."""

    def preprocess(self, nb, resources):
        return EXECUTED[resources["nbgrader"]["student"], resources["nbgrader"]["assignment"]], resources


class Book:
    """The grades of one class.

    Parameters
    ----------
    root : Path
        Folder of the class.
    """

    def __init__(self, root: Path):
        self.root = root
        # nbgrader calls alembic by name, which is beside Python also where the environment is not activated
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        # nbgrader's own use of its database
        warnings.filterwarnings("ignore", category=SAWarning)
        config = Config()
        config.CourseDirectory.root = str(root)
        # nbgrader complains about its place for exchanging files, which nothing here uses
        config.Exchange.root = str(root)
        graded = [TakeExecuted, ClearMetadataPreprocessor, SaveAutoGrades, AssignLatePenalties, CheckCellMetadata]
        config.Autograde.autograde_preprocessors = graded
        # the tests stay hidden in what is given back
        config.ClearHiddenTests.enforce_metadata = False
        config.GenerateFeedback.preprocessors = [ClearHiddenTests, GetGrades, CSSHTMLHeaderPreprocessor]
        self.course = NbGraderAPI(CourseDirectory(config=config), config=config)
        self.course.log.setLevel(logging.CRITICAL)

    def source(self, name: str) -> Path:
        """The assignment with solutions and hidden tests."""
        return self.root / "source" / name / f"{name}.ipynb"

    def released(self, name: str) -> Path:
        """The assignment for students."""
        return self.root / "release" / name / f"{name}.ipynb"

    def release(self, name: str) -> None:
        """Write the notebook for students, without solutions and hidden tests, unless the assignment is as it was."""
        notebook = notebooks.read(name).notebook
        notebook.metadata.pop("jupytext", None)
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"{name}-{number}"[:64].replace("_", "-")  # not a new one each time
        text = nbformat.writes(notebook)
        source, released = self.source(name), self.released(name)
        if released.is_file() and source.is_file() and source.read_text(encoding="utf-8") == text:
            return
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(text, encoding="utf-8")
        succeed(self.course.generate_assignment(name), f"release {name}")
        given = released.read_text(encoding="utf-8")
        if "BEGIN SOLUTION" in given or "BEGIN HIDDEN" in given:
            released.unlink()
            msg = f"{name} would be released with its solutions or hidden tests"
            raise RefusedError(msg)

    def record(self, key: str, name: str, notebook: str) -> None:
        """Put an executed submission into the book and write its page of feedback."""
        executed = nbformat.reads(notebook, as_version=4)
        given = {cell.source for cell in nbformat.read(self.released(name), as_version=4).cells}
        for cell in executed.cells:
            if cell.cell_type != "code" and cell.source not in given:
                cell.source = as_text(cell.source)
        submitted = self.root / "submitted" / key / name / f"{name}.ipynb"
        submitted.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(executed, submitted)
        EXECUTED[key, name] = executed
        try:
            succeed(self.course.autograde(name, key, force=True), "grade this")
            succeed(self.course.generate_feedback(name, key, force=True), "write feedback")
        finally:
            del EXECUTED[key, name]
        page = self.root / "feedback" / key / name / f"{name}.html"
        page.write_text(page.read_text(encoding="utf-8").replace("</head>", WRAPPED, 1), encoding="utf-8")

    def score(self, key: str, name: str) -> tuple[float, bool]:
        """The score, with what was graded by hand, and whether something is left to be graded by hand."""
        with Gradebook(self.course.coursedir.db_url) as book:
            try:
                found = book.find_submission(name, key)
            except MissingEntry:
                msg = "nbgrader has no grade of this"
                raise RefusedError(msg) from None
            return found.score, found.needs_manual_grade

    def forget(self, key: str, name: str) -> None:
        """Take out what an earlier file of this student left."""
        for step in ("submitted", "autograded", "feedback"):
            shutil.rmtree(self.root / step / key / name, ignore_errors=True)


def as_text(words: str) -> str:
    """Text of a student for a page: shown as it was typed, and nothing in it acts, neither HTML nor Markdown nor formulas."""
    return f"<pre>{html.escape(plain.block(words))}</pre>"


def succeed(done: dict, words: str) -> None:
    """Raise RefusedError with nbgrader's reason unless it did what it was asked for."""
    if not done["success"]:
        reason = " ".join((done.get("error") or done.get("log") or "no reason given").split())
        msg = f"nbgrader could not {words}: {plain.line(reason[-300:])}"
        raise RefusedError(msg)
