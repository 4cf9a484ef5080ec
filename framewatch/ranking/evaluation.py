"""Evaluates a ranking: counts, metrics, and their intervals over groups of videos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from framewatch.ranking.budgets import RankedFrames
from framewatch.ranking.intervals import Intervals, RankedGroups
from framewatch.ranking.reliability import reliability
from framewatch.spark.arrow import to_arrow
from framewatch.tables.schema import PREDICTIONS, fields, require_columns

# The reason for what is not measured.
NOT_BY_SECOND = "labels by video do not show which seconds are suspicious"
# Columns of the frames to evaluate; `group` may be missing.
_EVALUATED = ("origin", "video", "timestamp_s", "prob2", "label", "group")


@dataclass(frozen=True)
class RankedLabels:
    """Counts of ranked, labelled frames at each distinct probability, in descending order.

    Attributes:
        thresholds: (n,) float64, descending.
        true_positives: (n,) int64, suspicious frames with a probability at or above the threshold.
        false_positives: (n,) int64, other frames with a probability at or above the threshold.
        top_labels: (frames,) int64, the labels in order of rank.
    """

    thresholds: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    top_labels: np.ndarray

    @classmethod
    def count(cls, probabilities: Sequence[float], labels: Sequence[float]) -> "RankedLabels":
        """Counts frames; ties keep the given order."""
        scores, truth = np.asarray(probabilities, float), np.asarray(labels, np.int64)
        order = np.argsort(-scores, kind="stable")
        scores, truth = scores[order], truth[order]
        last = (
            np.flatnonzero(np.append(np.diff(scores) != 0, True)) if len(scores) else np.array([], np.int64)
        )
        positives = np.cumsum(truth)[last] if len(scores) else np.array([], np.int64)
        return cls(scores[last], positives, last + 1 - positives, truth)

    @property
    def positives(self) -> int:
        """Number of suspicious frames."""
        return int(self.top_labels.sum())

    @property
    def negatives(self) -> int:
        """Number of other frames."""
        return len(self.top_labels) - self.positives

    @property
    def base_rate(self) -> float | None:
        """Share of suspicious frames, which is about the average precision of a random order."""
        return self.positives / len(self.top_labels) if len(self.top_labels) else None

    @property
    def average_precision(self) -> float | None:
        """Average precision as scikit-learn's `average_precision_score`; None without suspicious frames."""
        if self.positives == 0:
            return None
        precision = self.true_positives / (self.true_positives + self.false_positives)
        return float(np.sum(np.diff(self.true_positives, prepend=0) * precision) / self.positives)

    @property
    def roc_auc(self) -> float | None:
        """Probability that a suspicious frame ranks above another; ties count half. None with one class."""
        if self.positives == 0 or self.negatives == 0:
            return None
        true_positives = np.concatenate([[0], self.true_positives])
        false_positives = np.concatenate([[0], self.false_positives])
        area = np.trapezoid(true_positives, false_positives)
        return float(area / (self.positives * self.negatives))

    def precision_at(self, k: int) -> float | None:
        """Returns the share of suspicious frames among the first k; None with fewer than k frames."""
        return float(self.top_labels[:k].sum() / k) if len(self.top_labels) >= k else None

    def curve(self, most_points: int = 200) -> list[dict[str, float]]:
        """Returns the precision-recall curve, thinned to at most `most_points` points.

        `share` is the share of all frames at or above the threshold.
        """
        if self.positives == 0:
            return []
        keep = np.unique(np.linspace(0, len(self.thresholds) - 1, most_points).round().astype(int))
        return [
            {
                "threshold": float(self.thresholds[i]),
                "precision": float(
                    self.true_positives[i] / (self.true_positives[i] + self.false_positives[i])
                ),
                "recall": float(self.true_positives[i] / self.positives),
                "share": float((self.true_positives[i] + self.false_positives[i]) / len(self.top_labels)),
            }
            for i in keep
        ]

    def summary(self, precision_at: Sequence[int]) -> dict[str, Any]:
        """Returns the metrics for metrics.json."""
        return {
            "frames": len(self.top_labels),
            "suspicious": self.positives,
            "base_rate": self.base_rate,
            "average_precision": self.average_precision,
            "roc_auc": self.roc_auc,
            "precision_at": {str(k): self.precision_at(k) for k in precision_at},
        }


