"""Chooses the threshold above which a frame is suspicious: a number, or from out-of-fold predictions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from framewatch.config import RankingConfig
from framewatch.errors import InputError
from framewatch.ranking.evaluation import threshold_for_recall, threshold_for_share


@dataclass(frozen=True)
class Threshold:
    """A threshold, and the reason for its value."""

    value: float
    reason: str

    @property
    def log_suffix(self) -> str:
        """The reason, to append to a log line; empty if the user configured the number."""
        return "" if self.reason == "as configured" else f", {self.reason}"


def choose_threshold(
    wanted: RankingConfig, metrics: dict[str, Any] | None, footage_minutes: Callable[[], float]
) -> Threshold:
    """Returns the configured threshold, or for `auto` one from the out-of-fold predictions of training.

    With `budget_minutes`, the frames above the threshold can be reviewed in this time if new footage
    resembles the labelled footage. Otherwise the threshold reaches the configured recall.

    Args:
        wanted: the configuration.
        metrics: metrics of the left-out videos; None without any.
        footage_minutes: returns the length of the footage to rank; called only if a budget is set.

    Raises:
        InputError: `auto`, but training left no video out, or its labels are by video.
    """
    if wanted.threshold != "auto":
        return Threshold(float(wanted.threshold), "as configured")
    if metrics and metrics.get("unit") == "videos":
        raise InputError(
            "ranking.threshold=auto needs labels of seconds, and this classifier was trained on labels by "
            "video: give a number, or label by time or by point"
        )
    curve = metrics["curve"] if metrics else []
    if not curve or "share" not in curve[0]:
        raise InputError(
            "ranking.threshold=auto needs predictions of left-out videos, and this classifier has none: "
            "train with suspicious frames in two groups of videos or more and evaluation.folds above 0, or "
            "give a number"
        )
    minutes = wanted.budget_minutes
    if minutes is None:
        reason = f"for a recall of {wanted.recall:g} on left-out videos"
        return Threshold(threshold_for_recall(curve, wanted.recall), reason)
    all_minutes = footage_minutes()
    share = min(1.0, minutes / all_minutes) if all_minutes else 1.0
    reason = f"for a budget of {minutes:g} of {all_minutes:.1f} minutes, from left-out videos"
    return Threshold(threshold_for_share(curve, share), reason)
