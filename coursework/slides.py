"""Slides of a chapter: its headings, the first words below each, its formulas and its figures.

Usage: slides.py CHAPTER.md SLIDES.html [--without-figures]

The chapter is executed for its figures, which takes as long as the chapter does. Exercises and solutions stay in the book. The
page loads reveal.js from the network.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

FENCE = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|:{3,})[ \t]*\{(?P<kind>[\w-]+)\}.*?^[ \t]*(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL
)
ANCHOR = re.compile(r"^\([\w-]+\)=\n", re.MULTILINE)
GLUE = re.compile(r"\{glue:\w+\}`[^`]+`")
ROLE = re.compile(r"\{[\w:-]+\}`(?:([^`<]+?) ?<[^`>]+>|([^`]+))`")
HEADING = re.compile(r"^(#{1,3}) +(.+)$", re.MULTILINE)
GATED = re.compile(r"```\{solution-start\}.*?```\{solution-end\}\n```", re.DOTALL)
MATH = re.compile(r"^(`{3,})\{math\}\n(?::[^\n]*\n)*(.*?)^\1$", re.MULTILINE | re.DOTALL)
CITED = re.compile(r" ?\{cite(?::\w+)?\}`[^`]+`")
LEFT_OUT = re.compile(r"exercise|further|references|bigger|try it", re.IGNORECASE)


def sections(text: str) -> list[tuple[str, str]]:
    """Headings of a page, with their marks, and what is below each, without directives and anchors."""
    text = MATH.sub(lambda match: f"$$\n{match[2]}$$\n", CITED.sub("", text))
    text = ANCHOR.sub("", FENCE.sub("", text))
    parts = HEADING.split(text)
    return [(f"{marks} {title}", below) for marks, title, below in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)]


def first_words(below: str) -> str:
    """The first paragraph, and every formula that is set apart."""
    paragraphs = [paragraph.strip() for paragraph in re.split(r"\n\s*\n", below) if paragraph.strip()]
    words = next((paragraph for paragraph in paragraphs if not paragraph.startswith(("$$", "|", "```", ">"))), "")
    sentences = re.split(r"(?<=[.?!])\s+", words)
    kept = " ".join(sentence for sentence in sentences[:3] if not GLUE.search(sentence))
    formulas = [paragraph for paragraph in paragraphs if paragraph.startswith("$$")]
    return ROLE.sub(lambda match: match[1] or match[2], "\n\n".join([kept, *formulas]))


def outline(notebook: NotebookNode) -> NotebookNode:
    """The slides of an executed chapter, one for each heading and one for each figure."""
    slides, open_section = [], True
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for heading, below in sections(cell.source):
                open_section = not LEFT_OUT.search(heading)
                if open_section:
                    slide = new_markdown_cell(
                        f"{heading}\n\n{first_words(below)}", metadata={"slideshow": {"slide_type": "slide"}}
                    )
                    slides.append(slide)
        elif open_section and any("image/png" in output.get("data", {}) for output in cell.get("outputs", ())):
            cell.outputs = [output for output in cell.outputs if "image/png" in output.get("data", {})]
            cell.metadata["slideshow"] = {"slide_type": "subslide"}
            slides.append(cell)
    return new_notebook(cells=slides, metadata=notebook.metadata)


def main(arguments: list[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("chapter", type=Path)
    parser.add_argument("slides", type=Path)
    parser.add_argument("--without-figures", action="store_true", help="do not execute the chapter")
    given = parser.parse_args(arguments)
    notebook = jupytext.reads(GATED.sub("", given.chapter.read_text(encoding="utf-8")), fmt="md:myst")
    if not given.without_figures:
        NotebookClient(
            notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(given.chapter.parent)}}
        ).execute()
    page, _ = SlidesExporter(exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True).from_notebook_node(
        outline(notebook)
    )
    given.slides.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
