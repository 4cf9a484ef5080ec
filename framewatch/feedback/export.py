"""Exports verdicts as a label file by time."""

from collections.abc import Iterable

from framewatch.feedback import Verdict, label_ranges
from framewatch.io import csv_text


def labels_csv(verdicts: Iterable[Verdict]) -> str:
    """Returns CSV with `video,start_s,end_s,label` for the ranges on which sure reviewers agree."""
    return csv_text.write([("video", "start_s", "end_s", "label"), *label_ranges(verdicts)])
