"""The files for Docker, Binder and GitHub install what the book itself is tested with, and call verbs that exist."""

import ast
import os
import re
import subprocess
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import yaml

from rmtlib.notebooks.launch import check_parameters, read_notebook

ROOT = Path(__file__).parents[1]


def pins(file):
    return dict(line.split(";")[0].strip().split("==") for line in file.read_text().splitlines() if re.match(r"\w.*==", line))


def imported():
    """Distributions that cells of the chapters import, and the modules of the book that they import."""
    chapters = [read_notebook(page) for page in (ROOT / "chapters").glob("*.md")]
    sources = [cell.source for chapter in chapters for cell in chapter.cells if cell.cell_type == "code"]
    sources += [file.read_text() for file in (ROOT / "studies").glob("*.py")]
    modules = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.add(node.module.split(".")[0])
    found = packages_distributions()
    return {found[name][0].lower() for name in modules & found.keys() - {"rmtlib", "studies"}}


def test_what_the_chapters_import_is_installed_for_students_and_on_colab():
    needed = imported() - {"ipython", "pyyaml", "tokenizers"}  # with JupyterLab, with jupyter-book, with the models
    assert {"torch", "altair", "vl-convert-python", "scipy"} <= needed
    assert needed - pins(ROOT / "coursework" / "handout" / "requirements.txt").keys() == set()
    on_colab = "".join(nbformat.read(ROOT / "binder" / "colab.ipynb", as_version=4).cells[1].source)
    for name in ("altair", "vl-convert-python"):  # the others come with the extras
        assert name in on_colab


def test_students_have_the_versions_of_the_book_and_no_tensorflow():
    students, book = pins(ROOT / "coursework" / "handout" / "requirements.txt"), pins(ROOT / "requirements.txt")
    assert {name: version for name, version in students.items() if book.get(name) != version} == {}
    assert "torch" in students
    assert not any("tensorflow" in name for name in students)


def test_binder_installs_the_lock_into_the_environment_that_it_has():
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK)
    (install,) = re.findall(r"^make (install .*)", script.read_text(), re.M)
    assert "LOCKED=yes" in install
    assert 'VENV="$(python -c' in install
    assert (ROOT / "binder" / "runtime.txt").read_text() == "python-3.11\n"
    assert not (ROOT / "binder" / "requirements.txt").exists()  # it would be installed too, without hashes


def test_the_image_is_made_by_verbs_of_the_makefile_from_a_base_with_a_tag():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    (base,) = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert re.fullmatch(r"[a-z/]+:(?!latest)[\w.-]+", base)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    made = [line.removeprefix("RUN make ").split() for line in lines if line.startswith("RUN make ")]
    assert {"install", "book"} <= {verb for verbs in made for verb in verbs} <= targets | {".venv/.classroom"}
    assert lines[-1] == 'CMD ["make", "test"]'
    assert not any("pip install" in line for line in lines)  # nothing that the lock does not verify
    needed = set(re.findall(r"missing=(?:\"\$missing )?(\w+)", (ROOT / ".ci" / "run").read_text()))
    assert {"bubblewrap", "chromium"} == needed
    assert needed <= set(next(line for line in lines if "apt-get install" in line).split())


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


def test_workflows_call_verbs_of_the_makefile():
    workflows = [yaml.safe_load(file.read_text()) for file in (ROOT / ".github" / "workflows").glob("*.yml")]
    steps = [step for workflow in workflows for job in workflow["jobs"].values() for step in job["steps"]]
    commands = "\n".join(step["run"] for step in steps if "run" in step)
    verbs = set(" ".join(re.findall(r"^make ([a-z ]+)", commands, re.M)).split())
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"test", "pdf", "notebooks", "wheel"} <= verbs <= targets


def test_actions_are_pinned_to_commits():
    used = [
        line.split("uses:")[1].strip()
        for file in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in file.read_text().splitlines()
        if "uses:" in line
    ]
    assert len(used) >= 4
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action)] == []


def test_newest_versions_are_tried_of_all_but_jupyter_book():
    (step,) = re.findall(
        r"run: (sed .*) requirements.txt > newest.txt", (ROOT / ".github" / "workflows" / "newest.yml").read_text()
    )
    newest = subprocess.run(f"{step} requirements.txt", shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not re.search(r"\w==", newest)
    assert "\njupyter-book<2\n" in newest
    assert "\ntensorflow-cpu; sys_platform" in newest


def test_the_page_of_the_package_has_no_relative_link_and_names_its_extras():
    text = (ROOT / "PYPI.md").read_text()
    assert re.findall(r"\]\((?!https://)", text) == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [extra for extra in project["optional-dependencies"] if f"`{extra}`" not in text] == []
