"""The network and its settings that determine the features. Small and hashable, to send to workers."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from framewatch.models.network_declaration import DeclaredPooling, NetworkDeclaration
from framewatch.models.registry import MODELS, ModelSpec, Pooling
from framewatch.models.weights_file import Weights

Engine = Literal["tensorflow", "openvino"]
Precision = Literal["float32", "bfloat16", "int8"]
Resize = Literal["area", "nearest", "crop"]
ENGINES: tuple[str, ...] = ("auto", *get_args(Engine))
PRECISIONS: tuple[str, ...] = ("auto", *get_args(Precision))

# Names from sparkdl. The first two average areas; the others take the nearest pixel.
SCALE_HINTS: dict[str, Resize] = {
    "SCALE_AREA_AVERAGING": "area",
    "SCALE_SMOOTH": "area",
    "SCALE_DEFAULT": "nearest",
    "SCALE_FAST": "nearest",
    "SCALE_REPLICATE": "nearest",
}


@dataclass(frozen=True)
class Network:
    """A network with features as its output.

    Attributes:
        name: a registered name, or the file name of a whole Keras model or an ONNX network.
        weights: weights of the registered architecture, or the model file itself.
        output: how the last feature map is reduced to a vector, or `classes` for the classification top.
        preprocessing: a key of `PREPROCESSINGS`; `declared` for an ONNX network.
        layer: for a Keras model file, the layer to use as output; None for its own output.
        declaration: for an ONNX network, its input and output; None for other networks.
    """

    name: str
    weights: Weights
    output: Pooling | DeclaredPooling | Literal["classes"]
    preprocessing: str
    layer: str | None = None
    declaration: NetworkDeclaration | None = None

    @property
    def is_clip(self) -> bool:
        """Whether the model also embeds texts in the space of its features."""
        return self.registered is not None and self.registered.is_clip

    @property
    def needs_openvino(self) -> bool:
        """Whether only OpenVINO runs the network."""
        return self.is_clip or self.declaration is not None

    @property
    def registered(self) -> ModelSpec | None:
        """The model's entry in the registry; None for a model file."""
        return MODELS.get(self.name)

    def key(self) -> str:
        """Returns twelve hexadecimal digits that identify the network, independent of the weights' path."""
        parts = {**asdict(self), "weights": self.weights.sha256}
        if self.declaration is None:
            del parts["declaration"]  # so that the key is that of versions without declarations
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def resize_for(network: Network, scale_hint: str) -> Resize:
    """Returns how pictures are resized to the network's input size; CLIP requires `crop`."""
    return "crop" if network.is_clip else SCALE_HINTS[scale_hint]


@dataclass(frozen=True)
class FeatureSpec:
    """A network, and how it runs.

    Attributes:
        network: the network.
        resize: how pictures are resized to its input size; `crop` for CLIP.
        engine: the library that runs it.
        precision: the number format of its computation.
        num_threads: threads of a worker.
        converted: the network in OpenVINO's format; None for TensorFlow.
    """

    network: Network
    resize: Resize
    engine: Engine
    precision: Precision
    num_threads: int = 1
    converted: Weights | None = None

    def identity(self) -> dict[str, str]:
        """Returns the metadata for the features column."""
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
        if network.declaration is not None:
            identity["declaration"] = network.declaration.to_json()
        elif network.registered is None:
            identity |= {"layer": network.layer or "", "preprocessing": network.preprocessing}
        if self.precision == "int8" and self.converted:
            identity["quantized_sha256"] = self.converted.sha256
        return identity
