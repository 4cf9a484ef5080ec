"""What is in one video: its incidents, when the first, how long in all. Reads the tables without Spark."""

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
    """A stretch of a video, `[start_s, end_s)`, and its most suspicious frame."""

    start_s: float
    end_s: float
    peak_s: float
    peak_prob2: float
    num_frames: int
    rank: int


@dataclass(frozen=True)
class Timeline:
    """One video's answer.

    Attributes:
        video: its URI.
        duration_s: seconds of it that were read.
        incidents: in order of time.
        peak_s: the second of the most suspicious frame; None where no frame was ranked.
        peak_prob2: that frame's probability.
    """

    video: str
    duration_s: float
    incidents: list[Incident]
    peak_s: float | None
    peak_prob2: float | None

    @property
    def suspicious_s(self) -> float:
        """Seconds of all incidents."""
        return sum(incident.end_s - incident.start_s for incident in self.incidents)

    @property
    def suspicious_share(self) -> float:
        """Share of the video that is in incidents, 0 to 1."""
        return min(1.0, self.suspicious_s / self.duration_s) if self.duration_s else 0.0

    def summary(self) -> str:
        """The answer in one line."""
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
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def read_timeline(output: str, video: str) -> Timeline:
    """Reads what the tables say of a video.

    Args:
        output: the run's directory.
        video: its URI, or enough of the end of it to tell it from others; the extension may be left out.

    Raises:
        InputError: there are no ranked frames yet, or no such video, or several.
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
    """A video of the ledger, its URI and its duration, by enough of the end of its URI.

    Raises:
        InputError: there is none, or several.
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
    """At most so many points of a curve: the greatest value of each stretch, at its time."""
    if len(times_s) <= most:
        return times_s, values
    bounds = np.linspace(0, len(times_s), most + 1).astype(int)
    chosen = np.array(
        [begin + int(np.argmax(values[begin:end])) for begin, end in itertools.pairwise(bounds)]
    )
    return times_s[chosen], values[chosen]


def stretches(seconds: list[float], period_s: float) -> list[tuple[float, float]]:
    """Neighbouring frames, by their seconds, joined to ranges: an hour of labels is not 3,600 boxes."""
    joined: list[tuple[float, float]] = []
    for second in seconds:
        if joined and second <= joined[-1][1] + period_s / 2:
            joined[-1] = (joined[-1][0], second + period_s)
        else:
            joined.append((second, second + period_s))
    return joined
