"""A class from release to feedback with nbgrader: expected scores, and submissions that are broken in every catalogued way."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

nbgrader = pytest.importorskip("nbgrader", reason="pip install -r requirements-classroom.txt")

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "coursework"))
import classroom  # noqa: E402
import notebooks  # noqa: E402
import sandbox  # noqa: E402

sys.path.pop(0)

SPY = """import glob, os
seen = []
for path in [{folder!r}, {folder!r} + '/source/unfolding/unfolding.ipynb', {folder!r} + '/inbox/right/unfolding.ipynb',
             {folder!r} + '/gradebook.db', {folder!r} + '/release']:
    try:
        seen.append(os.listdir(path) if os.path.isdir(path) else open(path, errors='replace').read()[:50])
    except OSError as error:
        seen.append(type(error).__name__)
print('SEEN', seen, glob.glob('*.ipynb'), [text for text in In if 'HIDDEN TESTS' + '' in text and 'glob' not in text])
"""


def solutions(name):
    return notebooks.read(name).solutions


def change(file, edit):
    notebook = json.loads(file.read_text())
    edit(notebook)
    file.write_text(json.dumps(notebook))


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The class that is made up, and more students whose notebooks are odd; graded once."""
    root = tmp_path_factory.mktemp("class")
    assert classroom.main([str(root)]) == []
    classroom.make_up_class(root)

    def without_metadata(notebook):
        for cell in notebook["cells"]:
            cell["metadata"] = {}

    def with_outputs(notebook):
        cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * 50_000_000}]

    def with_false_tests(notebook):
        harm = f"open({str(root / 'harm')!r}, 'w').write('1')"
        for cell in notebook["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("grade"):
                cell["source"] = harm
        own = {"grade": True, "grade_id": "own", "points": 100, "solution": False, "locked": True, "schema_version": 3}
        own |= {"cell_type": "code", "task": False}
        cell = {"cell_type": "code", "metadata": {"nbgrader": own}, "source": harm, "outputs": [], "id": "own"}
        notebook["cells"].append(cell | {"execution_count": None})

    change(classroom.hand_in(root, "copied", "unfolding", solutions("unfolding")), without_metadata)
    change(classroom.hand_in(root, "Müller, Anna", "spacings", solutions("spacings")), with_outputs)
    change(classroom.hand_in(root, "forger", "unfolding", {}), with_false_tests)
    ending = "import os\nos._exit(0)"
    classroom.hand_in(root, "quitter", "unfolding", solutions("unfolding") | {"lost-at-the-top": ending})
    spied = SPY.format(folder=str(root)) + solutions("unfolding")["unfolded"]
    classroom.hand_in(root, "spy", "unfolding", solutions("unfolding") | {"unfolded": spied})
    (root / "inbox" / "torn").mkdir()
    (root / "inbox" / "torn" / "unfolding.ipynb").write_text('{"cells": [')
    (root / "inbox" / "torn" / "homework.ipynb").write_text("{}")
    (root / "inbox" / "torn" / "spacings.ipynb").symlink_to(root / "source" / "spacings" / "spacings.ipynb")
    (root / "inbox" / "unfolding.ipynb").write_text("{}")
    (root / "inbox" / "torn" / ".ipynb_checkpoints").mkdir()
    classroom.main([str(root), "--seconds", "4"])
    return root


@pytest.fixture(scope="module")
def rows(graded):
    with open(graded / "grades.csv", newline="") as file:
        return {(row["student"], row["assignment"]): row for row in csv.DictReader(file)}


@pytest.fixture
def scores(rows):
    return {key: float(row["score"]) for key, row in rows.items()}


@pytest.mark.parametrize("name", notebooks.names())
def test_a_released_notebook_has_neither_solutions_nor_hidden_tests(graded, name):
    text = (graded / "release" / name / f"{name}.ipynb").read_text()
    assert "HIDDEN" not in text
    assert "SOLUTION" not in text
    assert text.count("raise NotImplementedError()") >= 3
    released = {notebooks.metadata(cell).get("grade_id"): cell.source for cell in nbformat.reads(text, as_version=4).cells}
    for grade_id, code in notebooks.read(name).solutions.items():
        # the heads stay, with what the functions are for
        assert all(f"def {function}(" in released[grade_id] for function in notebooks.functions(code))


def test_nothing_of_a_class_gets_into_a_repository(graded):
    subprocess.run(["git", "init", "-q", graded], check=True)
    found = subprocess.run(["git", "-C", graded, "status", "--porcelain"], check=True, capture_output=True, text=True)
    assert found.stdout == ""


@pytest.mark.parametrize("name", notebooks.names())
def test_everything_right_gives_ten_points(scores, rows, name):
    assert scores["right", name] == 10
    assert rows["right", name]["remarks"] == ""


def test_common_mistakes_cost_the_points_of_their_tests(scores):
    wrong = {name: score for (student, name), score in scores.items() if student == "wrong"}
    assert wrong == {"marchenko_pastur": 7, "number_variance": 3, "porter_thomas": 4, "spacings": 7, "unfolding": 6}


def test_broken_notebooks_keep_the_points_of_what_works(scores):
    broken = {name: score for (student, name), score in scores.items() if student == "broken"}
    assert broken == {"marchenko_pastur": 6, "number_variance": 2, "porter_thomas": 0, "spacings": 6, "unfolding": 5}


@pytest.mark.parametrize(
    ("student", "name", "remark"),
    [
        ("broken", "unfolding", "unfolded-test: the function unfolded did not end within 4 seconds and was stopped"),
        ("broken", "spacings", "level-spacings: ModuleNotFoundError: No module named 'package_of_a_friend'"),
        ("broken", "number_variance", "variance: this cell was missing; variance-test: this cell was missing"),
        ("broken", "marchenko_pastur", "density: SyntaxError: expected ':', line 1"),
        ("broken", "porter_thomas", "not graded: made with the kernel 'ir' for r; this course uses Python"),
        ("copied", "unfolding", "not graded: without the metadata of the assignment"),
        ("Müller, Anna", "spacings", "48 MB, nearly all of them outputs, which were left out"),
        ("quitter", "unfolding", "lost-at-the-top: the cell ended the process in which the submission ran"),
        ("torn", "unfolding", "not graded: not a notebook"),
        ("torn", "homework.ipynb", "ignored: the name of no assignment"),
        ("torn", "spacings", "not graded: not a file"),
        ("unfolding.ipynb", "", "ignored: not a student's folder"),
    ],
)
def test_the_grader_says_what_is_odd(rows, student, name, remark):
    assert remark in rows[student, name]["remarks"]


def test_outputs_of_50_mb_cost_nothing(scores):
    assert scores["Müller, Anna", "spacings"] == 10


@pytest.mark.skipif(not sandbox.version(), reason="no Landlock on this system: submissions are not confined")
def test_a_submission_reads_neither_hidden_tests_nor_other_submissions(graded, scores):
    assert scores["spy", "unfolding"] == 10
    autograded = nbformat.read(graded / "autograded" / "spy" / "unfolding" / "unfolding.ipynb", as_version=4)
    printed = [output.text for cell in autograded.cells for output in cell.get("outputs", []) if "text" in output]
    seen = next(text for text in printed if text.startswith("SEEN"))
    assert seen == f"SEEN {['PermissionError'] * 5} [] []\n"


def test_a_submission_that_ends_its_process_keeps_the_points_of_what_ran_before(scores):
    assert scores["quitter", "unfolding"] == 8


def test_hidden_folders_are_passed_over(rows):
    assert not any("checkpoints" in name for _, name in rows)


def test_tests_that_a_student_changed_or_added_are_not_run(graded, scores):
    assert not (graded / "harm").exists()
    # harm was in the class folder, out of the submission's reach: the cell that was added failed, and the stubs got no points
    assert scores["forger", "unfolding"] == 0


def test_feedback_says_what_is_wrong_and_keeps_the_tests_hidden(graded):
    page = (graded / "feedback" / "wrong" / "unfolding" / "unfolding.html").read_text()
    assert "the spacings are off for descending singular values" in page
    assert "HIDDEN" not in page
    assert "rng.permutation" not in page


def test_every_graded_notebook_has_feedback(graded, rows):
    written = {(path.parts[-3], path.parts[-2]) for path in (graded / "feedback").rglob("*.html")}
    assert written == {key for key, row in rows.items() if "not graded" not in row["remarks"] and "ignored" not in row["remarks"]}
