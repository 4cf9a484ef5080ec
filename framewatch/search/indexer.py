"""Brings a collection up to what a run has: new videos in, changed ones replaced, gone ones out. No Spark."""

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
# Videos whose probabilities and labels are read at once.
_TOGETHER = 50
# A file has some dozen frames of a video or of a few, so that there are as many scenes.
_SAMPLE_FILES, _SAMPLE_FRAMES = 256, 16_384


@dataclass(frozen=True)
class IndexPlan:
    """What has to be done.

    Attributes:
        write: videos that are new, have changed, or whose writing was cut short.
        begun: URIs of those of which the collection may have something.
        drop: URIs of videos that are gone.
        kept: how many stay as they are.
    """

    write: tuple[SourceVideo, ...]
    begun: frozenset[str]
    drop: tuple[str, ...]
    kept: int


@dataclass(frozen=True)
class Written:
    """How it went with one video; `error` is None where it went well."""

    video: str
    moments: int
    error: str | None = None


def plan(store: Store, videos: Sequence[SourceVideo]) -> IndexPlan:
    """Compares a run's videos with a collection's."""
    there = store.versions()
    write = tuple(video for video in videos if there.get(video.uri) != video.version)
    gone = set(there) - {video.uri for video in videos}
    begun = frozenset(video.uri for video in write if video.uri in there)
    return IndexPlan(write, begun, tuple(sorted(gone)), len(videos) - len(write))


@dataclass(frozen=True)
class WriteVideos:
    """Videos -> their moments in a collection, one after the other.

    Attributes:
        output: of the run.
        features: its files.
        period_s: how long a frame lasts.
        begun: URIs of which the collection may have something.
    """

    output: str
    features: FeatureFiles
    period_s: float
    begun: frozenset[str]

    def __call__(self, store: Store, videos: Sequence[SourceVideo]) -> Iterator[Written]:
        """Writes them; what fails with one leaves the others."""
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
                except Exception as error:  # of Milvus or of storage, after all retries
                    told = str(error) if isinstance(error, FramewatchError) else short(error)
                    _log.warning("not indexed: %s", told, extra={"video": video.uri})
                    yield Written(video.uri, 0, told)
                else:
                    _log.info("indexed, %d moments", len(moments), extra={"video": video.uri})
                    yield Written(video.uri, len(moments))


def fit(features: FeatureFiles, about: About, *, num_videos: int) -> Fitted:
    """Fits a collection's scenes and sketches to frames from all over the footage of so many videos."""
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
    """What a collection of a run's features is made of; short vectors need no sketch.

    Raises:
        InputError: no frame has features.
    """
    length = vector_length(features)
    sketch = 0 if exact or length <= 2 * sketch_length else sketch_length
    return About(features.identity(), length, clip_s, still_cosine, exact, scenes, sketch, output)


def failed_videos(written: Iterable[Written]) -> list[Written]:
    """Those that went wrong."""
    return [it for it in written if it.error is not None]
