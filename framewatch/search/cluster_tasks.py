"""What `explore` does in Spark's Python workers: reads features, and compares frames with clusters.

In a separate module, so that a worker does not import pyspark.ml and pandas, which takes a second.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from framewatch.models.similarity import Similarity, unit
from framewatch.search.moment_vectors import still_frames
from framewatch.tables import columns
from framewatch.tables.feature_files import FeatureFiles, camera, vectors

_COLUMNS = ["origin", "timestamp_s", "features"]
VECTORS = pa.schema([("values", pa.list_(pa.float32()))])
COMPARED = pa.schema(
    [
        *(columns.CLUSTER_FRAMES.field(name) for name in ("origin", "video", "timestamp_s", "still")),
        ("camera", pa.string()),
        ("cosines", pa.list_(pa.float32())),
    ]
)
DISTANCES = pa.schema([field for field in columns.OUTLIERS if field.name != "rank"])


@dataclass(frozen=True)
class ReadFrames:
    """Reads vectors of frames file by file in a task, some at a time, and marks near-duplicates.

    Takes rows of `id` and `path`. A file has the frames of a video in order of time.
    """

    features: FeatureFiles
    still_cosine: float
    similarity: Similarity
    # Of so many row groups, one is read.
    every: int = 1

    def frames(
        self, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[tuple[str, list[str], np.ndarray, np.ndarray, np.ndarray]]:
        """Yields some frames of one video: its URI, origins, times in seconds, near-duplicates, vectors."""
        # The last frame that is no near-duplicate, and its video: a video may go on in the next file.
        last: tuple[str, np.ndarray] | None = None
        for number, path in _pairs(batches):
            for rows in self.features.read(path, _COLUMNS, row_groups=self._row_groups(number, path)):
                numbers, valid = vectors(rows["features"])
                usable = numbers.any(axis=1)  # the cosine with a vector of zeros is undefined
                rows, numbers = rows.filter(pa.array(valid)).filter(pa.array(usable)), unit(numbers[usable])
                videos = np.array(rows["video"].to_pylist(), object)
                for begin, end in _runs(videos):
                    video, its = videos[begin], numbers[begin:end]
                    before = last[1] if last and last[0] == video else None
                    still = still_frames(its, self.still_cosine, last=before)
                    if not still.all():
                        last = video, its[~still][-1]
                    part = rows.slice(begin, end - begin)
                    times_s = part["timestamp_s"].to_numpy(zero_copy_only=False)
                    yield video, part["origin"].to_pylist(), times_s, still, self.similarity.vectors(its)

    def _row_groups(self, number: int, path: str) -> list[int] | None:
        if self.every == 1:
            return None
        count = self.features.open(path).num_row_groups
        return [group for group in range(count) if (number + group) % self.every == 0]


def _pairs(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, str]]:
    for batch in batches:
        yield from zip(batch["id"].to_pylist(), batch["path"].to_pylist(), strict=True)


def _runs(values: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields the bounds of stretches of equal values."""
    bounds = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1), len(values)]
    return ((begin, end) for begin, end in itertools.pairwise(bounds) if end > begin)


@dataclass(frozen=True)
class ReadVectors(ReadFrames):
    """Returns the vectors of frames that are not near-duplicates, as rows of `values`."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields rows of `VECTORS`."""
        for _, _, _, still, rows in self.frames(batches):
            yield pa.RecordBatch.from_arrays([_lists(rows[~still])], schema=VECTORS)


@dataclass(frozen=True, kw_only=True)
class CompareFrames(ReadFrames):
    """Computes each frame's similarity to each centre."""

    centres: np.ndarray

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields rows of `COMPARED`."""
        for video, origins, times_s, still, rows in self.frames(batches):
            cosines = rows @ self.centres.T
            count = len(origins)
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array(origins),
                    pa.array([video] * count),
                    pa.array(times_s),
                    pa.array(still),
                    pa.array([camera(video)] * count),
                    _lists(cosines),
                ],
                schema=COMPARED,
            )


def _lists(rows: np.ndarray) -> pa.Array:
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.ravel(), pa.float32()))


@dataclass(frozen=True)
class FindFarthest:
    """Computes each frame's distance, 1 - cosine, from the nearest usual cluster of its camera."""

    usual: Mapping[str, Sequence[int]]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields rows of `DISTANCES`."""
        for batch in batches:
            if not batch.num_rows:
                continue
            cosines = batch["cosines"].flatten().to_numpy().reshape(batch.num_rows, -1)
            distances = np.empty(batch.num_rows)
            cameras = np.array(batch["camera"].to_pylist(), object)
            for name in set(cameras):
                of_camera = cameras == name
                distances[of_camera] = 1 - cosines[of_camera][:, list(self.usual[name])].max(axis=1)
            found = [*(batch[name] for name in DISTANCES.names[:-1]), pa.array(distances)]
            yield pa.RecordBatch.from_arrays(found, schema=DISTANCES)
