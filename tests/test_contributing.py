"""The map of CONTRIBUTING leads to files and tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUOTED = re.findall(r"`([^`\n]+)`", (ROOT / "CONTRIBUTING.md").read_text())
PATHS = sorted(
    {word for word in QUOTED if re.fullmatch(r"[\w./]+(/|\.\w+)", word) and ("/" in word or word.endswith((".md", ".yml")))}
)
TESTS = sorted({word for word in QUOTED if "::" in word})


@pytest.mark.parametrize("path", [path for path in PATHS if "NN" not in path])
def test_a_file_of_the_map_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("test", TESTS)
def test_a_test_of_the_map_exists(test):
    file, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
