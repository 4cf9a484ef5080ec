"""Verdicts as a file of hand labels, in the project's format by time."""

import csv
import io
from collections.abc import Iterable

from framewatch.verdicts import Verdict, label_ranges


def labels_csv(verdicts: Iterable[Verdict]) -> str:
    """`video,start_s,end_s,label`: what reviewers are sure of and agree on."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["video", "start_s", "end_s", "label"])
    writer.writerows(label_ranges(verdicts))
    return text.getvalue()
