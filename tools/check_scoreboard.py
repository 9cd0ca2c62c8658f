"""Check that the scoreboard decides the whole checklist of the paper, each of its ids once, and by code.

Usage: check_scoreboard.py

Prints what is wrong, and ends with status 1 if anything is. Of each row it wants the place in the paper, our finding and a
verdict. The verdict must be pasted from a chapter, and whatever is pasted must be an id that a cell of that chapter records.
That the values recorded there still hold is for `rmtlib.claims` to check, when the chapter is executed.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

# Figures by panel and network, tables, numbers, claims, equations.
NETWORKS_OF_FIGURE_1 = [f"F1{panel}{network}" for panel in "ab" for network in range(1, 5)]
PANELS = [*NETWORKS_OF_FIGURE_1, *("F2" + panel for panel in "abcd"), *("F3" + panel for panel in "abcd"), "F4"]
NUMBERED = {"T": 2, "N": 4, "C": 10, "E": 8}
CHECKLIST = [*PANELS, *(f"{letter}{i}" for letter, count in NUMBERED.items() for i in range(1, count + 1))]

SOURCE, VERDICT = "in the paper", "verdict"
ENTRY = re.compile(r"(?P<id>[A-Z]\d+(?:[a-d]\d?)?)(?: \(\w+\))?")  # with the network, where an id has a row for each
PASTED = re.compile(r"\{glue:text\}`(?P<chapter>[^`:]+)::(?P<key>[^`:]+):s`")
OF_A_CLAIM = re.compile(r"-(?:verdict|paper|error)$")
TYPED = re.compile(r"reproduced|not tested", re.IGNORECASE)
OPTIONS = re.compile(r"\A(?:---\n(?s:.*?)\n---\n|(?::[\w-]+:.*\n)+)")
PARSER = MarkdownIt("commonmark").enable("table")


def rows(page: str) -> Iterator[dict[str, str]]:
    """Rows of all tables of a page, by the heads of their columns."""
    head, row, cells = [], [], []
    for token in PARSER.parse(page):
        if token.type == "tr_open":
            cells = []
        elif token.type in ("th_open", "td_open"):
            cells.append("")
        elif token.type == "inline" and cells and not cells[-1]:
            cells[-1] = token.content
        elif token.type == "thead_close":
            head = cells
        elif token.type == "tr_close" and (row := cells) and head:
            yield dict(zip(head, row, strict=True))
        elif token.type == "table_close":
            head, cells = [], []


@cache
def recorded(chapter: str) -> list[re.Pattern]:
    """What the cells of a chapter may call a claim: every string in them, those that are put together as patterns."""
    found = []
    for token in PARSER.parse(chapter):
        if token.type == "fence" and token.info.startswith("{code-cell}"):
            for node in ast.walk(ast.parse(OPTIONS.sub("", token.content))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(re.compile(re.escape(node.value)))
                elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                    parts = (re.escape(part.value) if isinstance(part, ast.Constant) else r"[\w.]+" for part in node.values)
                    found.append(re.compile("".join(parts)))
    return found


def problems(scoreboard: str, chapters: Mapping[str, str]) -> list[str]:
    """What a scoreboard lacks, given the texts of the chapters by their file names."""
    found, entries = [], []
    for row in rows(scoreboard):
        name = row.get("id", "")
        entries += name.split(", ")
        found += [f"{name}: no column {column!r}" for column in (SOURCE, VERDICT) if column not in row]
        found += [f"{name}: the column {column!r} is empty" for column, cell in row.items() if not cell.strip()]
        verdict = row.get(VERDICT, "")
        if not any(key.endswith("-verdict") for _, key in PASTED.findall(verdict)):
            found.append(f"{name}: its verdict is not pasted from a chapter")
        if TYPED.search(PASTED.sub("", verdict)):
            found.append(f"{name}: its verdict is typed: {verdict}")
    ids = [match["id"] if (match := ENTRY.fullmatch(entry)) else entry for entry in entries]
    found += [f"{id}: not on the scoreboard" for id in CHECKLIST if id not in ids]
    found += [f"{id}: not in the checklist" for id in dict.fromkeys(ids) if id not in CHECKLIST]
    found += [f"{entry}: more than once" for entry in dict.fromkeys(entries) if entries.count(entry) > 1]
    mixed = (id for id in dict.fromkeys(ids) if id in entries and ids.count(id) > entries.count(id))
    found += [f"{id}: both with and without a network" for id in mixed]
    for chapter, key in dict.fromkeys(PASTED.findall(scoreboard)):
        if chapter not in chapters:
            found.append(f"{key}: pasted from {chapter}, which does not exist")
            continue
        names = (key, OF_A_CLAIM.sub("", key))
        if not any(pattern.fullmatch(name) for name in names for pattern in recorded(chapters[chapter])):
            found.append(f"{key}: recorded by no cell of {chapter}")
    return found


def main() -> int:
    folder = Path(__file__).parents[1] / "chapters"
    found = problems((folder / "scoreboard.md").read_text(), {file.name: file.read_text() for file in folder.glob("*.md")})
    for problem in found:
        print(f"chapters/scoreboard.md: {problem}")
    return min(len(found), 1)


if __name__ == "__main__":
    sys.exit(main())
