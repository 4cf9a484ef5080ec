"""The recipe of 2018 on Spark. Prints one JSON line. Run by ../peers.py.

Seeks to each second with OpenCV and writes a JPEG file, one task a video; then an iterator pandas UDF decodes
the files and runs Keras.
"""

import importlib.metadata
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from framewatch.spark.session import get_spark


def extract(spark: SparkSession, videos: list[str], directory: Path) -> None:
    """Writes the frames as `VIDEO.SECOND.jpg`."""

    def seek(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for path in (path for batch in batches for path in batch["path"]):
            capture, second = cv2.VideoCapture(path), 0
            duration_s = capture.get(cv2.CAP_PROP_FRAME_COUNT) / capture.get(cv2.CAP_PROP_FPS)
            while second < duration_s:
                capture.set(cv2.CAP_PROP_POS_MSEC, second * 1000)
                read, image = capture.read()
                if not read:
                    break
                cv2.imwrite(str(directory / f"{Path(path).stem}.{second}.jpg"), image)
                second += 1
            yield pd.DataFrame({"path": [path], "frames": [second]})

    rows = spark.createDataFrame([(path,) for path in videos], "path string")
    rows.repartition(len(videos), "path").mapInPandas(seek, "path string, frames int").collect()


def featurize(frames: DataFrame, weights: str) -> DataFrame:
    """Adds features to files: loads the model, then `predict` on each batch."""

    @F.pandas_udf("array<float>")
    def features(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        import keras

        model = keras.applications.InceptionV3(include_top=False, weights=None, pooling="avg")
        model.load_weights(weights)
        for batch in batches:
            images = np.stack([decode(data) for data in batch])
            scaled = keras.applications.inception_v3.preprocess_input(images)
            yield pd.Series(list(model.predict(scaled, verbose=0)))

    def decode(data: bytes) -> Any:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return cv2.resize(image, (299, 299))[..., ::-1].astype(np.float32)

    name = r"([^/]+)\.(\d+)\.jpg$"
    return frames.select(
        F.regexp_extract("path", name, 1).alias("video"),
        F.regexp_extract("path", name, 2).cast("double").alias("second"),
        features("content").alias("features"),
    )


def main() -> None:
    """Reads the job, runs it and prints."""
    job = json.loads(sys.argv[1])
    output, cores = Path(job["output"]), job["cores"]
    spark = get_spark(master=f"local[{cores}]")
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 32)
    started = time.perf_counter()
    (output / "frames").mkdir()
    extract(spark, [str(path) for path in sorted(Path(job["videos"]).iterdir())], output / "frames")
    frames = spark.read.format("binaryFile").load(str(output / "frames")).repartition(2 * cores)
    featurize(frames, job["weights"]).write.parquet(str(output / "features"))
    seconds = time.perf_counter() - started
    spark.stop()
    names = ("pyspark", "opencv-python-headless", "keras")
    versions = {name: importlib.metadata.version(name) for name in names}
    print(json.dumps({"seconds": seconds, "versions": versions}))


if __name__ == "__main__":
    main()
