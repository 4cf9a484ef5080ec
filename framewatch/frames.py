"""videos -> frames: plan the parts, decode them on the workers, one task a part."""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import (
    BooleanType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)

from framewatch import storage
from framewatch.errors import VideoError
from framewatch.schema import (
    FRAMES,
    JPEG_METADATA,
    LISTING,
    METADATA_KEY,
    VIDEOS,
    fields,
    require_columns,
)
from framewatch.video.outcome import combined
from framewatch.video.process import DecoderProcess

# A range of one video's samples, [first, stop); stop is null for all to the end.
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
        StructField("complaint", StringType()),
        StructField("num_damaged", IntegerType()),
        StructField("duration_s", DoubleType()),
        StructField("expected_s", DoubleType()),
        *fields(VIDEOS, "fps", "width", "height", "codec", "num_frames"),
    ]
)
# What one pass over the parts gives: a row a frame, and one row a part that tells how it went.
EXTRACTED = StructType(
    [*[field for field in FRAMES.fields if field.name != "batch"], StructField("outcome", _OUTCOME)]
)
_MOST_PARTS = 10_000
# Rows that travel to Spark at once: 32 JPEGs of CCTV are a few megabytes.
_ROWS_AT_ONCE = 32
# About 50 MB of CCTV frames a Parquet file.
_FRAMES_PER_FILE = 2000


@dataclass(frozen=True)
class Sampling:
    """How frames are taken and kept.

    Attributes:
        fps: samples a second.
        jpeg_quality: 1 to 100.
        max_side: the longer side of larger frames, pixels; 0 for any.
        timeout_s: what one task may take of a video before it is given up.
        tolerance_s: above 0, the keyframe nearest to each sample's time is taken, if it is this near.
        decode_all: decode also what no sample needs, so that all damage is found.
    """

    fps: float = 1.0
    jpeg_quality: int = 95
    max_side: int = 0
    timeout_s: float = 3600.0
    tolerance_s: float = 0.0
    decode_all: bool = False

    def metadata(self) -> dict[str, float]:
        """What the metadata of `content` says: frames that differ in it are not mixed."""
        told: dict[str, float] = {"fps": float(self.fps), "jpeg_quality": self.jpeg_quality}
        more = {"max_side": self.max_side, "keyframes_within_s": self.tolerance_s}
        return {**told, **{name: value for name, value in more.items() if value}}


def plan_parts(
    spark: SparkSession, videos: Sequence[Row], *, sampling: Sampling, chunk_s: float
) -> DataFrame:
    """Opens each video on a worker, and splits the long ones.

    Args:
        spark: the session.
        videos: rows of `list_videos`.
        sampling: how frames are taken.
        chunk_s: a video longer than this becomes several parts, where it can be split.

    Returns:
        Rows of `PARTS`, one in each partition, the longest first: no long one is left for the end.
    """
    listed = spark.createDataFrame([tuple(row[name] for name in LISTING.names) for row in videos], LISTING)
    spread = listed.select("video").repartition(len(videos))
    work = functools.partial(_plan_batches, chunk_s=chunk_s, timeout_s=sampling.timeout_s)
    plans = {row["video"]: row for row in spread.mapInArrow(work, _PLAN).collect()}
    samples_per_part = max(1, math.floor(chunk_s * sampling.fps))
    parts: list[tuple[float, tuple[Any, ...]]] = []
    for video in videos:
        plan = plans[video["video"]]
        num_samples = math.ceil((plan["duration_s"] or 0) * sampling.fps)
        num_parts = max(1, math.ceil(num_samples / samples_per_part)) if plan["splittable"] else 1
        num_parts = min(num_parts, _MOST_PARTS)  # a damaged header may tell of years
        for part in range(num_parts):
            last = part == num_parts - 1
            first, stop = part * samples_per_part, None if last else (part + 1) * samples_per_part
            length = num_samples - first if last else samples_per_part
            parts.append((-length, (video["video"], video["name"], first, stop)))
    rows = [(number, *row) for number, (_, row) in enumerate(sorted(parts, key=lambda part: part[0]))]
    # A broadcast join keeps the partitions of the range, one number in each; hashing would double some up.
    numbers = spark.range(0, len(rows), 1, len(rows))
    return numbers.join(F.broadcast(spark.createDataFrame(rows, PARTS)), "id").select(*PARTS.names)


def extract_frames(
    parts: DataFrame, *, sampling: Sampling, images_root: str, write_images: bool = False
) -> DataFrame:
    """Decodes parts of videos and takes frames at their true presentation times.

    Args:
        parts: rows of `PARTS`; each partition is one task.
        sampling: how frames are taken.
        images_root: directory below which the origins lie.
        write_images: whether to write each JPEG to its origin as well.

    Returns:
        One row a frame, and for each part one last row with `outcome` and no frame. `frames_of` and
        `ledger_of` take them apart.
    """
    require_columns(parts, PARTS.fields, table="parts")
    work = functools.partial(
        _extract_batches, sampling=sampling, images_root=images_root, write_images=write_images
    )
    extracted = parts.mapInArrow(work, EXTRACTED)
    return extracted.withMetadata("content", {**JPEG_METADATA, METADATA_KEY: sampling.metadata()})


