"""Finds or downloads CLIP checkpoints. Does not import Spark.

CLIP embeds images and texts in one space: Radford et al. 2021, https://arxiv.org/abs/2103.00020. A checkpoint
is a directory of ONNX files, which needs neither torch nor transformers, or a directory saved by Hugging
Face's transformers, which needs both for one conversion on the driver.
"""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

from framewatch.errors import WeightsError
from framewatch.models.registry import ModelSpec
from framewatch.models.weights_file import Weights, file_digest

VISION_ONNX, TEXT_ONNX, TOKENIZER = "vision_model.onnx", "text_model.onnx", "tokenizer.json"
# The large file of each layout, which identifies a checkpoint.
_LARGE_FILES = (VISION_ONNX, f"onnx/{VISION_ONNX}", "model.safetensors", "pytorch_model.bin")
_SMALL_FILES = ["*.json", "*.txt"]
# In order of preference; not all commits have safetensors.
_HUB_LARGE_FILES = ("model.safetensors", "pytorch_model.bin")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Values of `weights` for the model's own checkpoint; the first is the default of all models.
_OWN = ("imagenet", "auto", "openai")


def find_checkpoint(
    name: str, model: ModelSpec, *, on_message: Callable[[str], None] = lambda _: None
) -> Weights:
    """Finds a CLIP checkpoint, and downloads it from the Hugging Face hub if necessary.

    Args:
        name: a directory with ONNX files or in Hugging Face's layout; a name on the hub with a commit,
            `org/name@COMMIT`; or `imagenet`, `auto` or `openai` for the checkpoint of the model.
        model: the entry of the model in the registry.
        on_message: called with one line when a download begins.

    Returns:
        The large file of the checkpoint.

    Raises:
        WeightsError: the checkpoint does not exist or cannot be downloaded.
    """
    own = name in _OWN
    directory = Path(name).expanduser()
    if own or not directory.is_dir():
        hub_name = model.hub_name if own else name
        assert hub_name is not None
        directory = _from_hub(hub_name, model, on_message)
    for file in _LARGE_FILES:
        path = directory / file
        if path.is_file():
            short_name = "openai" if own else name.rstrip("/").rsplit("/", 1)[-1].partition("@")[0]
            return Weights(short_name, str(path.resolve()), file_digest(path))
    raise WeightsError(
        f"weights '{name}' are not a CLIP checkpoint: the directory needs {VISION_ONNX}, {TEXT_ONNX} and "
        f"{TOKENIZER}, or config.json and model.safetensors as saved by transformers"
    )


def _has_large_file(directory: Path) -> bool:
    return any((directory / file).is_file() for file in _HUB_LARGE_FILES)


def _from_hub(hub_name: str, model: ModelSpec, on_message: Callable[[str], None]) -> Path:
    repository, _, commit = hub_name.partition("@")
    if not _COMMIT.fullmatch(commit):
        raise WeightsError(
            f"weights '{hub_name}' are neither a local directory nor a checkpoint at one commit: give a "
            "directory, or org/name@COMMIT with all 40 hexadecimal digits, because a branch may change"
        )
    remedy = (
        f"download it on a machine with access, `hf download {repository} --revision {commit} "
        "--local-dir DIR`, copy the directory, and set featurizer.weights=DIR"
    )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise WeightsError(
            f"CLIP checkpoint '{hub_name}' is not on this machine, and downloading it needs the extra "
            f"[clip]: pip install 'framewatch[clip]', or {remedy}"
        ) from error

    def snapshot(large_file: str, *, local_only: bool = False) -> Path:
        files = [*_SMALL_FILES, large_file]
        return Path(
            snapshot_download(repository, revision=commit, allow_patterns=files, local_files_only=local_only)
        )

    with contextlib.suppress(Exception):  # not downloaded yet
        directory = snapshot(_HUB_LARGE_FILES[0], local_only=True)
        if _has_large_file(directory):
            return directory
    on_message(f"downloading {hub_name} for {model.name} (once)")
    try:
        for large_file in _HUB_LARGE_FILES:
            directory = snapshot(large_file)
            if _has_large_file(directory):
                break
        return directory
    except Exception as error:  # huggingface_hub and its HTTP client have their own exceptions
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(
            f"CLIP checkpoint '{hub_name}' could not be downloaded ({reason}): {remedy}"
        ) from error
