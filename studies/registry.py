"""The registry of ``data/``: every file, its SHA-256 and the command that makes it, or that nothing does.

``python -m studies.registry`` writes it anew, from the root of the repository.
"""

from __future__ import annotations

import json
from pathlib import Path

from rmtlib.files import file_sha256, write_atomically

__all__ = ["origin", "write_registry"]

UNLISTED = ("README.md", "registry.txt")


def origin(path: Path) -> str:
    """The command that makes one file of ``data/``; of a text on which something is measured, that it stays as it is."""
    if path.parent.parent.name == "runs":
        config = json.loads((path.parent / "run.json").read_text())["config"]
        settings = config | {"run_name": path.parent.name}
        return "make run ARGS='" + " ".join(f"-p {key} {value}" for key, value in settings.items()) + "'"
    return "kept as it is" if path.parent.name == "transformer" and path.suffix != ".csv" else "make data"


def write_registry(data: Path) -> None:
    """Write ``registry.txt`` of a folder laid out as ``data/`` is."""
    files = sorted(path for path in data.rglob("*") if path.is_file() and path.name not in UNLISTED)
    lines = [f"{path.relative_to(data)} {file_sha256(path)} {origin(path)}" for path in files]
    write_atomically(data / "registry.txt", "\n".join(["# file sha256 origin", *lines, ""]).encode())


if __name__ == "__main__":
    write_registry(Path("data"))
