"""Which frames to take: pure arithmetic on presentation times, apart from decoding them."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

# Presentation times come in integer ticks of a time base; their quotients miss by less than this.
_ROUNDING_S = 1e-6
# Frames before a frame, whose distances tell how long it lasts.
LOOK_BACK = 2


@dataclass
class SampleClock:
    """Numbers frames, one after the other, as samples.

    Sample k is the first frame at or after k / fps, to half a frame: rates such as 29.97 never fall on
    whole seconds, and rounding must not push a frame into the next second. A frame that is the first
    after several such times (a gap, or a video slower than `fps`) is the latest of them, so that
    sample numbers stay times, and each frame is taken at most once.

    Attributes:
        fps: samples a second.
        next: the lowest sample number that is still to be taken.
    """

    fps: float
    next: int = 0

    def take(self, timestamp_s: float, frame_s: float = 0.0) -> int | None:
        """The sample number of a frame, or None.

        Args:
            timestamp_s: seconds from the video's start.
            frame_s: seconds that a frame lasts about there; 0 where unknown.
        """
        # Half a frame, but never half a sample: a slow video's frames must not be early.
        tolerance_s = min(frame_s, 1 / self.fps) / 2
        sample = math.floor((timestamp_s + tolerance_s + _ROUNDING_S) * self.fps)
        if sample < self.next:
            return None
        self.next = sample + 1
        return sample


def spacings(times: Sequence[float], *, before: Sequence[float] = (), after: float | None = None) -> list:
    """How long a frame lasts about each of `times`: the lower median of the distances of its neighbours.

    Of the two distances before a frame and the one behind it, so that a gap, which a recorder leaves where
    nothing moves, or one time that is wrong, changes nothing.

    Args:
        times: of frames, in order, in any unit.
        before: times of frames before them.
        after: the time of the frame behind them.

    Returns:
        One for each of `times`; 0 for a frame without neighbours.
    """
    known = [*before[-LOOK_BACK:], *times, *([] if after is None else [after])]
    distances = [later - earlier for earlier, later in itertools.pairwise(known)]
    first = len(before[-LOOK_BACK:])
    return [
        lower_median(distances[max(0, number - LOOK_BACK) : number + 1])
        for number in range(first, first + len(times))
    ]


def lower_median(values: Sequence[float]) -> float:
    """The median, the lower of two; 0 of none."""
    return sorted(values)[(len(values) - 1) // 2] if values else 0


def sample(
    timestamps_s: Iterable[float], *, fps: float, frame_duration_s: float = math.inf
) -> Iterator[tuple[int, int]]:
    """Yields (sample number, frame number) for frames at these times, in seconds from the start.

    `frame_duration_s` is how long a frame lasts at most, whatever the times are.
    """
    clock, times = SampleClock(fps), list(timestamps_s)
    for number, (timestamp_s, frame_s) in enumerate(zip(times, spacings(times), strict=True)):
        taken = clock.take(timestamp_s, min(frame_s, frame_duration_s))
        if taken is not None:
            yield taken, number
