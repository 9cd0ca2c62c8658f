"""No number of the book was typed and no sentence is too long; the check finds both wherever a reader would see them."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "check_prose.py"

spec = spec_from_file_location("check_prose", TOOL)
check_prose = module_from_spec(spec)
spec.loader.exec_module(check_prose)

PARSER = check_prose.parser(ROOT / "_config.yml")
PAGES = check_prose.pages(ROOT / "_toc.yml")
CHAPTERS = [path.relative_to(ROOT) for path in sorted((ROOT / "chapters").glob("*.md"))]

FIGURE = """```{code-cell} python
---
tags: [hide-input]
mystnb:
  figure:
    name: fig-x
    caption: |
      Spacings of a layer, which repel
      in SEVEN cases.
  image:
    alt: A histogram with EIGHT bars.
---
bins = 30  # 99
```
"""


def found(page):
    return [(finding.line, finding.number) for finding in check_prose.bare_numbers(page, PARSER)]


@pytest.mark.parametrize("page", [page for page in PAGES if page.as_posix() not in check_prose.PLANS], ids=str)
def test_no_number_of_the_book_was_typed(page):
    assert check_prose.bare_numbers((ROOT / page).read_text(), PARSER) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_sentences_of_the_book_are_short_enough(page):
    assert check_prose.too_long((ROOT / page).read_text(), PARSER) == []


def test_every_chapter_is_a_page_that_is_checked():
    assert set(CHAPTERS) <= set(PAGES)


@pytest.mark.parametrize(
    ("page", "number"),
    [
        ("The layer has 7 outliers.", "7"),
        ("The largest p is 0.85, as for noise.", "0.85"),
        ("It fell by −0.3 on average.", "−0.3"),
        ("Of all vectors 1.6 % are not random.", "1.6"),
        ("*Emphasis does not hide 12 of them*, **nor bold**.", "12"),
        ("# A heading with 3 words", "3"),
        ("- an item, 4 of them", "4"),
        ("> quoted, 4 times", "4"),
        ("Before [the 5 outliers](https://example.org) after.", "5"),
        ("![An image of 6 peaks](image.png)", "6"),
        ("Maths alone hides nothing: $0.53$.", "0.53"),
        (r"Nor about $\approx 0.53$.", "0.53"),
        (r"Nor with a unit, $95\,\%$.", "95"),
        ("A name, VGG19, and 19 layers.", "19"),
        ("In 2048 dimensions.", "2048"),
        ("Only p<0.05 counts.", "0.05"),
        ("See Fig. 1, 25 % of it.", "25"),
        ("[0.05]{.other}", "0.05"),
        ("::::{note}\nA note\nwith 3.\n::::", "3"),
        (":::{figure} image-2.png\n:name: fig-7\nA caption with 8.\n:::", "8"),
        ("term\n: a definition, 9", "9"),
    ],
)
def test_a_typed_number_is_found(page, number):
    assert [n for _, n in found(page)] == [number]


@pytest.mark.parametrize(
    "page",
    [
        "CIFAR-10, MLP512, float64, SHA-256, all-MiniLM-L6-v2, claims C4 to C7, panel a1 and a Σ².",
        "Fig. 3, Figs. 3 and 4, eq. 2, Table 1, section 5, chapters 1 and 6, panels 1 to 4, page 12, week 3, Python 3.11.",
        "They wrote it in 1967, and again (2022).",
        "At a level of [0.05]{.given}, or [5 %]{.given}.",
        "With $a = 15$, $p < 0.05$ and $2 \\times 2$ matrices.",
        "$$\n\\sigma = 0.5\n$$\n",
        "\\begin{align}\na = 3\n\\end{align}\n",
        "In code, `a=15`, and\n\n    pip install numpy==2.0\n",
        "```python\nassert x == 3\n```\n",
        "```{code-cell} python\n:tags: [hide-cell]\nx = 3  # three, 3\n```\n",
        "```{math}\n:label: law-2\nx = 0.5\n```\n",
        "Glued: {glue:text}`value-7`; cited: {cite:t}`mehta2004random`; eq. {eq}`law-2`; {numref}`fig-3`; {ref}`chapter 4 <c>`.",
        "[a link](https://example.org/2022/7) and <https://example.org/2022/7>.",
        '---\nversion: 3\n---\n\n(label-4)=\n# A heading\n\n% a comment, 5\n\n+++ {"part": 6}\n',
        "````{exercise}\n:label: ex-1\nTake a 512 × 512 layer.\n````\n",
        "````{solution} ex-1\n:class: dropdown\nAbout 0.54.\n```python\nassert True\n```\n````\n",
        "Seven of nine layers.",
    ],
)
def test_what_may_be_typed_passes(page):
    assert found(page) == []


def test_captions_and_alternative_texts_of_cells_count():
    assert found("First line.\n\n" + FIGURE) == []
    assert found("First line.\n\n" + FIGURE.replace("SEVEN", "7").replace("EIGHT", "8")) == [(11, "7"), (13, "8")]


def test_lines_are_those_of_the_file():
    page = "---\na: 1\n---\n\n# Title\n\nOne line\nand 2,\n$x$ and 3.\n\n| a | b |\n| --- | --- |\n| c | 4 |\n\n"
    page += ":::{note}\n:class: x\n\nText\nwith 5.\n:::\n"
    assert found(page) == [(8, "2"), (9, "3"), (13, "4"), (19, "5")]


def test_command_names_file_line_and_number_and_fails(tmp_path):
    good, bad = tmp_path / "good.md", tmp_path / "bad.md"
    good.write_text("All glued: {glue:text}`x`.\n")
    bad.write_text("Not glued:\n0.85.\n")
    run = [subprocess.run([sys.executable, TOOL, page], capture_output=True, text=True) for page in (good, bad)]
    assert [result.returncode for result in run] == [0, 1]
    assert run[0].stdout == ""
    assert run[1].stdout.startswith(f"{bad}:2: 0.85: ")


def said(page):
    return [(sentence.line, sentence.words) for sentence in check_prose.sentences(page, PARSER)]


@pytest.mark.parametrize(
    ("page", "sentences"),
    [
        ("One two three four. Five six seven eight nine.", [(1, 4), (1, 5)]),
        ("One two three. Four five six seven.", [(1, 4)]),  # three words are no sentence
        ("One two three\nfour. Five\nsix seven eight.", [(1, 4), (2, 4)]),
        ("Does it? Yes, it does so! “Quoted, it is one.” (And so is this.)", [(1, 4), (1, 4), (1, 4)]),
        ("About 0.5 of it, e.g. half, and no more.", [(1, 11)]),
        ("With $\\nu_1 \\dots \\nu_m$ and `a = b + c` and {glue:text}`x y` it is one.", [(1, 9)]),
        ("A [link of two](https://example.org/a/b) and *stress* and **more stress**.", [(1, 9)]),
        ("- one two three four\n- five six seven eight nine\n", [(1, 4), (2, 5)]),
        ("> Quoted it counts as well.", [(1, 5)]),
        ("term\n: a definition of four words", [(2, 5)]),
        (
            "# A heading of five words\n\n| a | table |\n| --- | --- |\n| a b c d e f g | h |\n",
            [],
        ),
        ("```python\none two three four five\n```\n\n    indented code of five words\n", []),
        ("```{code-cell} python\n:tags: [x]\na = b + c + d\n```\n", []),
        ("$$\na b c d e f\n$$\n\n```{math}\na b c d e f\n```\n", []),
        ("(label-of-a-page)=\n\n% a comment of six words\n", []),
        ("````{exercise}\n:label: ex-x\nOne two three four five.\n````\n", [(3, 5)]),
        (
            "````{solution} ex-x\n:class: dropdown\nOne two three four five.\n```python\nx = 1  # a b c d e f\n```\n````\n",
            [(3, 5)],
        ),
        (":::{admonition} A title of six words, here?\n:class: dropdown\n\nOne two three four.\n:::\n", [(4, 4)]),
    ],
)
def test_sentences_are_those_that_are_read(page, sentences):
    assert said(page) == sentences


def words(*counts):
    return " ".join("Word " + "word " * (count - 2) + "end." for count in counts)


def test_no_sentence_is_longer_than_the_longest():
    assert [found.words for found in check_prose.too_long(words(*[10] * 30, 40), PARSER)] == []
    assert [found.words for found in check_prose.too_long(words(*[10] * 30, 41), PARSER)] == [41]


def test_one_sentence_in_ten_may_be_long():
    assert check_prose.too_long(words(*[28] * 18, 29, 30), PARSER) == []
    assert [found.words for found in check_prose.too_long(words(*[28] * 17, 29, 30, 31), PARSER)] == [29, 30, 31]


def test_one_long_sentence_may_stand_on_a_short_page():
    assert check_prose.too_long(words(5, 30), PARSER) == []


def test_command_names_long_sentences_and_fails(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"A line before.\n\n{words(41)}\n")
    done = subprocess.run([sys.executable, TOOL, page], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{page}:3: 41 words: Word word")
    assert "none above 40 words" in done.stderr


def test_the_book_is_not_built_without_this_check():
    makefile = (ROOT / "Makefile").read_text()
    assert "\nbook: $(INSTALLED) prose" in makefile
    assert "\ncheck: $(INSTALLED) prose" in makefile
