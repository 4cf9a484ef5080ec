"""Times -> frames: decode a video and yield the frames that are samples."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from framewatch.errors import VideoError
from framewatch.video.probe import VideoInfo, open_video
from framewatch.video.sampling import SampleClock

# grab() fails at a damaged packet and goes on at the next call; after this many failures in a row
# the stream is over.
_MAX_FAILURES_IN_A_ROW = 100
# Containers round their duration, and count frames that a decoder drops at either end.
_MISSING_TOLERANCE_S = 1.0


@dataclass(frozen=True)
class DecodedFrame:
    """One sample.

    Attributes:
        index: 0-based sample number.
        timestamp_s: the frame's presentation time, seconds from the start of the video.
        image: (height, width, 3) uint8, BGR.
    """

    index: int
    timestamp_s: float
    image: np.ndarray


@dataclass
class Decoding:
    """Reads one video once; iterate over `samples()`, then ask how it went.

    Attributes:
        info: what the container says.
        duration_s: seconds decoded so far, up to the end of the last frame.
        num_samples: frames yielded so far.
        failures: damaged packets passed over so far.
    """

    path: str
    fps: float
    duration_s: float = 0.0
    num_samples: int = 0
    failures: int = 0
    info: VideoInfo = field(init=False)

    def __post_init__(self) -> None:
        """Opens the file.

        Raises:
            VideoError: the file cannot be read as a video.
        """
        self._capture, self.info = open_video(self.path)

    def samples(self) -> Iterator[DecodedFrame]:
        """Yields the frames that are samples, in order of time.

        Raises:
            VideoError: not one frame could be decoded.
        """
        clock = SampleClock(self.fps, self.info.frame_duration_s)
        try:
            for timestamp_s in self._timestamps_s():
                index = clock.take(timestamp_s)
                if index is not None:
                    retrieved, image = self._capture.retrieve()
                    if retrieved:
                        self.num_samples += 1
                        yield DecodedFrame(index, timestamp_s, image)
        finally:
            self._capture.release()
        if self.num_samples == 0:
            raise VideoError("no frame could be decoded: the file is damaged or has no pictures")

    def _timestamps_s(self) -> Iterator[float]:
        """Grabs frame after frame, past damage, and yields each one's time from the start of the video."""
        start_s: float | None = None
        last_s = -self.info.frame_duration_s
        failures_in_a_row = 0
        while failures_in_a_row < _MAX_FAILURES_IN_A_ROW:
            if not self._capture.grab():
                failures_in_a_row += 1
                continue
            self.failures += failures_in_a_row  # the stream went on, so these were damage and not its end
            failures_in_a_row = 0
            position_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            start_s = position_s if start_s is None else start_s
            timestamp_s = position_s - start_s
            if (
                timestamp_s <= last_s
            ):  # frames without a time of their own, such as the last of an MPEG-2 stream
                timestamp_s = last_s + self.info.frame_duration_s
            last_s = timestamp_s
            self.duration_s = timestamp_s + self.info.frame_duration_s
            yield timestamp_s

    def problem(self) -> str | None:
        """Why the video counts as partly read, or None where all of it came out."""
        missing_s = self.info.expected_duration_s - self.duration_s
        reasons = []
        if self.failures:
            reasons.append(f"{self.failures} damaged packet(s) passed over")
        if missing_s > _MISSING_TOLERANCE_S:
            reasons.append(f"the last {missing_s:.1f} s are missing")
        return f"{self.duration_s:.1f} s came out: {', '.join(reasons)}" if reasons else None
