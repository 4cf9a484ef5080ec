"""Video files of any file system that Spark reaches: which there are, and what their frames are called."""

import functools
import os
import posixpath
import re
from collections.abc import Sequence
from urllib.parse import unquote

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from framewatch.errors import InputError
from framewatch.schema import LISTING, require_columns

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
_WILDCARD = re.compile(r"[*?\[{]")
_SCHEME_AND_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*:(//[^/]*)?"


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
