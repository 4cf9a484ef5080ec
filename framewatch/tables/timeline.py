"""Summarizes one video: its incidents, the first one, their total length. Does not import Spark."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from framewatch.errors import InputError
from framewatch.io.storage import basename
from framewatch.tables.results import Results


@dataclass(frozen=True)
class Incident:
    """A stretch of a video, `[start_s, end_s)` in seconds, and its most suspicious frame."""

    start_s: float
    end_s: float
    peak_s: float
    peak_prob2: float
    num_frames: int
    rank: int


@dataclass(frozen=True)
class Timeline:
    """The incidents of one video, and its most suspicious frame.

    Attributes:
        video: the video's URI.
        duration_s: its duration in seconds, from the ledger.
        incidents: its incidents in order of time.
        peak_s: time in seconds of the most suspicious frame; None if no frame was ranked.
        peak_prob2: that frame's probability of being suspicious.
    """

    video: str
    duration_s: float
    incidents: list[Incident]
    peak_s: float | None
    peak_prob2: float | None

    @property
    def suspicious_s(self) -> float:
        """Total length of the incidents in seconds."""
        return sum(incident.end_s - incident.start_s for incident in self.incidents)

    @property
    def suspicious_share(self) -> float:
        """Share of the video that its incidents cover, 0 to 1."""
        return min(1.0, self.suspicious_s / self.duration_s) if self.duration_s else 0.0

    def summary(self) -> str:
        """Returns a summary in one line."""
        name = basename(self.video)
        if self.peak_s is None or self.peak_prob2 is None:
            return f"{name}: no frame of it was ranked"
        if not self.incidents:
            most = f"the most suspicious second is {clock(self.peak_s)} ({self.peak_prob2:.3f})"
            return f"{name}: nothing suspicious in {clock(self.duration_s)}; {most}"
        first, num = self.incidents[0], len(self.incidents)
        return (
            f"{name}: suspicious, first at {clock(first.start_s)}; {num} incident{'s' if num > 1 else ''}, "
            f"{self.suspicious_s:.1f} s in all, {self.suspicious_share:.0%} of {clock(self.duration_s)}"
        )


def clock(seconds: float) -> str:
    """Formats seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def read_timeline(output: str, video: str) -> Timeline:
    """Reads a video's incidents and its most suspicious frame from the tables.

    Args:
        output: the output directory.
        video: the URI, or a unique end of it; the extension may be left out.

    Raises:
        InputError: no frames have been ranked, or no video or several match.
    """
    results = Results(output)
    uri, duration_s = find_video(results.videos(), video)
    frames = results.read("predictions", ["timestamp_s", "prob2"], videos=[uri]).to_pylist()
    peak = max(frames, key=lambda frame: (frame["prob2"], -frame["timestamp_s"]), default=None)
    names = ["start_s", "end_s", "peak_s", "peak_prob2", "num_frames", "rank"]
    incidents = [Incident(**row) for row in results.read("incidents", names, videos=[uri]).to_pylist()]
    return Timeline(
        video=uri,
        duration_s=duration_s,
        incidents=sorted(incidents, key=lambda incident: incident.start_s),
        peak_s=peak["timestamp_s"] if peak else None,
        peak_prob2=peak["prob2"] if peak else None,
    )


def find_video(videos: Sequence[dict[str, Any]], wanted: str) -> tuple[str, float]:
    """Finds a video in the ledger by its URI, or a unique end of it.

    Args:
        videos: rows of the ledger with `video` and `duration_s`.
        wanted: the URI, or a unique end of it; the extension may be left out.

    Returns:
        The URI, and the duration in seconds; 0 if it is unknown.

    Raises:
        InputError: no video or several match.
    """
    videos = list({row["video"]: row for row in videos}.values())
    found = [row for row in videos if row["video"] == wanted]
    found = found or [row for row in videos if _ends_with(row["video"], wanted)]
    if len(found) == 1:
        return found[0]["video"], found[0]["duration_s"] or 0.0
    names = ", ".join(sorted(row["video"] for row in found or videos)[:5])
    if not found:
        raise InputError(f"no video '{wanted}' is in the ledger: it has {names or 'none'}")
    raise InputError(f"'{wanted}' is several videos, such as {names}: give more of the path")


def _ends_with(uri: str, wanted: str) -> bool:
    bare = uri.rpartition(".")[0]
    return any(name.endswith("/" + wanted.lstrip("/")) for name in (uri, bare))


def thinned(times_s: np.ndarray, values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Reduces a curve to at most `most` points: the maximum of each stretch, at its time.

    Args:
        times_s: (n,) seconds.
        values: (n,) values at these times.
        most: the maximum number of points.
    """
    if len(times_s) <= most:
        return times_s, values
    bounds = np.linspace(0, len(times_s), most + 1).astype(int)
    chosen = np.array(
        [begin + int(np.argmax(values[begin:end])) for begin, end in itertools.pairwise(bounds)]
    )
    return times_s[chosen], values[chosen]


def stretches(seconds: list[float], period_s: float) -> list[tuple[float, float]]:
    """Joins neighbouring frames into ranges, so that an hour of labels is not drawn as 3,600 boxes.

    Args:
        seconds: sorted times of the frames.
        period_s: seconds between sampled frames.

    Returns:
        Half-open (start_s, end_s) ranges.
    """
    joined: list[tuple[float, float]] = []
    for second in seconds:
        if joined and second <= joined[-1][1] + period_s / 2:
            joined[-1] = (joined[-1][0], second + period_s)
        else:
            joined.append((second, second + period_s))
    return joined
