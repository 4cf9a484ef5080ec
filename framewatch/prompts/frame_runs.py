"""Computes similarities of features to prompts, and each camera's background. Does not import Spark.

A run is a stretch of one video's frames in one batch. It is one row of Arrow with up to some hundred frames,
so that later steps need not handle a row per frame.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from framewatch.models.similarity import Similarity, unit
from framewatch.tables.feature_files import FeatureFiles, camera, vectors

RUNS = pa.schema(
    [
        ("video", pa.string()),
        ("first_s", pa.float64()),
        ("num_frames", pa.int32()),
        # Arrays as bytes, because Spark handles each number of an array separately: (frames,) float64, and
        # (frames, prompts) float32 in row-major order.
        ("times_s", pa.binary()),
        ("similarities", pa.binary()),
    ]
)
TOTALS = pa.schema(
    [
        ("camera", pa.string()),
        ("count", pa.int64()),
        ("sums", pa.list_(pa.float64())),
        ("squares", pa.list_(pa.float64())),
    ]
)


# The noise of a camera that shows nothing must not look like a rare event.
_LEAST_DEVIATION = 0.01


@dataclass(frozen=True)
class Project:
    """Converts batches of `video`, `timestamp_s`, `features` to rows of `RUNS`.

    Attributes:
        texts: (length, texts) float32, what features of unit length are multiplied with.
        pictures: (vector length, pictures) float32, what vectors of the similarity are multiplied with.
        similarity: the map from features to vectors.
    """

    texts: np.ndarray
    pictures: np.ndarray
    similarity: Similarity

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields the similarities of the frames in each batch."""
        for batch in batches:
            if batch.num_rows:
                yield self._runs(batch)

    def _runs(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        similarities = self.similarities(batch["features"])
        times_s = batch["timestamp_s"].to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
        videos = batch["video"].dictionary_encode()
        numbers = videos.indices.to_numpy(zero_copy_only=False)
        bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        return pa.RecordBatch.from_arrays(
            [
                videos.dictionary.take(pa.array(numbers[bounds[:-1]])),
                pa.array(times_s[bounds[:-1]]),
                pa.array(np.diff(bounds).astype(np.int32)),
                _as_bytes(times_s, bounds),
                _as_bytes(similarities, bounds),
            ],
            schema=RUNS,
        )

    def similarities(self, features: Any) -> np.ndarray:
        """Returns (rows, texts and pictures) float32 for a column of features; NaN for a row without."""
        numbers, valid = vectors(features)
        num_texts = self.texts.shape[1]
        found = np.full((len(features), num_texts + self.pictures.shape[1]), np.nan, np.float32)
        if len(numbers) and num_texts:
            found[valid, :num_texts] = unit(numbers) @ self.texts
        if len(numbers) and self.pictures.shape[1]:
            found[valid, num_texts:] = self.similarity.vectors(numbers) @ self.pictures
        return found


def _as_bytes(rows: np.ndarray, bounds: list[int]) -> pa.Array:
    """Returns the rows between neighbouring bounds as one binary value each."""
    offsets = np.array(bounds, np.int32) * (rows.nbytes // max(1, len(rows)))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(rows))]
    return pa.Array.from_buffers(pa.binary(), len(bounds) - 1, buffers)


def iterate_runs(batch: pa.RecordBatch) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields video, times in seconds and similarities of each row of `RUNS`."""
    for number, video in enumerate(batch["video"].to_pylist()):
        buffers = (batch[name][number].as_buffer() for name in ("times_s", "similarities"))
        yield video, *run_arrays(*buffers)


def run_arrays(times_s: Any, similarities: Any) -> tuple[np.ndarray, np.ndarray]:
    """Converts the bytes in `RUNS` to times in seconds, (frames,), and similarities, (frames, prompts)."""
    times = np.frombuffer(times_s, np.float64)
    return times, np.frombuffer(similarities, np.float32).reshape(len(times), -1)


def total(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Converts rows of `RUNS` to rows of `TOTALS`: count, sums and sums of squares for each camera."""
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, Any] = defaultdict(float)
    squares: dict[str, Any] = defaultdict(float)
    for batch in batches:
        for video, _, similarities in iterate_runs(batch):
            valid = similarities[~np.isnan(similarities[:, 0])].astype(float)
            if len(valid):
                counts[camera(video)] += len(valid)
                sums[camera(video)] = sums[camera(video)] + valid.sum(axis=0)
                squares[camera(video)] = squares[camera(video)] + (valid**2).sum(axis=0)
    rows = [
        {"camera": name, "count": counts[name], "sums": sums[name], "squares": squares[name]}
        for name in counts
    ]
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=TOTALS)


@dataclass(frozen=True)
class Compare:
    """Converts rows of `path`, files of features, to rows of `RUNS`.

    Attributes:
        features: the directory of `features` and its superseded videos; `paths` are not used.
        project: computes the similarities.
    """

    features: FeatureFiles
    project: Project

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields the similarities of the frames in each file."""
        for batch in batches:
            for path in batch["path"].to_pylist():
                yield from self.project(self.features.read(path, ["timestamp_s", "features"]))


@dataclass(frozen=True)
class Background:
    """The usual similarities of a camera's frames to each prompt.

    Attributes:
        mean: (prompts,) mean.
        deviation: (prompts,) standard deviation.
    """

    mean: np.ndarray
    deviation: np.ndarray


def backgrounds(totals: Iterable[dict[str, Any]]) -> dict[str, Background]:
    """Computes each camera's background from rows of `TOTALS`."""
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, Any] = defaultdict(float)
    squares: dict[str, Any] = defaultdict(float)
    for row in totals:
        counts[row["camera"]] += row["count"]
        sums[row["camera"]] = sums[row["camera"]] + np.asarray(row["sums"], float)
        squares[row["camera"]] = squares[row["camera"]] + np.asarray(row["squares"], float)
    found = {}
    for name, count in counts.items():
        mean = sums[name] / count
        variance = np.maximum(squares[name] / count - mean**2, 0.0)
        found[name] = Background(mean, np.maximum(np.sqrt(variance), _LEAST_DEVIATION))
    return found
