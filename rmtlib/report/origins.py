"""Where a report comes from: files and their hashes, version, date, parameters, time, and how to cite."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from pathlib import Path

from .. import __version__
from ..files import file_sha256
from ..weights import Weights

__all__ = ["CITE", "provenance"]

HASHED = 10**9  # bytes in all, up to which files are hashed whole
CITE = (
    f"The rmtlib authors, Random matrices and what networks learn, rmtlib {__version__}; together with M. Thamm, M. Staats and "
    "B. Rosenow, Random matrix analysis of deep neural network weight matrices, Phys. Rev. E 106, 054124 (2022), "
    "doi 10.1103/PhysRevE.106.054124"
)


def provenance(network: Weights, name: str, parameters: Mapping[str, object], seconds: float) -> dict:
    """What a report says of its origin; no folder of the machine is in it.

    Parameters
    ----------
    network : Weights
    name : str
        What the report calls the network.
    parameters : mapping
        Of the analysis.
    seconds : float
        That it took.

    Returns
    -------
    dict
        Of values that JSON holds. ``files`` has the base name of each file with its size in bytes. ``sha256`` is the hash of the
        one file, or of the lines "hash  name" of several; above 1 GB in all of the files' headers, sizes and times:
        ``hashed`` says which.
    """
    files = network.origin.files if network.origin is not None else ()
    size = sum(path.stat().st_size for path in files)
    if not files:
        digest, hashed = "", "nothing: the weights were in memory"
    elif size > HASHED:
        assert network.origin is not None
        digest, hashed = network.origin.fingerprint(), "header, size and time of the files, which hold more than 1 GB"
    else:
        digest, hashed = _whole(files)
    return {
        "network": name,
        "files": [{"name": path.name, "bytes": path.stat().st_size} for path in files],
        "bytes": size,
        "sha256": digest,
        "hashed": hashed,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "parameters": dict(parameters),
        "seconds": round(seconds, 1),
        "cite": CITE,
    }


def _whole(files: tuple[Path, ...]) -> tuple[str, str]:
    hashes = [file_sha256(path) for path in files]
    if len(hashes) == 1:
        return hashes[0], "the file"
    lines = "".join(f"{digest}  {path.name}\n" for digest, path in zip(hashes, files, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest(), "the lines 'hash  name' of the files, as sha256sum prints them"
