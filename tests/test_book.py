"""The built book: every page is there, figures have texts, links lead somewhere, and nothing is asked of another host."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from sphinx.util.inventory import InventoryFile

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = ["intro", *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]

PAPER = tomllib.loads((ROOT / "paper.toml").read_text())
IDS = [id for id in PAPER if id != "words"]


class Elements(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.elements, self.text = [], []
        self.feed((HTML / f"{page}.html").read_text())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


@cache
def anchors(file):
    """Everything in a file that a link can point to."""
    return set(re.findall(r'\bid="([^"]*)"', file.read_text())) if file.suffix == ".html" else set()


def public(module):
    """What a module offers, by its ``__all__``, without importing it."""
    tree = ast.parse(module.read_text())
    lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"]
    return [name for names in lists for name in ast.literal_eval(names)]


@pytest.fixture(scope="module", params=PAGES)
def page(request):
    return Elements(request.param)


def test_every_image_has_a_text_and_a_file(page):
    for tag, attrs in page.elements:
        if tag == "img":
            assert attrs.get("alt", "").strip(), attrs
            assert not attrs["src"].startswith("http"), attrs


def test_no_cell_shows_a_warning_or_an_error(page):
    outputs = [attrs["class"].split() for tag, attrs in page.elements if tag == "div" and "output" in attrs.get("class", "")]
    assert [kind for kind in outputs if {"stderr", "traceback"} & set(kind)] == []


def test_nothing_is_loaded_from_another_host(page):
    loaded = [attrs.get("src") or attrs.get("href") for tag, attrs in page.elements if tag in ("script", "img", "iframe")]
    loaded += [attrs["href"] for tag, attrs in page.elements if tag == "link" and "stylesheet" in attrs.get("rel", "")]
    assert [link for link in loaded if link and (link.startswith(("http:", "https:", "//")))] == []


@pytest.mark.parametrize("name", [name for name in PAGES if not name.startswith("api")])
def test_no_glued_number_is_missing(name):
    text = " ".join(Elements(name).text)
    assert "glue" not in text.replace("glued", "")


def test_regimes_page_shows_figure_3():
    captions = " ".join(Elements("chapters/10_learning_regimes").text)
    assert "Second layer of MLP512 trained rich, typical and lazy" in captions


def test_scoreboard_has_a_verdict_in_the_row_of_every_id():
    text = (HTML / "chapters" / "scoreboard.html").read_text()
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in text.split("<tr")[1:]]
    words = [[" ".join(re.sub("<[^>]*>", "", cell).split()) for cell in row] for row in rows if len(row) >= 3]
    verdicts = [(row[0], set(row) & set(PAPER["words"]["verdicts"])) for row in words if row[0] in IDS]
    assert sorted(id for id, _ in verdicts) == sorted(IDS)
    assert all(len(verdict) == 1 for _, verdict in verdicts)


def test_scoreboard_leads_to_the_cells_that_decide():
    page = Elements("chapters/scoreboard")
    links = [attrs["href"] for tag, attrs in page.elements if tag == "a" and "#decides-" in attrs.get("href", "")]
    ledgers = [tomllib.loads(file.read_text()) for file in ROOT.glob("chapters/*.claims.toml")]
    decided = {id.lower() for ledger in ledgers for id, entry in ledger.items() if "verdict" in entry and id in PAPER}
    assert {link.partition("#decides-")[2] for link in links} == decided


def test_commands_keep_their_hyphens():
    text = " ".join(Elements("chapters/scoreboard").text)
    assert "-p download true" in text
    assert not re.search(r"[–—]\w+ \w+|–-", " ".join(re.findall(r"rmtlib run [^.]*", text)))


@pytest.mark.parametrize("name", PAGES[1:])
def test_every_page_says_how_to_cite_it(name):
    assert "Cite this page" in Elements(name).text


def test_opening_has_what_bibtex_asks_for():
    text = "".join(Elements("intro").text)
    version = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    assert "@misc{rmtlib," in text
    assert f"version = {{{version}}}" in text


@pytest.mark.parametrize("name", [*PAGES, "genindex", "search"])
def test_links_and_anchors_lead_somewhere(name):
    file = HTML / f"{name}.html"
    links = [attrs["href"] for tag, attrs in Elements(name).elements if tag in ("a", "link") and attrs.get("href")]
    broken = []
    for link in links:
        address, anchor = urldefrag(link)
        if re.match(r"\w+:", address) or link == "#":
            continue
        path = unquote(address.partition("?")[0])
        target = (file.parent / path).resolve() if path else file
        if not target.exists() or (anchor and unquote(anchor) not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.fixture(scope="module")
def documented():
    inventory = InventoryFile.load((HTML / "objects.inv").open("rb"), "", lambda base, link: link)
    return {name for kind, objects in inventory.items() if kind.startswith("py:") for name in objects}


def test_reference_has_every_public_name(documented):
    names = {name.rpartition(".")[2] for name in documented}
    modules = [module for module in (ROOT / "rmtlib").glob("*.py") if not re.match("_[a-z]", module.name)]
    # constants are no entries of the reference
    assert {name for module in modules for name in public(module) if not name.isupper()} - names == set()


def test_names_of_the_package_are_documented_where_they_are_imported_from(documented):
    names = public(ROOT / "rmtlib" / "__init__.py")
    assert {f"rmtlib.{name}" for name in names} - documented == set()


def test_reference_has_every_public_name_of_learning(documented):
    learning = pytest.importorskip("rmtlib.learning")
    assert {f"rmtlib.learning.{name}" for name in learning.__all__} - documented == set()


def test_index_of_the_paper_has_the_whole_checklist():
    words = set(re.findall(r"[\w-]+", " ".join(Elements("paper_index").text)))
    assert [id for id in IDS if id not in words and id[0] != "B"] == []


def test_zip_holds_every_chapter_with_its_outputs(tmp_path):
    target = tmp_path / "notebooks.zip"
    subprocess.run([sys.executable, "tools/zip_notebooks.py", "_build", target], cwd=ROOT, check=True)
    chapters = [Path(page).name for page in PAGES if page.startswith("chapters/")]
    with zipfile.ZipFile(target) as archive:
        assert {f"notebooks/chapters/{name}.ipynb" for name in chapters} <= set(archive.namelist())
        for name in chapters:
            notebook = nbformat.reads(archive.read(f"notebooks/chapters/{name}.ipynb").decode(), as_version=4)
            code = [cell for cell in notebook.cells if cell.cell_type == "code"]
            assert not code or any(cell.outputs for cell in code), name
            assert not any("{glue:" in cell.source for cell in notebook.cells), name
        archive.extractall(tmp_path)
    # away from the repository, beside a folder of data
    (tmp_path / "data").symlink_to(ROOT / "data")
    folder = tmp_path / "notebooks" / "chapters"
    for name in ("10_learning_regimes", "scoreboard"):
        notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
        there = f"assert studies.__file__.startswith({str(folder)!r})\nruns.CHECKOUT = runs.Path('/')"
        notebook.cells.insert(0, nbformat.v4.new_code_cell(f"import studies, rmtlib.runs as runs\n{there}"))
        NotebookClient(notebook, resources={"metadata": {"path": folder}}).execute()
