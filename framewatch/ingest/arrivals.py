"""Which videos have come to the places that a watch looks into.

The ledger says which were read. Where a place is listed, nothing else need be kept. Auto Loader, which lists
no more than what is new, keeps in a checkpoint which files it has seen; here they are noted in a table.
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

# A file, and when it was last written to as it was noted.
ARRIVALS = StructType(fields(VIDEOS, "video", "modified_at"))
# A file that is written again under its name is another video.
_CLOUD_FILES = {"cloudFiles.format": "binaryFile", "cloudFiles.allowOverwrites": "true"}


def auto_loader(spark: SparkSession, pattern: str, options: Mapping[str, str]) -> DataFrame:
    """The stream of files of one pattern, on Databricks.

    Args:
        spark: the session.
        pattern: a directory or a glob.
        options: of Auto Loader, over framewatch's.

    Raises:
        InputError: the session has no Auto Loader.
    """
    with _named_source():
        return spark.readStream.format("cloudFiles").options(**{**_CLOUD_FILES, **options}).load(pattern)


@contextlib.contextmanager
def _named_source() -> Iterator[None]:
    try:
        yield
    except (
        Exception
    ) as error:  # of Spark's own, or of its JVM; classic sessions look at once, others at start
        if "cloudFiles" not in str(error):
            raise
        raise InputError(
            "watch.source=cloudFiles is Databricks' Auto Loader, which this session lacks: set files"
        ) from error


def note_arrivals(found: DataFrame, pattern: str, *, place: str, table_format: str) -> None:
    """Appends the files that have come since the last call to the table in `place`, each exactly once.

    Args:
        found: a stream of files, as Spark's `binaryFile` has them.
        pattern: what they were found by. Each has a checkpoint of its own.
        place: directory of the table, and of the streams' checkpoints.
        table_format: of the table.

    Raises:
        InputError: the session has no such source.
    """
    suffix = F.lower(F.substring_index("path", ".", -1))
    rows = found.where(suffix.isin(*VIDEO_SUFFIXES)).select(
        F.col("path").alias("video"), F.col("modificationTime").alias("modified_at")
    )
    writer = rows.coalesce(1).writeStream.format(table_format).trigger(availableNow=True)
    writer = writer.option("checkpointLocation", storage.join(place, "_checkpoints", _key(pattern)))
    with _named_source():
        writer.start(storage.join(place, _key(pattern))).awaitTermination()


def read_arrivals(
    spark: SparkSession, patterns: Sequence[str], *, place: str, table_format: str
) -> DataFrame:
    """The files noted so far: the columns of `ARRIVALS`, a file that came again with its latest time."""
    found = spark.createDataFrame([], ARRIVALS)
    for pattern in patterns:
        table = storage.join(place, _key(pattern))
        if storage.children(table):
            found = found.unionByName(spark.read.format(table_format).load(table).select(*ARRIVALS.names))
    return found.groupBy("video").agg(F.max("modified_at").alias("modified_at")).select(*ARRIVALS.names)


def without_done(arrived: DataFrame, ledger: DataFrame) -> DataFrame:
    """The arrivals that were not read, in the state in which they came or a later one.

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
    """The videos in the ledger that patterns match, also those that have been removed since.

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
    """Regular expressions of a path as it stands, and as a glob."""
    path = pattern.rstrip("/")
    return re.escape(path), _glob_expression(path)


def _glob_expression(glob: str) -> str:
    """What Java's regular expressions have for a glob."""
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
