"""Fits the similarity and sketches to the footage, once per index. Does not import Spark.

Sketches are short vectors that replace long ones in a first comparison. A local file of Milvus compares
sketches, and then the best candidates by their full vectors. The uncentred principal components preserve
inner products as well as any linear map to that many dimensions can (Eckart and Young 1936).
"""

import io
from dataclasses import dataclass
from typing import cast

import numpy as np

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.models.similarity import Centre, Similarity

_SKETCHED = 4000
# Drops in score between different pictures, centred and not. Plain cosines are closer.
_APART, _APART_WHOLE = 0.2, 0.05


@dataclass(frozen=True)
class Fitted:
    """The maps from features to the vectors and sketches that are compared.

    Attributes:
        similarity: the map from features to vectors.
        columns: (vector length, sketch length) float32, orthonormal; without columns, there are no sketches.
        num_videos: number of videos in the output when this was fitted.
    """

    similarity: Similarity
    columns: np.ndarray
    num_videos: int

    @staticmethod
    def fit(sample: np.ndarray, videos: np.ndarray, *, scenes: int, sketch: int, num_videos: int) -> "Fitted":
        """Fits the similarity and sketches to a sample of the footage.

        Args:
            sample: (n, length) float32 features.
            videos: (n,) URI of each frame's video.
            scenes: maximum number of scenes; 0 for the plain cosine.
            sketch: length of a sketch; 0 for none.
            num_videos: number of videos in the output, in the sample or not.
        """
        similarity = Similarity.fit(sample, videos, centre="scene" if scenes else "none", scenes=scenes)
        vectors = similarity.vectors(sample[:: max(1, len(sample) // _SKETCHED)])
        return Fitted(similarity, _largest(vectors, sketch), num_videos)

    @property
    def apart(self) -> float:
        """The drop in score beyond which a neighbouring frame counts as a different picture.

        Such a frame is not merged into the hit.
        """
        return _APART_WHOLE if self.similarity.is_plain else _APART

    @property
    def length(self) -> int:
        """Length of the vectors that are compared."""
        return self.similarity.length

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Converts features to the vectors that are compared: (n, `length`) float32 of unit length."""
        return self.similarity.vectors(rows)

    def sketches(self, vectors: np.ndarray) -> np.ndarray:
        """Converts vectors to (n, sketch length) float32, not scaled, so that inner products are kept."""
        return vectors @ self.columns

    def write(self, path: str) -> None:
        """Writes this object to a file."""
        data = io.BytesIO()
        np.savez(data, **vars(self.similarity), columns=self.columns, num_videos=self.num_videos)
        storage.write_bytes(path, data.getvalue())

    @staticmethod
    def read(path: str) -> "Fitted":
        """Reads an object from a file.

        Raises:
            InputError: the file is missing or damaged.
        """
        files, name = storage.filesystem(path)
        try:
            with files.open(name, "rb") as file:
                found = np.load(io.BytesIO(file.read()), allow_pickle=False)
                similarity = Similarity(
                    cast(Centre, str(found["centre"])), found["scenes"], found["center"], found["directions"],
                    found["kept"], float(found["constant"]),
                )  # fmt: skip
                return Fitted(similarity, found["columns"], int(found["num_videos"]))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}, which belongs to the index, cannot be read: run `framewatch index --rebuild`"
            ) from error


def _largest(rows: np.ndarray, count: int) -> np.ndarray:
    """Returns the first `count` uncentred principal components of the rows: (length, count) float32."""
    if not count:
        return np.empty((rows.shape[1], 0), np.float32)
    directions = np.linalg.eigh(rows.T.astype(float) @ rows.astype(float))[1]
    return np.ascontiguousarray(directions[:, ::-1][:, :count], np.float32)
