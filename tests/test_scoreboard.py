"""The scoreboard decides the whole checklist of the paper, by code; a value that changed stops the build."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[1]

spec = spec_from_file_location("check_scoreboard", ROOT / "tools" / "check_scoreboard.py")
check_scoreboard = module_from_spec(spec)
spec.loader.exec_module(check_scoreboard)

CHAPTERS = {path.name: path.read_text() for path in (ROOT / "chapters").glob("*.md")}
SCOREBOARD = CHAPTERS["scoreboard.md"]
LINES = SCOREBOARD.splitlines()


def row_of(id):
    (row,) = (line for line in LINES if line.startswith(f"| {id} |"))
    return row


def problems_with(old, new):
    assert SCOREBOARD.count(old) == 1
    return check_scoreboard.problems(SCOREBOARD.replace(old, new), CHAPTERS)


def test_scoreboard_decides_every_id_once():
    assert check_scoreboard.problems(SCOREBOARD, CHAPTERS) == []


def test_chapters_on_the_scoreboard_are_in_the_book():
    toc = (ROOT / "_toc.yml").read_text()
    pasted = {chapter for chapter, _ in check_scoreboard.PASTED.findall(SCOREBOARD)}
    assert [chapter for chapter in sorted(pasted) if f"chapters/{Path(chapter).stem}\n" not in toc] == []


def test_checklist_is_that_of_the_paper():
    ids = check_scoreboard.CHECKLIST
    assert len(ids) == len(set(ids)) == 41
    assert {"F1a1", "F1b4", "F2d", "F3a", "F4", "T2", "N4", "C10", "E8"} <= set(ids)


@pytest.mark.parametrize("id", [id for id in check_scoreboard.CHECKLIST if id != "T2"])
def test_an_id_that_is_missing_is_found(id):
    assert problems_with(row_of(id) + "\n", "") == [f"{id}: not on the scoreboard"]


def test_an_id_that_is_there_twice_is_found():
    row = row_of("C4")
    assert problems_with(row, f"{row}\n{row}") == ["C4: more than once"]
    assert problems_with("| T2 (VGG16) |", "| T2 |") == ["T2: both with and without a network"]


def test_an_id_that_the_paper_has_not_is_found():
    assert problems_with("| C4 |", "| C44 |") == ["C4: not on the scoreboard", "C44: not in the checklist"]


def test_a_typed_verdict_is_found():
    verdict = "{glue:text}`06_number_variance.md::C2-verdict:s`"
    assert problems_with(f"| C2 | {verdict} |", "| C2 | reproduced |") == [
        "C2: its verdict is not pasted from a chapter",
        "C2: its verdict is typed: reproduced",
    ]


def test_a_row_without_its_place_in_the_paper_is_found():
    assert problems_with("| Fig. 2c |", "| |") == ["F2c: the column 'in the paper' is empty"]


def test_a_verdict_that_no_cell_records_is_found():
    chapters = CHAPTERS | {"06_number_variance.md": CHAPTERS["06_number_variance.md"].replace('"C2"', '"C2x"')}
    missing = [f"C2{suffix}: recorded by no cell of 06_number_variance.md" for suffix in ("-verdict", "")]
    assert check_scoreboard.problems(SCOREBOARD, chapters) == missing


def execute(recorded):
    cell = f"from rmtlib.claims import Claims\nClaims().number('x', 1.05, expected={recorded}, tolerance=0.1)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()


def test_a_chapter_whose_value_left_the_recorded_one_does_not_execute():
    execute(recorded=1.0)
    with pytest.raises(CellExecutionError, match=r"x: computed 1.05, but the book records 2 with tolerance 0.1"):
        execute(recorded=2.0)


def test_a_chapter_that_does_not_execute_stops_the_build():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["sphinx"]["config"]["nb_execution_raise_on_error"] is True
