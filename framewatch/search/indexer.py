"""Updates a collection: adds new videos, replaces changed ones, drops deleted ones. Does not import Spark."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from framewatch.errors import FramewatchError
from framewatch.io import logs
from framewatch.search.collection import About
from framewatch.search.fitted import Fitted
from framewatch.search.milvus_client import short
from framewatch.search.moment_store import Store, stamp
from framewatch.search.moment_vectors import FRAME, moments_of, values_of
from framewatch.search.source import Known, SourceVideo, labels_of, read_known, read_video_frames
from framewatch.tables.feature_files import FeatureFiles
from framewatch.tables.feature_lookup import read_background, vector_length

_log = logs.get("index")
# Number of videos whose probabilities and labels are read together.
_TOGETHER = 50
# A file has some dozen frames of one or a few videos, so about as many scenes are sampled as files are read.
_SAMPLE_FILES, _SAMPLE_FRAMES = 256, 16_384


@dataclass(frozen=True)
class IndexPlan:
    """The changes that update a collection.

    Attributes:
        write: videos that are new, have changed, or were written only in part.
        update: videos of which only probabilities or labels have changed.
        begun: URIs of those videos in `write` that may have moments in the collection.
        drop: URIs of videos that no longer exist.
        kept: number of unchanged videos.
    """

    write: tuple[SourceVideo, ...]
    update: tuple[SourceVideo, ...]
    begun: frozenset[str]
    drop: tuple[str, ...]
    kept: int


@dataclass(frozen=True)
class Written:
    """The result of indexing one video.

    Attributes:
        video: the video's URI.
        moments: number of moments written.
        error: the reason of a failure; None on success.
        is_update: whether only probabilities and labels were written.
    """

    video: str
    moments: int
    error: str | None = None
    is_update: bool = False


def plan(store: Store, videos: Sequence[SourceVideo]) -> IndexPlan:
    """Compares an output's videos with those in a collection."""
    there = store.versions()
    changed = [video for video in videos if there.get(video.uri) != stamp(video)]
    same_vectors = [there.get(video.uri, "").partition(":")[0] == video.version for video in changed]
    update = tuple(video for video, same in zip(changed, same_vectors, strict=True) if same)
    write = tuple(video for video, same in zip(changed, same_vectors, strict=True) if not same)
    gone = set(there) - {video.uri for video in videos}
    begun = frozenset(video.uri for video in changed if video.uri in there)
    return IndexPlan(write, update, begun, tuple(sorted(gone)), len(videos) - len(changed))


@dataclass(frozen=True)
class WriteVideos:
    """Writes videos' moments into a collection, one video after the other.

    Attributes:
        output: the output directory.
        features: the files of `features`.
        period_s: seconds between sampled frames.
        begun: URIs of videos that may have moments in the collection.
        update: URIs of videos of which only probabilities or labels have changed.
    """

    output: str
    features: FeatureFiles
    period_s: float
    begun: frozenset[str]
    update: frozenset[str] = frozenset()

    def __call__(self, store: Store, videos: Sequence[SourceVideo]) -> Iterator[Written]:
        """Writes the videos and yields the result of each; one failure does not stop the others."""
        for first in range(0, len(videos), _TOGETHER):
            part = videos[first : first + _TOGETHER]
            known = read_known(self.output, [video.uri for video in part])
            for video in part:
                try:
                    done = self._update(store, video, known) if video.uri in self.update else None
                    done = done or self._replace(store, video, known)
                except Exception as error:  # from Milvus or storage, after all retries
                    reason = str(error) if isinstance(error, FramewatchError) else short(error)
                    _log.warning("not indexed: %s", reason, extra={"video": video.uri})
                    yield Written(video.uri, 0, reason)
                else:
                    _log.info("indexed, %d moments", done.moments, extra={"video": video.uri})
                    yield done

    def _replace(self, store: Store, video: SourceVideo, known: Known) -> Written:
        frames = read_video_frames(self.features, video, known)
        moments = moments_of(
            frames,
            clip_s=store.about.clip_s,
            period_s=self.period_s,
            still_cosine=store.about.still_cosine,
        )
        store.replace(video, moments, begun=video.uri in self.begun)
        return Written(video.uri, len(moments))

    def _update(self, store: Store, video: SourceVideo, known: Known) -> Written | None:
        """Writes the probabilities and labels that have changed; None if the whole video must be written."""
        rows = store.values(video.uri)
        frames = sorted((row for row in rows if row["scope"] == FRAME), key=lambda row: row["timestamp_s"])
        origins = [row["origin"] for row in frames]
        times_s = np.array([row["timestamp_s"] for row in frames], float)
        probabilities = np.array([known.probabilities.get(origin, np.nan) for origin in origins], float)
        labels = labels_of(video.uri, times_s, known)
        values = values_of(origins, times_s, probabilities, labels, clip_s=store.about.clip_s)
        there = {row["origin"]: (row["probability"], row["label"]) for row in rows}
        if there.keys() != set(values.origins):
            return None
        pairs = zip(values.origins, values.probabilities, values.labels, strict=True)
        changed = [
            origin
            for origin, *both in pairs
            if not np.array_equal(_numbers(both), _numbers(there[origin]), True)
        ]
        try:
            store.update(video, changed, values)
        except Exception as error:  # such as a server older than 2.6.2, which needs all fields
            _log.info("the video is written again: %s", short(error), extra={"video": video.uri})
            return None
        return Written(video.uri, len(changed), is_update=True)


def _numbers(values: Iterable[float | None]) -> np.ndarray:
    """Returns values as the collection stores them."""
    return np.array([np.nan if value is None else value for value in values], np.float32)


def fit(features: FeatureFiles, about: About, *, num_videos: int) -> Fitted:
    """Fits a collection's scenes and sketches to frames from all over the footage.

    Args:
        features: the files of `features`.
        about: the description of the collection.
        num_videos: number of videos in the output.
    """
    rows, videos = read_background(features, most=_SAMPLE_FRAMES, files=_SAMPLE_FILES)
    return Fitted.fit(rows, videos, scenes=about.scenes, sketch=about.sketch_length, num_videos=num_videos)


def about_of(
    features: FeatureFiles,
    *,
    clip_s: float,
    still_cosine: float,
    exact: bool,
    scenes: int,
    sketch_length: int,
    output: str,
) -> About:
    """Returns the description of a collection; short vectors get no sketch.

    Args:
        features: the files of `features`.
        clip_s: length of clips in seconds; 0 for no clips.
        still_cosine: cosine from which on a frame is a near-duplicate.
        exact: whether every search compares all vectors.
        scenes: maximum number of scenes; 0 for the plain cosine.
        sketch_length: length of a sketch; 0 for no sketches.
        output: absolute path or URI of the output.

    Raises:
        InputError: no frame has features.
    """
    length = vector_length(features)
    sketch = 0 if exact or length <= 2 * sketch_length else sketch_length
    return About(features.identity(), length, clip_s, still_cosine, exact, scenes, sketch, output)


def failed_videos(written: Iterable[Written]) -> list[Written]:
    """Returns the results of videos that failed."""
    return [result for result in written if result.error is not None]
