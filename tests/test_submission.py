"""A submission runs apart: what passes between it and the tests, what it is kept from, and how it ends."""

import json
import os
import sys
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "coursework"))
import apart  # noqa: E402
import handed_in  # noqa: E402
import notebooks  # noqa: E402
import sandbox  # noqa: E402
import wire  # noqa: E402

sys.path.pop(0)

confined = pytest.mark.skipif(not sandbox.version(), reason="no Landlock on this system: submissions are not confined")


@pytest.fixture(scope="module")
def submission():
    with apart.Submission(seconds=30, total=300) as found:
        found.run("import os\nimport numpy as np")
        yield found


def outcome(submission, code):
    """What the last output of a cell says."""
    output = submission.run(code)[-1]
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return output.get("text") or output.data["text/plain"]


@pytest.mark.parametrize("value", [1, 2.5, True, None, [1, [2.0, "x"]], (1, (2,)), np.float64(0.1), np.eye(2)])
def test_numbers_and_arrays_pass_unchanged(value):
    passed = wire.decode(json.loads(json.dumps(wire.encode(value))))
    np.testing.assert_equal(passed, value)
    assert isinstance(passed, type(value))


@pytest.mark.parametrize("value", [{"a": 1}, {1, 2}, np.array([object()]), lambda x: x])
def test_nothing_else_passes(value):
    with pytest.raises(TypeError, match="is neither a number nor an array"):
        wire.decode(json.loads(json.dumps(wire.encode(value))))


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


def test_much_output_is_cut(submission):
    outputs = submission.run("for i in range(3000):\n    print('x' * 1000)")
    assert "is left out" in outputs[-1].text
    assert len(str(outputs)) < 2 * apart.OUTPUT


def test_it_works_with_the_library_and_with_figures(submission):
    code = "import rmtlib\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nrmtlib.spectrum(np.eye(9) + np.ones(9)).nu[-1]"
    outputs = submission.run(code)
    assert [output.output_type for output in outputs if output.output_type == "error"] == []


@confined
@pytest.mark.parametrize(
    "code",
    [
        f"open({str(ROOT / 'coursework' / 'answers' / 'unfolding.md')!r}).read()",
        f"open({str(ROOT / 'coursework' / 'assignments' / 'unfolding.md')!r}).read()",
        f"os.listdir({str(ROOT)!r})",
        f"os.listdir({str(Path.home())!r})",
        "os.listdir('..')",
        f"os.listdir({str(ROOT / 'tests')!r})",
        "open('/proc/GRADER/environ').read()",
        "open('/proc/GRADER/cwd/README.md').read()",
        "open('/proc/GRADER/mem', 'rb').read(1)",
        "os.listdir('/proc/GRADER/fd')",
        f"os.symlink({str(ROOT / 'README.md')!r}, 'link'); open('link').read()",
        f"os.link({str(ROOT / 'README.md')!r}, 'hard')",
        f"import shutil; shutil.copytree({str(ROOT / 'coursework')!r}, 'copy')",
        "open('../stray', 'w')",
        "os.kill(GRADER, 0)",
        "import socket; socket.create_connection(('127.0.0.1', 80), timeout=1)",
    ],
)
def test_it_is_kept_from(submission, code):
    assert outcome(submission, code.replace("GRADER", str(os.getpid()))).startswith(("PermissionError", "OSError: [Errno 18]"))


@confined
def test_what_it_starts_is_confined_too(submission):
    code = f"import subprocess\nprint(subprocess.run(['cat', {str(ROOT / 'README.md')!r}], capture_output=True, text=True))"
    assert "Permission denied" in outcome(submission, code)


@confined
def test_what_is_forbidden_cannot_be_walked_over_or_imported(submission):
    tops = [str(ROOT), str(ROOT / "coursework"), str(Path.home()), ".."]
    assert outcome(submission, f"print([len(list(os.walk(top))) for top in {tops!r}])") == "[0, 0, 0, 0]\n"
    names = ("notebooks", "apart", "classroom", "test_coursework")
    for folder, name in [(ROOT / "coursework", name) for name in names[:3]] + [(ROOT / "tests", names[3])]:
        code = f"import sys; sys.path.insert(0, {str(folder)!r}); import {name}"
        assert outcome(submission, code).startswith(("ModuleNotFoundError", "PermissionError")), name


def test_it_does_not_see_the_environment(submission, monkeypatch):
    monkeypatch.setenv("SOME_PASSWORD", "secret")
    with apart.Submission() as other:
        assert "SOME_PASSWORD" not in outcome(other, "import os\nprint(dict(os.environ))")


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


def test_an_answer_that_is_a_link_is_not_followed(submission, tmp_path):
    (tmp_path / "secret.json").write_text('{"value": 5}')
    number = submission.calls + 1
    submission.run(f"def linked():\n    os.symlink({str(tmp_path / 'secret.json')!r}, 'reply-{number}.part')\n    return 1")
    with pytest.raises(apart.SubmissionError, match="linked gave no answer|linked raised"):
        submission.call("linked")


LOOP = """
def one():
    return 1

def loop():
    while True:
        try:
            pass
        except BaseException:
            pass
"""


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


def test_one_that_sleeps_is_stopped_though_it_computes_nothing():
    with apart.Submission(seconds=2) as found, pytest.raises(apart.StoppedError, match="did not end within 2 seconds"):
        found.run("import time\ntime.sleep(1000)")


ESCAPING = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes without a parent are found on Linux only")
def test_what_it_leaves_behind_ends_with_it():
    with apart.Submission() as found:
        found.run(ESCAPING)
        family = found.watch.process.children(recursive=True)
        assert family
    psutil.wait_procs(family, timeout=10)
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)


