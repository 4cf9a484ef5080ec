"""Builds and loads Keras networks, and wraps them so that they take uint8 pictures. Without Spark."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from framewatch.errors import WeightsError
from framewatch.models import efficientnet_lite
from framewatch.models.registry import PREPROCESSINGS, ModelSpec
from framewatch.models.spec import Network
from framewatch.models.torch_checkpoints import SUFFIX as TORCH_SUFFIX

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Context that discards stderr, where TensorFlow's C++ code prints at any log level."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def import_tensorflow(num_threads: int | None = None) -> Any:
    """Imports TensorFlow without its messages, and limits its threads unless it has started already."""
    with quiet_stderr():
        import tensorflow as tf
    if num_threads:
        with contextlib.suppress(RuntimeError):  # already started, so this is not a Spark worker
            tf.config.threading.set_intra_op_parallelism_threads(num_threads)
            tf.config.threading.set_inter_op_parallelism_threads(num_threads)
    return tf


def build_model(model: ModelSpec, *, classes: bool = False) -> Any:
    """Builds a Keras model with random weights; its output is the last feature map, or the classes."""
    with quiet_stderr():
        import keras

    if model.is_lite:
        return efficientnet_lite.build(model, classes=classes)
    size = model.input_size
    return getattr(keras.applications, model.name)(
        include_top=classes, weights=None, input_shape=(size, size, 3)
    )


@contextlib.contextmanager
def _dtype_policy(policy: str) -> Iterator[None]:
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def load_function(network: Network, path: str, *, policy: str = "float32") -> tuple[Callable[..., Any], int]:
    """Loads a network as a TensorFlow function.

    Args:
        network: the network, and the layer to cut it at.
        path: path of its weights on this machine.
        policy: Keras' dtype policy, `float32` or `mixed_bfloat16`; a model file keeps its own.

    Returns:
        A `tf.function` that maps (n, size, size, 3) uint8 BGR to (n, features) float32, and size in pixels.

    Raises:
        WeightsError: the file does not contain weights of this model, or has no such layer.
    """
    tf = import_tensorflow()
    with _dtype_policy(policy):
        model = _load_registered(network, path) if network.registered else _load_file(network, path)
    size = model.input_shape[1]
    scaling = PREPROCESSINGS[network.preprocessing]

    @tf.function(input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8, name="pictures")])
    def run(pictures: Any) -> Any:
        # Channel order and scaling run in the graph; in NumPy they take 4.6 ms per frame.
        pixels = tf.cast(tf.reverse(pictures, [-1]) if scaling.order == "RGB" else pictures, tf.float32)
        features = model((pixels - tf.constant(scaling.mean)) / tf.constant(scaling.std), training=False)
        features = tf.cast(features, tf.float32)
        if len(features.shape) == 4 and network.output in ("avg", "max"):
            pool = tf.reduce_mean if network.output == "avg" else tf.reduce_max
            features = pool(features, axis=[1, 2])
        return tf.reshape(features, (tf.shape(pictures)[0], features.shape[1:].num_elements()))

    return run, size


def _load_registered(network: Network, path: str) -> Any:
    assert network.registered is not None
    model = build_model(network.registered, classes=network.output == "classes")
    is_lite = network.registered.is_lite
    try:
        if is_lite and path.endswith(TORCH_SUFFIX):
            efficientnet_lite.load_checkpoint(model, path)
        else:
            model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        top = network.output == "classes"
        which = f"{network.name} {'with' if top else 'without'} its top"
        source = f"a file saved from keras.applications.{network.name}(include_top={top})"
        raise WeightsError(
            f"{path} does not contain weights of {which} ({reason}): "
            f"give {'its PyTorch checkpoint' if is_lite else source}"
        ) from error
    return model


def _load_file(network: Network, path: str) -> Any:
    import keras

    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras passes on any exception of its layers and readers
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path} is not a whole Keras model ({reason}): give a file from model.save(), or the name of a "
            "registered model with weights"
        ) from error
    shape = model.input_shape
    if (
        not isinstance(shape, tuple)
        or len(shape) != 4
        or not shape[1]
        or shape[1:] != (shape[1], shape[1], 3)
    ):
        raise WeightsError(
            f"{path} has input {shape}: the model must take one square picture of a fixed size with three "
            "channels"
        )
    if network.layer is None:
        return model
    names = [layer.name for layer in model.layers]
    if network.layer not in names:
        raise WeightsError(
            f"{path} has no layer '{network.layer}': choose one of its {len(names)} layers, such as "
            f"{', '.join(names[-5:])}"
        )
    return keras.Model(model.inputs, model.get_layer(network.layer).output)
