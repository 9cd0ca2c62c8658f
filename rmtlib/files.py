"""Files that are there whole or not at all, and their hashes: the one writer of the library."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

BESIDE = (  # files of a checkpoint that say how its weights are meant
    *("*.index.json", "model_index.json", "config.json", "*_config.json", "run.json", "trainer_state.json"),
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
)
OURS = b'{\n "schema": '  # how the JSON of a report, a scan or a comparison begins


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
    part = _beside(path)
    try:
        yield part
        with open(part, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _beside(path):
    return path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Write a file so that either the old or the whole new content is there, whatever happens.

    Parameters
    ----------
    path : path
    content : bytes
    """
    with atomic_file(path) as part, open(part, "xb") as file:
        file.write(content)


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write several files; where one of them cannot be written, none of them changes.

    Parameters
    ----------
    contents : mapping of path to bytes
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            part = stack.enter_context(atomic_file(path))
            with open(part, "xb") as file:
                file.write(content)


def check_output(path, name: str, inputs: Iterable[Path] = ()) -> Path:
    """Find out before any work whether a file can be written at a path.

    Parameters
    ----------
    path : path
        An older file there is left as it is.
    name : str
        What the path is called in messages.
    inputs : iterable of path
        Files that must stay what they are, whatever name ``path`` gives them.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If no file can be written there, or it is one of ``inputs``.
    """
    if not isinstance(path, str | os.PathLike):
        msg = f"{name} must be a path; got {path!r}"
        raise ValueError(msg)
    path = Path(path)
    if not os.path.isdir(path.parent):
        msg = f"{name} must be a file in a folder that exists; got {str(path)!r}"
        raise ValueError(msg)
    if os.path.isdir(path):
        msg = f"{name} must be a file that can be written; got {str(path)!r}, which is a folder"
        raise ValueError(msg)
    part = _beside(path)
    try:
        open(part, "xb").close()
        part.unlink()
    except OSError as error:
        msg = f"{name} must be a file that can be written; got {str(path)!r} ({error.strerror})"
        raise ValueError(msg) from None
    for file in inputs:
        if os.path.realpath(path) == os.path.realpath(file) or (path.exists() and file.exists() and path.samefile(file)):
            msg = f"{name} must not be a file of the input, which is never overwritten; {str(path)!r} is {file.name}"
            raise ValueError(msg)
    return path


def input_files(*origins: Any) -> list[Path]:
    """The files that networks are read from, and what lies beside them as part of their checkpoints.

    Parameters
    ----------
    *origins : rmtlib.weights.origin.Origin, rmtlib.pairs.StepsOrigin or None
        None for a network in memory.

    Returns
    -------
    list of pathlib.Path
    """
    known = [origin for origin in origins if origin is not None]
    files = [file for origin in known for file in (*origin.files, *origin.paths)]
    folders = {file if file.is_dir() else file.parent for file in files}
    beside = [file for folder in folders for pattern in BESIDE for file in folder.glob(pattern) if not _is_ours(file)]
    return list(dict.fromkeys(file for file in (*files, *beside) if file.is_file()))


def _is_ours(file):
    try:
        with open(file, "rb") as opened:
            return opened.read(len(OURS)) == OURS
    except OSError:
        return False


def file_state(path: str | os.PathLike) -> tuple[int, ...] | None:
    """What changes when a file is written anew; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def file_sha256(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
