"""Classes by prompts for the page: found on this machine, without Spark, and kept for the questions after."""

import functools
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cachetools import LRUCache

from framewatch.config.outputs import ClassesConfig
from framewatch.errors import InputError
from framewatch.io import csv_text
from framewatch.io.storage import basename
from framewatch.models.encoder import Encoder
from framewatch.prompts.class_finder import Find, Video, joined
from framewatch.prompts.classifications import in_order
from framewatch.prompts.prepare import prepare
from framewatch.prompts.request import parse_request
from framewatch.prompts.response import Given, VideoClasses, answer
from framewatch.prompts.scoring import Plan, scores
from framewatch.prompts.similarity import Background, Project, backgrounds, iterate_runs, total
from framewatch.review.clip_cache import BusyError
from framewatch.tables.feature_files import FeatureFiles, camera
from framewatch.tables.results import Results
from framewatch.tables.timeline import thinned

_PAGE, _MOST_POINTS, _KEPT_ANSWERS = 30, 1000, 4


@dataclass(frozen=True)
class Found:
    """The answer to one request, with all that the page may ask of it.

    Attributes:
        id: names it.
        find: what was looked for.
        results: the videos with a class, the best-scored first.
        similarities: of each video's frames.
    """

    id: str
    find: Find
    results: list[VideoClasses]
    similarities: Mapping[str, Video]

    def page(self, offset: int) -> dict[str, Any]:
        """Some videos, each with its classes, and the best clips of different prompts."""
        shown = self.results[offset : offset + _PAGE]
        videos = [
            {"number": offset + n, "name": basename(it.video), "classes": [_short(its) for its in it.classes]}
            for n, it in enumerate(shown)
        ]
        return {"id": self.id, "total": len(self.results), "videos": videos}

    def video(self, number: int) -> VideoClasses:
        """A video by its number.

        Raises:
            InputError: there is none of that number.
        """
        if not 0 <= number < len(self.results):
            raise InputError(f"there is no video {number}: {len(self.results)} have a class")
        return self.results[number]

    def clips(self, number: int, name: str, offset: int) -> dict[str, Any]:
        """More of a class's clips, the most similar first."""
        its = next((it for it in self.video(number).classes if it.name == name), None)
        if its is None:
            raise InputError(f"the video has no class '{name}': reload the page")
        return {"total": len(its.clips), "clips": [_clip(it) for it in its.clips[offset : offset + _PAGE]]}

    def timeline(self, number: int) -> dict[str, Any]:
        """Each class's score of each second of a video."""
        video = self.similarities[self.video(number).video]
        background = self.find.backgrounds.get(camera(video.uri))
        curves = {}
        for its in self.find.plan.classes:
            log_odds = self.find.plan.log_odds(video.similarities, background, its)
            values = np.nan_to_num(scores(self.find.plan.class_log_odds(log_odds, its), None))
            times_s, values = thinned(video.times_s, values, _MOST_POINTS)
            points = {"times_s": np.round(times_s, 3).tolist(), "scores": np.round(values, 1).tolist()}
            curves[its.wanted.name] = points
        last_s = float(video.times_s[-1]) + self.find.period_s if len(video.times_s) else 0.0
        threshold = self.find.plan.request.threshold
        return {"duration_s": video.duration_s or last_s, "threshold": threshold, "classes": curves}

    def as_json(self) -> dict[str, Any]:
        """The whole answer, as `framewatch classify` prints it."""
        return answer(self.results, include_clips=True, limit=max(1, len(self.results)))

    def as_csv(self) -> str:
        """A row a clip."""
        rows: list[tuple[str | float, ...]] = [
            ("video", "class", "class_score", "duration_ratio", "prompt", "start_s", "end_s", "score")
        ]
        for it in self.results:
            for its in it.classes:
                for found in its.clips:
                    clip = found.clip
                    of_class = (its.name, round(its.score, 2), round(its.duration_ratio, 4))
                    of_clip = (round(clip.start_s, 3), round(clip.end_s, 3), round(clip.score, 2))
                    rows.append((it.video, *of_class, found.prompt, *of_clip))
        return csv_text.write(rows)


def _short(its: Given) -> dict[str, Any]:
    best: dict[str, Any] = {}
    for it in its.clips:  # the most similar first
        best.setdefault(it.prompt, it)
    return {
        "name": its.name,
        "score": round(its.score, 1),
        "duration_ratio": round(its.duration_ratio, 3),
        "num_clips": len(its.clips),
        "clips": [_clip(it) for it in list(best.values())[:3]],
    }


def _clip(it: Any) -> dict[str, Any]:
    clip = it.clip
    return {"prompt": it.prompt, "start_s": clip.start_s, "end_s": clip.end_s, "score": round(clip.score, 1)}


