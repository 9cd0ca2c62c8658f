"""Whoever cites the book finds the same in every place, and the version is that of the library."""

import json
import re
from pathlib import Path

import pytest
import yaml

import rmtlib
from rmtlib.report.origins import CITE

ROOT = Path(__file__).parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
ZENODO = json.loads((ROOT / ".zenodo.json").read_text())
(PAPER,) = CITATION["references"]


@pytest.mark.parametrize("page", ["README.md", "editions.md"])
def test_readers_are_told_to_cite_what_a_report_says(page):
    assert CITE in " ".join((ROOT / page).read_text().split())


def test_the_line_to_cite_has_the_title_the_version_and_the_paper():
    assert CITATION["title"].partition(":")[0] in CITE
    for part in (PAPER["title"], str(PAPER["year"]), f"{PAPER['volume']}, 054124", PAPER["doi"], f"rmtlib {rmtlib.__version__};"):
        assert part in CITE
    assert all(author["family-names"] in CITE for author in PAPER["authors"])


def test_the_version_is_that_of_the_library_everywhere():
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    bibtex = re.search(r"^  version = \{(.+?)\}", (ROOT / "editions.md").read_text(), re.M)
    wheels = re.findall(r"rmtlib-([\d.]+)-py3", (ROOT / "coursework" / "handout" / "README.md").read_text())
    found = {CITATION["version"], ZENODO["version"], newest[1], bibtex[1], *wheels}
    assert wheels
    assert found == {rmtlib.__version__}


def test_the_archive_is_told_what_the_citation_says():
    assert ZENODO["title"] == CITATION["title"]
    assert ZENODO["keywords"] == CITATION["keywords"]
    assert ZENODO["description"].startswith(CITATION["abstract"])
    assert [creator["name"] for creator in ZENODO["creators"]] == [author["name"] for author in CITATION["authors"]]
    assert [other["identifier"] for other in ZENODO["related_identifiers"]] == [PAPER["doi"]]
    assert ZENODO["license"] == CITATION["license"]
