"""Which users of the machine may read the files that are written: footage shows people.

`private`, the default, is the user alone; `group` may read and write; `all` may read.
Files are 0600, 0660 or 0644, directories 0700, 0770 or 0755. Does not import Spark.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

UMASKS = {"private": 0o077, "group": 0o007, "all": 0o022}
_access = "private"


def set_access(access: str) -> None:
    """Sets who may read what this process writes from here on.

    Any other access than `private` becomes the umask of the process, for what libraries write.
    """
    global _access
    _access = access
    if access != "private":
        os.umask(umask())


def current() -> str:
    """What is set."""
    return _access


def umask() -> int:
    """The bits that new files and directories must not have."""
    return UMASKS[_access]


def opener(path: str, flags: int) -> int:
    """For `open`: a new file has the access that is set."""
    return os.open(path, flags, 0o666 & ~umask())


def make_directory(path: str | Path) -> None:
    """Makes a directory with the access that is set, and its parents, if they are missing."""
    os.makedirs(path, 0o777 & ~umask(), exist_ok=True)


@contextlib.contextmanager
def umasked() -> Iterator[None]:
    """Within, libraries and processes that are started write with the access that is set.

    The umask is the whole process's: not for work in several threads.
    """
    before = os.umask(umask())
    try:
        yield
    finally:
        os.umask(before)
