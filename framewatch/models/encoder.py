"""What is no frame of the run, texts and pictures in files, by the network of its features."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from framewatch.errors import InputError, PictureError, WeightsError
from framewatch.io import storage
from framewatch.io.images import MAX_PIXELS, decode_image, resize
from framewatch.models import conversion
from framewatch.models.engines import make_predict_fn
from framewatch.models.registry import MODELS, is_model_file
from framewatch.models.resolve import resolve_network, resolve_spec
from framewatch.models.spec import FeatureSpec
from framewatch.models.text_encoder import TextEncoder, load_text_encoder

# What `weights` may be called without being a file.
_NAMES = ("imagenet", "nsfwjs", "openai")
# A file is read up to what four channels of 16 bits take uncompressed: a device has no end.
_MOST_PIXEL_BYTES, _MOST_HEADER_BYTES = 8, 1 << 20


class Encoder:
    """Turns pictures and texts into features as those of a run. Loads nothing before it is asked."""

    def __init__(
        self, identity: Mapping[str, str], *, model: str, weights: str, max_pixels: int = MAX_PIXELS
    ) -> None:
        """Keeps what is needed to find the network.

        Args:
            identity: what the features' column metadata says of them.
            model: where the network's file is, if they are of a whole Keras model.
            weights: where the network's file or directory is, if the metadata's name does not tell.
            max_pixels: pictures of more pixels are refused.
        """
        self._identity = dict(identity)
        self._model, self._weights, self.max_pixels = model, weights, max_pixels

    @property
    def knows_texts(self) -> bool:
        """Whether the features are of a CLIP."""
        model = MODELS.get(self._identity.get("model", ""))
        return model is not None and model.is_clip

    def pictures(self, files: Sequence[str]) -> np.ndarray:
        """Features of pictures in files, JPEG, PNG or others that OpenCV reads: (files, length) float32.

        Raises:
            InputError: a file is not there.
            PictureError: it is no picture, damaged, or too large.
            WeightsError: the network is not here.
        """
        return self.images([read_picture(file, self.max_pixels) for file in files])

    def images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Features of pictures, (height, width, 3) uint8 BGR each: (images, length) float32.

        Raises:
            WeightsError: the network is not here.
        """
        spec = self._spec
        predict_fn = make_predict_fn(spec)
        size = predict_fn.input_size
        return predict_fn.run(np.stack([resize(image, size, method=spec.resize) for image in images]))

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Features of texts: (texts, length) float32.

        Raises:
            InputError: the features are not of a CLIP.
            WeightsError: the network is not here.
        """
        self.require_texts(texts[0])
        return self._text_encoder.encode(texts)

    def require_texts(self, text: str) -> None:
        """Checks that a text can be compared with the features.

        Raises:
            InputError: they are not of a CLIP.
        """
        if not self.knows_texts:
            raise InputError(
                f"text prompt '{text}' needs features of a CLIP, and these are of "
                f"{self._identity.get('model')}: describe it by example frames, or featurize with "
                "featurizer.model=CLIP-ViT-B-32 to another output"
            )

    @property
    def logit_scale(self) -> float:
        """What CLIP multiplies cosines with before a softmax."""
        return self._text_encoder.settings.logit_scale

    @functools.cached_property
    def _text_encoder(self) -> TextEncoder:
        return load_text_encoder(str(conversion.text_path(self._spec.network)))

    @functools.cached_property
    def _spec(self) -> FeatureSpec:
        identity = self._identity
        if is_model_file(identity["model"]):
            network = resolve_network(
                self._model_file(),
                None,
                pooling=identity["pooling"],  # type: ignore[arg-type]  # written by ourselves
                layer=identity["layer"] or None,
                preprocessing=identity["preprocessing"],
            )
        else:
            weights = identity["weights"] if identity["weights"] in _NAMES else self._weights
            network = resolve_network(identity["model"], weights, pooling=identity["pooling"])  # type: ignore[arg-type]
        if network.weights.sha256 != identity["weights_sha256"]:
            raise WeightsError(
                f"the features were made with weights '{identity['weights']}' of SHA-256 "
                f"{identity['weights_sha256']}, and {network.weights.path} is another file: give that one, "
                "featurizer.weights=FILE"
            )
        precision = identity["precision"] if identity["precision"] != "int8" else "auto"
        return resolve_spec(network, identity["resize"], precision=precision)  # type: ignore[arg-type]

    def _model_file(self) -> str:
        name = self._identity["model"]
        if Path(self._model).name != name:
            raise WeightsError(
                f"the features were made with the model file {name}: say where it is, featurizer.model=FILE"
            )
        return self._model


def read_picture(file: str, max_pixels: int) -> np.ndarray:
    """A picture in a file, JPEG, PNG or another that OpenCV reads: (height, width, 3) uint8 BGR.

    Raises:
        InputError: the file is not there.
        PictureError: it is no picture, damaged, or of more than `max_pixels` pixels.
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
