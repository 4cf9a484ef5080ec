"""Makes a video's moments: its frames, and clips, which are means over windows. Does not import Spark."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from framewatch.models.similarity import unit

FRAME, CLIP = "frame", "clip"
SCOPES = (FRAME, CLIP)


@dataclass(frozen=True)
class MomentVectors:
    """Moments of one video, as lists and arrays of equal length.

    Attributes:
        video: URI of the video.
        origins: (n,) permanent names: a frame's origin, or the origin of a clip's first frame and its length.
        starts_s: (n,) starts in seconds.
        ends_s: (n,) ends in seconds; moments are half-open.
        scopes: (n,) `frame` or `clip`.
        probabilities: (n,) P(suspicious), the maximum over the frames of a clip; NaN if not ranked.
        labels: (n,) 1 suspicious, 0 not suspicious, NaN unknown; the maximum over the frames of a clip.
        still: (n,) whether the moment is a near-duplicate of an earlier one.
        vectors: (n, length) float32 of unit length.
    """

    video: str
    origins: list[str]
    starts_s: np.ndarray
    ends_s: np.ndarray
    scopes: list[str]
    probabilities: np.ndarray
    labels: np.ndarray
    still: np.ndarray
    vectors: np.ndarray

    def __len__(self) -> int:
        return len(self.origins)


@dataclass(frozen=True)
class Frames:
    """Frames of one video in order of time.

    Attributes:
        video: URI of the video.
        origins: (n,) origins of the frames.
        times_s: (n,) times in seconds.
        probabilities: (n,) P(suspicious); NaN if not ranked.
        labels: (n,) 1 suspicious, 0 not suspicious, NaN unknown.
        vectors: (n, length) float32 of unit length.
    """

    video: str
    origins: list[str]
    times_s: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray
    vectors: np.ndarray


def moments_of(frames: Frames, *, clip_s: float, period_s: float, still_cosine: float) -> MomentVectors:
    """Returns a video's frames, and clips of them, as moments.

    Args:
        frames: the frames of the video.
        clip_s: length of a clip in seconds; 0 for no clips.
        period_s: seconds between sampled frames, which is the length of a frame's moment.
        still_cosine: cosine from which on a frame is a near-duplicate; see `still_frames`.
    """
    windows = clip_windows(frames.times_s, clip_s)
    firsts = np.array([first for first, _ in windows], int)
    lasts = np.array([stop - 1 for _, stop in windows], int)
    parts = [slice(first, stop) for first, stop in windows]
    values = values_of(frames.origins, frames.times_s, frames.probabilities, frames.labels, clip_s=clip_s)
    still = still_frames(frames.vectors, still_cosine)
    clip_vectors = [frames.vectors[part].mean(axis=0) for part in parts]
    vectors = np.stack([*frames.vectors, *clip_vectors]) if len(frames.vectors) else frames.vectors
    return MomentVectors(
        video=frames.video,
        origins=values.origins,
        starts_s=np.concatenate([frames.times_s, frames.times_s[firsts]]),
        ends_s=np.concatenate([frames.times_s, frames.times_s[lasts]]) + period_s,
        scopes=[FRAME] * len(frames.origins) + [CLIP] * len(windows),
        probabilities=values.probabilities,
        labels=values.labels,
        still=np.append(still, np.array([still[window].all() for window in parts], bool)).astype(bool),
        vectors=unit(vectors),
    )


@dataclass(frozen=True)
class MomentValues:
    """What may change of a video's moments while their vectors stay the same.

    Attributes:
        origins: (n,) permanent names of the moments, frames first.
        probabilities: (n,) P(suspicious), the maximum over the frames of a clip; NaN if not ranked.
        labels: (n,) 1 suspicious, 0 not suspicious, NaN unknown; the maximum over the frames of a clip.
    """

    origins: list[str]
    probabilities: np.ndarray
    labels: np.ndarray


def values_of(
    origins: Sequence[str],
    times_s: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    clip_s: float,
) -> MomentValues:
    """Returns the probabilities and labels of a video's moments from those of its frames.

    Args:
        origins: (n,) origins of the frames.
        times_s: (n,) times in seconds, ascending.
        probabilities: (n,) P(suspicious); NaN if not ranked.
        labels: (n,) 1 suspicious, 0 not suspicious, NaN unknown.
        clip_s: length of a clip in seconds; 0 for no clips.
    """
    windows = clip_windows(times_s, clip_s)
    return MomentValues(
        [*origins, *(f"{origins[first]}+{clip_s:g}s" for first, _ in windows)],
        np.append(probabilities, [_most(probabilities[first:stop]) for first, stop in windows]),
        np.append(labels, [_most(labels[first:stop]) for first, stop in windows]),
    )


def clip_windows(times_s: np.ndarray, clip_s: float) -> list[tuple[int, int]]:
    """Returns windows of `clip_s` seconds that overlap by half, as ranges of frame numbers.

    Args:
        times_s: (n,) times in seconds, ascending.
        clip_s: length of a window in seconds; 0 for no windows.

    Returns:
        Half-open (first, stop) ranges of at least two frames; no range contains another one.
    """
    if clip_s <= 0 or len(times_s) < 2:
        return []
    begins = np.arange(0, times_s[-1] + clip_s / 2, clip_s / 2)
    firsts = np.searchsorted(times_s, begins - 1e-6)
    stops = np.searchsorted(times_s, begins + clip_s - 1e-6)
    found: list[tuple[int, int]] = []
    for first, stop in zip(firsts.tolist(), stops.tolist(), strict=True):
        if stop - first >= 2 and (not found or stop > found[-1][1]):
            found.append((first, stop))
    return found


def still_frames(vectors: np.ndarray, least_cosine: float, *, last: np.ndarray | None = None) -> np.ndarray:
    """Returns (n,) booleans: whether a frame is a near-duplicate of the last frame that is not one.

    Args:
        vectors: (n, length) of unit length, in order of time.
        least_cosine: cosine from which on two frames are near-duplicates.
        last: (length,) the last frame before these that is not a near-duplicate; None without any.
    """
    still = np.zeros(len(vectors), bool)
    for number, vector in enumerate(vectors):
        still[number] = last is not None and vector @ last >= least_cosine
        last = last if still[number] else vector
    return still


def _most(values: np.ndarray) -> float:
    finite = values[~np.isnan(values)]
    return float(finite.max()) if len(finite) else float("nan")
