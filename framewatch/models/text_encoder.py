"""CLIP's text encoder: words in, features of length 1 in the space of its pictures out. No Spark in here."""

import functools
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from framewatch.errors import SetupError
from framewatch.models.clip_networks import TextSettings
from framewatch.models.engines import read_converted


@dataclass(frozen=True)
class TextEncoder:
    """A loaded text encoder.

    Attributes:
        settings: what its texts are cut to, and the scale of its cosines.
        tokenizer: of the `tokenizers` package.
        run: from (n, context_length) int64 to (n, features) float32.
    """

    settings: TextSettings
    tokenizer: Any
    run: Any

    def tokens(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, context_length) int64; a text that is too long loses its end."""
        found = self.tokenizer.encode_batch(list(texts))
        return np.array([it.ids for it in found], np.int64).reshape(len(texts), self.settings.context_length)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, features) float32, each of length 1."""
        return self.run(self.tokens(texts))


@functools.lru_cache(maxsize=2)
def load_text_encoder(path: str) -> TextEncoder:
    """Loads what `conversion.convert` wrote beside a CLIP's image encoder. Cached: once per process.

    Raises:
        SetupError: the packages openvino or tokenizers are missing.
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
    names = [it.get_any_name() for it in compiled.inputs]

    def run(tokens: np.ndarray) -> np.ndarray:
        # Exported networks may ask for a mask; what it hides comes after the end, where nobody looks.
        inputs = {name: np.ones_like(tokens) if "mask" in name else tokens for name in names}
        return compiled(inputs)[0].copy()

    return run
