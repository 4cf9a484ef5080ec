"""Every network of the registry against plain Keras, model files, and the engines and precisions."""

import inspect
from pathlib import Path

import cv2
import numpy as np
import pytest

from framewatch import DeepImageFeaturizer, sparkdl
from framewatch.errors import ConfigError, WeightsError
from framewatch.featurizer.predictor import DeepImagePredictor
from framewatch.io.images import encode_jpeg, resize
from framewatch.models import conversion, engines, imagenet
from framewatch.models.networks import build_model
from framewatch.models.openvino_networks import has_bfloat16
from framewatch.models.registry import MODELS, PREPROCESSINGS, get_model
from framewatch.video.decoder import Decoding

# sparkdl's models, and the length of its vectors.
OLD = {"InceptionV3": 131072, "Xception": 204800, "ResNet50": 2048, "VGG16": 25088, "VGG19": 25088}
MODULES = {
    "VGG16": "vgg16", "VGG19": "vgg19", "ResNet50": "resnet", "InceptionV3": "inception_v3",
    "Xception": "xception", "DenseNet121": "densenet", "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Small": "mobilenet_v3", "MobileNetV3Large": "mobilenet_v3",
    "EfficientNetV2B0": "efficientnet_v2", "EfficientNetV2S": "efficientnet_v2",
    "ConvNeXtTiny": "convnext", "ConvNeXtBase": "convnext",
}  # fmt: skip


# Keras builds them: what is ours is pooling, which the others show, and preprocessing, which has a test.
BY_SHAPE = (
    "MobileNetV2", "MobileNetV3Large", "EfficientNetV2B0", "EfficientNetV2S", "ConvNeXtTiny", "ConvNeXtBase"
)  # fmt: skip
KERAS = {name: model for name, model in MODELS.items() if not (model.is_clip or model.is_lite)}


