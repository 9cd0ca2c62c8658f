from __future__ import annotations

import doctest
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from rmtlib.cli import main
from rmtlib.notebooks import launch as module
from rmtlib.notebooks.launch import NotebookError, ParameterError, check_parameters, launch, output_name, read_notebook

CHAPTER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A tiny chapter

```{code-cell} python
:tags: [parameters]

laziness: float = 1.0  # rich 0.5, typical 1, lazy 5
epochs: int = 10  # passes over the images
text: str = "some"
flag: bool = False
untyped = 3
widths: list = [1, 2]
```

```{code-cell} python
import os
import time

print(os.getcwd(), repr(laziness), repr(epochs), repr(text), repr(flag), repr(untyped), repr(widths), flush=True)
if text == "fail":
    raise RuntimeError("no such luck")
if text == "die":
    os._exit(1)
if text == "wait":
    time.sleep(60)
```
"""


@pytest.fixture
def chapter(tmp_path):
    path = tmp_path / "book" / "chapter.md"
    path.parent.mkdir()
    path.write_text(CHAPTER)
    return path


@pytest.fixture
def notebook(chapter):
    return read_notebook(chapter)


def printed(path):
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.text for cell in cells if cell.cell_type == "code" for output in cell.outputs)


# Reading


def test_markdown_and_ipynb_read_the_same(chapter, notebook, tmp_path):
    nbformat.write(notebook, tmp_path / "chapter.ipynb")
    other = read_notebook(tmp_path / "chapter.ipynb")
    assert [cell.source for cell in other.cells] == [cell.source for cell in notebook.cells]
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "code"]
    assert notebook.cells[1].metadata.tags == ["parameters"]


@pytest.mark.parametrize("name", ["nothing.md", "chapter.txt", "."])
def test_what_is_no_notebook_is_refused(name, tmp_path):
    (tmp_path / "chapter.txt").touch()
    with pytest.raises(ValueError, match=r"notebook must be a file that ends in \.md or \.ipynb; got '"):
        read_notebook(tmp_path / name)


def test_a_broken_ipynb_is_refused(tmp_path):
    (tmp_path / "broken.ipynb").write_text("{")
    with pytest.raises(ValueError, match=r"notebook '.*broken\.ipynb' cannot be read"):
        read_notebook(tmp_path / "broken.ipynb")


# Checking parameters


def test_parameters_come_back_in_the_order_and_types_of_the_notebook(notebook):
    given = {"untyped": 4, "text": Path("a") / "b", "epochs": np.int64(2), "laziness": 5, "widths": [3]}
    checked = check_parameters(notebook, given)
    assert checked == {"laziness": 5.0, "epochs": 2, "text": os.path.join("a", "b"), "untyped": 4, "widths": [3]}
    assert list(checked) == ["laziness", "epochs", "text", "untyped", "widths"]
    assert [type(value) for value in checked.values()] == [float, int, str, int, list]


def test_texts_are_converted_to_the_declared_types(notebook):
    texts = {"laziness": "5e-1", "epochs": "2", "text": "2", "flag": "True", "untyped": "7", "widths": "[3, 4]"}
    checked = check_parameters(notebook, texts, from_text=True)
    assert checked == {"laziness": 0.5, "epochs": 2, "text": "2", "flag": True, "untyped": 7, "widths": [3, 4]}
    assert check_parameters(notebook, {"laziness": "5"}, from_text=True) == {"laziness": 5.0}
    assert check_parameters(notebook, {"epochs": 3, "flag": False}, from_text=True) == {"epochs": 3, "flag": False}


@pytest.mark.parametrize(
    ("name", "bad", "kind"),
    [
        ("laziness", "0.5", "float"),
        ("laziness", True, "float"),
        ("laziness", None, "float"),
        ("laziness", 10**400, "float"),
        ("epochs", 2.0, "int"),
        ("epochs", True, "int"),
        ("text", 1, "str"),
        ("flag", 1, "bool"),
        ("flag", "True", "bool"),
        ("untyped", "4", "int"),
    ],
)
def test_a_value_of_another_type_is_refused(notebook, name, bad, kind):
    with pytest.raises(ParameterError, match=f"^{name} must be {kind}; got {bad!r}") as error:
        check_parameters(notebook, {name: bad})
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    ("name", "bad", "kind"),
    [("laziness", "half", "float"), ("epochs", "2.0", "int"), ("flag", "1", "bool"), ("widths", "[3", "list")],
)
def test_a_text_that_is_not_of_the_declared_type_is_refused(notebook, name, bad, kind):
    with pytest.raises(ParameterError) as error:
        check_parameters(notebook, {name: bad}, from_text=True)
    assert str(error.value).startswith(f"{name} must be {kind}; got {bad!r}")


def test_everything_wrong_is_listed_with_the_right_parameters(notebook):
    with pytest.raises(ParameterError) as error:
        check_parameters(notebook, {"lazyness": 1, "epochs": "two", "flag": 0})
    assert str(error.value) == (
        "there is no parameter 'lazyness'; epochs must be int; got 'two'; flag must be bool; got 0. "
        "The notebook's parameters are\n"
        "  laziness: float = 1.0  # rich 0.5, typical 1, lazy 5\n"
        "  epochs: int = 10  # passes over the images\n"
        '  text: str = "some"\n'
        "  flag: bool = False\n"
        "  untyped: int = 3\n"
        "  widths: list = [1, 2]"
    )


def test_a_notebook_without_a_parameters_cell_takes_none(notebook):
    notebook.cells[1].metadata.tags = []
    assert check_parameters(notebook, {}) == {}
    with pytest.raises(ParameterError, match="the notebook has no cell tagged 'parameters', so it takes no epochs, flag"):
        check_parameters(notebook, {"epochs": 1, "flag": True})


def test_names_differ_where_parameters_differ_and_never_leave_the_folder():
    assert doctest.testmod(module).failed == 0
    values = ("x/y", "x_y", 1, 1.0, True, "../../x", 300 * "x")
    names = {output_name("c", {"a": value}) for value in values} | {output_name("c", {})}
    assert len(names) == 8
    assert all(Path(name).name == name and len(name) < 160 for name in names)
    assert output_name("c", {"a": 1, "b": 2}, shown=["b"]).startswith("c-b=2-")
    assert output_name("c", {"a": 1, "b": 2}, shown=["b"]) != output_name("c", {"a": 3, "b": 2}, shown=["b"])


# Executing


def test_the_notebook_runs_with_its_parameters_in_the_current_folder(chapter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log, text = io.StringIO(), 'it\'s "so"\n'
    output = launch(chapter, {"laziness": 2, "text": text}, output="out/done.ipynb", log=log, metadata={"key": "k"})
    assert output == tmp_path / "out" / "done.ipynb"
    assert log.getvalue() == printed(output) == f"{tmp_path} 2.0 10 {text!r} False 3 [1, 2]\n"
    metadata = json.loads(output.read_text())["metadata"]
    assert metadata["rmtlib"] == {"key": "k"}
    assert metadata["papermill"]["parameters"] == {"laziness": 2.0, "text": text}
    assert os.listdir(output.parent) == ["done.ipynb"]
    assert Path.cwd() == tmp_path


def test_a_notebook_that_fails_leaves_the_older_result_and_nothing_else(notebook, tmp_path):
    output = tmp_path / "out" / "done.ipynb"
    output.parent.mkdir()
    output.write_text("older")
    log = io.StringIO()
    with pytest.raises(NotebookError, match="^RuntimeError: no such luck\n") as error:
        launch(notebook, {"text": "fail"}, output=output, cwd=tmp_path, log=log)
    assert "raise RuntimeError" in str(error.value)
    assert log.getvalue().startswith(f"{tmp_path} 1.0 10 'fail'")
    with pytest.raises(NotebookError, match="the kernel was killed, ran out of memory or did not start"):
        launch(notebook, {"text": "die"}, output=output, cwd=tmp_path)
    assert os.listdir(output.parent) == ["done.ipynb"]
    assert output.read_text() == "older"


def test_nothing_is_executed_with_wrong_parameters(notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(module.papermill, "execute_notebook", lambda *args, **options: pytest.fail("executed"))
    with pytest.raises(ParameterError, match="there is no parameter 'epoch'"):
        launch(notebook, {"epoch": 1}, output=tmp_path / "out.ipynb")


def test_the_command_converts_texts_and_prints_where_the_notebook_is(chapter, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(chapter), "-p", "laziness", "5", "-p", "flag", "true", "-p", "text", "2"]) == 0
    streams = capsys.readouterr()
    assert streams.err == f"{tmp_path} 5.0 10 '2' True 3 [1, 2]\n"
    output = Path(streams.out.strip())
    assert output.parent == tmp_path / "runs"
    assert output.name.startswith("chapter-laziness=5.0-text=2-flag=True-")
    assert printed(output) == streams.err


def test_the_command_refuses_wrong_parameters_with_status_2(chapter, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(chapter), "-p", "epochs", "many"]) == 2
    assert "rmtlib run: epochs must be int; got 'many'. The notebook's parameters are\n  laziness" in capsys.readouterr().err
    assert main(["run", "nowhere.md"]) == 2
    assert "rmtlib run: notebook must be a file" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_command_ends_with_status_1_when_the_notebook_fails(chapter, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def fail(*args):
        msg = "RuntimeError: no such luck"
        raise NotebookError(msg)

    monkeypatch.setattr(module, "execute", fail)
    assert main(["run", str(chapter)]) == 1
    assert capsys.readouterr().err == f"rmtlib run failed: {chapter}: RuntimeError: no such luck\n"
    assert os.listdir(tmp_path / "runs") == []


def test_an_interrupted_command_says_how_to_go_on_and_leaves_no_notebook(chapter, tmp_path):
    command = [sys.executable, "-m", "rmtlib", "run", str(chapter), "-p", "text", "wait"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell lets its background jobs ignore interrupts, and this test may run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    first = process.stderr.readline()
    assert first.startswith(str(tmp_path)), first + process.stderr.read()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; repeat the command, and a training goes on after its last epoch" in rest
    assert os.listdir(tmp_path / "runs") == []
