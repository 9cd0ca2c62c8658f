"""The assignments without nbgrader: tests accept every catalogued right answer in full and give every wrong one half at most."""

import ast
import json
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import jupytext
import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "coursework"))
import apart  # noqa: E402
import handout  # noqa: E402
import hidden  # noqa: E402
import notebooks  # noqa: E402
import personal  # noqa: E402
import slides  # noqa: E402
import wire  # noqa: E402

sys.path.pop(0)

ASSIGNMENTS = [notebooks.read(name) for name in notebooks.names()]
TESTED = [assignment for assignment in ASSIGNMENTS if assignment.tests]
TASKS = [(assignment, *task) for assignment in TESTED for task in assignment.tasks]
RIGHT, WRONG, HIDDEN = (
    [(assignment, answer) for assignment in TESTED for answer in assignment.answers() if answer.kind == kind]
    for kind in ("right", "wrong", "hidden")
)


def named(pairs):
    return [pytest.param(*pair, id=f"{pair[0].name}: {pair[1].name}") for pair in pairs]


def of_assignments():
    return pytest.mark.parametrize("assignment", TESTED, ids=[assignment.name for assignment in TESTED])


def sent(function):
    """A function as the tests call it: arguments and result pass as text."""

    def passed(value):
        return wire.decode(json.loads(json.dumps(wire.encode(value))))

    def call(*positional, **named):
        return passed(function(*map(passed, positional), **{key: passed(value) for key, value in named.items()}))

    return call


def failures(assignment, answer=None, namespace=None):
    """What each failed test raised. Only the student's functions are there, as when an assignment is graded."""
    namespace = namespace or assignment.namespace(answer)
    functions = {name: sent(namespace[name]) for name in assignment.functions}
    raised = {grade_id: notebooks.run_test(test, functions) for grade_id, test in assignment.tests.items()}
    return {grade_id: error for grade_id, error in raised.items() if error is not None}


def test_there_is_an_assignment_for_each_test_of_the_paper_and_of_the_unfolding():
    assert [each.name for each in TESTED] == ["marchenko_pastur", "number_variance", "porter_thomas", "spacings", "unfolding"]


@of_assignments()
def test_the_reference_solution_passes_within_a_quarter_of_the_time(assignment):
    start = time.process_time()
    assert failures(assignment) == {}
    assert time.process_time() - start < 30


@pytest.mark.parametrize(("assignment", "answer"), named(RIGHT))
def test_another_right_answer_is_accepted(assignment, answer):
    assert set(answer.functions) & set(assignment.functions)
    start = time.process_time()
    assert failures(assignment, answer) == {}
    assert time.process_time() - start < 60, "a submission has twice as long"


# what else a function of numbers may return
FORMS = {
    "lists": lambda value: np.asarray(value).tolist(),
    "arrays": lambda value: np.array(value),
    "arrays of small floats that are turned around in memory": lambda value: np.asarray(value, dtype="f8", order="F"),
    "what pandas makes of it": lambda value: pd.DataFrame(value) if np.ndim(value) == 2 else pd.Series(np.atleast_1d(value)),
    "iterators": lambda value: iter(list(value)) if np.ndim(value) else value,
}


@of_assignments()
@pytest.mark.parametrize("form", FORMS)
def test_values_are_accepted_in_every_form(assignment, form):
    namespace = assignment.namespace()
    # one function of a task calls another as it was written
    outside = {name: (lambda *a, _f=namespace[name], **k: FORMS[form](_f(*a, **k))) for name in assignment.functions}
    assert failures(assignment, namespace=outside) == {}


@pytest.mark.parametrize(("assignment", "answer"), named(WRONG))
def test_a_wrong_answer_is_rejected_by_a_hidden_test_with_words(assignment, answer):
    assert set(answer.functions) <= set(assignment.functions)
    raised = failures(assignment, answer)
    assert raised
    assert all(isinstance(error, (AssertionError, ValueError)) and str(error) for error in raised.values()), raised
    hidden = {grade_id for grade_id in raised if "HIDDEN" in assignment.tests[grade_id]}
    functions = assignment.namespace(answer)
    passed = {
        grade_id for grade_id in hidden if notebooks.run_test(notebooks.visible(assignment.tests[grade_id]), functions) is None
    }
    assert passed, "the visible checks alone reject it"


@pytest.mark.parametrize(("assignment", "answer"), named(WRONG))
def test_a_wrong_answer_gets_half_of_its_points_at_most(assignment, answer):
    lost = failures(assignment, answer)
    for functions, points in assignment.tasks:
        if set(functions) & set(answer.functions):
            assert sum(value for grade_id, value in points.items() if grade_id not in lost) <= sum(points.values()) / 2


@pytest.mark.parametrize(("assignment", "functions", "points"), TASKS, ids=[", ".join(task[1]) for task in TASKS])
def test_every_function_has_ten_answers_to_try_its_tests_on(assignment, functions, points):
    for function in functions:
        kinds = [answer.kind for answer in assignment.answers() if function in answer.functions]
        assert kinds.count("right") + len(FORMS) >= 5, (function, kinds)
        assert kinds.count("wrong") >= 5, (function, kinds)
        assert len(kinds) + len(FORMS) >= 10
    assert sum(points.values()) > 0


