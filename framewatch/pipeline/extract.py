"""videos -> `frames` and the ledger `videos`, batch by batch; what the ledger has is not read again."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from framewatch import frames, listing, logs, storage
from framewatch.errors import InputError
from framewatch.pipeline.run import Run
from framewatch.progress import task_progress
from framewatch.schema import METADATA_KEY
from framewatch.tables import Tables, with_ledger

_log = logs.get("extract")
_AGAIN = ("partial", "failed")


def list_videos(run: Run) -> DataFrame:
    """The configured videos, train and test, as `listing.list_videos` has them."""
    patterns = [*run.config.videos.train, *run.config.videos.test]
    if not patterns:
        raise InputError("neither videos.train nor videos.test is set: give a file, a directory or a glob")
    return listing.list_videos(run.spark, patterns, root=run.config.videos.root)


def extract(run: Run, listed: DataFrame | None = None) -> None:
    """videos -> `frames` and the ledger `videos`, batch by batch; what the ledger has is not read again.

    Args:
        run: the call.
        listed: the videos, as `listing.list_videos` has them; the configured ones without.

    Raises:
        InputError: no videos, frames of other settings are there, or too many videos failed.
    """
    config, tables = run.config, run.tables
    listed = list_videos(run) if listed is None else listed
    if config.extract.mode == "overwrite":
        tables.delete("videos", "frames", "features")  # the ledger first: without it the rest counts no more
    tables.delete_leftovers()
    _require_same_sampling(tables, _sampling(run).metadata())
    todo = _new_videos(tables, listed, again=_AGAIN if config.extract.mode == "retry" else ())
    started = time.monotonic()
    counts = {"videos": 0, "ok": 0, "partial": 0, "failed": 0, "frames": 0, "warnings": 0}
    if not todo:
        tables.delete_superseded()
        run.say("extract", f"nothing new: the ledger has all {listed.count()} videos", **counts)
        return
    first_batch = tables.next_batch()
    size = config.extract.videos_per_batch
    for number, begin in enumerate(range(0, len(todo), size)):
        for key, value in _extract_batch(run, todo[begin : begin + size], first_batch + number).items():
            counts[key] += value
    tables.delete_leftovers()
    tables.delete_superseded()
    seconds = time.monotonic() - started
    run.say(
        "extract",
        f"{counts['videos']} videos ({counts['ok']} ok, {counts['partial']} partial, {counts['failed']} "
        f"failed), {counts['frames']} frames in {seconds:.1f} s, {counts['frames'] / seconds:.1f} frames/s"
        + (f"; {counts['warnings']} with a warning: see `warning` in `videos`" if counts["warnings"] else ""),
        **counts,
        seconds=round(seconds, 1),
    )
    _require_few_failures(tables, counts, config.extract.max_failed_share)


def _require_same_sampling(tables: Tables, sampling: dict[str, Any]) -> None:
    if not tables.exists("frames"):
        return
    made_with = tables.read("frames").schema["content"].metadata.get(METADATA_KEY, sampling)
    if made_with != sampling:
        raise InputError(
            f"the frames in {tables.output} were taken with {_pairs(made_with)}, this run asks for "
            f"{_pairs(sampling)}: one table holds one sampling; set another output, or extract.mode=overwrite"
        )


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(values.items()))


def _new_videos(tables: Tables, listed: DataFrame, again: Sequence[str]) -> list[Row]:
    """The listed videos that the ledger lacks in this size and modification time, in order of URI.

    So are those whose status is one of `again`. What is out of reach just now keeps the rows that it has.
    """
    taken = None
    if tables.exists("frames"):
        name = F.regexp_extract("origin", r"^(.*)frame\d+\.jpg$", 1)
        below = F.substring(name, len(_images_root(tables)) + 2, 2**31 - 1)
        taken = tables.current("frames").select("video", below.alias("name")).distinct()
    named = listing.with_unique_names(listed, taken)
    out_of_reach = named.where("size_bytes = 0 and modified_ms is null").select("video")
    named = named.join(out_of_reach.join(tables.ledger(), "video", "left_semi"), "video", "left_anti")
    is_todo = F.col("status").isNull() | F.col("status").isin(*again)
    return with_ledger(named, tables.ledger()).where(is_todo).orderBy("video").collect()


def _images_root(tables: Tables) -> str:
    return storage.join(tables.output, "images")


def _sampling(run: Run) -> frames.Sampling:
    config = run.config
    return frames.Sampling(
        fps=config.sampling.fps,
        jpeg_quality=config.frames.jpeg_quality,
        max_side=config.frames.max_side,
        timeout_s=config.extract.timeout_s,
        tolerance_s=config.sampling.tolerance_s if config.sampling.mode == "keyframes" else 0.0,
        decode_all=config.extract.decode_all,
    )


def _extract_batch(run: Run, videos: list[Row], batch: int) -> dict[str, int]:
    config, tables, sampling = run.config, run.tables, _sampling(run)
    parts = frames.plan_parts(run.spark, videos, sampling=sampling, chunk_s=config.extract.chunk_s)
    extracted = frames.extract_frames(
        parts,
        sampling=sampling,
        images_root=_images_root(tables),
        write_images=config.frames.write_images,
    )
    with task_progress(run.spark, f"extract, batch {batch}", "parts of videos"):
        staged = tables.stage(extracted, "extract")
    attempts = {video["video"]: (video["attempts"] or 0) + 1 for video in videos}
    rows = [{**row, "attempts": attempts[row["video"]]} for row in frames.ledger_of(staged, videos)]
    num_frames = sum(row["num_frames"] for row in rows)
    tables.write_batch(frames.frames_of(staged, num_frames=num_frames), "frames", batch)
    tables.write_ledger(rows, batch)
    with logs.stage("extract"):
        for row in rows:
            log = _log.info if row["status"] == "ok" else _log.warning
            told = [row[name] for name in ("error", "warning") if row.get(name)]
            why = f": {'; '.join(told)}" if told else ""
            log("%s, %d frames%s", row["status"], row["num_frames"], why, extra={"video": row["video"]})
    counts = Counter(row["status"] for row in rows)
    warnings = sum(bool(row.get("warning")) for row in rows)
    return {"videos": len(videos), "frames": num_frames, "warnings": warnings, **counts}


def _require_few_failures(tables: Tables, counts: dict[str, int], max_share: float) -> None:
    if counts["failed"] <= max_share * counts["videos"]:
        return
    row = tables.ledger().where("status = 'failed'").orderBy(F.desc("batch"), "video").first()
    example = f", such as {row['video']} ({row['error']})" if row else ""
    raise InputError(
        f"{counts['failed']} of {counts['videos']} videos failed{example}: {tables.path('videos')} has each "
        "reason, and what was read is kept; to go on without the failed ones, set extract.max_failed_share "
        f"above {max_share}"
    )
