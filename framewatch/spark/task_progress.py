"""Shows the progress of a Spark stage on the terminal, in finished tasks."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from pyspark.sql import SparkSession

from framewatch.io.terminal import counted_progress

_POLL_S = 0.5


@contextlib.contextmanager
def task_progress(spark: SparkSession, stage: str, unit: str = "tasks") -> Iterator[None]:
    """Context that shows the finished tasks of the running Spark stage."""
    tracker = _status_tracker(spark)
    if tracker is None:
        yield
        return
    finished = threading.Event()
    with counted_progress(stage, unit) as show:
        thread = threading.Thread(target=_poll, args=(tracker, show, finished), daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()


def _status_tracker(spark: SparkSession) -> Any:
    try:
        return spark.sparkContext.statusTracker()
    except Exception:  # Spark Connect has no SparkContext, so there is no progress bar
        return None


def _poll(tracker: Any, show: Callable[[int, int], None], finished: threading.Event) -> None:
    """Shows the progress of the largest running stage until `finished` is set."""
    while not finished.wait(_POLL_S):
        infos = [info for info in map(tracker.getStageInfo, tracker.getActiveStageIds()) if info]
        if infos:
            largest = max(infos, key=lambda info: info.numTasks)
            show(largest.numCompletedTasks, largest.numTasks)
