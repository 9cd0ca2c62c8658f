"""How to cite: the directive ``cite-book`` for the whole book, and a line at the foot of each page for that page.

Authors, title and version are those of ``CITATION.cff``, the year is that of the book's configuration.
"""

from html import escape
from pathlib import Path

import yaml
from docutils import nodes
from docutils.parsers.rst import Directive

PAGE = """<details class="cite-page"><summary>Cite this page</summary>
<p>{author} ({year}). {page}. In: <em>{title}</em>, version {version}.</p></details>"""
ENTRY = """@misc{{rmtlib,
  author  = {{{{{author}}}}},
  title   = {{{title}}},
  year    = {{{year}}},
  version = {{{version}}}
}}"""


def known(env):
    """What a citation says."""
    said = yaml.safe_load((Path(env.srcdir) / "CITATION.cff").read_text())
    author = " and ".join(who.get("name") or f"{who['given-names']} {who['family-names']}" for who in said["authors"])
    return {"author": author, "title": said["title"], "version": said["version"], "year": env.config.copyright}


class CiteBook(Directive):
    """A sentence with authors, version and licences, and the entry for BibTeX."""

    def run(self):
        about = known(self.state.document.settings.env)
        line = "{author}, version {version} ({year}). Code: BSD 3-Clause. Text and figures: CC BY 4.0.".format(**about)
        entry = ENTRY.format(**about)
        return [nodes.paragraph("", line), nodes.literal_block(entry, entry, language="text", classes=["wrapped"])]


def add_line(app, pagename, templatename, context, doctree):
    if doctree is None or pagename == app.config.root_doc or "body" not in context:
        return
    about = {key: escape(str(text)) for key, text in known(app.env).items()}
    context["body"] += PAGE.format(page=context["title"], **about)


def setup(app):
    app.add_directive("cite-book", CiteBook)
    app.connect("html-page-context", add_line)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