def frames_of(extracted: DataFrame, *, num_frames: int) -> DataFrame:
    """The `frames` table's rows, without `batch`, in files of about 50 MB in order of video and time."""
    num_files = max(1, -(-num_frames // _FRAMES_PER_FILE))
    columns = [name for name in FRAMES.names if name != "batch"]
    frames = extracted.where(F.col("outcome").isNull()).select(*columns)
    return frames.repartitionByRange(num_files, "video", "frame_index").sortWithinPartitions(
        "video", "frame_index"
    )


def ledger_of(extracted: DataFrame, videos: Sequence[Row]) -> list[dict[str, Any]]:
    """The `videos` table's rows, without `batch`: what was listed, and how its parts went."""
    outcomes: dict[str, list[dict[str, Any]]] = {video["video"]: [] for video in videos}
    for row in extracted.where(F.col("outcome").isNotNull()).select("video", "outcome").collect():
        outcomes[row["video"]].append(row["outcome"].asDict())
    return [
        {**combined(outcomes[video["video"]]), **{name: video[name] for name in LISTING.names[:3]}}
        for video in videos
    ]


@functools.lru_cache(maxsize=1)
def _decoder() -> DecoderProcess:
    return DecoderProcess()


def _plan_batches(
    batches: Iterator[pa.RecordBatch], *, chunk_s: float, timeout_s: float
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows = [
            {"video": row["video"], **_plan(row["video"], chunk_s, timeout_s)} for row in batch.to_pylist()
        ]
        yield pa.RecordBatch.from_pylist(rows, to_arrow_schema(_PLAN))


def _plan(video: str, chunk_s: float, timeout_s: float) -> dict[str, Any]:
    """What fails here fails again, and is told, when the video is extracted."""
    request = {"task": "plan", "source": storage.readable(video), "chunk_s": chunk_s}
    try:
        for header, _ in _decoder().run(request, timeout_s=timeout_s):
            return header["outcome"]
    except VideoError:
        pass
    return {}


def _extract_batches(
    batches: Iterator[pa.RecordBatch], *, sampling: Sampling, images_root: str, write_images: bool
) -> Iterator[pa.RecordBatch]:
    arrow_schema = to_arrow_schema(EXTRACTED)
    pending: list[dict[str, Any]] = []
    for batch in batches:
        for part in batch.to_pylist():
            prefix = storage.join(images_root, part["name"])
            for row in _extract_part(part, prefix, sampling, write_images=write_images):
                pending.append(row)
                if len(pending) == _ROWS_AT_ONCE:
                    yield pa.RecordBatch.from_pylist(pending, arrow_schema)
                    pending = []
    if pending:
        yield pa.RecordBatch.from_pylist(pending, arrow_schema)


def _extract_part(
    part: dict[str, Any], prefix: str, sampling: Sampling, *, write_images: bool
) -> Iterator[dict[str, Any]]:
    """Rows of a part's frames, then its outcome; a failure is an outcome too, never an exception."""
    request = {
        "task": "extract",
        "source": storage.readable(part["video"]),
        "first": part["first"],
        "stop": part["stop"],
        "fps": sampling.fps,
        "jpeg_quality": sampling.jpeg_quality,
        "max_side": sampling.max_side,
        "tolerance_s": sampling.tolerance_s,
        "decode_all": sampling.decode_all,
    }
    num_frames, outcome = 0, {}
    try:
        for header, jpeg in _decoder().run(request, timeout_s=sampling.timeout_s):
            if "outcome" in header:
                outcome = header["outcome"]
            else:
                row = _frame_row(header, jpeg, part["video"], prefix)
                if write_images:
                    storage.write_bytes(row["origin"], jpeg)
                num_frames += 1
                yield row
    except VideoError as error:
        outcome = {"failure": str(error)}
    except OSError as error:
        outcome = {"failure": f"a picture cannot be written: {error.strerror or error} ({error.filename})"}
    told = {"complaint": _decoder().last_complaint(), **outcome, "num_frames": num_frames}
    yield {"video": part["video"], "outcome": told, "content": None}


def _frame_row(header: dict[str, Any], jpeg: bytes, video: str, prefix: str) -> dict[str, Any]:
    return {
        "origin": f"{prefix}frame{header['index']:04d}.jpg",
        "video": video,
        "frame_index": header["index"],
        "timestamp_s": header["timestamp_s"],
        "width": header["width"],
        "height": header["height"],
        "content": jpeg,
    }
