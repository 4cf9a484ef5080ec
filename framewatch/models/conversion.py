"""Converts networks to OpenVINO's format, and quantizes them to int8. Does not import Spark.

The work runs in a child process, because TensorFlow, torch and NNCF take two gigabytes of memory that a
driver or a worker should not keep. Results are cached under names that include a hash of their inputs.
"""

import contextlib
import fcntl
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from framewatch.errors import FramewatchError, SetupError, WeightsError
from framewatch.io import atomic
from framewatch.io.child import Answer, ChildError, answer_requests, ask
from framewatch.models.network_declaration import parse_declaration
from framewatch.models.spec import Network, Precision
from framewatch.models.weights import cache_directory
from framewatch.models.weights_file import Weights, file_digest

# Part of the file names; increase it to invalidate cached files.
_FORMAT = 1
# Keeping the first convolutions in floating point costs 9% of the speed, and halves the remaining error.
_NUM_UNQUANTIZED = 3


def converted_path(network: Network, precision: Precision = "float32") -> Path:
    """Returns the path of the converted network in the cache; bfloat16 uses the float32 file."""
    kind = "int8" if precision == "int8" else "float32"
    stem = Path(network.name).stem
    return cache_directory() / "openvino" / f"{stem}-{network.output}-{network.key()}-{kind}.v{_FORMAT}.zip"


def text_path(network: Network) -> Path:
    """Returns the path of the text encoder of a converted CLIP model in the cache."""
    image = converted_path(network)
    return image.with_name(image.name.replace("-float32.", "-text."))


def convert(network: Network, path: str, *, on_message: Callable[[str], None] = lambda _: None) -> Weights:
    """Converts the weights at `path` to OpenVINO's format, unless cached; for CLIP, both encoders.

    Raises:
        WeightsError: the file does not contain this network, or the conversion failed.
    """
    target = converted_path(network)
    if not target.is_file():
        on_message(f"converting {network.name} for OpenVINO (half a minute, once)")
        with _locked(target):
            if not target.is_file():
                _run("convert", network, {"path": path, "target": str(target)})
    return Weights(target.name, str(target), file_digest(target))


def quantized(network: Network) -> Weights:
    """Returns the int8 version from `framewatch quantize`.

    Raises:
        WeightsError: there is no int8 version yet.
    """
    path = converted_path(network, "int8")
    if not path.is_file():
        raise WeightsError(
            f"there is no int8 version of {network.name} with weights {network.weights.name}: create it with "
            f"framewatch quantize, or copy it to {path}"
        )
    return Weights(path.name, str(path), file_digest(path))


def quantize_network(
    network: Network, source: Weights, calibration: np.ndarray, comparison: np.ndarray
) -> tuple[Weights, np.ndarray, np.ndarray]:
    """Creates the int8 version by post-training quantization with NNCF.

    Args:
        network: the network to quantize.
        source: the converted float32 version.
        calibration: (n, size, size, 3) uint8 BGR pictures that determine the ranges of activations.
        comparison: (m, size, size, 3) uint8 BGR other pictures, on which the two versions are compared.

    Returns:
        The int8 version, and the float32 and the int8 features of `comparison`, (n, features) each.

    Raises:
        SetupError: NNCF is not installed.
    """
    require_nncf()
    target = converted_path(network, "int8")
    with tempfile.TemporaryDirectory() as directory, _locked(target):
        pictures, features = Path(directory) / "pictures.npz", Path(directory) / "features.npz"
        np.savez(pictures, calibration=calibration, comparison=comparison)
        work = {"source": source.path, "target": str(target), "pictures": str(pictures), "to": str(features)}
        _run("quantize", network, work)
        with np.load(features) as both:
            float32, int8 = both["float32"], both["int8"]
    return Weights(target.name, str(target), file_digest(target)), float32, int8


def input_size(path: str) -> int:
    """Returns the input width and height of a converted network, in pixels."""
    import openvino

    from framewatch.models.openvino_networks import read_converted

    return read_converted(path, openvino.Core()).input(0).partial_shape[1].get_length()