def evaluate(
    scored: DataFrame,
    *,
    precision_at: Sequence[int] = (3, 10, 20),
    budgets_minutes: Sequence[float] = (1, 2, 5, 10, 20, 40),
    period_s: float = 1.0,
    gap_s: float = 2.0,
) -> dict[str, Any]:
    """Metrics of scored, labelled frames, over all and per video.

    Intervals are 95% intervals of a bootstrap over groups: videos of one recording vary together. Only a few
    numbers per labelled frame come to the driver: hand labels are few.

    Args:
        scored: `origin`, `video`, `timestamp_s`, `prob2`, `label`; and, if several videos can be of one
            recording, `group`. Where it is missing or null, the video is a group of its own.
        precision_at: the k of each precision@k.
        budgets_minutes: budgets of review to evaluate, in minutes of footage.
        period_s: seconds from one frame to the next: what viewing one costs.
        gap_s: seconds without a suspicious frame that an incident may span.

    Returns:
        `frames`, `suspicious`, `base_rate`, `average_precision`, `roc_auc`, `precision_at`, the
        precision-recall `curve`, the recall that `budgets` buy, the number of `groups` and of
        `suspicious_groups`, and a summary for each of `videos`. `reliability`, `brier_score` and
        `expected_calibration_error` show whether `prob2` is the share of suspicious frames. Beside a metric,
        `average_precision_interval` and the like hold its interval [low, high]; None if fewer than two groups
        have suspicious frames.

    Raises:
        SchemaError: a column is missing or has another type.

    Example:
        >>> metrics = evaluate(ranked.join(labelled.select("origin", "label"), "origin"))
        >>> 0 <= metrics["average_precision"] <= 1
        True
    """
    columns = ("origin", "video", "timestamp_s", "prob2")
    require_columns(scored, fields(PREDICTIONS, *columns), table="scored frames")
    group = ["group"] if "group" in scored.columns else []
    rows = to_arrow(scored.select(*columns, "label", *group))
    return evaluate_rows(
        rows,
        precision_at=precision_at,
        budgets_minutes=budgets_minutes,
        period_s=period_s,
        gap_s=gap_s,
    )


def evaluate_rows(
    scored: pa.Table,
    *,
    precision_at: Sequence[int],
    budgets_minutes: Sequence[float],
    period_s: float,
    gap_s: float,
) -> dict[str, Any]:
    """Does the same as `evaluate`, with rows in memory."""
    rows: Any = scored.select([name for name in _EVALUATED if name in scored.column_names]).to_pandas()
    rows = rows.sort_values(["prob2", "origin"], ascending=[False, True])
    overall = RankedLabels.count(rows["prob2"].tolist(), rows["label"].tolist())
    by_video = {
        str(video): RankedLabels.count(part["prob2"].tolist(), part["label"].tolist()).summary(precision_at)
        for video, part in rows.groupby("video")
    }
    ranked = RankedFrames(
        videos=rows["video"].to_numpy(),
        timestamps_s=rows["timestamp_s"].to_numpy(),
        labels=rows["label"].to_numpy(),
        period_s=period_s,
        gap_s=gap_s,
    )
    groups = (rows["group"].fillna(rows["video"]) if "group" in rows else rows["video"]).to_numpy()
    grouped = RankedGroups(
        probabilities=rows["prob2"].to_numpy(),
        labels=rows["label"].to_numpy(),
        groups=groups,
        firsts=ranked.firsts_of_incidents(),
    )
    has_intervals = grouped.num_suspicious_groups >= 2
    metrics = {
        **overall.summary(precision_at),
        "groups": grouped.num_groups,
        "suspicious_groups": grouped.num_suspicious_groups,
        "curve": overall.curve(),
        **reliability(grouped.probabilities, grouped.labels, groups, intervals=has_intervals),
        "budgets": [spent.summary() for spent in ranked.spend(budgets_minutes)],
        "videos": by_video,
    }
    viewed = [ranked.frames_within(minutes) for minutes in budgets_minutes]
    intervals = grouped.intervals(precision_at=precision_at, viewed=viewed)
    return _with_intervals(metrics, intervals, precision_at)


