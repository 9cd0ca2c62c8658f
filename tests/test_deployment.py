"""The files for Binder and GitHub install what the book itself is tested with, and call verbs that exist."""

import os
import re
import tomllib
from pathlib import Path

import nbformat
import yaml

from rmtlib.notebooks.launch import check_parameters, read_notebook

ROOT = Path(__file__).parents[1]


def pins(file):
    return dict(line.split(";")[0].strip().split("==") for line in file.read_text().splitlines() if re.match(r"\w.*==", line))


def test_binder_has_the_versions_of_the_book_and_no_tensorflow():
    binder, book = pins(ROOT / "binder" / "requirements.txt"), pins(ROOT / "requirements.txt")
    assert {name: version for name, version in binder.items() if book.get(name) != version} == {}
    assert "torch" in binder
    assert not any("tensorflow" in name for name in binder)


def test_binder_installs_the_library_in_place():
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK)
    assert "--editable ." in script.read_text()


def test_colab_runs_a_chapter_that_exists_with_parameters_that_it_has():
    file = ROOT / "binder" / "colab.ipynb"
    assert "(binder/colab.ipynb)" in (ROOT / "README.md").read_text()
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    text = "\n".join(cell.source for cell in code)
    # Nothing but what its reader types leads to a host.
    assert 'repository = ""' in text
    assert re.findall(r"\w+://[^\s\"]+", file.read_text().replace('\\"', '"')) == ["https://github.com/OWNER/NAME"]
    (extras,) = re.findall(r'--editable "\./book\[([\w,]+)\]"', text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    (chapter,) = re.findall(r'^chapter = "(.+?)"', text, re.M)
    (parameters,) = re.findall(r'^parameters = "(.+?)"', text, re.M)
    pairs = dict(pair.split() for pair in re.findall(r"-p (\S+ \S+)", parameters))
    chapter = read_notebook(ROOT / "chapters" / f"{chapter}.md")
    assert check_parameters(chapter, pairs, from_text=True).keys() == pairs.keys() != set()


def test_workflow_calls_verbs_of_the_makefile():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())
    commands = "\n".join(step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step)
    verbs = set(" ".join(re.findall(r"^make ([a-z ]+)", commands, re.M)).split())
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"test", "pdf", "notebooks"} <= verbs <= targets
