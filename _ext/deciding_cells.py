"""Targets at the cells that decide a claim, so that the scoreboard can point to them: ``{ref}`C4 <decides-c4>```.

Which cell glues the outcome of a claim is known when a chapter was executed: the cache of the build has its outputs.
"""

import tomllib
from pathlib import Path

from docutils import nodes
from jupyter_cache import get_cache
from myst_nb.core.read import myst_nb_reader_plugin


def glued_by(cell):
    """Names of what a cell has glued."""
    outputs = (output.get("metadata", {}) for output in cell.get("outputs", []))
    return {metadata["scrapbook"]["name"] for metadata in outputs if "scrapbook" in metadata}


def name_cells(app, doctree):
    source = Path(app.env.doc2path(app.env.docname))
    ledger = source.with_suffix(".claims.toml")
    if not ledger.is_file():
        return
    cache = get_cache(app.config.nb_execution_cache_path or Path(app.outdir).parent / ".jupyter_cache")
    try:
        _, executed = cache.merge_match_into_notebook(myst_nb_reader_plugin(str(source)))
    except KeyError:
        return  # a page that was not executed is told by myst-nb
    decided = [id for id, entry in tomllib.loads(ledger.read_text()).items() if "verdict" in entry]
    labels = app.env.get_domain("std")
    for container in doctree.findall(nodes.container):
        if container.get("nb_element") == "cell_code":
            for id in sorted(glued_by(executed.cells[container["cell_index"]]) & {f"{id}-verdict" for id in decided}):
                claim = id.removesuffix("-verdict")
                target = f"decides-{claim.lower()}"
                container["ids"].append(target)
                labels.note_hyperlink_target(target, app.env.docname, target, claim)


def setup(app):
    app.connect("doctree-read", name_cells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
