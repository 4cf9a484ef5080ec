"""Resolves one input pattern: a file, a directory, a glob, or a list of videos.

Local files are listed in plain Python, by a worker if there are any on other machines, because workers read
the files. Spark lists all others.
"""

import fnmatch
import functools
import glob
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote

import pyarrow as pa
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StringType, StructField, StructType

from framewatch.errors import InputError, NoVideosError
from framewatch.ingest import walk
from framewatch.io import logs, storage
from framewatch.spark.java_errors import explained
from framewatch.tables.schema import LISTING, fields

# A pattern with one of these suffixes is a list of videos in a column `video`.
_LIST_SUFFIXES = (".csv", ".parquet")
STATUS = StructType(fields(LISTING, "video", "size_bytes", "modified_ms"))
_ENTRIES = StructType(
    [*STATUS.fields, StructField("reason", StringType()), StructField("detail", StringType())]
)
_HIDDEN = StructType(fields(LISTING, "video"))
_ROWS_AT_ONCE = 10_000
_NO_SUCH_PATH = "/framewatch-asks-which-file-system-this-is-on"

_SCHEME_AND_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*:(//[^/]*)?"

_log = logs.get("listing")

Status = tuple[str, int, int | None]
T = TypeVar("T")


@dataclass
class PassedOver:
    """Counts the skipped names of a listing by reason, with one example each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, uri: str, reason: str, detail: str | None = None) -> None:
        """Counts and logs a skipped name."""
        text = uri.removeprefix("file:") + (f": {detail}" if detail else "")
        self.counts[reason] += 1
        self.examples.setdefault(reason, text)
        _log.debug("passed over, %s%s", reason, f" ({detail})" if detail else "", extra={"video": uri})

    def merge(self, other: "PassedOver") -> None:
        """Adds the counts of another instance."""
        self.counts += other.counts
        self.examples = {**other.examples, **self.examples}

    def __str__(self) -> str:
        """Returns one line; empty if nothing was skipped."""
        return "; ".join(
            f"{num} {walk.PLURALS[reason]}, such as {self.examples[reason]}"
            if num > 1
            else f"1 {reason}, {self.examples[reason]}"
            for reason, num in sorted(self.counts.items())
        )


def is_list(pattern: str) -> bool:
    """Returns whether a pattern names a list of videos."""
    return pattern.rstrip("/").lower().endswith(_LIST_SUFFIXES)


def read_list(spark: SparkSession, pattern: str) -> list[Status]:
    """Returns the files that a list names.

    Raises:
        InputError: the list does not exist, has no column `video`, or is empty.
    """
    reader = spark.read.option("header", True).option("multiLine", True).option("escape", '"')
    reader = reader.format(pattern.rstrip("/").lower().rpartition(".")[2])
    rows = _literal_first(reader.load, pattern)
    if rows is None:
        raise _missing_list(pattern)
    if "video" not in rows.columns:
        raise InputError(
            f"the list of videos '{pattern}' has the columns {', '.join(rows.columns) or 'none'}: it must "
            "have a column video, of paths or URIs"
        )
    videos = rows.select(F.col("video").cast("string")).where("trim(video) <> ''").distinct()
    files = statuses_of(videos)
    if not files:
        raise InputError(f"the list of videos '{pattern}' is empty: add paths or URIs to its column video")
    return files


def statuses_of(videos: DataFrame) -> list[Status]:
    """Returns URI, size and modification time of each file in the column `video`, read on the workers."""
    work = functools.partial(_statuses, directory=os.getcwd())
    return [tuple(row) for row in videos.select("video").mapInArrow(work, STATUS).collect()]


def _statuses(batches: Iterator[pa.RecordBatch], *, directory: str) -> Iterator[pa.RecordBatch]:
    """Yields size and time of each file. Extraction reports the missing ones."""
    for batch in batches:
        uris = [_uri(video, directory) for video in batch.column("video").to_pylist()]
        rows = [dict(zip(STATUS.names, (uri, *storage.status(uri)), strict=True)) for uri in uris]
        yield pa.RecordBatch.from_pylist(rows, to_arrow_schema(STATUS))


def _uri(video: str, directory: str) -> str:
    """Returns the URI as a listing writes it, so that all spellings of a path name the same video."""
    if _is_uri(video) and not video.lower().startswith("file:"):
        return video
    return storage.local_uri(_absolute(video, directory))


def _is_uri(text: str) -> bool:
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text))


def without_scheme(uri: str) -> str:
    """Returns the path of a URI; returns a path unchanged."""
    if not _is_uri(uri):
        return uri
    local = storage.local_path(uri) if uri.lower().startswith("file:") else None
    return local or re.sub(_SCHEME_AND_HOST, "", uri)


def _absolute(path: str, directory: str) -> str:
    return os.path.normpath(os.path.join(directory, storage.local_path(path) or path))


def list_pattern(spark: SparkSession, pattern: str, passed_over: PassedOver) -> Iterator[Status]:
    """Yields the videos that a file, a directory or a glob names, and counts skipped files.

    Raises:
        InputError: the pattern matches no video.
    """
    left_out = PassedOver()
    is_local = pattern.lower().startswith("file:") or (
        not _is_uri(pattern) and _default_scheme(spark) == "file"
    )
    is_empty = True
    with explained():
        for file in (_list_local if is_local else _list_remote)(spark, pattern, left_out):
            is_empty = False
            yield file
    if is_empty:
        raise _nothing_found(pattern, left_out)
    passed_over.merge(left_out)


def check_local(pattern: str) -> None:
    """Checks, without Spark, that a pattern names a local video or an existing list of videos.

    Raises:
        InputError: as `list_pattern` and `read_list`.
    """
    left_out = PassedOver()
    path = _absolute(pattern, os.getcwd())
    if is_list(pattern):
        if not os.path.lexists(path) and not glob.glob(path):
            raise _missing_list(pattern)
        return
    for entry in walk.find_files(path):
        if entry.reason is None:
            return
        left_out.add(storage.local_uri(entry.path), entry.reason, entry.detail)
    raise _nothing_found(pattern, left_out)


def _nothing_found(pattern: str, left_out: PassedOver) -> NoVideosError:
    why = f" (passed over: {left_out})" if left_out.counts else ""
    return NoVideosError(
        f"no video matches '{pattern}'{why}: check the path, and quote wildcards so that the shell "
        "leaves them alone"
    )


def _missing_list(pattern: str) -> InputError:
    return InputError(f"the list of videos '{pattern}' does not exist: check the path")


def _default_scheme(spark: SparkSession) -> str:
    """Returns the scheme of Spark's default file system, read from its error for a missing path."""
    try:
        spark.read.text(_NO_SUCH_PATH).schema  # noqa: B018
    except AnalysisException as error:
        if found := re.search(rf"([A-Za-z][A-Za-z0-9+.-]+):[^\s]*{_NO_SUCH_PATH}", str(error)):
            return found.group(1)
    return "file"


def _list_local(spark: SparkSession, pattern: str, passed_over: PassedOver) -> Iterator[Status]:
    absolute = _absolute(pattern, os.getcwd())
    if str(spark.conf.get("spark.master", "")).startswith("local"):  # the workers are on this machine
        rows: Iterable[Any] = _entries(absolute)
    else:
        work = functools.partial(_walk_batches, pattern=absolute)
        rows = spark.range(0, 1, 1, 1).mapInArrow(work, _ENTRIES).toLocalIterator()
    for row in rows:
        if row["reason"]:
            passed_over.add(row["video"], row["reason"], row["detail"])
        else:
            yield row["video"], row["size_bytes"], row["modified_ms"]


def _entries(pattern: str) -> Iterator[dict[str, Any]]:
    return ({**vars(entry), "video": storage.local_uri(entry.path)} for entry in walk.find_files(pattern))


def _walk_batches(_: Iterator[pa.RecordBatch], *, pattern: str) -> Iterator[pa.RecordBatch]:
    entries = _entries(pattern)
    while some := list(itertools.islice(entries, _ROWS_AT_ONCE)):
        yield pa.RecordBatch.from_pylist(some, to_arrow_schema(_ENTRIES))


def _list_remote(spark: SparkSession, pattern: str, passed_over: PassedOver) -> Iterator[Status]:
    files = _literal_first(functools.partial(_list_files, spark), pattern)
    if files is None:
        return
    for uri in _hidden(spark, pattern):
        passed_over.add(uri, walk.HIDDEN)
    for file in files:
        if walk.has_video_suffix(file[0]) or _is_named(file[0], pattern):
            yield file
        else:
            passed_over.add(file[0], walk.NO_SUFFIX)


def _literal_first(read: Callable[[str], T], pattern: str) -> T | None:
    """Reads a pattern as a literal path, then as a glob; returns None if neither exists."""
    brackets_as_they_are = re.sub(r"([\[\]{}])", r"\\\1", pattern)
    for path in dict.fromkeys((storage.escape_spark_glob(pattern), pattern, brackets_as_they_are)):
        try:
            return read(path)
        except AnalysisException as error:
            if "PATH_NOT_FOUND" not in str(error):
                raise
    return None


def _list_files(spark: SparkSession, pattern: str) -> list[Status]:
    """Lists all files, including empty ones, which a scan omits."""
    scan = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(pattern)
    rows = scan.select("path", "length", F.unix_millis("modificationTime")).collect()
    found = {path: (path, length, modified_ms) for path, length, modified_ms in rows}
    paths = [re.sub("^([^:/]+):///", r"\1:/", unquote(uri)) for uri in scan.inputFiles()]
    return [found.get(path, (path, 0, None)) for path in paths]


def _hidden(spark: SparkSession, pattern: str) -> list[str]:
    """Returns videos that Spark skips because a name begins with `_` or `.`, if a worker can list them."""
    work = functools.partial(_hidden_batches, pattern=pattern)
    return [row["video"] for row in spark.range(0, 1, 1, 1).mapInArrow(work, _HIDDEN).collect()]


def _hidden_batches(_: Iterator[pa.RecordBatch], *, pattern: str) -> Iterator[pa.RecordBatch]:
    uris = hidden_videos(pattern)
    yield pa.RecordBatch.from_pylist([{"video": uri} for uri in uris], to_arrow_schema(_HIDDEN))


def hidden_videos(pattern: str) -> list[str]:
    """Returns URIs of hidden videos at or below a glob; empty if fsspec cannot access the location."""
    top = fixed_part(pattern)
    wild = pattern.removeprefix(top).strip("/").split("/") if pattern != top else []
    try:
        files, path = storage.filesystem(top)
        found = [name.removeprefix(path).strip("/") for name in files.find(path)]
    except Exception:  # each fsspec backend has its own; Spark may have access where fsspec has none
        return []
    return [
        storage.join(top, name)
        for name in found
        if walk.has_video_suffix(name)
        and any(part.startswith(("_", ".")) for part in name.split("/"))
        and all(map(fnmatch.fnmatchcase, name.split("/"), wild))
    ]


def _is_named(path: str, pattern: str) -> bool:
    """Returns whether the pattern names this file itself, with any suffix, not a directory above it."""
    depth = _uri(pattern.rstrip("/"), os.getcwd()).count("/")
    return "." in pattern.rpartition("/")[2].strip(".") and path.count("/") == depth


def fixed_part(pattern: str) -> str:
    """Returns the part of a pattern before its wildcards: an absolute path or a URI."""
    if _is_uri(pattern) and not pattern.lower().startswith("file:"):
        parts = pattern.split("/")
        wild = next((n for n, part in enumerate(parts) if walk.WILDCARD.search(part)), len(parts))
        return "/".join(parts[:wild])
    return walk.fixed_local_part(_absolute(pattern, os.getcwd()))[0]
