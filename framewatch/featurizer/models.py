"""The registry of models: what each takes in, and how long its features are."""

from dataclasses import dataclass
from typing import Literal

from framewatch.errors import ConfigError

Pooling = Literal["avg", "max", "none"]
POOLINGS: tuple[Pooling, ...] = ("avg", "max", "none")


@dataclass(frozen=True)
class ModelSpec:
    """One architecture of `keras.applications`, without its classifying top.

    Attributes:
        name: the class in `keras.applications`.
        input_size: side of the square input, pixels.
        grid_size: side of the last feature map, cells.
        num_channels: channels of the last feature map.
        scale: multiplies pixels of 0 to 255.
        offset: is added then.
        weights_url: Keras' own file of ImageNet weights, without the top.
        weights_md5: the digest that Keras publishes for that file.
    """

    name: str
    input_size: int
    grid_size: int
    num_channels: int
    scale: float
    offset: float
    weights_url: str
    weights_md5: str

    def num_features(self, pooling: Pooling) -> int:
        """Length of the feature vector."""
        return self.num_channels * (self.grid_size**2 if pooling == "none" else 1)


_KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications"

MODELS = {
    spec.name: spec
    for spec in [
        ModelSpec(
            name="InceptionV3",
            input_size=299,
            grid_size=8,
            num_channels=2048,
            scale=1 / 127.5,
            offset=-1.0,
            weights_url=f"{_KERAS_FILES}/inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
            weights_md5="bcbd6486424b2319ff4ef7d526e38f63",
        ),
    ]
}


def get_model(name: str) -> ModelSpec:
    """The model called `name`.

    Raises:
        ConfigError: there is none of that name; lists those there are.
    """
    if name not in MODELS:
        raise ConfigError(f"model '{name}' is not known: choose one of {', '.join(MODELS)}")
    return MODELS[name]
