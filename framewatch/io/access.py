"""File permissions of outputs, which are private by default because footage shows people.

`private` gives access to the user only, `group` also gives read and write access to the group, and `all` also
gives read access to everyone.
Files are 0600, 0660 or 0644, directories 0700, 0770 or 0755. Does not import Spark.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

UMASKS = {"private": 0o077, "group": 0o007, "all": 0o022}
_access = "private"


def set_access(access: str) -> None:
    """Sets the permissions of files that this process writes from now on.

    `group` and `all` also set the umask of the process, for files that libraries write.
    """
    global _access
    _access = access
    if access != "private":
        os.umask(umask())


def current() -> str:
    """Returns the access that is set."""
    return _access


def umask() -> int:
    """Returns the permission bits to clear on new files and directories."""
    return UMASKS[_access]


def opener(path: str, flags: int) -> int:
    """Opener for `open`: creates files with the access that is set."""
    return os.open(path, flags, 0o666 & ~umask())


def make_directory(path: str | Path) -> None:
    """Creates a directory and missing parents with the access that is set."""
    wanted = Path(path)
    for missing in [part for part in reversed([wanted, *wanted.parents]) if not part.exists()]:
        missing.mkdir(0o777 & ~umask(), exist_ok=True)  # os.makedirs gives parents the umask's permissions


@contextlib.contextmanager
def umasked() -> Iterator[None]:
    """Context in which libraries and child processes write with the access that is set.

    The umask belongs to the whole process, so this is not for work in several threads.
    """
    before = os.umask(umask())
    try:
        yield
    finally:
        os.umask(before)
