"""Files of a page: where they go, and values as JSON knows them."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["output_files", "plain"]


def output_files(output, name: str) -> tuple[Path, Path, Path]:
    """Page, table and JSON that an argument ``output`` stands for; the folder is made.

    Parameters
    ----------
    output : path
        Without an ending, or a folder that exists.
    name : str
        What the files are called in such a folder.

    Returns
    -------
    tuple of pathlib.Path
        With the endings ``.html``, ``.csv`` and ``.json``.

    Raises
    ------
    ValueError
        If the files cannot be written there.
    """
    stem = Path(output) / name if Path(output).is_dir() else Path(output)
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"output must be in a folder that can be made; got {str(output)!r} ({error.strerror})"
        raise ValueError(msg) from error
    if not os.access(stem.parent, os.W_OK):
        msg = f"output must be in a folder that can be written to; got {str(output)!r}"
        raise ValueError(msg)
    html, csv, as_json = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("html", "csv", "json"))
    for file in (html, csv, as_json):
        if file.is_dir():
            msg = f"output must name files, but {str(file)!r} is a folder"
            raise ValueError(msg)
    return html, csv, as_json


def plain(value):
    """Values that JSON knows: numbers of numpy as numbers, arrays as lists, nan and infinity as null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
