"""A submission runs apart: what passes between it and the tests, how it ends, and what is made of the file that was handed in."""

import csv
import json
import os
import sys
import threading
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "coursework"))
import apart  # noqa: E402
import handed_in  # noqa: E402
import inbox  # noqa: E402
import notebooks  # noqa: E402
import plain  # noqa: E402
import sandbox  # noqa: E402
import tables  # noqa: E402
import wire  # noqa: E402

sys.path.pop(0)


@pytest.fixture(scope="module")
def submission():
    with apart.Submission(seconds=60, total=600) as found:
        found.run("import os\nimport numpy as np")
        yield found


def outcome(submission, code):
    """What the last output of a cell says."""
    output = submission.run(code)[-1]
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return output.get("text") or output.data["text/plain"]


def passed(value):
    return wire.decode(json.loads(json.dumps(wire.encode(value))))


@pytest.mark.parametrize(
    "value", [1, 2.5, True, None, "x", [1, [2.0, "x"]], (1, (2,)), np.float64(0.1), np.eye(2), np.arange(3) > 1]
)
def test_numbers_and_arrays_pass_unchanged(value):
    np.testing.assert_equal(passed(value), value)
    assert isinstance(passed(value), type(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (iter([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        (zip([1], [2], strict=True), [(1, 2)]),
        ({1: 2}.values(), [2]),
        (pd.Series([1.5, 2.5]), [1.5, 2.5]),
        (pd.DataFrame({"a": [1], "b": [2]}), [[1, 2]]),
        (pd.Series([1, None], dtype=object), [1, None]),
        (np.matrix([[1, 2]]), [[1, 2]]),
        (np.eye(3)[:, 1], [0, 1, 0]),
        (np.array(5), 5),
    ],
)
def test_what_is_like_a_list_or_an_array_becomes_one(value, expected):
    np.testing.assert_equal(np.asarray(passed(value), dtype=object).tolist(), expected)


def deep(levels):
    return [deep(levels - 1)] if levels else 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": 1}, "a dict is neither a number nor an array"),
        ({1, 2}, "a set is neither"),
        (np.array([object()]), "a ndarray is neither"),
        (lambda x: x, "a function is neither"),
        (iter(int, 1), "a list of more than 200000 values"),
        (np.zeros(10**7), "an array of 76 MB is too large"),
        (deep(100), "lists lie more than 20 deep"),
        (10**1000, "more than 1000 bits"),
    ],
)
def test_nothing_else_passes(value, words):
    with pytest.raises(TypeError, match=words):
        passed(value)


@pytest.mark.parametrize(
    "said",
    [
        {"array": "AAAA", "dtype": "<f8", "shape": [1]},
        {"array": "AAAA", "dtype": "<f8", "shape": [10**12]},
        {"array": "AAAAAAAAAAA=", "dtype": "O", "shape": [1]},
        {"array": "AAAAAAAAAAA=", "dtype": "M8[s]", "shape": [1]},
        {"array": "AAAAAAAAAAA=", "dtype": "<f8", "shape": [-1]},
        {"array": "AAAAAAAAAAA=", "dtype": "<f8", "shape": [True]},
        {"array": "AAAAAAAAAAA=", "dtype": "<f8"},
        {"array": 5, "dtype": "<f8", "shape": []},
        {"list": 5},
        {"list": [{"other": "x"}]},
        {},
        {"dict": []},
    ],
)
def test_what_is_no_value_is_refused(said):
    with pytest.raises((TypeError, ValueError)):
        wire.decode(said)


def test_a_function_of_the_submission_is_called_with_arrays_and_names(submission):
    submission.run("def scaled(x, by=2):\n    return x * by, [len(x)]")
    scaled = submission.functions(["scaled"])["scaled"]
    array, lengths = scaled(np.arange(3.0), by=4)
    np.testing.assert_array_equal(array, [0, 4, 8])
    assert lengths == [3]


def test_what_a_function_raises_or_lacks_is_said(submission):
    submission.run("def wrong():\n    return 1 / 0\n\ndef odd():\n    return {1}")
    with pytest.raises(apart.SubmissionError, match="wrong raised ZeroDivisionError: division by zero"):
        submission.call("wrong")
    with pytest.raises(apart.SubmissionError, match="missing raised NameError: name 'missing' is not defined"):
        submission.call("missing")
    with pytest.raises(apart.SubmissionError, match="the value that odd returns cannot be used: a set is neither"):
        submission.call("odd")


def test_what_a_function_prints_costs_it_nothing(submission):
    submission.run("def loud():\n    for i in range(3000):\n        print('x' * 1000)\n    return 1")
    assert submission.call("loud") == 1


def test_much_output_is_cut(submission):
    outputs = submission.run("for i in range(3000):\n    print('x' * 1000)")
    assert "is left out" in outputs[-1].text
    assert len(str(outputs)) < 2 * apart.outputs.KEPT


def test_output_without_end_is_stopped():
    with apart.Submission(seconds=600, total=6000) as found:
        found.run("1")
        # whichever is counted first: what arrived here, or what waits there
        with pytest.raises(
            apart.StoppedError, match="the cell (printed more than 50 MB|used more than 4 GB of memory) and was stopped"
        ):
            found.run("while True:\n    print('x' * 1_000_000)")


def test_it_works_with_the_library_and_with_figures(submission):
    code = "import rmtlib\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nrmtlib.spectrum(np.eye(9) + np.ones(9)).nu[-1]"
    outputs = submission.run(code)
    assert [output.output_type for output in outputs if output.output_type == "error"] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)


