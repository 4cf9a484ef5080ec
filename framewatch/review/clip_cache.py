"""Clips that have been cut: a directory of files, the oldest of which go when it is full."""

import contextlib
import hashlib
import os
import threading
from collections import defaultdict
from pathlib import Path

from framewatch.errors import FramewatchError
from framewatch.io import access, storage
from framewatch.video.clip_writer import cut_clip_apart

# A browser holds a clip whole; what is longer is cut around its peak.
LONGEST_S = 120.0


class BusyError(FramewatchError):
    """Something that will work in a moment."""


class ClipCache:
    """Cuts each clip once; its methods may be called by several threads."""

    def __init__(self, directory: Path, *, most_bytes: int) -> None:
        """Uses a directory, made when needed, of which older clips may be there."""
        self._directory, self._most_bytes = directory, most_bytes
        with contextlib.suppress(OSError):  # older versions made it for everybody to read
            directory.chmod(0o777 & ~access.umask())
        self._locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
        self._cutting = threading.Semaphore(2)
        # The server's other threads are for answers, which must not wait for clips.
        self._places = threading.Semaphore(4)

    def get(self, video: str, modified: str, start_s: float, end_s: float) -> Path:
        """The file of a clip.

        Args:
            video: URI of the source.
            modified: tells apart what lay there at different times.
            start_s: where it begins, seconds of the source.
            end_s: where it ends; half-open.

        Raises:
            VideoError: the source cannot be read there.
            BusyError: others wait already.
        """
        source = hashlib.sha256(f"{video}\n{modified}".encode()).hexdigest()[:20]
        path = self._directory / f"{source}-{start_s:.3f}-{end_s:.3f}.mp4"
        with self._locks[path]:
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)  # used: it goes later
                return path
            if not self._places.acquire(blocking=False):
                raise BusyError("too many clips are being cut: try again")
            try:
                access.make_directory(path.parent)
                with self._cutting:
                    cut_clip_apart(storage.readable(video), path, start_s=start_s, end_s=end_s)
            finally:
                self._places.release()
        self._make_room(keep=path)
        return path

    def _make_room(self, keep: Path) -> None:
        clips = []
        for path in self._directory.glob("*.mp4"):
            with contextlib.suppress(FileNotFoundError):  # another server cleans up too
                clips.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in clips)
        for _, size, path in sorted(clips):
            if total <= self._most_bytes or path == keep:
                return
            total -= size
            path.unlink(missing_ok=True)


def clip_range(start_s: float, end_s: float, peak_s: float, *, lead_s: float) -> tuple[float, float]:
    """What to cut for a moment: it all with a lead before and a second after, or the most around its peak."""
    begin, end = max(0.0, min(start_s, peak_s - lead_s) - lead_s), end_s + 1.0
    if end - begin > LONGEST_S:
        begin = max(begin, peak_s - LONGEST_S / 2)
        end = min(end, begin + LONGEST_S)
    return round(begin, 3), round(end, 3)
