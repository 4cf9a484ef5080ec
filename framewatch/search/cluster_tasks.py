"""What `explore` does in Spark's Python workers: reads features, and compares frames with clusters.

In a separate module, so that a worker does not import pyspark.ml and pandas, which takes a second.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from framewatch.models.similarity import Similarity
from framewatch.search.moment_vectors import still_frames
from framewatch.search.source import Known, SourceVideo, read_video_frames
from framewatch.tables import columns
from framewatch.tables.feature_files import FeatureFiles, camera

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
    """Reads vectors of videos' frames in a task, and marks near-duplicates.

    Takes rows of `id`, an index into `videos`.
    """

    features: FeatureFiles
    videos: Sequence[SourceVideo]
    still_cosine: float
    similarity: Similarity

    def frames(
        self, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[tuple[SourceVideo, list[str], np.ndarray, np.ndarray, np.ndarray]]:
        """Yields each video, and of its frames: origins, times in seconds, near-duplicates, vectors."""
        for batch in batches:
            for number in batch["id"].to_pylist():
                frames = read_video_frames(self.features, self.videos[number], Known({}, {}, {}))
                usable = frames.vectors.any(axis=1)  # the cosine with a vector of zeros is undefined
                if usable.any():
                    origins = [frames.origins[row] for row in np.flatnonzero(usable)]
                    still = still_frames(frames.vectors[usable], self.still_cosine)
                    vectors = self.similarity.vectors(frames.vectors[usable])
                    yield self.videos[number], origins, frames.times_s[usable], still, vectors


@dataclass(frozen=True)
class ReadVectors(ReadFrames):
    """Returns the vectors of frames that are not near-duplicates, as rows of `values`."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields rows of `VECTORS`."""
        for _, _, _, still, vectors in self.frames(batches):
            yield pa.RecordBatch.from_arrays([_lists(vectors[~still])], schema=VECTORS)


@dataclass(frozen=True)
class CompareFrames(ReadFrames):
    """Computes each frame's similarity to each centre, with one matrix product per video."""

    centres: np.ndarray

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields rows of `COMPARED`."""
        for video, origins, times_s, still, vectors in self.frames(batches):
            cosines = vectors @ self.centres.T
            count = len(origins)
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array(origins),
                    pa.array([video.uri] * count),
                    pa.array(times_s),
                    pa.array(still),
                    pa.array([camera(video.uri)] * count),
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
