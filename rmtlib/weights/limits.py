"""How much memory a file may ask for: ten times its size and 100 MB more, so that a small file cannot fill the memory."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from .tensors import Tensor, WeightsError

__all__ = ["allowed", "check_archive", "check_member", "member_names", "within_limits"]

FACTOR = 10
EXTRA = 100 * 10**6


def allowed(path: Path) -> int:
    """Bytes that the contents of a file may take in memory."""
    return FACTOR * path.stat().st_size + EXTRA


def member_names(path: Path) -> list[str]:
    """Names in a zip archive; none if the file is no archive that can be opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # zipfile finds damage with many errors; the reader that the suffix names says so
        return []


def check_member(path: Path, member: zipfile.ZipInfo, growth: int = 1) -> None:
    """Refuse a part of an archive that takes more than is allowed: ``growth`` bytes in memory for each that it unpacks to.

    Raises
    ------
    WeightsError
        If it says that it does; one that lies about it is cut off where it said it ends.
    """
    if growth * member.file_size > allowed(path):
        beside = f", which take {growth} times as many when they are read" if growth > 1 else ""
        claim = f"{member.filename!r} of {member.file_size} bytes{beside}, more than ten times the file and 100 MB"
        msg = f"{path} holds {claim}: unpack it first"
        raise WeightsError(msg)


def check_archive(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse an archive whose parts, which a reader takes all at once, unpack to more than is allowed.

    Raises
    ------
    WeightsError
        If one of them or all together say that they do.
    """
    members = archive.infolist()
    for member in members:
        check_member(path, member)
    size = sum(member.file_size for member in members)
    if size > allowed(path):
        msg = f"{path} holds {len(members)} members of {size} bytes, more than ten times the file and 100 MB: unpack it first"
        raise WeightsError(msg)


def within_limits(path: Path, tensors: Iterable[Tensor]) -> list[Tensor]:
    """The tensors of a file, those too large for it with a reason to be skipped."""
    limit, result = allowed(path), []
    for tensor in tensors:
        bits = re.search(r"\d+", tensor.dtype)
        size = tensor.size * max(4, int(bits[0]) // 8 if bits else 0)
        if any(n < 0 for n in tensor.shape) or size > limit:
            tensor = replace(tensor, skip=f"it claims {size} bytes, more than ten times its file and 100 MB")
        result.append(tensor)
    return result
