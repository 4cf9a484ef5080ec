"""Reads videos batch by batch, for `extract` and `ingest`: resume, retries, the ledger, and closing lines."""

import itertools
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from framewatch.config import Config
from framewatch.errors import InputError
from framewatch.ingest import frames, listing
from framewatch.ingest.known_files import with_ledger
from framewatch.io import logs, storage
from framewatch.pipeline.run import Run
from framewatch.pipeline.sql import register_for_sql
from framewatch.spark import scheduling
from framewatch.spark.task_progress import task_progress
from framewatch.tables.spark_tables import Tables
from framewatch.video import worker

_log = logs.get("extract")
# Which pictures a new output holds.
DEFAULT_KEPT = "thumbnails"
_STAGED_AT_ONCE = 2
# A run joins the batches before it, if so many are small.
_MOST_SMALL_BATCHES = 32
_POLL_S = 0.2
_REMEDIES = {
    "full": "set frames.keep=full and use `run`, or `extract` and `featurize`",
    "thumbnails": "set frames.keep=thumbnails and use `run` or `ingest`",
    "none": "set frames.keep=none and use `run` or `ingest`",
}


class SelectRows(Protocol):
    """Selects the rows of a table from staged rows, in sorted files."""

    def __call__(self, staged: DataFrame, /, *, num_frames: int) -> DataFrame:
        """Returns the rows, without `batch`."""


@dataclass(frozen=True)
class Batch:
    """Videos that are committed together, rows of a listing, and the number of their batch."""

    number: int
    videos: list[Row]


def list_configured_videos(run: Run, stage: str) -> DataFrame:
    """Returns the configured videos, train and test, as `listing.list_videos` does; reports skipped files."""
    passed_over = listing.PassedOver()
    with logs.stage(stage):
        listed = listing.list_videos(
            run.spark, video_patterns(run.config), root=run.config.videos.root, passed_over=passed_over
        )
    if passed_over.counts:
        run.summarize(stage, f"passed over {passed_over}", passed_over=dict(passed_over.counts))
    return listed


def video_patterns(config: Config) -> list[str]:
    """Returns the configured patterns of videos, train and test.

    Raises:
        InputError: no pattern is configured.
    """
    patterns = [*config.videos.train, *config.videos.test]
    if not patterns:
        raise InputError("neither videos.train nor videos.test is set: give a file, a directory or a glob")
    return patterns


@dataclass(frozen=True)
class Reading:
    """How a stage reads videos; what `extract` and `ingest` differ in.

    Attributes:
        sampling: how frames are taken and stored.
        read: maps parts of videos to one row per frame and one row per part with its `outcome`.
        tables: for each table that the stage writes, the function that selects its rows.
        closing: returns the end of the stage's closing line, and its counts for the manifest.
    """

    sampling: frames.Sampling
    read: Callable[[DataFrame], DataFrame]
    tables: Mapping[str, SelectRows]
    closing: Callable[[], tuple[str, dict[str, Any]]] = lambda: ("", {})


def read_videos(
    run: Run, stage: str, make_reading: Callable[[], Reading], listed: DataFrame | None = None
) -> None:
    """Writes the tables of a reading and the ledger `videos`, batch by batch; skips videos in the ledger.

    Args:
        run: the current call.
        stage: name of the stage, for messages and the manifest.
        make_reading: returns how videos are read; called once the tables are as the configuration wants.
        listed: the videos, as returned by `listing.list_videos`; None takes the configured videos.

    Raises:
        InputError: there are no videos, existing frames were sampled or kept with other settings, or too many
            of the listed videos have failed, in this run or an earlier one.
    """
    config, tables = run.config, run.tables
    listed = list_configured_videos(run, stage) if listed is None else listed
    if config.extract.mode == "overwrite":
        tables.delete("videos", "frames", "features")  # the ledger first: without its rows, no batch counts
    tables.delete_leftovers()
    _join_batches(run)
    reading = make_reading()
    if tables.exists("frames"):
        require_same_sampling(config, tables.metadata("frames"), reading.sampling)
    todo = _new_videos(run, listed)
    started = time.monotonic()
    counts = Counter(
        dict.fromkeys(("videos", "ok", "partial", "failed", "unreadable", "frames", "warnings"), 0)
    )
    first_batch = tables.next_batch()
    size = config.extract.videos_per_batch
    batches = [
        Batch(first_batch + number, todo[begin : begin + size])
        for number, begin in enumerate(range(0, len(todo), size))
    ]

    def write(batch: Batch, staged: DataFrame) -> None:
        counts.update(_write_batch(run, stage, reading, batch, staged))

    _stage_and_write(run, stage, reading, batches, write)
    if todo:
        tables.delete_leftovers()
    tables.delete_superseded()
    outcome = _outcome(run, listed)
    closing, more_counts = reading.closing()
    if todo:
        seconds = time.monotonic() - started
        rate = f"{counts['frames']} frames in {seconds:.1f} s, {counts['frames'] / seconds:.1f} frames/s"
        text = f"{counts['videos']} videos ({_in_words(counts)}), {rate}"
        if counts["kept"]:
            text += f"; {counts['kept']} gave fewer frames than before, which are kept"
        if counts["warnings"]:
            text += f"; {counts['warnings']} with a warning: see `warning` in `videos`"
        more_counts["seconds"] = round(seconds, 1)
    else:
        bad = f" ({_in_words(outcome)})" if outcome["failed"] or outcome["unreadable"] else ""
        text = f"nothing new: the ledger has all {outcome['videos']} videos{bad}"
    run.summarize(stage, text + _remedy(outcome) + closing, **counts, **more_counts)
    _require_few_failures(run, listed, outcome)


