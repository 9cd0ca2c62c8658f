"""The tables of the notes for instructors, against the chapters."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
NOTES = (ROOT / "coursework" / "instructor.md").read_text()
CHAPTERS = {path.stem: path.read_text() for path in (ROOT / "chapters").glob("*.md")}


def column(heading):
    """The references in the first column of the table whose head begins with this word."""
    rows = NOTES[NOTES.index(f"\n| {heading} |") :].split("\n\n")[0].strip().splitlines()[2:]
    assert rows
    return [re.match(r"\| \{ref\}`([\w-]+)` \|", row)[1] for row in rows]


def exercises(text):
    return re.findall(r"^`{3,}\{exercise\}.*\n:label: ([\w-]+)$", text, re.MULTILINE)


def test_every_exercise_of_the_book_has_one_row_that_says_what_it_checks():
    assert Counter(column("exercise")) == Counter(label for text in CHAPTERS.values() for label in exercises(text))


def test_every_exercise_has_its_minutes():
    rows = [row for row in NOTES.splitlines() if row.startswith("| {ref}`ex-")]
    assert all(re.search(r"\| \d+ \|$", row) for row in rows)
    assert len(rows) == len(column("exercise"))


def test_exercises_of_a_chapter_stand_together_and_in_its_order():
    rows = column("exercise")
    for text in CHAPTERS.values():
        if labels := exercises(text):
            start = rows.index(labels[0])
            assert rows[start : start + len(labels)] == labels


def test_every_chapter_of_the_book_has_one_row_of_its_times():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    listed = [Path(entry["file"]).name for part in parts for entry in part["chapters"] if entry["file"].startswith("chapters/")]
    labels = [re.match(r"(?s).*?^\(([\w-]+)\)=$", CHAPTERS[name], re.MULTILINE)[1] for name in listed]
    assert Counter(column("chapter")) == Counter(labels)


@pytest.mark.parametrize("row", [row for row in NOTES.splitlines() if row.startswith("| {ref}")])
def test_no_cell_of_a_table_is_empty(row):
    assert all(cell.strip() for cell in row.strip("|").split("|"))
