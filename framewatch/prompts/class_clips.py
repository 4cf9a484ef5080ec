"""From the scores of a video's frames to clips, and from clips to a share of the video. No Spark in here."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# Times are quotients of ticks; two that mean the same second may differ by less than this.
_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class ClassClip:
    """A stretch of a video, `[start_s, end_s)`, whose frames match a prompt.

    Attributes:
        start_s: of its first matching frame.
        end_s: the end of its last.
        score: mean of its matching frames' scores, 0 to 100.
    """

    start_s: float
    end_s: float
    score: float


def frame_ends(times_s: np.ndarray, *, period_s: float, duration_s: float | None) -> np.ndarray:
    """When each frame ends: with the next one, after a period, or with the video.

    Args:
        times_s: (frames,) in order.
        period_s: seconds from one sample to the next.
        duration_s: of the video; None where it is not known.
    """
    ends_s = np.minimum(times_s + period_s, np.append(times_s[1:], np.inf))
    # A duration that is too short, as of a damaged file, must not take the last frame's time away.
    if duration_s is None or not len(times_s) or duration_s <= times_s[-1]:
        return ends_s
    return np.minimum(ends_s, duration_s)


def find_clips(
    times_s: np.ndarray, ends_s: np.ndarray, scores: np.ndarray, *, threshold: float, gap_s: float
) -> list[ClassClip]:
    """Joins the frames that reach a threshold, over gaps that are short.

    Args:
        times_s: (frames,) in order.
        ends_s: (frames,) as of `frame_ends`.
        scores: (frames,) of one prompt; NaN where a frame has no features.
        threshold: a frame matches at this or above.
        gap_s: seconds without a matching frame that a clip may span.

    Returns:
        The clips, in order; no two overlap or touch.
    """
    matching = np.flatnonzero(scores >= threshold)
    if not len(matching):
        return []
    starts_s, stops_s = times_s[matching], ends_s[matching]
    breaks = np.flatnonzero(starts_s[1:] - stops_s[:-1] > gap_s + _ROUNDING_S) + 1
    first = np.concatenate([[0], breaks])
    last = np.concatenate([breaks, [len(matching)]]) - 1
    means = np.add.reduceat(scores[matching], first) / (last - first + 1)
    ends = zip(starts_s[first].tolist(), stops_s[last].tolist(), means.tolist(), strict=True)
    return [ClassClip(*it) for it in ends]


def covered_s(clips: Iterable[ClassClip]) -> float:
    """Seconds that are in one clip or more; what overlaps counts once."""
    total = reached = 0.0
    for clip in sorted(clips, key=lambda it: it.start_s):
        total += max(0.0, clip.end_s - max(clip.start_s, reached))
        reached = max(reached, clip.end_s)
    return total


def duration_ratio(clips: Iterable[ClassClip], *, length_s: float) -> float:
    """The share of a video of `length_s` seconds that its clips cover, 0 to 1."""
    return min(1.0, covered_s(clips) / length_s) if length_s > 0 else 0.0
