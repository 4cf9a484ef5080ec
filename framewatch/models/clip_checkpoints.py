"""CLIP: where its checkpoints come from. No Spark in here.

Images and texts go into one space: Radford et al. 2021, https://arxiv.org/abs/2103.00020. A checkpoint is a
directory of ONNX files, which needs neither torch nor transformers, or one as Hugging Face's transformers
writes it, whose conversion needs both, once, on the driver.
"""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

from framewatch.errors import WeightsError
from framewatch.models.registry import ModelSpec
from framewatch.models.weights import Weights, file_digest

VISION_ONNX, TEXT_ONNX, TOKENIZER = "vision_model.onnx", "text_model.onnx", "tokenizer.json"
# The one large file of each layout, by which a checkpoint is known.
_LARGE_FILES = (VISION_ONNX, f"onnx/{VISION_ONNX}", "model.safetensors", "pytorch_model.bin")
_SMALL_FILES = ["*.json", "*.txt"]
# The first of these that a commit has; not all have been converted to safetensors.
_HUB_LARGE_FILES = ("model.safetensors", "pytorch_model.bin")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Names of `weights` that mean the model's own; the first is the default of all models.
_OWN = ("imagenet", "auto", "openai")


def find_checkpoint(
    name: str, model: ModelSpec, *, on_message: Callable[[str], None] = lambda _: None
) -> Weights:
    """Finds a CLIP checkpoint, fetching it once from the hub where that is in reach.

    Args:
        name: a directory of ONNX files or in Hugging Face's layout; a name on the hub with a commit,
            `org/name@COMMIT`; `imagenet`, `auto` or `openai` for the one that belongs to the model's name.
        model: the registry's entry.
        on_message: called with one line when a download begins.

    Returns:
        The checkpoint's large file.

    Raises:
        WeightsError: there is none; says how to get one.
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
            told = "openai" if own else name.rstrip("/").rsplit("/", 1)[-1].partition("@")[0]
            return Weights(told, str(path.resolve()), file_digest(path))
    raise WeightsError(
        f"weights '{name}' hold no CLIP checkpoint: the directory needs {VISION_ONNX}, {TEXT_ONNX} and "
        f"{TOKENIZER}, or config.json and model.safetensors as transformers writes them"
    )


def _has_large_file(directory: Path) -> bool:
    return any((directory / file).is_file() for file in _HUB_LARGE_FILES)


def _from_hub(hub_name: str, model: ModelSpec, on_message: Callable[[str], None]) -> Path:
    repository, _, commit = hub_name.partition("@")
    if not _COMMIT.fullmatch(commit):
        raise WeightsError(
            f"weights '{hub_name}' are neither a directory here nor a checkpoint at one commit: give a "
            "directory, or org/name@COMMIT with the commit's 40 hexadecimal digits, as a branch may change"
        )
    remedy = (
        f"save it where the hub is in reach, `hf download {repository} --revision {commit} --local-dir DIR`, "
        "and give that directory as featurizer.weights=DIR"
    )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise WeightsError(
            f"there is no CLIP checkpoint '{hub_name}' here, and to fetch it the extra [clip] is missing: "
            f"pip install 'framewatch[clip]', or {remedy}"
        ) from error

    def snapshot(large_file: str, *, here: bool = False) -> Path:
        files = [*_SMALL_FILES, large_file]
        return Path(
            snapshot_download(repository, revision=commit, allow_patterns=files, local_files_only=here)
        )

    with contextlib.suppress(Exception):  # not here yet
        directory = snapshot(_HUB_LARGE_FILES[0], here=True)
        if _has_large_file(directory):
            return directory
    on_message(f"fetching {hub_name} for {model.name} (once)")
    try:
        for large_file in _HUB_LARGE_FILES:
            directory = snapshot(large_file)
            if _has_large_file(directory):
                break
        return directory
    except Exception as error:  # of the hub's library, or of what it fetches with
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(
            f"CLIP checkpoint '{hub_name}' could not be fetched ({reason}): {remedy}"
        ) from error
