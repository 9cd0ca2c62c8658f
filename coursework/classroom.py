"""Release the assignments, collect what is handed in, grade it and write feedback, with nbgrader.

Usage: classroom.py [FOLDER] [--seconds S] [--processes N] [--without-isolation]

FOLDER is the folder of a class. The first run writes the notebooks for the students into FOLDER/release. Put what they hand in
into FOLDER/inbox/STUDENT/ASSIGNMENT.ipynb, and, if there is one, the list of the class into FOLDER/roster.csv; run it again: it
writes FOLDER/grades.csv, moodle.csv and canvas.csv, and FOLDER/feedback. Without FOLDER it makes up a class of three in
_build/classroom and grades it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1]))  # rmtlib, where it is not installed
import grading
import handed_in
import inbox
import made_up
import notebooks
import plain
import sandbox
import tables
from handed_in import RefusedError

RECORD = "graded.json"  # what was graded, so that only what changed is graded again


def end_with_the_grader() -> None:
    """In a worker: end when the process that began it is killed, and the submission with it."""

    def wait():
        connection.wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def grade_all(tasks: list[tuple], processes: int):
    """Grade side by side; results in the order of the tasks."""
    context = get_context("spawn")
    done = 0
    try:
        with ProcessPoolExecutor(min(processes, len(tasks)) or 1, context, end_with_the_grader) as pool:
            for future in [pool.submit(grading.grade, *task) for task in tasks]:
                yield future.result()
                done += 1
    except BrokenProcessPool:
        # one of them ended its worker: each of the rest by itself tells which
        for task in tasks[done:]:
            with ProcessPoolExecutor(1, context, end_with_the_grader) as pool:
                try:
                    yield pool.submit(grading.grade, *task).result()
                except BrokenProcessPool:
                    yield grading.Graded(remarks=["not graded: the process that graded it was ended"])


def grade_inbox(root: Path, book, conditions: grading.Conditions, processes: int) -> list[tables.Row]:
    """Grade everything in the inbox that changed since it was graded; one row for each file, and for each that is missing."""
    assignments = {name: notebooks.read(name) for name in notebooks.names()}
    points = {name: float(sum(assignment.points.values())) for name, assignment in assignments.items()}
    roster = inbox.read_roster(root / "roster.csv") if (root / "roster.csv").exists() else None
    received, ignored = inbox.collect(root / "inbox", list(assignments), roster)
    record = read_record(root / RECORD)
    rows, tasks, keys = {}, [], {}
    for each in received:
        key = (each.student.key, each.assignment)
        rows[key] = tables.Row(each.student, each.assignment, None, points[each.assignment])
        try:
            data = handed_in.content(each.path)
        except RefusedError as error:
            book.forget(*key)
            rows[key].remarks = [*each.remarks, f"not graded: {error}"]
            continue
        digest = grading.digest(data, book.source(each.assignment), conditions)
        old = record.get("/".join(key))
        if old and old["digest"] == digest and has_its_grade(old, key, book):
            keys[key] = (each, old)
            continue
        keys[key] = (each, {"digest": digest})
        tasks.append((key, (each.path, book.source(each.assignment), book.released(each.assignment), conditions)))
    print(f"{len(received)} notebooks in the inbox, {len(tasks)} new or changed.")
    print(f"Isolation: {sandbox.isolation(conditions.confined)}.", flush=True)
    finished = {}
    for (key, _), graded in zip(tasks, grade_all([task for _, task in tasks], processes), strict=True):
        each, entry = keys[key]
        entry |= {"digest": graded.digest, "remarks": graded.remarks, "code": graded.code, "graded": graded.notebook is not None}
        book.forget(*key)
        if graded.notebook is not None:
            try:
                book.record(*key, graded.notebook)
            except RefusedError as error:
                entry |= {"remarks": [*graded.remarks, f"not graded: {error}"], "graded": False}
        fill(rows[key], each, entry, book)
        finished["/".join(key)] = entry
        print(rows[key], flush=True)
    for key, (each, entry) in keys.items():
        if "/".join(key) not in finished:
            fill(rows[key], each, entry, book)
    written = {"/".join(key): entry for key, (_, entry) in keys.items()}
    (root / RECORD).write_text(json.dumps(written), encoding="utf-8")
    flag_identical(rows, {key: entry.get("code") for key, (_, entry) in keys.items()})
    result = list(rows.values()) + missing(root, rows, points, roster)
    result += [tables.Row(inbox.Student(student), file, None, 0.0, [why]) for student, file, why in ignored]
    students = roster if roster is not None else list({row.student.key: row.student for row in rows.values()}.values())
    tables.write_all(root, result, students, points)
    return result


def read_record(file: Path) -> dict[str, dict]:
    """What was graded before, without the entries that are damaged; nothing if there is no such file or all of it is damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: entry for key, entry in found.items() if is_whole(entry)} if isinstance(found, dict) else {}


