"""Progress of long stages on the terminal, counted in finished Spark tasks."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

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
from rich.table import Table

from framewatch import logs
from framewatch.io.redact import redact
from framewatch.io.text import printable

# Results go to stdout, progress and errors to stderr, so that either can be kept alone.
# Names of videos, classes and cameras are text: `[b]` and `:cat:` in one mean themselves.
console = Console(highlight=False, markup=False, emoji=False)
stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)

_POLL_S = 0.5
_LINE_EVERY_S = 15.0


def tell(text: str, *, whole: bool = False) -> None:
    """Prints one line of a result, not wrapped: file names and digests are there to be copied.

    Args:
        text: the line.
        whole: print the secrets in it too, as in the address of a page; the log never has them.
    """
    _print(console, text if whole else redact(text))
    logs.told(text)


def tell_aside(text: str) -> None:
    """Prints one line on stderr: what is printed on stdout is for another program."""
    _print(stderr, redact(text))
    logs.told(text)


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None, left: str = "video"
) -> None:
    """Prints a table; its columns are aligned to the right, and the one called `left` to the left."""
    table = Table(title=None if title is None else printable(title))
    for column in columns:
        table.add_column(printable(column), justify="left" if column == left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(printable(redact(cell)) for cell in row))
    console.print(table)


def _print(where: Console, text: str) -> None:
    where.print(printable(text), soft_wrap=True)


@contextlib.contextmanager
def counted_progress(stage: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how much is done: a bar on a terminal, a line now and then elsewhere.

    Yields:
        A function that takes how many `unit` are done, and how many there are.
    """
    if stderr.is_terminal:
        with _bar(unit) as progress:
            task = progress.add_task(printable(stage), total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)
        return
    next_line = time.monotonic() + _LINE_EVERY_S

    def show(done: int, total: int) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + _LINE_EVERY_S
            _print(stderr, f"{stage}: {done} of {total} {unit} done")

    yield show


@contextlib.contextmanager
def task_progress(spark: SparkSession, stage: str, unit: str = "tasks") -> Iterator[None]:
    """Shows how many tasks of the running Spark stage are done."""
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


def _bar(unit: str) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit, markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
    )


def _status_tracker(spark: SparkSession) -> Any:
    try:
        return spark.sparkContext.statusTracker()
    except Exception:  # Spark Connect has no context here; the work goes on without a bar
        return None


def _poll(tracker: Any, show: Callable[[int, int], None], finished: threading.Event) -> None:
    """Shows the tasks of the largest running stage, until the work is done."""
    while not finished.wait(_POLL_S):
        infos = [info for info in map(tracker.getStageInfo, tracker.getActiveStageIds()) if info]
        if infos:
            largest = max(infos, key=lambda info: info.numTasks)
            show(largest.numCompletedTasks, largest.numTasks)
