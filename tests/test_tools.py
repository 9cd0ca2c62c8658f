"""The scripts that build the book, and the dependencies of the Makefile."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "tools"
INSTALLED = (".venv/.installed", ".venv/.classroom", ".venv/classroom/.installed")


def run_tool(name, *arguments, cwd, path=""):
    command = [sys.executable, TOOLS / name, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(path)}
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, env=environment)


def test_executed_chapters_are_dropped_when_an_input_changes_and_kept_otherwise(tmp_path):
    source, cache = tmp_path / "input.py", tmp_path / "_build" / ".jupyter_cache"
    source.write_text("1")
    run_tool("drop_stale_cache.py", "input.py", cwd=tmp_path)
    cache.mkdir()
    run_tool("drop_stale_cache.py", "input.py", cwd=tmp_path)
    assert cache.exists()
    source.write_text("2")
    run_tool("drop_stale_cache.py", "input.py", cwd=tmp_path)
    assert not cache.exists()


def test_executed_chapters_are_dropped_when_a_required_package_comes_changes_or_goes(tmp_path):
    cache, site = tmp_path / "_build" / ".jupyter_cache", tmp_path / "site"
    (tmp_path / "requirements-models.txt").write_text("# weights\nmade-up-net[all]==1.0.0; python_version > '3'\n")

    def is_dropped():
        cache.mkdir(parents=True, exist_ok=True)
        run_tool("drop_stale_cache.py", "requirements-models.txt", cwd=tmp_path, path=site)
        return not cache.exists()

    def install(version):
        info = site / f"made_up_net-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: made-up-net\nVersion: {version}\n")

    assert is_dropped()
    assert not is_dropped()
    install("1.0.0")
    assert is_dropped()
    assert not is_dropped()
    shutil.rmtree(site)
    install("1.0.1")
    assert is_dropped()
    shutil.rmtree(site)
    assert is_dropped()


@pytest.fixture
def up_to_date(tmp_path):
    """A folder in which nothing is left for ``make`` to install."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (*(file.name for file in ROOT.glob("requirements*.txt")), "pyproject.toml", *INSTALLED):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.utime(file, (2e9, 2e9) if name in INSTALLED else (1e9, 1e9))
    return tmp_path


def told(folder, *arguments):
    command = ["make", "--dry-run", "LOCKED=yes", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("target", INSTALLED[1:])
@pytest.mark.parametrize("changed", ["requirements-classroom.txt", "requirements-lock-classroom.txt"])
def test_what_grades_is_installed_again_when_its_requirements_or_their_lock_change(up_to_date, target, changed):
    assert "-r requirements-lock-classroom.txt" not in told(up_to_date, target)
    assert "-r requirements-lock-classroom.txt" in told(up_to_date, "--what-if", changed, target)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-models.txt", "requirements-lock.txt"])
def test_executed_chapters_depend_on_every_file_of_requirements(up_to_date, name):
    (line,) = [line for line in told(up_to_date, "book").splitlines() if "drop_stale_cache.py" in line]
    assert name in line.split()
