"""Write the tables of the scoreboard, of the index of the paper and of the reproducibility statement.

Usage: scoreboard.py [--check]

They come from ``paper.toml`` and the ledgers of the chapters. In these pages everything between ``% table NAME`` and ``% end`` is
written anew. With ``--check`` nothing is written: what differs is named with file and line, as are ids without a verdict and
verdicts without an id, and the status is 1 if there is anything.
"""

import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from rmtlib.claims import VERDICTS, read_ledger
from rmtlib.files import write_atomically

ROOT = Path(__file__).parents[1]
PAGES = {
    "scoreboard": ROOT / "chapters" / "scoreboard.md",
    "paper_index": ROOT / "paper_index.md",
    "reproducibility": ROOT / "reproducibility.md",
}
TABLE = re.compile(r"^% table (?P<name>\w+)\n(?P<rows>.*?)^% end$", re.M | re.S)
# Numbers of sections and figures need no mark.
MARKED = re.compile(
    r"\b(?:sections?|Figs?\.|Eqs?\.|Tables?|panels?)\s\d+(?: and \d+)?|(?<![\w.$-])(?P<number>\d+(?:\.\d+)?)(?!\w|\.\d)",
    re.IGNORECASE,
)
GROUPS = {"numbers": "N", "claims": "C", "figures": "F", "tables": "T", "equations": "E", "beyond": "B"}
Paper = Mapping[str, Mapping]
Ledgers = Mapping[str, Mapping[str, Mapping]]


def load() -> tuple[Paper, Ledgers]:
    """The paper's sentences by id, and the ledgers by the names of their chapters."""
    paper = tomllib.loads((ROOT / "paper.toml").read_text())
    ledgers = {file.name.removesuffix(".claims.toml"): read_ledger(file) for file in sorted(ROOT.glob("chapters/*.claims.toml"))}
    return {id: entry for id, entry in paper.items() if id != "words"}, ledgers


def chapter_of(id: str, ledgers: Ledgers) -> str:
    """The chapter that decides; empty if none does."""
    return next((chapter for chapter, entries in ledgers.items() if id in entries), "")


def gaps(paper: Paper, ledgers: Ledgers) -> Iterator[str]:
    """What is not decided, decided twice, or decided without being the paper's."""
    for id, entry in paper.items():
        homes = [chapter for chapter, entries in ledgers.items() if id in entries]
        others = [name for name in ("test", "waits") if name in entry]
        if len(homes) + bool(others) != 1:
            where = ", ".join([f"chapters/{home}.claims.toml" for home in homes] + [f"paper.toml ({name})" for name in others])
            yield f"paper.toml: {id}: has to be decided in one place; it is in {where or 'none'}"
        for home in homes:
            if "verdict" not in ledgers[home][id]:
                yield f"chapters/{home}.claims.toml: {id}: has no verdict"
        if "test" in entry and not _is_test(entry["test"]):
            yield f"paper.toml: {id}: there is no test {entry['test']}"
    known = re.compile(r"(?:[NCTE]\d|F\d)")
    for chapter, entries in ledgers.items():
        for id in entries:
            base = id if id in paper else re.sub(r"-[a-z]+$", "", id)
            if known.match(id) and base not in paper:
                yield f"chapters/{chapter}.claims.toml: {id}: is not in paper.toml"


def _is_test(name: str) -> bool:
    file, _, function = name.partition("::")
    return (ROOT / file).is_file() and f"def {function}(" in (ROOT / file).read_text()


def shown(text: str) -> str:
    """A sentence of ``paper.toml`` for a page: alpha as a letter, numbers marked as given."""
    text = re.sub(r"\balpha\b", r"$\\alpha$", text)
    text = MARKED.sub(lambda match: f"[{match['number']}]{{.given}}" if match["number"] else match[0], text)
    return text.replace("|", "\\|")


def glue(chapter: str, key: str, folder: str = "") -> str:
    return f"{{glue:text}}`{folder}{chapter}.md::{key}:s`"


def verdict(id: str, paper: Paper, ledgers: Ledgers, *, short: bool = False) -> str:
    """The cell of the verdict: pasted from the chapter that decides, or said by what stands in its place."""
    entry = paper[id]
    if "test" in entry:
        return "reproduced"
    if "waits" in entry:
        return "not tested here"
    return glue(chapter_of(id, ledgers), f"{id}-verdict")


