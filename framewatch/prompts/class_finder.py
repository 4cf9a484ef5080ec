"""Finds classes and their clips from the similarities of a video's frames. Does not import Spark."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from framewatch.prompts.class_clips import duration_ratio, find_clips, frame_ends
from framewatch.prompts.frame_runs import Background, iterate_runs
from framewatch.prompts.response import Given, PromptClip
from framewatch.prompts.scoring import Calibration, ClassColumns, ScoringPlan, scores
from framewatch.tables.columns import CLASS_CLIPS, CLASSIFICATIONS
from framewatch.tables.feature_files import camera

_CLIP = ("prompt", "start_s", "end_s", "score")
# One row per class and video, with all clips of the class.
FOUND = pa.schema(
    [
        *CLASSIFICATIONS,
        ("clips", pa.list_(pa.struct([CLASS_CLIPS.field(name) for name in _CLIP]))),
    ]
)


@dataclass(frozen=True)
class Video:
    """A video's frames, in order of time.

    Attributes:
        uri: URI of the video.
        times_s: (frames,) times in seconds.
        similarities: (frames, columns) similarities to the columns of the plan.
        duration_s: duration of the video in seconds; None if unknown.
    """

    uri: str
    times_s: np.ndarray
    similarities: np.ndarray
    duration_s: float | None


@dataclass(frozen=True)
class Find:
    """Finds the classes of videos, in a Spark task.

    Attributes:
        plan: the prepared request.
        backgrounds: each camera's background, by camera.
        calibrations: calibrations of classes with labels, by class name.
        gap_s: maximum seconds without a matching frame inside a clip.
        period_s: seconds between sampled frames.
    """

    plan: ScoringPlan
    backgrounds: Mapping[str, Background]
    calibrations: Mapping[str, Calibration]
    gap_s: float
    period_s: float

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Converts rows of `RUNS` with `duration_s`, grouped by video and in order, to rows of `FOUND`."""
        for video in _videos(batches):
            rows = [_row(video.uri, given) for given in self.classes(video)]
            if rows:
                yield pa.RecordBatch.from_pylist(rows, schema=FOUND)

    def classes(self, video: Video) -> list[Given]:
        """Returns the classes that have a clip in the video."""
        ends_s = frame_ends(video.times_s, period_s=self.period_s, duration_s=video.duration_s)
        length_s = max(video.duration_s or 0.0, float(ends_s[-1])) if len(ends_s) else 0.0
        background = self.backgrounds.get(camera(video.uri))
        found = (self._class(columns, video, background, ends_s, length_s) for columns in self.plan.classes)
        return [given for given in found if given is not None]

    def _class(
        self,
        its: ClassColumns,
        video: Video,
        background: Background | None,
        ends_s: np.ndarray,
        length_s: float,
    ) -> Given | None:
        if background is None and self.plan.needs_background:
            return None  # no frame of this camera has features
        calibration = self.calibrations.get(its.wanted.name)
        threshold = calibration.threshold if calibration else self.plan.request.threshold
        found = scores(self.plan.log_odds(video.similarities, background, its), calibration)
        clips = find_clips(video.times_s, ends_s, found, threshold=threshold, gap_s=self.gap_s)
        if not clips:
            return None
        of_prompts = self.plan.prompt_log_odds(video.similarities, background, its)
        named = []
        for clip in sorted(clips, key=lambda it: (-it.score, it.start_s)):
            inside = (video.times_s >= clip.start_s) & (video.times_s < clip.end_s) & (found >= threshold)
            best = int(of_prompts[inside].mean(axis=0).argmax())
            named.append(PromptClip(str(its.wanted.prompts[best]), clip))
        ratio = duration_ratio(clips, length_s=length_s)
        return Given(its.wanted.name, video_score(found), ratio, tuple(named), calibration is not None)


def video_score(of_frames: np.ndarray) -> float:
    """Returns a class's score for a video: the mean of the better half of its frame scores.

    Few videos show one thing from start to end, and a single similar frame is not enough.

    Args:
        of_frames: (frames,) scores of the class, 0 to 100; NaN counts as 0.
    """
    best = np.sort(np.nan_to_num(of_frames, nan=0.0))[::-1]
    return float(best[: (len(best) + 1) // 2].mean())


def _videos(batches: Iterable[pa.RecordBatch]) -> Iterator[Video]:
    """Joins the runs of each video."""
    uri, duration_s = "", None
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for batch in batches:
        durations = batch["duration_s"].to_pylist()
        for number, (video, times_s, similarities) in enumerate(iterate_runs(batch)):
            if parts and video != uri:
                yield joined(uri, parts, duration_s)
                parts = []
            uri, duration_s = video, durations[number]
            parts.append((times_s, similarities))
    if parts:
        yield joined(uri, parts, duration_s)


def joined(uri: str, parts: list[tuple[np.ndarray, np.ndarray]], duration_s: float | None) -> Video:
    """Joins the runs of a video, in any order.

    Args:
        uri: URI of the video.
        parts: (times in seconds, similarities) of each run.
        duration_s: duration of the video in seconds; None if unknown.
    """
    times_s = np.concatenate([part[0] for part in parts])
    order = np.argsort(times_s, kind="stable")
    similarities = np.concatenate([part[1] for part in parts])
    return Video(uri, times_s[order], similarities[order], duration_s)


def _row(video: str, it: Given) -> dict[str, Any]:
    clips = [
        {
            "prompt": prompt_clip.prompt,
            "start_s": prompt_clip.clip.start_s,
            "end_s": prompt_clip.clip.end_s,
            "score": prompt_clip.clip.score,
        }
        for prompt_clip in it.clips
    ]
    return {
        "video": video,
        "class": it.name,
        "score": it.score,
        "duration_ratio": it.duration_ratio,
        "calibrated": it.calibrated,
        "clips": clips,
    }
