"""`DeepImageFeaturizer` on real Spark and a real network."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from conftest import FAST_OPTIONS
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import functions as F

from framewatch import DeepImageFeaturizer
from framewatch.errors import ConfigError, SchemaError, WeightsError
from framewatch.featurizer.inference import Work
from framewatch.io.images import resize
from framewatch.models.weights_file import file_digest

ARROW_ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"
IMAGE = "origin string, height int, width int, nChannels int, mode int, data binary"


def picture(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def png(image: np.ndarray) -> bytearray:
    return bytearray(cv2.imencode(".png", image)[1].tobytes())


@pytest.fixture(scope="module")
def featurizer(small_weights: Path) -> DeepImageFeaturizer:
    return DeepImageFeaturizer(
        inputCol="content",
        outputCol="features",
        weights=str(small_weights),
        precision="float32",
        batchSize=2,
    )


@pytest.fixture(scope="module")
def keras_features(small_weights: Path):
    """The same network by plain Keras, on pictures resized and scaled by hand."""
    import keras

    model = keras.applications.InceptionV3(
        include_top=False, weights=None, pooling="avg", input_shape=(299, 299, 3)
    )
    model.load_weights(small_weights)

    def features(images: list[np.ndarray]) -> np.ndarray:
        resized = [resize(image, 299) for image in images]
        return model.predict(np.stack(resized)[..., ::-1] / 127.5 - 1.0, verbose=0)

    return features


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_bytes_structs_nulls_and_rubbish(spark, featurizer, keras_features, small_weights: Path) -> None:
    images = [picture(n) for n in range(3)]
    rows = [(n, png(image)) for n, image in enumerate(images)]
    rows += [(3, None), (4, bytearray(b"no picture")), (5, bytearray()), (6, png(images[0])[:40])]
    df = spark.createDataFrame(rows, "id int, content binary").repartition(2)
    out = featurizer.transform(df)
    assert out.schema.names == ["id", "content", "features"]
    assert isinstance(out.schema["features"].dataType, VectorUDT)
    vectors = {row["id"]: row["features"] for row in out.select("id", "features").collect()}
    assert {n for n, vector in vectors.items() if vector is None} == {3, 4, 5, 6}
    for n, expected in enumerate(keras_features(images)):
        assert len(vectors[n]) == 2048
        assert cosine(vectors[n].toArray(), expected) >= 0.99999
        np.testing.assert_allclose(vectors[n].toArray(), expected, rtol=1e-3, atol=1e-4)
    made_by = out.schema["features"].metadata["framewatch"]
    assert made_by == {
        "model": "InceptionV3",
        "weights": small_weights.name,
        "weights_sha256": file_digest(small_weights),
        "pooling": "avg",
        "resize": "area",
        "engine": "openvino",
        "precision": "float32",
    }


def test_image_structs_of_any_channels(spark, featurizer, keras_features) -> None:
    bgr = picture(5)
    gray = bgr[..., :1].copy()
    opaque = np.dstack([bgr, np.full(bgr.shape[:2], 255, np.uint8)])
    structs = [
        ("bgr", (*bgr.shape, 16, bytearray(bgr.tobytes()))),
        ("gray", (*gray.shape, 0, bytearray(gray.tobytes()))),
        ("opaque", (*opaque.shape, 24, bytearray(opaque.tobytes()))),
        ("short", (60, 80, 3, 16, bytearray(b"too few"))),
        ("float", (60, 80, 3, 21, bytearray(60 * 80 * 12))),
    ]
    rows = [(name, ("", *values)) for name, values in structs] + [("null", None)]
    df = spark.createDataFrame(
        rows, f"name string, content struct<{IMAGE.replace(' ', ':').replace(',:', ',')}>"
    )
    vectors = {row["name"]: row["features"] for row in featurizer.transform(df).collect()}
    expected = keras_features([bgr, np.repeat(gray, 3, axis=2)])
    assert cosine(vectors["bgr"].toArray(), expected[0]) >= 0.99999
    assert cosine(vectors["gray"].toArray(), expected[1]) >= 0.99999
    np.testing.assert_allclose(vectors["opaque"].toArray(), vectors["bgr"].toArray(), rtol=1e-4, atol=1e-5)
    assert vectors["short"] is vectors["float"] is vectors["null"] is None


def test_other_columns_and_empty_partitions_stay(spark, featurizer) -> None:
    df = spark.createDataFrame(
        [(1, png(picture(1)), {"a": 1})], "id int, content binary, extra map<string,int>"
    )
    spread = df.repartition(4)  # three of them without rows
    row = featurizer.transform(spread).collect()[0]
    assert (row["id"], row["extra"], len(row["features"])) == (1, {"a": 1}, 2048)
    assert featurizer.transform(df.where("id = 0")).collect() == []


def test_unpooled_features_are_flattened(spark, featurizer) -> None:
    df = spark.createDataFrame([(png(picture(1)),)], "content binary")
    flat = featurizer.copy().setPooling("none").setOutputCol("flat").transform(df).first()["flat"].toArray()
    pooled = featurizer.transform(df).first()["features"].toArray()
    assert flat.shape == (131072,)
    np.testing.assert_allclose(flat.reshape(64, 2048).mean(axis=0), pooled, rtol=1e-3, atol=1e-4)


def test_parameters_are_checked_when_they_are_set() -> None:
    featurizer = DeepImageFeaturizer(inputCol="a", outputCol="b", modelName="Xception")
    assert (featurizer.getInputCol(), featurizer.getOutputCol()) == ("a", "b")
    assert (featurizer.getModelName(), featurizer.getScaleHint()) == ("Xception", "SCALE_AREA_AVERAGING")
    assert (featurizer.getWeights(), featurizer.getPooling()) == ("imagenet", "avg")
    with pytest.raises(TypeError, match="'Nope' is unknown: choose one of InceptionV3, Xception, ResNet50"):
        DeepImageFeaturizer(modelName="Nope")
    with pytest.raises(TypeError, match="choose one of SCALE_AREA_AVERAGING, SCALE_SMOOTH, SCALE_DEFAULT"):
        featurizer.setScaleHint("SCALE_NICELY")
    with pytest.raises(TypeError, match="'sum' is unknown: choose one of avg, max, none"):
        featurizer.setPooling("sum")
    with pytest.raises(TypeError, match="choose one of auto, tensorflow, openvino"):
        featurizer.setEngine("torch")
    with pytest.raises(TypeError, match="choose one of auto, float32, bfloat16, int8"):
        featurizer.setPrecision("float16")
    with pytest.raises(TypeError, match="0 is too small: give 1 or more"):
        featurizer.setBatchSize(0)
    with pytest.raises(TypeError):
        DeepImageFeaturizer("a", "b")
    copied = featurizer.copy({featurizer.modelName: "ResNet50"})
    assert (copied.getModelName(), featurizer.getModelName()) == ("ResNet50", "Xception")


def test_parameters_given_to_transform_hold_for_that_call(spark, featurizer) -> None:
    df = spark.createDataFrame([(png(picture(1)),)], "content binary")
    out = featurizer.transform(df, {featurizer.outputCol: "other", featurizer.scaleHint: "SCALE_FAST"})
    assert out.columns == ["content", "other"]
    assert out.schema["other"].metadata["framewatch"]["resize"] == "nearest"
    assert featurizer.getOutputCol() == "features"


def test_nulls_are_counted_in_the_workers_log(small_weights: Path, capfd) -> None:
    spec = DeepImageFeaturizer(inputCol="content", weights=str(small_weights)).feature_spec()
    batch = pa.record_batch({"content": pa.array([None, b"no picture"], pa.binary())})
    out = list(Work(0, "features", spec, 32)(iter([batch])))
    assert out[0].column(1).null_count == 2
    said = "framewatch: features is null for 2 of 2 pictures: 1 null, 1 no picture"
    assert said in capfd.readouterr().err


def test_why_a_picture_has_no_features_is_a_column(spark, tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    # A factor beyond what float32 holds: of black stays black, all else is infinite.
    path = tmp_path / "overflows.keras"
    keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Rescaling(1e30),
            layers.ReLU(),
            layers.Rescaling(1e30),
            layers.Flatten(),
        ]
    ).save(path)
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    rows = [
        ("fine", png(black)),
        ("not finite", png(white)),
        ("null", None),
        ("no picture", b"text"),
        ("damaged", png(white)[:60]),
        ("too large", png(np.zeros((8, 9, 3), np.uint8))),
    ]
    featurizer = DeepImageFeaturizer(
        inputCol="content",
        outputCol="f",
        modelName=str(path),
        engine="tensorflow",
        errorCol="why",
        maxPixels=64,
    )
    df = spark.createDataFrame(rows, "name string, content binary").coalesce(1)
    found = {row["name"]: row for row in featurizer.transform(df).collect()}
    assert {name: row["why"] for name, row in found.items()} == {
        name: None if name == "fine" else name for name, _ in rows
    }
    assert [name for name, row in found.items() if row["f"] is not None] == ["fine"]
    assert featurizer.transform(df).columns == ["name", "content", "f", "why"]
    with pytest.raises(SchemaError, match="errorCol 'Name' exists already"):
        featurizer.copy().setErrorCol("Name").transform(df)


def test_arrow_batches_are_kept_small(spark, featurizer) -> None:
    df = spark.createDataFrame([(png(picture(1)),)], "content binary")
    before = spark.conf.get(ARROW_ROWS)
    try:
        spark.conf.set(ARROW_ROWS, 10_000)
        featurizer.transform(df)
        assert spark.conf.get(ARROW_ROWS) == "64"
        spark.conf.set(ARROW_ROWS, 16)
        featurizer.transform(df)
        assert spark.conf.get(ARROW_ROWS) == "16"
    finally:
        spark.conf.set(ARROW_ROWS, before)


def test_two_workers_share_the_machine_unpinned(spark, featurizer) -> None:
    rows = [(n, png(picture(n))) for n in range(8)]
    df = spark.createDataFrame(rows, "id int, content binary").repartition(2, "id")
    work = Work(1, "features", featurizer.feature_spec(), 4)

    def cores_of_threads(batches):
        for batch in work(batches):
            threads = {
                frozenset(os.sched_getaffinity(int(thread))) for thread in os.listdir("/proc/self/task")
            }
            cores = sorted(set(frozenset.intersection(*threads)))
            rows = batch.num_rows
            yield pa.record_batch({"pid": [os.getpid()] * rows, "cores": [cores] * rows})

    seen = df.mapInArrow(cores_of_threads, "pid long, cores array<long>").collect()
    assert len(seen) == 8
    assert {tuple(row["cores"]) for row in seen} == {tuple(sorted(os.sched_getaffinity(0)))}


FRESH = """
import resource, sys
from pyspark.ml import PipelineModel
from framewatch.spark.session import get_spark
spark = get_spark(master="local[1]")
# Raw 1080p pixels and many rows: a worker must not hold a partition's.
df = spark.read.parquet(sys.argv[2]).coalesce(1).crossJoin(spark.range(25).selectExpr("id as copy"))
rows = PipelineModel.load(sys.argv[1]).transform(df).select("id", "probability").orderBy("id").collect()
print([(row["id"], row["probability"].toArray().tolist()) for row in rows])
def peak(batches):
    import pyarrow as pa
    for batch in batches:
        pass
    yield pa.record_batch({"kb": [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]})
