"""Where weights come from, and their SHA-256.

`imagenet` is Keras' own file, `nsfwjs` the InceptionV3 inside an npm package, anything else a path.
Only the driver fetches; workers find the file and check its digest.
"""

import hashlib
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from framewatch.errors import FramewatchError, WeightsError
from framewatch.featurizer.models import ModelSpec, get_model

_SUFFIXES = (".h5", ".keras")
_TIMEOUT_S = 30
_FETCH_REMEDY = "give featurizer.weights a file, or fetch it on another machine and copy it to that place"


@dataclass(frozen=True)
class Weights:
    """One file of weights.

    Attributes:
        name: what the user asked for: `imagenet`, `nsfwjs`, or the file's name.
        path: where the file is on the driver.
        sha256: of the file's bytes.
    """

    name: str
    path: str
    sha256: str


def cache_directory() -> Path:
    """Where fetched files stay: $FRAMEWATCH_HOME, or ~/.cache/framewatch."""
    return Path(os.environ.get("FRAMEWATCH_HOME") or Path.home() / ".cache" / "framewatch")


def file_digest(path: str | Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def resolve_weights(name: str, model_name: str, *, say: Callable[[str], None] = lambda _: None) -> Weights:
    """Finds the weights called `name`, fetching them once where they are to be had.

    Args:
        name: `imagenet`; `nsfwjs`; `auto`, the first of the two that is here or can be fetched; or a path to
            a `.h5`, `.weights.h5` or `.keras` file.
        model_name: the model they are for.
        say: is told, in one line, when a download begins.

    Raises:
        WeightsError: no such file, or it cannot be fetched; says how to get one. Never random weights.
    """
    model = get_model(model_name)
    if name == "imagenet":
        return _imagenet(model, say)
    if name == "nsfwjs":
        return _nsfwjs(model, say)
    if name == "auto":
        return _first_available(model, say)
    return _weights_file(name, model)


def _weights_file(name: str, model: ModelSpec) -> Weights:
    path = Path(name).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"weights '{name}' were not found: give 'imagenet', 'nsfwjs', 'auto', or the path of a .h5, "
            f".weights.h5 or .keras file of {model.name} weights"
        )
    if path.suffix not in _SUFFIXES:
        raise WeightsError(f"weights '{name}' are no Keras file: give a .h5, .weights.h5 or .keras file")
    return Weights(path.name, str(path.resolve()), file_digest(path))


def _imagenet(model: ModelSpec, say: Callable[[str], None]) -> Weights:
    path = _imagenet_path(model)
    if not path.is_file():
        say(f"fetching ImageNet weights of {model.name} (about 90 MB, once): {model.weights_url}")
        _download(model.weights_url, path, md5=model.weights_md5)
    return Weights("imagenet", str(path), _pinned_digest(path))


def _imagenet_path(model: ModelSpec) -> Path:
    # Keras keeps its downloads there: what either of us has fetched, the other finds.
    keras_home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return keras_home / "models" / model.weights_url.rsplit("/", 1)[-1]


def _download(url: str, path: Path, *, md5: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        part = Path(directory) / path.name
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response, open(part, "wb") as file:
                shutil.copyfileobj(response, file)
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise WeightsError(f"{url} could not be fetched ({reason}): {_FETCH_REMEDY}: {path}") from error
        if file_digest(part, "md5") != md5:
            raise WeightsError(
                f"{url} came out damaged, its MD5 is not {md5}: run again, or {_FETCH_REMEDY}: {path}"
            )
        os.replace(part, path)


def _pinned_digest(path: Path) -> str:
    """The file's SHA-256, checked against the one noted when it was first used here.

    Keras publishes an MD5 only, which the download was checked against.
    """
    digest = file_digest(path)
    pin = cache_directory() / "sha256" / path.name
    if not pin.is_file():
        pin.parent.mkdir(parents=True, exist_ok=True)
        pin.write_text(digest + "\n", encoding="ascii")
    expected = pin.read_text(encoding="ascii").strip()
    if digest != expected:
        raise WeightsError(
            f"{path} has changed: its SHA-256 is {digest}, and was {expected} when it was first used; "
            f"delete the file to fetch it again, or delete {pin} to accept it"
        )
    return digest


def _nsfwjs(model: ModelSpec, say: Callable[[str], None]) -> Weights:
    from framewatch.featurizer import nsfwjs

    if model.name != nsfwjs.MODEL_NAME:
        raise WeightsError(
            f"weights 'nsfwjs' are for {nsfwjs.MODEL_NAME}, not {model.name}: choose other weights"
        )
    path = nsfwjs.converted_path(cache_directory())
    if not path.is_file():
        say(f"fetching {nsfwjs.PACKAGE} from the npm registry (about 60 MB, once)")
        nsfwjs.fetch_and_convert(path)
    return Weights("nsfwjs", str(path), _pinned_digest(path))


def _first_available(model: ModelSpec, say: Callable[[str], None]) -> Weights:
    from framewatch.featurizer import nsfwjs

    # What is here already comes first, so that a second run takes the weights of the first.
    if not _imagenet_path(model).is_file() and nsfwjs.converted_path(cache_directory()).is_file():
        return _nsfwjs(model, say)
    try:
        return _imagenet(model, say)
    except WeightsError as imagenet_error:
        say("Keras' weights are out of reach; trying the stand-in")
        try:
            return _nsfwjs(model, say)
        except FramewatchError as error:
            raise WeightsError(f"{imagenet_error}; and {error}") from error
