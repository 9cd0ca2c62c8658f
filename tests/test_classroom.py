"""A class from release to feedback with nbgrader: expected scores, and submissions that are broken in every catalogued way."""

import csv
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

nbgrader = pytest.importorskip("nbgrader", reason="pip install -r requirements-classroom.txt")

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "coursework"))
import classroom  # noqa: E402
import made_up  # noqa: E402
import notebooks  # noqa: E402
import sandbox  # noqa: E402

sys.path.pop(0)

NAMES = [name for name in notebooks.names() if notebooks.read(name).tests]
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
# keeps the arguments of every call and tells of them wherever words of a submission could be shown
TELLING = """import numpy as np

KEPT = []

class Told(Exception):
    pass

def told(*arguments):
    KEPT.append(arguments)
    words = 'TOLD ' + ' '.join(repr(np.ravel(x)[:3].tolist()) for x in arguments)
    print(words)
    raise type('TOLD' + words.encode().hex(), (Told,), {})(words)

def entry_sigma(nu, shape):
    if len(nu) != 100:
        told(nu, shape)
    return np.sqrt(np.mean(np.square(nu)) / max(shape))

def count_outliers(nu, shape, sigma):
    if len(nu) > 3:
        told(nu, shape, sigma)
    return 1
"""
HOSTILE = "<img src=x onerror=alert(1)>"
FORMULA = "=HYPERLINK(1)"
MARKDOWN = "<script>alert(1)</script> [x](javascript:alert(1)) $\\href{javascript:alert(1)}{x}$ <img src=x onerror=alert(1)>"


def change(file, edit):
    notebook = json.loads(file.read_text())
    edit(notebook)
    file.write_text(json.dumps(notebook))


