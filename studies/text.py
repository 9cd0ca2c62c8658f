"""Sentences of real text that everybody has: docstrings of the standard library."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["MODULES", "docstrings", "sentences", "spread"]

MODULES = (
    "argparse asyncio calendar collections configparser contextlib csv datetime decimal difflib email.message fractions "
    "functools gettext heapq http.client inspect io json locale logging multiprocessing.pool os pathlib pickle platform "
    "queue random re sched shutil smtplib socket sqlite3 ssl statistics string subprocess tarfile tempfile textwrap "
    "threading timeit tokenize traceback typing unittest unittest.mock urllib.parse urllib.request uuid wave zipfile"
).split()
WORDS = (8, 50)  # the fewest and the most in a sentence
BOUNDARY = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
PROSE = re.compile(r"[A-Z][A-Za-z0-9 ,;:()'’\"–—.!?%-]*[.!?]")


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text that are plain prose, of eight to fifty words."""
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in BOUNDARY.split(" ".join(paragraph.split())):
            if PROSE.fullmatch(sentence) and WORDS[0] <= len(sentence.split()) <= WORDS[1]:
                yield sentence


def docstrings(modules: Iterable[str] = MODULES) -> list[str]:
    """Sentences of the docstrings of modules, their public functions and classes and the methods of these, each once."""
    found = (sentence for name in modules for text in _documented(importlib.import_module(name)) for sentence in sentences(text))
    return list(dict.fromkeys(found))


def spread(texts: Sequence[str], number: int) -> list[str]:
    """So many of the texts, evenly spread over them; all if there are fewer."""
    number = min(number, len(texts))
    return [texts[i * len(texts) // number] for i in range(number)]


def _documented(module) -> Iterator[str]:
    yield inspect.getdoc(module) or ""
    for name, thing in sorted(vars(module).items()):
        is_module = f"{module.__name__}.{name}" in sys.modules  # typing.io and typing.re are classes that stand for one
        if name.startswith("_") or is_module or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isroutine(thing) or inspect.isclass(thing):
            yield inspect.getdoc(thing) or ""
        if inspect.isclass(thing):
            methods = (method for key, method in sorted(vars(thing).items()) if not key.startswith("_"))
            yield from (inspect.getdoc(method) or "" for method in methods if inspect.isroutine(method))
