"""Names from files of others, as text that nothing takes for a command: on a page, in a terminal, in a spreadsheet."""

from __future__ import annotations

import re

__all__ = ["escaped", "in_spreadsheet", "printable", "unescaped"]

FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def printable(text: str) -> str:
    r"""Text whose every character can be seen: others, such as newlines and codes of terminals, become their escapes.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> print(printable("fc\n1\x1b[31m"))
    fc\n1\x1b[31m
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def escaped(text: str) -> str:
    r"""Text as `printable` gives it, with backslashes doubled: no two texts become one, and `unescaped` undoes it.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> print(escaped("a\nb"), escaped(r"a\nb"))
    a\nb a\\nb
    """
    return printable(text.replace("\\", r"\\"))


def unescaped(text: str) -> str:
    r"""The text that `escaped` was given.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> unescaped(escaped("a\n\\é")) == "a\n\\é"
    True
    """
    return re.sub(
        r"\\(?:[\\ntr]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", lambda found: found[0].encode().decode("unicode_escape"), text
    )


def in_spreadsheet(text: str) -> str:
    """Text as a cell of a CSV that no spreadsheet evaluates: what begins like a formula has an apostrophe before it.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        ``text`` itself, unless it begins with one of ``= + - @``, a tab, a carriage return, or an apostrophe. To undo it, take
        one apostrophe away from what begins with one.

    Examples
    --------
    >>> in_spreadsheet("=1+1"), in_spreadsheet("fc1")
    ("'=1+1", 'fc1')
    """
    return f"'{text}" if text.startswith(FORMULA) else text
