"""Write the tables of the scoreboard, of the index of the paper and of the reproducibility statement.

Usage: scoreboard.py [--check]

They come from ``paper.toml`` and the ledgers of the chapters. In these pages everything between ``% table NAME`` and ``% end`` is
written anew. With ``--check`` nothing is written: what differs is named with file and line, as are ids without a verdict and
verdicts without an id, and the status is 1 if there is anything.
"""

import re
import sys
import tomllib
from collections import Counter
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
MEANING = {
    "reproduced": "our networks show it",
    "not reproduced": "our networks contradict it",
    "inconclusive": "the data cannot tell",
    "compatible": "a test of randomness did not reject; what it would have seen is said",
    "not tested here": "a footnote has the command that tests it, or the row says why",
}
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


def word(id: str, paper: Paper, ledgers: Ledgers) -> str:
    """The verdict that is recorded."""
    if "test" in paper[id]:
        return VERDICTS[0]
    return VERDICTS[-1] if "waits" in paper[id] else ledgers[chapter_of(id, ledgers)][id]["verdict"]


def verdict(id: str, paper: Paper, ledgers: Ledgers) -> str:
    """The cell of the verdict: a badge, pasted from the chapter that decides, or said by what stands in its place."""
    said = word(id, paper, ledgers)
    chapter = chapter_of(id, ledgers)
    return badge(said, glue(chapter, f"{id}-verdict") if chapter else said)


def badge(said: str, text: str) -> str:
    return f"[{text}]{{.verdict .{said.replace(' ', '-')}}}"


def linked(id: str, ledgers: Ledgers) -> str:
    """The id, as a link to the cell that decides it (``_ext/deciding_cells.py``)."""
    return f"{{ref}}`{id} <decides-{id.lower()}>`" if chapter_of(id, ledgers) else id


def finding(id: str, paper: Paper, ledgers: Ledgers) -> str:
    """The cell of what we find, with the paper's value where it has one."""
    entry = paper[id]
    if "test" in entry:
        return f"`{entry['test'].partition('::')[2]}`"
    if "waits" in entry:
        return entry["waits"]
    chapter = chapter_of(id, ledgers)
    if command(id, paper, ledgers):
        return f"a command tests it[^{command(id, paper, ledgers)}]"
    ours = ledgers[chapter][id]
    theirs = f" (paper: {glue(chapter, f'{id}-paper')})" if "paper" in entry else ""
    error = " ± " + glue(chapter, f"{id}-error") if "error" in ours.get("expected", {}) else ""
    return glue(chapter, id) + error + theirs


def command(id: str, paper: Paper, ledgers: Ledgers) -> str:
    """Name of the footnote with the command that tests a sentence; empty if the sentence is tested, or waits."""
    chapter = chapter_of(id, ledgers)
    if not chapter or ledgers[chapter][id].get("expected") or word(id, paper, ledgers) != VERDICTS[-1]:
        return ""
    # sentences of one chapter share their command
    return chapter.partition("_")[2]


def footnotes(paper: Paper, ledgers: Ledgers) -> str:
    """Each command once."""
    first: dict[str, str] = {}
    for id in paper:
        if name := command(id, paper, ledgers):
            first.setdefault(name, id)
    return "\n".join(f"[^{name}]: [{glue(chapter_of(id, ledgers), id)}]{{.command}}\n" for name, id in first.items())


def tally(paper: Paper, ledgers: Ledgers) -> str:
    """How many sentences have which verdict."""
    counts = Counter((word(id, paper, ledgers), id[0] == GROUPS["beyond"]) for id in paper)
    rows = [
        [badge(said, said), *(f"[{counts[said, beyond]}]{{.given}}" for beyond in (False, True)), MEANING[said]]
        for said in VERDICTS
    ]
    return table(["verdict", "of the paper", "beyond", "what it says"], rows)


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def scoreboard(name: str, paper: Paper, ledgers: Ledgers) -> str:
    if name in ("tally", "footnotes"):
        return {"tally": tally, "footnotes": footnotes}[name](paper, ledgers)
    ids = [id for id in paper if id[0] == GROUPS[name]]
    cells: dict[str, Callable[[str], str]] = {
        "id": lambda id: linked(id, ledgers),
        "what is said" if name == "beyond" else "what the paper says": lambda id: sentence(paper[id]),
        "verdict": lambda id: verdict(id, paper, ledgers),
        "what we find, or the test" if name == "equations" else "what we find": lambda id: finding(id, paper, ledgers),
    }
    return table(list(cells), [[cell(id) for cell in cells.values()] for id in ids])


def sentence(entry: Mapping) -> str:
    """What is said, and where."""
    place = f" [{shown(entry['place'])}]{{.place}}" if entry["place"] != "-" else ""
    return shown(entry["sentence"]) + place


def index(name: str, paper: Paper, ledgers: Ledgers) -> str:
    ids = [id for id in paper if id[0] in ("NC" if name == "numbers_and_claims" else GROUPS[name])]
    rows = [[id, shown(f"{paper[id]['place']}: {paper[id]['sentence']}"), paper[id].get("here", "–")] for id in ids]
    if name != "equations":
        return table(["id", "in the paper", "here"], rows)
    return table(["id", "in the paper", "here", "note"], [[*row, paper[row[0]].get("note", "–")] for row in rows])


def statement(name: str, paper: Paper, ledgers: Ledgers) -> str:
    """Identifiers by verdict, as the ledgers record it: a chapter that finds another one stops the build."""
    columns = {"numbers and claims": "NC", "figures and tables": "FT", "equations": "E", "beyond the paper": "B"}

    def cell(wanted: str, initials: str) -> str:
        return ", ".join(id for id in paper if id[0] in initials and word(id, paper, ledgers) == wanted) or "–"

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
