"""Joins small batches of the tables."""

import time

from framewatch.pipeline.run import Run
from framewatch.pipeline.sql import register_for_sql
from framewatch.spark.task_progress import task_progress


def compact(run: Run) -> None:
    """Joins batches of few frames into larger ones, with files of about 128 MB; the rows stay the same."""
    started, tables = time.monotonic(), run.tables
    with task_progress(run.spark, "compact"):
        tables.delete_leftovers()
        joined, became = tables.compact()
        tables.delete_all_staged()
    seconds = round(time.monotonic() - started, 1)
    if joined:
        register_for_sql(run)
        text = f"{joined} batches became {became}, in {seconds} s"
    else:
        text = "nothing to join: fewer than two batches are small"
    run.summarize("compact", text, joined=joined, became=became, seconds=seconds)
