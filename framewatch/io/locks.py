"""One run at a time on one output: a lock on local files, a numbered lease elsewhere."""

import contextlib
import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from framewatch.errors import InputError, LockLostError
from framewatch.io import access, fences, storage

# Databricks' object storage: a lock there would hold on one machine, if at all.
_MOUNTED_STORAGE = ("/Volumes/", "/dbfs/")


def exclusive_lock(
    output: str, stage: str, *, kind: str = "auto", lease_s: float = 120.0
) -> contextlib.AbstractContextManager[None]:
    """Keeps other runs out of an output until this one ends, even by a kill.

    Args:
        output: the directory.
        stage: which stage takes the lock, for the message that others get.
        kind: `file`, `lease`, or `auto`: a lock on local files, a lease elsewhere.
        lease_s: seconds after which a lease that was not renewed is another's to take.

    Raises:
        InputError: another run is writing there; when the context is entered.
        LockLostError: another run has taken over meanwhile; when anything is written or removed there.
    """
    local = storage.local_path(output)
    holder = f"{stage}, process {os.getpid()} on {socket.gethostname()}, since {datetime.now(UTC):%H:%M} UTC"
    if kind == "lease" or local is None or (kind == "auto" and not _has_locks(local)):
        return _leased(output, holder, lease_s)
    return _locked(local, output, holder)


def _has_locks(directory: str) -> bool:
    """Whether the file system knows locks: mounts of object storage and some shares do not."""
    if directory.startswith(_MOUNTED_STORAGE):
        return False
    try:
        with open(os.path.join(directory, ".lock"), "a+", encoding="utf-8", opener=access.opener) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def _in_use(output: str, holder: str) -> InputError:
    return InputError(
        f"output={output} is in use by another run ({holder}): wait for its end, or set another"
    )


@contextlib.contextmanager
def _locked(directory: str, output: str, holder: str) -> Iterator[None]:
    with open(os.path.join(directory, ".lock"), "a+", encoding="utf-8", opener=access.opener) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise _in_use(output, lock.read().strip() or "just started") from error
        lock.truncate(0)
        lock.write(holder + "\n")
        lock.flush()
        yield
        lock.truncate(0)


@contextlib.contextmanager
def _leased(output: str, holder: str, lease_s: float) -> Iterator[None]:
    lease = Lease(output, holder, lease_s)
    lease.acquire()
    ended = threading.Event()
    renewal = threading.Thread(target=lease.renew_until, args=(ended,), daemon=True)
    renewal.start()
    try:
        directory = storage.readable(storage.absolute(output))
        with fences.fenced(fences.Fence(output, directory, lease.number, lease.check)):
            yield
            lease.check()
    finally:
        ended.set()
        renewal.join()
        with contextlib.suppress(Exception):  # lost, or the storage is away: it expires
            lease.write(released=True)


class Lease:
    """A claim on an output where there are no locks: a file with a number, written anew while its run lives.

    Each run's file has the next number, `.leases/00000007.json`, and the highest number holds. Nobody writes
    another's file. So a run that was suspended, and slept through its lease, finds a higher number.

    Attributes:
        number: of the file; the fencing number.
    """

    def __init__(self, output: str, holder: str, lease_s: float) -> None:
        """Describes the lease; `acquire` takes it.

        Args:
            output: the directory.
            holder: of the lease, for people.
            lease_s: seconds without a renewal after which a lease has expired.
        """
        self.number = 0
        self._output, self._holder, self._lease_s = output, holder, lease_s
        self._id = uuid.uuid4().hex
        self._directory = storage.join(output, ".leases")

    def acquire(self) -> None:
        """Takes the lease.

        Raises:
            InputError: another run has it.
        """
        number, latest = self._latest()
        if latest and not latest["released"] and time.time() - latest["renewed_at"] < self._lease_s:
            raise _in_use(self._output, latest["holder"])
        self.number = number + 1
        self.write()
        time.sleep(1)  # of two that take the same number at the same time, the last to write stays
        _, latest = self._latest()
        if latest and latest["id"] != self._id:
            raise _in_use(self._output, latest["holder"])
        for name in storage.children(self._directory)[:-1]:
            storage.delete(storage.join(self._directory, name))

    def check(self) -> None:
        """Checks that no other run has taken over.

        Raises:
            LockLostError: one has.
        """
        _, latest = self._latest()
        if latest is None or latest["id"] != self._id:
            by = latest["holder"] if latest else "somebody removed .leases"
            raise LockLostError(
                f"output={self._output} was taken over by another run ({by}), as this one did not answer for "
                f"{self._lease_s:g} s: it writes nothing more; run the same command again to go on"
            )

    def renew_until(self, ended: threading.Event) -> None:
        """Renews the lease until the end, or until another run has taken over."""
        while not ended.wait(self._lease_s / 4):
            try:
                self.check()
                self.write()
            except LockLostError:
                return
            except Exception:  # storage may be away for a moment; the next time counts
                continue

    def write(self, *, released: bool = False) -> None:
        """Writes the lease's own file."""
        about = {"id": self._id, "holder": self._holder, "renewed_at": time.time(), "released": released}
        storage.write_json(storage.join(self._directory, f"{self.number:08d}.json"), about)

    def _latest(self) -> tuple[int, dict[str, Any] | None]:
        """The highest number, and what its file holds; 0 and None where there is none."""
        for name in reversed(storage.children(self._directory)):
            if name.endswith(".json"):
                with contextlib.suppress(FileNotFoundError):  # removed by now, as there is a higher one
                    return int(name[:-5]), storage.read_json(storage.join(self._directory, name))
        return 0, None
