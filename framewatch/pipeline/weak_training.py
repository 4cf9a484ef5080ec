"""Trains and evaluates on weak labels, of videos or of points in time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from framewatch.errors import InputError
from framewatch.pipeline.run import Run
from framewatch.ranking import evaluation, labels, weak_labels
from framewatch.ranking.cross_validation import fold_of_each
from framewatch.ranking.logistic import Fit
from framewatch.ranking.weak_labels import Resolved, WeakFrames

# Columns of weakly labelled frames, beside those of all labelled frames.
KNOWN, DISTANCE = "known", "distance_s"
# Each fold of cross-validation chooses an extent too, so this number multiplies its own.
_INNER_FOLDS = 3


def format_of(labelled: DataFrame) -> str | None:
    """Returns what weak labels are of, `video` or `point`; None for other labelled frames."""
    if KNOWN not in labelled.columns:
        return None
    return "point" if DISTANCE in labelled.columns else "video"


def join_labels(run: Run, features: DataFrame, path: str) -> tuple[DataFrame, labels.LabelCounts]:
    """Returns the frames of a label file; of weak labels, all frames that a label may be of."""
    read = labels.read_labels(run.spark, path)
    if read.format in ("video", "point"):
        return labels.join_weak_labels(features, read, period_s=run.period_s)
    return labels.join_labels(features, read)


def is_given(labelled: DataFrame) -> Column:
    """Returns whether a frame has a label of its own: by point, only where a point or a verdict is."""
    return F.coalesce(KNOWN, F.lit(True)) if format_of(labelled) == "point" else F.lit(True)


def too_many(form: str, num_frames: int) -> InputError:
    """Returns the error about more frames than the driver takes."""
    fewer = "fewer or shorter videos" if form == "video" else "fewer points"
    return InputError(
        f"labels by {form} are resolved in memory, and {num_frames} frames are too many: label {fewer}, or "
        "label by time"
    )


@dataclass(frozen=True)
class WeakTraining:
    """Weakly labelled frames in memory, and how to fit classifiers on them.

    Attributes:
        frames: the frames.
        origins: (frames,) the origin of each frame.
        features: (frames, features) float64, all blocks side by side.
        fit_side_by_side: fits one regression on all features, which resolves labels.
        folds: maximum number of folds of cross-validation.
        resolved: the labels and weights of all frames.
    """

    frames: WeakFrames
    origins: np.ndarray
    features: np.ndarray
    fit_side_by_side: Fit
    folds: int
    resolved: Resolved

    @classmethod
    def of_rows(
        cls, rows: pa.Table, features: np.ndarray, groups: np.ndarray, *, fit_side_by_side: Fit, folds: int
    ) -> "WeakTraining":
        """Resolves the labels of all frames.

        Args:
            rows: weakly labelled frames with features.
            features: their features.
            groups: (frames,) the group of each.
            fit_side_by_side: see above.
            folds: see above.
        """
        distances_s = None
        if DISTANCE in rows.column_names:
            distances_s = pc.fill_null(rows[DISTANCE], 0.0).to_numpy()
        frames = WeakFrames(
            format="video" if distances_s is None else "point",
            labels=rows["label"].to_numpy(),
            weights=rows["weight"].to_numpy(),
            videos=_numbers(rows["video"].to_pylist()),
            groups=_numbers(groups.tolist()),
            # Verdicts have nothing here: they are of their own frames.
            known=pc.fill_null(rows[KNOWN], True).to_numpy().astype(bool),
            distances_s=distances_s,
        )
        resolved = weak_labels.resolve(frames, features, fit=fit_side_by_side, split=_inner_split)
        origins = np.array(rows["origin"].to_pylist(), object)
        return cls(frames, origins, features, fit_side_by_side, folds, resolved)

    def notes(self) -> dict[str, Any]:
        """Returns what the card shows of the extent."""
        losses = {f"{extent:g}": loss for extent, loss in self.resolved.losses.items()}
        return {"format": self.frames.format, "extent": self.resolved.extent, "extent_losses": losses}

    def out_of_fold(self, fit: Fit) -> "LeftOutFrames | None":
        """Scores each frame by a classifier that was fitted, on labels that were resolved, without its group.

        Args:
            fit: features, labels and weights of all frames -> classifier; frames with weight 0 do not count.

        Returns:
            The scores; None if no split can both train and test.
        """
        fold = weak_labels.folds_of(self.frames, self._split) if self.folds else None
        if fold is None:
            return None
        probabilities, extents = np.empty(len(fold)), np.empty(len(fold))
        for number in np.unique(fold):
            held_out = fold == number
            resolved = weak_labels.resolve(
                self.frames.rows(~held_out),
                self.features[~held_out],
                fit=self.fit_side_by_side,
                split=_inner_split,
            )
            weights = np.zeros(len(fold))
            weights[~held_out] = resolved.weights
            classifier = fit(self.features, self.frames.labels, weights)
            probabilities[held_out] = classifier.probabilities(self.features[held_out])
            extents[held_out] = resolved.extent
        return LeftOutFrames(self.frames, probabilities, extents)

    def _split(self, labels: np.ndarray, groups: np.ndarray) -> np.ndarray | None:
        return fold_of_each(labels, groups.tolist(), folds=self.folds)

    def trained_on(self, labelled: DataFrame) -> DataFrame:
        """Returns the frames that the classifier was trained on, with their weights of the training."""
        used = self.resolved.weights > 0
        weights = zip(self.origins[used].tolist(), self.resolved.weights[used].tolist(), strict=True)
        rows = labelled.sparkSession.createDataFrame(list(weights), "origin string, weight double")
        return labelled.drop("weight").join(F.broadcast(rows), "origin")

    def used(self, rows: pa.Table) -> pa.Table:
        """Returns the frames that the classifier was trained on, as labelled frames.

        Their `weight` is that of the training. `known` is false where nobody has labelled the frame itself.
        """
        known = self.frames.known
        if self.frames.format == "video":
            known = known | (self.frames.labels == 0)
        for name, values in (("weight", self.resolved.weights), (KNOWN, known)):
            rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
        return rows.filter(pa.array(self.resolved.weights > 0))


@dataclass(frozen=True)
class LeftOutFrames:
    """Out-of-fold predictions of weakly labelled frames.

    Attributes:
        frames: the frames.
        probabilities: (frames,) P(suspicious).
        extents: (frames,) the extent that was chosen without the frame's group.
    """

    frames: WeakFrames
    probabilities: np.ndarray
    extents: np.ndarray


def evaluate_videos(
    scored: LeftOutFrames | None,
    videos: Sequence[str],
    groups: Sequence[str],
    *,
    precision_at: Sequence[int],
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Returns the metrics of videos, None if none were left out, and the calibration for the notes.

    Args:
        scored: the frames of labelled videos.
        videos: (frames,) the URI of the video of each frame.
        groups: (frames,) the group of each frame.
        precision_at: the k of each precision@k.
    """
    not_calibrated = {"kind": "none", "reason": f"as {evaluation.NOT_BY_SECOND}"}
    if scored is None:
        return None, not_calibrated
    rows, found, truth = weak_labels.video_scores(scored.frames, scored.probabilities, scored.extents)
    table = {
        "video": [videos[row] for row in rows],
        "group": [groups[row] for row in rows],
        "label": truth,
        "prob2": found,
    }
    return evaluation.evaluate_videos(pa.table(table), precision_at=precision_at), not_calibrated


