"""Writes an output's moments to Milvus video by video, and searches them. Does not import Spark.

There are two collections. One has a row per moment. The other, `<name>_videos`, has a row per video, which is
written after the video's moments, so that an interrupted index knows which videos are complete. It also has a
row that describes the vectors.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.search import milvus_client
from framewatch.search.collection import (
    ABOUT,
    About,
    fitted_path,
    make_collections,
    read_collection,
    require_owner,
    require_same,
)
from framewatch.search.fitted import Fitted
from framewatch.search.hits import Hit
from framewatch.search.milvus_client import Place, retried
from framewatch.search.moment_vectors import MomentValues, MomentVectors
from framewatch.search.source import SourceVideo, at_clock
from framewatch.tables.feature_files import camera

_FIELDS = ("video", "timestamp_s", "end_s", "scope", "probability", "label")
_VALUES = ("origin", "timestamp_s", "scope", "probability", "label")
_WINDOW_S = 3600.0
_WRITING = "being written"
_ROWS = 500
_METRICS = {"vector": "COSINE", "sketch": "IP"}
# Fewer numbers than these are compared directly: a sketch would save no time.
_FEW_NUMBERS = 8_000_000
# Candidates by sketch to compare by full vectors: a multiple of the limit, at least and at most so many.
_AGAIN, _AT_LEAST, _AT_MOST = 4, 100, 1000
_MOST = 16_384  # the maximum that Milvus returns


class Store:
    """An open collection. Several threads may search it. Only on a server may several processes write to it.

    Attributes:
        place: the address of the collection.
        about: the description of the collection.
        fitted: the maps from features to vectors and sketches.
    """

    def __init__(self, client: Any, place: Place, about: About, fitted: Fitted) -> None:
        """Wraps a client; use `open_store` or `create_store`."""
        self._client, self.place, self.about, self.fitted = client, place, about, fitted
        self._videos = f"{place.collection}_videos"

    def close(self) -> None:
        """Closes the collection. Other processes can then open a local file."""
        milvus_client.disconnect(self._client, self.place)

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Contents

    def versions(self) -> dict[str, str]:
        """Returns version and values of each video by URI; of a partly written video, a marker.

        The text is `VERSION:VALUES`, of `SourceVideo.version` and `SourceVideo.values`.
        """
        found = {}
        rows = self._client.query_iterator(
            self._videos, batch_size=5000, filter="", output_fields=["video", "version"]
        )
        try:
            while batch := rows.next():
                found.update({row["video"]: row["version"] for row in batch if row["version"] != ABOUT})
        finally:
            rows.close()
        return found

    def count(self) -> int:
        """Returns the number of moments."""
        rows = self._client.query(self.place.collection, filter="", output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    # Writing

    def replace(self, video: SourceVideo, moments: MomentVectors, *, begun: bool) -> None:
        """Replaces a video's moments. If this is interrupted, the next `index` writes the video again.

        Args:
            video: the video.
            moments: all of its moments.
            begun: whether the collection may have older moments of the video.
        """
        retried(lambda: self._mark(video.uri, _WRITING))
        rows = self._rows(video, moments)
        for first in range(0, len(rows), _ROWS):
            part = rows[first : first + _ROWS]
            retried(lambda part=part: self._client.upsert(self.place.collection, part))
        if begun:
            older = f"video == {_quoted(video.uri)} and version != {_quoted(video.version)}"
            retried(lambda: self._client.delete(self.place.collection, filter=older))
        retried(lambda: self._mark(video.uri, stamp(video)))

    def values(self, video: str) -> list[dict[str, Any]]:
        """Returns `origin`, `timestamp_s`, `scope`, `probability` and `label` of a video's moments."""
        collection, of_video = self.place.collection, f"video == {_quoted(video)}"
        total = self._client.query(collection, filter=of_video, output_fields=["count(*)"])[0]["count(*)"]
        found: list[dict[str, Any]] = []
        # Milvus limits the rows of a query, and its iterator fails on names with quotes. So the rows are read
        # by stretches of time, which are halved where there are too many rows.
        from_s, to_s, window_s = float("-inf"), _WINDOW_S, _WINDOW_S
        while len(found) < total:
            since = "" if from_s == float("-inf") else f" and timestamp_s >= {from_s!r}"
            expression = f"{of_video}{since} and timestamp_s < {to_s!r}"
            rows = self._client.query(collection, filter=expression, output_fields=list(_VALUES), limit=_MOST)
            if len(rows) == _MOST:
                window_s /= 2
                to_s -= window_s
                continue
            found += rows
            from_s, to_s = to_s, to_s + window_s
        return found

    def update(self, video: SourceVideo, origins: Sequence[str], values: MomentValues) -> None:
        """Writes new probabilities and labels of moments, and leaves their vectors as they are.

        Milvus merges the given fields into the stored rows (partial upsert, since Milvus 2.6.2). If this is
        interrupted, the next `index` continues.

        Args:
            video: the video.
            origins: the moments that have changed.
            values: the values of all moments of the video.
        """
        place = {origin: n for n, origin in enumerate(values.origins)}
        of_camera = camera(video.uri)
        rows = [
            {
                "origin": origin,
                "camera": of_camera,  # the key of the partition
                "probability": _or_none(values.probabilities[place[origin]]),
                "label": _label(values.labels[place[origin]]),
            }
            for origin in origins
        ]
        for first in range(0, len(rows), _ROWS):
            part = rows[first : first + _ROWS]
            retried(lambda part=part: self._client.upsert(self.place.collection, part, partial_update=True))
        retried(lambda: self._mark(video.uri, stamp(video)))

    def drop(self, video: str) -> None:
        """Removes a video's moments."""
        retried(lambda: self._mark(video, _WRITING))
        retried(lambda: self._client.delete(self.place.collection, filter=f"video == {_quoted(video)}"))
        retried(lambda: self._client.delete(self._videos, ids=[_digest(video)]))

    def finish(self) -> None:
        """Flushes written rows, so that Milvus can index them."""
        retried(lambda: self._client.flush(self.place.collection))

    def _mark(self, video: str, version: str) -> None:
        row = {"id": _digest(video), "video": video, "version": version, "vector": [0.0, 1.0]}
        self._client.upsert(self._videos, [row])

    def _rows(self, video: SourceVideo, moments: MomentVectors) -> list[dict[str, Any]]:
        clocks = at_clock(video.clock_s, moments.starts_s)
        vectors = self.fitted.vectors(moments.vectors) if len(moments) else moments.vectors
        sketches = self.fitted.sketches(vectors) if self.about.sketch_length and len(moments) else None
        of_camera = camera(moments.video)
        return [
            {
                "origin": moments.origins[n],
                "video": moments.video,
                "camera": of_camera,
                "timestamp_s": float(moments.starts_s[n]),
                "end_s": float(moments.ends_s[n]),
                "clock_s": _or_none(clocks[n]),
                "scope": moments.scopes[n],
                "probability": _or_none(moments.probabilities[n]),
                "label": _label(moments.labels[n]),
                "still": bool(moments.still[n]),
                "version": video.version,
                "vector": vectors[n],
                **({} if sketches is None else {"sketch": sketches[n]}),
            }
            for n in range(len(moments))
        ]

    # Searching

    def search(self, vector: np.ndarray, *, limit: int, expression: str, exact: bool = False) -> list[Hit]:
        """Returns the moments most similar to a vector, the best first.

        Args:
            vector: (length,) float32 of unit length, from `fitted.vectors`.
            limit: maximum number of moments.
            expression: a filter expression of Milvus.
            exact: whether to compare all vectors.

        Raises:
            InputError: `exact` is set and the collection has an approximate index.
        """
        if exact and self.place.is_server and not self.about.exact:
            raise InputError(
                f"{self.place} has an approximate index: make it with index.exact=true to search exactly"
            )
        limit = min(limit, _MOST)
        again = max(_AGAIN * limit, _AT_LEAST)
        if not self.about.sketch_length or exact or again > _AT_MOST or self._is_small:
            return self._found("vector", vector, limit, expression)
        return self._by_sketch(vector, limit, again, expression)

    @property
    def _is_small(self) -> bool:
        stats = self._client.get_collection_stats(self.place.collection)
        return int(stats["row_count"]) * self.about.length <= _FEW_NUMBERS

    def _found(self, field: str, vector: np.ndarray, limit: int, expression: str) -> list[Hit]:
        rows = self._ask(field, vector, limit, expression, _FIELDS)
        return [_hit(row, float(row["distance"])) for row in rows]

    def _by_sketch(self, vector: np.ndarray, limit: int, again: int, expression: str) -> list[Hit]:
        short = self.fitted.sketches(vector[None])[0]
        rows = self._ask("sketch", short, again, expression, (*_FIELDS, "vector"))
        hits = [_hit(row, float(np.asarray(row["entity"]["vector"], np.float32) @ vector)) for row in rows]
        return sorted(hits, key=lambda hit: -hit.score)[:limit]

    def _ask(
        self, field: str, vector: np.ndarray, limit: int, expression: str, fields: Sequence[str]
    ) -> list[dict[str, Any]]:
        params = {"ef": max(2 * limit, 200)} if self.place.is_server and not self.about.exact else {}
        found = retried(
            lambda: self._client.search(
                self.place.collection,
                data=[vector],
                anns_field=field,
                limit=limit,
                filter=expression,
                output_fields=list(fields),
                search_params={"metric_type": _METRICS[field], "params": params},
            ),
            attempts=3,
        )
        return list(found[0])


