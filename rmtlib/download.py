"""Files from the internet, each verified, and whole or not there at all.

A file is downloaded under a name of its own that ends in ``.part``, compared with its published hash, and only then given its
name. Whatever goes wrong on the way removes the part; what a killed process leaves goes with the next successful download.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .files import atomic_file

CHUNK = 2**16


class DownloadError(ValueError):
    """A download that failed; the message is the cause in a few words."""


def environment_folder() -> Path | None:
    """The folder that the environment variable ``RMTLIB_DATA`` names, if it is set."""
    named = os.environ.get("RMTLIB_DATA")
    return Path(named) if named else None


def cache_folder() -> Path:
    """The user's cache of this library, by the rules of the operating system."""
    import pooch

    return Path(pooch.os_cache("rmtlib"))


def intact(path: Path, known_hash: str) -> bool:
    """Whether a file has the hash ``"algorithm:digits"``, of which the first digits are enough."""
    import pooch

    algorithm, _, digits = known_hash.partition(":")
    return pooch.file_hash(str(path), alg=algorithm).startswith(digits)


def described(known_hash: str) -> str:
    """The hash in words.

    >>> described("sha256:7be5be79")
    'whose SHA-256 begins with 7be5be79'
    """
    algorithm, _, digits = known_hash.partition(":")
    name, length = {"md5": ("MD5", 32), "sha256": ("SHA-256", 64)}[algorithm]
    return f"whose {name} {'is' if len(digits) == length else 'begins with'} {digits}"


def download(url: str, known_hash: str, folder) -> Path:
    """The verified file in a folder, downloaded with a progress bar unless it is there already.

    Parameters
    ----------
    url : str
        Its last part is the name of the file.
    known_hash : str
        ``"algorithm:digits"``; fewer digits than the hash has are compared with its beginning.
    folder : path
        Created if need be. A file of that name with another hash is replaced.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    DownloadError
        If the file cannot be fetched or written, or has another hash. Nothing is left of it then.
    """
    import pooch

    target = Path(folder) / url.rpartition("/")[2]
    if target.is_file() and intact(target, known_hash):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as partial:
            pooch.HTTPDownloader(progressbar=True, chunk_size=CHUNK)(url, str(partial), None)
            if not intact(partial, known_hash):
                msg = f"what arrived does not match the known hash {known_hash}"
                raise DownloadError(msg)
    except DownloadError:
        raise
    except (OSError, ValueError) as error:
        # Another process may have finished the same download and taken this part for a leftover.
        if target.is_file() and intact(target, known_hash):
            return target
        raise DownloadError(_cause(error)) from error
    for leftover in target.parent.glob(f"{target.name}.*.part"):
        with contextlib.suppress(OSError):
            leftover.unlink()
    return target


def _cause(error: Exception) -> str:
    """What went wrong, without the addresses of objects that requests wraps around it."""
    from requests import exceptions
    from urllib3.exceptions import HTTPError

    innermost = error
    while isinstance(inner := innermost.__cause__ or innermost.__context__, OSError | HTTPError):
        innermost = inner
    reason = getattr(innermost, "strerror", None) or str(innermost)
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return f"Connection broken before the file was whole: {reason}"
    if isinstance(error, exceptions.RequestException):
        return f"no connection: {reason}"
    return f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else reason
