"""Execute chapters and write what they find into their ledgers: expectations and verdicts, nothing else (``make record``).

Usage: record.py [CHAPTER...]        (names without their ending; without names: every chapter that has a ledger)

The change is shown as a diff, to be reviewed and committed. Refused while a ledger has uncommitted changes: what this command
changed could not be told from them. An entry that no cell records any more is named and has to be taken out by hand.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jupytext
import tomlkit
from nbclient import NotebookClient

from rmtlib.claims import RECORDING
from rmtlib.files import write_atomically

CHAPTERS = Path("chapters")
DIGITS = 6


def uncommitted() -> list[str]:
    """Ledgers that differ from the last commit."""
    status = ["git", "status", "--porcelain", "--", f"{CHAPTERS}/*.claims.toml"]
    lines = subprocess.run(status, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line[3:] for line in lines]


def difference() -> str:
    """What the chapters' folder has that the last commit has not, new ledgers whole."""
    diff = ["git", "--no-pager", "diff"]
    changed = subprocess.run([*diff, "--", str(CHAPTERS)], capture_output=True, text=True, check=True).stdout
    listed = ["git", "ls-files", "--others", "--exclude-standard", "--", f"{CHAPTERS}/*.claims.toml"]
    for new in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines():
        whole = [*diff, "--no-index", "--", os.devnull, new]
        changed += subprocess.run(whole, capture_output=True, text=True, check=False).stdout  # status 1: they differ
    return changed


def execute(chapter: str, folder: str) -> dict[str, dict]:
    """What the cells of a chapter record, by claim."""
    notebook = jupytext.read(CHAPTERS / f"{chapter}.md")
    os.environ[RECORDING] = folder
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(CHAPTERS)}}).execute()
    found = Path(folder) / f"{chapter}.json"
    return json.loads(found.read_text()) if found.exists() else {}


def rounded(value):
    """Numbers with as many digits as a ledger needs."""
    if isinstance(value, dict):
        return {name: rounded(number) for name, number in value.items()}
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def rewrite(ledger: str, found: dict[str, dict]) -> str:
    """The text of a ledger with these expectations and verdicts; comments, tolerances, formats and texts stay."""
    document = tomlkit.parse(ledger)
    for id, new in found.items():
        if id not in document:
            document.add(id, tomlkit.table())
        entry, expected = document[id], rounded(new["expected"])
        if entry.get("expected") != expected:
            if isinstance(expected, dict):
                table = tomlkit.inline_table()
                table.update(expected)
                expected = table
            entry["expected"] = expected
        if "verdict" in new:
            if entry.get("verdict") != new["verdict"]:
                entry["verdict"] = new["verdict"]
        elif "verdict" in entry:
            del entry["verdict"]
    return tomlkit.dumps(document)


def main(names: list[str]) -> int:
    if changed := uncommitted():
        print(f"refused: {', '.join(changed)} has changes that are not committed; commit or discard them first", file=sys.stderr)
        return 2
    known = sorted(path.name.removesuffix(".claims.toml") for path in CHAPTERS.glob("*.claims.toml"))
    if unknown := [name for name in names if not (CHAPTERS / f"{name}.md").is_file()]:
        print(f"there is no chapter {', '.join(unknown)}; with a ledger there are: {', '.join(known)}", file=sys.stderr)
        return 2
    stale = 0
    with tempfile.TemporaryDirectory() as folder:
        for chapter in names or known:
            print(f"{chapter} …", flush=True)
            file = CHAPTERS / f"{chapter}.claims.toml"
            new = not file.exists()
            file.touch()  # a chapter cannot be executed without its ledger
            try:
                found = execute(chapter, folder)
                text = file.read_text()
            finally:
                if new:
                    file.unlink()
            if found:
                write_atomically(file, rewrite(text, found).encode())
            for id in tomlkit.parse(text):
                if id not in found:
                    stale += 1
                    print(f"{file}: [{id}] is recorded by no cell: take it out", file=sys.stderr)
    print(difference())
    return min(stale, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
