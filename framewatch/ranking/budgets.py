"""Review budgets: how many suspicious frames and incidents a reviewer finds in a given number of minutes."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# Timestamps are ticks divided by a time base; equal times may differ by less than this.
_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class Spent:
    """Counts what a reviewer finds at the top of a ranking within one budget.

    Attributes:
        minutes: the budget. Viewing a frame takes its `period_s`: footage plays at normal speed.
        frames: labelled frames in total.
        viewed: frames viewed within the budget.
        suspicious: frames labelled suspicious.
        suspicious_viewed: viewed frames labelled suspicious.
        incidents: runs of neighbouring suspicious frames.
        incidents_found: incidents with at least one viewed frame.
        stops: runs of neighbouring viewed frames, which a reviewer sees as incidents.
        stops_suspicious: stops with at least one suspicious frame.
    """

    minutes: float
    frames: int
    viewed: int
    suspicious: int
    suspicious_viewed: int
    incidents: int
    incidents_found: int
    stops: int
    stops_suspicious: int

    def summary(self) -> dict[str, Any]:
        """Returns the counts, and recall and precision of frames and incidents; None for 0 / 0."""
        return {
            **asdict(self),
            "frame_recall": _share(self.suspicious_viewed, self.suspicious),
            "frame_precision": _share(self.suspicious_viewed, self.viewed),
            "incident_recall": _share(self.incidents_found, self.incidents),
            "incident_precision": _share(self.stops_suspicious, self.stops),
        }


@dataclass(frozen=True)
class RankedFrames:
    """Labelled frames in order of rank.

    Attributes:
        videos: (frames,) the video of each frame; any comparable values.
        timestamps_s: (frames,) seconds from the start of the video.
        labels: (frames,) 1 for suspicious.
        period_s: seconds between frames.
        gap_s: the longest gap without a suspicious frame within one incident, in seconds.
    """

    videos: np.ndarray
    timestamps_s: np.ndarray
    labels: np.ndarray
    period_s: float
    gap_s: float

    def spend(self, budgets_minutes: Sequence[float]) -> Iterator[Spent]:
        """Yields the counts for each budget."""
        suspicious = self.labels > 0
        incident_of = self._runs(suspicious)
        for minutes in budgets_minutes:
            viewed = np.arange(len(self.labels)) < self.frames_within(minutes)
            stop_of = self._runs(viewed)
            yield Spent(
                minutes=minutes,
                frames=len(self.labels),
                viewed=int(viewed.sum()),
                suspicious=int(suspicious.sum()),
                suspicious_viewed=int((suspicious & viewed).sum()),
                incidents=_distinct(incident_of[suspicious]),
                incidents_found=_distinct(incident_of[suspicious & viewed]),
                stops=_distinct(stop_of[viewed]),
                stops_suspicious=_distinct(stop_of[suspicious & viewed]),
            )

    def frames_within(self, minutes: float) -> int:
        """Returns the number of frames that can be viewed within a budget."""
        return frames_within(minutes, self.period_s)

    def firsts_of_incidents(self) -> np.ndarray:
        """Returns (frames,) bool, the highest-ranked suspicious frame of each incident."""
        firsts = np.zeros(len(self.labels), bool)
        suspicious = np.flatnonzero(self.labels > 0)
        firsts[suspicious[np.unique(self._runs(self.labels > 0)[suspicious], return_index=True)[1]]] = True
        return firsts

    def _runs(self, chosen: np.ndarray) -> np.ndarray:
        """Returns (frames,) the number of the run that contains each chosen frame; -1 for other frames."""
        runs = np.full(len(chosen), -1)
        if not chosen.any():
            return runs
        videos = np.unique(self.videos, return_inverse=True)[1]
        order = np.lexsort((self.timestamps_s, videos))
        order = order[chosen[order]]
        apart = np.diff(self.timestamps_s[order]) > self.period_s + self.gap_s + _ROUNDING_S
        begins = np.append(True, apart | (np.diff(videos[order]) != 0))
        runs[order] = np.cumsum(begins)
        return runs


def frames_within(minutes: float, period_s: float) -> int:
    """Returns the number of frames, of `period_s` seconds each, that can be viewed within a budget."""
    return int(minutes * 60 / period_s + _ROUNDING_S)


def _distinct(values: np.ndarray) -> int:
    return len(np.unique(values))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def up_to_all(budgets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the budgets up to the first that covers all frames; larger ones find nothing more."""
    complete = [spent["viewed"] == spent["frames"] for spent in budgets]
    return list(budgets[: complete.index(True) + 1] if True in complete else budgets)


def best_sentence(budgets: Sequence[dict[str, Any]], *, recall: float = 0.9, intervals: bool = False) -> str:
    """Describes the smallest budget that reaches this recall of incidents; else the largest budget."""
    enough = [spent for spent in budgets if (spent["incident_recall"] or 0.0) >= recall]
    return sentence(enough[0] if enough else budgets[-1], intervals=intervals)


def sentence(spent: dict[str, Any], *, intervals: bool = False) -> str:
    """Describes one summary in a sentence, with the intervals of its recalls if there are any."""
    whole = " (all of it)" if spent["viewed"] == spent["frames"] else ""
    unit = "minute" if spent["minutes"] == 1 else "minutes"
    if spent["incident_recall"] is None:
        return f"reviewing {spent['minutes']:g} {unit}{whole} finds nothing: no label is suspicious"
    of_incidents, of_frames = (
        percent(spent, name) if intervals else f"{spent[name]:.0%}"
        for name in ("incident_recall", "frame_recall")
    )
    return (
        f"reviewing {spent['minutes']:g} {unit}{whole} finds {of_incidents} of the incidents and {of_frames} "
        "of the suspicious frames"
    )


def percent(spent: dict[str, Any], name: str) -> str:
    """Formats a share of a summary, with its interval if there is one: `80% (62% to 91%)`."""
    if spent[name] is None:
        return "–"  # noqa: RUF001
    interval = spent.get(f"{name}_interval")
    return f"{spent[name]:.0%}" + (f" ({interval[0]:.0%} to {interval[1]:.0%})" if interval else "")
