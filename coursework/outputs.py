"""Outputs of a submission's cells as they came from its kernel, or from whatever pretended to be it: checked, bounded, plain."""

import base64
import binascii
import io

from nbconvert.filters import strip_ansi
from nbformat import NotebookNode
from nbformat.v4 import new_output
from plain import block

KEPT = 200_000  # characters of one cell
PICTURE = 3 * 2**20
PNG = b"\x89PNG\r\n\x1a\n"


def read(said: object) -> NotebookNode | None:
    """One output with text and pictures alone: no HTML, no script, no drawing that may hold one. None if it is malformed."""
    if not isinstance(said, dict):
        return None
    kind = said.get("type")
    if kind == "stream":
        return _stream(said)
    if kind == "error":
        lines = said.get("traceback")
        lines = [_plain(text) for text in lines if isinstance(text, str)] if isinstance(lines, list) else []
        return new_output(
            "error", ename=_plain(said.get("ename"))[:100], evalue=_plain(said.get("evalue"))[:2000], traceback=lines
        )
    if kind in ("display_data", "execute_result") and isinstance(said.get("data"), dict):
        data = {}
        if isinstance(text := said["data"].get("text/plain"), str):
            data["text/plain"] = _plain(text)
        if isinstance(picture := said["data"].get("image/png"), str) and _is_picture(picture):
            data["image/png"] = picture
        return new_output("display_data", data=data) if data else None
    return None


def _stream(said):
    if said.get("name") not in ("stdout", "stderr") or not isinstance(said.get("text"), str):
        return None
    return new_output("stream", name=said["name"], text=_plain(said["text"]))


def _plain(text):
    return block(strip_ansi(text[: KEPT + 1])) if isinstance(text, str) else ""


def _is_picture(text):
    if len(text) > PICTURE:
        return False
    try:
        content = io.BytesIO(base64.b64decode(text.replace("\n", ""), validate=True))
    except (binascii.Error, ValueError):
        return False
    return content.read(len(PNG)) == PNG


def size(output: NotebookNode) -> int:
    """Characters of an output."""
    pieces = [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", []), *output.get("data", {}).values()]
    return sum(map(len, pieces))
