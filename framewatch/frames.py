"""videos -> frames: list the videos, decode them on the workers, one task a video."""

import functools
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import IntegerType, StructField, StructType

from framewatch import storage
from framewatch.errors import InputError, VideoError
from framewatch.images import encode_jpeg
from framewatch.schema import (
    FRAMES,
    JPEG_METADATA,
    LISTING,
    METADATA_KEY,
    VIDEOS,
    fields,
    require_columns,
)
from framewatch.video.decoder import DecodedFrame, Decoding

VIDEO_SUFFIXES = (
    *(
        "3gp",
        "asf",
        "avi",
        "dav",
        "divx",
        "flv",
        "h264",
        "h265",
        "hevc",
        "m2ts",
        "m2v",
        "m4v",
        "mjpeg",
        "mjpg",
    ),
    *("mkv", "mov", "mp4", "mpe", "mpeg", "mpg", "mts", "mxf", "ogv", "ts", "vob", "webm", "wmv"),
)
_OUTCOME = StructType(
    fields(VIDEOS, "status", "error", "duration_s", "fps", "width", "height", "codec", "num_frames")
)
# What one pass over the videos gives: a row a frame, and one row a video that tells how it went.
EXTRACTED = StructType(
    [*[field for field in FRAMES.fields if field.name != "batch"], StructField("outcome", _OUTCOME)]
)
# Rows that travel to Spark at once: 32 JPEGs of CCTV are a few megabytes.
_ROWS_AT_ONCE = 32
_WILDCARD = re.compile(r"[*?\[{]")
_SCHEME_AND_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*:(//[^/]*)?"
# About 50 MB of CCTV frames a Parquet file.
_FRAMES_PER_FILE = 2000


def list_videos(spark: SparkSession, patterns: Sequence[str], *, root: str | None = None) -> DataFrame:
    """Lists video files through Spark, so on any file system that Spark reaches.

    Args:
        spark: the session.
        patterns: files, globs, or directories, which are searched below for names with a video's suffix.
        root: names are paths below it; by default below each pattern's part without wildcards.

    Returns:
        `video`, `size_bytes`, `modified_at`, and `name`: the path below the root, without its extension.

    Raises:
        InputError: a pattern matches no video.
    """
    listing = functools.reduce(DataFrame.union, [_list_pattern(spark, pattern, root) for pattern in patterns])
    return listing.dropDuplicates(["video"])


def _list_pattern(spark: SparkSession, pattern: str, root: str | None) -> DataFrame:
    remedy = "check the path, and quote wildcards so that the shell leaves them alone"
    nothing = f"no video matches '{pattern}': {remedy}"
    try:
        files = _list_files(spark, pattern)
    except AnalysisException as error:
        if "PATH_NOT_FOUND" in str(error):
            raise InputError(nothing) from error
        raise
    if "." not in pattern.rstrip("/").rsplit("/", 1)[-1].strip("."):  # a directory, or a glob of any names
        files = files.where(F.lower(F.substring_index("path", ".", -1)).isin(*VIDEO_SUFFIXES))
    if files.isEmpty():
        raise InputError(nothing)
    return files.select(
        F.col("path").alias("video"),
        F.col("length").alias("size_bytes"),
        F.col("modificationTime").alias("modified_at"),
        _name(F.col("path"), root or _fixed_part(pattern)).alias("name"),
    )


def _list_files(spark: SparkSession, pattern: str) -> DataFrame:
    """`path`, `length` and `modificationTime` of each file, the empty ones too, which a scan leaves out."""
    scan = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(pattern)
    paths = [(re.sub("^file:/+", "file:/", unquote(uri)),) for uri in scan.inputFiles()]
    listed = spark.createDataFrame(paths, "path string")
    scanned = scan.select("path", "length", "modificationTime")
    return listed.join(scanned, "path", "left").fillna(0, subset=["length"])


def _fixed_part(pattern: str) -> str:
    parts = pattern.split("/")
    wild = next((n for n, part in enumerate(parts) if _WILDCARD.search(part)), len(parts))
    return "/".join(parts[:wild]) or ("/" if pattern.startswith("/") else ".")


def _name(video: Column, root: str) -> Column:
    bare_root = re.sub(_SCHEME_AND_HOST, "", root)
    top = posixpath.normpath(bare_root if bare_root.startswith("/") else os.path.abspath(bare_root))
    path = F.regexp_replace(video, _SCHEME_AND_HOST, "")
    prefix = top.rstrip("/") + "/"
    below = F.when(path.startswith(prefix), F.substring(path, len(prefix) + 1, 2**31 - 1))
    return F.regexp_replace(F.coalesce(below, F.substring_index(path, "/", -1)), r"\.[^./]*$", "")


def with_unique_names(listing: DataFrame, taken: DataFrame | None = None) -> DataFrame:
    """Gives videos that share a name one of their own, so that no two frames share an `origin`.

    Args:
        listing: rows of `list_videos`.
        taken: `video` and `name` of videos that are in the tables already.

    Returns:
        `listing`, where a shared name ends in `~` and six digits of the SHA-1 of the video's URI.
    """
    require_columns(listing, LISTING.fields, table="listing")
    claims = listing.select("video", "name")
    claims = claims.union(taken.select("video", "name")) if taken is not None else claims
    shared = claims.groupBy("name").agg(F.countDistinct("video").alias("claims")).where("claims > 1")
    unique = F.concat("name", F.lit("~"), F.substring(F.sha1("video"), 1, 6))
    return listing.join(shared, "name", "left").select(
        "video",
        "size_bytes",
        "modified_at",
        F.when(F.col("claims").isNotNull(), unique).otherwise(F.col("name")).alias("name"),
    )


def one_video_per_task(spark: SparkSession, videos: Sequence[Row]) -> DataFrame:
    """The listed videos as a DataFrame with one row in each partition."""
    numbered = [(number, *(row[name] for name in LISTING.names)) for number, row in enumerate(videos)]
    rows = spark.createDataFrame(numbered, StructType([StructField("id", IntegerType()), *LISTING.fields]))
    # A broadcast join keeps the partitions of the range, one number in each; hashing would double some up.
    return spark.range(0, len(videos), 1, len(videos)).join(F.broadcast(rows), "id").select(*LISTING.names)


def extract_frames(
    videos: DataFrame, *, fps: float, jpeg_quality: int = 95, images_root: str, write_images: bool = False
) -> DataFrame:
    """Decodes videos and takes `fps` frames a second, at their true presentation times.

    Args:
        videos: rows of `list_videos`; each partition is one task.
        fps: samples a second.
        jpeg_quality: 1 to 100.
        images_root: directory below which the origins lie.
        write_images: whether to write each JPEG to its origin as well.

    Returns:
        One row a frame, and for each video one last row with `outcome` and no frame. `frames_of` and
        `ledger_of` take them apart.
    """
    require_columns(videos, LISTING.fields, table="listing")
    work = functools.partial(
        _extract_batches,
        fps=fps,
        jpeg_quality=jpeg_quality,
        images_root=images_root,
        write_images=write_images,
    )
    extracted = videos.select("video", "name").mapInArrow(work, EXTRACTED)
    return extracted.withMetadata(
        "content", {**JPEG_METADATA, METADATA_KEY: sampling_metadata(fps, jpeg_quality)}
    )


def sampling_metadata(fps: float, jpeg_quality: int) -> dict[str, float]:
    """What the metadata of `content` says of how its frames were taken."""
    return {"fps": float(fps), "jpeg_quality": jpeg_quality}


def frames_of(extracted: DataFrame, *, num_frames: int) -> DataFrame:
    """The `frames` table's rows, without `batch`, in files of about 50 MB in order of video and time."""
    num_files = max(1, -(-num_frames // _FRAMES_PER_FILE))
    columns = [name for name in FRAMES.names if name != "batch"]
    frames = extracted.where(F.col("outcome").isNull()).select(*columns)
    return frames.repartitionByRange(num_files, "video", "frame_index").sortWithinPartitions(
        "video", "frame_index"
    )


def ledger_of(extracted: DataFrame, videos: DataFrame) -> DataFrame:
    """The `videos` table's rows, without `batch`: what was listed, and how it went."""
    outcomes = extracted.where(F.col("outcome").isNotNull()).select("video", "outcome.*")
    columns = [name for name in VIDEOS.names if name != "batch"]
    return outcomes.join(videos, "video").select(*columns).orderBy("video").coalesce(1)


def _extract_batches(
    batches: Iterator[pa.RecordBatch], *, fps: float, jpeg_quality: int, images_root: str, write_images: bool
) -> Iterator[pa.RecordBatch]:
    arrow_schema = to_arrow_schema(EXTRACTED)
    pending: list[dict[str, Any]] = []
    for batch in batches:
        for video in batch.to_pylist():
            prefix = storage.join(images_root, video["name"])
            for row in _extract_video(video["video"], prefix, fps, jpeg_quality):
                if write_images and row["content"]:
                    storage.write_bytes(row["origin"], row["content"])
                pending.append(row)
                if len(pending) == _ROWS_AT_ONCE:
                    yield pa.RecordBatch.from_pylist(pending, arrow_schema)
                    pending = []
    if pending:
        yield pa.RecordBatch.from_pylist(pending, arrow_schema)


def _extract_video(video: str, prefix: str, fps: float, jpeg_quality: int) -> Iterator[dict[str, Any]]:
    """Rows of the video's frames, then its outcome; a failure is an outcome too, never an exception."""
    decoding: Decoding | None = None
    failure: str | None = None
    try:
        decoding = Decoding(_readable_path(video), fps)
        for frame in decoding.samples():
            yield _frame_row(frame, video, prefix, jpeg_quality)
    except Exception as error:
        # Whatever a decoder does with a damaged file, it must cost that file only.
        failure = " ".join(str(error).split()) or type(error).__name__
    yield {"video": video, "outcome": _outcome(decoding, failure), "content": None}


def _readable_path(video: str) -> str:
    path = storage.local_path(video)
    if path is None:
        raise VideoError(
            "remote storage is not read yet: mount it, or copy the video to a path that workers see"
        )
    return path


def _frame_row(frame: DecodedFrame, video: str, prefix: str, jpeg_quality: int) -> dict[str, Any]:
    height, width = frame.image.shape[:2]
    return {
        "origin": f"{prefix}frame{frame.index:04d}.jpg",
        "video": video,
        "frame_index": frame.index,
        "timestamp_s": frame.timestamp_s,
        "width": width,
        "height": height,
        "content": encode_jpeg(frame.image, quality=jpeg_quality),
    }


def _outcome(decoding: Decoding | None, failure: str | None) -> dict[str, Any]:
    if decoding is None or decoding.num_samples == 0:
        return {"status": "failed", "error": failure, "num_frames": 0}
    reasons = [reason for reason in (decoding.problem(), failure) if reason]
    return {
        "status": "partial" if reasons else "ok",
        "error": "; ".join(reasons) or None,
        "duration_s": decoding.duration_s,
        "fps": decoding.info.fps,
        "width": decoding.info.width,
        "height": decoding.info.height,
        "codec": decoding.info.codec,
        "num_frames": decoding.num_samples,
    }