def _join_batches(run: Run) -> None:
    """Joins the batches of earlier runs where many are small."""
    joined, _ = run.tables.compact(fewest=_MOST_SMALL_BATCHES)
    if joined:
        register_for_sql(run)
    run.tables.contents("frames")  # records what frames of older versions hold


def unread(run: Run, listed: DataFrame) -> DataFrame:
    """Returns the listed videos to read now.

    These are videos that the ledger lacks with this size and modification time, and unreadable videos, up to
    `extract.max_attempts` times. With `extract.mode=retry`, they are all videos whose status is not `ok`.
    Files that are temporarily unreachable keep their existing rows.

    Returns:
        `listed` with `status`, `attempts` and `num_frames`, as `known_files.with_ledger` returns them.
    """
    ledger = run.tables.ledger()
    again = (F.col("status") == "unreadable") & (F.col("attempts") < run.config.extract.max_attempts)
    if run.config.extract.mode == "retry":
        again = F.col("status") != "ok"
    out_of_reach = listed.where("size_bytes = 0 and modified_ms is null").select("video")
    read_before = ledger.where("modified_ms is not null")
    listed = listed.join(out_of_reach.join(read_before, "video", "left_semi"), "video", "left_anti")
    return with_ledger(listed, ledger).where(F.col("status").isNull() | again)


def _outcome(run: Run, listed: DataFrame) -> Counter[str]:
    """Counts the listed videos in the ledger by status; `videos` is the total, `given_up` is not retried."""
    in_ledger = run.tables.ledger().join(listed.select("video"), "video", "left_semi")
    is_given_up = F.count_if(F.col("attempts") >= run.config.extract.max_attempts)
    rows = (
        in_ledger.groupBy("status").agg(F.count("*").alias("count"), is_given_up.alias("given_up")).collect()
    )
    counts = Counter({row["status"]: row["count"] for row in rows})
    given_up = sum(row["given_up"] for row in rows if row["status"] == "unreadable")
    return counts + Counter(videos=counts.total(), given_up=given_up)


def _in_words(counts: Counter[str]) -> str:
    words = f"{counts['ok']} ok, {counts['partial']} partial, {counts['failed']} failed"
    return words + (f", {counts['unreadable']} unreadable" if counts["unreadable"] else "")


def _remedy(outcome: Counter[str]) -> str:
    """Returns a clause on whether unreadable videos are tried again; empty if there are none."""
    again, given_up = outcome["unreadable"] - outcome["given_up"], outcome["given_up"]
    text = f"; the next run tries {again} unreadable again" if again else ""
    if given_up:
        text += f"; {given_up} stay unreadable after all attempts: extract.mode=retry tries them again"
    return text


def pictures_to_keep(config: Config, made_with: Mapping[str, Any] | None) -> str:
    """Returns which pictures a run stores: the configured ones, else those of the existing frames.

    Args:
        config: the configuration.
        made_with: metadata of the existing frames; None without frames that stay.
    """
    if config.frames.keep != "auto":
        return config.frames.keep
    if config.frames.write_images:
        return "full"
    return DEFAULT_KEPT if made_with is None else worker.kept_pictures(made_with)


def kept_by(run: Run) -> str:
    """Returns which pictures a run stores, as `pictures_to_keep`, from the tables of its output."""
    tables = run.tables
    stays = run.config.extract.mode != "overwrite" and tables.exists("frames")
    return pictures_to_keep(run.config, tables.metadata("frames") if stays else None)


