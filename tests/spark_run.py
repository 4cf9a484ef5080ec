"""The tables of a run as its first stages leave them, of vectors that a test chooses."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql.types import DoubleType, IntegerType, StringType, StructField, StructType

from framewatch.tables.schema import METADATA_KEY
from framewatch.tables.spark_tables import Tables, write_table

LENGTH, SECONDS = 8, 12
IDENTITY = {
    "model": "own",
    "weights": "own.h5",
    "weights_sha256": "0" * 64,
    "pooling": "avg",
    "resize": "area",
    "layer": "",
    "preprocessing": "raw",
    "engine": "openvino",
    "precision": "float32",
}
# As versions before this one wrote them: MLlib vectors, without the reason.
SCHEMA = StructType(
    [
        StructField("origin", StringType()),
        StructField("video", StringType()),
        StructField("frame_index", IntegerType()),
        StructField("timestamp_s", DoubleType()),
        StructField("features", VectorUDT(), True, {METADATA_KEY: IDENTITY}),
    ]
)


def usual(second: int, seed: int) -> list[float]:
    """Suspicious in the second half: the first number is high."""
    row = np.random.default_rng(100 * seed + second).random(LENGTH)
    row[0] += 3 * (second >= SECONDS / 2)
    return row.tolist()


def make(spark, output: Path, seconds: Mapping[str, Sequence[list[float] | None]]) -> Tables:
    """The tables of a run until `featurize`, of these vectors for each second of each video."""
    tables = Tables(spark, str(output))
    (output.parent / "videos").mkdir(exist_ok=True)
    jpeg = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    ledger, frames, rows = [], [], []
    for name, its in seconds.items():
        (output.parent / "videos" / f"{name}.mp4").write_bytes(b"")
        video = f"file:{output.parent}/videos/{name}.mp4"
        common = {"fps": 1.0, "width": 16, "height": 16, "codec": "h264", "size_bytes": 1, "modified_ms": 1}
        ledger.append(
            {"video": video, "status": "ok", "duration_s": float(len(its)), "num_frames": len(its), **common}
        )
        for second, numbers in enumerate(its):
            key = (f"{output}/images/{name}frame{second:04d}.jpg", video, second, float(second))
            frames.append((*key, 16, 16, jpeg))
            rows.append((*key, None if numbers is None else Vectors.dense(numbers)))
    frame_columns = (
        "origin string, video string, frame_index int, timestamp_s double, width int, height int, "
    )
    tables.write_batch(spark.createDataFrame(frames, f"{frame_columns} content binary"), "frames", 0)
    if rows:
        write_table(spark.createDataFrame(rows, SCHEMA), tables.path("features"), batch=0)
    tables.write_ledger(ledger, 0)
    return tables


def labelled(path: Path, names: list[str]) -> Path:
    half = SECONDS // 2
    lines = [f"{name}.mp4,0,{half},0\n{name}.mp4,{half},{SECONDS},1" for name in names]
    path.write_text("video,start_s,end_s,label\n" + "\n".join(lines) + "\n")
    return path
