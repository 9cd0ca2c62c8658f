"""Who handed in what: the roster, the files in the inbox under whatever names they came, and who is missing."""

from __future__ import annotations

import csv
import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import plain

COLUMNS = ("student", "name", "id", "email", "section")
# a browser's second download, a copy by a file manager, a second attempt
COPY = re.compile(r"(?: \((\d+)\)|[ _-]+copy(?:[ _-]?\(?(\d+)\)?)?|[ _-]+(\d{1,2}))$", re.IGNORECASE)
MOODLE = re.compile(r"(?P<name>.+)_\d+_assignsubmission_[a-z]+_?")
CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d+)_\d+_(?P<file>.+)")
SAFE = re.compile(r"\w[\w@., -]{0,59}")


@dataclass(frozen=True)
class Student:
    """One line of the roster; where there is no roster, a folder of the inbox."""

    student: str
    name: str = ""
    id: str = ""
    email: str = ""
    section: str = ""
    enrolled: bool = True

    @property
    def key(self) -> str:
        """The student's name in folders and patterns: the folder's own name wherever it has no letter that acts."""
        if SAFE.fullmatch(self.student) and self.student == self.student.strip(" ."):
            return self.student
        short = re.sub(r"\W+", "-", self.student).strip("-")[:40]
        return f"{short or 'x'}-{hashlib.sha256(self.student.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


@dataclass
class Received:
    """One file that was handed in."""

    student: Student
    assignment: str
    path: Path
    copy: int = 0
    remarks: list[str] = field(default_factory=list)


def read_roster(file: Path) -> list[Student]:
    """The students of a class, from a table with the column ``student`` and, where it has them, name, id, email and section.

    Raises
    ------
    ValueError
        The table has no such column, a line without a student, two of the same student, id or email, or a field that a
        spreadsheet would take for a formula.
    """
    with open(file, newline="", encoding="utf-8-sig") as table:
        rows = csv.DictReader(table)
        if "student" not in (rows.fieldnames or []):
            msg = f"{file.name} needs a column 'student', and may have {', '.join(COLUMNS[1:])}; got {rows.fieldnames}"
            raise ValueError(msg)
        found = [(rows.line_num, {name: (row.get(name) or "").strip() for name in COLUMNS}) for row in rows]
    for column in ("student", "id", "email"):
        lines: dict[str, int] = {}
        for number, row in found:
            value = row[column]
            if column == "student" and not value:
                msg = f"{file.name}, line {number}: the student has no name"
                raise ValueError(msg)
            if value and value in lines:
                msg = f"{file.name}, lines {lines[value]} and {number}: {column} {value!r} is there twice"
                raise ValueError(msg)
            if value != plain.cell(value):
                msg = f"{file.name}, line {number}: {column} {plain.line(value, 40)!r} would be taken for a formula or a code"
                raise ValueError(msg)
            lines[value] = number
    return [Student(**row) for _, row in found]


def squeezed(name: str) -> str:
    """Letters and digits of a name in alphabetical order: systems for courses drop accents and blanks and turn names around."""
    plainer = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return "".join(sorted(re.findall(r"[a-z0-9]", plainer)))


def collect(
    inbox: Path, assignments: list[str], roster: list[Student] | None
) -> tuple[list[Received], list[tuple[str, str, str]]]:
    """The files to be graded, the newest of each student and assignment, and what was passed over: (student, file, why)."""
    received: dict[tuple[str, str], Received] = {}
    ignored: list[tuple[str, str, str]] = []
    for student, path in _files(inbox, roster, ignored):
        assignment, copy = which(path.name, assignments)
        if assignment is None:
            ignored.append(
                (student.student, path.name, f"ignored: the name of no assignment; there are {', '.join(assignments)}")
            )
            continue
        new = Received(student, assignment, path, copy)
        if not student.enrolled:
            new.remarks.append("not on the roster")
        old = received.get((student.key, assignment))
        if old:
            kept, other = (new, old) if (new.copy, new.path.name) > (old.copy, old.path.name) else (old, new)
            kept.remarks.append(
                f"handed in more than once: {plain.line(kept.path.name, 80)} counts, {plain.line(other.path.name, 80)} not"
            )
            new = kept
        received[student.key, assignment] = new
    return sorted(received.values(), key=lambda each: (each.student.student, each.assignment)), ignored


def which(file: str, assignments: list[str]) -> tuple[str | None, int]:
    """The assignment that a file is named after, and which copy it is."""
    stem, dot, kind = unicodedata.normalize("NFC", file).rpartition(".")
    if not dot or kind.lower() != "ipynb":
        return None, 0
    copy = 0
    while match := COPY.search(stem):
        copy = max(copy, int(next((number for number in match.groups() if number), "1")))
        stem = stem[: match.start()]
    wanted = re.sub(r"[\s-]+", "_", stem.strip().lower())
    for name in sorted(assignments, key=len, reverse=True):
        if wanted == name or wanted.endswith(f"_{name}") or wanted.startswith(f"{name}_"):
            return name, copy
    return None, 0


def _files(inbox, roster, ignored):
    for path in _visible(inbox):
        if path.is_dir() and not path.is_symlink():
            student = _student(path.name, roster)
            yield from ((student, file) for file in _visible(path))
        elif (match := CANVAS.fullmatch(path.name)) and path.suffix == ".ipynb":
            yield _student(match["name"], roster, match["id"]), path
        else:
            ignored.append((path.name, "", "ignored: not a student's folder, inbox/STUDENT/ASSIGNMENT.ipynb"))


def _visible(folder):
    """What is in a folder, without the hidden files that file managers and JupyterLab leave."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "__MACOSX")


def _student(folder, roster, number=None):
    """The student of a folder or of a file: by what the roster calls them, by the number, or by the name in any order."""
    match = MOODLE.fullmatch(folder)
    name = unicodedata.normalize("NFC", match["name"] if match else folder)
    if roster is None:
        return Student(name, id=number or "")
    for each in roster:
        if name == each.student or (number and number == each.id):
            return each
    alike = [each for each in roster if squeezed(name) and squeezed(name) in (squeezed(each.name), squeezed(each.student))]
    return alike[0] if len(alike) == 1 else Student(name, enrolled=False)
