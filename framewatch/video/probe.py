"""Open a video file and read its metadata."""

import os
import stat
from dataclasses import dataclass

import cv2

from framewatch.errors import VideoError

# FFmpeg writes its complaints to stderr; what matters of them goes into the ledger.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


@dataclass(frozen=True)
class VideoInfo:
    """What the container says of its video stream; 0 and "" where it says nothing.

    Attributes:
        fps: nominal frames a second.
        width: pixels.
        height: pixels.
        codec: four characters, such as `h264`.
        num_frames: frames by the container's account, often an estimate.
    """

    fps: float
    width: int
    height: int
    codec: str
    num_frames: int

    @property
    def frame_duration_s(self) -> float:
        """Seconds that one frame lasts at the nominal rate, or 0 where that is unknown."""
        return 1 / self.fps if self.fps > 0 else 0.0

    @property
    def expected_duration_s(self) -> float:
        """Seconds by the container's account, or 0 where that is unknown."""
        return max(0.0, self.num_frames * self.frame_duration_s)


def open_video(path: str) -> tuple[cv2.VideoCapture, VideoInfo]:
    """Opens a video for decoding in one thread: a Spark task has one core.

    Raises:
        VideoError: the file is missing, empty, unreadable, or holds no video that FFmpeg can decode.
    """
    _require_readable_file(path)
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise VideoError("not a video that FFmpeg can read: no video stream was found")
    return capture, _read_info(capture)


def _require_readable_file(path: str) -> None:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise VideoError("a directory, not a video file")
        if status.st_size == 0:
            raise VideoError("the file is empty")
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise VideoError(f"the file cannot be read: {error.strerror}") from error


def _read_info(capture: cv2.VideoCapture) -> VideoInfo:
    fourcc = int(capture.get(cv2.CAP_PROP_FOURCC))
    codec = "".join(chr(fourcc >> shift & 0xFF) for shift in (0, 8, 16, 24)) if fourcc > 0 else ""
    return VideoInfo(
        fps=max(0.0, float(capture.get(cv2.CAP_PROP_FPS))),
        width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        codec=codec.strip("\0 "),
        num_frames=max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))),
    )
