"""Video files of any file system that Spark reaches: which there are, and what their frames are called."""

import functools
import glob
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from framewatch import storage
from framewatch.errors import InputError
from framewatch.schema import LISTING, fields, require_columns
from framewatch.video.suffixes import VIDEO_SUFFIXES

# A pattern that ends in one of these is a list of videos, in a column `video`.
LIST_SUFFIXES = (".csv", ".parquet")
_STATUS = StructType(fields(LISTING, "video", "size_bytes", "modified_ms"))
Status = tuple[str, int, int | None]
_WILDCARD = re.compile(r"[*?\[{]")
_SCHEME_AND_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*:(//[^/]*)?"


def list_videos(spark: SparkSession, patterns: Sequence[str], *, root: str | None = None) -> DataFrame:
    """Lists video files through Spark, so on any file system that Spark reaches.

    Args:
        spark: the session.
        patterns: files, globs, or directories, which are searched below for names with a video's suffix; or
            lists of files, CSV or Parquet, with a column `video` of paths or URIs.
        root: names are paths below it; by default below each pattern's part without wildcards.

    Returns:
        `video`, `size_bytes`, `modified_ms` since 1970, and `name`: the path below the root, without its
        extension. A video that several patterns match is there once. Rows are in order of URI.

    Raises:
        InputError: a pattern matches no video, or a list has no such column.
    """
    # Collected: a file that changes meanwhile must not have two identities.
    found: dict[str, tuple[Any, ...]] = {}
    for pattern in patterns:
        is_list = pattern.rstrip("/").lower().endswith(LIST_SUFFIXES)
        files = (_read_list if is_list else _list_pattern)(spark, pattern)
        top = root or (None if is_list else _fixed_part(pattern))
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
    tops = [root] if root else [_fixed_part(pattern) for pattern in patterns]

    rows = []
    for status in _statuses_of(videos):
        names = [_name(status[0], top) for top in tops]
        rows.append((*status, next((name for name in names if "/" in name), names[0])))
    return _listing(videos.sparkSession, rows)


def _listing(spark: SparkSession, rows: list[tuple[Any, ...]]) -> DataFrame:
    return spark.createDataFrame(sorted(rows, key=lambda row: row[0]), LISTING)


def _statuses_of(videos: DataFrame) -> list[Status]:
    work = functools.partial(_statuses, directory=os.getcwd())
    return [tuple(row) for row in videos.select("video").mapInArrow(work, _STATUS).collect()]


def _read_list(spark: SparkSession, pattern: str) -> list[Status]:
    reader = spark.read.option("header", True).option("multiLine", True).option("escape", '"')
    try:
        rows = reader.load(pattern, format=pattern.rstrip("/").lower().rpartition(".")[2])
    except AnalysisException as error:
        if "PATH_NOT_FOUND" in str(error):
            raise InputError(f"the list of videos '{pattern}' does not exist: check the path") from error
        raise
    if "video" not in rows.columns:
        raise InputError(
            f"the list of videos '{pattern}' has the columns {', '.join(rows.columns) or 'none'}: it must "
            "have a column video, of paths or URIs"
        )
    videos = rows.select(F.col("video").cast("string")).where("trim(video) <> ''").distinct()
    files = _statuses_of(videos)
    if not files:
        raise InputError(f"the list of videos '{pattern}' names none: give one or more in its column video")
    return files


def _statuses(batches: Iterator[pa.RecordBatch], *, directory: str) -> Iterator[pa.RecordBatch]:
    """Size and time of each file; one that is not there is told of when it is extracted."""
    for batch in batches:
        uris = [_uri(video, directory) for video in batch.column("video").to_pylist()]
        rows = [dict(zip(_STATUS.names, (uri, *storage.status(uri)), strict=True)) for uri in uris]
        yield pa.RecordBatch.from_pylist(rows, to_arrow_schema(_STATUS))


def _uri(video: str, directory: str) -> str:
    """As Spark writes what it lists itself, so that a video is the same however it is named."""
    if re.match(_SCHEME_AND_HOST, video) and not video.startswith("file:"):
        return video
    return "file:" + os.path.normpath(os.path.join(directory, storage.local_path(video) or video))


def _list_pattern(spark: SparkSession, pattern: str) -> list[Status]:
    remedy = "check the path, and quote wildcards so that the shell leaves them alone"
    nothing = f"no video matches '{pattern}': {remedy}"
    try:
        files = _list_files(spark, pattern)
    except AnalysisException as error:
        if "PATH_NOT_FOUND" in str(error):
            raise InputError(nothing) from error
        raise
    except Exception as error:
        if not re.search("No FileSystem for scheme|FileSystem not found", str(error)):
            raise
        scheme = pattern.partition(":")[0]
        raise InputError(
            f"Spark here cannot list '{pattern}', as it has no connector for {scheme}: add one by "
            "spark.conf.spark.jars.packages, or give a list of URIs in a CSV file, which needs none"
        ) from error
    files = [file for file in files if _has_suffix(file[0]) or _is_named(file[0], pattern)]
    files += [(path, 0, None) for path in _directories(pattern, files)]
    if not files:
        raise InputError(nothing)
    return files


def _list_files(spark: SparkSession, pattern: str) -> list[Status]:
    """Each file, the empty ones too, which a scan leaves out."""
    scan = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(pattern)
    rows = scan.select("path", "length", F.unix_millis("modificationTime")).collect()
    found = {path: (path, length, modified_ms) for path, length, modified_ms in rows}
    paths = [re.sub("^file:/+", "file:/", unquote(uri)) for uri in scan.inputFiles()]
    return [found.get(path, (path, 0, None)) for path in paths]


def _is_named(path: str, pattern: str) -> bool:
    """Whether a file was asked for by its name, with whatever suffix, rather than found in a directory."""
    depth = _uri(pattern.rstrip("/"), os.getcwd()).count("/")
    return "." in pattern.rpartition("/")[2].strip(".") and path.count("/") == depth


def _has_suffix(path: str) -> bool:
    return path.rstrip("/").rpartition(".")[2].lower() in VIDEO_SUFFIXES


def _directories(pattern: str, files: Sequence[Status]) -> list[str]:
    """Directories named like videos that hold none, where this machine sees them: they must be told of."""
    found = [path for path in glob.glob(storage.local_path(pattern) or "") if os.path.isdir(path)]
    uris = [_uri(path, os.getcwd()) for path in found if _has_suffix(path)]
    return [uri for uri in uris if not any(path.startswith(f"{uri}/") for path, _, _ in files)]


def _fixed_part(pattern: str) -> str:
    parts = pattern.split("/")
    wild = next((n for n, part in enumerate(parts) if _WILDCARD.search(part)), len(parts))
    return "/".join(parts[:wild]) or ("/" if pattern.startswith("/") else ".")


def _name(video: str, root: str | None) -> str:
    """The path below the root, without its extension; the file's own name where it is not below."""
    path = re.sub(_SCHEME_AND_HOST, "", video)
    base = storage.basename(path)
    if root is not None:
        bare_root = re.sub(_SCHEME_AND_HOST, "", root)
        top = posixpath.normpath(bare_root if bare_root.startswith("/") else os.path.abspath(bare_root))
        prefix = top.rstrip("/") + "/"
        base = path.removeprefix(prefix) if path.startswith(prefix) else base
    return re.sub(r"\.[^./]*\Z", "", base)


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
