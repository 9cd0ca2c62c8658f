"""Files that are there whole or not at all, and their hashes: the one writer of the library."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside ``path`` to write to, which takes its place when the block ends without an error.

    Parameters
    ----------
    path : path
        The file to appear whole, or not at all; an older one is replaced.

    Yields
    ------
    pathlib.Path
        A name of its own in the same folder: a process that outlives its parent for a moment may still write the same file.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        with open(part, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Write a file so that either the old or the whole new content is there, whatever happens.

    Parameters
    ----------
    path : path
    content : bytes
    """
    with atomic_file(path) as part, open(part, "xb") as file:
        file.write(content)


def file_sha256(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