def top_means(ranked: DataFrame, notes: Mapping[str, Any]) -> DataFrame:
    """Returns the score of each labelled video: the mean `prob2` of its highest frames.

    Args:
        ranked: ranked frames of videos that are labelled as a whole, with `label` and perhaps `group`.
        notes: the classifier's notes, which have the share of frames if it was trained on labels by video.
    """
    of_training = notes.get("labels", {})
    is_chosen = of_training.get("format") == "video"
    share = of_training["extent"] if is_chosen else weak_labels.DEFAULTS["video"]
    of_video = Window.partitionBy("video")
    number = F.greatest(F.lit(1), F.floor(F.count("*").over(of_video) * share + 0.5))
    place = F.row_number().over(of_video.orderBy("rank"))
    top = ranked.withColumn("place", place).withColumn("number", number).where("place <= number")
    groups = [F.max("group").alias("group")] if "group" in ranked.columns else []
    return top.groupBy("video").agg(F.avg("prob2").alias("prob2"), F.max("label").alias("label"), *groups)


def _inner_split(labels: np.ndarray, groups: np.ndarray) -> np.ndarray | None:
    return fold_of_each(labels, groups.tolist(), folds=_INNER_FOLDS)


def _numbers(names: Sequence[str]) -> np.ndarray:
    """Returns a number for each name, in order of the names."""
    return np.unique(np.array(names), return_inverse=True)[1]
