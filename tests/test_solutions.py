"""Exercises of the chapters: graded, labelled, and every solution runs after the cells of its chapter."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import NamedTuple

import jupytext
import papermill
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).parents[1]
CHAPTERS = ROOT / "chapters"
NUMBERED = r"\d\d_"
DIRECTIVE = re.compile(r"^(`{3,})\{(exercise|solution)\} *(\S*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"\A(?::\w+:.*\n)+")
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Exercise(NamedTuple):
    label: str
    text: str


class Solution(NamedTuple):
    exercise: str
    text: str
    dropdown: bool

    @property
    def code(self):
        return "\n".join(PYTHON.findall(self.text))


class Chapter(NamedTuple):
    path: Path
    exercises: list[Exercise]
    solutions: list[Solution]


def read_chapter(path):
    exercises, solutions = [], []
    for _, kind, argument, body in DIRECTIVE.findall(path.read_text()):
        options = OPTION.match(body)
        options, text = (options[0], body[options.end() :].strip()) if options else ("", body.strip())
        if kind == "exercise":
            label = re.search(r"^:label: *(\S+)$", options, re.MULTILINE)
            exercises.append(Exercise(label[1] if label else "", text))
        else:
            solutions.append(Solution(argument, text, ":class: dropdown" in options))
    return Chapter(path, exercises, solutions)


def parametrized(chapters):
    return pytest.mark.parametrize("chapter", chapters, ids=lambda chapter: chapter.path.stem)


ALL = [chapter for path in sorted(CHAPTERS.glob("*.md")) if (chapter := read_chapter(path)).exercises]
GRADED = [chapter for chapter in ALL if re.match(NUMBERED, chapter.path.name)]
COMPUTED = [chapter for chapter in ALL if any(solution.code for solution in chapter.solutions)]
# the others print what is to be looked at, on networks that differ from reader to reader
ASSERTING = [chapter for chapter in COMPUTED if not re.match("18_", chapter.path.name)]


def quick_parameters(chapter, tmp_path):
    """Those of the quick notebooks; a chapter that trains keeps its run away from the reader's."""
    spec = spec_from_file_location("quick_chapters", ROOT / "tools" / "quick_chapters.py")
    quick_chapters = module_from_spec(spec)
    spec.loader.exec_module(quick_chapters)
    parameters = dict(quick_chapters.QUICK.get(chapter.path.stem, {}))
    if "\nruns_folder: str" in chapter.path.read_text():
        parameters["runs_folder"] = str(tmp_path / "runs")
    return parameters


def executed_after(chapter, parameters, folder, solutions):
    """The cells of a chapter, then each solution in a copy of their namespace; the errors of the solutions by exercise."""
    source, quick = folder / "chapter.ipynb", folder / "quick.ipynb"
    jupytext.write(jupytext.read(chapter.path), source)
    notebook = papermill.execute_notebook(source, quick, parameters, prepare_only=True, progress_bar=False)
    cells = {}
    for exercise, code in solutions.items():
        compiled = f"compile({code!r}, 'solution of {exercise}', 'exec')"
        cells[exercise] = new_code_cell(f"exec({compiled}, dict(globals()))", metadata={"tags": ["raises-exception"]})
    notebook.cells += cells.values()
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": CHAPTERS}}).execute()
    # the client works on the cells of the notebook itself
    return {
        exercise: [f"{output.ename}: {output.evalue}" for output in cell.outputs if output.output_type == "error"]
        for exercise, cell in cells.items()
    }


def test_chapters_all_have_exercises():
    assert [path.stem for path in sorted(CHAPTERS.glob("*.md")) if re.match(NUMBERED, path.name)] == [
        chapter.path.stem for chapter in GRADED
    ]


def test_labels_are_unique_in_the_book():
    labels = [exercise.label for chapter in ALL for exercise in chapter.exercises]
    assert sorted(labels) == sorted(set(labels))


@parametrized(ALL)
def test_exercises_and_solutions_are_written_in_one_form(chapter):
    written = re.findall(r"\{(?:exercise|solution)[\w-]*\}", chapter.path.read_text())
    assert len(written) == len(chapter.exercises) + len(chapter.solutions)


@parametrized(ALL)
def test_every_exercise_has_a_label_and_a_solution_in_a_dropdown(chapter):
    labels = [exercise.label for exercise in chapter.exercises]
    assert all(label.startswith("ex-") for label in labels)
    assert [solution.exercise for solution in chapter.solutions] == labels
    assert all(solution.dropdown for solution in chapter.solutions)


@parametrized(ALL)
def test_no_solution_is_without_content(chapter):
    for solution in chapter.solutions:
        words = re.findall(r"\w+", solution.text)
        assert len(words) >= 8, solution.exercise


@parametrized(GRADED)
def test_exercises_go_from_a_warm_up_to_an_open_question(chapter):
    assert 3 <= len(chapter.exercises) <= 5
    warm_ups = [exercise.text.startswith("*Warm-up.*") for exercise in chapter.exercises]
    opens = [exercise.text.startswith("*Open.*") for exercise in chapter.exercises]
    assert warm_ups == [True] + [False] * (len(warm_ups) - 1)
    assert opens == [False] * (len(opens) - 1) + [True]


@parametrized(ASSERTING)
def test_what_a_solution_computes_is_asserted(chapter):
    codes = [solution.code for solution in chapter.solutions if solution.code]
    assert all(re.search("^assert ", code, re.MULTILINE) for code in codes)


@parametrized(COMPUTED)
def test_solutions_run_after_their_chapter(chapter, tmp_path, monkeypatch):
    for variable, value in {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(variable, value)
    codes = {solution.exercise: solution.code for solution in chapter.solutions if solution.code}
    errors = executed_after(chapter, quick_parameters(chapter, tmp_path), tmp_path, codes)
    assert errors == {exercise: [] for exercise in codes}


def test_a_solution_that_is_wrong_fails_and_leaves_the_others_alone(tmp_path):
    path = tmp_path / "chapter.md"
    path.write_text("# Count\n\n```{code-cell} python\nx = 1\n```\n")
    codes = {"ex-wrong": "x += 1\nassert x == 3, x", "ex-right": "def y():\n    return x\nassert y() == 1"}
    header = "---\njupytext:\n  text_representation:\n    extension: .md\n    format_name: myst\n"
    header += "kernelspec:\n  display_name: Python 3\n  language: python\n  name: python3\n---\n"
    path.write_text(header + path.read_text())
    errors = executed_after(Chapter(path, [], []), {}, tmp_path, codes)
    assert errors == {"ex-wrong": ["AssertionError: 2"], "ex-right": []}
