"""Writes local files so that other processes see the old file or the whole new one, never a part of it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Context that yields a path to write to, and moves what was written there to `target` at its end.

    The path has the name of `target` and lies in a temporary directory beside it, because a rename is only
    atomic within one file system. The directory is hidden, so that Spark skips it. Other files can be written
    to it too. It is deleted in any case; after an exception, `target` is as it was before.

    Args:
        target: a file, or a directory that does not exist yet. Its parent must exist.
    """
    target = Path(target)
    with tempfile.TemporaryDirectory(
        prefix=".part-", dir=target.parent, ignore_cleanup_errors=True
    ) as directory:
        part = Path(directory, target.name)
        yield part
        os.replace(part, target)
