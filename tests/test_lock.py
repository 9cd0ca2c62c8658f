"""The lock holds what the book is tested with, each with its hashes, and installs nothing that has none."""

import os
import re
import subprocess
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from .test_deployment import pins

ROOT = Path(__file__).parents[1]
spec = spec_from_file_location("lock", ROOT / "tools" / "lock.py")
lock = module_from_spec(spec)
spec.loader.exec_module(lock)
WRITTEN = {file.name: lock.entries(file.read_text()) for file in (lock.LOCK, lock.CUDA, lock.CLASSROOM)}
MADE_UP = """torch==2.0 \\
    --hash=sha256:aa
nvidia-some-cu13==1.0 \\
    --hash=sha256:bb \\
    --hash=sha256:cc
cuda-toolkit[cublas, cufft]==13.0 \\
    --hash=sha256:dd
triton==3.0 ; sys_platform == "linux" \\
    --hash=sha256:ee
tritonclient==1.0 \\
    --hash=sha256:ff
"""


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-models.txt"])
def test_every_pin_is_in_the_lock(file):
    locked = {normal(name): lock.ENTRY.match(entry)["version"] for name, entry in WRITTEN["requirements-lock.txt"].items()}
    # the lock is for Linux: the line for other systems is not in it
    asked = {re.sub(r"\[.*\]", "", normal(name)): version for name, version in pins(ROOT / file).items() if name != "tensorflow"}
    assert len(asked) >= 3
    assert {name: version for name, version in asked.items() if locked.get(name) != version} == {}


@pytest.mark.parametrize("file", WRITTEN)
def test_every_package_has_a_hash_and_the_lock_has_no_address(file):
    text = (ROOT / file).read_text()
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in WRITTEN[file].values())
    assert "".join(WRITTEN[file].values()) == text.split("\n", 1)[1]  # nothing but packages
    assert "://" not in text
    assert "--index" not in text


def test_cuda_libraries_have_a_lock_of_their_own():
    assert [name for name in WRITTEN["requirements-lock.txt"] if name.startswith("nvidia")] == []
    assert {"triton", "cuda-toolkit"} <= WRITTEN["requirements-lock-cuda.txt"].keys()
    rest, cuda = lock.split(lock.entries(MADE_UP))
    assert (list(rest), list(cuda)) == (["torch", "tritonclient"], ["nvidia-some-cu13", "cuda-toolkit", "triton"])
    assert "".join({**rest, **cuda}[name] for name in lock.entries(MADE_UP)) == MADE_UP


def test_hashes_are_added_once():
    entry = lock.with_hashes(lock.entries(MADE_UP)["torch"], ["sha256:aa", "sha256:00"])
    assert entry == "torch==2.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:00\n"


def test_cpu_wheels_of_a_folder_are_hashed(tmp_path):
    (tmp_path / "torch-2.0+cpu-cp311-linux.whl").write_bytes(b"abc")
    (tmp_path / "torch-2.1+cpu-cp311-linux.whl").write_bytes(b"other")
    assert lock.cpu_hashes("uv", str(tmp_path), "2.0") == [
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    ]


def dry_run(folder, *arguments):
    """What make would do, whatever the make says that runs the tests."""
    plain = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "LOCKED")}
    command = ["make", "--dry-run", *arguments, f"VENV={folder}"]
    return subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, check=True).stdout


def test_grading_has_the_versions_of_the_book():
    book, grading = (
        {normal(name): lock.ENTRY.match(entry)["version"] for name, entry in WRITTEN[file.name].items()}
        for file in (lock.LOCK, lock.CLASSROOM)
    )
    asked = pins(ROOT / "requirements-classroom.txt")
    assert {name: version for name, version in asked.items() if grading.get(normal(name)) != version} == {}
    assert {name for name in book.keys() & grading.keys() if book[name] != grading[name]} == set()


def test_a_locked_installation_takes_nothing_without_a_hash(tmp_path):
    made = dry_run(tmp_path, "install", f"{tmp_path}/.classroom", "LOCKED=yes")
    steps = re.findall(r"pip install (.*)", made)
    assert len(steps) == 5
    (editable,) = [step for step in steps if "--require-hashes" not in step]
    assert set(editable.split()) == {"--quiet", "--no-deps", "--no-build-isolation", "--editable", "."}
    for step in set(steps) - {editable}:
        assert {"--no-deps", ":all:"} <= set(step.split())


def test_the_cpu_wheel_of_the_lock_is_tried_first(tmp_path):
    (written,) = re.findall(r"^(awk .*) requirements-lock.txt > ", dry_run(tmp_path, "install", "LOCKED=yes"), re.M)
    lines = subprocess.run(written, shell=True, input=MADE_UP, capture_output=True, text=True, check=True).stdout
    assert lines == "torch==2.0+cpu \\\n    --hash=sha256:aa\n"


@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_the_lock_is_the_default_where_it_is_for_this_machine(version, tmp_path):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho {version}\n")
    python.chmod(0o755)
    linux = (os.uname().sysname, os.uname().machine) == ("Linux", "x86_64")
    made = dry_run(tmp_path, "install", f"PYTHON={python}")
    assert ("--require-hashes" in made) == (linux and version == "3.11")
    assert "--require-hashes" not in dry_run(tmp_path, "install", f"PYTHON={python}", "LOCKED=no")
