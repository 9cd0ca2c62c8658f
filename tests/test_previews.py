"""What a card says of the place that a link leads to, and that a build of few pages keeps the others."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes

spec = spec_from_file_location("previews", Path(__file__).parents[1] / "_ext" / "previews.py")
previews = module_from_spec(spec)
spec.loader.exec_module(previews)


def paragraph(*parts):
    return nodes.paragraph("", "", *(part if isinstance(part, nodes.Node) else nodes.Text(part) for part in parts))


def section(title, *parts):
    return nodes.section("", nodes.title("", title), paragraph(*parts), ids=["here"])


def test_a_section_is_shown_by_its_title_and_its_first_paragraph():
    assert previews.preview(section("Levels", "Of size ", nodes.math("", r"\nu"), ",\n", nodes.emphasis("", "say"), ".")) == [
        "Levels",
        r"Of size \(\nu\), say.",
    ]


def test_a_long_paragraph_is_cut_after_a_word_and_never_within_a_formula():
    text = previews.words(paragraph("word " * 63, nodes.math("", "a + b"), " end"))
    assert text == "word " * 63 + "…"
    assert previews.words(paragraph("word " * 62, nodes.math("", "a + b"))) == "word " * 62 + r"\(a + b\)"


def test_a_term_a_figure_and_an_equation():
    term = nodes.term("", "bulk")
    nodes.definition_list_item("", term, nodes.definition("", paragraph("Most levels.")))
    assert previews.preview(term) == ["bulk", "Most levels."]
    assert previews.preview(nodes.figure("", nodes.image(), nodes.caption("", "Two panels."))) == ["", "Two panels."]
    assert previews.preview(nodes.math_block("", "x = 1")) == ["", r"\[x = 1\]"]
    assert previews.preview(nodes.citation("", nodes.label("", "LS21"), paragraph("Landa: Biwhitening."))) == [
        "",
        "Landa: Biwhitening.",
    ]
    assert previews.preview(nodes.target()) is None


@pytest.fixture
def app(tmp_path):
    (tmp_path / "_static").mkdir()
    std = SimpleNamespace(
        anonlabels={"one": ("one", "here"), "two": ("two", "here")},
        objects={("term", "bulk"): ("two", "term-bulk"), ("label", "x"): ("two", "x")},
    )
    maths = SimpleNamespace(equations={"law": ("two", 1)})
    return SimpleNamespace(
        builder=SimpleNamespace(format="html", get_target_uri=lambda name: f"{name}.html"),
        env=SimpleNamespace(found_docs={"one", "two"}, get_domain={"std": std, "math": maths}.get),
        outdir=tmp_path,
        previews={},
        cited=set(),
    )


def written(app):
    previews.write(app, None)
    text = (app.outdir / "_static" / "previews.js").read_text()
    return json.loads(text.removeprefix("window.previews = "))


def test_what_a_link_can_lead_to_is_written_and_the_pages_of_another_build_are_kept(app):
    app.previews = {
        name: {id: [name, id] for id in ("here", "x", "term-bulk", "equation-law")} for name in ("one", "two", "gone")
    }
    app.env.found_docs.add("gone")
    first = written(app)
    assert set(first) == {"one.html#here", "two.html#here", "two.html#term-bulk", "two.html#equation-law"}
    app.env.found_docs.remove("gone")
    app.previews = {"one": {"here": ["new", "text"]}}
    assert written(app) == first | {"one.html#here": ["new", "text"]}


def test_a_page_that_left_the_book_leaves_the_previews(app):
    app.previews = {"one": {"here": ["a", "b"]}, "two": {"here": ["c", "d"]}}
    written(app)
    app.env.found_docs.remove("two")
    app.previews = {}
    assert written(app) == {"one.html#here": ["a", "b"]}


def test_a_cited_work_needs_no_label(app):
    page = nodes.container("", nodes.citation("", paragraph("A work."), ids=["id7"]), section("No label", "Text."))
    previews.collect(app, page, "two")
    app.env.get_domain("std").anonlabels = {}
    assert written(app) == {"two.html#id7": ["", "A work."]}
