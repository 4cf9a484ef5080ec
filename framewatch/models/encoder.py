"""Encodes texts and picture files with the network of a run's features, for comparison with its frames."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from framewatch.errors import InputError, PictureError, WeightsError
from framewatch.io import storage
from framewatch.io.images import MAX_PIXELS, decode_image, resize
from framewatch.models import conversion
from framewatch.models.engines import make_predict_fn
from framewatch.models.network_declaration import declaration_from_json
from framewatch.models.registry import MODELS, is_model_file
from framewatch.models.resolve import resolve_network, resolve_spec
from framewatch.models.spec import FeatureSpec
from framewatch.models.text_encoder import TextEncoder, load_text_encoder

# Values of `weights` that are not files.
_NAMES = ("imagenet", "nsfwjs", "openai")
# A limit for reading, because a device has no end: the size of four uncompressed 16-bit channels.
_MOST_PIXEL_BYTES, _MOST_HEADER_BYTES = 8, 1 << 20


class Encoder:
    """Encodes pictures and texts as features that are comparable with those of a run. Loads lazily."""

    def __init__(
        self, identity: Mapping[str, str], *, model: str, weights: str, max_pixels: int = MAX_PIXELS
    ) -> None:
        """Stores how to find the network.

        Args:
            identity: the metadata of the features column.
            model: path of the model file, if the features come from a whole Keras model or an ONNX network.
            weights: path of the weights, if their name in the metadata is not enough to find them.
            max_pixels: larger pictures are rejected.
        """
        self._identity = dict(identity)
        self._model, self._weights, self.max_pixels = model, weights, max_pixels

    @property
    def supports_texts(self) -> bool:
        """Whether the features come from a CLIP model."""
        model = MODELS.get(self._identity.get("model", ""))
        return model is not None and model.is_clip

    def pictures(self, files: Sequence[str]) -> np.ndarray:
        """Encodes picture files, such as JPEG and PNG; returns (files, length) float32.

        Raises:
            InputError: a file cannot be read.
            PictureError: a file is not a picture, is damaged, or is too large.
            WeightsError: the network's files are not on this machine.
        """
        return self.images([read_picture(file, self.max_pixels) for file in files])

    def images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Encodes pictures, (height, width, 3) uint8 BGR each; returns (images, length) float32.

        Raises:
            WeightsError: the network's files are not on this machine.
        """
        spec = self._spec
        predict_fn = make_predict_fn(spec)
        size = predict_fn.input_size
        return predict_fn.run(np.stack([resize(image, size, method=spec.resize) for image in images]))

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Encodes texts; returns (texts, length) float32.

        Raises:
            InputError: the features do not come from a CLIP model.
            WeightsError: the network's files are not on this machine.
        """
        self.require_texts(texts[0])
        return self._text_encoder.encode(texts)

    def require_texts(self, text: str) -> None:
        """Checks that a text can be compared with the features.

        Raises:
            InputError: the features do not come from a CLIP model.
        """
        if not self.supports_texts:
            raise InputError(
                f"text prompt '{text}' needs CLIP features, but these features come from "
                f"{self._identity.get('model')}: use example frames, or featurize with "
                "featurizer.model=CLIP-ViT-B-32 to another output"
            )

    @property
    def logit_scale(self) -> float:
        """The factor of cosine similarities before a softmax, learned by CLIP."""
        return self._text_encoder.settings.logit_scale

    @functools.cached_property
    def _text_encoder(self) -> TextEncoder:
        return load_text_encoder(str(conversion.text_path(self._spec.network)))

    @functools.cached_property
    def _spec(self) -> FeatureSpec:
        identity = self._identity
        if "declaration" in identity:
            declaration = declaration_from_json(identity["declaration"])
            network = resolve_network(self._model_file(), None, declaration=declaration)
        elif is_model_file(identity["model"]):
            network = resolve_network(
                self._model_file(),
                None,
                pooling=identity["pooling"],  # type: ignore[arg-type]  # written by framewatch
                layer=identity["layer"] or None,
                preprocessing=identity["preprocessing"],
            )
        else:
            weights = identity["weights"] if identity["weights"] in _NAMES else self._weights
            network = resolve_network(identity["model"], weights, pooling=identity["pooling"])  # type: ignore[arg-type]
        if network.weights.sha256 != identity["weights_sha256"]:
            raise WeightsError(
                f"the features were computed with weights '{identity['weights']}' of SHA-256 "
                f"{identity['weights_sha256']}, but {network.weights.path} has another SHA-256: set "
                "featurizer.weights to the original file"
            )
        precision = identity["precision"] if identity["precision"] != "int8" else "auto"
        return resolve_spec(network, identity["resize"], precision=precision)  # type: ignore[arg-type]

    def _model_file(self) -> str:
        name = self._identity["model"]
        if Path(self._model).name != name:
            raise WeightsError(
                f"the features were computed with the model file {name}: set featurizer.model to its path"
            )
        return self._model


def read_picture(file: str, max_pixels: int) -> np.ndarray:
    """Reads a picture file, such as JPEG or PNG; returns (height, width, 3) uint8 BGR.

    Raises:
        InputError: the file cannot be read.
        PictureError: the file is not a picture, is damaged, or has more than `max_pixels` pixels.
    """
    most_bytes = max_pixels * _MOST_PIXEL_BYTES + _MOST_HEADER_BYTES
    try:
        files, path = storage.filesystem(file)
        with files.open(path, "rb") as opened:
            data = opened.read(most_bytes)
    except (OSError, ImportError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"image '{file}' cannot be read ({reason}): give the path of a picture") from error
    try:
        return decode_image(data, max_pixels=max_pixels)
    except PictureError as error:
        raise type(error)(f"image '{file}' cannot be used: {error}") from error
