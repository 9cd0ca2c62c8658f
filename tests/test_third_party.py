"""The page on what others made agrees with the code that verifies it, and with the files themselves."""

import base64
import re
from importlib.metadata import distribution
from pathlib import Path

import pytest

from rmtlib.files import file_sha256
from rmtlib.learning.datasets import CIFAR10_HASH, CIFAR10_URL
from rmtlib.weights.pretrained import NETWORKS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "third_party.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if re.match(r"\| (?!---|what \|)", line)
]
PACKAGES = [row for row in ROWS if "of the package" in row[1]]


def row_with(text):
    (row,) = [row for row in ROWS if f"`{text}`" in row[1]]
    return row


def test_every_cell_is_filled():
    assert len(ROWS) >= 10
    assert all(len(row) == 5 and all(row) for row in ROWS)


@pytest.mark.parametrize(
    ("url", "known_hash"), [(CIFAR10_URL, CIFAR10_HASH), *((network.url, network.known_hash) for network in NETWORKS.values())]
)
def test_downloads_have_the_hash_that_the_code_compares(url, known_hash):
    assert f"`{known_hash}`" in row_with(url)[3]


@pytest.mark.parametrize("row", PACKAGES, ids=lambda row: row[0])
def test_files_of_packages_have_the_hash_of_the_page(row):
    file, requirement = re.findall(r"`(.+?)`", row[1])
    assert f"\n{requirement}\n" in (ROOT / "requirements-models.txt").read_text()
    (path,) = [path for path in distribution(requirement.partition("==")[0]).files if path.name == file]
    assert file_sha256(path.locate()) == row[3].strip("`").partition(":")[2]
    assert base64.urlsafe_b64decode(path.hash.value + "=").hex() in row[3]


SCRIPTS = {"mathjax/tex-mml-chtml": "mathjax/LICENSE"} | {
    f"vega/{n}.min": f"vega/LICENSE-{n}" for n in ("vega", "vega-lite", "vega-embed")
}


@pytest.mark.parametrize(("script", "licence"), SCRIPTS.items())
def test_a_script_in_the_repository_has_the_hash_and_the_licence_of_the_page(script, licence):
    (row,) = [row for row in ROWS if f"`_static/{script}.js`" in row[1]]
    assert row[3] == f"`sha256:{file_sha256(ROOT / '_static' / f'{script}.js')}`"
    assert f"`_static/{licence}`" in row[2]
    assert (ROOT / "_static" / licence).is_file()


def test_nothing_else_of_others_lies_in_the_repository():
    ours = {"book.css", "interactive.js", "preview.js", "regimes.png"}
    assert {path.name for path in (ROOT / "_static").iterdir()} == {"mathjax", "vega"} | ours
    assert {path.name for path in (ROOT / "_static" / "vega").iterdir()} == {
        Path(name).name for script, licence in SCRIPTS.items() if "vega" in script for name in (f"{script}.js", licence)
    }
