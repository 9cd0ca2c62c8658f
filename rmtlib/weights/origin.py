"""Where weights came from: what another process needs to open the same, and to notice that a file is another one by now."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .tensors import WeightsError

__all__ = ["Origin"]

HEADER = 2**16  # bytes of a file that says nowhere how long its header is


@dataclass(frozen=True)
class Origin:
    """A file or folder, and how it was read.

    Attributes
    ----------
    path : pathlib.Path
        Absolute.
    options : mapping
        Arguments of `rmtlib.load_weights`.
    files : tuple of pathlib.Path
        The files of weights that were found there, absolute.
    """

    path: Path
    options: Mapping[str, Any]
    files: tuple[Path, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """The path, alone."""
        return (self.path,)

    @property
    def reading(self) -> dict[str, Any]:
        """Those of the options that differ from what `rmtlib.load_weights` does by itself."""
        from . import load_weights

        usual = inspect.signature(load_weights).parameters
        return {key: value for key, value in self.options.items() if value != usual[key].default}

    def open(self):
        """The same weights, as `rmtlib.load_weights` gives them; no tensor is read."""
        from . import load_weights

        return load_weights(self.path, **self.options)

    def fingerprint(self) -> str:
        """A hash that changes with the header, the size and the time of any of the files; no tensor is read.

        Returns
        -------
        str
            32 hexadecimal digits of a SHA-256.

        Raises
        ------
        WeightsError
            If a file is gone.
        """
        digest = hashlib.sha256()
        for path in self.files:
            try:
                stat = path.stat()
                with open(path, "rb") as file:
                    start = file.read(HEADER)
                    if path.suffix.lower() == ".safetensors":
                        start += file.read(max(0, min(int.from_bytes(start[:8], "little"), stat.st_size) + 8 - HEADER))
            except OSError as error:
                msg = f"{path} cannot be read any more: {error.strerror}"
                raise WeightsError(msg) from error
            digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns} {len(start)} ".encode() + start)
        return digest.hexdigest()[:32]

    def fingerprints(self, names: Iterable[str]) -> dict[str, str]:
        """The fingerprint of what each layer is read from, here the same for all."""
        return dict.fromkeys(names, self.fingerprint())
