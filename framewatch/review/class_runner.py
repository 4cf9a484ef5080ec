"""Finds classes by prompts for the page, on this machine without Spark, and caches the results."""

import functools
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc
from cachetools import LRUCache

from framewatch.config.outputs import ClassesConfig
from framewatch.errors import InputError
from framewatch.io import csv_text
from framewatch.io.storage import basename
from framewatch.models.encoder import Encoder
from framewatch.prompts.class_finder import Find, Video, joined
from framewatch.prompts.classifications import in_order
from framewatch.prompts.frame_runs import Background, backgrounds, iterate_runs, total
from framewatch.prompts.prepare import prepare
from framewatch.prompts.request import parse_request
from framewatch.prompts.response import Given, VideoClasses, make_response
from framewatch.prompts.scoring import ScoringPlan, scores
from framewatch.review.clip_cache import BusyError
from framewatch.tables.feature_files import FeatureFiles, camera
from framewatch.tables.results import Results
from framewatch.tables.timeline import thinned

_PAGE, _MOST_POINTS, _KEPT_ANSWERS = 30, 1000, 4


@dataclass(frozen=True)
class ClassRun:
    """The results of one request, with everything that the page may load later.

    Attributes:
        id: identifier of the results.
        find: the classes and their parameters.
        results: the videos with a class, the highest score first.
        similarities: the similarities of each video's frames.
    """

    id: str
    find: Find
    results: list[VideoClasses]
    similarities: Mapping[str, Video]

    def page(self, offset: int) -> dict[str, Any]:
        """Returns a page of videos as JSON, with their classes and the best clips of different prompts."""
        shown = self.results[offset : offset + _PAGE]
        videos = [
            {
                "number": offset + n,
                "name": basename(result.video),
                "classes": [_short(assigned) for assigned in result.classes],
            }
            for n, result in enumerate(shown)
        ]
        return {"id": self.id, "total": len(self.results), "videos": videos}

    def video(self, number: int) -> VideoClasses:
        """Returns a video by its number.

        Raises:
            InputError: the number is out of range.
        """
        if not 0 <= number < len(self.results):
            raise InputError(f"there is no video {number}: {len(self.results)} videos have a class")
        return self.results[number]

    def clips(self, number: int, name: str, offset: int) -> dict[str, Any]:
        """Returns more clips of a class as JSON, the most similar first."""
        clips = next(
            (assigned.clips for assigned in self.video(number).classes if assigned.name == name), None
        )
        if clips is None:
            raise InputError(f"the video has no class '{name}': reload the page")
        return {"total": len(clips), "clips": [_clip(found) for found in clips[offset : offset + _PAGE]]}

    def timeline(self, number: int) -> dict[str, Any]:
        """Returns the scores of each class over time as JSON."""
        video = self.similarities[self.video(number).video]
        background = self.find.backgrounds.get(camera(video.uri))
        curves = {}
        for wanted in self.find.plan.classes:
            log_odds = self.find.plan.log_odds(video.similarities, background, wanted)
            values = np.nan_to_num(scores(log_odds, None))
            times_s, values = thinned(video.times_s, values, _MOST_POINTS)
            points = {"times_s": np.round(times_s, 3).tolist(), "scores": np.round(values, 1).tolist()}
            curves[wanted.wanted.name] = points
        last_s = float(video.times_s[-1]) + self.find.period_s if len(video.times_s) else 0.0
        threshold = self.find.plan.request.threshold
        return {"duration_s": video.duration_s or last_s, "threshold": threshold, "classes": curves}

    def as_json(self) -> dict[str, Any]:
        """Returns all results, in the format of `framewatch classify`."""
        return make_response(self.results, include_clips=True, limit=max(1, len(self.results)))

    def as_csv(self) -> str:
        """Returns CSV with one row per clip."""
        rows: list[tuple[str | float, ...]] = [
            ("video", "class", "class_score", "duration_ratio", "prompt", "start_s", "end_s", "score")
        ]
        for result in self.results:
            for assigned in result.classes:
                for found in assigned.clips:
                    clip = found.clip
                    class_cells = (assigned.name, round(assigned.score, 2), round(assigned.duration_ratio, 4))
                    clip_cells = (round(clip.start_s, 3), round(clip.end_s, 3), round(clip.score, 2))
                    rows.append((result.video, *class_cells, found.prompt, *clip_cells))
        return csv_text.write(rows)


def _short(assigned: Given) -> dict[str, Any]:
    best: dict[str, Any] = {}
    for found in assigned.clips:  # sorted by similarity, so the best of each prompt comes first
        best.setdefault(found.prompt, found)
    return {
        "name": assigned.name,
        "score": round(assigned.score, 1),
        "duration_ratio": round(assigned.duration_ratio, 3),
        "num_clips": len(assigned.clips),
        "clips": [_clip(found) for found in list(best.values())[:3]],
    }


def _clip(found: Any) -> dict[str, Any]:
    clip = found.clip
    return {
        "prompt": found.prompt,
        "start_s": clip.start_s,
        "end_s": clip.end_s,
        "score": round(clip.score, 1),
    }


