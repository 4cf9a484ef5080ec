"""Outputs with features and no pictures: `videos` and `features` of made-up numbers."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import cloudpickle
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from framewatch.tables.schema import FEATURES, METADATA_KEY
from framewatch.tables.spark_tables import Tables

IDENTITY = {
    "model": "InceptionV3", "weights": "none.h5", "weights_sha256": "0" * 64, "pooling": "avg",
    "resize": "area", "engine": "openvino", "precision": "float32",
}  # fmt: skip


@dataclass(frozen=True)
class Frames:
    """Features of videos of equal length, a frame a second, made up on the workers.

    Attributes:
        videos: URIs.
        num_frames: of each.
        length: of a vector.
        marks: (video, first, stop, direction): these frames have more of one of some directions.
        strength: how much more.
    """

    videos: tuple[str, ...]
    num_frames: int
    length: int
    marks: tuple[tuple[int, int, int, int], ...] = ()
    strength: float = 0.25

    def vectors(self, video: int) -> np.ndarray:
        """(frames, length) float32: positive, as after a rectifier; what the video looks like, and noise."""
        rng = np.random.default_rng(video)
        scene = np.random.default_rng(video // 10 + 1000).random(self.length, np.float32)
        found = scene + 0.4 * rng.random((self.num_frames, self.length), np.float32)
        for number, first, stop, direction in self.marks:
            if number == video:
                bump = np.random.default_rng(direction + 10_000).random(self.length, np.float32)
                found[first:stop] += self.strength * bump
        return found

    def origin(self, video: int, frame: int) -> str:
        path = self.videos[video].removeprefix("file:").rpartition(".")[0]
        return f"images{path}frame{frame:04d}.jpg"

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for video in batch["id"].to_pylist():
                numbers = np.arange(self.num_frames, dtype=np.int32)
                offsets = np.arange(self.num_frames + 1, dtype=np.int32) * self.length
                values = pa.ListArray.from_arrays(pa.array(offsets), pa.array(self.vectors(video).ravel()))
                yield pa.RecordBatch.from_arrays(
                    [
                        pa.array([self.origin(video, n) for n in numbers]),
                        pa.array([self.videos[video]] * self.num_frames),
                        pa.array(numbers),
                        pa.array(numbers.astype(float)),
                        values,
                    ],
                    names=["origin", "video", "frame_index", "timestamp_s", "features"],
                )


def write_features(
    spark: SparkSession,
    output: Path,
    frames: Frames,
    identity: dict[str, Any] = IDENTITY,
    precision: str = "single",
) -> Tables:
    """Writes `videos` and `features` of one batch."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not see the tests
    tables = Tables(spark, str(output), precision=precision)
    ledger = [
        {
            "video": video, "status": "ok", "duration_s": float(frames.num_frames),
            "num_frames": frames.num_frames, "modified_ms": 1_767_225_600_000,
        }
        for video in frames.videos
    ]  # fmt: skip
    tables.write_ledger(ledger, 0)
    ids = spark.range(0, len(frames.videos), 1, min(len(frames.videos), 64))
    made = ids.mapInArrow(
        frames, "origin string, video string, frame_index int, timestamp_s double, features array<float>"
    )
    made = made.withColumn("error", F.lit(None).cast("string"))
    made = made.withMetadata("features", {METADATA_KEY: identity})
    written = [name for name in FEATURES.names if name not in ("change", "motion", "batch")]
    made = made.select(*written)
    # In files of 64 frames, as `featurize` has them.
    num_files = max(1, len(frames.videos) * frames.num_frames // 64)
    made = made.repartitionByRange(num_files, "video", "frame_index")
    tables.write_batch(made.sortWithinPartitions("video", "frame_index"), "features", 0)
    return tables
