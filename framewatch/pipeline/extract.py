"""Extracts frames batch by batch: videos -> `frames` and the ledger `videos`. Skips recorded videos."""

import time
from collections import Counter
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from framewatch.config import Config
from framewatch.errors import InputError
from framewatch.ingest import frames, listing
from framewatch.ingest.known_files import with_ledger
from framewatch.io import logs, storage
from framewatch.pipeline.run import Run
from framewatch.spark.task_progress import task_progress
from framewatch.tables.spark_tables import Tables

_log = logs.get("extract")


def list_configured_videos(run: Run) -> DataFrame:
    """Returns the configured videos, train and test, as `listing.list_videos` does; reports skipped files."""
    passed_over = listing.PassedOver()
    with logs.stage("extract"):
        listed = listing.list_videos(
            run.spark, video_patterns(run.config), root=run.config.videos.root, passed_over=passed_over
        )
    if passed_over.counts:
        run.summarize("extract", f"passed over {passed_over}", passed_over=dict(passed_over.counts))
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


def extract(run: Run, listed: DataFrame | None = None) -> None:
    """Writes `frames` and the ledger `videos`, batch by batch. Videos in the ledger are not read again.

    Args:
        run: the current call.
        listed: the videos, as returned by `listing.list_videos`; None takes the configured videos.

    Raises:
        InputError: there are no videos, existing frames were sampled with other settings, or too many of the
            listed videos have failed, in this run or an earlier one.
    """
    config, tables = run.config, run.tables
    listed = list_configured_videos(run) if listed is None else listed
    if config.extract.mode == "overwrite":
        tables.delete("videos", "frames", "features")  # the ledger first: without its rows, no batch counts
    tables.delete_leftovers()
    if tables.exists("frames"):
        require_same_sampling(config, tables.metadata("frames"))
    todo = _new_videos(run, listed)
    started = time.monotonic()
    counts = Counter(
        dict.fromkeys(("videos", "ok", "partial", "failed", "unreadable", "frames", "warnings"), 0)
    )
    first_batch = tables.next_batch()
    size = config.extract.videos_per_batch
    for number, begin in enumerate(range(0, len(todo), size)):
        counts.update(_extract_batch(run, todo[begin : begin + size], first_batch + number))
    if todo:
        tables.delete_leftovers()
    tables.delete_superseded()
    outcome = _outcome(run, listed)
    if todo:
        seconds = time.monotonic() - started
        rate = f"{counts['frames']} frames in {seconds:.1f} s, {counts['frames'] / seconds:.1f} frames/s"
        text = f"{counts['videos']} videos ({_in_words(counts)}), {rate}"
        if counts["kept"]:
            text += f"; {counts['kept']} gave fewer frames than before, which are kept"
        if counts["warnings"]:
            text += f"; {counts['warnings']} with a warning: see `warning` in `videos`"
        run.summarize("extract", text + _remedy(outcome), **counts, seconds=round(seconds, 1))
    else:
        bad = f" ({_in_words(outcome)})" if outcome["failed"] or outcome["unreadable"] else ""
        text = f"nothing new: the ledger has all {outcome['videos']} videos{bad}"
        run.summarize("extract", text + _remedy(outcome), **counts)
    _require_few_failures(run, listed, outcome)


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


def require_same_sampling(config: Config, made_with: dict[str, Any]) -> None:
    """Checks that existing frames were sampled with the configured settings.

    Args:
        config: the configuration.
        made_with: metadata of the frames' column; empty metadata passes the check.

    Raises:
        InputError: the frames were sampled with other settings.
    """
    sampling = _sampling(config).metadata()
    if made_with and made_with != sampling:
        raise InputError(
            f"the frames in {config.output} were taken with {_pairs(made_with)}, this run asks for "
            f"{_pairs(sampling)}: one table holds one sampling; set another output, or extract.mode=overwrite"
        )


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(values.items()))


def _new_videos(run: Run, listed: DataFrame) -> list[Row]:
    """Returns the videos to read, in order of URI, each with a unique name."""
    tables, taken = run.tables, None
    if tables.exists("frames"):
        name = F.regexp_extract("origin", r"^(.*)frame\d+\.jpg$", 1)
        below = F.substring(name, len(_images_root(tables)) + 2, 2**31 - 1)
        taken = tables.current("frames").select("video", below.alias("name")).distinct()
    return unread(run, listing.with_unique_names(listed, taken)).orderBy("video").collect()


def _images_root(tables: Tables) -> str:
    return storage.join(tables.output, "images")


def _sampling(config: Config) -> frames.Sampling:
    return frames.Sampling(
        fps=config.sampling.fps,
        jpeg_quality=config.frames.jpeg_quality,
        max_side=config.frames.max_side,
        timeout_s=config.extract.timeout_s,
        tolerance_s=config.sampling.tolerance_s if config.sampling.mode == "keyframes" else 0.0,
        decode_all=config.extract.decode_all,
    )


def _extract_batch(run: Run, videos: list[Row], batch: int) -> Counter[str]:
    config, tables, sampling = run.config, run.tables, _sampling(run.config)
    parts = frames.plan_parts(run.spark, videos, sampling=sampling, chunk_s=config.extract.chunk_s)
    extracted = frames.extract_frames(
        parts,
        sampling=sampling,
        images_root=_images_root(tables),
        write_images=config.frames.write_images,
    )
    with task_progress(run.spark, f"extract, batch {batch}", "parts of videos"):
        staged = tables.stage(extracted, "extract")
    rows, kept = _with_kept(tables, frames.ledger_of(staged, videos), videos)
    new = frames.frames_of(staged.where(~F.col("video").isin(kept)), num_frames=_num_frames(rows))
    if kept:
        old = tables.current("frames").where(F.col("video").isin(kept))
        new = new.unionByName(old.select(*new.columns))
    tables.write_batch(new, "frames", batch)
    tables.write_ledger(rows, batch)
    with logs.stage("extract"):
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
