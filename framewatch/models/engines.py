"""Runs networks with TensorFlow or OpenVINO: uint8 pictures in, float32 features out. Without Spark."""

import functools
import glob
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from framewatch.errors import ConfigError, SetupError, WeightsError
from framewatch.models.networks import import_tensorflow, load_function
from framewatch.models.openvino_networks import has_bfloat16, inference_precision, read_converted
from framewatch.models.spec import Engine, FeatureSpec, Precision
from framewatch.models.weights_file import Weights, file_digest

Find = Callable[[str], str]


@dataclass(frozen=True)
class PredictFn:
    """A loaded network.

    Attributes:
        input_size: width and height of its input, pixels.
        run: maps (n, input_size, input_size, 3) uint8 BGR to (n, features) float32.
    """

    input_size: int
    run: Callable[[np.ndarray], np.ndarray]


def has_gpu() -> bool:
    """Returns whether this machine has a GPU, and a TensorFlow build that supports it."""
    if not glob.glob("/dev/nvidia[0-9]*"):
        return False
    names = {dist.metadata["Name"] for dist in importlib.metadata.distributions(name="tensorflow")}
    return "tensorflow" in names


def choose(engine: str, precision: str, *, gpu: bool | None = None) -> tuple[Engine, Precision]:
    """Chooses the engine and the precision, and resolves `auto` for this machine.

    Args:
        engine: `tensorflow`, `openvino`, or `auto`: TensorFlow on a GPU, else OpenVINO if it is installed.
        precision: `float32`, `bfloat16`, `int8`, or `auto`: bfloat16 if the CPU supports it, else float32.
        gpu: whether the workers have a GPU; None to check this machine.

    Raises:
        SetupError: OpenVINO is requested but not installed.
        ConfigError: int8 is requested with TensorFlow.
    """
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "auto":
        on_gpu = has_gpu() if gpu is None else gpu
        engine = "openvino" if installed and not on_gpu else "tensorflow"
    if engine == "openvino" and not installed:
        raise SetupError(
            "engine 'openvino' is not installed: pip install 'framewatch[openvino]', or set engine=tensorflow"
        )
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16() else "float32"
    if precision == "int8" and engine == "tensorflow":
        raise ConfigError("precision 'int8' needs OpenVINO: set engine=openvino, or another precision")
    return engine, precision  # type: ignore[return-value]  # checked where they are set


def require_openvino(model_name: str, engine: Engine) -> None:
    """Checks that a CLIP model or an ONNX network runs on OpenVINO.

    Raises:
        ConfigError: the engine is another one.
    """
    if engine != "openvino":
        raise ConfigError(
            f"{model_name} needs OpenVINO: pip install 'framewatch[openvino]', and set engine=openvino"
        )


@functools.lru_cache(maxsize=2)
def make_predict_fn(spec: FeatureSpec, *, find: Find | None = None) -> PredictFn:
    """Loads a network once per process, and returns the function that runs it.

    Args:
        spec: the network, and how to run it.
        find: maps the path of a file on the driver to its path on this machine.

    Raises:
        WeightsError: a file is missing, differs from the driver's, or belongs to another model.
    """
    return (_openvino if spec.engine == "openvino" else _tensorflow)(spec, find or (lambda path: path))


def checked(weights: Weights, find: Find) -> str:
    """Returns the path of a file on this machine, after comparing its SHA-256 with the driver's.

    Raises:
        WeightsError: the file is missing, or differs from the driver's.
    """
    path = find(weights.path)
    if not os.path.isfile(path):
        raise WeightsError(
            f"{path} is not on this worker: put it on storage that every worker can access, or add it with "
            "spark-submit --files"
        )
    digest = file_digest(path)
    if digest != weights.sha256:
        raise WeightsError(
            f"{path} has SHA-256 {digest} here and {weights.sha256} on the driver: copy it again"
        )
    return path


def _tensorflow(spec: FeatureSpec, find: Find) -> PredictFn:
    return PredictFn(*load_tensorflow(spec, find))


def _openvino(spec: FeatureSpec, find: Find) -> PredictFn:
    size, run = load_openvino(spec, find)
    return PredictFn(size, lambda pictures: run(pictures)[0])


def load_tensorflow(spec: FeatureSpec, find: Find) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
    """Loads a network; returns its input size, and the function from pictures to features."""
    path = checked(spec.network.weights, find)
    import_tensorflow(spec.num_threads)
    policy = "mixed_bfloat16" if spec.precision == "bfloat16" else "float32"
    function, size = load_function(spec.network, path, policy=policy)
    return size, lambda pictures: function(pictures).numpy()


def load_openvino(
    spec: FeatureSpec, find: Find, *, change: Callable[[Any], object] = lambda model: None
) -> tuple[int, Callable[[np.ndarray], list[np.ndarray]]]:
    """Loads a network.

    Args:
        spec: the network, and how to run it.
        find: maps the path of a file on the driver to its path on this machine.
        change: changes OpenVINO's model before it is compiled.

    Returns:
        Its input size, and the function from pictures to its outputs.
    """
    import openvino

    assert spec.converted is not None
    model = read_converted(_converted_here(spec, find), openvino.Core())
    change(model)
    compiled = openvino.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": inference_precision(spec.precision),
            "INFERENCE_NUM_THREADS": spec.num_threads,
            "NUM_STREAMS": 1,
            # With pinning, all workers of a machine would share its first cores.
            "ENABLE_CPU_PINNING": False,
        },
    )
    request = compiled.create_infer_request()
    size = model.input(0).partial_shape[1].get_length()
    outputs = range(len(model.outputs))

    def run(pictures: np.ndarray) -> list[np.ndarray]:
        found = request.infer(pictures)
        return [found[number].copy() for number in outputs]

    return size, run


def _converted_here(spec: FeatureSpec, find: Find) -> str:
    """Returns the converted network on this machine; converts the weights here if it is missing."""
    assert spec.converted is not None
    # CLIP is converted on the driver only, so that workers do not need torch and transformers.
    if spec.network.is_clip or spec.precision == "int8" or os.path.isfile(find(spec.converted.path)):
        return checked(spec.converted, find)
    from framewatch.models.conversion import convert

    return convert(spec.network, checked(spec.network.weights, find)).path
