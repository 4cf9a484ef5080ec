"""Fits scenes and sketches to the footage, once per index. Does not import Spark.

Frames of a fixed camera resemble each other because most of the picture is static. So half of the nearest
scene is subtracted from each vector; a scene is the mean of a video's vectors. (VLAD subtracts the whole of
the nearest centroid; Jegou, Douze, Schmid and Perez 2010.) Then each component is divided by its spread, so
that a few components do not outweigh the others. The result depends only on the picture, so a photo is
treated like a frame.

Sketches are short vectors that replace long ones in a first comparison. A local file of Milvus compares
sketches, and then the best candidates by their full vectors. The uncentred principal components preserve
inner products as well as any linear map to that many dimensions can (Eckart and Young 1936).
"""

import io
from dataclasses import asdict, dataclass

import numpy as np

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.tables.feature_files import unit

# The mean of fewer frames would contain what happens in them, not only the scene.
_FEWEST_FRAMES = 10
# The share of a scene to subtract. All of it would also remove anything that lasts through a short video.
_SHARE = 0.5
_SKETCHED = 4000
# Drops in score between different pictures, with and without scenes. Cosines of unchanged vectors are closer.
_APART, _APART_WHOLE = 0.2, 0.05


@dataclass(frozen=True)
class Fitted:
    """The maps from features to the vectors and sketches that are compared.

    Attributes:
        scenes: (scenes, length) float32; without rows, vectors are only scaled to unit length.
        center: (length,) float32, the mean after subtracting scenes.
        scale: (length,) float32, the inverse of the spread after subtracting scenes.
        columns: (length, sketch length) float32, orthonormal; without columns, there are no sketches.
        num_videos: number of videos in the output when this was fitted.
    """

    scenes: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    columns: np.ndarray
    num_videos: int

    @staticmethod
    def fit(sample: np.ndarray, videos: np.ndarray, *, scenes: int, sketch: int, num_videos: int) -> "Fitted":
        """Fits scenes and sketches to a sample of the footage.

        Args:
            sample: (n, length) float32, unit-length features.
            videos: (n,) URI of each frame's video.
            scenes: maximum number of scenes; 0 for none.
            sketch: length of a sketch; 0 for none.
            num_videos: number of videos in the output, in the sample or not.
        """
        means = _scenes(sample, videos, scenes)
        center, scale = np.zeros(sample.shape[1], np.float32), np.ones(sample.shape[1], np.float32)
        if len(means):
            left = _less_scene(sample, means)
            spread = left.std(axis=0)
            center, scale = left.mean(axis=0), 1 / np.maximum(spread + spread.mean(), 1e-12)
        fitted = Fitted(means, center, scale, np.empty((sample.shape[1], 0), np.float32), num_videos)
        vectors = fitted.vectors(sample[:: max(1, len(sample) // _SKETCHED)])
        return Fitted(means, center, scale, _largest(vectors, sketch), num_videos)

    @property
    def apart(self) -> float:
        """The drop in score beyond which a neighbouring frame counts as a different picture.

        Such a frame is not merged into the hit.
        """
        return _APART if len(self.scenes) else _APART_WHOLE

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Converts features to the vectors that are compared: (n, length) float32 of unit length."""
        rows = unit(rows.astype(np.float32, copy=False))
        if not len(self.scenes):
            return rows
        return unit((_less_scene(rows, self.scenes) - self.center) * self.scale)

    def sketches(self, vectors: np.ndarray) -> np.ndarray:
        """Converts vectors to (n, sketch length) float32, not scaled, so that inner products are kept."""
        return vectors @ self.columns

    def write(self, path: str) -> None:
        """Writes this object to a file."""
        data = io.BytesIO()
        np.savez(data, **asdict(self))
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
                return Fitted(
                    found["scenes"], found["center"], found["scale"], found["columns"],
                    int(found["num_videos"]),
                )  # fmt: skip
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}, which belongs to the index, cannot be read: run `framewatch index --rebuild`"
            ) from error


def _scenes(sample: np.ndarray, videos: np.ndarray, most: int) -> np.ndarray:
    """Returns the means of at most `most` videos, evenly spaced: (scenes, length) float32."""
    _, numbers, counts = np.unique(videos, return_inverse=True, return_counts=True)
    enough = np.flatnonzero(counts >= _FEWEST_FRAMES)
    chosen = enough[:: max(1, -(-len(enough) // most))] if most else enough[:0]
    means = [sample[numbers == number].mean(axis=0) for number in chosen]
    return np.array(means, np.float32).reshape(-1, sample.shape[1])


def _less_scene(rows: np.ndarray, scenes: np.ndarray) -> np.ndarray:
    nearest = (rows @ scenes.T - np.einsum("ij,ij->i", scenes, scenes) / 2).argmax(axis=1)
    return rows - _SHARE * scenes[nearest]


def _largest(rows: np.ndarray, count: int) -> np.ndarray:
    """Returns the first `count` uncentred principal components of the rows: (length, count) float32."""
    if not count:
        return np.empty((rows.shape[1], 0), np.float32)
    directions = np.linalg.eigh(rows.T.astype(float) @ rows.astype(float))[1]
    return np.ascontiguousarray(directions[:, ::-1][:, :count], np.float32)
