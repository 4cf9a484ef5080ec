"""Fences: what keeps a run that has lost its lease from writing.

A run that was suspended may sleep through its lease and wake up after another took over. So it checks
who holds the lease before each write and each removal in its output.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Fence:
    """What a run that holds a lease checks before it writes or removes anything.

    Attributes:
        output: as configured, which Spark understands.
        directory: the same as `storage.filesystem` takes it: an absolute path, or a URI.
        number: of the lease; a later one has a higher number.
        check: raises LockLostError if another run has taken over.
    """

    output: str
    directory: str
    number: int
    check: Callable[[], None]

    @property
    def staging(self) -> str:
        """Where this run, and no other, writes what is not whole yet."""
        return f"{self.output.rstrip('/')}/_staging/{self.number}"


_fences: list[Fence] = []


@contextlib.contextmanager
def fenced(fence: Fence) -> Iterator[None]:
    """Has all that this process writes and removes below a directory checked by a fence."""
    _fences.append(fence)
    try:
        yield
    finally:
        _fences.remove(fence)


def fences_of(path: str) -> list[Fence]:
    """The fences of directories that an absolute path, or a URI, lies in."""
    return [fence for fence in _fences if f"{path}/".startswith(f"{fence.directory.rstrip('/')}/")]
