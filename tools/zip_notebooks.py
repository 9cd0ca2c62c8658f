"""Put the executed chapters into one zip, as notebooks with their outputs and with the computed numbers in their sentences.

With them go the modules of the folder ``studies`` and the ledgers that their cells read, so that they run wherever they lie.

Usage: zip_notebooks.py BUILD_FOLDER ZIP

The notebooks are those that the build has put beside the pages (``_ext/notebook_downloads.py``).
"""

import sys
import zipfile
from pathlib import Path

README = """The chapters as executed notebooks, with the modules that their cells import. They read the trained networks in the
folder `data`: put it beside this folder `notebooks`. They need Python with rmtlib and the packages of the file
`requirements.txt` that comes with rmtlib. Chapters that read networks from other packages say which, and do without.
"""
# the oldest date that a zip can hold: the same notebooks give the same file
DATE = (1980, 1, 1, 0, 0, 0)

build, target = Path(sys.argv[1]), Path(sys.argv[2])
folder = build / "html" / "notebooks" / "chapters"
sources = sorted(file for file in folder.glob("*.ipynb") if (Path("chapters") / f"{file.stem}.md").exists())
if not sources:
    sys.exit(f"no notebooks in {folder}: run make book")
with zipfile.ZipFile(target, "w") as archive:
    read = [*Path("chapters").glob("*.claims.toml"), Path("paper.toml")]
    read += [file for file in Path("studies").iterdir() if file.suffix in (".py", ".yaml")]
    texts = {f"chapters/{source.name}": source.read_text() for source in sources}
    texts |= {f"chapters/{file.as_posix().removeprefix('chapters/')}": file.read_text() for file in sorted(read)}
    for name, text in {"README.md": README, **texts}.items():
        archive.writestr(zipfile.ZipInfo(f"notebooks/{name}", DATE), text, zipfile.ZIP_DEFLATED)
print(f"{len(sources)} notebooks in {target}")
