"""Updates a collection: adds new videos, replaces changed ones, drops deleted ones. Does not import Spark."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from framewatch.errors import FramewatchError
from framewatch.io import logs
from framewatch.search.collection import About
from framewatch.search.fitted import Fitted
from framewatch.search.milvus_client import short
from framewatch.search.moment_store import Store
from framewatch.search.moment_vectors import moments_of
from framewatch.search.source import SourceVideo, read_known, read_video_frames
from framewatch.tables.feature_files import FeatureFiles, unit
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
        begun: URIs of those videos in `write` that may have moments in the collection.
        drop: URIs of videos that no longer exist.
        kept: number of unchanged videos.
    """

    write: tuple[SourceVideo, ...]
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
    """

    video: str
    moments: int
    error: str | None = None


def plan(store: Store, videos: Sequence[SourceVideo]) -> IndexPlan:
    """Compares an output's videos with those in a collection."""
    there = store.versions()
    write = tuple(video for video in videos if there.get(video.uri) != video.version)
    gone = set(there) - {video.uri for video in videos}
    begun = frozenset(video.uri for video in write if video.uri in there)
    return IndexPlan(write, begun, tuple(sorted(gone)), len(videos) - len(write))


@dataclass(frozen=True)
class WriteVideos:
    """Writes videos' moments into a collection, one video after the other.

    Attributes:
        output: the output directory.
        features: the files of `features`.
        period_s: seconds between sampled frames.
        begun: URIs of videos that may have moments in the collection.
    """

    output: str
    features: FeatureFiles
    period_s: float
    begun: frozenset[str]

    def __call__(self, store: Store, videos: Sequence[SourceVideo]) -> Iterator[Written]:
        """Writes the videos and yields the result of each; one failure does not stop the others."""
        for first in range(0, len(videos), _TOGETHER):
            part = videos[first : first + _TOGETHER]
            known = read_known(self.output, [video.uri for video in part])
            for video in part:
                try:
                    frames = read_video_frames(self.features, video, known)
                    moments = moments_of(
                        frames,
                        clip_s=store.about.clip_s,
                        period_s=self.period_s,
                        still_cosine=store.about.still_cosine,
                    )
                    store.replace(video, moments, begun=video.uri in self.begun)
                except Exception as error:  # from Milvus or storage, after all retries
                    reason = str(error) if isinstance(error, FramewatchError) else short(error)
                    _log.warning("not indexed: %s", reason, extra={"video": video.uri})
                    yield Written(video.uri, 0, reason)
                else:
                    _log.info("indexed, %d moments", len(moments), extra={"video": video.uri})
                    yield Written(video.uri, len(moments))


def fit(features: FeatureFiles, about: About, *, num_videos: int) -> Fitted:
    """Fits a collection's scenes and sketches to frames from all over the footage.

    Args:
        features: the files of `features`.
        about: the description of the collection.
        num_videos: number of videos in the output.
    """
    rows, videos = read_background(features, most=_SAMPLE_FRAMES, files=_SAMPLE_FILES)
    return Fitted.fit(
        unit(rows), videos, scenes=about.scenes, sketch=about.sketch_length, num_videos=num_videos
    )


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
        scenes: maximum number of scenes; 0 leaves the vectors unchanged.
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
