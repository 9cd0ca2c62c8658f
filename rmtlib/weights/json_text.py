"""JSON that files hold, as data, with one error for whatever is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .nesting import check_nesting
from .tensors import WeightsError

__all__ = ["GROWTH", "json_object", "parsed"]

GROWTH = 24  # bytes in memory of a byte of JSON: an empty object, of three bytes with its comma, takes 72


def parsed(text: str | bytes, source: str, **options) -> Any:
    """What a text of JSON says.

    Parameters
    ----------
    text : str or bytes
    source : str
        What holds it, in the words of the error.
    **options
        Of `json.loads`.

    Raises
    ------
    WeightsError
        If it is no JSON, or nested more than 100 deep.
    """
    try:
        content = json.loads(text, **options)
    except WeightsError:
        raise
    except (ValueError, RecursionError) as error:
        msg = f"{source} is not valid JSON: {error}"
        raise WeightsError(msg) from error
    check_nesting(content, source)
    return content


def json_object(path: Path) -> dict:
    """The JSON object in a file."""
    record = parsed(path.read_bytes(), str(path))
    if not isinstance(record, dict):
        msg = f"{path} must hold a JSON object"
        raise WeightsError(msg)
    return record
