"""What commands and all processes that they start use, sampled while they run.

`RUSAGE_CHILDREN` and `/proc/self/io` would lack Spark's Python workers: their daemon ignores SIGCHLD, and so
the kernel does not add them to any parent.
"""

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

# prctl: orphans of a command become children of this process.
_SUBREAPER = 36
_EVERY_S = 0.2


@dataclass
class Usage:
    """CPU seconds, and bytes read from files, pipes and sockets; without the last 0.2 s of each process."""

    cpu_s: float = 0.0
    read_bytes: int = 0


@contextlib.contextmanager
def usage() -> Iterator[Usage]:
    """Waits for all processes that were started inside, and then fills in what they used."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    found, seen, ended = Usage(), dict[int, tuple[float, int]](), threading.Event()
    sampler = threading.Thread(target=_sample, args=(seen, ended))
    sampler.start()
    try:
        yield found
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
    finally:
        ended.set()
        sampler.join()
    found.cpu_s = sum(cpu_s for cpu_s, _ in seen.values())
    found.read_bytes = sum(read for _, read in seen.values())


def _sample(seen: dict[int, tuple[float, int]], ended: threading.Event) -> None:
    this = psutil.Process()
    while not ended.wait(_EVERY_S):
        for process in this.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                times, counters = process.cpu_times(), process.io_counters()
                seen[process.pid] = (times.user + times.system, counters.read_chars)
