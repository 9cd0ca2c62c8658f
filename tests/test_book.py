"""The built book: every page is there, every figure has a text, and nothing is asked of another host."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = ["intro", *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]


class Elements(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.elements, self.text = [], []
        self.feed((HTML / f"{page}.html").read_text())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module", params=PAGES)
def page(request):
    return Elements(request.param)


def test_every_image_has_a_text_and_a_file(page):
    for tag, attrs in page.elements:
        if tag == "img":
            assert attrs.get("alt", "").strip(), attrs
            assert not attrs["src"].startswith("http"), attrs


def test_nothing_is_loaded_from_another_host(page):
    loaded = [attrs.get("src") or attrs.get("href") for tag, attrs in page.elements if tag in ("script", "img", "iframe")]
    loaded += [attrs["href"] for tag, attrs in page.elements if tag == "link" and "stylesheet" in attrs.get("rel", "")]
    assert [link for link in loaded if link and (link.startswith(("http:", "https:", "//")))] == []


def test_no_glued_number_is_missing(page):
    text = " ".join(page.text)
    assert "glue" not in text.replace("glued", "")


def test_regimes_page_shows_figure_3():
    captions = " ".join(Elements("chapters/09_learning_regimes").text)
    assert "Second layer of MLP512 trained rich, typical and lazy" in captions


def test_scoreboard_has_a_verdict_in_every_row():
    text = (HTML / "chapters" / "scoreboard.html").read_text()
    rows = [row for row in text.split("<tr")[1:] if "<td" in row]
    assert len(rows) >= 20
    assert all("reproduced" in row or "not tested here" in row for row in rows)
