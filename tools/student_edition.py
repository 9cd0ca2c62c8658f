"""Copy the book's source without its solutions, ready to be built into the student edition.

Usage: student_edition.py FOLDER [CACHE]

Copied are the pages of the table of contents and what they are built with, nothing else: what is not in the folder cannot leak
from it. Executed chapters are taken from the folder CACHE where their code is the same, by default `_build/.jupyter_cache`.
"""

import re
import shutil
import sys
from pathlib import Path

import yaml

FULL_EDITION_ONLY = {"coursework/instructor", "coursework/syllabus", "coursework/rubrics", "coursework/threat_model"}
# A fence ends at one that is at least as long, so that shorter ones may lie inside.
FENCED = re.compile(r"^[ \t]*(?P<fence>`{3,}|:{3,})[ \t]*\{solution\}.*?^[ \t]*(?P=fence)[`:]*[ \t]*\n+", re.M | re.S)
GATE = r"^[ \t]*(?P<{0}>`{{3,}}|:{{3,}})[ \t]*\{{solution-{0}\}}.*?^[ \t]*(?P={0})[`:]*[ \t]*\n+"
GATED = re.compile(GATE.format("start") + r".*?" + GATE.format("end"), re.M | re.S)
LEFT = re.compile(r"\{solution[\w-]*\}")
CARD = re.compile(r"^:{3}\{grid-item-card\}.*?^:{3}\n+", re.M | re.S)
LABEL = re.compile(r"^\(([\w-]+)\)=$", re.M)


def solutions(text: str) -> list[str]:
    """Every solution of a page, fences included."""
    text = _whole(text)
    return [match[0] for pattern in (GATED, FENCED) for match in pattern.finditer(text)]


def without_solutions(text: str) -> str:
    """The page without them; refused if one is left, for example because its fence is not closed."""
    stripped = FENCED.sub("", GATED.sub("", _whole(text)))
    if left := LEFT.search(stripped):
        line = stripped[stripped.rfind("\n", 0, left.start()) + 1 :].split("\n", 1)[0]
        msg = f"a solution cannot be told from the text around it: {line!r} has no end, or no beginning"
        raise ValueError(msg)
    return stripped


def without_cards(text: str, labels: set[str]) -> str:
    """The page without cards that lead to pages of the full edition, told by their labels."""
    return CARD.sub(lambda card: "" if any(f"<{label}>" in card[0] for label in labels) else card[0], text)


def _whole(text):
    return text.replace("\r\n", "\n").rstrip("\n") + "\n"


def pruned(entry):
    """A table of contents without the pages of the full edition, and without parts that held nothing else."""
    if isinstance(entry, list):
        return [kept for item in entry if (kept := pruned(item))]
    if not isinstance(entry, dict):
        return entry
    if entry.get("file") in FULL_EDITION_ONLY:
        return None
    kept = {key: pruned(value) for key, value in entry.items()}
    return None if any(kept[key] == [] and entry[key] for key in ("parts", "chapters") if key in kept) else kept


def pages(entry) -> list[str]:
    """Files of a table of contents, in order."""
    if isinstance(entry, list):
        return [page for item in entry for page in pages(item)]
    if not isinstance(entry, dict):
        return []
    own = [entry[key] for key in ("root", "file") if key in entry]
    return own + [page for key in ("parts", "chapters", "sections") for page in pages(entry.get(key))]


def main(source: Path, target: Path, cache: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    config = yaml.safe_load((source / "_config.yml").read_text())
    toc = pruned(yaml.safe_load((source / "_toc.yml").read_text()))
    left_out = [page for name in FULL_EDITION_ONLY if (page := source / f"{name}.md").is_file()]
    hidden = {label for page in left_out for label in LABEL.findall(page.read_text())}
    for name in pages(toc):
        file = next((file for file in sorted(source.glob(f"{name}.*")) if not file.name.endswith(".claims.toml")), None)
        if file is None or file.suffix != ".md":
            sys.exit(f"{name}: solutions can be taken out of pages in .md only; found {file}")
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            copy.write_text(without_cards(without_solutions(file.read_text()), hidden))
        except ValueError as error:
            sys.exit(f"{file.relative_to(source)}: {error}")
        if (ledger := file.with_suffix(".claims.toml")).is_file():
            shutil.copy(ledger, copy.with_suffix(".claims.toml"))
    for folder in ("_static", "_ext"):
        # no archives: they may hold the notebooks of the full edition
        if (source / folder).is_dir():
            shutil.copytree(source / folder, target / folder, ignore=shutil.ignore_patterns("*.zip", "*.pdf", "__pycache__"))
    for file in [*config.get("bibtex_bibfiles", []), "CITATION.cff"]:
        if (source / file).is_file():
            shutil.copy(source / file, target / file)
    config.setdefault("execute", {})["cache"] = str(cache.resolve())
    (target / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    (target / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))


if __name__ == "__main__":
    main(Path(), Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "_build/.jupyter_cache"))
