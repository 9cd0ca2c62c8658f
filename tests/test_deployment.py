"""The files for Binder and GitHub install what the book itself is tested with, and call verbs that exist."""

import os
import re
from pathlib import Path

import yaml

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


def test_workflow_calls_verbs_of_the_makefile():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())
    commands = "\n".join(step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step)
    verbs = set(" ".join(re.findall(r"^make ([a-z ]+)", commands, re.M)).split())
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"test", "pdf", "notebooks"} <= verbs <= targets
