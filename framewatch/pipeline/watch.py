"""Implements `run --watch`: reads, featurizes and ranks new videos as they arrive, each exactly once.

Each round compares the existing files with the ledger. No other state outlives the process, so a kill neither
loses nor repeats anything, and a file that is overwritten is read again.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from pyspark.sql import DataFrame, Row

from framewatch.config import Config
from framewatch.errors import InputError, LockLostError, NoVideosError, WatchError
from framewatch.ingest import arrivals, listing
from framewatch.ingest.patterns import fixed_part
from framewatch.io import logs, storage
from framewatch.io.terminal import print_line
from framewatch.pipeline.extract import extract
from framewatch.pipeline.featurize import featurize
from framewatch.pipeline.ingest import ingest
from framewatch.pipeline.rank import rank
from framewatch.pipeline.run import Run
from framewatch.pipeline.video_batches import kept_by, unread
from framewatch.ranking import classifier
from framewatch.spark.java_errors import explain, last_cause
from framewatch.tables import saved_model
from framewatch.tables.schema import LISTING

_log = logs.get("watch")
# The longest wait after failures, unless the period is longer.
_LONGEST_WAIT_S = 600.0
# How long the state of a file is remembered after its last change.
_LOOK_S = 3600.0


def watch(run: Run) -> None:
    """Processes videos of `videos.test` as they arrive, and ranks their frames with a saved classifier.

    With `watch.period_s=0` it processes the existing videos once and ends. Otherwise it runs until
    interrupted. After a kill, start it again and it resumes.

    Raises:
        InputError: `videos.test` is not set, or there is no saved classifier.
        WatchError: `watch.max_failures` consecutive rounds have failed.
    """
    require_ready(run.config)
    period_s = run.config.watch.period_s
    if run.config.extract.mode == "overwrite":
        run.tables.delete("videos", "frames", "features")
    # A bad file has its row in the ledger and must not prevent others from being ranked.
    run = _with_extract(
        run, max_failed_share=1.0, mode="retry" if run.config.extract.mode == "retry" else "resume"
    )
    if period_s:
        places = ", ".join(run.config.videos.test)
        print_line(f"watch: new videos in {places}, looked for every {period_s:g} s; Ctrl-C ends it")
    with noted_interrupts() as interrupts:
        _watch(run, interrupts)


def _with_extract(run: Run, **settings: Any) -> Run:
    return replace(run, config=replace(run.config, extract=replace(run.config.extract, **settings)))


def _watch(run: Run, interrupts: list[int]) -> None:
    period_s = run.config.watch.period_s
    looks = Looks(run.config.watch.settle_s)
    failures, is_new_model = 0, _is_new_model(run)
    while True:
        started, wait_s = datetime.now(UTC), period_s
        try:
            again = _round(run, looks, rank_anyway=is_new_model)
            failures, is_new_model = 0, False
            run = _with_extract(run, mode="resume")  # once is enough
            if again:
                # Unreadable files are not retried immediately.
                read = run.report.get("ingest") or run.report.get("extract") or {}
                wait_s = period_s if read.get("unreadable") else 0.0
                run.write_manifest("watch", started, "ok")
        except LockLostError:
            raise
        except Exception as error:  # from Spark, from storage, or from a temporarily full disk
            failures += 1
            if not period_s or interrupts:
                raise
            wait_s = _wait_after(error, failures, run)
        if not period_s:
            return
        if wait_s and not interrupts:
            time.sleep(wait_s)
        if interrupts:
            raise KeyboardInterrupt


def _wait_after(error: Exception, failures: int, run: Run) -> float:
    """Reports a failed round and returns the seconds to wait, which double with each failure.

    Raises:
        WatchError: `watch.max_failures` consecutive rounds have failed.
    """
    period_s, most = run.config.watch.period_s, run.config.watch.max_failures
    reason = str(explain(error) or last_cause(error))
    _log.warning("round failed, %d of %d in a row", failures, most, exc_info=error)
    if failures >= most:
        raise WatchError(
            f"watch: {failures} rounds in a row failed (watch.max_failures), the last by: {reason}; what was "
            "read is kept, and the same command goes on from there"
        ) from error
    wait_s = min(period_s * 2 ** (failures - 1), max(period_s, _LONGEST_WAIT_S))
    print_line(
        f"watch: this round failed, {failures} of {most} in a row; the next comes in {wait_s:g} s: {reason}"
    )
    return wait_s


@contextlib.contextmanager
def noted_interrupts() -> Iterator[list[int]]:
    """Records each Ctrl-C, in addition to its normal handling.

    A KeyboardInterrupt alone may be lost: Python ignores exceptions in finalizers, and Py4J's objects, whose
    finalizers do some work, are freed all the time.

    Yields:
        A list of the interrupts so far.

    Raises:
        KeyboardInterrupt: an error followed an interrupt, such as that of a cancelled job.
    """
    interrupts: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield interrupts
        return

    def note(number: int, frame: FrameType | None) -> Any:
        interrupts.append(number)  # takes no lock: the interrupted code may hold it
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


def require_ready(config: Config) -> None:
    """Checks that `videos.test` is set and that there is a saved classifier.

    Raises:
        InputError: one of the two is missing.
    """
    if not config.videos.test:
        raise InputError("videos.test is not set: give the directory to watch, videos.test=incoming")
    path = config.model_path
    if saved_model.read(path) is None:
        raise InputError(
            f"there is no classifier in {path} to rank new videos by: run `framewatch train`, or "
            "set classifier.path"
        )


class Looks:
    """The state of unread files in earlier rounds, to leave out files that are still being written.

    A file is complete if its modification time is at least `settle_s` seconds ago. A sender may set that time
    to that of the original, or it may come from a camera's clock. So a file that changed between rounds waits
    until it has not changed for `settle_s` seconds. A file that has not changed for so long is complete,
    whatever its modification time.
    """

    @dataclass(frozen=True)
    class _Look:
        state: tuple[int, int]
        since_s: float
        has_changed: bool

    def __init__(self, settle_s: float) -> None:
        """Starts without any remembered state.

        Args:
            settle_s: seconds without a change after which a file counts as complete.
        """
        self._settle_s = settle_s
        self._looks: dict[str, Looks._Look] = {}
        self._reported: dict[str, str] = {}

    def settled(self, files: Sequence[Row]) -> list[Row]:
        """Checks files, rows of `listing.list_videos`, and returns the complete ones. Reports the rest."""
        now_s = time.monotonic()
        there = [file for file in files if file["modified_ms"] is not None]
        whole = [file for file in there if self._is_settled(file, now_s)]
        num_young, num_missing = len(there) - len(whole), len(files) - len(there)
        age = f"{num_young} videos were written to in the last {self._settle_s:g} s"
        self.report("young", f"{age}: left for the next round" if num_young else "")
        self.report("missing", f"{num_missing} videos are empty, or not there" if num_missing else "")
        names = {file["video"] for file in files}
        self._looks = {
            video: look
            for video, look in self._looks.items()
            if video in names or now_s - look.since_s < max(_LOOK_S, 2 * self._settle_s)
        }
        return whole

    def report(self, kind: str, text: str) -> None:
        """Prints a line unless the previous round printed the same one of this kind."""
        if text and text != self._reported.get(kind):
            print_line(f"watch: {text}")
        self._reported[kind] = text

    def _is_settled(self, file: Row, now_s: float) -> bool:
        state, before = (file["size_bytes"], file["modified_ms"]), self._looks.get(file["video"])
        if before is None or before.state != state:
            before = Looks._Look(state, now_s, has_changed=before is not None)
            self._looks[file["video"]] = before
        age_s = time.time() - file["modified_ms"] / 1000
        return now_s - before.since_s >= self._settle_s or (
            not before.has_changed and age_s >= self._settle_s
        )


def _round(run: Run, looks: Looks, *, rank_anyway: bool) -> bool:
    """Reads new videos and ranks the frames of all; returns whether there was anything to do."""
    listed = _find(run, looks)
    todo = looks.settled(unread(run, listed).select(*LISTING.names).collect())
    is_full = kept_by(run) == "full"
    if todo:
        (extract if is_full else ingest)(run, run.spark.createDataFrame(todo, LISTING))
    if not run.tables.exists("frames") or run.tables.read("frames").isEmpty():
        return bool(todo)
    if _ranking(run).get("next_batch") == run.tables.next_batch() and not rank_anyway:
        return bool(todo)
    if is_full:
        featurize(run)
    rank(run, _arrived(run, listed))
    return True


def _find(run: Run, looks: Looks) -> DataFrame:
    """Returns the current files to compare with the ledger, with the columns of `LISTING`."""
    config, patterns = run.config, run.config.videos.test
    if config.watch.source == "cloudFiles":
        for pattern in patterns:
            found = arrivals.auto_loader(run.spark, pattern, config.watch.options)
            arrivals.record_arrivals(found, pattern, **_arrivals_place(run))
        arrived = arrivals.read_arrivals(run.spark, patterns, **_arrivals_place(run))
        new = arrivals.without_done(arrived, run.tables.ledger())
        return listing.list_named(new, patterns, root=config.videos.root)
    listed, passed_over = run.spark.createDataFrame([], LISTING), listing.PassedOver()
    for pattern in patterns:
        with contextlib.suppress(NoVideosError):  # none yet
            some = listing.list_videos(run.spark, [pattern], root=config.videos.root, passed_over=passed_over)
            listed = listed.union(some)
        _require_place(pattern)
    looks.report("passed over", f"passed over {passed_over}" if passed_over.counts else "")
    return listed.dropDuplicates(["video"])


def _arrived(run: Run, listed: DataFrame) -> DataFrame:
    """Returns all videos that have ever arrived, to be ranked, with a column `video`.

    It reads the ledger again, because the extraction may have removed the table's files of an earlier read.
    """
    patterns = run.config.videos.test
    if run.config.watch.source == "cloudFiles":
        return arrivals.read_arrivals(run.spark, patterns, **_arrivals_place(run)).select("video")
    before = arrivals.read_before(run.tables.ledger(), [*patterns, *map(storage.absolute, patterns)])
    return listed.select("video").union(before).distinct()


def _arrivals_place(run: Run) -> dict[str, Any]:
    return {"directory": storage.join(run.config.output, "arrivals"), "table_format": run.tables.format}


def _require_place(pattern: str) -> None:
    """Checks that a watched directory exists, if it is local."""
    place = storage.local_path(fixed_part(pattern))
    if place is not None and not storage.exists(place):
        raise InputError(f"there is no directory '{pattern}' to watch: make it first, or check videos.test")


def _is_new_model(run: Run) -> bool:
    ranked_by = _ranking(run).get("model")
    return ranked_by is not None and ranked_by != _identity(run)


def _identity(run: Run) -> str:
    saved = saved_model.read(run.model_path)
    assert saved is not None  # checked when the watch began
    described = saved.notes.get("classifier")
    return described or classifier.identity(classifier.load(saved.spark_path))


def _ranking(run: Run) -> dict[str, Any]:
    """Returns the contents of ranking.json; empty if there is no ranking."""
    try:
        return storage.read_json(storage.join(run.config.output, "ranking.json"))
    except FileNotFoundError:
        return {}
