"""Build the wheel and try it in empty environments, one for each extra.

Usage: try_wheel.py UV [--python 3.12] [--extras keras,onnx] [OPTION...]

UV is the command uv, and other options are those of ``uv pip install``: ``--resolution lowest-direct`` takes the oldest versions
that ``pyproject.toml`` allows. ``tools/smoke.py`` is what is done in each environment. The last line counts the failures.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"] | {"plain": []}


def needed(extra: str) -> list[str]:
    """What an extra asks for. Named to uv beside the wheel these are direct requirements, as those of the wheel are not."""
    found = list(PROJECT["dependencies"])
    for requirement in EXTRAS[extra]:
        others = re.fullmatch(r"rmtlib\[(.*)\]", requirement)
        found += [line for other in others[1].split(",") for line in needed(other)] if others else [requirement]
    return found


def tried(uv: str, wheel: Path, extra: str, python: str, options: list[str]) -> str:
    """The error of what fails, or nothing."""
    with tempfile.TemporaryDirectory() as folder:
        env = Path(folder) / "env" / "bin" / "python"
        asked = str(wheel) if extra == "plain" else f"{wheel}[{extra}]"
        for command in (
            [uv, "venv", "--quiet", "--python", python, str(env.parents[1])],
            [uv, "pip", "install", "--quiet", "--python", str(env), *options, asked, *needed(extra)],
            [str(env), str(ROOT / "tools" / "smoke.py"), extra],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                return done.stderr
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("uv")
    parser.add_argument("--python", default="3.11")
    parser.add_argument("--extras", type=lambda text: text.split(","))
    arguments, options = parser.parse_known_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"  # setuptools leaves a folder in what it builds from
        shutil.copytree(ROOT / "rmtlib", source / "rmtlib", ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "PYPI.md", "LICENSE"):
            shutil.copy(ROOT / file, source)
        subprocess.run([arguments.uv, "build", "--quiet", "--wheel", "--out-dir", folder, str(source)], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        for extra in arguments.extras or EXTRAS:
            error = tried(arguments.uv, wheel, extra, arguments.python, options)
            failed += bool(error)
            print(f"{arguments.python} {extra}: {'failed' if error else 'works'}\n{error}".rstrip(), flush=True)
    print(f"{failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
