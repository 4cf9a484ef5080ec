"""Reads and writes the tables of an output with Spark, in Parquet, or in Delta if the session supports it.

`videos`, `frames`, `features` and `scores` grow batch by batch, one partition each: `frames/batch=3`. A batch
counts once the ledger `videos` has its rows. The next run removes a batch that a killed run did not commit.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.spark.arrow import to_arrow
from framewatch.tables import contents, layout, ledger, upgrade
from framewatch.tables.columns import CONTENTS
from framewatch.tables.columns import VIDEOS as VIDEO_COLUMNS
from framewatch.tables.feature_columns import FeatureStorage
from framewatch.tables.layout import BATCHED, RECORDED, Format
from framewatch.tables.ledger import Batches
from framewatch.tables.metadata import MARKED, METADATA_KEY
from framewatch.tables.results import read_videos
from framewatch.tables.schema import (
    CANDIDATES,
    CLASS_CLIPS,
    CLASSIFICATIONS,
    CLUSTER_FRAMES,
    CLUSTER_TIMES,
    CLUSTERS,
    FEATURES,
    FRAMES,
    INCIDENTS,
    OUTLIERS,
    PREDICTIONS,
    SCORES,
    VIDEOS,
)

TABLES: dict[str, StructType] = {
    "videos": VIDEOS,
    "frames": FRAMES,
    "features": FEATURES,
    "scores": SCORES,
    "predictions": PREDICTIONS,
    "incidents": INCIDENTS,
    "candidates": CANDIDATES,
    "classifications": CLASSIFICATIONS,
    "class_clips": CLASS_CLIPS,
    "clusters": CLUSTERS,
    "cluster_frames": CLUSTER_FRAMES,
    "cluster_times": CLUSTER_TIMES,
    "outliers": OUTLIERS,
}
# Readers take single pictures, vectors and videos from these, so they have small row groups.
_PIECEWISE = ("frames", "features", "predictions", "candidates")


# Batches with fewer frames are joined, to batches of about so many and files of about this size. A batch that
# is not much smaller than that stays, as its rows would be copied for little.
_SMALL_FRAMES, _JOINED_FRAMES, _FILE_BYTES = 12_500, 50_000, 128 << 20
# A run joins so many groups of batches at most, and leaves others to the next.
_MOST_GROUPS = 20


@dataclass(frozen=True)
class Tables:
    """The tables in an output directory, all in one format.

    Attributes:
        spark: the session.
        output: the output directory.
        format: `parquet` or `delta`.
        precision: `single` or `half`, for a new table `features`; an existing table keeps its own.
    """

    spark: SparkSession
    output: str
    format: Format = "parquet"
    precision: str = "single"

    def path(self, table: str) -> str:
        """Returns the path of a table's directory."""
        return storage.join(self.output, table)

    def exists(self, table: str) -> bool:
        """Returns whether a table has any file; a killed run may leave empty directories."""
        return layout.table_exists(self.output, table, self.format)

    def require_format(self) -> None:
        """Checks that the session supports the format, and that the existing tables have it.

        Raises:
            InputError: the session does not support it, or a table has another format.
        """
        layout.require_format(self.output, self.format)
        if self.format == "delta":
            _require_delta(self.spark, self.output)

    def read(self, table: str) -> DataFrame:
        """Returns all rows of a table, with its column metadata.

        Raises:
            InputError: the table does not exist; the message names the stage that writes it.
        """
        layout.require_table(self.output, table, self.format)
        reader, path = self.spark.read.format(self.format), self.path(table)
        if table == "videos":
            return upgrade.videos(reader, path, self.format)
        if table == "features":
            rows = upgrade.features(reader, path, self.format)
        elif table == "frames":
            rows = reader.load(path)
        elif self.format == "delta":
            rows = upgrade.with_missing(reader.load(path), TABLES[table])
        else:  # no metadata to read from the files, so that no job does
            rows = reader.schema(TABLES[table]).load(path)
        return rows.select(*TABLES[table].names)

    def ledger(self) -> DataFrame:
        """Returns the rows of `videos` that count, one per video."""
        if not self.exists("videos"):
            return self.spark.createDataFrame([], VIDEOS)
        batches = self.batches()
        rows = self.read("videos").where(F.col("batch").isin(batches.counted))
        return (ledger.latest(rows) if batches.mixed else rows).select(*VIDEOS.names)

    def current(self, table: str) -> DataFrame:
        """Returns the rows of `frames` or `features` that count."""
        batches = self.batches()
        rows = self.read(table).where(F.col("batch").isin(batches.counted))
        if batches.mixed:
            rows = ledger.counted(rows, self.ledger())
        return rows.select(*TABLES[table].names)

    def batches(self) -> Batches:
        """Returns the committed batches. Does not start a Spark job on Parquet."""
        if not self.exists("videos"):
            return Batches(frozenset(), frozenset(), frozenset(), {})
        return ledger.batches(self._committed())

    def _committed(self) -> pa.Table:
        """Returns `video`, `batch` and `num_frames` of all rows of the ledger."""
        columns = ["video", "batch", "num_frames"]
        if self.format == "delta":
            rows = to_arrow(self.read("videos").select(*columns))
        else:
            rows = read_videos(self.output, columns)
        return rows.set_column(2, "num_frames", pc.fill_null(rows["num_frames"], 0))

    def metadata(self, table: str) -> dict[str, Any]:
        """Returns the sampling settings of `frames`, or what made `features`; empty without the table."""
        if not self.exists(table):
            return {}
        return self.read(table).schema[MARKED[table]].metadata.get(METADATA_KEY, {})

    def write_batch(self, df: DataFrame, table: str, batch: int) -> None:
        """Writes one batch of a table; replaces the batch if it exists."""
        rows = df.drop("batch")
        if table == "features":
            rows = self._feature_storage().stored(rows)
            self._delete_batch("scores", batch)
        recorded = table in RECORDED and self.format == "parquet"
        if recorded:
            contents.forget(self.output, table, batch)
        write_table(rows, self.path(table), self.format, batch=batch, piecewise=table in _PIECEWISE)
        if recorded:
            contents.record(self.output, table, batch)

    def write_scores(self, scored: DataFrame, batches: Collection[int], *, model: str) -> None:
        """Writes batches of `scores`; replaces those that exist.

        Args:
            scored: rows of `scores` with `batch`.
            batches: numbers of the batches.
            model: the classifier's identity.
        """
        rows = scored.select(*SCORES.names).sortWithinPartitions("batch", "video", "frame_index")
        storage.check_fence(self.output)
        for batch in batches:  # first the mark of older scores, so that no part of them counts
            self._delete_batch("scores", batch)
        if self.format == "delta":
            for batch in sorted(batches):
                self.write_batch(rows.where(F.col("batch") == batch), "scores", batch)
        else:  # one job for all, whose partitions then move to the table
            staged = storage.join(self._staging, "scores")
            self.delete_staged("scores")
            rows.write.option("compression", "zstd").mode("overwrite").partitionBy("batch").parquet(staged)
            for name in storage.children(staged):
                if name.startswith("batch="):
                    part = storage.join(self.path("scores"), name)
                    storage.replace_directory(storage.join(staged, name), part)
            self.delete_staged("scores")
        for batch in batches:
            storage.write_json(self._scored_by(batch), {"model": model, "id": uuid.uuid4().hex})

    def scored_batches(self, *, model: str) -> dict[int, str]:
        """Returns the batches that a classifier has completely scored, each with an ID of its scores."""
        found = {batch: self._scores_of(batch) for batch in sorted(self._batches("scores"))}
        return {batch: about["id"] for batch, about in found.items() if about.get("model") == model}

    def _scores_of(self, batch: int) -> dict[str, str]:
        """Returns `model` and `id` of a batch of `scores`; empty if it is not complete."""
        try:
            return storage.read_json(self._scored_by(batch))
        except FileNotFoundError:
            return {}

    def _scored_by(self, batch: int) -> str:
        return storage.join(self.path("scores"), f"batch={batch}", "_about.json")  # no data file to Spark

    def latest(self) -> pa.Table:
        """Returns `video`, `batch` and `num_frames` of the ledger's rows that count."""
        if not self.exists("videos"):
            return VIDEO_COLUMNS.empty_table().select(["video", "batch", "num_frames"])
        rows = self._committed()
        return rows.join(ledger.latest_batches(rows), ["video", "batch"], join_type="left semi")

    def contents(self, table: str) -> pa.Table:
        """Returns how many rows that count `frames` or `features` have, of each video, batch and error.

        Does not read the table, unless it is of an older version or in Delta: then once, and each time.

        Returns:
            `video`, `error` (why a frame has no features), `num_frames` and `batch`.
        """
        names = ["video", "error", "num_frames", "batch"]
        if not self.exists(table):
            return CONTENTS.empty_table().select(names)
        if self.format == "parquet":
            latest = self.latest()
            held = contents.read(self.output, table, latest["batch"].unique().to_pylist(), keep=True)
            return held.select(names).join(latest, ["video", "batch"], join_type="left semi")
        rows = self.current(table)
        if "error" not in rows.columns:
            rows = rows.withColumn("error", F.lit(None).cast("string"))
        counted = rows.groupBy("video", "error", "batch").agg(F.count("*").alias("num_frames"))
        return to_arrow(counted.select(*names))

    def write_ledger(self, rows: Sequence[Mapping[str, Any]], batch: int) -> None:
        """Writes one batch of `videos`, which commits the batch.

        Args:
            rows: columns of `videos`; missing ones become null.
            batch: the batch number.
        """
        schema = StructType([field for field in VIDEOS.fields if field.name not in ("modified_at", "batch")])
        videos = self.spark.createDataFrame(
            [tuple(row.get(name) for name in schema.names) for row in rows], schema
        )
        videos = videos.withColumn("modified_at", F.timestamp_millis("modified_ms"))
        self.write_batch(videos.orderBy("video").coalesce(1), "videos", batch)

    def replace(self, df: DataFrame, table: str) -> None:
        """Replaces a whole table."""
        write_table(df, self.path(table), self.format, piecewise=table in _PIECEWISE)

    def stage(self, df: DataFrame, name: str) -> DataFrame:
        """Materializes rows used by several tables, so that they are computed only once.

        Args:
            df: the rows.
            name: the name of the temporary table, for `delete_staged`.

        Returns:
            The same rows, read from the temporary table.
        """
        path = storage.join(self._staging, name)
        write_table(df, path)
        return self.spark.read.schema(df.schema).parquet(path)

    def set_aside(self, table: str, name: str) -> DataFrame:
        """Moves a table of Parquet to a temporary table, and returns its rows."""
        path = storage.join(self._staging, name)
        storage.replace_directory(self.path(table), path)
        return self.spark.read.schema(TABLES[table]).parquet(path)

    def delete_staged(self, *names: str) -> None:
        """Removes temporary tables of `stage`."""
        for name in names:
            storage.delete(storage.join(self._staging, name))

    def delete_all_staged(self) -> None:
        """Removes all temporary tables, of this run and of killed ones."""
        storage.delete(storage.join(self.output, "_staging"))

    def _feature_storage(self) -> FeatureStorage:
        if not self.exists("features"):
            return FeatureStorage(self.precision)
        return FeatureStorage.of(self.spark.read.format(self.format).load(self.path("features")).schema)

    @property
    def _staging(self) -> str:
        fence = storage.fence_of(self.output)
        return fence.staging if fence else storage.join(self.output, "_staging")

    def delete(self, *tables: str) -> None:
        """Removes whole tables; `scores` go with the `features` they are of."""
        for table in tables:
            if table in RECORDED:
                contents.forget(self.output, table)
            if table == "features":
                storage.delete(self.path("scores"))
            storage.delete(self.path(table))

    def delete_leftovers(self) -> None:
        """Removes batches that a killed run did not commit, and all temporary tables."""
        self.delete_all_staged()
        done = self.batches().counted
        for table in ("frames", "features", "scores"):
            for batch in self._batches(table).difference(done):
                self._delete_batch(table, batch)

    def delete_superseded(self) -> None:
        """Removes rows of files that have changed since. The other rows of their batches move to a new batch.

        It loses nothing if it is killed and called again: moved rows count once the ledger has them.
        """
        found = self.batches()
        if found.mixed:
            self._move(found.mixed)
        for batch in sorted(found.mixed | found.superseded):
            self._delete_committed(batch)

    def compact(self, *, fewest: int = 2) -> tuple[int, int]:
        """Joins small batches, so that what each run opens does not grow with the number of runs before it.

        A kill loses nothing, as in `delete_superseded`. Batches with features are not joined with others,
        which would have to be featurized again.

        Args:
            fewest: the number of small batches from which on there is something to do.

        Returns:
            The number of batches that were joined, and of the batches that they became.
        """
        self.delete_superseded()
        incomplete = self.batches_without_features() if self.exists("features") else {}
        num_frames = self.batches().num_frames
        complete = sorted(num_frames.keys() - incomplete.keys())
        small = [batch for batch in complete if num_frames[batch] < _SMALL_FRAMES]
        if len(small) < max(fewest, 2):
            return 0, 0
        groups: list[list[int]] = [[]]
        for batch in small:
            if sum(num_frames[other] for other in groups[-1]) >= _JOINED_FRAMES:
                groups.append([])
            groups[-1].append(batch)
        joined = [group for group in groups if len(group) > 1][:_MOST_GROUPS]
        for group in joined:
            self._move(group)
            for batch in group:
                self._delete_committed(batch)
        return sum(map(len, joined)), len(joined)

    def _move(self, batches: Collection[int]) -> None:
        """Copies the rows of batches that count to a new batch, and commits it: they count there from now."""
        moved, new = F.col("batch").isin(sorted(batches)), self.next_batch()
        for table in RECORDED:
            if self.exists(table):
                self.write_batch(self._in_files(self.current(table).where(moved), table, batches), table, new)
        held = self.contents("features")
        usable = set(held.filter(pc.is_null(held["error"]))["batch"].to_pylist()) & set(batches)
        models = {self._scores_of(batch).get("model") for batch in usable}
        if len(models) == 1 and (model := models.pop()) is not None:
            rows = self.current("scores").where(moved).withColumn("batch", F.lit(new).cast("int"))
            self.write_scores(rows.coalesce(1), [new], model=model)
        self.write_batch(self.ledger().where(moved).orderBy("video").coalesce(1), "videos", new)

    def _in_files(self, rows: DataFrame, table: str, batches: Collection[int]) -> DataFrame:
        """Returns rows of batches, sorted in each file; Parquet files have the size that they should have."""
        if self.format == "parquet":
            rows = rows.coalesce(1 + contents.file_bytes(self.output, table, batches) // _FILE_BYTES)
        return rows.sortWithinPartitions("video", "frame_index")

    def _delete_committed(self, batch: int) -> None:
        for table in reversed(BATCHED):
            self._delete_batch(table, batch)

    def next_batch(self) -> int:
        """Returns the number of the next batch: one more than that of the last committed batch."""
        return max(self.batches().counted, default=-1) + 1

    def batches_without_features(self) -> dict[int, int]:
        """Returns the number of frames of each batch that is not completely featurized, by batch."""
        totals = self.contents("features").group_by("batch").aggregate([("num_frames", "sum")])
        done = dict(zip(totals["batch"].to_pylist(), totals["num_frames_sum"].to_pylist(), strict=True))
        frames = sorted(self.batches().num_frames.items())
        return {batch: number for batch, number in frames if done.get(batch, 0) != number}

    def _batches(self, table: str) -> set[int]:
        """Returns the numbers of all batches with files, committed or not."""
        if self.format == "delta":
            rows = self.read(table).select("batch").distinct().collect() if self.exists(table) else []
            return {row["batch"] for row in rows}
        names = storage.children(self.path(table))
        return {int(name.removeprefix("batch=")) for name in names if name.startswith("batch=")}

    def _delete_batch(self, table: str, batch: int) -> None:
        if table == "scores":
            storage.delete(self._scored_by(batch))
        if self.format == "parquet":
            if table in RECORDED:
                contents.forget(self.output, table, batch)
            storage.delete(storage.join(self.path(table), f"batch={batch}"))
        elif self.exists(table):
            storage.check_fence(self.output)
            self.spark.sql(f"DELETE FROM delta.`{self.path(table)}` WHERE batch = {batch}")


def write_table(
    df: DataFrame,
    path: str,
    table_format: Format = "parquet",
    *,
    batch: int | None = None,
    piecewise: bool = False,
) -> None:
    """Replaces a table, or one batch of it. All rows are written by this function.

    Args:
        df: the rows, without `batch`.
        path: the table's directory.
        table_format: `parquet`, or `delta` if the session supports it.
        batch: the number of the batch to write; None for the whole table.
        piecewise: whether to write row groups of 8 MB rather than 128 MB, for readers of single rows.

    Raises:
        LockLostError: another run has taken over the output.
    """
    storage.check_fence(path)
    if table_format == "delta":
        writer = _delta_writer(df, path, batch)
    else:
        writer = df.write
        path = path if batch is None else storage.join(path, f"batch={batch}")
    group_bytes = (8 if piecewise else 128) << 20
    writer = writer.option("compression", "zstd").option("parquet.block.size", group_bytes)
    writer = writer.format(table_format).mode("overwrite")
    fence = storage.fence_of(path)
    if fence is None or table_format == "delta" or path.startswith(fence.staging + "/"):
        writer.save(path)
        return
    # Tasks of a run that has lost its lease may go on for a while, so each run writes to its own directory.
    staged = storage.join(fence.staging, "_written")
    writer.save(staged)
    storage.replace_directory(staged, path)


def _delta_writer(df: DataFrame, path: str, batch: int | None) -> DataFrameWriter:
    if batch is None:
        writer = df.write.option("overwriteSchema", "true")
    else:
        writer = df.withColumn("batch", F.lit(batch).cast("int")).write.partitionBy("batch")
        if storage.is_delta(path):  # some engines reject replaceWhere on a new table
            writer = writer.option("replaceWhere", f"batch = {batch}").option("mergeSchema", "true")
    # Rows are only removed in whole files here, and readers other than Spark do not support deletion vectors.
    return writer.option("delta.enableDeletionVectors", "false")


def _require_delta(spark: SparkSession, output: str) -> None:
    try:
        spark.read.format("delta").load(storage.join(output, "_no_such_table")).schema  # noqa: B018
    except Exception as error:  # from Spark's Python code or its JVM
        if "DATA_SOURCE_NOT_FOUND" in str(error):
            raise InputError(
                "tables.format=delta needs Delta Lake, which this session lacks: on Databricks it is there, "
                "elsewhere add it by spark.jars.packages; or set tables.format=parquet"
            ) from error
