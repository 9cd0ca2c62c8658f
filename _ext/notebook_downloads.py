"""Executed notebooks to download, ``notebooks/PAGE.ipynb``, with outputs and with the computed numbers in the text.

The texts are those of the last build and the outputs those of its cache, which a change of text alone does not renew.
"""

import ast
import json
import re
import shutil
from pathlib import Path, PurePosixPath

import nbformat
from jupyter_cache import get_cache

GLUED = re.compile(r"\{glue:text\}`(?:(?P<page>\S+?)\.md::)?(?P<key>[^`:]+)(?::[^`]*)?`")


def glued(folder):
    """Every pasted value by page and key."""
    return {
        (file.relative_to(folder).as_posix().removesuffix(".glue.json"), key): str(ast.literal_eval(output["data"]["text/plain"]))
        for file in folder.rglob("*.glue.json")
        for key, output in json.loads(file.read_text()).items()
        if "text/plain" in output["data"]
    }


def executed(source, name, cache, values):
    """The notebook of a page, which the build has left without outputs."""
    notebook = nbformat.read(source, as_version=4)
    if any(cell.cell_type == "code" for cell in notebook.cells):
        _, notebook = cache.merge_match_into_notebook(notebook)
    folder = PurePosixPath(name).parent

    def value(match):
        page = str(folder / match["page"]) if match["page"] else name
        return values.get((page, match["key"]), match[0])  # what is missing is told by the page itself

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = GLUED.sub(value, cell.source)
    notebook.metadata.pop("source_map", None)
    nbformat.validate(notebook)
    return notebook


def is_notebook(app, name):
    return (Path(app.env.mystnb_config.output_folder) / f"{name}.ipynb").is_file()


def write(app, exception):
    if exception or app.builder.format != "html":
        return
    folder = Path(app.env.mystnb_config.output_folder)
    shutil.rmtree(Path(app.outdir) / "notebooks", ignore_errors=True)
    cache, values = get_cache(app.config.nb_execution_cache_path or Path(app.outdir).parent / ".jupyter_cache"), glued(folder)
    for name in sorted(filter(lambda name: is_notebook(app, name), app.env.found_docs)):
        target = Path(app.outdir) / "notebooks" / f"{name}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(executed(folder / f"{name}.ipynb", name, cache, values), target)


def add_link(app, pagename, templatename, context, doctree):
    if doctree is not None and "body" in context and is_notebook(app, pagename):
        address = "../" * pagename.count("/") + f"notebooks/{pagename}.ipynb"
        context["body"] += f'<p class="of-page"><a href="{address}" download>Download this page as an executed notebook</a></p>'


def setup(app):
    app.connect("html-page-context", add_link)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