print(spark.range(1).mapInArrow(peak, "kb long").first()["kb"])
"""


def test_a_fitted_pipeline_works_in_a_fresh_process(spark, featurizer, tmp_path: Path) -> None:
    rows = [(n, float(n % 2), png(picture(n, 1080, 1920))) for n in range(4)]
    df = spark.createDataFrame(rows, "id int, label double, content binary")
    pipeline = Pipeline(stages=[featurizer, LogisticRegression(featuresCol="features", maxIter=2)])
    model = pipeline.fit(df)
    wanted = [row["probability"].toArray() for row in model.transform(df).orderBy("id").collect()]
    model.write().overwrite().save(str(tmp_path / "model"))
    image = F.struct(
        F.lit("").alias("origin"), F.lit(1080).alias("height"), F.lit(1920).alias("width"),
        F.lit(3).alias("nChannels"), F.lit(16).alias("mode"), F.col("content").alias("data"),
    )  # fmt: skip
    raw = [(n, bytearray(picture(n, 1080, 1920).tobytes())) for n in range(4)]
    raw = spark.createDataFrame(raw, "id int, content binary").select("id", image.alias("content"))
    raw.coalesce(1).write.parquet(str(tmp_path / "raw"))
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "model"), str(tmp_path / "raw")],
        capture_output=True, text=True, cwd=tmp_path, check=False,
        env={**os.environ, "JAVA_TOOL_OPTIONS": FAST_OPTIONS},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    values, peak_kb = done.stdout.splitlines()[-2:]
    got = ast.literal_eval(values)
    assert len(got) == 100
    for n, probability in got:
        np.testing.assert_allclose(probability, wanted[n], atol=1e-4)
    assert int(peak_kb) < 1.5e6


def test_weights_saved_inside_need_no_file(spark, small_weights: Path, tmp_path: Path) -> None:
    own = shutil.copy(small_weights, tmp_path / "own.weights.h5")
    featurizer = DeepImageFeaturizer(
        inputCol="content", outputCol="features", weights=str(own), saveWeights=True, batchSize=5
    )
    PipelineModel([featurizer]).save(str(tmp_path / "model"))
    featurizer.setSaveWeights(False).save(str(tmp_path / "named"))
    Path(own).unlink()
    loaded = PipelineModel.load(str(tmp_path / "model")).stages[0]
    assert isinstance(loaded, DeepImageFeaturizer)
    assert loaded.getBatchSize() == 5
    assert loaded.network().weights.sha256 == file_digest(small_weights)
    Path(loaded.getWeights()).unlink()
    Path(loaded.getWeights()).parent.rmdir()
    with pytest.raises(WeightsError, match=r"own\.weights\.h5' were not found"):
        DeepImageFeaturizer.load(str(tmp_path / "named")).network()
    own.write_bytes(b"other weights")
    with pytest.raises(WeightsError, match="the features or the transformer were created with"):
        DeepImageFeaturizer.load(str(tmp_path / "named")).network()


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_workers_find_weights_among_the_session_s_files(
    spark, model_file: Path, tmp_path: Path, monkeypatch, engine: str
) -> None:
    """As after `spark-submit --files`: neither the driver's path nor its cache is there for the worker."""
    monkeypatch.setenv("FRAMEWATCH_HOME", str(tmp_path / "cache"))
    name = f"shipped-{engine}.keras"
    own = Path(shutil.copy(model_file, tmp_path / name))
    (tmp_path / "files").mkdir()
    # The session keeps the file to its end, and looks for it in every later job.
    spark.sparkContext.addFile(str(shutil.copy(model_file, tmp_path / "files" / name)))
    df = spark.createDataFrame([(png(picture(1)),)], "content binary")
    common = {"inputCol": "content", "outputCol": "features", "engine": engine, "precision": "float32"}
    out = DeepImageFeaturizer(**common, modelName=str(own)).transform(df)
    own.unlink()
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    there = DeepImageFeaturizer(**common, modelName=str(model_file)).transform(df)
    np.testing.assert_allclose(
        out.first()["features"].toArray(), there.first()["features"].toArray(), rtol=1e-4
    )


