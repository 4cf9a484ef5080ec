"""Verdicts as a file of hand labels, in the project's format by time."""

from collections.abc import Iterable

from framewatch.feedback import Verdict, label_ranges
from framewatch.io import csv_text


def labels_csv(verdicts: Iterable[Verdict]) -> str:
    """`video,start_s,end_s,label`: what reviewers are sure of and agree on."""
    return csv_text.write([("video", "start_s", "end_s", "label"), *label_ranges(verdicts)])
