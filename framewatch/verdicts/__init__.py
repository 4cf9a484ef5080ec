"""Reviewers' answers, without Spark: the log of them, and what they say of each second of a video."""

from framewatch.verdicts.log import VerdictLog
from framewatch.verdicts.segments import (
    STATES,
    Segment,
    State,
    label_ranges,
    moment_states,
    segments_by_video,
)
from framewatch.verdicts.verdict import ANSWERS, Answer, Verdict

__all__ = [
    "ANSWERS",
    "STATES",
    "Answer",
    "Segment",
    "State",
    "Verdict",
    "VerdictLog",
    "label_ranges",
    "moment_states",
    "segments_by_video",
]