def picture(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def png(image: np.ndarray) -> bytearray:
    return bytearray(cv2.imencode(".png", image)[1].tobytes())


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


@pytest.fixture(scope="module")
def pictures(spark):
    images = [picture(1), picture(2, 500, 200)]
    df = spark.createDataFrame([(n, png(image)) for n, image in enumerate(images)], "id int, content binary")
    return images, df.coalesce(1).cache()


def plain_keras(name: str, path: Path, images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The last feature map and its mean by Keras alone, of a model with weights from a fixed seed."""
    import keras

    keras.utils.set_random_seed(7)
    model = build_model(MODELS[name])
    # Fresh batch normalisation does nothing; trained ones differ from layer to layer.
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(0.5 + keras.random.uniform(layer.moving_variance.shape, seed=7))
    model.save_weights(path)
    resized = np.stack([resize(image, MODELS[name].input_size) for image in images])[..., ::-1]
    module = getattr(keras.applications, MODULES[name])
    maps = model.predict(module.preprocess_input(resized.astype(np.float32)), verbose=0)
    return maps, maps.mean(axis=(1, 2))


@pytest.mark.parametrize("name", [name for name in KERAS if name not in BY_SHAPE])
def test_a_network_equals_plain_keras(name: str, pictures, tmp_path: Path) -> None:
    images, df = pictures
    path = tmp_path / f"{name}.weights.h5"
    maps, means = plain_keras(name, path, images)
    common = {"inputCol": "content", "outputCol": "features", "modelName": name, "weights": str(path)}
    assert means.shape[1] == get_model(name).num_channels
    if name not in OLD:
        spec = DeepImageFeaturizer(**common, engine="tensorflow", precision="float32").feature_spec()
        size = spec.network.registered.input_size
        got = engines.make_predict_fn(spec).run(np.stack([resize(image, size) for image in images]))
        wanted = means
    else:
        old = sparkdl.DeepImageFeaturizer(**common, engine="tensorflow")
        got = np.stack([row["features"].toArray() for row in old.transform(df).orderBy("id").collect()])
        assert got.shape[1] == OLD[name]
        wanted = means if name == "ResNet50" else maps.reshape(len(images), -1)
    assert cosines(got, wanted).min() >= 0.99999
    assert cosines(got[:1], got[1:2])[0] < 0.99999  # else the check above could not fail
    np.testing.assert_allclose(got, wanted, rtol=1e-2, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("name", KERAS)
def test_its_preprocessing_is_that_of_keras(name: str) -> None:
    import keras

    pixels = np.random.default_rng(1).integers(0, 256, (2, 5, 5, 3)).astype(np.float32)
    wanted = getattr(keras.applications, MODULES[name]).preprocess_input(pixels.copy())
    ours = PREPROCESSINGS[MODELS[name].preprocessing]
    channels = pixels[..., ::-1] if ours.order == "BGR" else pixels
    got = (channels - np.float32(ours.mean)) / np.float32(ours.std)
    np.testing.assert_allclose(got, wanted, atol=1e-3)


@pytest.mark.parametrize("name", BY_SHAPE)
def test_the_length_of_its_features(name: str) -> None:
    spec = get_model(name)
    shape = build_model(spec).output_shape
    assert shape == (None, spec.grid_size, spec.grid_size, spec.num_channels)


@pytest.mark.parametrize("name", KERAS)
def test_its_weights_are_those_that_keras_publishes(name: str) -> None:
    import keras

    source = Path(inspect.getsourcefile(getattr(keras.applications, name))).read_text()
    for classes in (False, True):
        file = imagenet.weights_file(name, classes=classes)
        assert file.url.split("/keras-applications/")[1].split("/")[0] in source
        assert file.digest is None or file.digest in source
    assert imagenet.weights_file(name, classes=True) != imagenet.weights_file(name, classes=False)


def test_the_names_of_the_classes() -> None:
    assert len(set(imagenet.class_names())) == imagenet.NUM_CLASSES
    assert imagenet.class_names()[281] == ("n02123045", "tabby")


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_a_model_file_cut_at_a_layer(spark, pictures, model_file: Path, engine: str) -> None:
    import keras

    images, df = pictures
    featurizer = DeepImageFeaturizer(
        inputCol="content", outputCol="f", modelName=str(model_file), engine=engine, precision="float32"
    )
    model = keras.models.load_model(model_file)
    pixels = np.stack([resize(image, 32) for image in images])[..., ::-1].astype(np.float32)

    def features(featurizer: DeepImageFeaturizer) -> np.ndarray:
        return np.stack([row["f"].toArray() for row in featurizer.transform(df).orderBy("id").collect()])

    np.testing.assert_allclose(features(featurizer), model.predict(pixels, verbose=0), rtol=1e-3, atol=1e-4)
    cut = featurizer.copy().setLayer("late").setPooling("max").setPreprocessing("unit")
    maps = keras.Model(model.inputs, model.get_layer("late").output).predict(pixels / 255, verbose=0)
    np.testing.assert_allclose(features(cut), maps.max(axis=(1, 2)), rtol=1e-3, atol=1e-5)
    told = cut.transform(df).schema["f"].metadata["framewatch"]
    assert (told["model"], told["layer"], told["preprocessing"]) == ("own.keras", "late", "unit")


def test_model_files_that_do_not_fit(spark, pictures, model_file: Path, tmp_path: Path) -> None:
    _, df = pictures
    featurizer = DeepImageFeaturizer(inputCol="content", outputCol="f", modelName=str(model_file))
    with pytest.raises(WeightsError, match="no layer 'nope': choose one of its 5 layers, such as"):
        featurizer.copy().setLayer("nope").transform(df)
    with pytest.raises(ConfigError, match="which contains its own: clear weights"):
        featurizer.copy().setWeights("imagenet").transform(df)
    (tmp_path / "x.keras").write_bytes(b"no model")
    with pytest.raises(WeightsError, match=r"x\.keras is not a whole Keras model"):
        featurizer.copy().setModelName(str(tmp_path / "x.keras")).transform(df)
    with pytest.raises(WeightsError, match="was not found"):
        featurizer.copy().setModelName("nowhere/x.keras").transform(df)


def test_the_predictor_names_the_likeliest_classes(spark, pictures, tmp_path: Path) -> None:
    import keras

    images, df = pictures
    name = "MobileNetV3Small"
    keras.utils.set_random_seed(7)
    model = build_model(MODELS[name], classes=True)
    head = next(layer for layer in reversed(model.layers) if layer.weights)
    head.set_weights([weight * 30 for weight in head.get_weights()])  # some classes stand out
    path = tmp_path / "top.weights.h5"
    model.save_weights(path)
    wanted = model.predict(
        np.stack([resize(i, 224) for i in images])[..., ::-1].astype(np.float32), verbose=0
    )
    predictor = DeepImagePredictor(
        inputCol="content", outputCol="p", modelName=name, weights=str(path), precision="float32"
    )
    with_null = df.union(spark.createDataFrame([(9, None)], df.schema))
    rows = predictor.transform(with_null).orderBy("id").collect()
    np.testing.assert_allclose([row["p"].toArray() for row in rows[:2]], wanted, rtol=1e-2, atol=1e-5)
    assert rows[2]["p"] is None
    named = predictor.copy().setDecodePredictions(True).setTopK(3).transform(with_null)
    assert named.schema["p"].dataType.elementType.names == ["class", "description", "probability"]
    rows = named.orderBy("id").collect()
    assert rows[2]["p"] is None
    for row, probabilities in zip(rows, wanted, strict=False):
        best = np.argsort(-probabilities)[:3]
        assert [tuple(p[:2]) for p in row["p"]] == [imagenet.class_names()[n] for n in best]
        np.testing.assert_allclose([p["probability"] for p in row["p"]], probabilities[best], rtol=1e-2)


@pytest.fixture(scope="module")
def frames(caviar_or_drawn: Path) -> list[np.ndarray]:
    images = []
    for path in sorted(caviar_or_drawn.rglob("*.mp*")):
        images += [sample.image for sample in Decoding(str(path), fps=0.2).samples()]
    return images


def test_precisions_agree_on_real_frames(spark, nsfwjs_weights: str, frames) -> None:
    """OpenVINO's float32, both engines' bfloat16 and int8 against plain TensorFlow, with trained weights."""
    common = DeepImageFeaturizer(inputCol="content", outputCol="features", weights=nsfwjs_weights)
    network = common.network()
    inputs = [resize(image, 299) for image in frames]
    calibration, compared = np.stack(inputs[::3]), inputs[1::3]  # of every clip, and never the same
    source = conversion.convert(network, network.weights.path)
    conversion.quantize_network(network, source, calibration[:: 1 + len(calibration) // 20], calibration[:2])
    shown = compared[:: 1 + len(compared) // 10]

    def features(engine: str, precision: str) -> np.ndarray:
        featurizer = common.copy().setEngine(engine).setPrecision(precision)
        return engines.make_predict_fn(featurizer.feature_spec()).run(np.stack(shown))

    wanted = features("tensorflow", "float32")
    for engine, precision, least in [
        ("openvino", "float32", 0.99999),
        ("openvino", "bfloat16", 0.999),
        ("openvino", "int8", 0.99),
        ("tensorflow", "bfloat16", 0.999),
    ]:
        assert cosines(features(engine, precision), wanted).min() >= least, (engine, precision)
    df = spark.createDataFrame([(bytearray(encode_jpeg(frames[0], quality=95)),)], "content binary")
    out = common.setPrecision("int8").transform(df)
    told = out.schema["features"].metadata["framewatch"]
    assert (told["engine"], told["precision"], len(told["quantized_sha256"])) == ("openvino", "int8", 64)
    assert len(out.first()["features"]) == 2048


def test_what_auto_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = "bfloat16" if has_bfloat16() else "float32"
    assert engines.choose("auto", "auto", gpu=False) == ("openvino", fast)
    assert engines.choose("auto", "float32", gpu=True) == ("tensorflow", "float32")
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    assert engines.choose("auto", "float32", gpu=False) == ("tensorflow", "float32")
    with pytest.raises(Exception, match=r"pip install 'framewatch\[openvino\]'"):
        engines.choose("openvino", "float32")
