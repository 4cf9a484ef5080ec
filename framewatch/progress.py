"""Progress of long stages on the terminal, counted in finished Spark tasks."""

import contextlib
import threading
import time
from collections.abc import Iterator

from pyspark.sql import SparkSession
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# Results go to stdout, progress and errors to stderr, so that either can be kept alone.
console = Console(highlight=False)
_stderr = Console(stderr=True, highlight=False)

_POLL_S = 0.5
_LINE_EVERY_S = 15.0


@contextlib.contextmanager
def task_progress(spark: SparkSession, stage: str, unit: str = "tasks") -> Iterator[None]:
    """Shows how many tasks of the running Spark stage are done: a bar on a terminal, lines elsewhere."""
    tracker = _status_tracker(spark)
    if tracker is None:
        yield
        return
    finished = threading.Event()
    show = _show_bar if _stderr.is_terminal else _show_lines
    thread = threading.Thread(target=show, args=(tracker, stage, unit, finished), daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _status_tracker(spark: SparkSession):  # type: ignore[no-untyped-def]
    try:
        return spark.sparkContext.statusTracker()
    except Exception:  # Spark Connect has no context here; the work goes on without a bar
        return None


def _counts(tracker) -> tuple[int, int] | None:  # type: ignore[no-untyped-def]
    """(done, all) of the largest running stage."""
    infos = [info for info in map(tracker.getStageInfo, tracker.getActiveStageIds()) if info]
    best = max(infos, key=lambda info: info.numTasks, default=None)
    return (best.numCompletedTasks, best.numTasks) if best else None


def _show_bar(tracker, stage: str, unit: str, finished: threading.Event) -> None:  # type: ignore[no-untyped-def]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_stderr, transient=True) as progress:
        task = progress.add_task(stage, total=None)
        while not finished.wait(_POLL_S):
            counts = _counts(tracker)
            if counts:
                progress.update(task, completed=counts[0], total=counts[1])


def _show_lines(tracker, stage: str, unit: str, finished: threading.Event) -> None:  # type: ignore[no-untyped-def]
    next_line = time.monotonic() + _LINE_EVERY_S
    while not finished.wait(_POLL_S):
        if time.monotonic() < next_line:
            continue
        next_line = time.monotonic() + _LINE_EVERY_S
        counts = _counts(tracker)
        if counts:
            _stderr.print(f"{stage}: {counts[0]} of {counts[1]} {unit} done")
