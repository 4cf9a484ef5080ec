"""Combines the verdicts of all reviewers into the state of each second of a video."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from framewatch.feedback.verdict import Verdict

# The combined verdict of all reviewers on a second.
State = Literal["suspicious", "not", "unsure", "disagreement"]

# The states of a moment, which may also be unseen.
STATES = ("unseen", "suspicious", "not", "unsure", "disagreement")

# A moment has a verdict if verdicts cover it, apart from rounding.
_COVERED, _ROUNDING_S = 0.99, 1e-6


@dataclass(frozen=True)
class Segment:
    """Seconds `[start_s, end_s)` of a video, and the latest answer of each reviewer."""

    start_s: float
    end_s: float
    answers: dict[str, str]

    @property
    def state(self) -> State:
        """The combined verdict. An unsure answer does not contradict a sure one."""
        sure = {answer for answer in self.answers.values() if answer != "unsure"}
        if len(sure) > 1:
            return "disagreement"
        return "suspicious" if "suspicious" in sure else "not" if sure else "unsure"


def segments_by_video(verdicts: Iterable[Verdict]) -> dict[str, list[Segment]]:
    """Combines verdicts into segments; the latest answer of each reviewer counts.

    Args:
        verdicts: verdicts in chronological order.

    Returns:
        The segments of each video that have an answer, sorted and disjoint.
    """
    of_video = defaultdict(list)
    for verdict in verdicts:
        of_video[verdict.video].append(verdict)
    return {video: _segments(chronological) for video, chronological in of_video.items()}


def _segments(verdicts: list[Verdict]) -> list[Segment]:
    bounds = sorted({second for verdict in verdicts for second in (verdict.start_s, verdict.end_s)})
    index_of = {second: number for number, second in enumerate(bounds)}
    painted: list[dict[str, str]] = [{} for _ in bounds]
    for verdict in verdicts:
        for number in range(index_of[verdict.start_s], index_of[verdict.end_s]):
            painted[number][verdict.reviewer] = verdict.answer
    found: list[Segment] = []
    for start_s, end_s, answers in zip(bounds, bounds[1:], painted, strict=False):
        if found and found[-1].end_s == start_s and found[-1].answers == answers:
            found[-1] = Segment(found[-1].start_s, end_s, answers)
        elif answers:
            found.append(Segment(start_s, end_s, answers))
    return found


def moment_states(starts_s: np.ndarray, ends_s: np.ndarray, segments: Sequence[Segment]) -> np.ndarray:
    """Returns the states of moments of one video.

    Args:
        starts_s: (n,) starts of the moments, in seconds.
        ends_s: (n,) ends of the moments, exclusive.
        segments: the combined verdicts on the video.

    Returns:
        (n,) int8, indices into `STATES`. A moment that segments do not cover is unseen. Otherwise the
        strongest state of any part counts: disagreement before suspicious, unsure, and not.
    """
    covered, strongest = np.zeros(len(starts_s)), np.zeros(len(starts_s), np.int8)
    order = ("unseen", "not", "unsure", "suspicious", "disagreement")
    for segment in segments:
        overlap = np.minimum(ends_s, segment.end_s) - np.maximum(starts_s, segment.start_s)
        touched = overlap > _ROUNDING_S
        covered[touched] += overlap[touched]
        strongest[touched] = np.maximum(strongest[touched], order.index(segment.state))
    number = np.array([STATES.index(state) for state in order], np.int8)
    return np.where(covered >= _COVERED * (ends_s - starts_s), number[strongest], np.int8(0))


def label_ranges(verdicts: Iterable[Verdict]) -> list[tuple[str, float, float, int]]:
    """Converts verdicts to labels by time: (video, start_s, end_s, label), half-open and disjoint.

    Seconds on which reviewers are unsure or disagree get no label.
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
