"""What reviewers can expect in ranked footage: recall and precision of budgets. Does not import Spark.

The recall at a threshold depends only on the scores of suspicious frames, so it can be measured on labelled
frames. Which threshold a budget pays for depends on all ranked frames, and the precision on the prevalence:
the share of suspicious frames, which labelled frames do not show, because they were chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framewatch.ranking import budgets
from framewatch.ranking.intervals import Interval

# Labels are from chosen clips if their share of suspicious frames is this many times the prevalence.
_FAR_ABOVE = 3.0
# The sentence is about the smallest budget that is expected to reach this recall.
_ENOUGH = 0.9


@dataclass(frozen=True)
class Prevalence:
    """The share of suspicious frames in ranked footage.

    Attributes:
        value: the share, 0 to 1.
        source: `assumed`, `audit` or `probabilities`.
    """

    value: float
    source: str


_SOURCES = {
    "assumed": "assumed",
    "audit": "estimated by the audit",
    "probabilities": "the mean of the probabilities",
}


def expect(
    *,
    frames: int,
    period_s: float,
    minutes: Sequence[float],
    thresholds: Sequence[float | None],
    recalls: Callable[[list[float]], list[tuple[float, Interval]]] | None,
    prevalence: Prevalence,
) -> dict[str, Any]:
    """Returns what each budget is expected to find, for ranking.json.

    Args:
        frames: number of ranked frames.
        period_s: seconds that viewing a frame takes.
        minutes: budgets of review, in minutes.
        thresholds: for each budget, the probability of the last frame that it pays for; None if it pays for
            no frame, or for more frames than there are.
        recalls: thresholds -> the recall at each, and its interval; None without out-of-fold predictions.
        prevalence: the share of suspicious frames.

    Returns:
        `minutes` of the footage, `frames`, `prevalence`, `prevalence_from`, and `budgets`: for each its
        `minutes`, the `frames` it pays for, `threshold`, `recall`, `recall_interval` and `precision`. No
        budgets without out-of-fold predictions.
    """
    whole: dict[str, Any] = {"minutes": frames * period_s / 60, "frames": frames, "budgets": []}
    if recalls is None:
        return with_prevalence(whole, prevalence)
    measured = iter(recalls([threshold for threshold in thresholds if threshold is not None]))
    for spent, threshold in zip(minutes, thresholds, strict=True):
        number = min(frames, budgets.frames_within(spent, period_s))
        recall, interval = (0.0, None) if threshold is None else next(measured)
        if number == frames:
            recall, interval = 1.0, None
        row = {"minutes": spent, "frames": number, "threshold": threshold}
        whole["budgets"].append({**row, "recall": recall, "recall_interval": interval})
    return with_prevalence(whole, prevalence)


def with_prevalence(footage: Mapping[str, Any], prevalence: Prevalence) -> dict[str, Any]:
    """Returns the result of `expect` for another prevalence, on which only the precision depends."""
    suspicious = prevalence.value * footage["frames"]

    def precision(spent: Mapping[str, Any]) -> float | None:
        return min(1.0, spent["recall"] * suspicious / spent["frames"]) if spent["frames"] else None

    found = [{**spent, "precision": precision(spent)} for spent in footage["budgets"]]
    about = {"prevalence": prevalence.value, "prevalence_from": prevalence.source}
    return {**footage, **about, "budgets": found}


def up_to_all(footage: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the budgets up to the first that pays for all frames."""
    complete = [spent["frames"] == footage["frames"] for spent in footage["budgets"]]
    return footage["budgets"][: complete.index(True) + 1 if True in complete else None]


def sentence(footage: Mapping[str, Any], *, minutes: float | None = None) -> str:
    """Describes one budget in a sentence; empty without out-of-fold predictions.

    Args:
        footage: the result of `expect`.
        minutes: the budget; None for the smallest that is expected to find 90%, else the largest.
    """
    if not footage["budgets"]:
        return ""
    enough = [spent for spent in footage["budgets"] if spent["recall"] >= _ENOUGH]
    wanted = [spent for spent in footage["budgets"] if spent["minutes"] == minutes]
    spent = [*wanted, *enough, footage["budgets"][-1]][0]
    unit = "minute" if spent["minutes"] == 1 else "minutes"
    whole = "all" if spent["frames"] == footage["frames"] else f"of {_duration(footage['minutes'])}"
    text = f"in this footage, reviewing {spent['minutes']:g} {unit} ({whole}) is expected to find "
    text += f"{budgets.percent(dict(spent), 'recall')} of the suspicious frames"
    if spent["precision"] is not None:
        text += f", at a precision of {_share(spent['precision'])}"
    return f"{text}; {prevalence_text(footage)}"


def prevalence_text(footage: Mapping[str, Any]) -> str:
    """Returns the prevalence and where it is from, as `prevalence 0.4%, assumed`."""
    return f"prevalence {_share(footage['prevalence'])}, {_SOURCES[footage['prevalence_from']]}"


def warning(footage: Mapping[str, Any], labelled_share: float | None) -> str:
    """Returns a warning if the labels come from chosen clips; empty if they resemble the footage.

    Args:
        footage: the result of `expect`.
        labelled_share: share of suspicious frames among the labelled frames; None if unknown.
    """
    if labelled_share is None or labelled_share < _FAR_ABOVE * footage["prevalence"]:
        return ""
    return (
        f"Warning: the labels come from chosen clips. {_share(labelled_share)} of the labelled frames are "
        f"suspicious, and {_share(footage['prevalence'])} of this footage "
        f"({_SOURCES[footage['prevalence_from']]}). Precision and budgets of labelled frames do not hold here"
    )


def _duration(minutes: float) -> str:
    return f"{minutes:.0f}" if minutes >= 10 else f"{minutes:.1f}"


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"
