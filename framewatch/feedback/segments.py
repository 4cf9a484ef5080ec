"""What verdicts say together of each second of a video."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from framewatch.feedback.verdict import Verdict

# What reviewers together say of a second.
State = Literal["suspicious", "not", "unsure", "disagreement"]

# Of a moment, which may also be unseen.
STATES = ("unseen", "suspicious", "not", "unsure", "disagreement")

# A moment has been answered where answers cover it but for rounding.
_COVERED, _ROUNDING_S = 0.99, 1e-6


@dataclass(frozen=True)
class Segment:
    """Seconds `[start_s, end_s)` of a video, and what each reviewer last said of them."""

    start_s: float
    end_s: float
    answers: dict[str, str]

    @property
    def state(self) -> State:
        """What they say together. Who is unsure does not contradict who is sure."""
        sure = {answer for answer in self.answers.values() if answer != "unsure"}
        if len(sure) > 1:
            return "disagreement"
        return "suspicious" if "suspicious" in sure else "not" if sure else "unsure"


def segments_by_video(verdicts: Iterable[Verdict]) -> dict[str, list[Segment]]:
    """What is said of each video's seconds.

    Args:
        verdicts: in order of time.

    Returns:
        For each video the stretches that have an answer, in order and apart from each other.
    """
    of_video = defaultdict(list)
    for verdict in verdicts:
        of_video[verdict.video].append(verdict)
    return {video: _segments(its) for video, its in of_video.items()}


def _segments(verdicts: list[Verdict]) -> list[Segment]:
    bounds = sorted({second for verdict in verdicts for second in (verdict.start_s, verdict.end_s)})
    place = {second: number for number, second in enumerate(bounds)}
    painted: list[dict[str, str]] = [{} for _ in bounds]
    for verdict in verdicts:
        for number in range(place[verdict.start_s], place[verdict.end_s]):
            painted[number][verdict.reviewer] = verdict.answer
    found: list[Segment] = []
    for start_s, end_s, answers in zip(bounds, bounds[1:], painted, strict=False):
        if found and found[-1].end_s == start_s and found[-1].answers == answers:
            found[-1] = Segment(found[-1].start_s, end_s, answers)
        elif answers:
            found.append(Segment(start_s, end_s, answers))
    return found


def moment_states(starts_s: np.ndarray, ends_s: np.ndarray, segments: Sequence[Segment]) -> np.ndarray:
    """What is said of moments of one video.

    Args:
        starts_s: (n,) where each begins.
        ends_s: (n,) where it ends; half-open.
        segments: what is said of the video's seconds.

    Returns:
        (n,) int8, numbers into `STATES`. A moment that answers do not cover is unseen. Else the most telling
        answer to any part of it counts: disagreement before suspicious, unsure, and not.
    """
    covered, told = np.zeros(len(starts_s)), np.zeros(len(starts_s), np.int8)
    order = ("unseen", "not", "unsure", "suspicious", "disagreement")
    for segment in segments:
        overlap = np.minimum(ends_s, segment.end_s) - np.maximum(starts_s, segment.start_s)
        touched = overlap > _ROUNDING_S
        covered[touched] += overlap[touched]
        told[touched] = np.maximum(told[touched], order.index(segment.state))
    number = np.array([STATES.index(state) for state in order], np.int8)
    return np.where(covered >= _COVERED * (ends_s - starts_s), number[told], np.int8(0))


def label_ranges(verdicts: Iterable[Verdict]) -> list[tuple[str, float, float, int]]:
    """Verdicts as labels by time: (video, start_s, end_s, label), half-open, none overlapping another.

    Seconds of which reviewers are unsure, or on which they disagree, have no label.
    """
    ranges: list[tuple[str, float, float, int]] = []
    for video, segments in sorted(segments_by_video(verdicts).items()):
        for segment in segments:
            if segment.state not in ("suspicious", "not"):
                continue
            label = int(segment.state == "suspicious")
            last = ranges[-1] if ranges else None
            if last and last[0] == video and last[2] == segment.start_s and last[3] == label:
                ranges[-1] = (video, last[1], segment.end_s, label)
            else:
                ranges.append((video, segment.start_s, segment.end_s, label))
    return ranges
