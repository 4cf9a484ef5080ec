"""What is fitted to the footage once: scenes that pictures are told from, and sketches. No Spark in here.

Frames of a fixed camera are alike by what stands still in them. So half of a scene is taken off each picture:
of the means of the videos, the one nearest to it (VLAD takes off all of the nearest centroid; Jegou, Douze,
Schmid and Perez 2010). Then each number is divided by its spread, so that no few outweigh the others. This
depends on nothing but the picture: a photo is treated as a frame is.

Sketches are short stand-ins for long vectors: a file of Milvus compares these, and the best again by the
whole ones. The directions in which vectors are largest, their uncentred principal components, keep inner
products as well as any so many can (Eckart and Young 1936).
"""

import io
from dataclasses import asdict, dataclass

import numpy as np

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.tables.feature_files import unit

# The mean of fewer frames tells of what happens in them, not of the scene.
_FEWEST_FRAMES = 10
# Of a scene, taken off: all of it would take with it what lasts through a short video.
_SHARE = 0.5
_SKETCHED = 4000
# By how much the scores of a picture and of another differ: cosines of whole pictures lie close together.
_APART, _APART_WHOLE = 0.2, 0.05


@dataclass(frozen=True)
class Fitted:
    """Fitted to a sample. Without scenes, vectors stay as they are.

    Attributes:
        scenes: (scenes, length) float32.
        center: (length,) float32, the mean of what is left.
        scale: (length,) float32, the inverse of its spread.
        columns: (length, sketch length) float32, orthonormal; none where it has no columns.
        num_videos: that there were.
    """

    scenes: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    columns: np.ndarray
    num_videos: int

    @staticmethod
    def fit(sample: np.ndarray, videos: np.ndarray, *, scenes: int, sketch: int, num_videos: int) -> "Fitted":
        """Fits to some of the footage.

        Args:
            sample: (n, length) float32 of length 1.
            videos: (n,) the video of each.
            scenes: most of them; 0 for none.
            sketch: length of a sketch; 0 for none.
            num_videos: that there are, in the sample or not.
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
        """By how much less similar another picture is: a neighbour in time that is, is no part of a hit."""
        return _APART if len(self.scenes) else _APART_WHOLE

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Features as they are compared: (n, length) float32 of length 1."""
        rows = unit(rows.astype(np.float32, copy=False))
        if not len(self.scenes):
            return rows
        return unit((_less_scene(rows, self.scenes) - self.center) * self.scale)

    def sketches(self, vectors: np.ndarray) -> np.ndarray:
        """(n, sketch length) float32; not of length 1: inner products are to be kept."""
        return vectors @ self.columns

    def write(self, path: str) -> None:
        """Keeps it."""
        data = io.BytesIO()
        np.savez(data, **asdict(self))
        storage.write_bytes(path, data.getvalue())

    @staticmethod
    def read(path: str) -> "Fitted":
        """One that was kept.

        Raises:
            InputError: it is gone or damaged.
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
    """Means of videos, of at most so many from all over: (scenes, length) float32."""
    _, numbers, counts = np.unique(videos, return_inverse=True, return_counts=True)
    enough = np.flatnonzero(counts >= _FEWEST_FRAMES)
    chosen = enough[:: max(1, -(-len(enough) // most))] if most else enough[:0]
    means = [sample[numbers == number].mean(axis=0) for number in chosen]
    return np.array(means, np.float32).reshape(-1, sample.shape[1])


def _less_scene(rows: np.ndarray, scenes: np.ndarray) -> np.ndarray:
    nearest = (rows @ scenes.T - np.einsum("ij,ij->i", scenes, scenes) / 2).argmax(axis=1)
    return rows - _SHARE * scenes[nearest]


def _largest(rows: np.ndarray, count: int) -> np.ndarray:
    """The `count` directions in which rows are largest: (length, count) float32."""
    if not count:
        return np.empty((rows.shape[1], 0), np.float32)
    directions = np.linalg.eigh(rows.T.astype(float) @ rows.astype(float))[1]
    return np.ascontiguousarray(directions[:, ::-1][:, :count], np.float32)