@dataclass
class ClassFinder:
    """Answers requests on one output; its methods may be called by several threads.

    Attributes:
        results: of the output.
        model: the network's file, where a picture or text needs it and the features' metadata does not tell.
        weights: its weights, likewise.
        gap_s: as `classes.gap_s`.
    """

    results: Results
    model: str = "InceptionV3"
    weights: str = "imagenet"
    gap_s: float = ClassesConfig.gap_s
    _kept: LRUCache[str, Found] = field(default_factory=lambda: LRUCache(_KEPT_ANSWERS))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, results: Results) -> "ClassFinder":
        """The same on another ranking of the output."""
        return ClassFinder(results, self.model, self.weights, self.gap_s)

    @functools.cached_property
    def videos(self) -> list[str]:
        """URIs of all videos, in order."""
        return [row["video"] for row in self.results.videos()]

    @functools.cached_property
    def modified(self) -> dict[str, str]:
        """When each video was written to, which tells apart what lay there at different times."""
        return {row["video"]: str(row["modified_at"]) for row in self.results.videos()}

    @functools.cached_property
    def supports_texts(self) -> bool:
        """Whether prompts may be texts."""
        identity = FeatureFiles.of(self.results.output).identity()
        return Encoder(identity, model=self.model, weights=self.weights).supports_texts

    def frames(self, video: int) -> list[tuple[str, float]]:
        """Origin and second of the frames of a video, by its number, in order of time.

        Raises:
            InputError: there is none of that number.
        """
        if video >= len(self.videos):
            raise InputError(f"there is no video {video}: there are {len(self.videos)}")
        rows = self.results.read("frames", ["origin", "timestamp_s"], videos=[self.videos[video]])
        pairs = zip(rows["origin"].to_pylist(), rows["timestamp_s"].to_pylist(), strict=True)
        return sorted(pairs, key=lambda it: it[1])

    def run(self, source: Any, *, min_duration_ratio: float) -> Found:
        """Looks for classes in all videos with features.

        Raises:
            InputError: the request is not valid.
            BusyError: another is being answered.
        """
        request = parse_request(source)
        if not 0 <= min_duration_ratio <= 1:
            raise InputError(f"min_duration_ratio={min_duration_ratio} is not valid: give a share, 0 to 1")
        for it in request.classes:  # the page opens no file that a request names
            if it.labels is not None:
                raise InputError("labels are read by `framewatch classify` only: leave them out here")
            if any(prompt.kind == "image" for prompt in it.prompts):
                raise InputError(
                    "images are read by `framewatch classify` only: pick frames, or upload a picture on the "
                    "page Similar"
                )
        if not self._lock.acquire(blocking=False):
            raise BusyError("another request is being answered: try again")
        try:
            features = FeatureFiles.of(self.results.output)
            encoder = Encoder(features.identity(), model=self.model, weights=self.weights)
            plan = prepare(request, features, encoder)
            found = self._find(plan, features, min_duration_ratio)
        finally:
            self._lock.release()
        self._kept[found.id] = found
        return found

    def get(self, name: str) -> Found:
        """An answer that was given.

        Raises:
            InputError: it is kept no more.
        """
        if name not in self._kept:
            raise InputError("this answer is kept no more: run the request again")
        return self._kept[name]

    def _find(self, plan: Plan, features: FeatureFiles, min_duration_ratio: float) -> Found:
        parts: dict[str, list[Any]] = {}
        totals: list[dict[str, Any]] = []
        project = Project(plan.columns)
        for path in features.paths:
            for batch in project(features.read(path, ["timestamp_s", "features"])):
                totals += [row for it in total([batch]) for row in it.to_pylist()]
                for video, times_s, similarities in iterate_runs(batch):
                    parts.setdefault(video, []).append((times_s, similarities))
        usual: Mapping[str, Background] = backgrounds(totals) if plan.needs_background else {}
        durations = {row["video"]: row["duration_s"] for row in self.results.videos()}
        videos = {uri: joined(uri, its, durations.get(uri)) for uri, its in parts.items()}
        find = Find(plan, usual, {}, gap_s=self.gap_s, period_s=self.results.ranking["period_s"])
        given = dict(_given(find, videos, min_duration_ratio))
        return Found(uuid.uuid4().hex[:12], find, in_order(given), videos)


def _given(
    find: Find, videos: Mapping[str, Video], min_duration_ratio: float
) -> Iterator[tuple[str, list[Given]]]:
    for uri, video in videos.items():
        its = [it for it in find.classes(video) if it.duration_ratio >= min_duration_ratio]
        if its:
            yield uri, its
