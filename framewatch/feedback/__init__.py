"""Reviewers' verdicts: the log, the state of each second of a video, and active learning. No Spark."""

from framewatch.feedback.segments import (
    STATES,
    Segment,
    State,
    label_ranges,
    moment_states,
    segments_by_video,
)
from framewatch.feedback.verdict import ANSWERS, Answer, Verdict
from framewatch.feedback.verdict_log import VerdictLog

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
