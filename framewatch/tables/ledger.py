"""Decides which rows count. This is the only module that does, for Spark, Arrow and SQL.

The ledger is the table `videos`. A run writes a batch of `frames` and then the ledger's rows of that batch,
so a batch without rows in the ledger was left by a killed run and does not count. A file that has changed is
read again, and its video gets a row in a later batch. Of several rows of a video, only the one in the latest
batch counts. A row of `frames` or `features` counts if the ledger's row of its video and batch counts.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

# SQL for Spark and DuckDB that selects each video's batch that counts. `$videos` is the name of the table.
LATEST_SQL = "(select video, max(batch) as batch from $videos group by video)"

_BATCH = re.compile(r"batch=(\d+)/[^/]*$")


@dataclass(frozen=True)
class Batches:
    """The committed batches.

    Attributes:
        whole: batches whose rows all count.
        mixed: batches of which some rows count, as later batches have other videos of theirs again.
        superseded: batches of which no row counts.
        num_frames: number of frames that count in each batch of `whole` and `mixed`.
    """

    whole: frozenset[int]
    mixed: frozenset[int]
    superseded: frozenset[int]
    num_frames: Mapping[int, int]

    @property
    def counted(self) -> list[int]:
        """The batches of which at least one row counts, sorted."""
        return sorted(self.whole | self.mixed)


def batches(videos: "pa.Table") -> Batches:
    """Returns the committed batches of a ledger with `video`, `batch`, and perhaps `num_frames`."""
    latest = videos.join(latest_batches(videos), ["video", "batch"], join_type="left semi")
    frames = [("num_frames", "sum")] if "num_frames" in videos.column_names else []
    of_all = videos.group_by("batch").aggregate([([], "count_all")]).to_pydict()
    of_latest = latest.group_by("batch").aggregate([([], "count_all"), *frames]).to_pydict()
    num_rows = dict(zip(of_all["batch"], of_all["count_all"], strict=True))
    num_counted = dict(zip(of_latest["batch"], of_latest["count_all"], strict=True))
    num_frames = of_latest.get("num_frames_sum", [0] * len(num_counted))
    return Batches(
        whole=frozenset(batch for batch, rows in num_rows.items() if num_counted.get(batch) == rows),
        mixed=frozenset(batch for batch, counted in num_counted.items() if counted < num_rows[batch]),
        superseded=frozenset(num_rows.keys() - num_counted.keys()),
        num_frames={batch: number or 0 for batch, number in zip(of_latest["batch"], num_frames, strict=True)},
    )


def latest_batches(videos: "pa.Table") -> "pa.Table":
    """Returns the `video` and `batch` of each row of a ledger that counts."""
    found = videos.group_by("video").aggregate([("batch", "max")])
    return found.select(["video", "batch_max"]).rename_columns(["video", "batch"])


def latest(videos: "DataFrame") -> "DataFrame":
    """Returns the rows of `videos` that count, one per video."""
    # Does not use pyspark's functions: the readers with Arrow import this module too.
    batches = videos.groupBy("video").agg({"batch": "max"}).withColumnRenamed("max(batch)", "batch")
    return videos.join(batches, ["video", "batch"], "left_semi")


def counted(rows: "DataFrame", ledger: "DataFrame") -> "DataFrame":
    """Returns the rows of `frames` or `features` that count.

    Args:
        rows: rows with `video` and `batch`.
        ledger: the ledger's rows that count, as returned by `latest`.
    """
    return rows.join(ledger, ["video", "batch"], "left_semi")


def superseded(videos: "pa.Table") -> dict[int, frozenset[str]]:
    """Returns the videos in each committed batch whose rows of `frames` and `features` do not count.

    Args:
        videos: the ledger, with `video` and `batch`.
    """
    found: dict[int, set[str]] = {batch: set() for batch in videos["batch"].unique().to_pylist()}
    older = videos.select(["video", "batch"]).join(
        latest_batches(videos), ["video", "batch"], join_type="left anti"
    )
    for video, batch in zip(older["video"].to_pylist(), older["batch"].to_pylist(), strict=True):
        found[batch].add(video)
    return {batch: frozenset(names) for batch, names in found.items()}


def latest_rows(videos: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the rows of `videos` that count, by URI, in order of URI.

    Args:
        videos: rows with `video` and `batch`, as returned by Arrow's `to_pylist`.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in videos:
        if row["video"] not in found or row["batch"] > found[row["video"]]["batch"]:
            found[row["video"]] = dict(row)
    return dict(sorted(found.items()))


def batch_of(path: str) -> int:
    """Returns the number of the batch that a file belongs to; -1 if it belongs to none."""
    match = _BATCH.search(path)
    return int(match.group(1)) if match else -1
