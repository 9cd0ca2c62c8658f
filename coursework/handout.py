"""Put together what students are given besides their assignments: the library as a wheel, and how to install it.

Usage: handout.py FOLDER

The wheel is built from a copy, so that nothing is left behind in the repository. Its description is the students' own, which does
not lead to the answers.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent


def main(arguments: list[str] | None = None) -> list[Path]:
    """Write the files and return them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as copy:
        source = Path(copy) / "source"
        shutil.copytree(ROOT / "rmtlib", source / "rmtlib", ignore=shutil.ignore_patterns("__pycache__"))
        for file in (ROOT / "pyproject.toml", ROOT / "LICENSE"):
            shutil.copy(file, source)
        shutil.copy(HERE / "handout" / "README.md", source / "PYPI.md")
        wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", copy, str(source)]
        subprocess.run(wheel, check=True, cwd=copy)
        for built in Path(copy).glob("*.whl"):
            shutil.copy(built, folder)
    shutil.copy(HERE / "handout" / "README.md", folder)
    shutil.copy(HERE / "handout" / "requirements.txt", folder)
    shutil.copy(ROOT / "requirements-models.txt", folder)
    return sorted(folder.iterdir())


if __name__ == "__main__":
    for written in main():
        print(written)
