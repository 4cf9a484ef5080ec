"""What minutes of review buy: how many suspicious frames and incidents the top of a ranking holds."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# Times are quotients of ticks; two that mean the same second may differ by less than this.
_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class Spent:
    """What reviewing the top of a ranking shows, in counts.

    Attributes:
        minutes: the budget. A frame costs its `period_s`, as footage is watched at its own speed.
        frames: labelled frames there are.
        viewed: frames that the budget pays for.
        suspicious: frames labelled suspicious.
        suspicious_viewed: those among the viewed.
        incidents: runs of neighbouring suspicious frames.
        incidents_found: those with a viewed frame.
        stops: runs of neighbouring viewed frames: what a reviewer sees as incidents.
        stops_suspicious: those with a suspicious frame.
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
        """The counts, and recall and precision in frames and in incidents; None for a share of nothing."""
        return {
            **asdict(self),
            "frame_recall": _share(self.suspicious_viewed, self.suspicious),
            "frame_precision": _share(self.suspicious_viewed, self.viewed),
            "incident_recall": _share(self.incidents_found, self.incidents),
            "incident_precision": _share(self.stops_suspicious, self.stops),
        }


@dataclass(frozen=True)
class RankedFrames:
    """Labelled frames in order of rank; arrays of equal length.

    Attributes:
        videos: the video of each, as any values that can be compared.
        timestamps_s: seconds from the start of the video.
        labels: 1 for suspicious.
        period_s: seconds from one frame to the next.
        gap_s: seconds without a suspicious frame that an incident may span.
    """

    videos: np.ndarray
    timestamps_s: np.ndarray
    labels: np.ndarray
    period_s: float = 1.0
    gap_s: float = 2.0

    def spend(self, budgets_minutes: Sequence[float]) -> Iterator[Spent]:
        """What each budget shows."""
        suspicious = self.labels > 0
        incident_of = self._runs(suspicious)
        for minutes in budgets_minutes:
            viewed = np.arange(len(self.labels)) < int(minutes * 60 / self.period_s + _ROUNDING_S)
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

    def _runs(self, chosen: np.ndarray) -> np.ndarray:
        """The number of the run that each chosen frame is in; -1 for the others."""
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


def _distinct(values: np.ndarray) -> int:
    return len(np.unique(values))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def up_to_all(budgets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The budgets up to the first that pays for everything: those after it buy the same."""
    paid = [spent["viewed"] == spent["frames"] for spent in budgets]
    return list(budgets[: paid.index(True) + 1] if True in paid else budgets)


def best_sentence(budgets: Sequence[dict[str, Any]], *, recall: float = 0.9) -> str:
    """The smallest budget that finds this share of the incidents, in words; else the largest."""
    enough = [spent for spent in budgets if (spent["incident_recall"] or 0.0) >= recall]
    return sentence(enough[0] if enough else budgets[-1])


def sentence(spent: dict[str, Any]) -> str:
    """A summary in words."""
    whole = " (all of it)" if spent["viewed"] == spent["frames"] else ""
    unit = "minute" if spent["minutes"] == 1 else "minutes"
    if spent["incident_recall"] is None:
        return f"reviewing {spent['minutes']:g} {unit}{whole} finds nothing: no label is suspicious"
    return (
        f"reviewing {spent['minutes']:g} {unit}{whole} finds {spent['incident_recall']:.0%} of the "
        f"incidents and {spent['frame_recall']:.0%} of the suspicious frames"
    )