FRAMES = """
import gc, sys

def frames():
    frame, seen = sys._getframe(), []
    while frame:
        seen.append(frame.f_code.co_filename + str(frame.f_code.co_names))
        frame = frame.f_back
    return seen
"""


def test_a_call_is_all_that_it_sees_of_a_test(submission):
    submission.run(FRAMES)
    test = "known_to_tests = 1\nseen = frames()\nassert seen and not any('known_to_tests' in frame for frame in seen), seen"
    assert notebooks.run_test(test, submission.functions(["frames"])) is None
    search = "[o for o in gc.get_objects() if isinstance(o, dict) and 'known_to' + '_tests' in o]"
    assert outcome(submission, search) == "[]"


LOOP = "def one():\n    return 1\n\ndef loop():\n    while True:\n        try: pass\n        except BaseException: pass"


def test_a_loop_that_catches_everything_is_stopped_and_the_rest_goes_on():
    with apart.Submission(seconds=2, total=100) as found:
        found.run(LOOP)
        with pytest.raises(apart.StoppedError, match="the function loop did not end within 2 seconds and was stopped"):
            found.call("loop")
        assert found.call("one") == 1


def test_a_submission_that_has_used_its_time_is_told_so():
    with apart.Submission(seconds=5, total=1) as found:
        with pytest.raises(apart.StoppedError, match="has used all of its time"):
            found.run("while True:\n    pass")
        with pytest.raises(apart.StoppedError, match="has used all of its time"):
            found.run("1")


def test_a_submission_that_ends_its_process_is_told_so():
    with apart.Submission() as found:
        with pytest.raises(apart.StoppedError, match="the cell ended the process in which the submission ran"):
            found.run("import os\nos._exit(0)")
        assert found.run("1")[0].data["text/plain"] == "1"


def test_what_cannot_be_hidden_is_said():
    with apart.Submission(hide=["rmtlib.no_such_function"]) as found:
        with pytest.raises(apart.StoppedError, match="not all of rmtlib.no_such_function could be hidden"):
            found.run("1")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, Müller", "plain words, Müller"),
        ("two\nlines\r\nand\ttab", "two lines and tab"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("a\u202eb\u200f", "a\\u202eb\\u200f"),
        ("\udcff", "\\udcff"),
        ("x" * 500, "x" * 299 + "…"),
    ],
)
def test_a_line_has_printable_characters_alone(text, shown):
    assert plain.line(text) == shown


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "|x", "%x", "\t=1", "\r\n=1", "  =1", "\u3000=1", "＝1"])
def test_a_cell_of_a_table_is_no_formula(text):
    assert plain.cell(text).startswith(("'", "\\u3000"))
    assert plain.cell("anna = bert") == "anna = bert"


