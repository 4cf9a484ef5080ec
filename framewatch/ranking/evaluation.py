"""Evaluates a ranking: cross-validation by whole videos, counts, and metrics.

Frames of one video resemble each other, so a split by frames would leak training data into the test. Every
split here holds out whole videos.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from framewatch.ranking.budgets import RankedFrames
from framewatch.ranking.logistic import Logistic
from framewatch.spark.arrow import to_arrow
from framewatch.tables.schema import PREDICTIONS, fields, require_columns


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


def assign_folds(videos: Mapping[str, int], folds: int) -> dict[str, int]:
    """Assigns whole videos to folds, and spreads suspicious frames evenly over the folds.

    Args:
        videos: number of suspicious frames of each video.
        folds: maximum number of folds.

    Returns:
        The fold of each video; empty if fewer than two videos have suspicious frames, because then no split
        can both train and test.
    """
    with_positives = sum(count > 0 for count in videos.values())
    used = min(folds, with_positives)
    if used < 2:
        return {}
    fold_of: dict[str, int] = {}
    load = [(0, 0)] * used
    for video in sorted(videos, key=lambda v: (-videos[v], v)):
        fold = min(range(used), key=lambda n: (load[n], n))
        load[fold] = (load[fold][0] + videos[video], load[fold][1] + 1)
        fold_of[video] = fold
    return fold_of


def out_of_fold(
    labelled: DataFrame,
    *,
    folds: int,
    fit: Callable[[DataFrame], Any],
    score: Callable[[DataFrame, Any], DataFrame],
) -> DataFrame | None:
    """Scores each labelled frame with a classifier that was trained without its video.

    Args:
        labelled: `features` rows with `label`.
        folds: maximum number of folds.
        fit: labelled rows -> classifier.
        score: (rows, classifier) -> rows with `prob2`.

    Returns:
        The rows with `prob2`; or None if too few videos have suspicious frames, or if all other frames are
        in one fold.
    """
    counts = labelled.groupBy("video").agg(F.sum("label").alias("ones"), F.count("*").alias("all")).collect()
    fold_of = _usable_folds({row["video"]: (int(row["ones"]), row["all"]) for row in counts}, folds)
    if not fold_of:
        return None
    parts = []
    for fold in sorted(set(fold_of.values())):
        held_out = F.col("video").isin([video for video, number in fold_of.items() if number == fold])
        classifier = fit(labelled.where(~held_out))
        parts.append(score(labelled.where(held_out), classifier).select(*labelled.columns, "prob2"))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.unionByName(part)
    return whole


def _usable_folds(counts: Mapping[str, tuple[int, int]], folds: int) -> dict[str, int]:
    """Returns the fold of each video, given its suspicious frames and all its frames.

    Empty if too few videos have suspicious frames, or if all other frames are in one fold.
    """
    fold_of = assign_folds({video: ones for video, (ones, _) in counts.items()}, folds)
    with_zeros = {fold_of[video] for video, (ones, total) in counts.items() if fold_of and total > ones}
    return fold_of if len(with_zeros) >= 2 else {}


def out_of_fold_in_memory(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    videos: Sequence[str],
    *,
    folds: int,
    fit: Callable[[np.ndarray, np.ndarray, np.ndarray], Logistic],
) -> np.ndarray | None:
    """Does the same as `out_of_fold`, without Spark, for frames that fit into memory.

    Args:
        features: (frames, features) float64.
        labels: (frames,), 0 or 1.
        weights: (frames,), above 0.
        videos: (frames,), the video of each frame.
        folds: maximum number of folds.
        fit: features, labels and weights -> classifier; frames with weight 0 do not count.

    Returns:
        (frames,) float64, P(suspicious); or None in the cases of `out_of_fold`.
    """
    counts: dict[str, tuple[int, int]] = {}
    for video, label in zip(videos, labels, strict=True):
        ones, total = counts.get(video, (0, 0))
        counts[video] = ones + int(label), total + 1
    fold_of = _usable_folds(counts, folds)
    if not fold_of:
        return None
    fold = np.array([fold_of[video] for video in videos])
    probabilities = np.empty(len(fold))
    for number in np.unique(fold):
        held_out = fold == number
        classifier = fit(features, labels, np.where(held_out, 0.0, weights))
        probabilities[held_out] = classifier.probabilities(features[held_out])
    return probabilities


def evaluate(
    scored: DataFrame,
    *,
    precision_at: Sequence[int] = (3, 10, 20),
    budgets_minutes: Sequence[float] = (1, 2, 5, 10, 20, 40),
    period_s: float = 1.0,
    gap_s: float = 2.0,
) -> dict[str, Any]:
    """Metrics of scored, labelled frames, over all and per video.

    Only a few numbers per labelled frame come to the driver: hand labels are few.

    Args:
        scored: `origin`, `video`, `timestamp_s`, `prob2`, `label`.
        precision_at: the k of each precision@k.
        budgets_minutes: budgets of review to evaluate, in minutes of footage.
        period_s: seconds from one frame to the next: what viewing one costs.
        gap_s: seconds without a suspicious frame that an incident may span.

    Returns:
        `frames`, `suspicious`, `base_rate`, `average_precision`, `roc_auc`, `precision_at`, the
        precision-recall `curve`, the recall that `budgets` buy, and a summary for each of `videos`.

    Raises:
        SchemaError: a column is missing or has another type.

    Example:
        >>> metrics = evaluate(ranked.join(labelled.select("origin", "label"), "origin"))
        >>> 0 <= metrics["average_precision"] <= 1
        True
    """
    columns = ("origin", "video", "timestamp_s", "prob2")
    require_columns(scored, fields(PREDICTIONS, *columns), table="scored frames")
    rows = to_arrow(scored.select(*columns, "label"))
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
    rows: Any = scored.select(["origin", "video", "timestamp_s", "prob2", "label"]).to_pandas()
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
    return {
        **overall.summary(precision_at),
        "curve": overall.curve(),
        "budgets": [spent.summary() for spent in ranked.spend(budgets_minutes)],
        "videos": by_video,
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
