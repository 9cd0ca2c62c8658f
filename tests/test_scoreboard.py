"""Scoreboard and index are written from paper.toml and the ledgers; a gap, a double or a stale page stops the build."""

import copy
import re
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The checklist of the paper, as the book was asked to cover it.
CHECKLIST = [
    *(f"F1{panel}{n}" for panel in "ab" for n in range(1, 5)),
    *(f"F2{panel}" for panel in "abcd"),
    *(f"F3{panel}" for panel in "abcd"),
    "F4",
    "T1",
    "T2",
    *(f"N{n}" for n in range(1, 5)),
    *(f"C{n}" for n in range(1, 11)),
    *(f"E{n}" for n in range(1, 9)),
]


def load(name):
    spec = spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


scoreboard = load("scoreboard")
PAPER, LEDGERS = scoreboard.load()


@pytest.fixture
def book():
    """Copies to break."""
    return copy.deepcopy(PAPER), copy.deepcopy(LEDGERS)


def test_paper_has_the_whole_checklist_with_criteria():
    bases = {id.partition("-")[0] for id in PAPER}
    assert [id for id in CHECKLIST if id not in bases] == []
    for id, entry in PAPER.items():
        assert {"sentence", "place", "statistic", "criterion", "inconclusive"} <= entry.keys(), id


def test_every_id_is_decided_once():
    assert list(scoreboard.gaps(PAPER, LEDGERS)) == []


def test_pages_are_what_the_ledgers_say():
    for page, file in scoreboard.PAGES.items():
        assert scoreboard.written(page, file.read_text(), PAPER, LEDGERS) == file.read_text()


def test_every_id_has_a_row_on_both_pages():
    for file in (scoreboard.PAGES["scoreboard"], scoreboard.PAGES["paper_index"]):
        ids = re.findall(r"^\| (?:\{ref\}`)?([A-Z][\w-]+)(?: <decides-[\w-]+>`)? \|", file.read_text(), re.M)
        assert sorted(ids) == sorted(set(PAPER) if file.stem == "scoreboard" else {id for id in PAPER if id[0] != "B"})


def test_the_statement_has_every_id_once_in_the_row_of_its_verdict(book):
    rows = [
        line.strip("| ").split(" | ") for line in scoreboard.PAGES["reproducibility"].read_text().splitlines() if line[:1] == "|"
    ]
    placed = [(id, row[0]) for row in rows[2:] for cell in row[1:] for id in cell.split(", ") if id != "–"]
    recorded = {id: entry["verdict"] for entries in LEDGERS.values() for id, entry in entries.items() if id in PAPER}
    others = {id: "reproduced" if "test" in entry else "not tested here" for id, entry in PAPER.items() if id not in recorded}
    assert sorted(placed) == sorted((recorded | others).items())
    paper, ledgers = book
    ledgers[scoreboard.chapter_of("C4", ledgers)]["C4"]["verdict"] = "inconclusive"
    row = next(
        line for line in scoreboard.statement("verdicts", paper, ledgers).splitlines() if line.startswith("| inconclusive")
    )
    assert ", C4" in row or " C4," in row


def test_an_id_that_nobody_decides_is_found(book):
    paper, ledgers = book
    home = scoreboard.chapter_of("C4", ledgers)
    del ledgers[home]["C4"]
    assert list(scoreboard.gaps(paper, ledgers)) == ["paper.toml: C4: has to be decided in one place; it is in none"]


def test_an_id_that_is_decided_twice_is_found(book):
    paper, ledgers = book
    ledgers["05_spacings"]["C4"] = {"verdict": "reproduced"}
    (problem,) = scoreboard.gaps(paper, ledgers)
    homes = ", ".join(f"chapters/{home}.claims.toml" for home in ("05_spacings", "10_learning_regimes"))
    assert problem == f"paper.toml: C4: has to be decided in one place; it is in {homes}"
    paper["F2a"]["waits"] = "nothing"
    paper["C4"]["waits"] = "nothing"
    assert "paper.toml (waits)" in list(scoreboard.gaps(paper, ledgers))[0]


