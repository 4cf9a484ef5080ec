"""Lists video files on any file system, counts skipped files, and derives the names of frames."""

import itertools
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyspark
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from framewatch.ingest import patterns as files_of
from framewatch.ingest.patterns import PassedOver as PassedOver
from framewatch.io import storage
from framewatch.tables import columns
from framewatch.tables.schema import LISTING, require_columns

_ROWS_AT_ONCE = 10_000
_TAKES_ARROW = int(pyspark.__version__.partition(".")[0]) >= 4


def list_videos(
    spark: SparkSession,
    patterns: Sequence[str],
    *,
    root: str | None = None,
    passed_over: PassedOver | None = None,
) -> DataFrame:
    """Lists video files on local paths and on any file system that Spark can access.

    Args:
        spark: the session.
        patterns: files, directories (searched recursively for video suffixes), or globs; or CSV or Parquet
            lists with a column `video` of paths or URIs. An existing path is taken literally, even if its
            name contains wildcards.
        root: directory that names are relative to; by default each pattern's part before its wildcards.
        passed_over: counts skipped files.

    Returns:
        `video` (URI), `size_bytes`, `modified_ms` (epoch milliseconds), and `name`: the path relative to
        the root, without extension. A video that matches several patterns appears once. Sorted by URI.

    Raises:
        InputError: a pattern matches no video, or a list has no column `video`.
    """
    # Collected, so that a file that changes during the run keeps one identity.
    return _listing(
        spark, _named(spark, patterns, root, PassedOver() if passed_over is None else passed_over)
    )


def _named(
    spark: SparkSession, patterns: Sequence[str], root: str | None, passed_over: PassedOver
) -> Iterator[tuple[Any, ...]]:
    """Yields the rows of a listing, each file as the first pattern that matches it names it."""
    seen: set[str] = set()
    for pattern in patterns:
        files: Iterable[files_of.Status]
        if files_of.is_list(pattern):
            top, files = root, files_of.read_list(spark, pattern)
        else:
            top = root or files_of.fixed_part(pattern)
            files = files_of.list_pattern(spark, pattern, passed_over)
        for video, size_bytes, modified_ms in files:
            if video not in seen:
                yield video, size_bytes, modified_ms, _name(video, top)
            if len(patterns) > 1 or files_of.is_list(pattern):  # others give each file once
                seen.add(video)


def list_named(videos: DataFrame, patterns: Sequence[str], *, root: str | None = None) -> DataFrame:
    """Reads the current size and time of named files; returns the same columns as `list_videos`.

    Args:
        videos: a column `video` of URIs.
        patterns: the patterns that matched; names are relative to the first pattern that contains the file.
        root: directory that names are relative to, instead of the patterns.
    """
    tops = [root] if root else [files_of.fixed_part(pattern) for pattern in patterns]

    rows = []
    for status in files_of.statuses_of(videos):
        names = [_name(status[0], top) for top in tops]
        rows.append((*status, next((name for name in names if "/" in name), names[0])))
    return _listing(videos.sparkSession, rows)


def _listing(spark: SparkSession, rows: Iterable[tuple[Any, ...]]) -> DataFrame:
    # In Arrow: as Python's objects, a million files take a gigabyte.
    rows, chunks = iter(rows), []
    while some := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        arrays = zip(zip(*some, strict=True), columns.LISTING.types, strict=True)
        chunks.append(
            pa.RecordBatch.from_arrays([pa.array(*array) for array in arrays], schema=columns.LISTING)
        )
    table = pa.Table.from_batches(chunks, columns.LISTING).sort_by("video")
    if len(table) < _ROWS_AT_ONCE or not _TAKES_ARROW:
        return spark.createDataFrame([tuple(row.values()) for row in table.to_pylist()], LISTING)
    return spark.createDataFrame(table, LISTING)


def _name(video: str, root: str | None) -> str:
    """Returns the path relative to the root, without extension; the file name if it is outside the root."""
    path = files_of.without_scheme(video)
    name = storage.basename(path)
    if root is not None:
        top = posixpath.normpath(os.path.abspath(files_of.without_scheme(root))).rstrip("/") + "/"
        name = path.removeprefix(top) if path.startswith(top) else name
    # Bytes that are not valid UTF-8 are percent-encoded, as in the URI.
    text = re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", name)
    return re.sub(r"\.[^./]*\Z", "", text)


def with_unique_names(listing: DataFrame, taken: DataFrame | None = None) -> DataFrame:
    """Makes names unique, so that no two frames share an `origin`.

    Args:
        listing: rows of `list_videos`.
        taken: `video` and `name` of videos that are already in the tables.

    Returns:
        `listing`; each shared name gets the suffix `~` and twelve digits of the SHA-1 of the video's URI.
    """
    require_columns(listing, LISTING.fields, table="listing")
    claims = listing.select("video", "name")
    claims = claims.union(taken.select("video", "name")) if taken is not None else claims
    shared = claims.groupBy("name").agg(F.countDistinct("video").alias("claims")).where("claims > 1")
    unique = F.concat("name", F.lit("~"), F.substring(F.sha1("video"), 1, 12))
    return listing.join(shared, "name", "left").select(
        "video",
        "size_bytes",
        "modified_ms",
        F.when(F.col("claims").isNotNull(), unique).otherwise(F.col("name")).alias("name"),
    )
