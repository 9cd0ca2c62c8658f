"""Put the executed chapters into one zip, as notebooks with their outputs and with the computed numbers in their sentences.

Usage: zip_notebooks.py BUILD_FOLDER ZIP

The texts are those of the last build and the outputs those of its cache, which a change of text alone does not renew.
"""

import ast
import json
import re
import sys
import zipfile
from pathlib import Path

import nbformat
from jupyter_cache import get_cache

README = """The chapters as executed notebooks. They run from any folder, after `pip install -r requirements.txt`
in a checkout of the repository: they read the trained networks in its folder `data`.
"""
# the oldest date that a zip can hold: the same notebooks give the same file
DATE = (1980, 1, 1, 0, 0, 0)
GLUED = re.compile(r"\{glue:text\}`(?:(?P<chapter>\S+?)\.md::)?(?P<key>[^`:]+)(?::[^`]*)?`")

build, target = Path(sys.argv[1]), Path(sys.argv[2])
folder = build / "jupyter_execute" / "chapters"
values = {
    (file.name.removesuffix(".glue.json"), key): str(ast.literal_eval(output["data"]["text/plain"]))
    for file in folder.glob("*.glue.json")
    for key, output in json.loads(file.read_text()).items()
    if "text/plain" in output["data"]
}


def executed(source, cache):
    notebook = nbformat.read(source, as_version=4)
    if any(cell.cell_type == "code" for cell in notebook.cells):
        try:
            _, notebook = cache.merge_match_into_notebook(notebook)
        except KeyError:
            sys.exit(f"{source} was not executed by the last build: run make book")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = GLUED.sub(lambda match: values[match["chapter"] or source.stem, match["key"]], cell.source)
    notebook.metadata.pop("source_map", None)
    nbformat.validate(notebook)
    return notebook


sources = sorted(file for file in folder.glob("*.ipynb") if (Path("chapters") / f"{file.stem}.md").exists())
if not sources:
    sys.exit(f"no notebooks in {folder}: run make book")
cache = get_cache(build / ".jupyter_cache")
with zipfile.ZipFile(target, "w") as archive:
    texts = {f"chapters/{source.name}": nbformat.writes(executed(source, cache)) for source in sources}
    for name, text in {"README.md": README, **texts}.items():
        archive.writestr(zipfile.ZipInfo(f"notebooks/{name}", DATE), text, zipfile.ZIP_DEFLATED)
print(f"{len(sources)} notebooks in {target}")
