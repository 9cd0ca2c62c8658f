"""Chapters are executed side by side, a failure is told, and no page keeps a number that is out of date."""

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""
CONFIG = """
title: small
author: nobody
only_build_toc_files: true
execute: {execute_notebooks: cache, timeout: 60}
parse: {myst_enable_extensions: [dollarmath, smartquotes, attrs_inline]}
sphinx:
  local_extensions: {plain_pages: _ext, fresh_pages: _ext, legible: _ext}
  config: {mathjax_path: none.js}
"""
TOC = """
format: jb-book
root: intro
parts: [{caption: part, chapters: [{file: chapters/source}, {file: chapters/other}, {file: chapters/board}]}]
"""
SOURCE = """# Source

```{code-cell} python
import sys
from myst_nb import glue

sys.path.insert(0, "..")
from library import x

glue("x", x, display=False)
glue("command", "tool --flag 'a b'", display=False)
```

It is {glue:text}`x`, by {glue:text}`command`, of length $x$.
"""
OTHER = """# Other

```{code-cell} python
first = 1
```

```{code-cell} python
print("before")
first + 1
```
"""
BOARD = """# Board

The source found {glue:text}`source.md::x:s`, by [{glue:text}`source.md::command:s`]{.command}.
"""


@pytest.fixture
def book(tmp_path):
    """A book of three short chapters, one of which shows a number of another's."""
    shutil.copytree(ROOT / "_ext", tmp_path / "_ext")
    (tmp_path / "chapters").mkdir()
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "intro.md").write_text("# Introduction\n\nFound: {glue:text}`chapters/source.md::x:s`.\n")
    (tmp_path / "library.py").write_text("x = 41\n")
    for name, text in {"source": SOURCE, "other": OTHER, "board": BOARD}.items():
        (tmp_path / "chapters" / f"{name}.md").write_text(NOTEBOOK + text)
    return tmp_path


def run(book, *command):
    return subprocess.run([sys.executable, *command], cwd=book, capture_output=True, text=True, timeout=300)


def execute(book):
    return run(book, ROOT / "tools" / "execute_chapters.py")


def build(book):
    """Everything that ``make book`` does; the pages as text."""
    assert run(book, ROOT / "tools" / "drop_stale_cache.py", "library.py").returncode == 0
    executed = execute(book)
    assert executed.returncode == 0, executed.stderr
    built = run(book, "-c", "from jupyter_book.cli.main import main; main()", "build", ".", "-W", "-n")
    assert built.returncode == 0, built.stderr
    assert "Executing notebook" not in built.stdout, "the build did not find what was executed"
    return {page.stem: page.read_text() for page in (book / "_build" / "html").rglob("*.html")}


def numbers(page):
    return re.findall(r'pasted-text">(\d+)<', page)


def test_failing_cell_is_told_with_its_chapter_its_line_and_its_error(book):
    chapter = book / "chapters" / "other.md"
    chapter.write_text(chapter.read_text().replace("first + 1", "first / 0"))
    line = 1 + chapter.read_text().splitlines().index('print("before")')
    failed = execute(book)
    assert failed.returncode == 1
    assert f"chapters/other.md, line {line}:" in failed.stderr
    assert "ZeroDivisionError: division by zero" in failed.stderr
    assert "\x1b" not in failed.stderr

    chapter.write_text(NOTEBOOK + OTHER)
    repaired = execute(book)
    assert repaired.returncode == 0
    assert re.findall(r"\S+\.md", repaired.stdout) == ["chapters/other.md"]  # the others had been finished
    assert execute(book).stdout == ""


def test_pages_follow_the_library_and_the_titles(book):
    pages = build(book)
    assert numbers(pages["source"]) == numbers(pages["board"]) == numbers(pages["intro"]) == ["41"]
    assert ">Other<" in re.sub(r"\s", "", pages["intro"])
    # a command that is pasted stays what it is
    assert all("tool --flag 'a b'" in html.unescape(pages[name]) for name in ("source", "board"))
    # a full stop does not begin a line
    assert re.search(r'class="unbroken"><span class="math[^>]*>[^<]*</span>\.</span>', pages["source"])

    (book / "library.py").write_text("x = 42\n")
    chapter = book / "chapters" / "other.md"
    chapter.write_text(chapter.read_text().replace("# Other", "# Renamed"))
    pages = build(book)
    assert numbers(pages["source"]) == numbers(pages["board"]) == numbers(pages["intro"]) == ["42"]
    assert ">Renamed<" in re.sub(r"\s", "", pages["intro"])

    chapter = book / "chapters" / "source.md"
    chapter.write_text(chapter.read_text().replace('glue("x", x,', 'glue("x", x + 1,'))
    pages = build(book)
    assert numbers(pages["board"]) == numbers(pages["intro"]) == ["43"]


LEDGER = """[x]
expected = 42
format = "d"
"""
CLAIMING = """# Claiming

```{code-cell} python
from rmtlib.claims import Claims

Claims("other").record(x=42)
```
"""


@pytest.fixture
def ledger(book):
    """The ledger of a chapter of the book that records one number."""
    (book / "chapters" / "other.md").write_text(NOTEBOOK + CLAIMING)
    file = book / "chapters" / "other.claims.toml"
    file.write_text(LEDGER)
    return file


def test_a_ledger_that_contradicts_its_chapter_fails_without_any_change_of_code(book, ledger):
    assert execute(book).returncode == 0
    ledger.write_text(LEDGER.replace("42", "41"))
    failed = execute(book)
    assert failed.returncode == 1
    assert re.search(r"chapters/other\.md, line \d+:", failed.stderr)
    assert re.search(r"other\.claims\.toml:1: x: computed 42, but the book records 41", failed.stderr)


def test_an_entry_that_no_cell_records_fails_with_file_and_line(book, ledger):
    ledger.write_text(LEDGER + "\n[y]\nexpected = 1\n")
    failed = execute(book)
    assert failed.returncode == 1
    assert "chapters/other.claims.toml:5: y: no cell of chapters/other.md records it" in failed.stderr


def test_a_claim_without_an_entry_fails_with_the_line_of_its_cell(book, ledger):
    ledger.write_text("")
    failed = execute(book)
    assert failed.returncode == 1
    assert re.search(r"chapters/other\.md, line \d+:", failed.stderr)
    assert "no entry [x], which a cell of other.md records: make record adds it" in failed.stderr