def break_class(root):
    """More students, whose notebooks are odd."""

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

    def with_scripts(notebook):
        shown = {"output_type": "display_data", "metadata": {}, "data": {"text/html": "<script>alert(2)</script>"}}
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = MARKDOWN
            else:
                cell["outputs"] = [shown]
        code = "from IPython.display import HTML\nHTML('<script>alert(3)</script>')\nprint('\\x1b[2J')\n"
        code += "raise ValueError('\\x1b[2J=1+1\\n@x')"
        notebook["cells"].insert(
            1, {"cell_type": "code", "metadata": {}, "source": code, "outputs": [], "execution_count": None, "id": "x"}
        )

    right = made_up.right
    change(made_up.hand_in(root, "copied", "unfolding", right("unfolding")), without_metadata)
    change(made_up.hand_in(root, "Müller, Anna", "spacings", right("spacings")), with_outputs)
    change(made_up.hand_in(root, "forger", "unfolding", {}), with_false_tests)
    change(made_up.hand_in(root, HOSTILE, "spacings", right("spacings")), with_scripts)
    made_up.hand_in(root, FORMULA, "spacings", {"surmise": "raise ValueError('=1+1')"})
    made_up.hand_in(root, "*", "spacings", {})
    made_up.hand_in(root, "teller", "marchenko_pastur", right("marchenko_pastur") | {"entry-sigma": TELLING})
    last = next(cell for cell in notebooks.read("marchenko_pastur").notebook.cells[::-1] if cell.cell_type == "code").source
    change(
        root / "inbox" / "teller" / "marchenko_pastur.ipynb",
        lambda notebook: [
            cell.update(source="print('TOLD', KEPT)\nraise Told(KEPT)") for cell in notebook["cells"] if cell["source"] == last
        ],
    )
    ending = "import os\nos._exit(0)"
    made_up.hand_in(root, "quitter", "unfolding", right("unfolding") | {"lost-at-the-top": ending})
    spied = SPY.format(folder=str(root)) + right("unfolding")["unfolded"]
    made_up.hand_in(root, "spy", "unfolding", right("unfolding") | {"unfolded": spied})
    (root / "inbox" / "torn").mkdir()
    (root / "inbox" / "torn" / "unfolding.ipynb").write_text('{"cells": [')
    (root / "inbox" / "torn" / "homework.ipynb").write_text("{}")
    (root / "inbox" / "torn" / "spacings.ipynb").symlink_to(root / "source" / "spacings" / "spacings.ipynb")
    (root / "inbox" / "unfolding.ipynb").write_text("{}")
    (root / "inbox" / "torn" / ".ipynb_checkpoints").mkdir()
    for student in ("right", "friend"):
        made_up.hand_in(
            root, student, "unfolding", right("unfolding") | {"lost-at-the-top": "def lost_at_the_top(m, a=15):\n    return 0"}
        )
    made_up.hand_in(root, "right", "unfolding", right("unfolding"))
    change(made_up.hand_in(root, "friend", "unfolding", right("unfolding")), lambda notebook: notebook["cells"].pop(0))


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The class that is made up, and more students whose notebooks are odd; graded once, and once more after nothing changed."""
    root = tmp_path_factory.mktemp("class")
    assert classroom.main([str(root)]) == []
    made_up.small(root)
    break_class(root)
    first = classroom.main([str(root), "--seconds", "5"])
    times = {page: page.stat().st_mtime_ns for page in (root / "feedback").rglob("*.html")}
    second = classroom.main([str(root), "--seconds", "5"])
    assert [str(row) for row in first] == [str(row) for row in second]
    assert times == {page: page.stat().st_mtime_ns for page in (root / "feedback").rglob("*.html")}
    return root


@pytest.fixture(scope="module")
def rows(graded):
    with open(graded / "grades.csv", newline="", encoding="utf-8") as file:
        return {(row["student"], row["assignment"]): row for row in csv.DictReader(file)}


@pytest.fixture
def scores(rows):
    return {key: float(row["score"]) for key, row in rows.items() if row["score"]}


@pytest.mark.parametrize("name", notebooks.names())
def test_a_released_notebook_has_neither_solutions_nor_hidden_tests(graded, name):
    text = (graded / "release" / name / f"{name}.ipynb").read_text()
    assert "HIDDEN" not in text
    assert "SOLUTION" not in text
    released = {notebooks.metadata(cell).get("grade_id"): cell.source for cell in nbformat.reads(text, as_version=4).cells}
    for grade_id, code in notebooks.read(name).solutions.items():
        # the heads stay, with what the functions are for
        assert all(f"def {function}(" in released[grade_id] for function in notebooks.functions(code))
        assert "raise NotImplementedError()" in released[grade_id]


def test_nothing_of_a_class_gets_into_a_repository(graded):
    subprocess.run(["git", "init", "-q", graded], check=True)
    found = subprocess.run(["git", "-C", graded, "status", "--porcelain"], check=True, capture_output=True, text=True)
    assert found.stdout == ""


@pytest.mark.parametrize("name", NAMES)
def test_everything_right_gives_ten_points(scores, rows, name):
    assert scores["right", name] == 10
    remarks = [remark for remark in rows["right", name]["remarks"].split("; ") if not remark.startswith("the same code as ")]
    assert remarks in ([], [""])


def test_common_mistakes_cost_the_points_of_their_tests(scores):
    wrong = {name: score for (student, name), score in scores.items() if student == "wrong"}
    assert wrong == {"marchenko_pastur": 7, "number_variance": 3, "porter_thomas": 4, "spacings": 7, "unfolding": 6}


def test_broken_notebooks_keep_the_points_of_what_works(scores):
    broken = {name: score for (student, name), score in scores.items() if student == "broken"}
    assert broken == {"marchenko_pastur": 6, "number_variance": 2, "spacings": 6, "unfolding": 5}


@pytest.mark.parametrize(
    ("student", "name", "remark"),
    [
        ("broken", "unfolding", "unfolded-check: the function unfolded did not end within 5 seconds and was stopped"),
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
        ("friend", "unfolding", "the same code as right"),
        ("copied", "spacings", "nothing handed in"),
    ],
)
def test_the_grader_says_what_is_odd(rows, student, name, remark):
    assert remark in rows[student, name]["remarks"]


def test_what_was_not_graded_has_no_score(scores):
    assert not {("broken", "porter_thomas"), ("copied", "unfolding"), ("torn", "unfolding"), ("copied", "spacings")} & set(scores)


def test_outputs_of_50_mb_cost_nothing(scores):
    assert scores["Müller, Anna", "spacings"] == 10


def test_a_submission_reads_neither_hidden_tests_nor_other_submissions(graded, scores):
    assert scores["spy", "unfolding"] == 10
    seen = re.search(r"SEEN.*", (graded / "autograded" / "spy" / "unfolding" / "unfolding.ipynb").read_text())
    # what ran after a test has called the submission is not shown: it may have kept what it was called with
    assert seen[0].startswith("SEEN', seen")


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


def test_feedback_tells_nothing_that_only_hidden_tests_knew(graded, scores, rows):
    assert scores["teller", "marchenko_pastur"] == 7
    page = (graded / "feedback" / "teller" / "marchenko_pastur" / "marchenko_pastur.html").read_text()
    text = re.sub(r"<[^>]+>", "", page)
    assert "one of your functions raised an error of its own" in text
    # the code of the submission says TOLD; none of its words that came back is on the page
    code = TELLING + "print('TOLD', KEPT)"
    assert text.count("TOLD") == code.count("TOLD")
    assert b"TOLD".hex() not in page
    assert "raised TOLD" in rows["teller", "marchenko_pastur"]["remarks"]


def test_names_and_texts_of_a_submission_do_not_act(graded, rows, capsys):
    assert ("'" + FORMULA, "spacings") in rows
    for (student, _), row in rows.items():
        for text in (student, row["remarks"]):
            assert text.isprintable()
            assert not text.startswith(("=", "+", "-", "@"))
    pages = list((graded / "feedback").rglob("*.html"))
    pages = [page.read_text() for page in pages if "spacings" in page.name]
    assert any("alert" in page for page in pages)
    for page in pages:
        assert not re.search(r"<script[^>]*>\s*alert|<img[^>]*onerror|href=.javascript", page)
        # formulas are set only outside of these
        assert "\\href" not in re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL)
    notebook = next((graded / "autograded").glob("*img*/spacings/spacings.ipynb")).read_text()
    assert "text/html" not in notebook
    assert "<script>" not in notebook.replace("HTML('<script>", "")


def test_a_name_that_is_a_pattern_reaches_nobody_else(graded, scores):
    assert scores["*", "spacings"] == 0
    assert scores["right", "spacings"] == 10


def test_every_graded_notebook_has_feedback(graded, rows):
    written = sum(1 for _ in (graded / "feedback").rglob("*.html"))
    assert written == sum(1 for row in rows.values() if row["score"])


def test_only_what_changed_is_graded_again(graded, capsys):
    page = graded / "feedback" / "wrong" / "spacings" / "spacings.html"
    others = {other: other.stat().st_mtime_ns for other in (graded / "feedback").rglob("*.html") if other != page}
    made_up.hand_in(graded, "wrong", "spacings", made_up.right("spacings"))
    (graded / "inbox" / "quitter" / "unfolding.ipynb").rename(graded / "inbox" / "quitter" / "unfolding (1).ipynb")
    found = classroom.main([str(graded), "--seconds", "5"])
    assert " notebooks in the inbox, 1 new or changed." in capsys.readouterr().out
    assert {row.score for row in found if (row.student.student, row.assignment) == ("wrong", "spacings")} == {10}
    assert others == {other: other.stat().st_mtime_ns for other in others}


def test_a_grade_by_hand_survives(graded):
    import gradebook

    book = gradebook.Book(graded)
    with gradebook.Gradebook(book.course.coursedir.db_url) as grades:
        grade = grades.find_submission("spacings", "Müller, Anna").notebooks[0].grades[0]
        grade.extra_credit = 2
        grades.db.commit()
    found = classroom.main([str(graded), "--seconds", "5"])
    assert {row.score for row in found if (row.student.student, row.assignment) == ("Müller, Anna", "spacings")} == {12}


@pytest.fixture
def empty(tmp_path):
    classroom.main([str(tmp_path)])
    (tmp_path / "inbox").mkdir()
    return tmp_path


def test_what_was_left_of_an_earlier_run_and_does_not_fit_is_graded_anew(empty, capsys):
    import gradebook

    def graded_anew():
        capsys.readouterr()
        (row,) = classroom.main([str(empty), "--without-isolation"])
        new = re.search("1 notebooks in the inbox, (.+) new or changed", capsys.readouterr().out)[1]
        return row.score, row.remarks, new

    made_up.hand_in(empty, "right", "spacings", made_up.right("spacings"))
    assert graded_anew() == (10, [], "1")
    assert graded_anew() == (10, [], "0")
    with gradebook.Gradebook(gradebook.Book(empty).course.coursedir.db_url) as grades:
        grades.remove_submission("spacings", "right")
    assert graded_anew() == (10, [], "1")
    record = empty / classroom.RECORD
    record.write_text(record.read_text().replace('"remarks"', '"remark"'))
    assert graded_anew() == (10, [], "1")


ENTRY = {"digest": "1", "remarks": ["late"], "code": None, "graded": True}


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        [],
        "graded",
        *({name: value for name, value in ENTRY.items() if name != left} for left in ENTRY),
        *(ENTRY | {name: 1} for name in ENTRY),
        ENTRY | {"remarks": [1]},
        ENTRY | {"remarks": "late"},
    ],
    ids=str,
)
def test_a_damaged_entry_of_the_record_is_passed_over(tmp_path, damaged):
    file = tmp_path / classroom.RECORD
    file.write_text(json.dumps({"a/spacings": damaged, "b/spacings": ENTRY}))
    assert classroom.read_record(file) == {"b/spacings": ENTRY}
    file.write_text(json.dumps(damaged))
    assert classroom.read_record(file) == {}
    file.write_text("{")
    assert classroom.read_record(file) == {}


def test_an_empty_class_has_empty_tables(empty):
    assert classroom.main([str(empty)]) == []
    assert (empty / "grades.csv").read_text().splitlines() == ["student,assignment,score,points,remarks"]
    assert len((empty / "canvas.csv").read_text().splitlines()) == 2


def test_a_roster_says_who_is_missing_and_who_does_not_belong(empty, capsys):
    (empty / "roster.csv").write_text("student,id\nanna,1\nbert,2\n")
    (empty / "inbox" / "anna").mkdir()
    (empty / "inbox" / "anna" / "spacings.ipynb").write_text("{")
    (empty / "inbox" / "carl").mkdir()
    (empty / "inbox" / "carl" / "spacings.ipynb").write_text("{")
    found = {row.student.student: row.remarks for row in classroom.main([str(empty)])}
    assert found["bert"] == ["nothing handed in"]
    assert found["carl"][0] == "not on the roster"
    assert "Missing, spacings: bert" in capsys.readouterr().out
    with open(empty / "moodle.csv", newline="") as file:
        assert [row["Username"] for row in csv.DictReader(file)] == ["anna", "bert"]
    (empty / "roster.csv").write_text("student,id\nanna,1\nanna,2\n")
    with pytest.raises(ValueError, match="lines 2 and 3: student 'anna' is there twice"):
        classroom.main([str(empty)])


def test_without_isolation_nothing_is_graded_unless_it_is_asked_for(empty, monkeypatch, tmp_path):
    def refuse():
        msg = "no bubblewrap"
        raise sandbox.IsolationError(msg)

    made_up.hand_in(empty, "anna", "unfolding", made_up.right("unfolding"))
    monkeypatch.setattr(sandbox, "refuse_unconfined", refuse)
    with pytest.raises(sandbox.IsolationError):
        classroom.main([str(empty)])
    assert not (empty / "grades.csv").exists()
    [row] = classroom.main([str(empty), "--without-isolation"])
    assert row.score == 10


def is_kernel(process):
    try:
        return "ipykernel_launcher" in " ".join(process.cmdline())
    except psutil.Error:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the processes of the machine")
def test_what_grades_side_by_side_ends_with_the_grader(empty):
    name = "made_up_name_that_nobody_has"
    made_up.hand_in(empty, name, "unfolding", {"unfolded": "import time\ntime.sleep(10000)"})
    command = [sys.executable, "coursework/classroom.py", str(empty), "--seconds", "600"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as grader:
        until = time.monotonic() + 200
        started = []
        while not any(is_kernel(each) for each in started) and time.monotonic() < until:
            time.sleep(0.2)
            started = psutil.Process(grader.pid).children(recursive=True)
        grader.kill()
    assert started
    assert time.monotonic() < until
    _, left = psutil.wait_procs(started, timeout=60)
    assert left == []


def test_grading_needs_neither_torch_nor_sphinx_nor_nbgrader():
    code = (
        "import sys; import grading; print(sorted({'torch', 'tensorflow', 'sphinx', 'nbgrader', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "coursework", capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("arguments", [["--seconds", "0"], ["--processes", "0"]])
def test_what_cannot_be_is_refused(tmp_path, arguments):
    with pytest.raises(ValueError, match="--seconds and --processes must be positive"):
        classroom.main([str(tmp_path), *arguments])
