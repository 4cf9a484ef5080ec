"""`run --watch`: new videos through extract, featurize and rank, as they come, each exactly once."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from framewatch import arrivals, classifier, listing, saved_model, storage
from framewatch.arrivals import Source
from framewatch.config import Config
from framewatch.errors import FramewatchError, InputError
from framewatch.pipeline.extract import extract
from framewatch.pipeline.featurize import featurize
from framewatch.pipeline.rank import rank
from framewatch.pipeline.run import Run, model_path
from framewatch.progress import tell
from framewatch.tables import with_ledger

# A share that is away for a moment should not end a watch of weeks; what lasts should.
_MOST_FAILURES = 3


def watch(run: Run) -> None:
    """Takes the videos of `videos.test` as they come, and ranks their frames by a saved classifier.

    With `watch.period_s=0` it looks once, takes what is there, and ends. Else it goes on until interrupted.
    After a kill, started again, it goes on where it was.

    Raises:
        InputError: nothing to watch, or no saved classifier; or three rounds in a row have failed.
    """
    source = source_of(run.config)
    period_s = run.config.watch.period_s
    # A bad file is told of in the ledger; it must not keep others from being ranked.
    config = replace(run.config, extract=replace(run.config.extract, max_failed_share=1.0))
    run = replace(run, config=config)
    if period_s:
        places = ", ".join(source.patterns)
        tell(f"watch: new videos in {places}, looked for every {period_s:g} s; Ctrl-C ends it")
    with noted_interrupts() as interrupts:
        _watch(run, source, interrupts)


def _watch(run: Run, source: Source, interrupts: list[int]) -> None:
    period_s = run.config.watch.period_s
    failures, is_new_model = 0, _is_new_model(run)
    while True:
        started = datetime.now(UTC)
        try:
            again = _round(run, source, rank_anyway=is_new_model)
            failures, is_new_model = 0, False
            if again:
                run.write_manifest("watch", started, "ok")
        except (FramewatchError, OSError) as error:
            failures += 1
            if not period_s or failures == _MOST_FAILURES:
                raise
            tell(f"watch: this round failed, the next comes in {period_s:g} s: {error}")
            again = False
        if not period_s:
            return
        if not again and not interrupts:
            time.sleep(period_s)
        if interrupts:
            raise KeyboardInterrupt


@contextlib.contextmanager
def noted_interrupts() -> Iterator[list[int]]:
    """Notes each Ctrl-C, besides what it does anyhow.

    The exception alone may be lost: Python passes over what is raised while an object is freed, and Py4J's
    objects, which have work to do then, are freed all the time.

    Yields:
        The interrupts so far.

    Raises:
        KeyboardInterrupt: in place of an error that came after one, such as a cancelled job's.
    """
    interrupts: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield interrupts
        return

    def note(number: int, frame: FrameType | None) -> Any:
        interrupts.append(number)  # no lock in here: whoever holds it may be who is interrupted
        return before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupts
    except Exception as error:
        if interrupts:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def source_of(config: Config) -> Source:
    """Where new videos come from.

    Raises:
        InputError: nothing to watch, or no saved classifier.
    """
    if not config.videos.test:
        raise InputError("videos.test is not set: give the directory to watch, videos.test=incoming")
    path = model_path(config)
    if saved_model.read(path) is None:
        raise InputError(
            f"there is no classifier in {path} to rank new videos by: run `framewatch train`, or "
            "set classifier.path"
        )
    return Source(config.videos.test, config.watch.source, config.watch.options)


def _round(run: Run, source: Source, *, rank_anyway: bool) -> bool:
    """Notes what has come, and does what is to be done; tells whether there was anything."""
    place = storage.join(run.config.output, "arrivals")
    where = {"place": place, "table_format": run.tables.format}
    arrivals.note_arrivals(run.spark, source, **where)
    arrived = arrivals.read_arrivals(run.spark, source, **where)
    todo, num_unsettled = _settled(run, arrivals.without_done(arrived, run.tables.ledger()), source)
    if num_unsettled:
        wait_s = run.config.watch.settle_s
        tell(
            f"watch: {num_unsettled} videos were written to in the last {wait_s:g} s: left for the next round"
        )
    if todo is not None:
        extract(run, todo)
    if not run.tables.exists("frames") or run.tables.read("frames").isEmpty():
        return todo is not None
    if _ranking(run).get("next_batch") == run.tables.next_batch() and not rank_anyway:
        return todo is not None
    featurize(run)
    rank(run, arrived)
    return True


def _settled(run: Run, todo: DataFrame, source: Source) -> tuple[DataFrame | None, int]:
    """The videos to take now, None where there are none; and how many are perhaps still being written."""
    listed = listing.list_named(todo, source.patterns, root=run.config.videos.root)
    # A copy that keeps times may end with an older one than it was noted with.
    listed = with_ledger(listed, run.tables.ledger()).where("status is null").select(*listed.columns)
    young = F.col("modified_ms") > (time.time() - run.config.watch.settle_s) * 1000
    is_young = F.coalesce(young, F.lit(False))
    counts = listed.agg(F.count_if(is_young), F.count_if(~is_young)).collect()[0]
    return (listed.where(~is_young) if counts[1] else None), counts[0]


def _is_new_model(run: Run) -> bool:
    ranked_by = _ranking(run).get("model")
    return ranked_by is not None and ranked_by != _identity(run)


def _identity(run: Run) -> str:
    saved = saved_model.read(run.model_path)
    assert saved is not None  # checked when the watch began
    described = saved.notes.get("classifier")
    return described or classifier.identity(classifier.load(saved.spark_path))


def _ranking(run: Run) -> dict[str, Any]:
    """What the last ranking says of itself; nothing where there is none."""
    try:
        return storage.read_json(storage.join(run.config.output, "ranking.json"))
    except FileNotFoundError:
        return {}