def is_whole(entry) -> bool:
    """Whether an entry of the record has every field, and each of them its type."""
    match entry:
        case {"digest": str(), "remarks": [*remarks], "code": str() | None, "graded": bool()}:
            return all(isinstance(remark, str) for remark in remarks)
    return False


def has_its_grade(entry: dict, key: tuple[str, str], book) -> bool:
    """Whether the book has the grade that an entry of the record says was given; a file that got none needs none."""
    try:
        return not entry["graded"] or bool(book.score(*key))
    except RefusedError:
        return False


def fill(row: tables.Row, each: inbox.Received, entry: dict, book) -> None:
    """Score and remarks of a submission that was graded now or before."""
    row.remarks = [*each.remarks, *entry["remarks"]]
    if entry["graded"]:
        row.score, by_hand = book.score(each.student.key, each.assignment)
        if by_hand:
            row.remarks.append(tables.FOR_HAND)


def flag_identical(rows: dict, codes: dict) -> None:
    """A remark wherever several handed in the same code, whatever its comments and blanks."""
    alike = defaultdict(list)
    for (student, assignment), code in codes.items():
        if code:
            alike[assignment, code].append(student)
    for (assignment, _), students in alike.items():
        for student in students if len(students) > 1 else []:
            others = ", ".join(plain.line(rows[other, assignment].student.student, 40) for other in students if other != student)
            rows[student, assignment].remarks.append(f"the same code as {others}")


def missing(root: Path, rows: dict, points: dict, roster) -> list[tables.Row]:
    """A row for each assignment that somebody has handed in and another of the class has not."""
    students = roster if roster is not None else list({row.student.key: row.student for row in rows.values()}.values())
    due = [name for name in points if any(assignment == name for _, assignment in rows)]
    found = []
    for name in due:
        absent = [student for student in students if (student.key, name) not in rows]
        found += [tables.Row(student, name, None, points[name], ["nothing handed in"]) for student in absent]
        if absent:
            print(f"Missing, {name}: {', '.join(plain.line(student.student, 40) for student in absent)}")
    return found


def main(arguments: list[str] | None = None) -> list[tables.Row]:
    """Release and grade; the rows of the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("folder", nargs="?", type=Path, help="folder of the class; without it, one that is made up")
    parser.add_argument("--seconds", type=float, default=30.0, help="of processor time, for one cell or one call of a function")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="submissions that are graded side by side")
    parser.add_argument("--without-isolation", action="store_true", help="let submissions run as you, with all that you may do")
    given = parser.parse_args(arguments)
    if given.seconds <= 0 or given.processes < 1:
        msg = f"--seconds and --processes must be positive; got {given.seconds:g} and {given.processes}"
        raise ValueError(msg)
    conditions = grading.Conditions(seconds=given.seconds, total=4 * given.seconds, confined=not given.without_isolation)
    root = (given.folder or Path("_build/classroom")).resolve()
    if not given.folder:
        shutil.rmtree(root, ignore_errors=True)
    sandbox.refuse_readable(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / ".gitignore").write_text("*\n")  # solutions and the work of students, in whatever repository the folder lies
    import gradebook  # the workers do without nbgrader

    book = gradebook.Book(root)
    for name in notebooks.names():
        book.release(name)
    print(f"For the students: {root / 'release'}")
    if not given.folder:
        made_up.small(root)
    if not (root / "inbox").is_dir():
        print(f"Put what they hand in into {root / 'inbox'}/STUDENT/ASSIGNMENT.ipynb and run this again.")
        return []
    if conditions.confined:
        sandbox.refuse_unconfined()
    began = time.monotonic()
    rows = grade_inbox(root, book, conditions, given.processes)
    print(f"Grades: {root / 'grades.csv'}, moodle.csv and canvas.csv; feedback: {root / 'feedback'}.")
    print(f"This took {time.monotonic() - began:.0f} s.")
    return rows


if __name__ == "__main__":
    try:
        main()
    except (RefusedError, ValueError, sandbox.IsolationError) as error:
        sys.exit(str(error))
