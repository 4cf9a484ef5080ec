"""Finds similar moments for the page, and caches results as long as the index does not change."""

import contextlib
import hashlib
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cachetools import LRUCache

from framewatch.config.outputs import IndexConfig
from framewatch.errors import InputError
from framewatch.feedback import VerdictLog
from framewatch.io import storage
from framewatch.io.images import MAX_PIXELS, decode_image
from framewatch.models.encoder import Encoder
from framewatch.search.hits import Hit
from framewatch.search.milvus_client import Place
from framewatch.search.moment_store import Store, open_store
from framewatch.search.query import MomentFilter, QueryPart, combine
from framewatch.search.searcher import Wanted, find_moments, vectors_of
from framewatch.tables.feature_files import FeatureFiles

_KEPT_ANSWERS, _KEPT_PICTURES = 50, 20
# An idle page closes the index, because another process may need the file.
_IDLE_S = 20.0


@dataclass(frozen=True)
class Answer:
    """Search results, with an id for later requests."""

    id: str
    hits: list[Hit]


@dataclass
class SimilarFinder:
    """Searches the index of one output. Thread-safe.

    Attributes:
        output: the output of the run.
        place: returns the location of the index.
        model: path of the model file, if the metadata of the features does not identify the network.
        weights: path of the weights, if the metadata of the features does not identify them.
        gap_s: the setting `index.gap_s`.
        max_pixels: larger pictures are rejected.
    """

    output: str
    place: Callable[[], Place]
    model: str = "InceptionV3"
    weights: str = "imagenet"
    gap_s: float = IndexConfig.gap_s
    max_pixels: int = MAX_PIXELS
    _decoding: threading.Lock = field(default_factory=threading.Lock)
    _store: Store | None = None
    _timer: threading.Timer | None = None
    _users: int = 0
    _opening: threading.Lock = field(default_factory=threading.Lock)
    _answers: LRUCache[str, Answer] = field(default_factory=lambda: LRUCache(_KEPT_ANSWERS))
    _pictures: LRUCache[str, np.ndarray] = field(default_factory=lambda: LRUCache(_KEPT_PICTURES))
    _kept: threading.Lock = field(default_factory=threading.Lock)

    def search(self, values: dict[str, Any]) -> Answer:
        """Finds the moments most similar to a frame or an uploaded picture.

        Args:
            values: `origin`, or `picture`, a name from `encode_picture`; optionally `scope`,
                `min_probability`, `by_video` and `limit`.

        Raises:
            InputError: the request is not valid.
        """
        wanted = self._wanted(values)
        part, vectors = self._part(values)
        key = hashlib.sha256(json.dumps([part.value, repr(wanted), self._state()]).encode()).hexdigest()
        with self._kept:
            if key in self._answers:
                return self._answers[key]
        with self._opened() as store:
            vector = combine(store.fitted.vectors(vectors), [part])
            answer = Answer(uuid.uuid4().hex[:12], find_moments(store, vector, wanted, output=self.output))
        with self._kept:
            self._answers[key] = answer
        return answer

    def get(self, name: str) -> Answer:
        """Returns cached results.

        Raises:
            InputError: the results have expired.
        """
        with self._kept:
            found = next((answer for answer in self._answers.values() if answer.id == name), None)
        if found is None:
            raise InputError("the results have expired: search again")
        return found

    def hit(self, name: str, number: int) -> Hit:
        """Returns one hit of cached results.

        Raises:
            InputError: the number is out of range, or the results have expired.
        """
        hits = self.get(name).hits
        if not 0 <= number < len(hits):
            raise InputError(f"there is no hit {number}: the search has {len(hits)} hits")
        return hits[number]

    def encode_picture(self, data: bytes) -> str:
        """Encodes a picture as a feature vector, without keeping the picture; returns the vector's name.

        Raises:
            PictureTooLargeError: the picture has more than `max_pixels`.
            PictureError: the data is not a picture, or is damaged.
        """
        with self._decoding:  # decodes one picture at a time, to limit memory
            image = decode_image(data, max_pixels=self.max_pixels)
        features = FeatureFiles.of(self.output)
        vector = self._encoder(features).images([image])[0]
        name = hashlib.sha256(vector.tobytes()).hexdigest()[:20]
        with self._kept:
            self._pictures[name] = vector
        return name

    def close(self) -> None:
        """Closes the index, unless it is in use."""
        with self._opening:
            if self._users == 0 and self._store is not None:
                self._store.close()
                self._store = None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Store]:
        with self._opening:
            if self._store is None:
                self._store = open_store(self.place(), wait_s=3.0)
            self._users += 1
            store = self._store
            if self._timer is not None:
                self._timer.cancel()
        try:
            yield store
        finally:
            with self._opening:
                self._users -= 1
                self._timer = threading.Timer(_IDLE_S, self.close)
                self._timer.daemon = True
                self._timer.start()

    def _part(self, values: dict[str, Any]) -> tuple[QueryPart, np.ndarray]:
        if "picture" in values:
            with self._kept:
                vector = self._pictures.get(values["picture"])
            if vector is None:
                raise InputError("the picture has expired: upload it again")
            return QueryPart("image", values["picture"]), vector[None]
        origin = values.get("origin")
        if not origin:
            raise InputError("the search is empty: give a frame or a picture")
        part, features = QueryPart("frame", origin), FeatureFiles.of(self.output)
        return part, vectors_of([part], features, self._encoder(features), self.output)

    def _encoder(self, features: FeatureFiles) -> Encoder:
        return Encoder(features.identity(), model=self.model, weights=self.weights)

    def _wanted(self, values: dict[str, Any]) -> Wanted:
        wanted = MomentFilter(
            min_probability=values.get("min_probability"), scope=values.get("scope", "frame")
        )
        by_video = values.get("by_video", False)
        return Wanted(values.get("limit", 24), wanted, by_video=by_video, gap_s=self.gap_s)

    def _state(self) -> list[Any]:
        """Returns a cache key, which changes with the index and the verdicts."""
        stamp = storage.status(storage.join(self.output, "search", "index.json"))
        return [stamp, len(VerdictLog(self.output).verdicts())]
