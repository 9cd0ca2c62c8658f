"""Write data/registry.txt anew: every file of data/, its SHA-256 and the command that makes it.

Usage: registry.py
"""

import json
from pathlib import Path

from rmtlib.files import file_sha256, write_atomically

DATA = Path("data")


def origin(path):
    """The command that makes one file of data/."""
    if path.parent.parent.name == "runs":
        config = json.loads((path.parent / "run.json").read_text())["config"]
        settings = config | {"run_name": path.parent.name}
        return "make run ARGS='" + " ".join(f"-p {key} {value}" for key, value in settings.items()) + "'"
    return "make data"


def write_registry():
    files = sorted(path for path in DATA.rglob("*") if path.is_file() and path.name not in ("README.md", "registry.txt"))
    lines = [f"{path.relative_to(DATA)} {file_sha256(path)} {origin(path)}" for path in files]
    write_atomically(DATA / "registry.txt", "\n".join(["# file sha256 origin", *lines, ""]).encode())


if __name__ == "__main__":
    write_registry()