@of_assignments()
def test_a_library_call_that_solves_an_exercise_fails_while_it_is_graded(assignment):
    """In a submission of its own, where the functions are hidden as when it is graded."""
    answers = [answer for owner, answer in HIDDEN if owner is assignment]
    assert answers
    with apart.Submission(hide=assignment.hidden, seconds=60, total=600) as submission:
        for cell in assignment.notebook.cells:
            if cell.cell_type == "code" and not notebooks.is_test(cell):
                # the reference solutions, and what the assignment itself shows, call nothing that is hidden
                assert [output for output in submission.run(cell.source) if output.output_type == "error"] == []
        assert {
            grade_id
            for grade_id, test in assignment.tests.items()
            if notebooks.run_test(test, submission.functions(assignment.functions))
        } == set()
        for answer in answers:
            submission.run(answer.code)
            for functions, points in assignment.tasks:
                for function in set(functions) & set(answer.functions):
                    errors = [
                        notebooks.run_test(assignment.tests[grade_id], submission.functions(assignment.functions))
                        for grade_id in points
                    ]
                    assert all(errors), (function, points)
                    assert any("cannot be called while it is graded" in str(error) for error in errors), (function, errors)


@of_assignments()
def test_what_is_hidden_is_said_and_there(assignment):
    text = "\n".join(cell.source for cell in assignment.notebook.cells if cell.cell_type == "markdown")
    for name in assignment.hidden:
        assert callable(hidden.find(name)[2])
        assert f"`{name}`" in text


def test_a_hidden_function_is_hidden_under_every_name():
    code = """
import hidden, rmtlib
from rmtlib import unfold as mine
hidden.hide(["rmtlib.unfold", "rmtlib.laws.wigner_surmise.cdf", "rmtlib.laws.marchenko_pastur", "scipy.stats.kstest"])
import scipy.stats
calls = [lambda: mine(range(99)), lambda: rmtlib.unfolding.unfold(range(99), a=2), lambda: rmtlib.laws.wigner_surmise(2).cdf(1)]
calls += [lambda: rmtlib.laws.MarchenkoPastur(0.5), lambda: scipy.stats.kstest([1], "norm")]
for call in calls:
    try:
        call()
    except PermissionError as error:
        assert "solves this exercise by itself" in str(error)
    else:
        raise SystemExit("called")
rmtlib.laws.poisson_spacing.cdf(1)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "coursework", env={"PYTHONPATH": str(ROOT), "PATH": ""})


@of_assignments()
def test_an_assignment_has_ten_points_with_a_visible_check_and_hidden_tests(assignment):
    assert sum(assignment.points.values()) == 10
    checks = [test for test in assignment.tests.values() if "assert" in notebooks.visible(test)]
    hidden = [test for test in assignment.tests.values() if notebooks.visible(test) != test]
    assert checks
    assert len(hidden) >= 3
    for grade_id, test in assignment.tests.items():
        assert test.count("BEGIN HIDDEN TESTS") == test.count("END HIDDEN TESTS") <= 1, grade_id


@of_assignments()
def test_every_failure_has_words(assignment):
    for test in assignment.tests.values():
        asserts = [node for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Assert)]
        assert [ast.unparse(node) for node in asserts if node.msg is None] == []


@of_assignments()
def test_words_of_hidden_tests_hold_no_number_of_theirs(assignment):
    """Words go to the feedback: they may name a case in words that stand in the test, and nothing that was passed or returned."""
    for test in assignment.tests.values():
        seen = {ast.unparse(node) for node in asserted(notebooks.visible(test))}
        for message in (node for node in asserted(test) if ast.unparse(node) not in seen):
            names = {node.id for node in ast.walk(message) if isinstance(node, ast.Name)}
            assert names <= {"words", "problem"}, ast.unparse(message)
            assert not re.search(r"\d\d", ast.unparse(message)), ast.unparse(message)


def asserted(test):
    return [node.msg for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Assert)]


def cell_ids(assignment):
    return [notebooks.metadata(cell)["grade_id"] for cell in assignment.notebook.cells if notebooks.metadata(cell)]


@of_assignments()
def test_cells_have_names_that_are_strings_and_unique(assignment):
    ids = cell_ids(assignment)
    assert all(isinstance(grade_id, str) for grade_id in ids)
    assert len(set(ids)) == len(ids) == len(assignment.solutions) + len(assignment.tests)


@of_assignments()
def test_solutions_are_between_marks(assignment):
    for code in assignment.solutions.values():
        assert code.count("### BEGIN SOLUTION") == code.count("### END SOLUTION") == len(notebooks.functions(code))


@of_assignments()
def test_an_assignment_needs_no_data_and_no_path(assignment):
    code = "\n".join(cell.source for cell in assignment.notebook.cells)
    assert not re.search(r"load_run|load_weights|open\(|Path|torch|\bread_|\.csv", code)


def test_the_common_mistakes_are_in_the_catalogue():
    catalogue = " | ".join(answer.name for _, answer in WRONG)
    mistakes = ["forgot to sort", "forgot to unfold", "sigma instead of sigma squared", "level-centred windows"]
    mistakes += ["one-sided spectrum", "above 1.3 times the edge", "ignoring sigma", "outliers below", "ignoring the seed"]
    mistakes.append("ignoring the number of draws")
    assert [mistake for mistake in mistakes if mistake not in catalogue] == []


@of_assignments()
def test_a_notebook_asks_for_the_kernel_that_everybody_has(assignment):
    assert assignment.notebook.metadata.kernelspec == {"name": "python3", "display_name": "Python 3", "language": "python"}


def test_questions_that_are_graded_by_hand_have_points_and_no_test():
    reading = notebooks.read("reading")
    assert sum(reading.points.values()) == 10
    assert (reading.tests, reading.solutions) == ({}, {})
    rubric = (ROOT / "coursework" / "rubrics.md").read_text().split("## The project")[0]
    points = [int(value) for value in re.findall(r"^\| [a-z ]+ \| (\d) \|", rubric, re.MULTILINE)]
    assert points == [int(value) for value in reading.points.values()]


def test_data_of_a_student_are_those_of_the_name():
    assert personal.expected("Anna Müller") == personal.expected(" anna müller ")
    found = [personal.expected(name) for name in ("anna", "bert", "carl", "dora", "emil", "'; raise SystemExit")]
    assert len({strength for strength, *_ in found}) == len(found)
    assert all(1.2 <= strength <= 2.5 and above <= 3 for strength, above, _ in found)
    assert len({kind for *_, kind in found}) == 2


def test_a_table_of_personal_data_is_printed(tmp_path, capsys):
    (tmp_path / "roster.csv").write_text("student,name\nanna,Anna Ohm\n")
    personal.main([str(tmp_path / "roster.csv")])
    assert re.fullmatch(r"anna +strength \d\.\d\d, \d above the edge; [a-z-]+ entries\n", capsys.readouterr().out)


CHAPTER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

(chapter-x)=
# A chapter

First {ref}`words <chapter-y>` of it {cite}`somebody`. More of {ref}`chapter-z`.

Another paragraph.

## A section

The value is {glue:text}`value`. It is a value.

```{math}
:label: eq-x
x = 1
```

```{code-cell} python
import matplotlib.pyplot as plt
plt.plot([1, 2])
print("printed")
```

## Exercises

```{exercise} Do it
:label: ex-x
Hard.
```

````{solution} ex-x
Secret.
````
"""


