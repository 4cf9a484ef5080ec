"""Turns frame scores into clips, and clips into a share of the video. Does not import Spark."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# Times are quotients of ticks. Two values of the same time may differ by less than this.
_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class ClassClip:
    """A stretch of a video, `[start_s, end_s)`, whose frames match a class.

    Attributes:
        start_s: start of the first matching frame, in seconds.
        end_s: end of the last matching frame, in seconds.
        score: mean score of the matching frames, 0 to 100.
    """

    start_s: float
    end_s: float
    score: float


def frame_ends(times_s: np.ndarray, *, period_s: float, duration_s: float | None) -> np.ndarray:
    """Returns (frames,) ends in seconds: at the next frame, after a period, or at the end of the video.

    Args:
        times_s: (frames,) times in seconds, ascending.
        period_s: seconds between sampled frames.
        duration_s: duration of the video in seconds; None if unknown.
    """
    ends_s = np.minimum(times_s + period_s, np.append(times_s[1:], np.inf))
    # A duration that is too short, as in a damaged file, must not make the last frame end before it starts.
    if duration_s is None or not len(times_s) or duration_s <= times_s[-1]:
        return ends_s
    return np.minimum(ends_s, duration_s)


def find_clips(
    times_s: np.ndarray, ends_s: np.ndarray, scores: np.ndarray, *, threshold: float, gap_s: float
) -> list[ClassClip]:
    """Joins the frames that reach a threshold into clips that may span short gaps.

    Args:
        times_s: (frames,) times in seconds, ascending.
        ends_s: (frames,) ends in seconds, from `frame_ends`.
        scores: (frames,) scores for one class, 0 to 100; NaN for a frame without features.
        threshold: minimum score of a matching frame.
        gap_s: maximum seconds without a matching frame inside a clip.

    Returns:
        The clips in order of time; they neither overlap nor touch.
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
    return [ClassClip(*values) for values in ends]


def covered_s(clips: Iterable[ClassClip]) -> float:
    """Returns the seconds covered by clips; overlaps count once."""
    total = reached = 0.0
    for clip in sorted(clips, key=lambda it: it.start_s):
        total += max(0.0, clip.end_s - max(clip.start_s, reached))
        reached = max(reached, clip.end_s)
    return total


def duration_ratio(clips: Iterable[ClassClip], *, length_s: float) -> float:
    """Returns the share of a video of `length_s` seconds that its clips cover, 0 to 1."""
    return min(1.0, covered_s(clips) / length_s) if length_s > 0 else 0.0
