"""Which frames to take: pure arithmetic on presentation times, apart from decoding them."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Presentation times come in integer ticks of a time base; their quotients miss by less than this.
_ROUNDING_S = 1e-6


@dataclass
class SampleClock:
    """Tells, frame after frame, which sample a frame is.

    Sample k is the first frame at or after k / fps, to half a frame: rates such as 29.97 never fall on
    whole seconds, and rounding must not push a frame into the next second. A frame that is the first
    after several such times (a gap, or a video slower than `fps`) is the latest of them, so that
    sample numbers stay times, and each frame is taken at most once.

    Attributes:
        fps: samples a second.
        frame_duration_s: seconds that one frame of the video lasts; 0 where unknown.
        next: the lowest sample number that is still to be taken.
    """

    fps: float
    frame_duration_s: float = 0.0
    next: int = 0

    def take(self, timestamp_s: float) -> int | None:
        """The sample number of the frame at `timestamp_s` (seconds from the video's start), or None."""
        # Half a frame, but never half a sample: a slow video's frames must not be early.
        tolerance_s = min(self.frame_duration_s, 1 / self.fps) / 2
        sample = math.floor((timestamp_s + tolerance_s + _ROUNDING_S) * self.fps)
        if sample < self.next:
            return None
        self.next = sample + 1
        return sample


def sample(
    timestamps_s: Iterable[float], *, fps: float, frame_duration_s: float = 0.0
) -> Iterator[tuple[int, int]]:
    """Yields (sample number, frame number) for frames at these times, in seconds from the start."""
    clock = SampleClock(fps, frame_duration_s)
    for number, timestamp_s in enumerate(timestamps_s):
        taken = clock.take(timestamp_s)
        if taken is not None:
            yield taken, number
