"""What decides a picture's features: the network, and how it is run. Small, hashable, sent to workers."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from framewatch.models.registry import MODELS, ModelSpec, Pooling
from framewatch.models.weights import Weights

Engine = Literal["tensorflow", "openvino"]
Precision = Literal["float32", "bfloat16", "int8"]
Resize = Literal["area", "nearest", "crop"]
ENGINES: tuple[str, ...] = ("auto", *get_args(Engine))
PRECISIONS: tuple[str, ...] = ("auto", *get_args(Precision))

# sparkdl's names. The first two average areas; the others take the nearest pixel.
SCALE_HINTS: dict[str, Resize] = {
    "SCALE_AREA_AVERAGING": "area",
    "SCALE_SMOOTH": "area",
    "SCALE_DEFAULT": "nearest",
    "SCALE_FAST": "nearest",
    "SCALE_REPLICATE": "nearest",
}


@dataclass(frozen=True)
class Network:
    """A network cut where its features come out.

    Attributes:
        name: a name of the registry, or the file name of a whole Keras model.
        weights: of the registry's architecture, or the model file itself.
        output: how the last feature map becomes a vector, or `classes` for the classifying top.
        preprocessing: a key of `PREPROCESSINGS`.
        layer: of a model file, the layer to cut at; None for its output.
    """

    name: str
    weights: Weights
    output: Pooling | Literal["classes"]
    preprocessing: str
    layer: str | None = None

    @property
    def is_clip(self) -> bool:
        """Whether texts go into the space of its features too."""
        return self.registered is not None and self.registered.is_clip

    @property
    def registered(self) -> ModelSpec | None:
        """The model's entry in the registry; None for a model file."""
        return MODELS.get(self.name)

    def key(self) -> str:
        """Twelve hex digits that tell networks apart, wherever their weights lie."""
        parts = {**asdict(self), "weights": self.weights.sha256}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def resize_for(network: Network, scale_hint: str) -> Resize:
    """How pictures come to the network's input size; a CLIP has its own way."""
    return "crop" if network.is_clip else SCALE_HINTS[scale_hint]


@dataclass(frozen=True)
class FeatureSpec:
    """A network, and how it is run.

    Attributes:
        network: the network.
        resize: how pictures are brought to its input size; `crop` for CLIP, whose own it is.
        engine: what runs it.
        precision: the numbers it computes with.
        num_threads: of one worker.
        converted: the network in the engine's own format; None for TensorFlow.
    """

    network: Network
    resize: Resize
    engine: Engine
    precision: Precision
    num_threads: int = 1
    converted: Weights | None = None

    def identity(self) -> dict[str, str]:
        """What the features' column metadata says of them."""
        network = self.network
        identity = {
            "model": network.name,
            "weights": network.weights.name,
            "weights_sha256": network.weights.sha256,
            "pooling": network.output,
            "resize": self.resize,
            "engine": self.engine,
            "precision": self.precision,
        }
        if network.registered is None:
            identity |= {"layer": network.layer or "", "preprocessing": network.preprocessing}
        if self.precision == "int8" and self.converted:
            identity["quantized_sha256"] = self.converted.sha256
        return identity
