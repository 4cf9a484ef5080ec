"""A file of weights and its digest."""

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Weights:
    """A file of weights.

    Attributes:
        name: `imagenet`, `nsfwjs`, or the name of the file.
        path: path of the file on the driver.
        sha256: SHA-256 of the file.
    """

    name: str
    path: str
    sha256: str


def file_digest(path: str | Path, algorithm: str = "sha256") -> str:
    """Returns the hexadecimal digest of a file; cached until the file changes."""
    status = os.stat(path)
    return _digest(str(path), algorithm, status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest(path: str, algorithm: str, *_identity: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
