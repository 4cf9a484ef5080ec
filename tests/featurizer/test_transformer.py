"""`DeepImageFeaturizer` on real Spark and a real network."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.linalg import VectorUDT

from framewatch import DeepImageFeaturizer
from framewatch.errors import ConfigError, FramewatchError, SchemaError, WeightsError
from framewatch.featurizer.weights import file_digest

IMAGE = "origin string, height int, width int, nChannels int, mode int, data binary"


def picture(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def png(image: np.ndarray) -> bytearray:
    return bytearray(cv2.imencode(".png", image)[1].tobytes())


@pytest.fixture(scope="module")
def featurizer(small_weights: Path) -> DeepImageFeaturizer:
    return DeepImageFeaturizer(
        inputCol="content", outputCol="features", weights=str(small_weights), batchSize=2
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
        resized = [cv2.resize(image, (299, 299), interpolation=cv2.INTER_AREA) for image in images]
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
        "engine": "tensorflow",
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
    spread = df.repartition(4)
    row = featurizer.transform(spread).collect()[0]
    assert (row["id"], row["extra"], len(row["features"])) == (1, {"a": 1}, 2048)
    assert featurizer.transform(df.where("id = 0")).collect() == []


def test_unpooled_features_are_flattened(spark, featurizer) -> None:
    df = spark.createDataFrame([(png(picture(1)),)], "content binary")
    flat = featurizer.copy().setPooling("none").setOutputCol("flat").transform(df).first()["flat"].toArray()
    pooled = featurizer.transform(df).first()["features"].toArray()
    assert flat.shape == (131072,)
    np.testing.assert_allclose(flat.reshape(64, 2048).mean(axis=0), pooled, rtol=1e-3, atol=1e-4)


def test_saved_in_a_pipeline_and_loaded(spark, featurizer, tmp_path: Path) -> None:
    PipelineModel([featurizer]).write().overwrite().save(str(tmp_path / "p"))
    loaded = PipelineModel.load(str(tmp_path / "p")).stages[0]
    assert isinstance(loaded, DeepImageFeaturizer)
    assert (loaded.getWeights(), loaded.getBatchSize(), loaded.getModelName()) == (
        featurizer.getWeights(), 2, "InceptionV3",
    )  # fmt: skip


def test_errors_come_before_any_job(spark, featurizer, tmp_path: Path) -> None:
    df = spark.createDataFrame([(1, bytearray(b"x"))], "id int, content binary")
    with pytest.raises(SchemaError, match="inputCol 'nope' is not a column: choose one of id, content"):
        featurizer.copy().setInputCol("nope").transform(df)
    with pytest.raises(SchemaError, match="inputCol 'id' is int"):
        featurizer.copy().setInputCol("id").transform(df)
    with pytest.raises(SchemaError, match="outputCol 'id' exists already"):
        featurizer.copy().setOutputCol("id").transform(df)
    with pytest.raises(ConfigError, match="model 'Nope' is not known: choose one of InceptionV3"):
        featurizer.copy().setModelName("Nope").transform(df)
    with pytest.raises(FramewatchError, match="pooling 'sum' is not known"):
        featurizer.copy().setPooling("sum").transform(df)
    with pytest.raises(WeightsError, match=r"weights 'nope\.h5' were not found"):
        featurizer.copy().setWeights("nope.h5").transform(df)
    assert (
        DeepImageFeaturizer(inputCol="a", outputCol="b", modelName="InceptionV3").getWeights() == "imagenet"
    )
