"""New videos as they come: a stream notes each file once, and what it has noted is what there is to do.

Structured Streaming keeps, in its checkpoint, which files it has seen; the ledger keeps which were read. A
kill between the two loses nothing and repeats nothing: whatever was noted and is not in the ledger is next.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from framewatch import storage
from framewatch.errors import InputError
from framewatch.schema import VIDEOS, fields, require_columns
from framewatch.video.suffixes import VIDEO_SUFFIXES

# A file, and when it was last written to as it was noted.
ARRIVALS = StructType(fields(VIDEOS, "video", "modified_at"))

_FOUND = "path string, modificationTime timestamp, length long, content binary"
# Without it, a file that is a week older than the newest one would be passed over.
_FILES = {"recursiveFileLookup": "true", "maxFileAge": "3650d"}
# A file that is written again under its name is another video.
_CLOUD_FILES = {"cloudFiles.format": "binaryFile", "cloudFiles.allowOverwrites": "true"}


@dataclass(frozen=True)
class Source:
    """How files are found.

    Attributes:
        patterns: directories or globs.
        kind: `files` for Spark's own source, `cloudFiles` for Auto Loader on Databricks.
        options: of that source, over framewatch's.
    """

    patterns: Sequence[str]
    kind: str = "files"
    options: Mapping[str, str] = field(default_factory=dict)

    def read(self, spark: SparkSession, pattern: str) -> DataFrame:
        """The stream of files of one pattern, as Spark's `binaryFile` has them."""
        if self.kind == "cloudFiles":
            reader, defaults = spark.readStream.format("cloudFiles"), _CLOUD_FILES
        else:
            reader, defaults = spark.readStream.format("binaryFile").schema(_FOUND), _FILES
        return reader.options(**{**defaults, **self.options}).load(pattern)


def note_arrivals(spark: SparkSession, source: Source, *, place: str, table_format: str) -> None:
    """Appends the files that have come since the last call to the table in `place`, each exactly once.

    Args:
        spark: the session.
        source: where they come.
        place: directory of the table, and of the streams' checkpoints.
        table_format: of the table.

    Raises:
        InputError: a pattern's directory does not exist, or the session has no such source.
    """
    # A stream of its own for each: a changed list of patterns leaves the others' checkpoints alone.
    for pattern in source.patterns:
        try:
            found = source.read(spark, pattern)
            suffix = F.lower(F.substring_index("path", ".", -1))
            rows = found.where(suffix.isin(*VIDEO_SUFFIXES)).select(
                F.col("path").alias("video"), F.col("modificationTime").alias("modified_at")
            )
            writer = rows.coalesce(1).writeStream.format(table_format).trigger(availableNow=True)
            writer = writer.option("checkpointLocation", storage.join(place, "_checkpoints", _key(pattern)))
            writer.start(storage.join(place, _key(pattern))).awaitTermination()
        except Exception as error:  # of Spark's own, or of its JVM
            raise _told(error, source, pattern) from error


def read_arrivals(spark: SparkSession, source: Source, *, place: str, table_format: str) -> DataFrame:
    """The files noted so far: the columns of `ARRIVALS`, a file that came again with its latest time."""
    found = spark.createDataFrame([], ARRIVALS)
    for pattern in source.patterns:
        table = storage.join(place, _key(pattern))
        if storage.children(table):
            found = found.unionByName(spark.read.format(table_format).load(table).select(*ARRIVALS.names))
    return found.groupBy("video").agg(F.max("modified_at").alias("modified_at")).select(*ARRIVALS.names)


def without_done(arrived: DataFrame, ledger: DataFrame) -> DataFrame:
    """The arrivals that the ledger does not have, in the state in which they came or a later one.

    Args:
        arrived: rows of `read_arrivals`.
        ledger: the latest row of each video in the `videos` table.
    """
    require_columns(ledger, fields(VIDEOS, "video", "modified_at"), table="videos")
    same = (F.col("a.video") == F.col("d.video")) & (
        # What was out of reach when it was to be read has no time; retrying it is not our affair.
        F.col("d.modified_at").isNull() | (F.col("d.modified_at") >= F.col("a.modified_at"))
    )
    return arrived.alias("a").join(ledger.alias("d"), same, "left_anti").select(*ARRIVALS.names)


def _key(pattern: str) -> str:
    return hashlib.sha1(pattern.encode()).hexdigest()[:12]


def _told(error: Exception, source: Source, pattern: str) -> Exception:
    if "PATH_NOT_FOUND" in str(error):
        return InputError(f"there is no directory '{pattern}' to watch: make it first, or check videos.test")
    if source.kind == "cloudFiles" and "cloudFiles" in str(error):
        return InputError(
            "watch.source=cloudFiles is Databricks' Auto Loader, which this session lacks: set files"
        )
    return error
