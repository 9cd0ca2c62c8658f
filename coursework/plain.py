"""Text that a submission, a name or a file made, for places where characters act: a terminal, a table, a page."""

import unicodedata

FORMULA = "=+-@|%\t\r"  # what a spreadsheet takes for the beginning of a formula


def line(text: object, limit: int = 300) -> str:
    """One line of printable characters; others, such as the codes that move a cursor or turn text around, are written out."""
    words = " ".join(str(text)[: 4 * limit].split())
    shown = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in words)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def cell(text: object, limit: int = 2000) -> str:
    """A cell of a table that no spreadsheet takes for a formula."""
    shown = line(text, limit)
    # blanks of any width are skipped by some before they look for a formula
    first = unicodedata.normalize("NFKC", shown).lstrip()[:1]
    return f"'{shown}" if first and first in FORMULA else shown


def block(text: str) -> str:
    """Lines of printable characters."""
    return "".join(letter for letter in text if letter in "\n\t" or letter.isprintable())
