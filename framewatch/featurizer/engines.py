"""Running a model: uint8 pictures in, float32 features out. No Spark in here."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from framewatch.errors import WeightsError
from framewatch.featurizer.models import ModelSpec, Pooling, get_model
from framewatch.featurizer.weights import Weights, file_digest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# A task slot has one core, and no GPU of its own.
_THREADS = 1

PredictFn = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class FeatureSpec:
    """All that decides the features of a picture; hashable, so a worker loads each model once."""

    model_name: str
    weights: Weights
    pooling: Pooling

    @property
    def model(self) -> ModelSpec:
        """The model's entry in the registry."""
        return get_model(self.model_name)

    def identity(self) -> dict[str, str]:
        """What the features' column metadata says of them."""
        return {
            "model": self.model_name,
            "weights": self.weights.name,
            "weights_sha256": self.weights.sha256,
            "pooling": self.pooling,
            "resize": "area",
            "engine": "tensorflow",
            "precision": "float32",
        }


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    # TensorFlow's C++ code greets on file descriptor 2, once per worker, whatever its log level.
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def build_model(model: ModelSpec, *, pooling: Pooling) -> Any:
    """The Keras model, without its top and with the weights it was initialised with."""
    with _quiet_stderr():
        import keras

    size = model.input_size
    return getattr(keras.applications, model.name)(
        include_top=False,
        weights=None,
        input_shape=(size, size, 3),
        pooling=None if pooling == "none" else pooling,
    )


@functools.lru_cache(maxsize=2)
def make_predict_fn(spec: FeatureSpec, *, find: Callable[[str], str] | None = None) -> PredictFn:
    """Loads a model and returns the function that runs it. Cached: once per process.

    Args:
        spec: model, weights and pooling.
        find: gives the place of the weights on this machine, from their place on the driver.

    Returns:
        A function from (n, size, size, 3) uint8 BGR to (n, features) float32.

    Raises:
        WeightsError: the file is not here, is not the driver's, or is of another model.
    """
    path = find(spec.weights.path) if find else spec.weights.path
    _check_file(path, spec.weights)
    with _quiet_stderr():
        import tensorflow as tf

    _limit_threads(tf)
    model = build_model(spec.model, pooling=spec.pooling)
    _load_weights(model, path, spec)

    @tf.function(
        input_signature=[tf.TensorSpec((None, spec.model.input_size, spec.model.input_size, 3), tf.uint8)]
    )
    def predict(bgr: Any) -> Any:
        # Channel order and scale run in the graph: in NumPy they cost 4.6 ms a frame.
        rgb = tf.cast(tf.reverse(bgr, axis=[-1]), tf.float32)
        features = model(rgb * spec.model.scale + spec.model.offset, training=False)
        return tf.reshape(features, (tf.shape(bgr)[0], spec.model.num_features(spec.pooling)))

    return lambda images: predict(images).numpy()


def _check_file(path: str, weights: Weights) -> None:
    if not os.path.isfile(path):
        raise WeightsError(
            f"weights {path} are not on this worker: put them on storage that every worker sees, or add them "
            "with spark-submit --files"
        )
    digest = file_digest(path)
    if digest != weights.sha256:
        raise WeightsError(
            f"weights {path} have SHA-256 {digest} here and {weights.sha256} on the driver: copy them anew"
        )


def _limit_threads(tf: Any) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(_THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(_THREADS)
    except RuntimeError:
        pass  # TensorFlow runs already, in a process that is not a worker of ours: its settings stand


def _load_weights(model: Any, path: str, spec: FeatureSpec) -> None:
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path} does not hold weights of {spec.model_name} without its top ({reason}): give a file "
            f"saved from keras.applications.{spec.model_name}(include_top=False)"
        ) from error
