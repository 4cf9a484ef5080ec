"""Timelines of videos: probability over time, with incidents, labels and verdicts."""

import threading
from typing import Any

import numpy as np

from framewatch.errors import InputError
from framewatch.feedback.desk import Desk
from framewatch.tables.timeline import stretches, thinned

# The width of a screen. With more frames, only the most suspicious in each stretch is drawn.
_MOST_POINTS = 2000
_KEPT_VIDEOS = 8


class Timelines:
    """Reads and caches the timelines of videos. Thread-safe."""

    def __init__(self, desk: Desk) -> None:
        """Reads the labels; timelines are read on demand."""
        self._desk = desk
        self._lock = threading.Lock()
        self._frames: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._durations = {row["video"]: row["duration_s"] or 0.0 for row in desk.results.videos()}
        self._labels = desk.results.known_labels()

    def get(self, video: int) -> dict[str, Any]:
        """Returns the timeline of a video as JSON."""
        moments, uri = self._desk.moments, self._desk.moments.names[video]
        times, prob2 = self._read(video)
        times, prob2 = thinned(times, prob2, _MOST_POINTS)
        period_s = self._desk.results.ranking["period_s"]
        incidents = moments.of_video(video)
        incidents = incidents[incidents < moments.num_incidents]
        return {
            "video": video,
            "duration_s": max(self._durations[uri], float(times[-1]) if len(times) else 0.0),
            "period_s": period_s,
            "threshold": self._desk.results.ranking["threshold"],
            "times_s": np.round(times, 3).tolist(),
            "prob2": np.round(prob2, 4).tolist(),
            "incidents": [
                {"id": int(i), "start_s": float(moments.starts_s[i]), "end_s": float(moments.ends_s[i])}
                for i in incidents[:_MOST_POINTS]
            ],
            "labels": [
                [begin, end, value]
                for value in (0, 1)
                for begin, end in stretches(
                    [second for second, label in self._labels.get(uri, []) if label == value], period_s
                )
            ],
            "verdicts": [
                {"start_s": s.start_s, "end_s": s.end_s, "state": s.state}
                for s in self._desk.segments.get(uri, [])
            ],
        }

    def frame_at(self, video: int, second: float) -> tuple[float, float, float]:
        """Returns the range and the probability of the ranked frame that is shown at a second.

        Raises:
            InputError: the video has no ranked frame at this second.
        """
        times, prob2 = self._read(video)
        period_s = self._desk.results.ranking["period_s"]
        index = int(np.searchsorted(times, second + 1e-6, side="right")) - 1
        if index < 0 or not second < times[index] + 2 * period_s:
            raise InputError(f"no frame was ranked at second {second:g}: choose another second")
        start_s = float(times[index])
        following = times[index + 1] if index + 1 < len(times) else np.inf
        return start_s, float(min(start_s + period_s, following)), float(prob2[index])

    def _read(self, video: int) -> tuple[np.ndarray, np.ndarray]:
        with self._lock:
            if video not in self._frames:
                if len(self._frames) >= _KEPT_VIDEOS:
                    self._frames.pop(next(iter(self._frames)))
                uri = self._desk.moments.names[video]
                rows = self._desk.results.read("predictions", ["timestamp_s", "prob2"], videos=[uri])
                rows = rows.sort_by("timestamp_s")
                self._frames[video] = (rows["timestamp_s"].to_numpy(), rows["prob2"].to_numpy())
            return self._frames[video]
