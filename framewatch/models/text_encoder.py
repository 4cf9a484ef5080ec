"""CLIP's text encoder: embeds texts as unit vectors in the space of the image features. Without Spark."""

import functools
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from framewatch.errors import SetupError
from framewatch.models.clip_networks import TextSettings
from framewatch.models.openvino_networks import read_converted


@dataclass(frozen=True)
class TextEncoder:
    """A loaded text encoder.

    Attributes:
        settings: context length, padding and logit scale.
        tokenizer: a tokenizer of the package `tokenizers`.
        run: maps (n, context_length) int64 to (n, features) float32.
    """

    settings: TextSettings
    tokenizer: Any
    run: Any

    def tokens(self, texts: Sequence[str]) -> np.ndarray:
        """Tokenizes and truncates texts; returns (texts, context_length) int64."""
        encodings = self.tokenizer.encode_batch(list(texts))
        ids = np.array([encoding.ids for encoding in encodings], np.int64)
        return ids.reshape(len(texts), self.settings.context_length)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encodes texts; returns (texts, features) float32 unit vectors."""
        return self.run(self.tokens(texts))


@functools.lru_cache(maxsize=2)
def load_text_encoder(path: str) -> TextEncoder:
    """Loads a text encoder written by `conversion.convert`, once per process.

    Raises:
        SetupError: the package openvino or tokenizers is missing.
        WeightsError: the file is damaged.
    """
    try:
        import openvino
        from tokenizers import Tokenizer
    except ImportError as error:
        raise SetupError(
            f"text prompts need the package {error.name}: pip install 'framewatch[clip]'"
        ) from error
    core = openvino.Core()
    compiled = core.compile_model(read_converted(path, core), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with zipfile.ZipFile(path) as archive:
        settings = TextSettings(**json.loads(archive.read("text.json")))
        tokenizer = Tokenizer.from_str(archive.read("tokenizer.json").decode())
    tokenizer.enable_truncation(settings.context_length)
    pad_token = tokenizer.id_to_token(settings.pad_id)
    tokenizer.enable_padding(length=settings.context_length, pad_id=settings.pad_id, pad_token=pad_token)
    return TextEncoder(settings, tokenizer, _runner(compiled))


def _runner(compiled: Any) -> Any:
    names = [network_input.get_any_name() for network_input in compiled.inputs]

    def run(tokens: np.ndarray) -> np.ndarray:
        # Exported networks may take a mask. All ones are correct, because attention is causal.
        inputs = {name: np.ones_like(tokens) if "mask" in name else tokens for name in names}
        return compiled(inputs)[0].copy()

    return run
