"""A cache of clips on disk, with eviction of the least recently used."""

import contextlib
import hashlib
import os
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

from framewatch.errors import FramewatchError
from framewatch.io import access, storage
from framewatch.video.clip_writer import cut_clip_in_child

# A browser buffers a whole clip, so longer moments are cut around their peak.
LONGEST_S = 120.0


class BusyError(FramewatchError):
    """The request can be retried shortly."""


class _NewestFirst:
    """Admits a few threads at a time, the newest first, as browsers drop the clips that reviewers pass by.

    A thread too many dismisses the one that has waited longest, so that other requests find a free thread.
    """

    def __init__(self, *, running: int, waiting: int) -> None:
        self._free, self._most_waiting = running, waiting
        self._waiting: deque[Future[None]] = deque()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for a turn, which lasts as long as the context; raises BusyError when dismissed."""
        self._enqueue().result()
        try:
            yield
        finally:
            with self._lock:
                if self._waiting:
                    self._waiting.pop().set_result(None)
                else:
                    self._free += 1

    def _enqueue(self) -> Future[None]:
        turn: Future[None] = Future()
        with self._lock:
            if self._free:
                self._free -= 1
                turn.set_result(None)
                return turn
            self._waiting.append(turn)
            if len(self._waiting) > self._most_waiting:
                self._waiting.popleft().set_exception(
                    BusyError("too many clips are being created: try again")
                )
        return turn


class ClipCache:
    """Creates clips and caches them. Thread-safe."""

    def __init__(self, directory: Path, *, most_bytes: int) -> None:
        """Uses a directory, which may contain earlier clips; creates it when needed."""
        self._directory, self._most_bytes = directory, most_bytes
        with contextlib.suppress(OSError):  # older versions created it readable for everyone
            directory.chmod(0o777 & ~access.umask())
        self._locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
        self._cutting = _NewestFirst(running=2, waiting=10)

    def get(self, video: str, modified: str, start_s: float, end_s: float) -> Path:
        """Returns the file of a clip, and creates it if necessary.

        Args:
            video: URI of the source.
            modified: modification time of the source, which identifies its version.
            start_s: start of the clip, seconds of the source.
            end_s: end of the clip, exclusive.

        Raises:
            VideoError: the source cannot be read in this range.
            BusyError: newer requests took this one's place.
        """
        source = hashlib.sha256(f"{video}\n{modified}".encode()).hexdigest()[:20]
        path = self._directory / f"{source}-{start_s:.3f}-{end_s:.3f}.mp4"
        if _is_there(path):
            return path
        with self._cutting.turn(), self._locks[path]:
            if not _is_there(path):  # another request may have created it
                access.make_directory(path.parent)
                cut_clip_in_child(storage.readable(video), path, start_s=start_s, end_s=end_s)
                self._evict(keep=path)
        return path

    def _evict(self, keep: Path) -> None:
        clips = []
        for path in self._directory.glob("*.mp4"):
            with contextlib.suppress(FileNotFoundError):  # another server may have deleted it
                clips.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in clips)
        for _, size, path in sorted(clips):
            if total <= self._most_bytes or path == keep:
                return
            total -= size
            path.unlink(missing_ok=True)


def _is_there(path: Path) -> bool:
    """Returns whether a clip exists, and marks it as recently used."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def clip_range(start_s: float, end_s: float, peak_s: float, *, lead_s: float) -> tuple[float, float]:
    """Returns the range of a moment's clip: with a lead before and a second after, or around its peak."""
    begin, end = max(0.0, min(start_s, peak_s - lead_s) - lead_s), end_s + 1.0
    if end - begin > LONGEST_S:
        begin = max(begin, peak_s - LONGEST_S / 2)
        end = min(end, begin + LONGEST_S)
    return round(begin, 3), round(end, 3)
