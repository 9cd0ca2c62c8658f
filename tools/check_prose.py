"""Find numbers that somebody typed into the text of the book, where a cell should have computed them, and long sentences.

Usage: check_prose.py [PAGE.md ...]        (without pages: every page of the table of contents)

Prints `file:line: number: text` or `file:line: words: sentence` for each of them, and ends with status 1 if there is one.

A sentence has at most `LONGEST` words, and nine in ten of a page have at most `LONG`. Sentences are those of paragraphs, lists,
boxes, exercises and solutions; headings, tables, code and captions of figures have none. A formula, a piece of code and a role
count as one word each.

Numbers are looked for where a reader sees text: in paragraphs, headings, lists, cells of tables, captions and alternative texts
of figures. Maths, code, roles (so whatever is glued, cited or referred to), links and options are no text; maths that is nothing
but a number is.

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
LONG, LONGEST = 28, 40  # words
# Exercises and their solutions are read like anything else.
UNREAD = CODE | {"figure", "image"}
WORD = re.compile(r"[\w’'–-]+")
SENTENCE = re.compile(r"(?<=[.!?…])[”’\"')\]]*\s+(?=[“‘\"'(\[]*[A-Z])")
FEWEST = 4  # words of a sentence
OPTIONS = re.compile(r"\A(?:---\n(?P<block>(?s:.*?)\n)---\n|(?::[\w-]+:.*(?:\n|\Z))+)")
NO_TEXT = "\N{OBJECT REPLACEMENT CHARACTER}"


class Finding(NamedTuple):
    line: int
    number: str
    text: str


class Sentence(NamedTuple):
    line: int
    words: int
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


def sentences(page: str, parse: MarkdownIt, first: int = 1) -> Iterator[Sentence]:
    """Sentences of a page with the lines that they begin in, from top to bottom."""
    skipped, line = 0, first
    for token in parse.parse(page):
        skipped += {"heading_open": 1, "table_open": 1, "heading_close": -1, "table_close": -1}.get(token.type, 0)
        if token.map:
            line = first + token.map[0]
        if token.type == "inline" and not skipped:
            yield from _split(_spoken(token.children or []), line)
        elif token.type in ("fence", "colon_fence") and (directive := DIRECTIVE.match(token.info.strip())):
            if directive[1] not in UNREAD:
                options = OPTIONS.match(token.content)
                start = options.end() if options else 0
                yield from sentences(token.content[start:], parse, line + 1 + token.content.count("\n", 0, start))


def _spoken(children: list[Token]) -> str:
    """A paragraph as it is read aloud: whatever is no text is one word."""
    parts = []
    for token in children:
        if token.type in ("text", "softbreak", "hardbreak"):
            parts.append(token.content or "\n")
        elif token.type != "image" and not token.type.endswith(("_open", "_close")):
            parts.append("X" + "\n" * token.content.count("\n"))
    return "".join(parts)


def _split(paragraph: str, line: int) -> Iterator[Sentence]:
    start = 0
    for end in [*(match.end() for match in SENTENCE.finditer(paragraph)), len(paragraph)]:
        text = paragraph[start:end]
        if (words := len(WORD.findall(text))) >= FEWEST:
            yield Sentence(line + paragraph.count("\n", 0, start), words, " ".join(text.split()))
        start = end


def too_long(page: str, parse: MarkdownIt) -> list[Sentence]:
    """Sentences above `LONGEST`; all above `LONG` if these are more than one in ten, and more than one."""
    said = list(sentences(page, parse))
    long = [sentence for sentence in said if sentence.words > LONG]
    return long if len(long) > max(1, len(said) // 10) else [sentence for sentence in long if sentence.words > LONGEST]


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
    """Pages of the table of contents."""
    return [Path(f"{name}.md") for name in re.findall(r"^[\s-]*(?:file|root): *(\S+)$", toc.read_text(), re.MULTILINE)]


def main(names: list[str]) -> int:
    root = Path(__file__).parents[1]
    parse = parser(root / "_config.yml")
    numbers = long = 0
    for file in [Path(name) for name in names] or [root / page for page in pages(root / "_toc.yml")]:
        name = file.relative_to(root) if file.is_relative_to(root) else file
        text = file.read_text()
        for line, number, around in [] if name.as_posix() in PLANS else bare_numbers(text, parse):
            print(f"{name}:{line}: {number}: {around}")
            numbers += 1
        for line, words, sentence in too_long(text, parse):
            print(f"{name}:{line}: {words} words: {sentence}")
            long += 1
    if numbers:
        print(
            f"{numbers} numbers that no cell computed: glue them; {Path(__file__).name} says what may be typed", file=sys.stderr
        )
    if long:
        print(f"{long} sentences are too long: none above {LONGEST} words, nine in ten of a page up to {LONG}", file=sys.stderr)
    return min(numbers + long, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
