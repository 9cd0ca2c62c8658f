"""The scripts that build the book."""

import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parents[1] / "tools"


def run_tool(name, *arguments, cwd):
    command = [sys.executable, TOOLS / name, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)


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
