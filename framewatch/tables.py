"""Where a run's tables lie, and how they are read and written. Parquet, zstd.

`videos`, `frames` and `features` grow batch by batch, one directory each: `frames/batch=3`. A batch counts
once the ledger `videos` has its rows; what a killed run left of one is written over by the next.
"""

from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from framewatch import storage
from framewatch.errors import InputError
from framewatch.schema import CANDIDATES, FEATURES, FRAMES, INCIDENTS, METADATA_KEY, PREDICTIONS, VIDEOS

TABLES: dict[str, StructType] = {
    "videos": VIDEOS,
    "frames": FRAMES,
    "features": FEATURES,
    "predictions": PREDICTIONS,
    "incidents": INCIDENTS,
    "candidates": CANDIDATES,
}
# What the review page reads: single pictures, and vectors.
_PIECEWISE = ("frames", "candidates")
BATCHED = ("videos", "frames", "features")


@dataclass(frozen=True)
class Tables:
    """The tables below one output directory."""

    spark: SparkSession
    output: str

    def path(self, table: str) -> str:
        """Where a table lies."""
        return storage.join(self.output, table)

    def exists(self, table: str) -> bool:
        """Whether a table has been written: a killed run may leave directories without a file."""
        return storage.matches(self.path(table), "batch=*/*.parquet" if table in BATCHED else "*.parquet")

    def read(self, table: str) -> DataFrame:
        """All rows of a table, with its column metadata.

        Raises:
            InputError: it has not been written yet; says which stage writes it.
        """
        if not self.exists(table):
            stage = {
                "videos": "extract",
                "frames": "extract",
                "features": "featurize",
                "predictions": "rank",
                "incidents": "rank",
                "candidates": "rank",
            }[table]
            raise InputError(
                f"there is no table {self.path(table)}: run `framewatch {stage}` with this output first"
            )
        rows = self.spark.read.parquet(self.path(table))
        return rows.select(*TABLES[table].names)

    def ledger(self) -> DataFrame:
        """The `videos` table with each video's latest row only: a changed file has one in a later batch."""
        if not self.exists("videos"):
            return self.spark.createDataFrame([], VIDEOS)
        videos = self.read("videos")
        latest = videos.groupBy("video").agg(F.max("batch").alias("batch"))
        return videos.join(latest, ["video", "batch"], "left_semi").select(*VIDEOS.names)

    def current(self, table: str) -> DataFrame:
        """The rows of `frames` or `features` that the ledger vouches for."""
        return (
            self.read(table).join(self.ledger(), ["video", "batch"], "left_semi").select(*TABLES[table].names)
        )

    def sampling_fps(self, *, default: float) -> float:
        """Samples a second of the frames that are here; `default` where there are none."""
        if not self.exists("frames"):
            return default
        return self.read("frames").schema["content"].metadata.get(METADATA_KEY, {}).get("fps", default)

    def write_batch(self, df: DataFrame, table: str, batch: int) -> None:
        """Writes one batch of a table, over what may be there of it."""
        self._write(df.drop("batch"), storage.join(self.path(table), f"batch={batch}"))

    def replace(self, df: DataFrame, table: str) -> None:
        """Writes a whole table anew."""
        self._write(df, self.path(table))

    def stage(self, df: DataFrame, name: str) -> DataFrame:
        """Writes rows that several tables are made of, and reads them back: their work runs once."""
        path = storage.join(self.output, "_staging", name)
        self._write(df, path)
        return self.spark.read.schema(df.schema).parquet(path)

    def delete(self, *tables: str) -> None:
        """Removes whole tables."""
        for table in tables:
            storage.delete(self.path(table))

    def delete_leftovers(self) -> None:
        """Removes batches that a killed run did not finish, and what `stage` wrote."""
        storage.delete(storage.join(self.output, "_staging"))
        done = {row["batch"] for row in self.ledger().select("batch").distinct().collect()}
        for table in ("frames", "features"):
            for name in storage.children(self.path(table)):
                if name.startswith("batch=") and int(name.removeprefix("batch=")) not in done:
                    storage.delete(storage.join(self.path(table), name))

    def delete_superseded(self) -> None:
        """Removes rows of files that have changed since. What else is in their batches moves to a new one.

        Killed at any point and repeated, it loses nothing: moved rows count once the ledger has them.
        """
        if not self.exists("videos"):
            return
        old = self.read("videos").join(self.ledger(), ["video", "batch"], "left_anti")
        batches = sorted(row["batch"] for row in old.select("batch").distinct().collect())
        if not batches:
            return
        moved = F.col("batch").isin(batches)
        if not self.ledger().where(moved).isEmpty():
            new = self.next_batch()
            for table in ("features", "frames"):
                if self.exists(table):
                    self.write_batch(self.current(table).where(moved), table, new)
            self.write_batch(self.ledger().where(moved).coalesce(1), "videos", new)
        for batch in batches:
            for table in reversed(BATCHED):
                storage.delete(storage.join(self.path(table), f"batch={batch}"))

    def next_batch(self) -> int:
        """The lowest number that no batch has had."""
        last = self.ledger().agg(F.max("batch")).first()
        return 0 if last is None or last[0] is None else last[0] + 1

    def _write(self, df: DataFrame, path: str) -> None:
        table = path.removeprefix(self.output).strip("/").split("/")[0]
        write_parquet(df, path, piecewise=table in _PIECEWISE)


def write_parquet(df: DataFrame, path: str, *, piecewise: bool = False) -> None:
    """Writes a directory of Parquet files, over what is there.

    Args:
        df: the rows.
        path: the directory.
        piecewise: in row groups of some megabytes, for readers that take a few rows, or little memory.
    """
    writer = df.write.mode("overwrite").option("compression", "zstd")
    writer.option("parquet.block.size", (8 if piecewise else 128) << 20).parquet(path)
