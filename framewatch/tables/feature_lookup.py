"""Looks up features of frames by name, and samples the background. Does not import Spark."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from framewatch.errors import InputError
from framewatch.tables.feature_files import FeatureFiles, vectors

# The files are small and may be on remote storage.
_THREADS = 8


def read_examples(features: FeatureFiles, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the features of frames by their names, each (length,) float32.

    Args:
        features: the files of `features`.
        names: origins of frames, or ends of them, such as `LeftBag1frame0031.jpg`.

    Raises:
        InputError: a name matches no frame or several, or the frame has no features.
    """
    if not names:
        return {}
    places = _find(features, names)
    wanted: dict[str, list[str]] = defaultdict(list)
    for origin, path in dict.fromkeys(places.values()):
        wanted[path].append(origin)

    def read(path: str) -> dict[str, np.ndarray]:
        part: dict[str, np.ndarray] = {}
        for batch in features.read(path, ["origin", "features"]):
            rows = batch.filter(pc.is_in(batch["origin"], value_set=pa.array(wanted[path])))
            numbers, valid = vectors(rows["features"])
            part |= zip(np.array(rows["origin"].to_pylist(), object)[valid], numbers, strict=True)
        return part

    with ThreadPoolExecutor(_THREADS) as threads:
        found = {origin: vector for part in threads.map(read, wanted) for origin, vector in part.items()}
    for name, (origin, _) in places.items():
        if origin not in found:
            raise InputError(f"example '{name}' has no features: its picture is damaged, take another")
    return {name: found[origin] for name, (origin, _) in places.items()}


def _find(features: FeatureFiles, names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Returns the origin that matches each name, and the path of its file."""
    names = list(names)
    wanted = pa.array(sorted({_last(name) for name in names}))
    videos = dict.fromkeys(video for name in names for video in features.names.may_have(name))
    paths = dict.fromkeys(path for video in videos for path in features.videos.get(video, ()))
    called: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in paths:
        for batch in features.read(path, ["origin"]):
            last = pc.replace_substring_regex(batch["origin"], r"^.*/", "")
            for origin in batch["origin"].filter(pc.is_in(last, value_set=wanted)).to_pylist():
                called[_last(origin)].append((origin, path))
    return {name: _the_one(name, called[_last(name)], features) for name in names}


def _the_one(name: str, called: list[tuple[str, str]], features: FeatureFiles) -> tuple[str, str]:
    fitting = [place for place in called if place[0] == name or place[0].endswith("/" + name.lstrip("/"))]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        origins = ", ".join(sorted(origin for origin, _ in fitting)[:3])
        raise InputError(f"example '{name}' is the name of several frames, {origins}: give more of the path")
    shown = next(
        (batch for path in features.paths for batch in features.read(path, ["origin"]) if batch), None
    )
    such = f", as {_last(shown['origin'][0].as_py())} is" if shown else ""
    raise InputError(f"example '{name}' is no frame with features: give the name of one{such}")


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def vector_length(features: FeatureFiles) -> int:
    """Returns the length of a frame's feature vector.

    Raises:
        InputError: no frame has features.
    """
    for path in features.paths:
        for batch in features.read(path, ["features"]):
            rows = vectors(batch["features"])[0]
            if len(rows):
                return int(rows.shape[1])
    raise InputError(f"no frame in {features.directory} has features: run `framewatch featurize` first")


def read_background(features: FeatureFiles, *, most: int, files: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features of a reproducible sample of frames from all over the footage.

    Args:
        features: the files of `features`.
        most: approximate number of frames.
        files: maximum number of files to read.

    Returns:
        (frames, length) float32, and (frames,) URIs of their videos.
    """
    # A few frames per file would suffice, but row groups can only be read whole.
    num_files = min(len(features.paths), files)
    chosen = [features.paths[number * len(features.paths) // num_files] for number in range(num_files)]

    def read(path: str) -> tuple[np.ndarray, np.ndarray]:
        num_groups = features.open(path).num_row_groups
        groups = sorted({0, num_groups // 2}) if num_groups else []
        rows, videos = [], [np.empty(0, object)]
        for batch in features.read(path, ["features"], row_groups=groups):
            numbers, valid = vectors(batch["features"])
            rows.append(numbers)
            videos.append(np.array(batch["video"].to_pylist(), object)[valid])
        every = slice(None, None, max(1, sum(map(len, rows)) * num_files // most))
        return _joined(rows)[every], np.concatenate(videos)[every]

    with ThreadPoolExecutor(_THREADS) as threads:
        parts = list(threads.map(read, chosen))
    return _joined([rows for rows, _ in parts]), np.concatenate([videos for _, videos in parts])


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenates the non-empty parts; files without features have no vector length."""
    return np.concatenate([part for part in parts if len(part)] or [np.empty((0, 0), np.float32)])