def test_old_notebooks_pipelines_load(spark, small_weights: Path, tmp_path: Path) -> None:
    from framewatch import sparkdl

    old = sparkdl.DeepImageFeaturizer(inputCol="image", outputCol="f", weights=str(small_weights))
    Pipeline(stages=[old]).save(str(tmp_path / "old"))
    loaded = Pipeline.load(str(tmp_path / "old")).getStages()[0]
    assert type(loaded) is sparkdl.DeepImageFeaturizer
    assert (loaded.getPooling(), loaded.getPrecision()) == ("none", "float32")
    assert loaded.setModelName("ResNet50").getPooling() == "avg"


def test_errors_come_before_any_job(spark, featurizer, tmp_path: Path) -> None:
    df = spark.createDataFrame([(1, bytearray(b"x"))], "id int, content binary")
    with pytest.raises(SchemaError, match="inputCol 'nope' is not a column: choose one of id, content"):
        featurizer.copy().setInputCol("nope").transform(df)
    with pytest.raises(SchemaError, match="inputCol 'id' has type int"):
        featurizer.copy().setInputCol("id").transform(df)
    with pytest.raises(SchemaError, match="outputCol 'id' exists already"):
        featurizer.copy().setOutputCol("id").transform(df)
    with pytest.raises(SchemaError, match="outputCol 'CONTENT' exists already"):
        featurizer.copy().setOutputCol("CONTENT").transform(df)
    with pytest.raises(SchemaError, match="inputCol is not set"):
        DeepImageFeaturizer(outputCol="features").transform(df)
    with pytest.raises(ConfigError, match="precision 'int8' needs OpenVINO"):
        featurizer.copy().setEngine("tensorflow").setPrecision("int8").transform(df)
    with pytest.raises(
        WeightsError, match=r"no int8 version of InceptionV3 .*: create it with framewatch quantize"
    ):
        featurizer.copy().setPrecision("int8").transform(df)
    with pytest.raises(ConfigError, match="layer and preprocessing are for model files"):
        featurizer.copy().setLayer("mixed5").transform(df)
    with pytest.raises(WeightsError, match=r"weights 'nope\.h5' were not found"):
        featurizer.copy().setWeights("nope.h5").transform(df)
