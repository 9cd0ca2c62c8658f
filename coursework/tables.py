"""What an instructor takes away: a long table with remarks, and wide ones that Moodle and Canvas take."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import plain
from inbox import Student

FOR_HAND = "to be graded by hand"


@dataclass
class Row:
    """One line of the list of grades. Without a score nothing was handed in, or nothing that could be graded."""

    student: Student
    assignment: str
    score: float | None
    points: float
    remarks: list[str] = field(default_factory=list)

    def __str__(self):
        said = plain.line("; ".join(self.remarks), 500)
        score = "   -" if self.score is None else f"{self.score:4g}"
        return (
            f"{plain.line(self.student.student, 30):12} {plain.line(self.assignment, 40):18} {score} of {self.points:g}  {said}"
        )


def write_all(folder: Path, rows: list[Row], students: list[Student], points: dict[str, float]) -> None:
    """Write grades.csv, moodle.csv and canvas.csv."""
    lines = [["student", "assignment", "score", "points", "remarks"]]
    lines += [
        [row.student.student, row.assignment, _number(row.score), _number(row.points), "; ".join(row.remarks)] for row in rows
    ]
    _write(folder / "grades.csv", lines)
    scores = {(row.student.key, row.assignment): row.score for row in rows}
    wide = [(student, [_number(scores.get((student.key, name))) for name in points]) for student in students]
    head = ["Username", "ID number", "Email address", "Full name", *points]
    lines = [[student.student, student.id, student.email, student.name or student.student, *marks] for student, marks in wide]
    _write(folder / "moodle.csv", [head, *lines])
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *points]
    # Canvas tells the columns apart by this line
    possible = ["    Points Possible", "", "", "", "", *map(_number, points.values())]
    lines = [
        [student.name or student.student, student.id, "", student.student, student.section, *marks] for student, marks in wide
    ]
    _write(folder / "canvas.csv", [head, possible, *lines])


def _number(value):
    return "" if value is None else f"{value:g}"


def _write(file, lines):
    """Where nothing is missing and nothing acts: the file is whole or the old one stays."""
    part = file.with_suffix(".part")
    with open(part, "w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows(
            [value if value.startswith("    P") else plain.cell(value) for value in line] for line in lines
        )
    part.replace(file)
