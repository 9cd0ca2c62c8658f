"""A submission runs apart: what passes between it and the tests, what it is kept from, and how it ends."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "coursework"))
import apart  # noqa: E402
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
        "open('../stray', 'w')",
        "os.kill(GRADER, 0)",
        "import socket; socket.create_connection(('127.0.0.1', 80), timeout=1)",
    ],
)
def test_it_is_kept_from(submission, code):
    assert outcome(submission, code.replace("GRADER", str(os.getpid()))).startswith("PermissionError")


@confined
def test_what_it_starts_is_confined_too(submission):
    code = f"import subprocess\nprint(subprocess.run(['cat', {str(ROOT / 'README.md')!r}], capture_output=True, text=True))"
    assert "Permission denied" in outcome(submission, code)


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
    with apart.Submission(seconds=6, total=100) as found:
        found.run(LOOP)
        with pytest.raises(apart.StoppedError, match="the function loop did not end within 6 seconds and was stopped"):
            found.call("loop")
        assert found.call("one") == 1


def test_a_submission_that_has_used_its_time_is_told_so():
    with apart.Submission(seconds=5, total=4) as found:
        with pytest.raises(apart.StoppedError, match="has used all of its time"):
            found.run("while True:\n    pass")
        with pytest.raises(apart.StoppedError, match="has used all of its time"):
            found.run("1")


def test_a_submission_that_ends_its_process_is_told_so():
    with apart.Submission(seconds=6) as found, pytest.raises(apart.StoppedError, match="ended the process"):
        found.run("import os\nos._exit(0)")


def test_a_class_within_reach_of_submissions_is_refused():
    with pytest.raises(ValueError, match="must not lie inside .* which submissions can read"):
        apart.refuse_readable(Path(sys.prefix) / "class")


def test_the_isolation_that_is_reached_is_said(monkeypatch):
    monkeypatch.setattr(sandbox, "version", lambda: 0)
    assert apart.isolation().startswith("NO ISOLATION of files on this system")
    monkeypatch.setattr(sandbox, "version", lambda: 3)
    assert "connections to other machines are open" in apart.isolation()
