"""One run at a time on one output: a lock on local files, a lease elsewhere."""

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

from framewatch import storage
from framewatch.errors import InputError
from framewatch.io import access

# A run that has not renewed its lease for so long is dead.
LEASE_S = 120.0
# Databricks' object storage: a lock there would hold on one machine, if at all.
_MOUNTED_STORAGE = ("/Volumes/", "/dbfs/")


def alone(output: str, stage: str) -> contextlib.AbstractContextManager[None]:
    """Keeps other runs out of an output until this one ends, even by a kill.

    Raises:
        InputError: another run is writing there; when the context is entered.
    """
    local = storage.local_path(output)
    holder = f"{stage}, process {os.getpid()} on {socket.gethostname()}, since {datetime.now(UTC):%H:%M} UTC"
    if local is None or not _has_locks(local):
        return _leased(output, holder)
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
def _leased(output: str, holder: str) -> Iterator[None]:
    """Object storage has no locks: a file there says who writes, and is written anew while he does."""
    path = storage.join(output, ".lease")
    lease = {"id": uuid.uuid4().hex, "holder": holder}
    other = _read(path)
    if other and time.time() - other["renewed_at"] < LEASE_S:
        raise _in_use(output, other["holder"])
    _write(path, lease)
    time.sleep(1)  # of two that found none at the same time, the last to write stays
    _require_own(path, lease, output)
    ended = threading.Event()
    renewal = threading.Thread(target=_renew, args=(path, lease, ended), daemon=True)
    renewal.start()
    try:
        yield
        _require_own(path, lease, output)
    finally:
        ended.set()
        renewal.join()
        if _is_own(path, lease):
            storage.delete(path)


def _is_own(path: str, lease: dict[str, Any]) -> bool:
    other = _read(path)
    return other is None or other["id"] == lease["id"]


def _require_own(path: str, lease: dict[str, Any], output: str) -> None:
    other = _read(path)
    if other and other["id"] != lease["id"]:
        raise _in_use(output, other["holder"])


def _renew(path: str, lease: dict[str, Any], ended: threading.Event) -> None:
    """Until the end, or until another has taken the lease of a run that slept, say on a suspended machine."""
    while not ended.wait(LEASE_S / 4):
        with contextlib.suppress(Exception):  # storage may be away for a moment; the next time counts
            if not _is_own(path, lease):
                return
            _write(path, lease)


def _write(path: str, lease: dict[str, Any]) -> None:
    storage.write_json(path, {**lease, "renewed_at": time.time()})


def _read(path: str) -> dict[str, Any] | None:
    try:
        return storage.read_json(path)
    except FileNotFoundError:
        return None
