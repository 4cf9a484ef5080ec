"""Precisions of stored features: bytes of a frame, and how far the ranking is the same.

Reads the features and the classifier of a run, stores the features with each precision, and ranks all frames
from each copy with the same classifier. `single` and `half` are the values of `features.precision`. The other
two are what `half` was chosen from: IEEE's half precision, and 8 bits with a step for each frame.

    .venv/bin/python benchmarks/precision.py OUTPUT    # of `make demo`, for example
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from framewatch.io import storage
from framewatch.ranking import classifier, scores
from framewatch.spark.session import get_spark
from framewatch.tables import saved_model
from framewatch.tables.feature_columns import FeatureStorage
from framewatch.tables.spark_tables import Tables, write_table

TOP = 50


@dataclass(frozen=True)
class Rounded:
    """Rounds the features in Arrow batches.

    Attributes:
        kind: `half_ieee` or `int8`.
    """

    kind: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields the batches with rounded features."""
        for batch in batches:
            lists = batch["features"]
            numbers = lists.flatten().to_numpy().reshape(batch.num_rows, -1)
            if self.kind == "half_ieee":
                rounded = numbers.astype(np.float16).astype(np.float32)
            else:
                # A power of two, so that frames share numbers and the dictionary stays small.
                step = 2.0 ** np.ceil(np.log2(np.abs(numbers).max(axis=1, keepdims=True) / 255))
                rounded = (np.rint(numbers / step) * step).astype(np.float32)
            column = pa.ListArray.from_arrays(lists.offsets, pa.array(rounded.ravel()))
            place = batch.schema.get_field_index("features")
            yield pa.RecordBatch.from_arrays(
                [column if number == place else values for number, values in enumerate(batch.columns)],
                names=batch.schema.names,
            )


def copies(features: DataFrame) -> dict[str, DataFrame]:
    """Returns the features with each precision."""
    return {
        "single": FeatureStorage("single").stored(features),
        "half": FeatureStorage("half").stored(features),
        "half_ieee": features.mapInArrow(Rounded("half_ieee"), features.schema),
        "int8": features.mapInArrow(Rounded("int8"), features.schema),
    }


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the rank correlation of two rankings without ties."""
    return float(np.corrcoef(one, other)[0, 1])


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", help="a run's directory with features and a classifier")
    args = parser.parse_args()
    spark = get_spark(master="local[2]")
    tables = Tables(spark, storage.absolute(args.output))
    saved = saved_model.require_model(storage.join(tables.output, "model"))
    model = classifier.load(saved.spark_path)
    # In files of 64 frames, as `featurize` writes them.
    features = tables.current("features").where("features is not null").drop("batch")
    num_frames = features.count()
    order = ["video", "frame_index"]
    features = features.repartitionByRange(-(-num_frames // 64), *order).sortWithinPartitions(*order)
    ranks: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, rows in copies(features).items():
            path = f"{directory}/{name}"
            write_table(rows, path)
            num_bytes = sum(file.stat().st_size for file in Path(path).glob("*.parquet"))
            ranked = scores.rank(scores.score(spark.read.parquet(path), model)).orderBy("origin")
            ranks[name] = np.array([row["rank"] for row in ranked.select("rank").collect()])
            top = set(np.flatnonzero(ranks["single"] <= TOP)) & set(np.flatnonzero(ranks[name] <= TOP))
            print(
                f"{name}: {num_bytes / num_frames / 1000:.2f} KB a frame, rank correlation "
                f"{spearman(ranks['single'], ranks[name]):.5f}, {len(top)} of the top {TOP} agree, of "
                f"{num_frames} frames",
                flush=True,
            )


if __name__ == "__main__":
    main()
