"""Allows one run at a time per output, by a file lock on local files and a numbered lease elsewhere."""

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

# Databricks' object storage: a file lock there would apply to one machine at most.
_MOUNTED_STORAGE = ("/Volumes/", "/dbfs/")


def exclusive_lock(
    output: str, stage: str, *, kind: str = "auto", lease_s: float = 120.0
) -> contextlib.AbstractContextManager[None]:
    """Locks an output against other runs until this one ends, even if it is killed.

    Args:
        output: the directory.
        stage: the stage that takes the lock, for the error message of other runs.
        kind: `file`, `lease`, or `auto`: a lock on local files, a lease elsewhere.
        lease_s: seconds after which a lease expires unless it is renewed.

    Raises:
        InputError: another run uses the output; raised when the context is entered.
        LockLostError: another run has taken over; raised by the next write or deletion in the output.
    """
    local = storage.local_path(output)
    holder = f"{stage}, process {os.getpid()} on {socket.gethostname()}, since {datetime.now(UTC):%H:%M} UTC"
    if kind == "lease" or local is None or (kind == "auto" and not _has_locks(local)):
        return _leased(output, holder, lease_s)
    return _locked(local, output, holder)


def _has_locks(directory: str) -> bool:
    """Returns whether the file system supports locks; object storage mounts and some shares do not."""
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
        f"output={output} is in use by another run ({holder}): wait until it ends, or set another output"
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
        with contextlib.suppress(
            Exception
        ):  # the lease is lost or the storage unavailable: the lease expires
            lease.write(released=True)


class Lease:
    """A lease on an output without file locks: a numbered file that the run rewrites to renew it.

    Each run writes a file with the next number, such as `.leases/00000007.json`, and the highest number
    holds the lease. No run writes another's file, so a run that resumes after its lease has expired finds a
    higher number.

    Attributes:
        number: number of the file, which is the fencing number.
    """

    def __init__(self, output: str, holder: str, lease_s: float) -> None:
        """Creates the lease; `acquire` takes it.

        Args:
            output: the directory.
            holder: description of the run, for messages.
            lease_s: seconds after which a lease expires unless it is renewed.
        """
        self.number = 0
        self._output, self._holder, self._lease_s = output, holder, lease_s
        self._id = uuid.uuid4().hex
        self._directory = storage.join(output, ".leases")

    def acquire(self) -> None:
        """Takes the lease.

        Raises:
            InputError: another run holds it.
        """
        number, latest = self._latest()
        if latest and not latest["released"] and time.time() - latest["renewed_at"] < self._lease_s:
            raise _in_use(self._output, latest["holder"])
        self.number = number + 1
        self.write()
        time.sleep(1)  # if two runs take the same number at the same time, the last one to write wins
        _, latest = self._latest()
        if latest and latest["id"] != self._id:
            raise _in_use(self._output, latest["holder"])
        for name in storage.children(self._directory)[:-1]:
            storage.delete(storage.join(self._directory, name))

    def check(self) -> None:
        """Checks that no other run has taken over.

        Raises:
            LockLostError: another run has taken over.
        """
        _, latest = self._latest()
        if latest is None or latest["id"] != self._id:
            holder = latest["holder"] if latest else "the directory .leases was deleted"
            raise LockLostError(
                f"output={self._output} was taken over by another run ({holder}), because this run did not "
                f"renew its lease for {self._lease_s:g} s: it stops writing; run the same command again to "
                "continue"
            )

    def renew_until(self, ended: threading.Event) -> None:
        """Renews the lease until `ended` is set or another run has taken over."""
        while not ended.wait(self._lease_s / 4):
            try:
                self.check()
                self.write()
            except LockLostError:
                return
            except Exception:  # storage may be briefly unavailable; the next renewal tries again
                continue

    def write(self, *, released: bool = False) -> None:
        """Writes the file of this lease."""
        about = {"id": self._id, "holder": self._holder, "renewed_at": time.time(), "released": released}
        storage.write_json(storage.join(self._directory, f"{self.number:08d}.json"), about)

    def _latest(self) -> tuple[int, dict[str, Any] | None]:
        """Returns the highest number and the content of its file; 0 and None without any."""
        for name in reversed(storage.children(self._directory)):
            if name.endswith(".json"):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile by a newer lease
                    return int(name[:-5]), storage.read_json(storage.join(self._directory, name))
        return 0, None
