"""Derives the times of frames while decoding, for streams whose packet timestamps are unreliable."""

import collections
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from framewatch.video.sampling import LOOK_BACK, lower_median, spacings
from framewatch.video.stream import Stream

# A jump larger than both of these is a damaged timestamp or, if it goes back, a restarted clock, as in
# concatenated files. The second is in frames, for cameras that take one every 10 s.
_JUMP_S, _JUMP_FRAMES = 1.0, 4


def jump_s(frame_s: float) -> float:
    """Returns the longest ordinary distance of frames, in seconds, if they are usually `frame_s` apart."""
    return max(_JUMP_S, _JUMP_FRAMES * frame_s)


def timed(stream: Stream) -> Iterator[tuple[float, float, Any]]:
    """Decodes a whole stream.

    Yields:
        The time of a frame in seconds from the first one, strictly ascending; the typical frame duration at
        this time, in seconds; and the frame.
    """
    before: list[float] = []
    times = _times(stream, stream.frames(stream.packets()))
    for shown, following in itertools.pairwise(itertools.chain(times, [None])):
        assert shown is not None
        time_s, frame = shown
        [frame_s] = spacings([time_s], before=before, after=following[0] if following else None)
        before = [*before, time_s][-LOOK_BACK:]
        yield time_s, min(frame_s, stream.info.frame_duration_s or frame_s), frame


def _times(stream: Stream, frames: Iterable[Any]) -> Iterator[tuple[float, Any]]:
    """Yields each frame with its time in seconds.

    Drops frames that are far out of order, as after a lost keyframe. If the timestamp of a frame is far off,
    but the next one continues the sequence, the timestamp is damaged and is replaced.
    """
    nominal_s, (numerator, denominator) = stream.info.frame_duration_s, stream.time_base.as_integer_ratio()
    start_pts: int | None = None
    last_s: float | None = None
    shift_s, next_s = -stream.uncertainty_s, 0.0
    distances = collections.deque([nominal_s], maxlen=LOOK_BACK + 1)
    for frame, following in itertools.pairwise(itertools.chain(frames, [None])):
        ordinary_s, timestamp_s = jump_s(lower_median(distances)), next_s
        if frame.pts is not None:
            start_pts = frame.pts if start_pts is None else start_pts
            timestamp_s = max(0.0, (frame.pts - start_pts) * numerator / denominator + shift_s)
        if last_s is not None and abs(timestamp_s - last_s) > ordinary_s:
            pts = following.pts if following else None
            next_but_one_s = None if pts is None else (pts - start_pts) * numerator / denominator + shift_s
            if next_but_one_s is not None and 0 < next_but_one_s - last_s <= ordinary_s + 2 * nominal_s:
                stream.num_damaged += 1
                timestamp_s = next_s
            elif timestamp_s < last_s:
                shift_s += next_s - timestamp_s
                timestamp_s = next_s
        elif last_s is not None and timestamp_s <= last_s:
            if next_s - timestamp_s > _JUMP_S / 2:
                continue  # otherwise many such frames would add up to a restarted clock
            timestamp_s = next_s
        if last_s is not None:
            distances.append(timestamp_s - last_s)
        yield timestamp_s, frame
        lasts_s = (frame.duration or 0) * numerator / denominator
        is_likely = frame.pts is not None and 0 < lasts_s <= ordinary_s
        last_s, next_s = timestamp_s, timestamp_s + (lasts_s if is_likely else nominal_s)
