"""Find numbers that somebody typed into the text of the book, where a cell should have computed them.

Usage: check_prose.py [PAGE.md ...]        (without pages: every page of the table of contents)

Prints `file:line: number: text` for each of them, and ends with status 1 if there is one.

Text is what a reader sees as text: paragraphs, headings, lists, cells of tables, captions and alternative texts of figures.
Maths, code, roles (so whatever is glued, cited or referred to), links and options are not; maths that is nothing but a
number is.

What may be typed, all of it:

- a part of a name: CIFAR-10, MLP512, float64, F1a3 (`NAME`);
- the number of something that is counted through: a chapter, a figure, an equation, a week, a version of Python (`LABEL`);
- a year (`YEAR`);
- whatever exercises give, and whatever their solutions find, which their own code asserts (`ASSERTED`);
- the plans of a course: minutes, points and sizes of machines (`PLANS`);
- a choice, a convention or a fact from elsewhere that is marked as such: `[0.05]{.given}`.

Settings in a formula, such as `$a = 15$`, need no mark. A number that is spelled as a word is not found: words are for what can
be counted on the page, not for results.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

NAME = r"[^\W\d_]+-?\d[\w.]*"
LABEL = (
    r"\b(?:eqs?|equations?|figs?|figures?|tables?|sections?|chapters?|appendix|panels?|pages?|assignments?|weeks?|Python)\.?\s"
    r"\d+[a-z]?(?:(?:\s?–\s?|\sand\s|\sto\s)\d+[a-z]?\b)?(?:\.\d+)?"
)
YEAR = r"\b(?:in|since|until)\s(?:19|20)\d\d(?=[.,;:)](?!\d)|\Z)|\((?:19|20)\d\d\)"
ALLOWED = re.compile("|".join((LABEL, YEAR, NAME)), re.IGNORECASE)
NUMBER = re.compile(r"[+−-]?\d+(?:[.,]\d+)*")
ONLY_A_NUMBER = re.compile(r"(?=.*\d)(?:\\(?:approx|sim|pm|[,;% ])|[\s\d.,/^{}<>=+-])*", re.DOTALL)

ASSERTED = {"exercise", "exercise-start", "solution", "solution-start"}
PLANS = {
    f"coursework/{page}.md"
    for page in ("syllabus", "instructor", "self_test", "project", "ninety_minutes", "rubrics", "threat_model")
}
# Directives whose content is no text; that of all others is.
CODE = {"code-cell", "code", "code-block", "math", "eval-rst", "bibliography", "toctree", "raw"}
DIRECTIVE = re.compile(r"\{([\w:-]+)\}")
OPTIONS = re.compile(r"\A(?:---\n(?P<block>(?s:.*?)\n)---\n|(?::[\w-]+:.*(?:\n|\Z))+)")
NO_TEXT = "\N{OBJECT REPLACEMENT CHARACTER}"


class Finding(NamedTuple):
    line: int
    number: str
    text: str


def parser(config: Path) -> MarkdownIt:
    """The parser of the book's pages, with the extensions that the book enables."""
    extensions = yaml.safe_load(config.read_text())["parse"]["myst_enable_extensions"]
    return create_md_parser(MdParserConfig(enable_extensions=set(extensions)), RendererHTML)


def bare_numbers(page: str, parse: MarkdownIt) -> list[Finding]:
    """Every number of a page's text that is neither computed nor allowed."""
    found = []
    for line, text in texts(page, parse):
        # what is allowed is blotted out, with its length kept
        rest = ALLOWED.sub(lambda match: NO_TEXT * len(match[0]), text)
        for match in NUMBER.finditer(rest):
            around = text[max(match.start() - 30, 0) : match.end() + 30]
            found.append(Finding(line + text.count("\n", 0, match.start()), match[0], " ".join(around.split())))
    return found


def texts(page: str, parse: MarkdownIt, first: int = 1) -> Iterator[tuple[int, str]]:
    """Stretches of text with the lines that they begin in; what is no text leaves a placeholder."""
    line = first
    for token in parse.parse(page):
        if token.map:
            line = first + token.map[0]
        if token.type == "inline":
            yield line, _visible(token.children or [])
        elif token.type in ("fence", "colon_fence") and (directive := DIRECTIVE.match(token.info.strip())):
            yield from _directive(directive[1], token.content, parse, line + 1)


def _visible(children: list[Token]) -> str:
    """What a paragraph shows as text; an image shows its alternative text."""
    parts, hidden = [], []
    for token in children:
        if token.type in ("link_open", "span_open"):
            hidden.append(token.info == "auto" or "given" in str(token.attrs.get("class", "")).split())
        elif token.type in ("link_close", "span_close"):
            hidden.pop()
        elif token.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif not any(hidden) and (
            token.type in ("text", "image") or (token.type.startswith("math") and ONLY_A_NUMBER.fullmatch(token.content))
        ):
            parts.append(token.content)
        elif not token.type.endswith(("_open", "_close")):
            parts.append(NO_TEXT + "\n" * token.content.count("\n"))
    return "".join(parts)


def _directive(name: str, content: str, parse: MarkdownIt, first: int) -> Iterator[tuple[int, str]]:
    options = OPTIONS.match(content)
    if name == "code-cell" and options and options["block"]:
        for key, value in _scalars(yaml.compose(options["block"])):
            # a block begins in the line below its indicator
            start = first + 1 + value.start_mark.line + (value.style in ("|", ">"))
            if key in ("caption", "alt"):
                yield from texts(value.value, parse, start)
    elif name not in CODE | ASSERTED:
        skipped = options.end() if options else 0
        yield from texts(content[skipped:], parse, first + content.count("\n", 0, skipped))


def _scalars(node: yaml.Node, key: str = "") -> Iterator[tuple[str, yaml.ScalarNode]]:
    """Every key of a YAML mapping, at any depth, that has a plain value."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _scalars(value, name.value)
    elif isinstance(node, yaml.ScalarNode):
        yield key, node


def pages(toc: Path) -> list[Path]:
    """Pages of the table of contents, but for those of plans."""
    found = re.findall(r"^[\s-]*(?:file|root): *(\S+)$", toc.read_text(), re.MULTILINE)
    return [page for name in found if (page := Path(f"{name}.md")).as_posix() not in PLANS]


def main(names: list[str]) -> int:
    root = Path(__file__).parents[1]
    parse = parser(root / "_config.yml")
    files = [Path(name) for name in names] or [root / page for page in pages(root / "_toc.yml")]
    count = 0
    for file in files:
        for line, number, text in bare_numbers(file.read_text(), parse):
            print(f"{file.relative_to(root) if file.is_relative_to(root) else file}:{line}: {number}: {text}")
            count += 1
    if count:
        print(f"{count} numbers that no cell computed: glue them; {Path(__file__).name} says what may be typed", file=sys.stderr)
    return min(count, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
