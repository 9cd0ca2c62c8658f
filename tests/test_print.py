"""The printed book: one PDF with a title page, the text of every page, its figures, bookmarks and links that stay inside."""

import os
import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from unicodedata import normalize

import pytest
import yaml
from pypdf import PdfReader

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PARTS = {part["caption"]: [chapter["file"] for chapter in part["chapters"]] for part in TOC["parts"]}
PAGES = [TOC["root"], *(page for pages in PARTS.values() for page in pages)]
# The book is printed once, by one worker.
pytestmark = pytest.mark.xdist_group("print")


class Title(HTMLParser):
    """The first heading of a page, and the start of its first paragraph."""

    def __init__(self, page):
        super().__init__()
        self.inside, self.article, self.h1 = [], False, ""
        self.images = 0
        self.feed((HTML / f"{page}.html").read_text())

    def handle_starttag(self, tag, attrs):
        self.article |= tag == "article"
        self.images += self.article and tag == "img"
        if self.article and tag in ("h1", "a"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        self.article &= tag != "article"
        if self.inside and tag == self.inside[-1]:
            self.inside.pop()
            if tag == "h1":
                self.inside = ["done"]

    def handle_data(self, data):
        if self.inside == ["h1"]:
            self.h1 += data


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    if not (os.environ.get("CHROMIUM") or any(map(shutil.which, BROWSERS))):
        reason = "no browser: install chromium, or name one by the environment variable CHROMIUM"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    target = tmp_path_factory.mktemp("print") / "book.pdf"
    subprocess.run([sys.executable, "tools/print_book.py", HTML, target], cwd=ROOT, check=True)
    return PdfReader(target)


@pytest.fixture(scope="module")
def texts(book):
    return [" ".join(normalize("NFKC", page.extract_text()).split()) for page in book.pages]


def entries(outline):
    """``(title, children)`` of a list of bookmarks."""
    result = []
    for item in outline:
        if isinstance(item, list):
            result[-1][1].extend(entries(item))
        else:
            result.append((item, []))
    return result


def test_first_page_is_the_title(book, texts):
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["title"] in texts[0]
    assert config["author"] in texts[0]
    assert book.metadata.title == config["title"]


def test_bookmarks_have_every_part_and_every_page_with_its_sections(book, texts):
    top = {item.title: children for item, children in entries(book.outline)}
    for part, pages in PARTS.items():
        assert [item.title for item, _ in top[part]] == [Title(page).h1.strip() for page in pages]
        for item, sections in top[part]:
            assert item.title in texts[book.get_destination_page_number(item)]
            for section, _ in sections:
                heading = re.sub(r"\W+", "", section.title)
                assert heading in re.sub(r"\W+", "", texts[book.get_destination_page_number(section)]), section.title


def test_contents_give_the_right_page_numbers(book, texts):
    for number, text in enumerate(texts[1:], 2):
        assert text.endswith(f" {number}") or text.startswith(f"{number} ") or f"{number}" in text.split(), number
    contents = " ".join(texts[1:4])
    for part in PARTS.values():
        for page in part:
            title = Title(page).h1.strip()
            number = re.search(re.escape(title) + r" (\d+)", contents)
            assert number, title
            assert title in texts[int(number[1]) - 1]


def test_text_of_every_page_is_there_and_mathematics_is_set(texts):
    whole = " ".join(texts)
    for word in ("Porter–Thomas", "papermill", "Index of the paper", "Solution to Exercise", "Bornemann"):
        assert word in whole, word
    # unset mathematics would show its source
    for source in (r"\frac", r"\langle", r"\nu_", "\\("):
        assert source not in whole.replace("\\\\", ""), source


def test_pictures_are_printed(book):
    pictures = sum(Title(page).images for page in PAGES)
    assert pictures > 0
    assert sum(len(page.images) for page in book.pages) >= pictures


def test_words_of_drawings_are_printed(texts):
    whole = "".join("".join(texts).split())
    pages = "".join((HTML / f"{page}.html").read_text() for page in PAGES)
    drawings = re.findall(r'<div class="drawing">.*?</svg>', pages, re.DOTALL)
    words = {unescape(text) for drawing in drawings for text in re.findall(r"<text[^>]*>([^<]{8,})</text>", drawing)}
    assert len(drawings) > 100
    assert len(words) > 200
    assert [text for text in sorted(words) if "".join(normalize("NFKC", text).split()) not in whole] == []


def test_links_stay_inside_the_book(book):
    links = [reference.get_object() for page in book.pages for reference in page.get("/Annots", [])]
    addresses = [str(link["/A"]["/URI"]) for link in links if "/A" in link]
    assert [address for address in addresses if not address.startswith("http")] == []
    pages = {page.indirect_reference.idnum for page in book.pages}
    inside = [link["/Dest"] for link in links if "/Dest" in link]
    assert len(inside) > 100
    assert all(place[0].indirect_reference.idnum in pages for place in inside)