def test_slides_have_headings_formulas_and_figures_and_no_solution(tmp_path):
    (tmp_path / "chapter.md").write_text(CHAPTER)
    slides.main([str(tmp_path / "chapter.md"), str(tmp_path / "slides.html")])
    page = (tmp_path / "slides.html").read_text()
    page = page[page.index('<div class="reveal">') :]
    assert page.count("data:image/png") == 1
    for there in ("A chapter", "First words of it. More of chapter-z.", "A section", "It is a value.", "x = 1"):
        assert there in page, there
    for absent in ("Another paragraph", "Secret", "Hard", "Exercises", "glue", "somebody", "printed", "plt.plot"):
        assert absent not in page, absent


def test_what_students_are_given_leaves_nothing_behind_and_leads_to_no_answer(tmp_path):
    def tree():
        command = ["git", "-C", str(ROOT), "status", "--porcelain", "--ignored", "--untracked-files=all"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return {line for line in lines if "egg-info" in line or "/build/" in line or line.endswith(".whl")}

    before = tree()
    written = handout.main([str(tmp_path / "handout")])
    assert tree() == before
    assert [re.sub(r"-\d.*", "", file.name) for file in written] == [
        "README.md",
        "requirements-models.txt",
        "requirements.txt",
        "rmtlib",
    ]
    with zipfile.ZipFile(written[-1]) as wheel:
        names = wheel.namelist()
        text = wheel.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert "rmtlib/__init__.py" in names
    assert not [name for name in names if re.search("coursework|chapters|tests", name)]
    assert (tmp_path / "handout" / "README.md").read_text() in text
    assert not re.search(r"coursework|repository|https?://|make \w+", text.split("\n\n", 1)[1])
    for command in (".venv/bin/python -m pip install rmtlib", r".venv\Scripts\python -m pip install rmtlib"):
        assert command in text


def test_the_notebook_of_ninety_minutes_runs():
    code = "import matplotlib\nmatplotlib.use('Agg')\n"
    page = jupytext.read(ROOT / "coursework" / "ninety_minutes.md")
    code += "\n".join(cell.source for cell in page.cells if cell.cell_type == "code")
    minutes = [
        int(value)
        for value in re.findall(r"^## .*\((\d+) minutes\)", "\n".join(cell.source for cell in page.cells), re.MULTILINE)
    ]
    assert sum(minutes) == 90
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"})
