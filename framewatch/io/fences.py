"""Fencing: keeps a run that lost its lease from writing.

A suspended run may resume after its lease has expired and another run has taken over. So a run checks the
lease before each write and each deletion in its output.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Fence:
    """The check that a run with a lease makes before it writes or deletes anything.

    Attributes:
        output: the output as configured, for Spark.
        directory: the same output for `storage.filesystem`: an absolute path, or a URI.
        number: fencing number of the lease; a later lease has a higher number.
        check: raises LockLostError if another run has taken over.
    """

    output: str
    directory: str
    number: int
    check: Callable[[], None]

    @property
    def staging(self) -> str:
        """Directory for incomplete writes of this run only."""
        return f"{self.output.rstrip('/')}/_staging/{self.number}"


_fences: list[Fence] = []


@contextlib.contextmanager
def fenced(fence: Fence) -> Iterator[None]:
    """Context in which a fence checks all writes and deletions of this process below a directory."""
    _fences.append(fence)
    try:
        yield
    finally:
        _fences.remove(fence)


def fences_of(path: str) -> list[Fence]:
    """Returns the fences of the directories that contain an absolute path or a URI."""
    return [fence for fence in _fences if f"{path}/".startswith(f"{fence.directory.rstrip('/')}/")]
