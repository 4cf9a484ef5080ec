"""Similar moments for the page: answers that are kept while the index stays as it is."""

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
from framewatch.search.query import Filter, Part, combine
from framewatch.search.searcher import Wanted, find, vectors_of
from framewatch.tables.feature_files import FeatureFiles

_KEPT_ANSWERS, _KEPT_PICTURES = 50, 20
# Another process may want the file: a page that nobody asks lets go of it.
_IDLE_S = 20.0


@dataclass(frozen=True)
class Answer:
    """What was found, by a name under which the page asks for more of it."""

    id: str
    hits: list[Hit]


@dataclass
class SimilarFinder:
    """Answers questions on one output's index; its methods may be called by several threads.

    Attributes:
        output: of the run.
        place: tells where its index is.
        model: the network's file, where a picture needs it and the features' metadata does not tell.
        weights: its weights, likewise.
        gap_s: as `index.gap_s`.
        max_pixels: pictures of more pixels are refused.
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

    def search(self, said: dict[str, Any]) -> Answer:
        """The moments most like a frame or a picture that was taken in.

        Args:
            said: `origin`, or `picture`, the name that `take_in` gave; perhaps `scope`, `min_probability`,
                `by_video`, `limit`.

        Raises:
            InputError: it cannot be answered; says why.
        """
        wanted = self._wanted(said)
        part, vectors = self._part(said)
        key = hashlib.sha256(json.dumps([part.value, repr(wanted), self._state()]).encode()).hexdigest()
        with self._kept:
            if key in self._answers:
                return self._answers[key]
        with self._opened() as store:
            vector = combine(store.fitted.vectors(vectors), [part])
            answer = Answer(uuid.uuid4().hex[:12], find(store, vector, wanted, output=self.output))
        with self._kept:
            self._answers[key] = answer
        return answer

    def get(self, name: str) -> Answer:
        """An answer that was given.

        Raises:
            InputError: it is kept no more.
        """
        with self._kept:
            found = next((it for it in self._answers.values() if it.id == name), None)
        if found is None:
            raise InputError("this answer is kept no more: search again")
        return found

    def hit(self, name: str, number: int) -> Hit:
        """One of an answer's hits.

        Raises:
            InputError: there is none of that number.
        """
        hits = self.get(name).hits
        if not 0 <= number < len(hits):
            raise InputError(f"there is no hit {number}: {len(hits)} were found")
        return hits[number]

    def take_in(self, data: bytes) -> str:
        """Turns a picture into a vector, and forgets the picture; returns the vector's name.

        Raises:
            PictureTooLargeError: it has more than `max_pixels`.
            PictureError: it is no picture, or a damaged one.
        """
        with self._decoding:  # large pictures of several threads one after the other
            image = decode_image(data, max_pixels=self.max_pixels)
        features = FeatureFiles.of(self.output)
        vector = self._encoder(features).images([image])[0]
        name = hashlib.sha256(vector.tobytes()).hexdigest()[:20]
        with self._kept:
            self._pictures[name] = vector
        return name

    def close(self) -> None:
        """Lets go of the index, unless it is being searched."""
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

    def _part(self, said: dict[str, Any]) -> tuple[Part, np.ndarray]:
        if "picture" in said:
            with self._kept:
                vector = self._pictures.get(said["picture"])
            if vector is None:
                raise InputError("this picture is kept no more: give it again")
            return Part("image", said["picture"]), vector[None]
        origin = said.get("origin")
        if not origin:
            raise InputError("nothing is looked for: give a frame or a picture")
        part, features = Part("frame", origin), FeatureFiles.of(self.output)
        return part, vectors_of([part], features, self._encoder(features), self.output)

    def _encoder(self, features: FeatureFiles) -> Encoder:
        return Encoder(features.identity(), model=self.model, weights=self.weights)

    def _wanted(self, said: dict[str, Any]) -> Wanted:
        wanted = Filter(min_probability=said.get("min_probability"), scope=said.get("scope", "frame"))
        return Wanted(said.get("limit", 24), wanted, by_video=said.get("by_video", False), gap_s=self.gap_s)

    def _state(self) -> list[Any]:
        """What changes whenever another answer may be right: the index, and what reviewers have rejected."""
        stamp = storage.status(storage.join(self.output, "search", "index.json"))
        return [stamp, len(VerdictLog(self.output).verdicts())]
