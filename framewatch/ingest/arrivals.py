"""New videos in the locations that `framewatch watch` monitors.

The `videos` table records which files were read. A source that lists all files needs no further state. Auto
Loader delivers each new file once and keeps its position in a checkpoint, so its files are stored in a table.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.tables.schema import VIDEOS, fields, require_columns
from framewatch.video.suffixes import VIDEO_SUFFIXES

# A file, and its modification time when it was recorded.
ARRIVALS = StructType(fields(VIDEOS, "video", "modified_at"))
# An overwritten file counts as a new video.
_CLOUD_FILES = {"cloudFiles.format": "binaryFile", "cloudFiles.allowOverwrites": "true"}


def auto_loader(spark: SparkSession, pattern: str, options: Mapping[str, str]) -> DataFrame:
    """Returns the stream of files that match a pattern, from Auto Loader on Databricks.

    Args:
        spark: the session.
        pattern: a directory or a glob.
        options: Auto Loader options, which override framewatch's own.

    Raises:
        InputError: the session has no Auto Loader.
    """
    with _named_source():
        return spark.readStream.format("cloudFiles").options(**{**_CLOUD_FILES, **options}).load(pattern)


@contextlib.contextmanager
def _named_source() -> Iterator[None]:
    try:
        yield
    # Spark and Py4J raise different classes. Classic sessions check the source at once, Connect at start.
    except Exception as error:
        if "cloudFiles" not in str(error):
            raise
        raise InputError(
            "watch.source=cloudFiles needs Databricks Auto Loader, which this session does not have: set "
            "watch.source=files"
        ) from error


def record_arrivals(found: DataFrame, pattern: str, *, directory: str, table_format: str) -> None:
    """Appends the files that arrived since the last call to a table, each exactly once.

    Args:
        found: a stream of files with the columns of Spark's `binaryFile` source.
        pattern: the pattern of the stream. Each pattern has its own checkpoint and table.
        directory: directory of the tables and of the streams' checkpoints.
        table_format: format of the table, such as `parquet` or `delta`.

    Raises:
        InputError: the session does not have the source of the stream.
    """
    suffix = F.lower(F.substring_index("path", ".", -1))
    rows = found.where(suffix.isin(*VIDEO_SUFFIXES)).select(
        F.col("path").alias("video"), F.col("modificationTime").alias("modified_at")
    )
    writer = rows.coalesce(1).writeStream.format(table_format).trigger(availableNow=True)
    writer = writer.option("checkpointLocation", storage.join(directory, "_checkpoints", _key(pattern)))
    with _named_source():
        writer.start(storage.join(directory, _key(pattern))).awaitTermination()


def read_arrivals(
    spark: SparkSession, patterns: Sequence[str], *, directory: str, table_format: str
) -> DataFrame:
    """Returns the recorded files with the columns of `ARRIVALS`; an overwritten file has its latest time."""
    found = spark.createDataFrame([], ARRIVALS)
    for pattern in patterns:
        table = storage.join(directory, _key(pattern))
        if storage.children(table):
            found = found.unionByName(spark.read.format(table_format).load(table).select(*ARRIVALS.names))
    return found.groupBy("video").agg(F.max("modified_at").alias("modified_at")).select(*ARRIVALS.names)


def without_done(arrived: DataFrame, ledger: DataFrame) -> DataFrame:
    """Returns the arrivals that were not read yet, or were modified after they were read.

    Args:
        arrived: rows of `read_arrivals`.
        ledger: the latest row of each video in the `videos` table.
    """
    require_columns(ledger, fields(VIDEOS, "video", "status", "modified_ms"), table="videos")
    done = ledger.where("status <> 'unreadable'").alias("d")
    is_later = F.col("d.modified_ms") >= F.unix_millis("a.modified_at")
    same = (F.col("a.video") == F.col("d.video")) & (F.col("d.modified_ms").isNull() | is_later)
    return arrived.alias("a").join(done, same, "left_anti").select(*ARRIVALS.names)


def read_before(ledger: DataFrame, patterns: Sequence[str]) -> DataFrame:
    """Returns the videos in the ledger that match the patterns, including deleted ones.

    Args:
        ledger: the latest row of each video in the `videos` table.
        patterns: files, directories or globs, absolute.

    Returns:
        A column `video`.
    """
    matches = [f"^{_bare(expression)}(/.*)?$" for pattern in patterns for expression in _expressions(pattern)]
    path = F.regexp_replace("video", "^file:/*", "/")
    return ledger.where(path.rlike("|".join(matches))).select("video")


def _expressions(pattern: str) -> tuple[str, str]:
    """Returns regular expressions for a literal path and for the same path as a glob."""
    path = pattern.rstrip("/")
    return re.escape(path), _glob_expression(path)


def _glob_expression(glob: str) -> str:
    """Translates a glob to a Java regular expression."""
    parts = re.split(r"(\{[^{}]*\}|\[[!^]?(?:\][^\]]*|[^\]]+)\]|[*?])", glob)
    return "".join(_wildcard(part) if at % 2 else re.escape(part) for at, part in enumerate(parts))


def _wildcard(part: str) -> str:
    if part.startswith("{"):
        return f"({'|'.join(map(_glob_expression, part[1:-1].split(',')))})"
    if part.startswith("["):
        negation = "^" if part[1] in "!^" else ""
        characters = re.sub(r"([\[\]\\^&])", r"\\\1", part[1 + len(negation) : -1])
        return f"[{negation}{characters}]"
    return {"*": "[^/]*", "?": "[^/]"}[part]


def _bare(expression: str) -> str:
    return re.sub("^file:/*", "/", expression)


def _key(pattern: str) -> str:
    return hashlib.sha1(pattern.encode()).hexdigest()[:12]
