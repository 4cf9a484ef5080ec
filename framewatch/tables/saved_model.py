"""Where a classifier lies: a directory for each training, and one file that names the current one.

    model/metrics.json          the current version: its directory, its identity, its metrics
    model/model_card.md         the same for people
    model/versions/VERSION/     spark/, labelled/, metrics.json, model_card.md: as one training left it

`metrics.json` is replaced in one step, after all that it describes has been written. So a reader finds the
old classifier with the old metrics or the new one with the new metrics, whenever a training is killed.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.io.redact import redact

# A reader may have opened the version before the current one.
_KEPT_VERSIONS = 2
_VERSION = re.compile(r"\d{8}T\d{6}\.\d{6}-[0-9a-f]{12}")


@dataclass(frozen=True)
class SavedModel:
    """One version of a classifier.

    Attributes:
        directory: of this version.
        notes: what its metrics.json holds.
    """

    directory: str
    notes: dict[str, Any]

    @property
    def spark_path(self) -> str:
        """The Spark ML model."""
        return storage.join(self.directory, "spark")

    @property
    def labelled_path(self) -> str:
        """The frames that the classifier learned from, with their features."""
        return storage.join(self.directory, "labelled")

    @property
    def version(self) -> str | None:
        """The version's name; None for a classifier of framewatch 0.1.0, which had none."""
        return self.notes.get("version")

    def require_identity(self, identity: str) -> None:
        """Checks that the classifier is the one that the metrics describe.

        Raises:
            InputError: it is another, as when files of two trainings were copied together.
        """
        described = self.notes.get("classifier", identity)
        if described != identity:
            raise InputError(
                f"the classifier in {self.directory} is {identity}, and its metrics.json describes "
                f"{described}: run `framewatch train` again, or copy the whole directory"
            )


def new_version(path: str, identity: str) -> SavedModel:
    """A version that is still to be written, for `publish`.

    Args:
        path: the classifier's directory, such as `out/model`.
        identity: of the classifier, as `classifier.identity` gives it.
    """
    # Names sort by time.
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{identity}"
    notes = {"version": name, "classifier": identity}
    return SavedModel(storage.join(path, "versions", name), notes)


def read(path: str, version: str | None = None) -> SavedModel | None:
    """The current version, or the one named; None where there is none.

    Args:
        path: the classifier's directory.
        version: the name of a version that is still kept.
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
    """The current version.

    Raises:
        InputError: there is no classifier.
    """
    saved = read(path)
    if saved is None:
        raise InputError(f"there is no classifier in {path}: run `framewatch train`, or set classifier.path")
    return saved


def publish(path: str, model: SavedModel, card: str) -> None:
    """Makes a version the current one, when its model and its frames have been written.

    A card that people read is missing for a moment rather than wrong.

    Args:
        path: the classifier's directory.
        model: the version.
        card: the text of model_card.md.
    """
    if model.directory != path:
        _write_notes(model.directory, model.notes, card)
    storage.delete(storage.join(path, "model_card.md"))
    _write_notes(path, model.notes, card)


def delete_older(path: str, *, ranked_by: str | None) -> None:
    """Removes versions that a killed training left, and all but the last of those that were replaced.

    Args:
        path: the classifier's directory.
        ranked_by: the version that made the ranking that is there, which stays too; None for that of
            framewatch 0.1.0, which had no versions.
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