@dataclass
class ClassFinder:
    """Finds classes in one output. Thread-safe.

    Attributes:
        results: the results of the output.
        model: path of the model file, if the metadata of the features does not identify the network.
        weights: path of the weights, if the metadata of the features does not identify them.
        gap_s: the setting `classes.gap_s`.
    """

    results: Results
    model: str = "InceptionV3"
    weights: str = "imagenet"
    gap_s: float = ClassesConfig.gap_s
    _kept: LRUCache[str, ClassRun] = field(default_factory=lambda: LRUCache(_KEPT_ANSWERS))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def with_results(self, results: Results) -> "ClassFinder":
        """Returns a finder with the same settings for a new ranking of the output."""
        return ClassFinder(results, self.model, self.weights, self.gap_s)

    @functools.cached_property
    def videos(self) -> list[str]:
        """URIs of all videos, in the order of their indices."""
        return [row["video"] for row in self.results.videos()]

    @functools.cached_property
    def modified(self) -> dict[str, str]:
        """Modification time of each video, which identifies the version of the file."""
        return {row["video"]: str(row["modified_at"]) for row in self.results.videos()}

    @functools.cached_property
    def supports_texts(self) -> bool:
        """Whether the features support text prompts."""
        identity = FeatureFiles.of(self.results.output).identity()
        return Encoder(identity, model=self.model, weights=self.weights).supports_texts

    def frames(self, video: int) -> list[tuple[str, float]]:
        """Returns origin and second of each frame of a video, by the index of the video, in order of time.

        Raises:
            InputError: the index is out of range.
        """
        if video >= len(self.videos):
            raise InputError(f"there is no video {video}: the output has {len(self.videos)} videos")
        uri = self.videos[video]
        rows = self.results.read("frames", ["origin", "timestamp_s", "batch"], videos=[uri])
        batch = next(row["batch"] for row in self.results.videos() if row["video"] == uri)
        rows = rows.filter(pc.equal(rows["batch"], batch))
        pairs = zip(rows["origin"].to_pylist(), rows["timestamp_s"].to_pylist(), strict=True)
        return sorted(pairs, key=lambda pair: pair[1])

    def run(self, source: Any, *, min_duration_ratio: float) -> ClassRun:
        """Finds classes in all videos with features, and caches the results.

        Raises:
            InputError: the request is not valid.
            BusyError: another request is in progress.
        """
        request = parse_request(source)
        if not 0 <= min_duration_ratio <= 1:
            raise InputError(f"min_duration_ratio={min_duration_ratio} is not valid: give a share, 0 to 1")
        for wanted in request.classes:  # the page must not open files that a request names
            if wanted.labels is not None:
                raise InputError(
                    "the page does not read labels: leave them out, or use `framewatch classify`"
                )
            if any(prompt.kind == "image" for prompt in wanted.prompts):
                raise InputError(
                    "the page does not read image files: pick frames, use `framewatch classify`, or upload a "
                    "picture on the page Similar"
                )
        if not self._lock.acquire(blocking=False):
            raise BusyError("another request is in progress: try again")
        try:
            features = FeatureFiles.of(self.results.output)
            encoder = Encoder(features.identity(), model=self.model, weights=self.weights)
            plan = prepare(request, features, encoder)
            found = self._find(plan, features, min_duration_ratio)
        finally:
            self._lock.release()
        self._kept[found.id] = found
        return found

    def get(self, name: str) -> ClassRun:
        """Returns cached results.

        Raises:
            InputError: the results have expired.
        """
        if name not in self._kept:
            raise InputError("the results have expired: run the request again")
        return self._kept[name]

    def _find(self, plan: ScoringPlan, features: FeatureFiles, min_duration_ratio: float) -> ClassRun:
        parts: dict[str, list[Any]] = {}
        totals: list[dict[str, Any]] = []
        for path in features.paths:
            for batch in plan.project(features.read(path, ["timestamp_s", "features"])):
                totals += [row for sums in total([batch]) for row in sums.to_pylist()]
                for video, times_s, similarities in iterate_runs(batch):
                    parts.setdefault(video, []).append((times_s, similarities))
        usual: Mapping[str, Background] = backgrounds(totals) if plan.needs_background else {}
        durations = {row["video"]: row["duration_s"] for row in self.results.videos()}
        videos = {uri: joined(uri, of_video, durations.get(uri)) for uri, of_video in parts.items()}
        find = Find(plan, usual, {}, gap_s=self.gap_s, period_s=self.results.ranking["period_s"])
        assigned = dict(_assigned(find, videos, min_duration_ratio))
        return ClassRun(uuid.uuid4().hex[:12], find, in_order(assigned), videos)


def _assigned(
    find: Find, videos: Mapping[str, Video], min_duration_ratio: float
) -> Iterator[tuple[str, list[Given]]]:
    for uri, video in videos.items():
        classes = [found for found in find.classes(video) if found.duration_ratio >= min_duration_ratio]
        if classes:
            yield uri, classes