def open_store(place: Place, *, wait_s: float = 10.0) -> Store:
    """Opens an existing collection.

    Args:
        place: the address of the collection.
        wait_s: maximum seconds to wait for another process to close a file.

    Raises:
        InputError: the collection does not exist or cannot be read.
    """
    if not place.is_server and storage.status(f"{place.uri}/LOCK")[1] is None:
        raise InputError(f"there is no index {place}: run `framewatch index` first")
    client = milvus_client.connect(place, wait_s=wait_s)
    with _closed_on_error(client, place):
        about = read_collection(client, place)
        if about is None:
            raise InputError(f"{place} has no collection '{place.collection}': run `framewatch index` first")
        for name in (place.collection, f"{place.collection}_videos"):
            client.load_collection(name)
        fitted = Fitted.read(fitted_path(place, about.output))
    return Store(client, place, about, fitted)


def create_store(place: Place, about: About, *, fit: Callable[[], Fitted]) -> Store:
    """Creates a collection, or opens the existing one if it has the same features and settings.

    Args:
        place: the address of the collection.
        about: the description of the collection.
        fit: fits scenes and sketches; called only for a new collection.

    Raises:
        InputError: the existing collection has other features or settings, or belongs to another output.
    """
    client = milvus_client.connect(place)
    with _closed_on_error(client, place):
        there = read_collection(client, place)
        if there is not None:
            require_same(there, about, place)
            milvus_client.disconnect(client, place)
            return open_store(place)
        fitted = fit()
        fitted.write(fitted_path(place, about.output))
        make_collections(client, place, about, length=fitted.length)
    return Store(client, place, about, fitted)


