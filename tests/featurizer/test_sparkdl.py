"""The names of sparkdl's `imageIO`, on real pictures, PIL and Spark."""

import io
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from framewatch import DeepImageFeaturizer
from framewatch.sparkdl import imageIO
from framewatch.sparkdl.image.imageIO import imageArrayToStruct, imageStructToArray, imageStructToPIL

BGR = cv2.resize(np.random.default_rng(3).integers(0, 255, (4, 4, 3), dtype=np.uint8), (32, 24))


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, and a file that is none."""
    directory = tmp_path_factory.mktemp("pictures")
    (directory / "a.png").write_bytes(png(BGR))
    (directory / "b.png").write_bytes(png(BGR[..., 0]))
    (directory / "c.png").write_bytes(b"no picture")
    return directory


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_to_structs_and_back(channels: int, dtype: str) -> None:
    array = np.random.default_rng(1).integers(0, 255, (5, 7, channels)).astype(dtype)
    struct = imageArrayToStruct(array, "here")
    assert (struct.origin, struct.height, struct.width, struct.nChannels) == ("here", 5, 7, channels)
    image_type = imageIO.imageTypeByOrdinal(struct.mode)
    assert image_type == imageIO.imageTypeByName(image_type.name)
    assert (image_type.nChannels, image_type.dtype) == (channels, dtype)
    np.testing.assert_array_equal(imageStructToArray(struct), array)


def test_opencv_numbers_of_types() -> None:
    assert [imageIO.imageTypeByName(f"CV_8UC{n}").ord for n in (1, 3, 4)] == [0, 16, 24]
    with pytest.raises(KeyError, match="choose one of CV_8UC1"):
        imageIO.imageTypeByOrdinal(99)
    with pytest.raises(KeyError, match="CV_8UC2"):
        imageIO.imageTypeByName("CV_8UC2")
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\) and type uint8 is no image"):
        imageArrayToStruct(np.zeros((2, 2, 2), np.uint8))


def test_pil_is_rgb_and_structs_are_bgr() -> None:
    image = imageStructToPIL(imageArrayToStruct(BGR))
    assert (image.mode, image.size) == ("RGB", (32, 24))
    np.testing.assert_array_equal(np.asarray(image), BGR[..., ::-1])
    assert imageStructToPIL(imageArrayToStruct(BGR[..., :1])).mode == "L"
    with pytest.raises(ValueError, match="give 8 bits"):
        imageStructToPIL(imageArrayToStruct(BGR.astype(np.float32)))
    np.testing.assert_array_equal(imageIO.PIL_decode(png(BGR)), BGR)
    assert imageIO.PIL_decode_and_resize((16, 8))(png(BGR)).shape == (8, 16, 3)


def test_files_become_rows(spark, directory: Path) -> None:
    files = imageIO.filesToDF(spark.sparkContext, str(directory), numPartitions=2)
    assert files.columns == ["filePath", "fileData"]
    found = {row["filePath"].rsplit("/", 1)[-1]: bytes(row["fileData"]) for row in files.collect()}
    assert found == {name: (directory / name).read_bytes() for name in ("a.png", "b.png", "c.png")}
    images = imageIO.readImagesWithCustomFn(str(directory), imageIO.PIL_decode)
    assert images.columns == ["image"]
    rows = {row["image"]["origin"][-5:]: row["image"] for row in images.where("image is not null").collect()}
    assert set(rows) == {"a.png", "b.png"} and images.count() == 3
    np.testing.assert_array_equal(imageStructToArray(rows["a.png"]), BGR)


def test_a_udf_stretches_structs(spark) -> None:
    rows = [(1, imageArrayToStruct(BGR, "a")), (2, imageArrayToStruct(BGR[..., :1], "b")), (3, None)]
    df = spark.createDataFrame(rows, f"id int, image {imageIO.IMAGE.simpleString()}")
    resize = imageIO.createResizeImageUDF((10, 20))
    out = {row["id"]: row["image"] for row in df.select("id", resize("image").alias("image")).collect()}
    assert out[3] is None
    assert (out[1].origin, out[1].height, out[1].width, out[1].nChannels) == ("a", 10, 20, 3)
    assert imageStructToArray(out[2]).shape == (10, 20, 1)
    wanted = Image.fromarray(BGR[..., ::-1]).resize((20, 10))
    np.testing.assert_array_equal(imageStructToArray(out[1])[..., ::-1], np.asarray(wanted))
    with pytest.raises(ValueError, match=r"must be \(height, width\)"):
        imageIO.createResizeImageUDF((10,))


def test_spark_s_own_image_source_feeds_the_featurizer(spark, directory: Path, model_file, tmp_path) -> None:
    """`spark.read.format('image')`, as old notebooks have it, beside the same files as bytes."""
    for number, (name, mode) in enumerate([("gray", "L"), ("rgb", "RGB"), ("alpha", "RGBA")]):
        Image.fromarray(BGR[..., ::-1]).convert(mode).save(tmp_path / f"{number}-{name}.png")
    photo = io.BytesIO()
    Image.fromarray(BGR[..., ::-1]).convert("CMYK").save(photo, "JPEG")
    (tmp_path / "3-cmyk.jpg").write_bytes(photo.getvalue())
    shutil.copy(directory / "c.png", tmp_path / "4-none.png")
    rgb = cv2.imencode(".jpg", BGR)[1].tobytes()
    (tmp_path / "5-cut.jpg").write_bytes(rgb[: len(rgb) // 2])
    (tmp_path / "6-deep.png").write_bytes(png(BGR.astype(np.uint16) * 257))
    featurizer = DeepImageFeaturizer(
        inputCol="image", outputCol="f", modelName=str(model_file), engine="tensorflow", precision="float32"
    )
    df = spark.read.format("image").load(str(tmp_path))
    structs = {name_of(row["image"]["origin"]): row["f"] for row in featurizer.transform(df).collect()}
    files = imageIO.filesToDF(spark, str(tmp_path)).withColumnRenamed("fileData", "image")
    vectors = {name_of(row["filePath"]): row["f"] for row in featurizer.transform(files).collect()}
    assert {name for name, vector in vectors.items() if vector is None} == {"4-none.png", "5-cut.jpg"}
    assert len(vectors) == 7
    np.testing.assert_allclose(vectors["6-deep.png"].toArray(), vectors["1-rgb.png"].toArray(), atol=1e-5)
    for name in ("0-gray.png", "1-rgb.png", "2-alpha.png"):
        np.testing.assert_allclose(structs[name].toArray(), vectors[name].toArray(), atol=1e-5)


def name_of(path: str) -> str:
    return path.rsplit("/", 1)[-1]
