"""Terminal output of the verbs: lines, tables, and progress."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

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

from framewatch.io import logs
from framewatch.io.redact import redact
from framewatch.io.text import printable

# Results go to stdout, progress and errors to stderr, so that each can be redirected alone.
# Markup is off, because names of videos and classes may contain `[b]` or `:cat:`.
console = Console(highlight=False, markup=False, emoji=False)
stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)

_LINE_EVERY_S = 15.0


def print_line(text: str, *, whole: bool = False) -> None:
    """Prints one line of a result without wrapping, so that file names and digests can be copied.

    Args:
        text: the line.
        whole: whether to print secrets, such as the token in the URL of a page; the log never has them.
    """
    _print(console, text if whole else redact(text))
    logs.printed(text)


def print_aside(text: str) -> None:
    """Prints one line on stderr, for verbs whose stdout is read by another program."""
    _print(stderr, redact(text))
    logs.printed(text)


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None, left: str = "video"
) -> None:
    """Prints a table. Columns are right-aligned, except the column named `left`."""
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
    """Context that shows progress: a bar on a terminal, else a line every few seconds.

    Yields:
        A function that takes the number of finished `unit` and their total.
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
