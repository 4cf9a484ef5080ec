"""Open a video and read what its container says."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av

from framewatch import storage
from framewatch.errors import UnreadableError, VideoError

# Formats with an index of their frames. Of others only reading them through tells times and keyframes.
_WITH_INDEX = {"mov", "matroska", "avi", "asf", "mxf"}

# Read at once from object storage; the default of s3fs, 50 MB, would copy most clips whole.
_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class VideoInfo:
    """What the container says of its video stream; 0 and "" where it says nothing.

    Attributes:
        fps: nominal frames a second.
        width: pixels of the coded picture.
        height: pixels of the coded picture.
        codec: FFmpeg's name, such as `h264`.
        container: FFmpeg's name of the file format, such as `matroska`.
        duration_s: by the container's account, often an estimate.
        expected_s: what the video stream should last; 0 where the container does not say.
    """

    fps: float
    width: int
    height: int
    codec: str
    container: str
    duration_s: float
    expected_s: float

    @property
    def frame_duration_s(self) -> float:
        """Seconds that one frame lasts at the nominal rate, or 0 where that is unknown."""
        return 1 / self.fps if self.fps > 0 else 0.0

    @property
    def has_index(self) -> bool:
        """Whether the container lists its frames, so that its times can be trusted without reading it."""
        return self.container in _WITH_INDEX


class OpenVideo:
    """An open file and its first video stream; close it, or use it in a `with`."""

    def __init__(self, source: str) -> None:
        """Opens a local path, or a URI that fsspec reads, without copying it.

        Raises:
            VideoError: the file is missing, empty, unreadable, or holds no video that FFmpeg can decode.
        """
        self._file: Any = None
        self.container = self._open(source)
        streams = [s for s in self.container.streams.video if not _is_cover(s)]
        if not streams:
            self.close()
            raise VideoError("no video stream: the file holds only sound or data")
        self.stream = streams[0]
        if self.stream.codec_context is None:
            self.close()
            raise VideoError("the codec of its video stream is unknown to FFmpeg")
        self.stream.thread_type = "NONE"  # a Spark task has one core
        self.stream.codec_context.thread_count = 1
        # Some decoders, such as dav1d, keep for ever what they were told of frames to skip when opened.
        self._attempt(self.stream.codec_context.open)
        self.info = _info(self.container, self.stream)

    def _open(self, source: str) -> Any:
        try:
            if "://" in source:
                filesystem, path = storage.filesystem(source)
                self._file = filesystem.open(path, "rb", block_size=_BLOCK_BYTES)
                if not self._file.size:
                    raise VideoError("the file is empty")
                return self._attempt(lambda: av.open(self._file, metadata_errors="ignore"))
            _require_readable_file(source)
            return self._attempt(lambda: av.open(f"file:{source}", metadata_errors="ignore"))
        except ImportError as error:
            raise UnreadableError(f"a package is missing on the worker: {error}") from error
        except OSError as error:
            self.close()
            raise UnreadableError(f"the file cannot be read: {error.strerror or error}") from error

    def _attempt(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except av.error.FFmpegError as error:
            self.close()
            reason = error.strerror or type(error).__name__
            raise VideoError(f"not a video that FFmpeg can read: {reason}") from error

    def close(self) -> None:
        """Closes the file."""
        if getattr(self, "container", None) is not None:
            self.container.close()
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> "OpenVideo":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_cover(stream: Any) -> bool:
    """Whether a stream is the picture of an album, which is no video."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _require_readable_file(path: str) -> None:
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise VideoError("a directory, not a video file")
    if not stat.S_ISREG(status.st_mode):
        raise VideoError("not a regular file")
    if status.st_size == 0:
        raise VideoError("the file is empty")
    with open(path, "rb") as file:
        file.read(1)


def _info(container: Any, stream: Any) -> VideoInfo:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    if stream.duration and stream.time_base:
        duration_s = expected_s = float(stream.duration * stream.time_base)
    else:  # of the longest stream, which may be another
        duration_s = (container.duration or 0) / av.time_base
        expected_s = duration_s if len(container.streams) == 1 else 0.0
    if rate and container.format.name == "avi":
        # FFmpeg shortens the duration of a truncated AVI, and keeps its number of frames.
        duration_s = expected_s = max(duration_s, float(stream.frames / rate))
    return VideoInfo(
        fps=float(rate) if rate else 0.0,
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        codec=stream.codec_context.name,
        container=container.format.name.split(",")[0],
        duration_s=max(0.0, duration_s),
        expected_s=max(0.0, expected_s),
    )
