"""Above which probability a frame is suspicious: a number, or chosen from what left-out videos showed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from framewatch.config import RankingConfig
from framewatch.errors import InputError
from framewatch.ranking.evaluation import threshold_for_recall, threshold_for_share


@dataclass(frozen=True)
class Threshold:
    """A threshold, and where it comes from."""

    value: float
    reason: str

    @property
    def told(self) -> str:
        """The reason for a closing line; nothing where the user gave the number."""
        return "" if self.reason == "as configured" else f", {self.reason}"


def choose_threshold(
    wanted: RankingConfig, metrics: dict[str, Any] | None, footage_minutes: Callable[[], float]
) -> Threshold:
    """The configured threshold; for `auto`, one from the out-of-fold predictions of training.

    With `budget_minutes`, a share of frames lies above it that can be reviewed in this time, if new footage
    is like the labelled; else the wanted share of the suspicious frames does.

    Args:
        wanted: the configuration.
        metrics: of the left-out videos; None where there were none.
        footage_minutes: of the footage to rank; asked for where a budget needs it.

    Raises:
        InputError: `auto`, but no video was left out in training.
    """
    if wanted.threshold != "auto":
        return Threshold(float(wanted.threshold), "as configured")
    curve = metrics["curve"] if metrics else []
    if not curve or "share" not in curve[0]:
        raise InputError(
            "ranking.threshold=auto needs predictions of left-out videos, and this classifier has none: "
            "train with suspicious frames in two videos or more and evaluation.folds above 0, or give a "
            "number"
        )
    minutes = wanted.budget_minutes
    if minutes is None:
        reason = f"for a recall of {wanted.recall:g} on left-out videos"
        return Threshold(threshold_for_recall(curve, wanted.recall), reason)
    all_minutes = footage_minutes()
    share = min(1.0, minutes / all_minutes) if all_minutes else 1.0
    reason = f"for {minutes:g} of {all_minutes:.1f} minutes, by left-out videos"
    return Threshold(threshold_for_share(curve, share), reason)