def test_a_verdict_that_is_missing_is_found(book):
    paper, ledgers = book
    home = scoreboard.chapter_of("N1", ledgers)
    del ledgers[home]["N1"]["verdict"]
    assert list(scoreboard.gaps(paper, ledgers)) == [f"chapters/{home}.claims.toml: N1: has no verdict"]


def test_an_id_that_the_paper_has_not_is_found(book):
    paper, ledgers = book
    ledgers["05_spacings"]["C11"] = {"verdict": "reproduced"}
    assert list(scoreboard.gaps(paper, ledgers)) == ["chapters/05_spacings.claims.toml: C11: is not in paper.toml"]


def test_a_test_has_to_exist(book):
    paper, ledgers = book
    paper["E1"]["test"] = "tests/test_laws.py::test_nothing"
    assert list(scoreboard.gaps(paper, ledgers)) == ["paper.toml: E1: there is no test tests/test_laws.py::test_nothing"]


def test_numbers_of_a_sentence_are_marked_as_given():
    assert scoreboard.shown("alpha = 0.5 gives 52.7 % in MLP512, Fig. 3d") == (
        "$\\alpha$ = [0.5]{.given} gives [52.7]{.given} % in MLP512, Fig. 3d"
    )


def test_a_stale_page_is_named_with_its_line(tmp_path, monkeypatch, capsys):
    pages = {}
    for page, file in scoreboard.PAGES.items():
        pages[page] = Path(shutil.copy(file, tmp_path))
    monkeypatch.setattr(scoreboard, "PAGES", pages)
    monkeypatch.setattr(scoreboard, "ROOT", tmp_path)
    monkeypatch.setattr(scoreboard, "load", lambda: (PAPER, LEDGERS))
    monkeypatch.setattr(scoreboard, "gaps", lambda *args: [])
    assert scoreboard.main(["--check"]) == 0
    text = pages["paper_index"].read_text()
    line = next(n for n, line in enumerate(text.splitlines(), 1) if line.startswith("| C4 |"))
    pages["paper_index"].write_text(text.replace("| C4 |", "| C4 | typed "))
    assert scoreboard.main(["--check"]) == 1
    assert f"paper_index.md:{line}: is not what paper.toml and the ledgers say" in capsys.readouterr().err
    assert scoreboard.main([]) == 0
    assert pages["paper_index"].read_text() == text


def test_a_row_leads_to_the_cell_that_decides_and_has_a_badge_of_its_verdict():
    assert scoreboard.linked("C4", LEDGERS) == "{ref}`C4 <decides-c4>`"
    assert scoreboard.linked("E1", LEDGERS) == "E1"
    glued = scoreboard.glue(scoreboard.chapter_of("C5", LEDGERS), "C5-verdict")
    assert scoreboard.verdict("C5", PAPER, LEDGERS) == f"[{glued}]{{.verdict .not-reproduced}}"
    assert scoreboard.verdict("E1", PAPER, LEDGERS) == "[reproduced]{.verdict .reproduced}"


def test_the_tally_counts_every_sentence_once(book):
    def counted(paper, ledgers):
        return re.findall(r"\[(\d+)\]\{\.given\}", scoreboard.tally(paper, ledgers))

    paper, ledgers = book
    before = list(map(int, counted(paper, ledgers)))
    assert sum(before) == len(paper)
    assert sum(before[1::2]) == sum(id[0] == "B" for id in paper)
    home = ledgers[scoreboard.chapter_of("C4", ledgers)]
    assert home["C4"]["verdict"] == "reproduced"
    home["C4"]["verdict"] = "inconclusive"
    assert list(map(int, counted(paper, ledgers))) == [before[0] - 1, *before[1:4], before[4] + 1, *before[5:]]


def test_a_command_stands_in_a_footnote_once():
    page = scoreboard.PAGES["scoreboard"].read_text()
    referred = re.findall(r"a command tests it\[\^([\w-]+)\]", page)
    assert len(referred) > len(set(referred)) > 0
    assert sorted(re.findall(r"^\[\^([\w-]+)\]: ", page, re.M)) == sorted(set(referred))