def require_same_sampling(config: Config, made_with: Mapping[str, Any], sampling: frames.Sampling) -> None:
    """Checks that existing frames were sampled with the settings of this run, and hold the same pictures.

    Args:
        config: the configuration.
        made_with: metadata of the frames' column; empty metadata passes the check of the sampling.
        sampling: the settings of this run.

    Raises:
        InputError: the frames were sampled or kept with other settings.
    """
    kept = worker.kept_pictures(made_with)
    if kept != sampling.keep:
        raise InputError(
            f"the frames in {config.output} have frames.keep={kept}, and this run keeps {sampling.keep}: one "
            f"table holds one kind; {_REMEDIES[kept]}, set another output, or extract.mode=overwrite"
        )
    wanted = sampling.metadata()
    if made_with and dict(made_with) != wanted:
        raise InputError(
            f"the frames in {config.output} were taken with {_pairs(made_with)}, this run asks for "
            f"{_pairs(wanted)}: one table holds one sampling; set another output, or extract.mode=overwrite"
        )


def require_full_pictures(output: str, made_with: Mapping[str, Any], stage: str) -> None:
    """Checks that the frames hold full pictures, which `featurize` and `quantize` read.

    Raises:
        InputError: they were kept as thumbnails or not at all.
    """
    kept = worker.kept_pictures(made_with)
    if kept != "full":
        raise InputError(
            f"the frames in {output} have frames.keep={kept}, and {stage} needs full pictures: run "
            "`framewatch extract` with another output, or with extract.mode=overwrite"
        )


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(values.items()))


def _new_videos(run: Run, listed: DataFrame) -> list[Row]:
    """Returns the videos to read, in order of URI, each with a unique name."""
    if unread(run, listed).isEmpty():
        return []
    named = listing.with_unique_names(listed, _taken_names(run.tables))
    return unread(run, named).orderBy("video").collect()


def _taken_names(tables: Tables) -> DataFrame:
    """Returns `video` and `name` of the videos in the ledger."""
    ledger = tables.ledger().select("video", "name")
    named, nameless = ledger.where("name is not null"), ledger.where("name is null").select("video")
    if not tables.exists("frames") or nameless.isEmpty():
        return named
    # Older versions did not write names: they are in the origins of frames.
    name = F.regexp_extract("origin", r"^(.*)frame\d+\.jpg$", 1)
    below = F.substring(name, len(images_root(tables)) + 2, 2**31 - 1)
    frames_of = tables.current("frames").join(nameless, "video", "left_semi")
    return named.union(frames_of.select("video", below.alias("name")).distinct())


def images_root(tables: Tables) -> str:
    """Returns the directory that origins of frames are relative to."""
    return storage.join(tables.output, "images")


def sampling_of(config: Config, keep: str) -> frames.Sampling:
    """Returns the configured sampling.

    Args:
        config: the configuration.
        keep: which pictures are stored: `none`, `thumbnails`, or `full`.

    Raises:
        InputError: bursts are wanted, and full pictures, from which features are made in a second stage.
    """
    if config.sampling.burst > 1 and keep == "full":
        raise InputError(
            f"sampling.burst={config.sampling.burst} with frames.keep=full: bursts are decoded and "
            "featurized in one pass; set frames.keep=thumbnails or none and use `run` or `ingest`, or "
            "sampling.burst=1"
        )
    return frames.Sampling(
        fps=config.sampling.fps,
        jpeg_quality=config.frames.jpeg_quality,
        max_side=config.frames.max_side,
        timeout_s=config.extract.timeout_s,
        tolerance_s=config.sampling.tolerance_s if config.sampling.mode == "keyframes" else 0.0,
        decode_all=config.extract.decode_all,
        keep=keep,
        burst=config.sampling.burst,
        burst_step_s=config.sampling.burst_step_s,
    )


