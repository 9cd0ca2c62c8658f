"""What each student's own data in the assignment `reading` hold, for whoever grades it.

Usage: personal.py ROSTER.csv

Prints a line for each student: the strength that was planted, whether it is above the edge, and what the other matrix is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1]))  # rmtlib, where it is not installed
import inbox
import notebooks
import plain

PLACEHOLDER = "write your name as it stands in the list of the class"


def data(name: str) -> dict:
    """The names that the first cell of the assignment defines for a student of this name."""
    cell = next(cell for cell in notebooks.read("reading").notebook.cells if PLACEHOLDER in cell.source)
    names: dict = {}
    # as text in quotes: a name is not code
    exec(compile(cell.source.replace(f'"{PLACEHOLDER}"', repr(name)), "reading", "exec"), names)
    return names


def expected(name: str) -> tuple[float, int, str]:
    """Strength, number of levels of the planted matrix above the edge, kind of the unknown matrix."""
    drawn = data(name)
    n, m = drawn["planted"].shape
    above = np.sum(np.linalg.svd(drawn["planted"], compute_uv=False) > 0.05 * (np.sqrt(n) + np.sqrt(m)))
    heavy = np.abs(drawn["unknown"]).max() > 8
    return float(drawn["strength"]), int(above), "heavy-tailed entries" if heavy else "normal entries"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("roster", type=Path)
    for student in inbox.read_roster(parser.parse_args(arguments).roster):
        strength, above, kind = expected(student.name or student.student)
        print(f"{plain.line(student.student, 30):20} strength {strength:.2f}, {above} above the edge; {kind}")


if __name__ == "__main__":
    main()
