"""Selects the frames to sample, by pure arithmetic on presentation timestamps."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

# Rounding error of presentation timestamps, which are integer ticks divided by a time base.
_ROUNDING_S = 1e-6
# The number of preceding frames whose distances give the duration of a frame.
LOOK_BACK = 2


@dataclass
class SampleClock:
    """Assigns sample indices to consecutive frames.

    Sample k is the first frame at or after k / fps, with a tolerance of half a frame: rates such as 29.97
    never hit whole seconds, and rounding must not move a frame to the next second. If a frame is the first
    after several such times (after a gap, or in a video slower than `fps`), it gets the latest index. So an
    index always corresponds to a time, and each frame is taken at most once.

    A burst is a sample and the pictures that follow it: picture n is the first frame at or after n * step_s
    from the sample, with the same tolerance. A burst ends with the next sample at the latest.

    Attributes:
        fps: samples per second.
        next: the lowest index that has not been assigned or skipped.
        burst: pictures of a burst; 1 for the sample alone.
        step_s: seconds from one picture of a burst to the next.
        sample: index of the last sample; None before the first.
        start_s: its timestamp, seconds from the start of the video.
        picture: the lowest number in its burst that has not been assigned or skipped.
    """

    fps: float
    next: int = 0
    burst: int = 1
    step_s: float = 0.2
    sample: int | None = None
    start_s: float = 0.0
    picture: int = 1

    def take(self, timestamp_s: float, frame_s: float = 0.0) -> int | None:
        """Returns the sample index of a frame, or None if it is not a sample.

        Args:
            timestamp_s: seconds from the start of the video.
            frame_s: typical frame duration at this time, in seconds; 0 if unknown.
        """
        # Half a frame, but at most half a sample period, so that frames of a slow video are not taken early.
        tolerance_s = min(frame_s, 1 / self.fps) / 2
        sample = math.floor((timestamp_s + tolerance_s + _ROUNDING_S) * self.fps)
        if sample < self.next:
            return None
        self.next = sample + 1
        self.sample, self.start_s, self.picture = sample, timestamp_s, 1
        return sample

    def place(self, timestamp_s: float, frame_s: float = 0.0) -> tuple[int, int] | None:
        """Returns the sample index of a frame and its number in the burst, 0 for the sample; else None.

        Args:
            timestamp_s: seconds from the start of the video.
            frame_s: typical frame duration at this time, in seconds; 0 if unknown.
        """
        if self.take(timestamp_s, frame_s) is not None:
            assert self.sample is not None
            return self.sample, 0
        if self.sample is None or self.is_complete:
            return None
        tolerance_s = min(frame_s, self.step_s) / 2
        picture = math.floor((timestamp_s - self.start_s + tolerance_s + _ROUNDING_S) / self.step_s)
        if picture < self.picture:
            return None
        self.picture = picture + 1
        return (self.sample, picture) if picture < self.burst else None

    @property
    def is_complete(self) -> bool:
        """Whether no picture of the last sample's burst is to come, unless the next sample ends it."""
        return self.picture >= self.burst


def spacings(times: Sequence[float], *, before: Sequence[float] = (), after: float | None = None) -> list:
    """Returns the typical frame duration at each time: the lower median of neighbouring distances.

    The median of the two distances before a frame and the one after it is robust to a gap, which a recorder
    leaves if nothing moves, and to one wrong timestamp.

    Args:
        times: times of consecutive frames, in any unit.
        before: times of the frames before them.
        after: time of the frame after them.

    Returns:
        One duration for each of `times`, in the same unit; 0 for a frame without neighbours.
    """
    extended = [*before[-LOOK_BACK:], *times, *([] if after is None else [after])]
    distances = [later - earlier for earlier, later in itertools.pairwise(extended)]
    first = len(before[-LOOK_BACK:])
    return [
        lower_median(distances[max(0, number - LOOK_BACK) : number + 1])
        for number in range(first, first + len(times))
    ]


def lower_median(values: Sequence[float]) -> float:
    """Returns the median, the lower one of two; 0 without values."""
    return sorted(values)[(len(values) - 1) // 2] if values else 0


def sample(
    timestamps_s: Iterable[float], *, fps: float, frame_duration_s: float = math.inf
) -> Iterator[tuple[int, int]]:
    """Yields (sample index, frame index) for frames at these times, in seconds from the start.

    `frame_duration_s` is the maximum duration of a frame.
    """
    clock, times = SampleClock(fps), list(timestamps_s)
    for number, (timestamp_s, frame_s) in enumerate(zip(times, spacings(times), strict=True)):
        taken = clock.take(timestamp_s, min(frame_s, frame_duration_s))
        if taken is not None:
            yield taken, number