def evaluate_videos(scored: pa.Table, *, precision_at: Sequence[int]) -> dict[str, Any]:
    """Returns the metrics of labelled videos that have one score each.

    Args:
        scored: `video`, `group`, `label`, and `prob2`, the score.
        precision_at: the k of each precision@k.

    Returns:
        What `evaluate` returns, of videos: `unit` is `videos`, `num_videos` replaces `frames`; `videos` has
        the label and score of each. What needs labels of seconds is empty; `not_by_second` is the reason.
    """
    rows: Any = scored.select(["video", "group", "label", "prob2"]).to_pandas()
    rows = rows.sort_values(["prob2", "video"], ascending=[False, True])
    overall = RankedLabels.count(rows["prob2"].tolist(), rows["label"].tolist())
    labels = rows["label"].to_numpy()
    grouped = RankedGroups(rows["prob2"].to_numpy(), labels, rows["group"].to_numpy(), firsts=labels > 0)
    summary = overall.summary(precision_at)
    metrics = {
        "unit": "videos",
        "num_videos": summary.pop("frames"),
        **summary,
        "groups": grouped.num_groups,
        "suspicious_groups": grouped.num_suspicious_groups,
        "curve": overall.curve(),
        "not_by_second": NOT_BY_SECOND,
        **reliability(np.array([]), np.array([]), np.array([]), intervals=False),
        "threshold_recall": None,
        "budgets": [],
        "videos": {
            str(row.video): {"label": int(row.label), "score": float(row.prob2)}
            for row in rows.itertuples(index=False)
        },
    }
    return _with_intervals(metrics, grouped.intervals(precision_at=precision_at, viewed=()), precision_at)


def _with_intervals(
    metrics: dict[str, Any], intervals: Intervals | None, precision_at: Sequence[int]
) -> dict[str, Any]:
    """Returns metrics with the interval of each beside it; None for all if there are none."""
    of_budgets = ("frame_recall", "frame_precision", "incident_recall")
    budgets = [
        spent | {f"{name}_interval": intervals and getattr(intervals, name)[place] for name in of_budgets}
        for place, spent in enumerate(metrics["budgets"])
    ]
    at = zip(map(str, precision_at), intervals.precision_at, strict=True) if intervals else ()
    return {
        **metrics,
        "average_precision_interval": intervals and intervals.average_precision,
        "roc_auc_interval": intervals and intervals.roc_auc,
        # A resample may have k frames where the ranking itself has fewer.
        "precision_at_interval": {k: found for k, found in at if metrics["precision_at"][k] is not None},
        "budgets": budgets,
    }


def threshold_for_recall(curve: Sequence[Mapping[str, float]], recall: float) -> float:
    """Returns the highest threshold that reaches a recall of suspicious frames.

    Args:
        curve: points of `RankedLabels.curve`, not empty.
        recall: the wanted recall, above 0 and up to 1.
    """
    return _just_below(next(point["threshold"] for point in curve if point["recall"] >= recall - 1e-9))


def threshold_for_share(curve: Sequence[Mapping[str, float]], share: float) -> float:
    """Returns the lowest threshold with at most this share of all frames above it.

    Args:
        curve: points of `RankedLabels.curve`, not empty.
        share: the share of frames that can be reviewed, 0 to 1.
    """
    affordable = [point["threshold"] for point in curve if point["share"] <= share + 1e-9]
    return _just_below(affordable[-1]) if affordable else curve[0]["threshold"]


def _just_below(threshold: float) -> float:
    # A frame is suspicious above the threshold; the curve counts frames at or above it.
    return float(np.nextafter(threshold, 0.0))