def released(name="spacings"):
    """An assignment as it is given out, as far as what is handed in is concerned."""
    return nbformat.from_dict(notebooks.read(name).notebook)


def written(folder, edit):
    """A notebook in which everything is right, changed as JSON."""
    notebook = json.loads(nbformat.writes(released()))
    edit(notebook)
    file = folder / "spacings.ipynb"
    file.write_text(json.dumps(notebook))
    return file


def read(file):
    return handed_in.read(handed_in.content(file))


def cell(notebook, grade_id):
    return next(cell for cell in notebook["cells"] if cell["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        ("{}", "not a notebook"),
        ('{"cells": [', "not a notebook: .*JSON"),
        ("[1, 2]", "not a notebook"),
        ("def level_spacings(W):", "not a notebook: .*JSON"),
        ('{"cells": 5, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "not a notebook"),
        ('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "the notebook has no cells"),
        ('{"cells": [5], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "not a notebook"),
        ("[" * 100_000, "not a notebook"),
        (b"\xff\xfe\x00", "not a notebook: .*utf-8"),
        (b"PK\x03\x04", "not a notebook"),
    ],
)
def test_a_file_that_is_no_notebook_is_refused_with_words(tmp_path, content, words):
    file = tmp_path / "spacings.ipynb"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(handed_in.RefusedError, match=words):
        read(file)


def test_what_is_not_a_file_of_its_own_is_refused(tmp_path):
    (tmp_path / "link.ipynb").symlink_to(written(tmp_path, lambda notebook: None))
    (tmp_path / "folder.ipynb").mkdir()
    for name in ("link", "folder", "nothing"):
        with pytest.raises(handed_in.RefusedError, match="not a file"):
            read(tmp_path / f"{name}.ipynb")


@pytest.mark.parametrize("kernel", [{"name": "ir", "language": "R"}, {"name": "julia-1.9", "language": "julia"}])
def test_another_kernel_is_refused_by_its_language(tmp_path, kernel):
    file = written(tmp_path, lambda notebook: notebook["metadata"].update(kernelspec=kernel))
    with pytest.raises(handed_in.RefusedError, match=f"made with the kernel '{kernel['name']}' for {kernel['language'].lower()}"):
        read(file)


@pytest.mark.parametrize("kernel", [None, {}, {"name": "my-venv", "display_name": "mine", "language": "python"}])
def test_another_environment_or_none_is_accepted(tmp_path, kernel):
    assert read(written(tmp_path, lambda notebook: notebook["metadata"].update(kernelspec=kernel)))[1] == []


def test_a_notebook_without_the_metadata_is_refused(tmp_path):
    def edit(notebook):
        for each in notebook["cells"]:
            each["metadata"] = {}

    with pytest.raises(handed_in.RefusedError, match="without the metadata of the assignment"):
        handed_in.complete(read(written(tmp_path, edit))[0], released())


def test_outputs_of_50_mb_are_left_out_with_a_remark(tmp_path):
    output = {"output_type": "stream", "name": "stdout", "text": "x" * 50_000_000}
    notebook, remarks = read(written(tmp_path, lambda notebook: cell(notebook, "surmise").update(outputs=[output])))
    assert remarks == ["48 MB, nearly all of them outputs, which were left out"]
    assert not any(each.get("outputs") for each in handed_in.complete(notebook, released())[0].cells)


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(handed_in, "LARGEST", 1000)
    with pytest.raises(handed_in.RefusedError, match="MB are too much: clear the outputs"):
        read(written(tmp_path, lambda notebook: None))


@pytest.mark.parametrize(
    ("code", "remark"),
    [
        ("def surmise_cdf(s)\n    return 0", "surmise: SyntaxError: expected ':', line 1"),
        ("if s:\nreturn 0", "surmise: IndentationError"),
        ("x = '\0'", "surmise: "),
        ("x = " + "(" * 5000 + ")" * 5000, "surmise: "),
    ],
)
def test_code_that_is_no_code_is_remarked_on_and_left_to_fail(tmp_path, code, remark):
    notebook, _ = read(written(tmp_path, lambda notebook: cell(notebook, "surmise").update(source=code)))
    whole, remarks = handed_in.complete(notebook, released())
    assert [each[: len(remark)] for each in remarks] == [remark]
    assert code in [each.source for each in whole.cells]


def test_commands_of_ipython_are_code():
    assert handed_in.syntax_error("%matplotlib inline\n!ls\nx = 1\nx?") is None


def test_a_deleted_cell_is_put_back_and_said(tmp_path):
    def edit(notebook):
        for name in ("surmise", "surmise-test"):
            notebook["cells"].remove(cell(notebook, name))

    whole, remarks = handed_in.complete(read(written(tmp_path, edit))[0], released())
    assert remarks == ["surmise: this cell was missing", "surmise-test: this cell was missing"]
    assert cell(whole, "surmise")["source"] == "# this cell was missing"
    assert cell(whole, "surmise-test")["source"] == cell(released(), "surmise-test")["source"]


def test_a_cell_that_is_there_twice_counts_once(tmp_path):
    def edit(notebook):
        notebook["cells"] += [cell(notebook, "surmise"), cell(notebook, "surmise-test")]

    whole, remarks = handed_in.complete(read(written(tmp_path, edit))[0], released())
    words = "this cell is there more than once"
    assert [remark.split(",")[0] for remark in remarks] == [f"surmise: {words}", f"surmise-test: {words}"]
    ids = [notebooks.metadata(each).get("grade_id") for each in whole.cells]
    assert ids.count("surmise") == ids.count("surmise-test") == 1
    assert len({each.id for each in whole.cells}) == len(whole.cells)


def test_a_test_that_was_changed_is_put_back(tmp_path):
    notebook, _ = read(written(tmp_path, lambda notebook: cell(notebook, "surmise-test").update(source="pass")))
    whole, _ = handed_in.complete(notebook, released())
    assert cell(whole, "surmise-test")["source"] == cell(released(), "surmise-test")["source"]


def test_a_cell_that_became_text_is_taken_as_it_was_given_out(tmp_path):
    notebook, _ = read(written(tmp_path, lambda notebook: cell(notebook, "surmise").update(cell_type="markdown")))
    whole, remarks = handed_in.complete(notebook, released())
    assert remarks == ["surmise: this cell was turned into one of kind markdown, and is taken as it was given out"]
    assert cell(whole, "surmise")["cell_type"] == "code"


def test_metadata_that_lie_are_those_that_were_given_out(tmp_path):
    def edit(notebook):
        for each in notebook["cells"]:
            if "nbgrader" in each["metadata"]:
                each["metadata"]["nbgrader"] |= {
                    "points": 1000,
                    "grade": True,
                    "solution": False,
                    "locked": False,
                    "cell_type": "markdown",
                }

    whole, _ = handed_in.complete(read(written(tmp_path, edit))[0], released())
    assert [notebooks.metadata(each) for each in whole.cells if notebooks.metadata(each)] == [
        notebooks.metadata(each) for each in released().cells if notebooks.metadata(each)
    ]


@pytest.mark.parametrize("data", [5, [], None, "x", {"grade_id": 5}, {"grade_id": ["surmise"]}, {"grade_id": None}])
def test_metadata_of_another_kind_are_none(tmp_path, data):
    notebook, _ = read(written(tmp_path, lambda notebook: cell(notebook, "surmise")["metadata"].update(nbgrader=data)))
    whole, remarks = handed_in.complete(notebook, released())
    assert "surmise: this cell was missing" in remarks
    assert cell(whole, "surmise")["source"] == "# this cell was missing"


def test_a_pipe_is_not_waited_for(tmp_path):
    if not hasattr(os, "mkfifo"):
        return  # Windows has none
    os.mkfifo(tmp_path / "unfolding.ipynb")
    found = []

    def look():
        try:
            handed_in.content(tmp_path / "unfolding.ipynb")
        except handed_in.RefusedError as error:
            found.append(str(error))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert found == ["not a file"]


def test_300_mb_are_refused_before_they_are_read(tmp_path):
    with open(tmp_path / "unfolding.ipynb", "wb") as file:
        file.truncate(300 * 2**20)
    begun = time.process_time()
    with pytest.raises(handed_in.RefusedError, match="300 MB are too much: clear the outputs and hand it in again"):
        handed_in.content(tmp_path / "unfolding.ipynb")
    assert time.process_time() - begun < 0.5


def test_a_class_within_reach_of_submissions_is_refused():
    with pytest.raises(ValueError, match="must not lie inside .* which submissions can read"):
        sandbox.refuse_readable(Path(sys.prefix) / "class")


def test_code_is_the_same_whatever_its_comments_and_blanks():
    def with_code(code):
        notebook = released()
        cell(notebook, "surmise")["source"] = code
        return notebook

    def same(one, other):
        return handed_in.same_code(with_code(one), released()) == handed_in.same_code(with_code(other), released())

    one = 'def surmise_cdf(s):\n    """Words."""\n    return 1 - np.exp(-np.pi * s**2 / 4)'
    assert same(one, "def surmise_cdf(s):  # mine\n\n    return  1 - np.exp(-np.pi * s ** 2 / 4)")
    assert not same(one, "def surmise_cdf(t):\n    return 1 - np.exp(-np.pi * t**2 / 4)")
    assert same("def surmise_cdf(s)\n  x", "def surmise_cdf(s)\n\n  x")
    assert handed_in.same_code(released(), released()) is None


NAMES = ["unfolding", "number_variance", "spacings"]


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("unfolding.ipynb", ("unfolding", 0)),
        ("unfolding (1).ipynb", ("unfolding", 1)),
        ("unfolding (12).ipynb", ("unfolding", 12)),
        ("Unfolding.IPYNB", ("unfolding", 0)),
        ("unfolding-2.ipynb", ("unfolding", 2)),
        ("unfolding - Copy.ipynb", ("unfolding", 1)),
        ("unfolding - Copy (2).ipynb", ("unfolding", 2)),
        ("unfolding-Copy1.ipynb", ("unfolding", 1)),
        ("unfolding_copy (1).ipynb", ("unfolding", 1)),
        ("Number Variance.ipynb", ("number_variance", 0)),
        ("number-variance (3).ipynb", ("number_variance", 3)),
        ("Anna Müller unfolding.ipynb", ("unfolding", 0)),
        ("unfolding_anna.ipynb", ("unfolding", 0)),
        ("homework.ipynb", (None, 0)),
        ("unfolding.py", (None, 0)),
        ("unfolding", (None, 0)),
        ("folding.ipynb", (None, 0)),
        ("notunfolding.ipynb", (None, 0)),
    ],
)
def test_an_assignment_is_found_under_odd_names(file, found):
    assert inbox.which(file, NAMES) == found


def roster(folder, text):
    (folder / "roster.csv").write_text(text, encoding="utf-8")
    return inbox.read_roster(folder / "roster.csv")


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def test_downloads_from_moodle_and_canvas_find_their_students(tmp_path):
    students = roster(
        tmp_path, "student,name,id,email\nanna,Anna Müller,1001,anna@example.org\nbert,Bert Ohm,1002,bert@example.org\n"
    )
    put(
        tmp_path / "inbox",
        "Anna Müller_4711_assignsubmission_file_/unfolding.ipynb",
        "ohmbert_1002_99_spacings-1.ipynb",
        "mulleranna_LATE_1001_98_spacings.ipynb",
        "Bert Ohm_4712_assignsubmission_file/unfolding (1).ipynb",
        "Bert Ohm_4712_assignsubmission_file/unfolding.ipynb",
        "stranger/unfolding.ipynb",
        "bert/notes.txt",
        "loose.ipynb",
        "__MACOSX/x",
        ".DS_Store",
    )
    received, ignored = inbox.collect(tmp_path / "inbox", NAMES, students)
    assert [(each.student.student, each.assignment, each.path.name) for each in received] == [
        ("anna", "spacings", "mulleranna_LATE_1001_98_spacings.ipynb"),
        ("anna", "unfolding", "unfolding.ipynb"),
        ("bert", "spacings", "ohmbert_1002_99_spacings-1.ipynb"),
        ("bert", "unfolding", "unfolding (1).ipynb"),
        ("stranger", "unfolding", "unfolding.ipynb"),
    ]
    assert received[3].remarks == ["handed in more than once: unfolding (1).ipynb counts, unfolding.ipynb not"]
    assert received[4].remarks == ["not on the roster"]
    assert sorted(why.split(":")[0] for *_, why in ignored) == ["ignored", "ignored"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name\nanna\n", "needs a column 'student', and may have name, id, email, section; got"),
        ("", "needs a column 'student'"),
        ("student,id\nanna,1\nanna,2\n", "lines 2 and 3: student 'anna' is there twice"),
        ("student,id\nanna,1\nbert,1\n", "lines 2 and 3: id '1' is there twice"),
        ("student,email\nanna,a@b\nbert,a@b\n", "lines 2 and 3: email 'a@b' is there twice"),
        ("student,id\n,1\n", "line 2: the student has no name"),
        ("student,id\nanna,=1+1\n", "line 2: id '=1\\+1' would be taken for a formula"),
    ],
)
def test_a_roster_that_is_wrong_is_refused_with_words(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        roster(tmp_path, text)


def test_a_roster_may_be_empty(tmp_path):
    assert roster(tmp_path, "student,id\n") == []


@pytest.mark.parametrize(
    "name", ["*", "[ab]", "a/../b", "..", "a\nb", "<img src=x onerror=alert(1)>", "\x1b[2J", " anna", "x" * 200, "\udcff"]
)
def test_a_name_that_acts_in_a_pattern_or_a_path_gets_another(name):
    key = inbox.Student(name).key
    assert inbox.SAFE.fullmatch(key)
    assert key != inbox.Student(name + "x").key


@pytest.mark.parametrize("name", ["anna", "Müller, Anna", "a.b@example.org", "O-Neill 2"])
def test_a_usual_name_stays(name):
    assert inbox.Student(name).key == name


def test_wide_tables_have_a_line_for_each_student_and_nothing_that_acts(tmp_path):
    anna, bert = inbox.Student("anna", "=HYPERLINK(1)", "1001", "anna@example.org", "A"), inbox.Student("bert", id="1002")
    rows = [tables.Row(anna, "unfolding", 7.5, 10, ["two\nlines", "\x1b[2J"]), tables.Row(bert, "spacings", 0.0, 10, ["@x"])]
    tables.write_all(tmp_path, rows, [anna, bert], {"spacings": 10.0, "unfolding": 10.0})
    found = {
        name: list(csv.reader(open(tmp_path / f"{name}.csv", newline="", encoding="utf-8")))
        for name in ("grades", "moodle", "canvas")
    }
    assert found["moodle"] == [
        ["Username", "ID number", "Email address", "Full name", "spacings", "unfolding"],
        ["anna", "1001", "anna@example.org", "'=HYPERLINK(1)", "", "7.5"],
        ["bert", "1002", "", "bert", "0", ""],
    ]
    assert found["canvas"] == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "spacings", "unfolding"],
        ["    Points Possible", "", "", "", "", "10", "10"],
        ["'=HYPERLINK(1)", "1001", "", "anna", "A", "", "7.5"],
        ["bert", "1002", "", "bert", "", "0", ""],
    ]
    assert found["grades"][1:] == [
        ["anna", "unfolding", "7.5", "10", "two lines; \\x1b[2J"],
        ["bert", "spacings", "0", "10", "'@x"],
    ]
