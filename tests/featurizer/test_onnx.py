"""ONNX networks with a declaration: features against the reference evaluator, and errors."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from framewatch import DeepImageFeaturizer
from framewatch.config import load_config
from framewatch.errors import ConfigError, InputError, WeightsError
from framewatch.featurizer.predictor import DeepImagePredictor
from framewatch.models import conversion
from framewatch.models.encoder import Encoder
from framewatch.models.engines import make_predict_fn
from framewatch.models.identity import require_same_features
from framewatch.models.network_declaration import declaration_from_json, read_declaration
from framewatch.models.spec import FeatureSpec
from framewatch.models.weights_file import file_digest

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'framewatch[test]'")
evaluators = pytest.importorskip("onnx.reference")
pytest.importorskip("openvino", reason="openvino is not installed: pip install 'framewatch[openvino]'")

SIZE, CHANNELS = 32, 6
TORCH = (np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375]))
FLOAT, INT64, UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.UINT8


def pictures() -> np.ndarray:
    coarse = np.random.default_rng(3).integers(0, 255, (4, 5, 6, 3), np.uint8)
    return np.stack([cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for image in coarse])


def pixels(mean: np.ndarray, std: np.ndarray, *, order: str = "RGB", layout: str = "NCHW") -> np.ndarray:
    channels = pictures()[..., ::-1] if order == "RGB" else pictures()
    scaled = ((channels.astype(np.float32) - mean) / std).astype(np.float32)
    return scaled.transpose(0, 3, 1, 2) if layout == "NCHW" else scaled


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs.split(), [output], **attributes)


def info(name: str, shape: list[Any], kind: int = FLOAT) -> Any:
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes: list[Any], inputs: list[Any], outputs: list[Any], **weights: np.ndarray) -> Any:
    arrays = {"kernel": np.random.default_rng(5).normal(0, 0.3, (CHANNELS, 3, 4, 4)).astype(np.float32)}
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in {**arrays, **weights}.items()]
    graph = onnx.helper.make_graph(nodes, "network", inputs, outputs, tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


PIXELS = info("pixels", ["n", 3, "height", "width"])
CONVOLUTION = node("Conv", "pixels kernel", "patches", kernel_shape=[4, 4], strides=[4, 4])
MAPS = info("maps", ["n", CHANNELS, "height", "width"])


def backbone() -> Any:
    """NCHW pixels to a map; `patches` is an inner tensor."""
    return model_of([CONVOLUTION, node("Relu", "patches", "maps")], [PIXELS], [MAPS])


def last_channels() -> Any:
    """The same in NHWC."""
    nodes = [
        node("Transpose", "images", "pixels", perm=[0, 3, 1, 2]), CONVOLUTION,
        node("Relu", "patches", "relu"), node("Transpose", "relu", "maps", perm=[0, 2, 3, 1]),
    ]  # fmt: skip
    shapes = [info("images", ["n", SIZE, SIZE, 3])], [info("maps", ["n", "height", "width", CHANNELS])]
    return model_of(nodes, *shapes)


def transformer() -> Any:
    """Pixels to tokens, and as a second output to a vector with a name like a number."""
    nodes = [
        CONVOLUTION, node("Reshape", "patches flat", "rows"),
        node("Transpose", "rows", "columns", perm=[0, 2, 1]), node("Add", "columns places", "moved"),
        node("LeakyRelu", "moved", "tokens"), node("ReduceMean", "tokens", "495", axes=[1], keepdims=0),
    ]  # fmt: skip
    num_tokens = (SIZE // 4) ** 2
    places = np.random.default_rng(6).normal(0, 1, (1, num_tokens, CHANNELS)).astype(np.float32)
    outputs = [info("tokens", ["n", num_tokens, CHANNELS]), info("495", ["n", CHANNELS])]
    return model_of(nodes, [PIXELS], outputs, flat=np.int64([0, CHANNELS, -1]), places=places)


def pictures_and_texts() -> Any:
    """`image` depends on the pictures alone, `both` on the ids of a text too."""
    nodes = [
        CONVOLUTION, node("ReduceMean", "patches", "image", axes=[2, 3], keepdims=0),
        node("Cast", "ids", "numbers", to=FLOAT), node("Add", "image numbers", "both"),
    ]  # fmt: skip
    outputs = [info(name, ["n", CHANNELS]) for name in ("image", "both")]
    return model_of(nodes, [info("ids", ["n", CHANNELS], INT64), PIXELS], outputs)


def bytes_in() -> Any:
    """Takes NCHW uint8, and scales it."""
    nodes = [
        node("Cast", "bytes", "floats", to=FLOAT), node("Div", "floats most", "pixels"), CONVOLUTION,
        node("Relu", "patches", "maps"),
    ]  # fmt: skip
    return model_of(nodes, [info("bytes", ["n", 3, SIZE, SIZE], UINT8)], [MAPS], most=np.float32(255))


def halves() -> Any:
    """Computes in float16."""
    half = onnx.TensorProto.FLOAT16
    kernel = np.random.default_rng(5).normal(0, 0.3, (CHANNELS, 3, 4, 4)).astype(np.float16)
    nodes = [CONVOLUTION, node("Relu", "patches", "maps")]
    shapes = (["n", 3, SIZE, SIZE], ["n", CHANNELS, "height", "width"])
    return model_of(nodes, [info("pixels", shapes[0], half)], [info("maps", shapes[1], half)], kernel=kernel)


def one_at_a_time() -> Any:
    """Exported for a single picture, so that more become more tokens of one."""
    nodes = [CONVOLUTION, node("Reshape", "patches shape", "tokens")]
    outputs = [info("tokens", [1, "tokens", CHANNELS])]
    return model_of(nodes, [info("pixels", [1, 3, SIZE, SIZE])], outputs, shape=np.int64([1, -1, CHANNELS]))


def of_one_size() -> Any:
    """The dimension of the batch is dynamic, but an inner shape is not."""
    nodes = [
        CONVOLUTION, node("Reshape", "patches shape", "tokens"), node("Reshape", "tokens rows", "flat"),
    ]  # fmt: skip
    shapes = {"shape": np.int64([1, (SIZE // 4) ** 2, CHANNELS]), "rows": np.int64([-1, CHANNELS])}
    return model_of(nodes, [PIXELS], [info("flat", ["rows", CHANNELS])], **shapes)


def normalized_by_batch() -> Any:
    """Subtracts the mean of all pictures of the batch."""
    nodes = [
        CONVOLUTION,
        node("ReduceMean", "patches", "mean", axes=[0]),
        node("Sub", "patches mean", "maps"),
    ]
    return model_of(nodes, [PIXELS], [MAPS])


def write(directory: Path, model: Any, **declaration: Any) -> Path:
    path = directory / "own.onnx"
    onnx.save(model, path)
    declared = {"size": SIZE, "scaling": "torch", "pooling": "none", **declaration}
    declared = {key: value for key, value in declared.items() if value is not None}
    path.with_suffix(".yaml").write_text(yaml.safe_dump(declared))
    return path


def featurizer(path: Path, **params: Any) -> DeepImageFeaturizer:
    common = {"inputCol": "content", "outputCol": "features", "engine": "openvino", "precision": "float32"}
    return DeepImageFeaturizer(**{**common, "modelName": str(path), **params})


def features(spec: FeatureSpec) -> np.ndarray:
    return make_predict_fn(spec).run(pictures())


def reference(model: Any, tensor: str, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """The value of an output, or of an inner tensor, by ONNX's own evaluator."""
    return evaluators.ReferenceEvaluator(model).run([tensor], feeds)[0]