def finding(id: str, paper: Paper, ledgers: Ledgers) -> str:
    """The cell of what we find."""
    entry = paper[id]
    if "test" in entry:
        return f"`{entry['test'].partition('::')[2]}`"
    if "waits" in entry:
        return entry["waits"]
    chapter = chapter_of(id, ledgers)
    ours = ledgers[chapter][id]
    if isinstance(ours.get("expected"), dict) and "value" in ours["expected"]:
        error = " ± " + glue(chapter, f"{id}-error") if "error" in ours["expected"] else ""
        return glue(chapter, id) + error
    if "text" in ours or ours.get("expected") or ours["verdict"] == "not tested here":
        return glue(chapter, id)
    return entry.get("here", "–")


def paper_value(id: str, paper: Paper, ledgers: Ledgers) -> str:
    return glue(chapter_of(id, ledgers), f"{id}-paper") if "paper" in paper[id] and chapter_of(id, ledgers) else "–"


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def scoreboard(name: str, paper: Paper, ledgers: Ledgers) -> str:
    ids = [id for id in paper if id[0] == GROUPS[name]]
    cells: dict[str, Callable[[str], str]] = {
        "id": lambda id: id,
        "verdict": lambda id: verdict(id, paper, ledgers),
        "what the paper says": lambda id: shown(paper[id]["sentence"]),
        "in the paper": lambda id: shown(paper[id]["place"]),
        "paper": lambda id: paper_value(id, paper, ledgers),
        "what we find": lambda id: finding(id, paper, ledgers),
    }
    if name not in ("numbers", "figures"):
        del cells["paper"]
    if name == "equations":
        cells["what we find or test"] = cells.pop("what we find")
    if name == "beyond":
        cells["who says so"], cells["what is said"] = cells.pop("in the paper"), cells.pop("what the paper says")
        cells = {head: cells[head] for head in ("id", "verdict", "what is said", "who says so", "what we find")}
    return table(list(cells), [[cell(id) for cell in cells.values()] for id in ids])


def index(name: str, paper: Paper, ledgers: Ledgers) -> str:
    ids = [id for id in paper if id[0] in ("NC" if name == "numbers_and_claims" else GROUPS[name])]
    rows = [[id, shown(f"{paper[id]['place']}: {paper[id]['sentence']}"), paper[id].get("here", "–")] for id in ids]
    if name != "equations":
        return table(["id", "in the paper", "here"], rows)
    return table(["id", "in the paper", "here", "note"], [[*row, paper[row[0]].get("note", "–")] for row in rows])


def statement(name: str, paper: Paper, ledgers: Ledgers) -> str:
    """Identifiers by verdict, as the ledgers record it: a chapter that finds another one stops the build."""
    columns = {"numbers and claims": "NC", "figures and tables": "FT", "equations": "E", "beyond the paper": "B"}

    def word(id: str) -> str:
        home = chapter_of(id, ledgers)
        return ledgers[home][id]["verdict"] if home else verdict(id, paper, ledgers)

    def cell(wanted: str, initials: str) -> str:
        return ", ".join(id for id in paper if id[0] in initials and word(id) == wanted) or "–"

    rows = [[wanted, *(cell(wanted, initials) for initials in columns.values())] for wanted in VERDICTS]
    return table(["verdict", *columns], rows)


def written(page: str, text: str, paper: Paper, ledgers: Ledgers) -> str:
    """The page with its tables as they should be."""
    make = {"scoreboard": scoreboard, "paper_index": index, "reproducibility": statement}[page]
    return TABLE.sub(lambda m: f"% table {m['name']}\n\n{make(m['name'], paper, ledgers)}\n% end", text)


def main(arguments: list[str]) -> int:
    paper, ledgers = load()
    problems = list(gaps(paper, ledgers))
    if not problems:
        for page, file in PAGES.items():
            text = file.read_text()
            new = written(page, text, paper, ledgers)
            if "--check" not in arguments:
                write_atomically(file, new.encode())
            elif new != text:
                pairs = zip_longest(new.split("\n"), text.split("\n"))
                first = next(line for line, (ours, theirs) in enumerate(pairs, 1) if ours != theirs)
                place = f"{file.relative_to(ROOT)}:{first}"
                problems.append(f"{place}: is not what paper.toml and the ledgers say: make scoreboard writes it")
    for problem in problems:
        print(problem, file=sys.stderr)
    return min(len(problems), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
