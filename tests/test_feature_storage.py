"""How features are stored: as arrays of float32, rounded or not; as vectors in outputs of older versions."""

from pathlib import Path

import numpy as np
import pytest
from featured import IDENTITY, Frames, write_features
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql.types import ArrayType, FloatType
from spark_run import IDENTITY as OLD_IDENTITY
from spark_run import SCHEMA, make, usual

from framewatch.errors import InputError
from framewatch.tables.feature_files import FeatureFiles, vectors
from framewatch.tables.metadata import read_metadata, require_stored_precision
from framewatch.tables.spark_tables import Tables

FRAMES = Frames(("file:/cam/a.mp4", "file:/cam/b.mp4"), 40, 512)
ORIGINALS = np.concatenate([FRAMES.vectors(0), FRAMES.vectors(1)])


def stored_type(spark, output: Path, batch: int) -> object:
    return spark.read.parquet(f"{output}/features/batch={batch}").schema["features"].dataType


def both_readers(spark, output: Path) -> list[np.ndarray]:
    """The features in order, read with Spark and with Arrow."""
    rows = Tables(spark, str(output)).current("features").orderBy("video", "frame_index")
    by_spark = np.array([row["features"] for row in rows.collect()], np.float32)
    files = FeatureFiles.of(str(output))
    parts = [
        (batch["video"][row].as_py(), batch["frame_index"][row].as_py(), numbers)
        for path in files.paths
        for batch in files.read(path, ["frame_index", "features"])
        for row, numbers in enumerate(vectors(batch["features"])[0])
    ]
    by_arrow = np.array([numbers for *_, numbers in sorted(parts, key=lambda part: part[:2])])
    return [by_spark, by_arrow]


def bfloat16(numbers: np.ndarray) -> np.ndarray:
    """Rounds to the nearest bfloat16, to even in a tie, by the bits of float32."""
    bits = numbers.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def test_single_precision_keeps_every_bit(spark, tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_features(spark, output, FRAMES)
    assert stored_type(spark, output, 0) == ArrayType(FloatType())
    assert read_metadata(str(output), "features") == IDENTITY
    for found in both_readers(spark, output):
        np.testing.assert_array_equal(found, ORIGINALS)


def test_half_precision_rounds_once_and_is_half_the_size(spark, tmp_path: Path) -> None:
    sizes = {}
    for precision in ("single", "half"):
        output = tmp_path / precision
        tables = write_features(spark, output, FRAMES, precision=precision)
        sizes[precision] = sum(path.stat().st_size for path in (output / "features").rglob("*.parquet"))
    assert sizes["half"] < 0.5 * sizes["single"]
    assert read_metadata(str(output), "features") == {**IDENTITY, "stored": "half"}
    # A later batch keeps the table's precision, and rounding again changes nothing.
    later = Tables(spark, str(output), precision="single")
    later.write_batch(tables.current("features"), "features", 1)
    later.write_ledger([{"video": video} for video in FRAMES.videos], 1)
    assert read_metadata(str(output), "features") == {**IDENTITY, "stored": "half"}
    for found in both_readers(spark, output):
        np.testing.assert_array_equal(found, bfloat16(ORIGINALS))


def test_old_outputs_keep_their_vectors(spark, tmp_path: Path) -> None:
    """Spark reads one type from all batches of a table."""
    output = tmp_path / "out"
    tables = make(spark, output, {"A": [usual(second, 0) for second in range(3)]})
    assert stored_type(spark, output, 0) == VectorUDT()
    video = f"file:{output}/B.mp4"
    newer = [("o", video, 0, 0.0, Vectors.dense(usual(7, 1)))]
    tables.write_batch(spark.createDataFrame(newer, SCHEMA), "features", 1)
    tables.write_ledger([{"video": video, "status": "ok", "num_frames": 1}], 1)
    assert stored_type(spark, output, 1) == VectorUDT()
    assert tables.read("features").schema["features"].dataType == ArrayType(FloatType())
    assert tables.metadata("features") == OLD_IDENTITY
    wanted = np.array([usual(second, 0) for second in range(3)] + [usual(7, 1)], np.float32)
    for found in both_readers(spark, output):
        np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(wanted, axis=0))


def test_a_table_has_one_precision() -> None:
    require_stored_precision(IDENTITY, "single", "out")
    require_stored_precision({"stored": "half"}, "half", "out")
    for stored, wanted in ((IDENTITY, "half"), ({"stored": "half"}, "single")):
        with pytest.raises(
            InputError, match=f"features.precision={wanted}, and the features in out are stored"
        ):
            require_stored_precision(stored, wanted, "out")