def test_one_that_starts_processes_without_end_is_stopped():
    number = apart.PROCESSES + 10
    forks = f"import os, time\nfor _ in range({number}):\n    if os.fork() == 0:\n        time.sleep(1000)\ntime.sleep(1000)"
    with apart.Submission(seconds=60) as found, pytest.raises(apart.StoppedError, match=f"more than {apart.PROCESSES} processes"):
        found.run(forks)


def test_one_that_asks_for_too_much_memory_is_refused_it(submission):
    assert outcome(submission, "np.ones(10**10)").startswith(("MemoryError", "_ArrayMemoryError"))


def test_memory_of_all_its_processes_is_counted(monkeypatch):
    with apart.Submission(seconds=60) as found:
        found.run("1")
        monkeypatch.setattr(apart, "MEMORY", 2**20)
        with pytest.raises(apart.StoppedError, match="the cell used more than .* of memory"):
            found.run("while True:\n    pass")


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
        handed_in.read(file)


def test_what_is_not_a_file_of_its_own_is_refused(tmp_path):
    (tmp_path / "link.ipynb").symlink_to(written(tmp_path, lambda notebook: None))
    (tmp_path / "folder.ipynb").mkdir()
    for name in ("link", "folder", "nothing"):
        with pytest.raises(handed_in.RefusedError, match="not a file"):
            handed_in.read(tmp_path / f"{name}.ipynb")


@pytest.mark.parametrize("kernel", [{"name": "ir", "language": "R"}, {"name": "julia-1.9", "language": "julia"}])
def test_another_kernel_is_refused_by_its_language(tmp_path, kernel):
    file = written(tmp_path, lambda notebook: notebook["metadata"].update(kernelspec=kernel))
    with pytest.raises(handed_in.RefusedError, match=f"made with the kernel '{kernel['name']}' for {kernel['language'].lower()}"):
        handed_in.read(file)


@pytest.mark.parametrize("kernel", [None, {}, {"name": "my-venv", "display_name": "mine", "language": "python"}])
def test_another_environment_or_none_is_accepted(tmp_path, kernel):
    assert handed_in.read(written(tmp_path, lambda notebook: notebook["metadata"].update(kernelspec=kernel)))[1] == []


def test_a_notebook_without_the_metadata_is_refused(tmp_path):
    def edit(notebook):
        for each in notebook["cells"]:
            each["metadata"] = {}

    with pytest.raises(handed_in.RefusedError, match="without the metadata of the assignment"):
        handed_in.complete(handed_in.read(written(tmp_path, edit))[0], released())


def test_outputs_of_50_mb_are_left_out_with_a_remark(tmp_path):
    output = {"output_type": "stream", "name": "stdout", "text": "x" * 50_000_000}
    notebook, remarks = handed_in.read(written(tmp_path, lambda notebook: cell(notebook, "surmise").update(outputs=[output])))
    assert remarks == ["48 MB, nearly all of them outputs, which were left out"]
    assert not any(each.get("outputs") for each in handed_in.complete(notebook, released())[0].cells)


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(handed_in, "LARGEST", 1000)
    with pytest.raises(handed_in.RefusedError, match="MB are too much: clear the outputs"):
        handed_in.read(written(tmp_path, lambda notebook: None))


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
    notebook, _ = handed_in.read(written(tmp_path, lambda notebook: cell(notebook, "surmise").update(source=code)))
    whole, remarks = handed_in.complete(notebook, released())
    assert [each[: len(remark)] for each in remarks] == [remark]
    assert code in [each.source for each in whole.cells]


def test_commands_of_ipython_are_code():
    assert handed_in.syntax_error("%matplotlib inline\n!ls\nx = 1\nx?") is None


def test_a_deleted_cell_is_put_back_and_said(tmp_path):
    def edit(notebook):
        for name in ("surmise", "surmise-test"):
            notebook["cells"].remove(cell(notebook, name))

    whole, remarks = handed_in.complete(handed_in.read(written(tmp_path, edit))[0], released())
    assert remarks == ["surmise: this cell was missing", "surmise-test: this cell was missing"]
    assert cell(whole, "surmise")["source"] == "# this cell was missing"
    assert cell(whole, "surmise-test")["source"] == cell(released(), "surmise-test")["source"]


def test_a_cell_that_is_there_twice_counts_once(tmp_path):
    def edit(notebook):
        notebook["cells"] += [cell(notebook, "surmise"), cell(notebook, "surmise-test")]

    whole, remarks = handed_in.complete(handed_in.read(written(tmp_path, edit))[0], released())
    words = "this cell is there more than once"
    assert [remark.split(",")[0] for remark in remarks] == [f"surmise: {words}", f"surmise-test: {words}"]
    ids = [notebooks.metadata(each).get("grade_id") for each in whole.cells]
    assert ids.count("surmise") == ids.count("surmise-test") == 1
    assert len({each.id for each in whole.cells}) == len(whole.cells)


def test_a_test_that_was_changed_is_put_back(tmp_path):
    notebook, _ = handed_in.read(written(tmp_path, lambda notebook: cell(notebook, "surmise-test").update(source="pass")))
    whole, _ = handed_in.complete(notebook, released())
    assert cell(whole, "surmise-test")["source"] == cell(released(), "surmise-test")["source"]


def test_a_class_within_reach_of_submissions_is_refused():
    with pytest.raises(ValueError, match="must not lie inside .* which submissions can read"):
        apart.refuse_readable(Path(sys.prefix) / "class")


def test_the_isolation_that_is_reached_is_said(monkeypatch):
    monkeypatch.setattr(sandbox, "version", lambda: 0)
    assert apart.isolation().startswith("NO ISOLATION of files on this system")
    monkeypatch.setattr(sandbox, "version", lambda: 3)
    assert "connections to other machines are open" in apart.isolation()
