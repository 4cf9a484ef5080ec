"""How good is a ranking? Splits by whole videos, counts, and the numbers made from them.

Frames of one video resemble each other, so a split by frames would ask about pictures that training has
all but seen. Every split here leaves whole videos out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from framewatch.ranking.budgets import RankedFrames
from framewatch.tables.schema import PREDICTIONS, fields, require_columns


@dataclass(frozen=True)
class RankedLabels:
    """The labels of ranked frames, as counts at each distinct probability, the highest first.

    Attributes:
        thresholds: (n,) float64, falling.
        true_positives: (n,) int64, suspicious frames with a probability at or above the threshold.
        false_positives: (n,) int64, other frames likewise.
        top_labels: (frames,) int64, the labels in order of rank.
    """

    thresholds: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    top_labels: np.ndarray

    @classmethod
    def count(cls, probabilities: Sequence[float], labels: Sequence[float]) -> "RankedLabels":
        """Counts frames that are given in order of rank."""
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
        """Suspicious frames."""
        return int(self.top_labels.sum())

    @property
    def negatives(self) -> int:
        """Other frames."""
        return len(self.top_labels) - self.positives

    @property
    def base_rate(self) -> float | None:
        """Share of suspicious frames: the average precision of a random order, nearly."""
        return self.positives / len(self.top_labels) if len(self.top_labels) else None

    @property
    def average_precision(self) -> float | None:
        """Sum of precision over steps of recall, without interpolation; None where no frame is suspicious.

        As in scikit-learn's `average_precision_score`.
        """
        if self.positives == 0:
            return None
        precision = self.true_positives / (self.true_positives + self.false_positives)
        return float(np.sum(np.diff(self.true_positives, prepend=0) * precision) / self.positives)

    @property
    def roc_auc(self) -> float | None:
        """Chance that a suspicious frame ranks above another; ties count half. None with one class only."""
        if self.positives == 0 or self.negatives == 0:
            return None
        true_positives = np.concatenate([[0], self.true_positives])
        false_positives = np.concatenate([[0], self.false_positives])
        area = np.trapezoid(true_positives, false_positives)
        return float(area / (self.positives * self.negatives))

    def precision_at(self, k: int) -> float | None:
        """Share of suspicious frames among the first k; None where there are fewer than k."""
        return float(self.top_labels[:k].sum() / k) if len(self.top_labels) >= k else None

    def curve(self, most_points: int = 200) -> list[dict[str, float]]:
        """The precision-recall curve as points, thinned to at most `most_points`.

        `share` is the share of all frames that are at or above the threshold.
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
        """The numbers that metrics.json keeps."""
        return {
            "frames": len(self.top_labels),
            "suspicious": self.positives,
            "base_rate": self.base_rate,
            "average_precision": self.average_precision,
            "roc_auc": self.roc_auc,
            "precision_at": {str(k): self.precision_at(k) for k in precision_at},
        }


def assign_folds(videos: Mapping[str, int], folds: int) -> dict[str, int]:
    """Deals whole videos to folds, so that suspicious frames spread evenly.

    Args:
        videos: suspicious frames of each video.
        folds: how many folds at most.

    Returns:
        The fold of each video; empty where fewer than two videos have suspicious frames, as then no split can
        both train and test.
    """
    with_positives = sum(count > 0 for count in videos.values())
    used = min(folds, with_positives)
    if used < 2:
        return {}
    dealt: dict[str, int] = {}
    load = [(0, 0)] * used
    for video in sorted(videos, key=lambda v: (-videos[v], v)):
        fold = min(range(used), key=lambda n: (load[n], n))
        load[fold] = (load[fold][0] + videos[video], load[fold][1] + 1)
        dealt[video] = fold
    return dealt


def out_of_fold(
    labelled: DataFrame,
    *,
    folds: int,
    fit: Callable[[DataFrame], Any],
    score: Callable[[DataFrame, Any], DataFrame],
) -> DataFrame | None:
    """Scores each labelled frame with a classifier that has not seen its video.

    Args:
        labelled: `features` rows with `label`.
        folds: how many parts to deal the videos into.
        fit: labelled rows -> classifier.
        score: (rows, classifier) -> rows with `prob2`.

    Returns:
        The rows with `prob2`; or None where too few videos have suspicious frames, or all that is not
        suspicious lies in one part.
    """
    counts = labelled.groupBy("video").agg(F.sum("label").alias("ones"), F.count("*").alias("all")).collect()
    dealt = assign_folds({row["video"]: int(row["ones"]) for row in counts}, folds)
    with_zeros = {dealt[row["video"]] for row in counts if dealt and row["all"] > row["ones"]}
    if len(with_zeros) < 2:
        return None
    parts = []
    for fold in sorted(set(dealt.values())):
        held_out = F.col("video").isin([video for video, its in dealt.items() if its == fold])
        classifier = fit(labelled.where(~held_out))
        parts.append(score(labelled.where(held_out), classifier).select(*labelled.columns, "prob2"))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.unionByName(part)
    return whole


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
    rows: Any = scored.select(*columns, "label").toPandas()
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
    """The highest threshold above which at least this share of the suspicious frames lies.

    Args:
        curve: of `RankedLabels.curve`, not empty.
        recall: the wanted share, above 0 and up to 1.
    """
    return _just_below(next(point["threshold"] for point in curve if point["recall"] >= recall - 1e-9))


def threshold_for_share(curve: Sequence[Mapping[str, float]], share: float) -> float:
    """The lowest threshold above which at most this share of all frames lies.

    Args:
        curve: of `RankedLabels.curve`, not empty.
        share: of the frames that can be reviewed, 0 to 1.
    """
    paid = [point["threshold"] for point in curve if point["share"] <= share + 1e-9]
    return _just_below(paid[-1]) if paid else curve[0]["threshold"]


def _just_below(threshold: float) -> float:
    # A frame is suspicious above the threshold, and a curve counts those at it too.
    return float(np.nextafter(threshold, 0.0))
