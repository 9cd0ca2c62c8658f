"""The student edition: no solution of the full edition is anywhere in it, neither in its source nor in the built book."""

import html
import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from sphinx.search.en import SearchEnglish

ROOT = Path(__file__).parents[1]
BUILT = ROOT / "_build" / "student"
CELL = re.compile(r"^```\{code-cell\}.*?^```$", re.MULTILINE | re.DOTALL)
LINE, WORD = 20, 6  # shorter lines and words are found by chance

spec = spec_from_file_location("student_edition", ROOT / "tools" / "student_edition.py")
student_edition = module_from_spec(spec)
spec.loader.exec_module(student_edition)

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = {page: (ROOT / f"{page}.md").read_text() for page in student_edition.pages(TOC)}
SOURCES = {page: text for page, text in PAGES.items() if page not in student_edition.FULL_EDITION_ONLY}
# pages that only the full edition has are one long solution
SOLUTIONS = [solution for text in SOURCES.values() for solution in student_edition.solutions(text)]
SOLUTIONS += [text for page, text in PAGES.items() if page not in SOURCES]
# what an exercise or a cell of the chapter says may be said again in a solution
OUTSIDE = "\n".join(student_edition.without_solutions(text) for text in SOURCES.values())

FENCED = """Before.

````{solution} ex-a
:class: dropdown
Look at this line of the solution.
```python
secret = 1
```
````

After.
"""
GATED = """Before.

```{solution-start} ex-a
:class: dropdown
```

```{code-cell} python
secret = 1
```
Some more words.

```{solution-end}
```

After.
"""


def test_cards_that_lead_to_the_full_edition_are_left_out():
    cards = [
        f":::{{grid-item-card}} {name}\nWords.\n\n{{ref}}`there <{label}>`\n:::\n\n"
        for name, label in (("Read", "first"), ("Teach", "plan"))
    ]
    page = "::::{{grid}}\n\n" + "".join(cards) + "::::\n"
    assert student_edition.without_cards(page, {"plan"}) == page.replace(cards[1], "")


def test_the_opening_does_not_send_students_to_pages_that_they_do_not_have():
    labels = {label for page in student_edition.FULL_EDITION_ONLY for label in student_edition.LABEL.findall(PAGES[page])}
    assert len(labels) >= len(student_edition.FULL_EDITION_ONLY)
    page = (BUILT / "intro.md").read_text()
    assert "grid-item-card} Read" in page
    assert not [label for label in labels if label in page]


def plain(text):
    """Without the marks of markdown and formulas, and with single blanks."""
    return re.sub(r"\s+", " ", re.sub(r"[`*_$\\{}]", "", text))


def lines(solution):
    """Lines of a solution as they are in the source, without the fences and options around them."""
    body = [line.strip() for line in solution.splitlines()]
    return [line for line in body if len(line) >= LINE and not re.match(r"[`:]{3,}|:\w+:", line)]


def words(text):
    return set(re.findall(rf"[A-Za-z]{{{WORD},}}", text.lower()))