def _stage_and_write(
    run: Run,
    stage: str,
    reading: Reading,
    batches: Sequence[Batch],
    write: Callable[[Batch, DataFrame], None],
) -> None:
    """Stages batches, and writes each when it is complete.

    Two batches are staged at a time, from two threads, so that the tasks of the next one start when the
    current one has no more to launch. A hanging video keeps only its own batch waiting. This thread writes.
    """
    waiting, staging = iter(batches), dict[Future[DataFrame], Batch]()
    tag = f"framewatch-{uuid.uuid4()}"
    with ThreadPoolExecutor(_STAGED_AT_ONCE) as threads:

        def start_next() -> None:
            for batch in itertools.islice(waiting, 1):
                staging[threads.submit(_stage_batch, run, stage, reading, batch, tag)] = batch

        try:
            for _ in range(_STAGED_AT_ONCE):
                start_next()
            while staging:
                first = min(batch.number for batch in staging.values())
                with task_progress(run.spark, f"{stage}, batch {first}", "parts of videos"):
                    done, _ = wait(staging, return_when=FIRST_COMPLETED)
                for finished in sorted(done, key=lambda future: staging[future].number):
                    batch = staging.pop(finished)
                    start_next()
                    with scheduling.own_pool(run.spark, "framewatch writes"):
                        write(batch, finished.result())
        except BaseException:
            # More than once, because a thread may be between two jobs.
            while not all(future.done() for future in staging):
                scheduling.cancel(run.spark, tag)
                time.sleep(_POLL_S)
            raise


def _stage_batch(run: Run, stage: str, reading: Reading, batch: Batch, tag: str) -> DataFrame:
    scheduling.add_tag(run.spark, tag)
    parts = frames.plan_parts(
        run.spark, batch.videos, sampling=reading.sampling, chunk_s=run.config.extract.chunk_s
    )
    return run.tables.stage(reading.read(parts), _staged_name(stage, batch))


def _staged_name(stage: str, batch: Batch) -> str:
    return f"{stage}_{batch.number}"


def _write_batch(run: Run, stage: str, reading: Reading, batch: Batch, staged: DataFrame) -> Counter[str]:
    """Writes a batch of the tables, and then its rows of the ledger, which commit it."""
    tables, videos = run.tables, batch.videos
    rows, kept = _with_kept(tables, frames.ledger_of(staged, videos), videos)
    for table, select_rows in reading.tables.items():
        new = select_rows(staged.where(~F.col("video").isin(kept)), num_frames=_num_frames(rows))
        if kept:
            old = tables.current(table).where(F.col("video").isin(kept))
            new = new.unionByName(old.select(*new.columns))
        tables.write_batch(new, table, batch.number)
    tables.write_ledger(rows, batch.number)
    tables.delete_staged(_staged_name(stage, batch))
    with logs.stage(stage):
        for row in rows:
            log = _log.info if row["status"] == "ok" else _log.warning
            reasons = "; ".join(row[name] for name in ("error", "warning") if row.get(name))
            why = f": {reasons}" if reasons else ""
            log("%s, %d frames%s", row["status"], row["num_frames"], why, extra={"video": row["video"]})
    counts = Counter(row["status"] for row in rows)
    warnings = sum(bool(row.get("warning")) for row in rows)
    return counts + Counter(videos=len(videos), frames=_num_frames(rows), kept=len(kept), warnings=warnings)


def _num_frames(rows: list[dict[str, Any]]) -> int:
    return sum(row["num_frames"] for row in rows)


def _with_kept(
    tables: Tables, rows: list[dict[str, Any]], videos: list[Row]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns the ledger's new rows, and the videos that keep their older row as it has more frames."""
    before = {video["video"]: video for video in videos}
    rows = [{**row, "attempts": (before[row["video"]]["attempts"] or 0) + 1} for row in rows]
    kept = [row["video"] for row in rows if row["num_frames"] < (before[row["video"]]["num_frames"] or 0)]
    if not kept:
        return rows, []
    ledger = tables.ledger().where(F.col("video").isin(kept))
    old = {
        row["video"]: row.asDict() for row in ledger.drop("attempts", "size_bytes", "modified_ms").collect()
    }
    return [{**row, **old.get(row["video"], {})} for row in rows], kept


def _require_few_failures(run: Run, listed: DataFrame, outcome: Counter[str]) -> None:
    num_bad, max_share = outcome["failed"] + outcome["unreadable"], run.config.extract.max_failed_share
    if num_bad <= max_share * outcome["videos"]:
        return
    bad = run.tables.ledger().where("status in ('failed', 'unreadable')")
    row = bad.join(listed, "video", "left_semi").orderBy(F.desc("batch"), "video").first()
    example = f", such as {row['video']} ({row['error']})" if row else ""
    how = "failed or are unreadable" if outcome["unreadable"] else "failed"
    raise InputError(
        f"{num_bad} of {outcome['videos']} videos {how}{example}: {run.tables.path('videos')} has each "
        "reason, and what was read is kept; to go on without them, set extract.max_failed_share "
        f"above {max_share}"
    )