def require_nncf() -> None:
    """Checks that NNCF is installed.

    Raises:
        SetupError: NNCF is not installed.
    """
    import importlib.util

    if importlib.util.find_spec("nncf") is None:
        raise SetupError("quantization needs NNCF: pip install 'framewatch[quantize]'")


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Context in which no other process of this machine creates `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(task: str, network: Network, work: dict[str, str]) -> None:
    request = {"task": task, "network": asdict(network), **work}
    # CI turns off the telemetry of OpenVINO and NNCF.
    env = {"CUDA_VISIBLE_DEVICES": "-1", "CI": "true"}
    try:
        error = ask("framewatch.models.conversion", request, env=env)["error"]
    except ChildError as child_error:
        error = _not_converted(network, f"the process {child_error}")
    if error:
        raise WeightsError(error)


def _handle(work: dict[str, Any]) -> Iterator[Answer]:
    """Answers one request; failures become answers."""
    fields = work.pop("network")
    declared = fields["declaration"] and parse_declaration(fields["declaration"], "the declaration")
    network = Network(**{**fields, "weights": Weights(**fields["weights"]), "declaration": declared})
    message = None
    try:
        (_convert if work.pop("task") == "convert" else _quantize)(network, **work)
    except FramewatchError as error:
        message = str(error)
    except Exception as error:
        message = _not_converted(network, " ".join(str(error).split())[:300])
    yield {"outcome": {"error": message}}, b""


def _not_converted(network: Network, reason: str) -> str:
    remedy = "give another file" if network.needs_openvino else "set engine=tensorflow"
    return f"{network.name} could not be converted ({reason}): {remedy}"


def _convert(network: Network, path: str, target: str) -> None:
    if network.is_clip:
        _convert_clip(network, path, target)
        return
    if network.declaration is not None:
        from framewatch.models.onnx_networks import image_network

        _write(image_network(path, network.declaration), target)
        return
    import openvino

    from framewatch.models.networks import load_function

    function, _ = load_function(network, path)
    _write(openvino.convert_model(function), target)


def _convert_clip(network: Network, path: str, target: str) -> None:
    from framewatch.models import clip_networks

    encoder, settings, tokenizer = clip_networks.text_network(path)
    files = {"tokenizer.json": tokenizer, "text.json": clip_networks.text_settings_json(settings)}
    _write(encoder, str(text_path(network)), files)
    # Written last, so that its existence implies that of the text encoder.
    _write(clip_networks.image_network(path), target)


def _write(model: Any, target: str, files: Mapping[str, str] | None = None) -> None:
    import openvino

    with atomic.replacing(target) as part:
        # Keeps float32 weights; OpenVINO compresses to float16 by default.
        openvino.save_model(model, part.parent / "model.xml", compress_to_fp16=False)
        with zipfile.ZipFile(part, "w") as archive:
            for name in ("model.xml", "model.bin"):
                # A ZipInfo without a date, so that equal content gives an equal SHA-256.
                archive.writestr(zipfile.ZipInfo(name), (part.parent / name).read_bytes())
            for name, text in (files or {}).items():
                archive.writestr(zipfile.ZipInfo(name), text)


def _quantize(network: Network, source: str, target: str, pictures: str, to: str) -> None:
    import nncf
    import openvino

    from framewatch.models.openvino_networks import read_converted

    core = openvino.Core()
    model = read_converted(source, core)
    with np.load(pictures) as both:
        calibration, comparison = both["calibration"], both["comparison"]
    dataset = nncf.Dataset([picture[None] for picture in calibration])
    operations = model.get_ordered_ops()
    convolutions = [op.get_friendly_name() for op in operations if "Convolution" in op.get_type_name()]
    int8 = nncf.quantize(
        model,
        dataset,
        subset_size=len(calibration),
        ignored_scope=nncf.IgnoredScope(names=convolutions[:_NUM_UNQUANTIZED]),
    )
    _write(int8, target)
    float32 = _features(core, model, comparison, "float32")
    np.savez(to, float32=float32, int8=_features(core, int8, comparison, "int8"))


def _features(core: Any, model: Any, pictures: np.ndarray, precision: Precision) -> np.ndarray:
    from framewatch.models.openvino_networks import inference_precision

    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": inference_precision(precision)})
    return np.concatenate([compiled(pictures[i : i + 16])[0].copy() for i in range(0, len(pictures), 16)])


if __name__ == "__main__":
    answer_requests(_handle)