def bytes_of(folder):
    """Name and bytes of every file, and of every member of an archive."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            data = file.read_bytes()
            yield str(file.relative_to(folder)), data
            if zipfile.is_zipfile(BytesIO(data)):
                with zipfile.ZipFile(BytesIO(data)) as archive:
                    for member in archive.namelist():
                        yield f"{file.relative_to(folder)}:{member}", archive.read(member)


def spellings(line):
    """A line as it stands in text, in HTML and in JSON."""
    escaped = {line, html.escape(line), html.escape(line, quote=False), json.dumps(line)[1:-1]}
    return {spelling.encode() for spelling in escaped}


@pytest.fixture(scope="module")
def stripped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    student_edition.main(ROOT, folder, folder / "cache")
    return folder


@pytest.fixture(scope="module")
def built():
    if not (BUILT / "_build" / "html" / "index.html").exists():
        pytest.skip("make book EDITION=student builds the book that is searched")
    return BUILT


def visible_text(page):
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "", text))


@pytest.mark.parametrize("text", [FENCED, GATED, FENCED.replace("````", "::::"), FENCED.replace("\n", "\r\n")])
def test_a_solution_is_taken_out_and_its_surroundings_stay(text):
    assert student_edition.without_solutions(text) == "Before.\n\nAfter.\n"


def test_two_solutions_are_taken_out_one_by_one():
    assert student_edition.without_solutions(FENCED + "\n" + GATED) == "Before.\n\nAfter.\n\nBefore.\n\nAfter.\n"
    assert len(student_edition.solutions(FENCED + "\n" + GATED)) == 2


def test_a_solution_at_the_end_of_a_file_is_taken_out():
    assert student_edition.without_solutions(FENCED.split("\n\nAfter")[0]) == "Before.\n\n"


@pytest.mark.parametrize("text", [FENCED.replace("````\n\nAfter", "After"), GATED.replace("solution-end", "end")])
def test_a_solution_without_an_end_is_refused(text):
    with pytest.raises(ValueError, match="ex-a.*has no end"):
        student_edition.without_solutions(text)


def test_pages_of_the_full_edition_leave_the_contents():
    toc = {"root": "intro", "parts": [{"caption": "Coursework", "chapters": [{"file": "a"}, {"file": "coursework/instructor"}]}]}
    assert student_edition.pages(student_edition.pruned(toc)) == ["intro", "a"]


def test_a_part_with_nothing_else_leaves_the_contents():
    toc = {"root": "intro", "parts": [{"chapters": [{"file": "coursework/instructor"}]}, {"chapters": [{"file": "b"}]}]}
    assert student_edition.pruned(toc) == {"root": "intro", "parts": [{"chapters": [{"file": "b"}]}]}


def test_the_book_has_solutions_to_leave_out():
    assert len(SOLUTIONS) >= 20
    assert sum(len(lines(solution)) for solution in SOLUTIONS) >= 40


def test_no_line_of_a_solution_is_in_the_stripped_source(stripped):
    student = {name: data for name, data in bytes_of(stripped) if not name.startswith("_static")}
    for solution in SOLUTIONS:
        wanted = [line for line in lines(solution) if line not in OUTSIDE]
        assert wanted, f"nothing can be looked for in {solution}"
        assert [line for line in wanted if any(line.encode() in data for data in student.values())] == []
    assert not any(b"{solution" in data for data in student.values())


def test_the_stripped_source_keeps_everything_else(stripped):
    assert {f"{page}.md" for page in SOURCES} == {str(file.relative_to(stripped)) for file in stripped.rglob("*.md")}
    start = SOURCES["intro"].index(":::{grid-item-card} Teach")
    card = SOURCES["intro"][start : SOURCES["intro"].index("\n:::\n", start) + 5]
    for page, text in (SOURCES | {"intro": SOURCES["intro"].replace(card, "")}).items():
        copy = (stripped / f"{page}.md").read_text()
        solved = {line for solution in student_edition.solutions(text) for line in solution.splitlines()}
        assert [line for line in text.splitlines() if line.strip() and line not in solved] == [
            line for line in copy.splitlines() if line.strip() and line not in solved
        ]


def test_cells_that_remain_are_those_of_the_full_edition(stripped):
    # otherwise the executed chapters would not be found in the cache
    for page, text in SOURCES.items():
        if "{code-cell}" in text and "{solution-start}" not in text:
            copy = (stripped / f"{page}.md").read_text()
            assert CELL.findall(text) == CELL.findall(copy), page


def test_a_book_with_an_unclosed_solution_is_not_copied(tmp_path):
    (tmp_path / "_config.yml").write_text("title: Book\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
    (tmp_path / "intro.md").write_text("# Page\n\n```{solution} ex-a\nWords.\n")
    tool = [sys.executable, ROOT / "tools" / "student_edition.py", "student"]
    done = subprocess.run(tool, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("intro.md: a solution cannot be told from the text around it")


def test_archives_of_the_full_edition_are_not_copied(tmp_path):
    (tmp_path / "_config.yml").write_text("title: Book\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
    (tmp_path / "intro.md").write_text("# Page\n")
    (tmp_path / "_static").mkdir()
    shutil.make_archive(str(tmp_path / "_static" / "notebooks"), "zip", tmp_path, "intro.md")
    student_edition.main(tmp_path, tmp_path / "student", tmp_path)
    assert [path.name for path in (tmp_path / "student").rglob("*.zip")] == []


def test_no_line_of_a_solution_is_in_a_byte_of_the_built_book(built):
    wanted = {line for solution in SOLUTIONS for line in lines(solution) if line not in OUTSIDE}
    wanted = {spelling for line in wanted for spelling in spellings(line)}
    files = dict(bytes_of(built))
    assert sum(name.endswith(".html") for name in files) >= len(SOURCES)
    found = {(name, line) for name, data in files.items() for line in wanted if line in data}
    assert found == set()


def test_no_line_of_a_solution_is_in_the_text_of_a_page(built):
    # formatted code has tags between its words
    outside = plain(OUTSIDE)
    wanted = {plain(line) for solution in SOLUTIONS for line in lines(solution)}
    wanted = {line for line in wanted if len(line) >= LINE and line not in outside}
    for page in (built / "_build" / "html").rglob("*.html"):
        text = plain(visible_text(page.read_text()))
        assert [line for line in wanted if line in text] == [], page


def test_words_of_solutions_alone_are_not_in_the_search_index(built):
    library = "\n".join(file.read_text() for file in (ROOT / "rmtlib").rglob("*.py"))
    bibliography = (ROOT / "references.bib").read_text()
    outside = OUTSIDE + library + bibliography
    only = words("\n".join(SOLUTIONS)) - words(outside)
    assert len(only) >= 20
    index = (built / "_build" / "html" / "searchindex.js").read_text()
    terms = json.loads(index[index.index("(") + 1 : index.rindex(")")])["terms"]
    stem = SearchEnglish({}).stem
    # short words too: they are what is left of longer ones in the index
    known = {stem(word) for word in re.findall(r"[a-z]+", outside.lower())}
    assert {word for word in only if stem(word) not in known and stem(word) in terms} == set()


def test_no_page_has_a_solution_box(built):
    for page in (built / "_build" / "html").rglob("*.html"):
        assert not re.search(r'class="[^"]*\bsolution\b', page.read_text()), page
