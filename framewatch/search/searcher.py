"""Turns queries into vectors, and finds the most similar moments. Does not import Spark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from framewatch.config.outputs import IndexConfig
from framewatch.errors import InputError
from framewatch.feedback import Segment, VerdictLog, segments_by_video
from framewatch.models.encoder import Encoder
from framewatch.search.hits import Hit, Merged
from framewatch.search.moment_store import Store
from framewatch.search.moment_vectors import Frames
from framewatch.search.query import MomentFilter, QueryPart, parse_clip
from framewatch.search.source import Known, SourceVideo, read_video_frames
from framewatch.tables.feature_files import FeatureFiles
from framewatch.tables.feature_lookup import read_examples
from framewatch.tables.results import open_table
from framewatch.tables.timeline import find_video
from framewatch.video.name_clock import clock_of

_FIRST, _GROWTH, _MOST = 4, 4, 16_384


@dataclass(frozen=True)
class Wanted:
    """Options of a search.

    Attributes:
        limit: maximum number of hits, 1 to 1000.
        filter: conditions on the moments.
        by_video: whether to return only the best hit of each video.
        gap_s: maximum seconds between moments that are merged into one hit; None returns each moment.
        exact: whether to compare all vectors.
    """

    limit: int = 10
    filter: MomentFilter = field(default_factory=MomentFilter)
    by_video: bool = False
    gap_s: float | None = IndexConfig.gap_s
    exact: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= 1000:
            raise InputError(f"limit={self.limit} is not valid: give 1 to 1000")


def vectors_of(
    parts: Sequence[QueryPart], features: FeatureFiles, encoder: Encoder, output: str
) -> np.ndarray:
    """Returns the features of each query term, before `Fitted.vectors`: (parts, length) float32.

    Args:
        parts: the query terms.
        features: the files of `features`.
        encoder: encodes pictures and texts.
        output: the output directory, for videos of clips.

    Raises:
        InputError: no term has a positive weight, or a term cannot be used; the message names it.
    """
    if not any(part.weight > 0 for part in parts):
        raise InputError("nothing is looked for: give --frame, --image, --clip or --text")
    frames = [part.value for part in parts if part.kind == "frame"]
    found = read_examples(features, frames)
    vectors = []
    for part in parts:
        if part.kind == "frame":
            vectors.append(found[part.value])
        elif part.kind == "image":
            vectors.append(encoder.pictures([part.value])[0])
        elif part.kind == "text":
            vectors.append(encoder.texts([part.value])[0])
        else:
            vectors.append(_clip_vector(part.value, features, output))
    return np.stack(vectors)


def _clip_vector(text: str, features: FeatureFiles, output: str) -> np.ndarray:
    name, start_s, end_s = parse_clip(text)
    frames = query_frames(name, features, output)
    inside = (frames.times_s >= start_s - 1e-6) & (frames.times_s < end_s - 1e-6)
    if not inside.any():
        last = f"its last is at {frames.times_s[-1]:g} s" if len(frames.times_s) else "it has none"
        raise InputError(f"clip '{text}' has no frames with features: {last}")
    return frames.vectors[inside].mean(axis=0)


def query_frames(name: str, features: FeatureFiles, output: str) -> Frames:
    """Reads a video's frames with their vectors.

    Args:
        name: the video's URI, or a unique end of it.
        features: the files of `features`.
        output: the output directory.

    Raises:
        InputError: no video or several match, or the video has no features.
    """
    ledger = open_table(output, "videos").to_table(columns=["video", "duration_s"]).to_pylist()
    uri, _ = find_video(ledger, name)
    if uri not in features.videos:
        raise InputError(f"video '{name}' has no features: run `framewatch featurize` with this output")
    video = SourceVideo(uri, features.videos[uri], clock_of(uri), version="")
    return read_video_frames(features, video, Known({}, {}, {}))


def find_moments(store: Store, vector: np.ndarray, wanted: Wanted, *, output: str | None = None) -> list[Hit]:
    """Returns the hits, the best first; hits that reviewers have rejected follow all others.

    The result does not depend on how many moments a round fetches.

    Args:
        store: the collection to search.
        vector: (length,) float32 of unit length, the query.
        wanted: the options of the search.
        output: the output whose verdicts count; None for the output that was indexed.
    """
    rejected = _Rejected.of(output or store.about.output)
    rounds = _by_video if wanted.by_video else _merged
    return rounds(store, vector, wanted, rejected)


def _merged(store: Store, vector: np.ndarray, wanted: Wanted, rejected: "_Rejected") -> list[Hit]:
    # Fetches one more than wanted, which shows that there are enough.
    fetch = wanted.limit + 1 if wanted.gap_s is None else _FIRST * wanted.limit
    while True:
        moments = store.search(vector, limit=fetch, expression=wanted.filter.expression(), exact=wanted.exact)
        marked = [rejected.mark(moment) for moment in moments]
        good, sunk = (
            Merged(limit=wanted.limit, gap_s=wanted.gap_s, drop=store.fitted.apart) for _ in range(2)
        )
        good.offer(moment for moment in marked if not moment.rejected)
        sunk.offer(moment for moment in marked if moment.rejected)
        if good.is_full or len(moments) < fetch or fetch >= _MOST:
            return [*good.hits, *sunk.hits][: wanted.limit]
        fetch = min(fetch * _GROWTH, _MOST)


def _by_video(store: Store, vector: np.ndarray, wanted: Wanted, rejected: "_Rejected") -> list[Hit]:
    found: dict[str, Hit] = {}
    sunk: dict[str, Hit] = {}
    fetch = _FIRST * wanted.limit
    while True:
        # Leaves out videos that have their hit already; they would fill the next round too.
        expression = wanted.filter.expression(without=sorted(found))
        moments = store.search(vector, limit=fetch, expression=expression, exact=wanted.exact)
        for moment in map(rejected.mark, moments):
            (sunk if moment.rejected else found).setdefault(moment.video, moment)
        best = sorted(found.values(), key=_order)[: wanted.limit]
        # A video found in a later round has a lower score than those of this round.
        if len(found) >= wanted.limit or len(moments) < fetch or fetch >= _MOST:
            rest = sorted((hit for video, hit in sunk.items() if video not in found), key=_order)
            return [*best, *rest][: wanted.limit]
        fetch = min(fetch * _GROWTH, _MOST)


def _order(hit: Hit) -> tuple[float, str, float]:
    return -hit.score, hit.video, hit.start_s


@dataclass(frozen=True)
class _Rejected:
    """The stretches that reviewers answered, by video."""

    segments: Mapping[str, Sequence[Segment]]

    @staticmethod
    def of(output: str) -> "_Rejected":
        return _Rejected(segments_by_video(VerdictLog(output).verdicts()))

    def mark(self, moment: Hit) -> Hit:
        """Returns the moment with `rejected` set if more than half of it was answered as not suspicious."""
        over_s = sum(
            max(0.0, min(moment.end_s, segment.end_s) - max(moment.start_s, segment.start_s))
            for segment in self.segments.get(moment.video, ())
            if segment.state == "not"
        )
        return replace(moment, rejected=over_s > (moment.end_s - moment.start_s) / 2)
