"""Put the executed chapters into one zip, as notebooks with their outputs and with the computed numbers in their sentences.

Usage: zip_notebooks.py BUILD_FOLDER ZIP

The notebooks are those that the build has put beside the pages (``_ext/notebook_downloads.py``).
"""

import sys
import zipfile
from pathlib import Path

README = """The chapters as executed notebooks. They run from any folder, after `pip install -r requirements.txt`
in a checkout of the repository: they read the trained networks in its folder `data`.
"""
# the oldest date that a zip can hold: the same notebooks give the same file
DATE = (1980, 1, 1, 0, 0, 0)

build, target = Path(sys.argv[1]), Path(sys.argv[2])
folder = build / "html" / "notebooks" / "chapters"
sources = sorted(file for file in folder.glob("*.ipynb") if (Path("chapters") / f"{file.stem}.md").exists())
if not sources:
    sys.exit(f"no notebooks in {folder}: run make book")
with zipfile.ZipFile(target, "w") as archive:
    texts = {f"chapters/{source.name}": source.read_text() for source in sources}
    for name, text in {"README.md": README, **texts}.items():
        archive.writestr(zipfile.ZipInfo(f"notebooks/{name}", DATE), text, zipfile.ZIP_DEFLATED)
print(f"{len(sources)} notebooks in {target}")
