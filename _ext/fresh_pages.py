"""Pages that are renewed with the pages they quote.

Sphinx reads and writes the pages whose own text changed. A page that pastes a number computed in another chapter would keep the
old one, and all pages show the titles of all others in their margin.
"""

from pathlib import Path


def pages_that_paste(app, env, added, changed, removed):
    """Pages with a number from a chapter that is read again, to be read again as well."""
    chapters = [f"{Path(name).name}.md::" for name in added | changed]
    texts = {name: Path(env.doc2path(name)).read_text(encoding="utf-8") for name in env.found_docs - added - changed}
    return [name for name, text in texts.items() if any(chapter in text for chapter in chapters)]


def pages_with_old_titles(app, env):
    """All pages when a title changed, to be written again."""
    titles = {name: title.astext() for name, title in env.titles.items()}
    before, env.titles_of_last_build = getattr(env, "titles_of_last_build", titles), titles
    return [] if titles == before else list(env.found_docs)


def setup(app):
    app.connect("env-get-outdated", pages_that_paste)
    app.connect("env-updated", pages_with_old_titles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
