"""``make record`` writes expectations and verdicts, and nothing else."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = spec_from_file_location("record", ROOT / "tools" / "record.py")
record = module_from_spec(spec)
spec.loader.exec_module(record)

LEDGER = """# Of the bulk.
[edge]
expected = 1.0  # at first
tolerance = 0.1
format = ".2f"

[C4]
expected = {large = 0.3}
text = "at the large end {large:.2f}"
verdict = "reproduced"
"""
CHAPTER = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
---

```{code-cell} python
from rmtlib.claims import Claims, Outcome

claims = Claims("01_small")
claims.record(edge=1.23456789, C4=Outcome("inconclusive", large=0.4))
claims.record(count=3)
```
"""


@pytest.fixture
def book(tmp_path):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "01_small.md").write_text(CHAPTER)
    (tmp_path / "chapters" / "01_small.claims.toml").write_text(LEDGER)
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def run(book, *names):
    return subprocess.run([sys.executable, ROOT / "tools" / "record.py", *names], cwd=book, capture_output=True, text=True)


def test_expectations_and_verdicts_are_rewritten_and_shown_and_the_rest_stays(book):
    done = run(book)
    assert done.returncode == 0, done.stderr
    text = (book / "chapters" / "01_small.claims.toml").read_text()
    assert (
        text
        == LEDGER.replace("1.0  # at first", "1.23457  # at first")
        .replace("large = 0.3", "large = 0.4")
        .replace('verdict = "reproduced"', 'verdict = "inconclusive"')
        + "\n[count]\nexpected = 3\n"
    )
    assert "-expected = 1.0  # at first" in done.stdout
    assert '+verdict = "inconclusive"' in done.stdout


def test_uncommitted_ledgers_are_refused_and_left_alone(book):
    file = book / "chapters" / "01_small.claims.toml"
    file.write_text(LEDGER + "# mine\n")
    done = run(book)
    assert done.returncode == 2
    assert "refused: chapters/01_small.claims.toml has changes that are not committed" in done.stderr
    assert file.read_text() == LEDGER + "# mine\n"


def write_second(book, code):
    (book / "chapters" / "02_new.md").write_text(CHAPTER.partition("from rmtlib")[0] + code + "\n```\n")
    return book / "chapters" / "02_new.claims.toml"


def test_the_ledger_of_a_new_chapter_is_shown(book):
    file = write_second(book, 'from rmtlib.claims import Claims\n\nClaims("02_new").record(count=3)')
    done = run(book, "02_new")
    assert done.returncode == 0, done.stderr
    assert file.read_text().strip() == "[count]\nexpected = 3"
    assert "+++ b/chapters/02_new.claims.toml" in done.stdout
    assert "+[count]\n+expected = 3" in done.stdout


@pytest.mark.parametrize(("code", "status"), [("1 / 0", 1), ("1 / 1", 0)], ids=["it fails", "it records nothing"])
def test_no_ledger_is_left_of_a_new_chapter_that_has_none(book, code, status):
    file = write_second(book, code)
    assert run(book, "02_new").returncode == status
    assert not file.exists()
    assert run(book).returncode == 0


def test_an_entry_that_nothing_records_is_named(book):
    file = book / "chapters" / "01_small.claims.toml"
    file.write_text(LEDGER + "\n[old]\nexpected = 1\n")
    subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", "commit", "-qam", "old"], cwd=book, check=True)
    done = run(book, "01_small")
    assert done.returncode == 1
    assert "chapters/01_small.claims.toml: [old] is recorded by no cell: take it out" in done.stderr
    assert "[old]" in file.read_text()


def test_an_unknown_chapter_is_refused(book):
    done = run(book, "02_none")
    assert done.returncode == 2
    assert "there is no chapter 02_none; with a ledger there are: 01_small" in done.stderr


def test_numbers_keep_six_digits():
    assert record.rounded({"x": 0.123456789, "n": 3, "word": "a"}) == {"x": 0.123457, "n": 3, "word": "a"}
