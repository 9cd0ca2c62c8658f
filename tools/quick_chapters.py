"""Turn every page with code into a notebook with quick parameters, for nbval.

Usage: quick_chapters.py FOLDER

A chapter names its quick parameters in its front matter (``quick: {name: value}``); papermill injects them.
"""

import shutil
import sys
from pathlib import Path

import jupytext
import papermill
import yaml

folder = Path(sys.argv[1])
shutil.rmtree(folder, ignore_errors=True)
folder.mkdir()
for source in sorted(Path("chapters").glob("*.md")):
    notebook = jupytext.read(source)
    if not any(cell.cell_type == "code" for cell in notebook.cells):
        continue
    target = folder / f"{source.stem}.ipynb"
    jupytext.write(notebook, target)
    front_matter = yaml.safe_load(source.read_text().split("---")[1])
    papermill.execute_notebook(target, target, front_matter.get("quick", {}), prepare_only=True, progress_bar=False)
