"""What a link leads to, for a preview of links inside the book: the first words of a section, figure, exercise or
term, an equation, or a cited work.

The texts of all pages stand in one script of the built book, `_static/previews.js`, for a page opened from a file may not fetch
another. A build that writes a few pages keeps the texts of the others.
"""

import json
import re
from pathlib import Path

from docutils import nodes

SCRIPT = Path("_static") / "previews.js"
START = "window.previews = "
LONGEST = 320  # characters


def words(node):
    """The text of a paragraph, formulas between the marks that MathJax knows; cut after a word."""
    copy = node.deepcopy()
    for formula in list(copy.findall(nodes.math)):
        formula.replace_self(nodes.Text(rf"\({formula.astext()}\)"))
    text = re.sub(r"\s+", " ", copy.astext()).strip()
    if len(text) <= LONGEST:
        return text
    pieces = re.findall(r"\\\(.*?\\\)|\S+", text)
    kept = []
    while pieces and len(" ".join([*kept, pieces[0]])) <= LONGEST:
        kept.append(pieces.pop(0))
    return " ".join(kept) + " …"


def first(node, kind):
    return next(iter(node.findall(kind)), None)


def preview(node):
    """Heading and first paragraph of what an id stands at, or None."""
    if isinstance(node, nodes.term):
        definition = first(node.parent, nodes.definition)
        return [words(node), words(first(definition, nodes.paragraph))] if definition is not None else None
    if isinstance(node, nodes.figure):
        caption = first(node, nodes.caption)
        return ["", words(caption)] if caption is not None else None
    if isinstance(node, nodes.math_block):
        return ["", rf"\[{node.astext()}\]"]
    if isinstance(node, nodes.citation):
        return ["", words(first(node, nodes.paragraph))]
    title, paragraph = first(node, nodes.title), first(node, nodes.paragraph)
    if paragraph is None:
        return None
    return [words(title) if title is not None else "", words(paragraph)]


def collect(app, doctree, docname):
    if app.builder.format != "html":
        return
    found = {}
    for node in doctree.findall(nodes.Element):
        if node.get("ids") and (shown := preview(node)):
            found |= dict.fromkeys(node["ids"], shown)
            if isinstance(node, nodes.citation):
                app.cited |= {(docname, id) for id in node["ids"]}
    app.previews[docname] = found


def referred(app):
    """Page and id of what has a label, of every term, and of every equation with a number."""
    known, equations = app.env.get_domain("std"), app.env.get_domain("math").equations
    terms = {place for (kind, _), place in known.objects.items() if kind == "term"}
    numbered = {(name, f"equation-{label}") for label, (name, _) in equations.items()}
    return {(name, id) for name, id, *_ in known.anonlabels.values()} | terms | numbered


def write(app, exception):
    if exception or app.builder.format != "html":
        return
    target = Path(app.outdir) / SCRIPT
    before = json.loads(target.read_text(encoding="utf-8")[len(START) :]) if target.is_file() else {}
    wanted = referred(app) | app.cited
    pages = {name: app.builder.get_target_uri(name) for name in app.env.found_docs}
    kept = {pages[name] for name in pages if name not in app.previews}
    before = {key: text for key, text in before.items() if key.partition("#")[0] in kept}
    for name, found in app.previews.items():
        before |= {f"{pages[name]}#{id}": text for id, text in found.items() if (name, id) in wanted}
    target.write_text(START + json.dumps(before, ensure_ascii=False, separators=(",", ":"), sort_keys=True), encoding="utf-8")


def start(app):
    app.previews, app.cited = {}, set()


def setup(app):
    app.connect("builder-inited", start)
    app.connect("doctree-resolved", collect, priority=900)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
