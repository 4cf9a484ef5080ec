"""videos -> frames, and features in one pass: each part of a video is decoded in its own Spark task."""

import functools
import math
from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)

from framewatch.config.inputs import FramesConfig, SamplingConfig
from framewatch.ingest.featurizing import Featurizing, ingest_batches
from framewatch.ingest.listing import list_videos, with_unique_names
from framewatch.io import access
from framewatch.tables.schema import (
    FEATURES,
    FRAMES,
    JPEG_METADATA,
    LISTING,
    METADATA_KEY,
    VIDEOS,
    fields,
    require_columns,
)
from framewatch.video.outcome import combined
from framewatch.video.worker import Sampling, extract_batches, frame_batches, plan_batches

# A range of one video's samples, [first, stop); stop is null for the last part.
PARTS = StructType(
    [
        StructField("id", LongType()),
        *fields(LISTING, "video", "name"),
        StructField("first", IntegerType()),
        StructField("stop", IntegerType()),
    ]
)
_PLAN = StructType(
    [
        *fields(LISTING, "video"),
        StructField("duration_s", DoubleType()),
        StructField("splittable", BooleanType()),
    ]
)
_OUTCOME = StructType(
    [
        StructField("failure", StringType()),
        StructField("unreadable", BooleanType()),
        StructField("complaint", StringType()),
        StructField("num_damaged", IntegerType()),
        StructField("duration_s", DoubleType()),
        StructField("expected_s", DoubleType()),
        StructField("tolerance_s", DoubleType()),
        StructField("is_whole", BooleanType()),
        StructField("gap_s", DoubleType()),
        StructField("goes_on_in", StringType()),
        *fields(VIDEOS, "warning", "fps", "width", "height", "codec", "num_frames"),
    ]
)
# The result of one pass over the parts: one row per frame, and one row per part with its outcome.
EXTRACTED = StructType(
    [*[field for field in FRAMES.fields if field.name != "batch"], StructField("outcome", _OUTCOME)]
)
# The result of the one pass: the same, and each frame's features, or the reason for their lack.
INGESTED = StructType(
    [
        *EXTRACTED.fields,
        StructField("features", ArrayType(FloatType())),
        StructField("change", ArrayType(FloatType())),
        StructField("motion", ArrayType(FloatType())),
        StructField("error", StringType()),
    ]
)
# What `read_frames` gives: a row per frame, and a row per video that is not whole, with the reason.
READ = StructType(
    [*[field for field in FRAMES.fields if field.name != "batch"], StructField("error", StringType())]
)
_MOST_PARTS = 10_000
# About 50 MB of full CCTV frames in each Parquet file, or 30 MB of thumbnails.
_FRAMES_PER_FILE = 2000


def read_frames(
    spark: SparkSession,
    paths: str | Sequence[str],
    fps: float = 1.0,
    *,
    max_side: int = 0,
    jpeg_quality: int = 95,
    timeout_s: float = 3600.0,
) -> DataFrame:
    """Reads frames of videos at their presentation times, `fps` samples per second.

    The videos are listed at once and decoded when the result is used, one task per video. Cache or write the
    result where it is used more than once.

    Args:
        spark: the session.
        paths: files, directories or globs, on local paths or any file system that Spark reaches.
        fps: samples per second.
        max_side: longest side of a picture in pixels, larger ones are scaled down; 0 keeps their size.
        jpeg_quality: 1 to 100.
        timeout_s: seconds after which decoding of a video stops.

    Returns:
        One row per frame: `origin` (unique name), `video` (URI), `frame_index`, `timestamp_s` (seconds from
        the video's first frame), `width`, `height` (pixels), `content` (JPEG), and `error`, which is null. A
        video that fails or is damaged has one more row, with only `video` and `error`.

    Raises:
        InputError: a path matches no video.
        ConfigError: a setting is out of range.

    Example:
        >>> frames = read_frames(spark, "videos/train", fps=1)
        >>> frames.where("error is null").count()
        12
    """
    sampled = SamplingConfig(fps=fps)  # which check themselves
    stored = FramesConfig(jpeg_quality=jpeg_quality, max_side=max_side)
    videos = with_unique_names(list_videos(spark, [paths] if isinstance(paths, str) else list(paths)))
    rows = [(video["video"], video["name"], 0, None) for video in videos.orderBy("video").collect()]
    sampling = Sampling(sampled.fps, stored.jpeg_quality, stored.max_side, timeout_s)
    work = functools.partial(
        frame_batches,
        schema=to_arrow_schema(READ),
        outcome_names=_OUTCOME.names,
        sampling=sampling,
        images_root="images",
    )
    frames = _one_per_task(spark, rows).mapInArrow(work, READ)
    return frames.withMetadata("content", {**JPEG_METADATA, METADATA_KEY: sampling.metadata()})