@contextlib.contextmanager
def _closed_on_error(client: Any, place: Place) -> Iterator[None]:
    """Closes the client after an error, and turns errors of Milvus into one line."""
    try:
        yield
    except InputError:
        milvus_client.disconnect(client, place)
        raise
    except Exception as error:
        milvus_client.disconnect(client, place)
        raise milvus_client.damaged(place, error) from error


def drop_store(place: Place, *, output: str) -> None:
    """Removes an output's collection and its files.

    Raises:
        InputError: the collection belongs to another output or was not created by framewatch.
    """
    if not place.is_server:
        milvus_client.require_milvus(place)
        storage.delete(place.uri)
        storage.delete(fitted_path(place, output))
        return
    client = milvus_client.connect(place)
    try:
        there = read_collection(client, place)
        if there is not None:
            require_owner(there, output, place)
            for name in (f"{place.collection}_videos", place.collection):
                client.drop_collection(name)
            storage.delete(fitted_path(place, output))
    finally:
        milvus_client.disconnect(client, place)


def _hit(found: Any, score: float) -> Hit:
    row = found["entity"]
    return Hit(
        origin=found["origin"], video=row["video"], start_s=row["timestamp_s"], end_s=row["end_s"],
        peak_s=row["timestamp_s"], score=score, scope=row["scope"], probability=row["probability"],
        label=row["label"],
    )  # fmt: skip


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def stamp(video: SourceVideo) -> str:
    """Returns what `Store.versions` has of a video that is completely written."""
    return f"{video.version}:{video.values}"


def _label(value: float) -> int | None:
    return None if np.isnan(value) else int(value)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
