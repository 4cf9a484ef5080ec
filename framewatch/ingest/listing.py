"""Video files of any file system: which there are, what was passed over, and what their frames are called."""

import os
import posixpath
import re
from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from framewatch.ingest import patterns as files_of
from framewatch.ingest.patterns import PassedOver as PassedOver
from framewatch.io import storage
from framewatch.tables.schema import LISTING, require_columns


def list_videos(
    spark: SparkSession,
    patterns: Sequence[str],
    *,
    root: str | None = None,
    passed_over: PassedOver | None = None,
) -> DataFrame:
    """Lists video files on local paths and on any file system that Spark reaches.

    Args:
        spark: the session.
        patterns: files, directories, which are searched below for names with a video's suffix, or globs of
            them; or lists of files, CSV or Parquet, with a column `video` of paths or URIs. A path that
            exists is taken as it is, whatever wildcards are in its name.
        root: names are paths below it; by default below each pattern's part without wildcards.
        passed_over: counts what is left out.

    Returns:
        `video`, `size_bytes`, `modified_ms` since 1970, and `name`: the path below the root, without its
        extension. A video that several patterns match is there once. Rows are in order of URI.

    Raises:
        InputError: a pattern matches no video, or a list has no such column.
    """
    # Collected: a file that changes meanwhile must not have two identities.
    found: dict[str, tuple[Any, ...]] = {}
    passed_over = PassedOver() if passed_over is None else passed_over
    for pattern in patterns:
        if files_of.is_list(pattern):
            top, files = root, files_of.read_list(spark, pattern)
        else:
            top = root or files_of.fixed_part(pattern)
            files = files_of.list_pattern(spark, pattern, passed_over)
        for video, size_bytes, modified_ms in files:
            found.setdefault(video, (video, size_bytes, modified_ms, _name(video, top)))
    return _listing(spark, list(found.values()))


def list_named(videos: DataFrame, patterns: Sequence[str], *, root: str | None = None) -> DataFrame:
    """As `list_videos`, of files that are known by name: each as it is now.

    Args:
        videos: a column `video` of URIs.
        patterns: what they were found by; a name is the path below the first pattern that it lies below.
        root: names are paths below it, instead.
    """
    tops = [root] if root else [files_of.fixed_part(pattern) for pattern in patterns]

    rows = []
    for status in files_of.statuses_of(videos):
        names = [_name(status[0], top) for top in tops]
        rows.append((*status, next((name for name in names if "/" in name), names[0])))
    return _listing(videos.sparkSession, rows)


def _listing(spark: SparkSession, rows: list[tuple[Any, ...]]) -> DataFrame:
    return spark.createDataFrame(sorted(rows, key=lambda row: row[0]), LISTING)


def _name(video: str, root: str | None) -> str:
    """The path below the root, without its extension; the file's own name where it is not below."""
    path = files_of.without_scheme(video)
    name = storage.basename(path)
    if root is not None:
        top = posixpath.normpath(os.path.abspath(files_of.without_scheme(root))).rstrip("/") + "/"
        name = path.removeprefix(top) if path.startswith(top) else name
    # Bytes that are no text are percent-encoded here too.
    text = re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", name)
    return re.sub(r"\.[^./]*\Z", "", text)


def with_unique_names(listing: DataFrame, taken: DataFrame | None = None) -> DataFrame:
    """Gives videos that share a name one of their own, so that no two frames share an `origin`.

    Args:
        listing: rows of `list_videos`.
        taken: `video` and `name` of videos that are in the tables already.

    Returns:
        `listing`, where a shared name ends in `~` and twelve digits of the SHA-1 of the video's URI.
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