def plan_parts(
    spark: SparkSession, videos: Sequence[Row], *, sampling: Sampling, chunk_s: float
) -> DataFrame:
    """Opens each video on a worker, and splits long videos into parts.

    Args:
        spark: the session.
        videos: rows of `list_videos`.
        sampling: how frames are taken.
        chunk_s: seconds; a longer video becomes several parts if its container allows seeking.

    Returns:
        Rows of `PARTS`, one per partition, longest first so that no long part runs last.
    """
    listed = spark.createDataFrame([tuple(row[name] for name in LISTING.names) for row in videos], LISTING)
    spread = listed.select("video").repartition(len(videos))
    work = functools.partial(
        plan_batches, schema=to_arrow_schema(_PLAN), chunk_s=chunk_s, timeout_s=sampling.timeout_s
    )
    plans = {row["video"]: row for row in spread.mapInArrow(work, _PLAN).collect()}
    samples_per_part = max(1, math.floor(chunk_s * sampling.fps))
    parts: list[tuple[float, tuple[Any, ...]]] = []
    for video in videos:
        plan = plans[video["video"]]
        num_samples = math.ceil((plan["duration_s"] or 0) * sampling.fps)
        num_parts = max(1, math.ceil(num_samples / samples_per_part)) if plan["splittable"] else 1
        num_parts = min(num_parts, _MOST_PARTS)  # a damaged header may give a duration of years
        for part in range(num_parts):
            last = part == num_parts - 1
            first, stop = part * samples_per_part, None if last else (part + 1) * samples_per_part
            length = num_samples - first if last else samples_per_part
            parts.append((-length, (video["video"], video["name"], first, stop)))
    return _one_per_task(spark, [row for _, row in sorted(parts, key=lambda part: part[0])])


def _one_per_task(spark: SparkSession, parts: Sequence[tuple[Any, ...]]) -> DataFrame:
    """Returns rows of `PARTS` in the given order, one per partition."""
    rows = [(number, *part) for number, part in enumerate(parts)]
    # A broadcast join keeps the range's partitions, one part in each; a shuffle would put two in some.
    numbers = spark.range(0, len(rows), 1, len(rows))
    return numbers.join(F.broadcast(spark.createDataFrame(rows, PARTS)), "id").select(*PARTS.names)


def extract_frames(
    parts: DataFrame, *, sampling: Sampling, images_root: str, write_images: bool = False
) -> DataFrame:
    """Decodes parts of videos and takes frames by their presentation timestamps.

    Args:
        parts: rows of `PARTS`; each partition is one task.
        sampling: how frames are taken.
        images_root: directory that origins are relative to.
        write_images: whether to also write each JPEG to the path in its `origin`.

    Returns:
        One row per frame, and after them one row per part with `outcome` and no frame. `frames_of` and
        `ledger_of` separate the two.
    """
    require_columns(parts, PARTS.fields, table="parts")
    work = functools.partial(
        extract_batches,
        schema=to_arrow_schema(EXTRACTED),
        sampling=sampling,
        images_root=images_root,
        write_images=write_images,
        file_access=access.current(),
    )
    extracted = parts.mapInArrow(work, EXTRACTED)
    return extracted.withMetadata("content", {**JPEG_METADATA, METADATA_KEY: sampling.metadata()})


def ingest_frames(
    parts: DataFrame, *, sampling: Sampling, images_root: str, featurizing: Featurizing
) -> DataFrame:
    """Decodes parts of videos like `extract_frames`, and computes the features of their frames meanwhile.

    Args:
        parts: rows of `PARTS`; each partition is one task.
        sampling: how frames are taken, and which pictures of them are stored.
        images_root: directory that origins are relative to.
        featurizing: the network.

    Returns:
        Rows as of `extract_frames`, with `features` and `error`. `frames_of`, `features_of` and `ledger_of`
        separate them.
    """
    require_columns(parts, PARTS.fields, table="parts")
    work = functools.partial(
        ingest_batches,
        schema=to_arrow_schema(INGESTED),
        sampling=sampling,
        images_root=images_root,
        featurizing=featurizing,
        file_access=access.current(),
    )
    ingested = parts.mapInArrow(work, INGESTED)
    ingested = ingested.withMetadata("content", {**JPEG_METADATA, METADATA_KEY: sampling.metadata()})
    return ingested.withMetadata("features", {METADATA_KEY: featurizing.spec.identity()})


def frames_of(extracted: DataFrame, *, num_frames: int) -> DataFrame:
    """Returns the rows of the `frames` table, without `batch`, in sorted files of about 2,000 frames."""
    frames = extracted.where(F.col("outcome").isNull())
    columns = [name for name in FRAMES.names if name != "batch"]
    return _in_files(frames.select(*columns), num_frames)


def features_of(ingested: DataFrame, *, num_frames: int) -> DataFrame:
    """Returns the rows of the `features` table, without `batch`, in sorted files of about 2,000 frames."""
    frames = ingested.where(F.col("outcome").isNull())
    columns = [name for name in FEATURES.names if name != "batch"]
    return _in_files(frames.select(*columns), num_frames)


def _in_files(frames: DataFrame, num_frames: int) -> DataFrame:
    # Without a shuffle: it would write all pictures twice more, and a range needs a pass to sample them.
    num_files = max(1, -(-num_frames // _FRAMES_PER_FILE))
    return frames.coalesce(num_files).sortWithinPartitions("video", "frame_index")


def ledger_of(extracted: DataFrame, videos: Sequence[Row]) -> list[dict[str, Any]]:
    """Returns one row of the `videos` table for each video: its listing, and the outcome of its parts."""
    outcomes: dict[str, list[dict[str, Any]]] = {video["video"]: [] for video in videos}
    for row in extracted.where(F.col("outcome").isNotNull()).select("video", "outcome").collect():
        outcomes[row["video"]].append(row["outcome"].asDict())
    return [
        {
            **combined(outcomes[video["video"]]),
            **{name: video[name] for name in ("video", "name", "size_bytes", "modified_ms")},
        }
        for video in videos
    ]
