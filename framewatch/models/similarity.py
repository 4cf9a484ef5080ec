"""Defines the similarity of two frames, which prompts, search and clusters share.

The similarity of x and y is the cosine of v(x) and v(y):

    u(x) = x / |x|                               the features, at unit length
    c(x) = u(x) - s(x) / 2 - m                   centred: less half of the nearest scene, less the mean
    w(x) = c(x) - sum_k (1 - a_k) <c(x), e_k> e_k    whitened: the usual variation counts less,
                                                 a_k = sqrt(r / (l_k + r))
    v(x) = (w(x), f) / |(w(x), f)|               at unit length, with a constant component

A scene is the mean of a video's frames. The e_k are the principal components of c and the l_k their
variances; r is 1% of the total variance. So w is (C + r)^(-1/2) c, up to a factor, as in a linear
discriminant with a shrunk covariance C (Hariharan, Malik and Ramanan 2012). Subtracting a nearest centroid is
part of VLAD (Jegou, Douze, Schmid and Perez 2010).

The constant component f makes frames of an empty scene similar to each other: what is left of them after
centring is noise, shorter than f. Without f, their cosines would be those of random directions. v of zeros is
zeros, and similar to nothing.

v depends only on the picture and on the sample that was fitted, so a photo is treated as a frame is.

What is centred depends on the use: `centre="scene"` is as above; `centre="footage"` is without s, so that
scenes stay apart; `centre="none"` is v(x) = u(x), the plain cosine, for features that texts are compared
with.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Centre = Literal["scene", "footage", "none"]

# The mean of fewer frames would contain what happens in them, not only the scene.
_FEWEST_FRAMES = 10
# The share of a scene to subtract. All of it would also remove anything that lasts through a short video.
_SHARE = 0.5
# The variance r at which a direction begins to count less, as a share of the total variance. At most 1 / r
# directions have more.
_RIDGE, _DIRECTIONS = 0.01, 100
# The frames whose principal components are computed; more frames change little.
_WHITENED = 2000
# The constant component: a share of the usual length of w, but at least so much. Two frames with a cosine of
# 0.9995 differ by 0.03.
_CONSTANT, _LEAST_CONSTANT = 0.3, 0.02


@dataclass(frozen=True)
class Similarity:
    """The map from features to vectors whose inner products are similarities.

    Attributes:
        centre: what is subtracted; with `none`, vectors are features at unit length.
        scenes: (scenes, length) float32; without rows unless `centre` is `scene`.
        center: (length,) float32, the mean after subtracting scenes.
        directions: (length, directions) float32, orthonormal: principal components of the centred features.
        kept: (directions,) float32, the share of each direction that is kept, 0 to 1.
        constant: the constant component.
    """

    centre: Centre
    scenes: np.ndarray
    center: np.ndarray
    directions: np.ndarray
    kept: np.ndarray
    constant: float

    @staticmethod
    def plain(length: int) -> "Similarity":
        """Returns the plain cosine, `centre="none"`, for features of a length."""
        nothing = np.zeros(length, np.float32)
        none, directions = np.empty((0, length), np.float32), np.empty((length, 0), np.float32)
        return Similarity("none", none, nothing, directions, nothing[:0], 0.0)

    @staticmethod
    def fit(
        sample: np.ndarray, videos: np.ndarray, *, centre: Centre = "scene", scenes: int = 256
    ) -> "Similarity":
        """Fits scenes and principal components to a sample of the footage.

        Args:
            sample: (n, length) features.
            videos: (n,) URI of each frame's video.
            centre: `scene`, `footage`, or `none` for the plain cosine.
            scenes: maximum number of scenes.

        Returns:
            The map. It is the plain cosine if too few frames are there to fit: ten of the footage, or of any
            video for `scene`.
        """
        if not len(sample):
            return Similarity.plain(sample.shape[1])
        rows = unit(sample.astype(np.float32, copy=False))
        used = rows.any(axis=1)
        rows, videos = rows[used], np.asarray(videos)[used]
        means = _scenes(rows, videos, scenes if centre == "scene" else 0)
        if centre == "none" or len(rows) < _FEWEST_FRAMES or (centre == "scene" and not len(means)):
            return Similarity.plain(sample.shape[1])
        left = _less_scene(rows, means)
        center = left.mean(axis=0)
        left = left - center
        directions, kept = _whitening(left[:: max(1, -(-len(left) // _WHITENED))])
        fitted = Similarity(centre, means, center, directions, kept, 0.0)
        whitened = fitted._whitened(left)
        usual = float(np.sqrt(np.einsum("ij,ij->i", whitened, whitened).mean()))
        return replace(fitted, constant=max(_CONSTANT * usual, _LEAST_CONSTANT))

    @property
    def is_plain(self) -> bool:
        """Whether this is the plain cosine."""
        return self.centre == "none"

    @property
    def length(self) -> int:
        """Length of the vectors."""
        return len(self.center) + (not self.is_plain)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Converts (n, features) to (n, `length`) float32 vectors of unit length; zeros stay zeros.

        The inner product of two vectors is the similarity of the frames, -1 to 1.
        """
        rows = unit(rows.astype(np.float32, copy=False))
        if self.is_plain:
            return rows
        found = np.empty((len(rows), self.length), np.float32)
        found[:, :-1] = self._whitened(_less_scene(rows, self.scenes) - self.center)
        found[:, -1] = self.constant
        found[~rows.any(axis=1)] = 0
        return unit(found)

    def _whitened(self, left: np.ndarray) -> np.ndarray:
        return left - ((left @ self.directions) * (1 - self.kept)) @ self.directions.T


def unit(rows: np.ndarray) -> np.ndarray:
    """Returns the rows scaled to unit length, (n, length); a row of zeros is unchanged."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return rows / np.maximum(lengths, 1e-12)[:, None]


def _scenes(sample: np.ndarray, videos: np.ndarray, most: int) -> np.ndarray:
    """Returns the means of at most `most` videos, evenly spaced: (scenes, length) float32."""
    _, numbers, counts = np.unique(videos, return_inverse=True, return_counts=True)
    enough = np.flatnonzero(counts >= _FEWEST_FRAMES)
    chosen = enough[:: max(1, -(-len(enough) // most))] if most else enough[:0]
    means = [sample[numbers == number].mean(axis=0) for number in chosen]
    return np.array(means, np.float32).reshape(-1, sample.shape[1])


def _less_scene(rows: np.ndarray, scenes: np.ndarray) -> np.ndarray:
    if not len(scenes):
        return rows
    nearest = (rows @ scenes.T - np.einsum("ij,ij->i", scenes, scenes) / 2).argmax(axis=1)
    return rows - _SHARE * scenes[nearest]


def _whitening(left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the largest principal components of centred rows, and the share of each that is kept."""
    wide = left.shape[1] > len(left)
    values, vectors = np.linalg.eigh((left @ left.T if wide else left.T @ left).astype(float))
    total = max(float(values.sum()), 1e-12)
    chosen = np.argsort(-values)[:_DIRECTIONS]
    chosen = chosen[values[chosen] > 1e-6 * total]
    values, vectors = values[chosen], vectors[:, chosen]
    directions = left.T @ vectors / np.sqrt(values) if wide else vectors
    kept = np.sqrt(_RIDGE * total / (values + _RIDGE * total))
    return np.ascontiguousarray(directions, np.float32), kept.astype(np.float32)
