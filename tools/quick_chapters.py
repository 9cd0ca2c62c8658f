"""Turn every chapter with code into a notebook with quick parameters, for nbval.

Usage: quick_chapters.py FOLDER
"""

import shutil
import sys
from pathlib import Path

import jupytext
import papermill

# Chapters that read finished runs are quick as they are; these compute more by default than a test needs.
QUICK = {"09_training": {"epochs": 2}}


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for source in sorted(Path("chapters").glob("*.md")):
        notebook = jupytext.read(source)
        if not any(cell.cell_type == "code" for cell in notebook.cells):
            continue
        target = folder / f"{source.stem}.ipynb"
        jupytext.write(notebook, target)
        papermill.execute_notebook(target, target, QUICK.get(source.stem, {}), prepare_only=True, progress_bar=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
