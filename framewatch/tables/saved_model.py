"""Reads and publishes versions of a classifier: a directory per training, and a file that names the current.

    model/metrics.json          the current version: name, identity, metrics
    model/model_card.md         the model card of the current version
    model/versions/VERSION/     spark/, labelled/, metrics.json, model_card.md: the files of one training

`metrics.json` is replaced atomically, after everything that it describes has been written. So even after a
killed training, a reader finds the old classifier with the old metrics, or the new one with the new metrics.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.io.redact import redact

# The version before the current one is kept, as a reader may still use it.
_KEPT_VERSIONS = 2
_VERSION = re.compile(r"\d{8}T\d{6}\.\d{6}-[0-9a-f]{12}")


@dataclass(frozen=True)
class SavedModel:
    """One version of a classifier.

    Attributes:
        directory: the version's directory.
        notes: the contents of its metrics.json.
    """

    directory: str
    notes: dict[str, Any]

    @property
    def spark_path(self) -> str:
        """Directory of the Spark ML model."""
        return storage.join(self.directory, "spark")

    @property
    def labelled_path(self) -> str:
        """Directory of the training frames with their features."""
        return storage.join(self.directory, "labelled")

    @property
    def version(self) -> str | None:
        """Name of the version; None for a classifier of framewatch 0.1.0, which had no versions."""
        return self.notes.get("version")

    def require_identity(self, identity: str) -> None:
        """Checks that the metrics describe this classifier.

        Args:
            identity: the classifier's identity, as returned by `classifier.identity`.

        Raises:
            InputError: they describe another one, for example if files of two trainings were mixed in a copy.
        """
        described = self.notes.get("classifier", identity)
        if described != identity:
            raise InputError(
                f"the classifier in {self.directory} is {identity}, and its metrics.json describes "
                f"{described}: run `framewatch train` again, or copy the whole directory"
            )


def new_version(path: str, identity: str) -> SavedModel:
    """Returns a new version, to be written by the caller and then passed to `publish`.

    Args:
        path: the classifier's directory, such as `out/model`.
        identity: the classifier's identity, as returned by `classifier.identity`.
    """
    # Names sort by time.
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{identity}"
    notes = {"version": name, "classifier": identity}
    return SavedModel(storage.join(path, "versions", name), notes)


def read(path: str, version: str | None = None) -> SavedModel | None:
    """Returns the current version, or the given one; None if it does not exist.

    Args:
        path: the classifier's directory.
        version: the name of a version; None for the current one.
    """
    if version is not None:
        directory = storage.join(path, "versions", version)
        notes = _read_notes(directory)
        return None if notes is None else SavedModel(directory, notes)
    notes = _read_notes(path)
    if notes is None:
        return None
    name = notes.get("version")
    return SavedModel(storage.join(path, "versions", name) if name else path, notes)


def require_model(path: str) -> SavedModel:
    """Returns the current version.

    Raises:
        InputError: there is no classifier.
    """
    saved = read(path)
    if saved is None:
        raise InputError(f"there is no classifier in {path}: run `framewatch train`, or set classifier.path")
    return saved


def publish(path: str, model: SavedModel, card: str) -> None:
    """Makes a version the current one, after its model and frames have been written.

    The old model card is removed first, so that it never describes the wrong classifier.

    Args:
        path: the classifier's directory.
        model: the version to publish.
        card: the text of model_card.md.
    """
    if model.directory != path:
        _write_notes(model.directory, model.notes, card)
    storage.delete(storage.join(path, "model_card.md"))
    _write_notes(path, model.notes, card)


def delete_older(path: str, *, ranked_by: str | None) -> None:
    """Removes unfinished versions of killed trainings, and all but the last of the replaced versions.

    Args:
        path: the classifier's directory.
        ranked_by: the version that made the current ranking, which is kept too; None if that is a version of
            framewatch 0.1.0, which had no versions, or if there is no ranking.
    """
    current = read(path)
    names = [name for name in storage.children(storage.join(path, "versions")) if _VERSION.fullmatch(name)]
    if current is None or current.version is None:
        return
    whole = [name for name in names if read(path, name) is not None]
    keep = {current.version, ranked_by, *whole[-_KEPT_VERSIONS:]}
    for name in names:
        if name not in keep:
            storage.delete(storage.join(path, "versions", name))
    if ranked_by is not None:
        for older in ("spark", "labelled"):  # of framewatch 0.1.0
            storage.delete(storage.join(path, older))


def _read_notes(directory: str) -> dict[str, Any] | None:
    try:
        return storage.read_json(storage.join(directory, "metrics.json"))
    except FileNotFoundError:
        return None


def _write_notes(directory: str, notes: dict[str, Any], card: str) -> None:
    storage.write_json(storage.join(directory, "metrics.json"), redact(notes))
    storage.write_bytes(storage.join(directory, "model_card.md"), card.encode())