RGB = pixels(*TORCH)
NUMBERS = {"scaling": None, "mean": [10, 20, 30.5], "std": [40, 50, 60]}
# A network and its declaration; and by NumPy: which tensor, of which pixels, how reduced.
Case = tuple[
    Callable[[], Any], dict[str, Any], str, dict[str, np.ndarray], Callable[[np.ndarray], np.ndarray]
]
CASES: dict[str, Case] = {
    "a map, averaged": (
        backbone, {"pooling": "avg"}, "maps", {"pixels": RGB}, lambda maps: maps.mean((2, 3)),
    ),
    "a map, its maximum": (
        backbone, {"pooling": "max", "layout": "NCHW", "order": "RGB", "input": "pixels", "output": "maps"},
        "maps", {"pixels": RGB}, lambda maps: maps.max((2, 3)),
    ),
    "a map, flattened by position": (
        backbone, {"pooling": "none"},
        "maps", {"pixels": RGB}, lambda maps: maps.transpose(0, 2, 3, 1).reshape(4, -1),
    ),
    "an inner tensor": (
        backbone, {"pooling": "avg", "output": "patches"},
        "patches", {"pixels": RGB}, lambda maps: maps.mean((2, 3)),
    ),
    "its own numbers, in BGR": (
        backbone, {"pooling": "avg", "order": "BGR", **NUMBERS},
        "maps", {"pixels": pixels(np.float32([10, 20, 30.5]), np.float32([40, 50, 60]), order="BGR")},
        lambda maps: maps.mean((2, 3)),
    ),
    "a named scaling, in the other order": (
        backbone, {"pooling": "avg", "order": "BGR"},
        "maps", {"pixels": RGB[:, ::-1]}, lambda maps: maps.mean((2, 3)),
    ),
    "channels last, averaged": (
        last_channels, {"pooling": "avg", "layout": "NHWC"},
        "maps", {"images": pixels(*TORCH, layout="NHWC")}, lambda maps: maps.mean((1, 2)),
    ),
    "channels last, flattened": (
        last_channels, {"layout": "NHWC"},
        "maps", {"images": pixels(*TORCH, layout="NHWC")}, lambda maps: maps.reshape(4, -1),
    ),
    "tokens, averaged": (
        transformer, {"pooling": "avg", "output": "tokens"},
        "tokens", {"pixels": RGB}, lambda tokens: tokens.mean(1),
    ),
    "tokens, their maximum": (
        transformer, {"pooling": "max", "output": "tokens"},
        "tokens", {"pixels": RGB}, lambda tokens: tokens.max(1),
    ),
    "the first token": (
        transformer, {"pooling": "first", "output": "tokens"},
        "tokens", {"pixels": RGB}, lambda tokens: tokens[:, 0],
    ),
    "tokens, flattened": (
        transformer, {"output": "tokens"}, "tokens", {"pixels": RGB}, lambda tokens: tokens.reshape(4, -1),
    ),
    "the second output": (
        transformer, {"output": "495"}, "495", {"pixels": RGB}, lambda vectors: vectors,
    ),
    "one of two inputs": (
        pictures_and_texts, {"input": "pixels", "output": "image"},
        "image", {"pixels": RGB, "ids": np.zeros((4, CHANNELS), np.int64)}, lambda vectors: vectors,
    ),
    "uint8 pixels": (
        bytes_in, {"pooling": "avg", "scaling": "raw"},
        "maps", {"bytes": pictures()[..., ::-1].transpose(0, 3, 1, 2)}, lambda maps: maps.mean((2, 3)),
    ),
    "float16": (
        halves, {"pooling": "avg"},
        "maps", {"pixels": RGB.astype(np.float16)}, lambda maps: maps.astype(np.float32).mean((2, 3)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_features_are_those_of_the_reference(tmp_path: Path, case: str) -> None:
    make, declared, tensor, feeds, reduce = CASES[case]
    model = make()
    wanted = reduce(reference(model, tensor, feeds))
    got = features(featurizer(write(tmp_path, model, **declared)).feature_spec())
    assert got.shape == wanted.shape and got.dtype == np.float32
    tolerance = 1e-2 if case == "float16" else 1e-4
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
    assert np.ptp(wanted, axis=0).max() > 0.1  # else the check above could hardly fail


@pytest.mark.parametrize(
    ("make", "declared", "message"),
    [
        (transformer, {}, "2 outputs: declare as `output` one of tokens, 495"),
        (transformer, {"output": "nope"}, "no tensor 'nope': declare as `output` one of tokens, 495"),
        (transformer, {"output": "495", "pooling": "avg"}, r"does not fit output '495' .*: declare none"),
        (backbone, {"pooling": "first"}, "pooling=first does not fit .*: declare avg or max or none"),
        (backbone, {"output": "kernel", "pooling": "avg"}, "does not compute any number of pictures at once"),
        (backbone, {"input": "nope"}, "no input 'nope': declare as `input` the one .*, of pixels"),
        (pictures_and_texts, {"output": "image"}, "2 inputs: declare as `input` .*, of ids, pixels"),
        (
            pictures_and_texts,
            {"input": "pixels", "output": "both"},
            "output 'both' .* does not only need 'pixels', but more of the inputs ids, pixels",
        ),
        (last_channels, {}, r"has the shape \[\?,32,32,3\], and its declaration NCHW .* size of 32: declare"),
        (one_at_a_time, {"size": 64}, r"has the shape \[1,3,32,32\], and its declaration NCHW"),
        (one_at_a_time, {"pooling": "avg"}, "at once .*: export it with a dynamic first dimension"),
        (of_one_size, {}, "at once .*: export it with a dynamic first dimension"),
        (normalized_by_batch, {"pooling": "avg"}, "two pictures have other features together than apart"),
        (bytes_in, {"pooling": "avg"}, "takes u8, not scaled pixels: declare scaling: raw"),
    ],
)
def test_declarations_that_do_not_fit_the_network(
    tmp_path: Path, make: Callable[[], Any], declared: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, make(), **declared)
    with pytest.raises(WeightsError, match=message) as caught:
        featurizer(path).feature_spec()
    assert "own.onnx" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size: [", "is not valid YAML"),
        ("- size", "contains a list: it must contain `key: value` lines"),
        ("", "contains nothing: it must contain"),
        ("sizes: 32", "unknown key 'sizes' in .*: did you mean size?"),
        ("path: x", "unknown key 'path' in .*: the keys are size, scaling, "),
        ("scaling: tf\npooling: avg", "has no size: give the width and height of the input"),
        ("size: 224.5\nscaling: tf\npooling: avg", "size=224.5 in .* is not valid: give the width"),
        ("size: true\nscaling: tf\npooling: avg", "size=True in .* is not valid"),
        ("size: 0\nscaling: tf\npooling: avg", "size=0 in .* is not valid"),
        ("size: 32\nscaling: tf", "has no pooling: choose one of avg, max, first, none"),
        ("size: 32\nscaling: tf\npooling: [avg]", r"pooling=\['avg'\] in .* is not valid: choose one of avg"),
        ("size: 32\npooling: avg", "must have either scaling .*, or mean and std"),
        (
            "size: 32\npooling: avg\nscaling: tf\nstd: [1, 1, 1]",
            "must have either scaling .*, or mean and std",
        ),
        ("size: 32\npooling: avg\nscaling: imagenet", "scaling=imagenet in .*: choose one of tf, caffe"),
        ("size: 32\npooling: avg\nmean: [1, 2, 3]", "has no std: give three numbers of 1 or more"),
        ("size: 32\npooling: avg\nmean: [1, 2]\nstd: [1, 1, 1]", r"mean=\[1, 2\] in .*: give three numbers"),
        ("size: 32\npooling: avg\nmean: [.nan, 0, 0]\nstd: [1, 1, 1]", r"mean=\[nan, 0, 0\] in"),
        # Of an image processor for pixels from 0 to 1.
        (
            "size: 32\npooling: avg\nmean: [0, 0, 0]\nstd: [0.5, 0.5, 0.5]",
            "1 or more, for pixels from 0 to 255",
        ),
        ("size: 32\npooling: avg\nscaling: tf\norder: GRB", "order=GRB in .*: choose one of RGB, BGR"),
        ("size: 32\npooling: avg\nscaling: tf\nlayout: HWC", "layout=HWC in .*: choose one of NCHW, NHWC"),
        ("size: 32\npooling: avg\nscaling: tf\noutput: 495", "output=495 in .*: give the name .*, in quotes"),
    ],
)
def test_declarations_that_are_not_valid(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, backbone())
    path.with_suffix(".yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        featurizer(path).network()
    assert "own.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_the_identity_has_the_values_of_the_declaration(tmp_path: Path) -> None:
    path = write(tmp_path, backbone(), pooling="avg")
    spec = featurizer(path).feature_spec()
    identity = spec.identity()
    assert (identity["model"], identity["weights_sha256"]) == ("own.onnx", file_digest(path))
    assert declaration_from_json(identity["declaration"]) == read_declaration(str(path))
    # The same values in other words, elsewhere.
    (tmp_path / "elsewhere").mkdir()
    same = write(tmp_path / "elsewhere", backbone(), pooling="avg", scaling=None, layout="NCHW", order="RGB",
                 mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])  # fmt: skip
    assert conversion.converted_path(featurizer(same).network()) == Path(spec.converted.path)
    assert featurizer(same).feature_spec().identity() == identity
    other = write(tmp_path, backbone(), pooling="avg", scaling="tf")
    changed = featurizer(other).network()
    assert conversion.converted_path(changed) != Path(spec.converted.path)
    with pytest.raises(InputError, match=r"declaration is .* in one and .* in the other"):
        require_same_features(
            identity, replace(spec, network=changed).identity(), "one", "the other", "remedy"
        )


def test_settings_for_other_models(tmp_path: Path, model_file: Path) -> None:
    path = write(tmp_path, backbone(), pooling="avg")
    with pytest.raises(ConfigError, match=r"own\.onnx needs OpenVINO: .* set engine=openvino"):
        featurizer(path, engine="tensorflow").feature_spec()
    for params in ({"pooling": "avg"}, {"layer": "maps"}, {"preprocessing": "tf"}):
        with pytest.raises(
            ConfigError, match=r"are not for .*own\.onnx: clear them, and declare .* own\.yaml"
        ):
            featurizer(path, **params).network()
    with pytest.raises(ConfigError, match="which contains its own: clear weights"):
        featurizer(path, weights="imagenet").network()
    with pytest.raises(ConfigError, match=r"a declaration is for ONNX networks, not for .*own\.keras"):
        featurizer(model_file, declaration={"size": 32, "scaling": "tf", "pooling": "avg"}).network()
    with pytest.raises(TypeError, match="declaration has no size"):
        featurizer(path, declaration={"scaling": "tf", "pooling": "avg"})
    with pytest.raises(ConfigError, match="without ImageNet classes"):
        DeepImagePredictor(inputCol="content", outputCol="p", modelName=str(path)).network()
    for setting in ("pooling=max", "layer=maps", "preprocessing=tf"):
        with pytest.raises(ConfigError, match=f"featurizer.{setting} is not valid"):
            load_config(None, [f"featurizer.model={path}", f"featurizer.{setting}"])


def test_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    path = write(tmp_path, backbone(), pooling="avg")
    content = path.read_bytes()
    for damaged, reason in (
        (content[:100], "truncated"),
        (b"", ""),
        (b"no network", ""),
        (b"\x08\x08", "graph"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=rf"own\.onnx is not an ONNX file \(.*{reason}.*\): export"):
            featurizer(path).network()
    path.write_bytes(content)
    path.with_suffix(".yaml").unlink()
    with pytest.raises(ConfigError, match=r"own\.yaml does not exist: an ONNX network needs a YAML file"):
        featurizer(path).network()
    path.unlink()
    with pytest.raises(WeightsError, match=r"the model file .*own\.onnx was not found"):
        featurizer(path).network()


def unknown_operation() -> Any:
    graph = onnx.helper.make_graph([onnx.helper.make_node("Guess", ["pixels"], ["maps"], domain="own")], "g",
                                   [PIXELS], [MAPS])  # fmt: skip
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("own", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_operations_that_openvino_does_not_have(tmp_path: Path) -> None:
    path = write(tmp_path, unknown_operation(), pooling="avg")
    with pytest.raises(WeightsError, match=r"OpenVINO cannot read .*own\.onnx \(.*Guess"):
        featurizer(path).feature_spec()


def weights_beside(path: Path) -> None:
    onnx.save(backbone(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)


def weights_beside_a_branch(path: Path) -> None:
    """In an initializer of a graph in an attribute of a node."""
    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "zeros")
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    tensor.ClearField("raw_data")
    output = [info("result", [4])]
    branch = onnx.helper.make_graph([node("Identity", "zeros", "result")], "branch", [], output, [tensor])
    condition = info("condition", [], onnx.TensorProto.BOOL)
    nodes = [onnx.helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch)]
    graph = onnx.helper.make_graph(nodes, "network", [condition], [info("y", [4])])
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize("write_external", [weights_beside, weights_beside_a_branch])
def test_weights_in_a_second_file(tmp_path: Path, write_external: Callable[[Path], None]) -> None:
    path = write(tmp_path, backbone(), pooling="avg")
    write_external(path)
    with pytest.raises(
        WeightsError, match=r"keeps weights in another file, weights\.bin: save .* single file"
    ):
        featurizer(path).network()


def test_a_link_to_a_file_without_a_suffix(tmp_path: Path) -> None:
    """As in the cache of the Hugging Face hub."""
    path = write(tmp_path, backbone(), pooling="avg")
    path.rename(tmp_path / "blob")
    path.symlink_to("blob")
    assert features(featurizer(path).feature_spec()).shape == (4, CHANNELS)


def test_queries_are_encoded_as_declared_in_the_features(tmp_path: Path) -> None:
    path = write(tmp_path, backbone(), pooling="max")
    spec = featurizer(path).feature_spec()
    path.with_suffix(".yaml").write_text("size: 16\nscaling: raw\npooling: avg\n")  # of later features
    encoder = Encoder(spec.identity(), model=str(path), weights="")
    np.testing.assert_allclose(encoder.images(list(pictures())), features(spec), rtol=1e-4, atol=1e-4)
    assert not encoder.supports_texts
    with pytest.raises(WeightsError, match=r"computed with the model file own\.onnx: set featurizer\.model"):
        Encoder(spec.identity(), model="InceptionV3", weights="").images(list(pictures()))


def test_int8(tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="nncf is not installed: pip install 'framewatch[quantize]'")
    path = write(tmp_path, transformer(), output="tokens", pooling="avg")
    network = featurizer(path).network()
    source = conversion.convert(network, network.weights.path)
    with pytest.raises(WeightsError, match=r"there is no int8 version of own\.onnx"):
        featurizer(path, precision="int8").feature_spec()
    int8, wanted, got = conversion.quantize_network(network, source, pictures(), pictures())
    np.testing.assert_allclose(got, wanted, atol=0.05 * np.abs(wanted).max())
    spec = featurizer(path, precision="int8").feature_spec()
    assert spec.identity()["quantized_sha256"] == int8.sha256
    np.testing.assert_allclose(features(spec), got, atol=1e-2)


def test_saved_featurizers(spark, tmp_path: Path) -> None:
    path = write(tmp_path, transformer(), output="tokens", pooling="first")
    rows = [(n, bytearray(cv2.imencode(".png", image)[1].tobytes())) for n, image in enumerate(pictures())]
    df = spark.createDataFrame(rows, "id int, content binary").coalesce(1)
    out = featurizer(path).transform(df)
    wanted = features(featurizer(path).feature_spec())
    got = np.stack([row["features"].toArray() for row in out.orderBy("id").collect()])
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    metadata = out.schema["features"].metadata["framewatch"]
    assert (metadata["pooling"], json.loads(metadata["declaration"])["output"]) == ("first", "tokens")
    featurizer(path).save(str(tmp_path / "named"))
    featurizer(path, saveWeights=True).save(str(tmp_path / "complete"))
    path.with_suffix(".yaml").unlink()
    named = DeepImageFeaturizer.load(str(tmp_path / "named"))
    assert named.feature_spec().identity() == metadata
    other = backbone()
    onnx.save(other, path)
    with pytest.raises(WeightsError, match="the features or the transformer were created with"):
        named.network()
    path.unlink()
    complete = DeepImageFeaturizer.load(str(tmp_path / "complete"))
    assert complete.feature_spec().identity() == metadata
    np.testing.assert_array_equal(features(complete.feature_spec()), wanted)
