"""Fits the classifier on labelled frames, and scores these frames on left-out groups of videos."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.ml.classification import LogisticRegressionModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from framewatch.config import ClassifierConfig
from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.models.network_output import feature_lists
from framewatch.pipeline import context_frames, feature_blocks, weak_training
from framewatch.pipeline.run import Run
from framewatch.pipeline.weak_training import DISTANCE, KNOWN, WeakTraining
from framewatch.ranking import classifier, cross_validation, label_join, scores
from framewatch.ranking.block_notes import uses_bursts
from framewatch.ranking.blocks import COLUMNS, STILLS, Blocks
from framewatch.ranking.context_training import ContextTraining
from framewatch.ranking.logistic import Fit, Logistic
from framewatch.spark.arrow import largest_result_bytes, to_arrow
from framewatch.tables import feature_files
from framewatch.tables.spark_tables import write_table

# Left-out videos are scored in the driver's memory up to 20,000 labelled frames of InceptionV3: 320 MB.
_VALUES_IN_MEMORY, _VALUE_BYTES = 20_000 * 2048, 4
# Numbers of a frame with a still, its change and its motion, at most.
_VALUES_OF_BLOCKS = 2 * 2048 + 44
_VALUES_OF_STILLS = 2048
_LABELLED = ("origin", "video", "group", "timestamp_s", "label", "weight", "prob2", "features")


@dataclass(frozen=True)
class Fitted:
    """A classifier, and how to fit such a one again.

    Attributes:
        model: the classifier.
        fit_in_memory: fits it on the features, labels and weights of `rows`.
        blocks: its blocks of features; None if it was not to use others than stills.
        notes: the notes on its blocks; None without any.
        rows: the labelled frames with features, if the fit has read them, sorted by origin. With a context,
            the frames around them are among them, with weight 0.
        weak: the frames of weak labels, if there are any.
        context: the notes on its context; None if it was not to use any.
        context_training: fits the classifier and its context again; None without the frames around labels.
    """

    model: LogisticRegressionModel
    fit_in_memory: Fit
    blocks: Blocks | None = None
    notes: dict[str, Any] | None = None
    rows: pa.Table | None = None
    weak: WeakTraining | None = None
    context: dict[str, Any] | None = None
    context_training: ContextTraining | None = None


@dataclass(frozen=True)
class Training:
    """What a classifier is trained on.

    Attributes:
        run: the current call.
        labelled: the labelled frames that have features.
        num_frames: their number.
        group_of: the group of each labelled video.
        names: the blocks of features to use, or to choose from.
    """

    run: Run
    labelled: DataFrame
    num_frames: int
    group_of: Mapping[str, str]
    names: tuple[str, ...]

    def fit(self) -> Fitted:
        """Fits the classifier, on stills or on blocks of features, perhaps with its context.

        Raises:
            InputError: only one class is left, or there are too many frames to resolve weak labels, to
                combine blocks or to use context in memory.
        """
        options = settings(self.run.config.classifier)
        form = weak_training.format_of(self.labelled)
        around, reason = self._around(form)
        notes: dict[str, Any] | None = None
        if reason:
            notes = {"weights": None, "compared": [], "reason": reason}
        if self.names == STILLS and form is None and around is None:
            fit_stills: Fit = functools.partial(classifier.fit_in_memory, **options)
            return Fitted(classifier.train(self.labelled, **options), fit_stills, context=notes)
        self._require_memory(form)
        rows = _in_memory(self.labelled)
        if around is None:
            return replace(self._fit_rows(rows, form)[0], context=notes)
        rows = pa.concat_tables([rows, around], promote_options="default").sort_by("origin")
        fitted, logistic = self._fit_rows(rows, form)
        again = self._in_context(fitted, rows)
        features = (fitted.blocks or Blocks.of_rows(rows, STILLS)).matrix(rows)
        found = again.around(logistic, features, rows["label"].to_numpy(), rows["weight"].to_numpy())
        return replace(fitted, context=found.notes(), context_training=again)

    def _fit_rows(self, rows: pa.Table, form: str | None) -> tuple[Fitted, Logistic]:
        """Fits the classifier in memory; returns it, and its regression on all numbers of `rows`."""
        config, folds = self.run.config.classifier, self.run.config.evaluation.folds
        fit_stills: Fit = functools.partial(classifier.fit_in_memory, **settings(config))
        blocks, groups, weak = Blocks.of_rows(rows, self.names), self._groups(rows), None
        features, truth, weights = blocks.matrix(rows), rows["label"].to_numpy(), rows["weight"].to_numpy()
        require_both_classes(truth[weights > 0])
        if form is not None:
            weak = WeakTraining.of_rows(rows, features, groups, fit_side_by_side=fit_stills, folds=folds)
            weights = weak.resolved.weights
        if self.names == STILLS:
            logistic = fit_stills(features, truth, weights)
            model = self._model(logistic, on_spark=weak is None)
            return Fitted(model, fit_stills, rows=rows, weak=weak), logistic
        choose = config.blocks is None
        training = feature_blocks.BlockTraining(blocks, groups, fit_stills, folds, choose=choose)
        stacked = training.stack(features, truth, weights)
        on_spark = tuple(stacked.weights) == STILLS and weak is None
        model = self._model(training.used(stacked), on_spark=on_spark)
        notes = training.notes(self.run, stacked)
        return Fitted(model, training.fit, blocks, notes, rows, weak), stacked.logistic

    def _model(self, logistic: Logistic, *, on_spark: bool) -> LogisticRegressionModel:
        """Returns the regression as Spark's, or fits the same one on Spark."""
        if on_spark:
            return classifier.train(self.labelled, **settings(self.run.config.classifier))
        return classifier.with_coefficients(self.run.spark, logistic)

    def _groups(self, rows: pa.Table) -> np.ndarray:
        return np.array([self.group_of[video] for video in rows["video"].to_pylist()])

    def _in_context(self, fitted: Fitted, rows: pa.Table) -> ContextTraining:
        return ContextTraining(
            fitted.fit_in_memory,
            self._groups(rows),
            np.array(rows["video"].to_pylist()),
            rows["timestamp_s"].to_numpy(),
            self.run.config.evaluation.folds or feature_blocks.DEFAULT_FOLDS,
            choose=self.run.config.classifier.context is None,
        )

    def _most_frames(self) -> float:
        values = _VALUES_OF_STILLS if self.names == STILLS else _VALUES_OF_BLOCKS
        return most_values(self.run) / values

    def _require_memory(self, form: str | None) -> None:
        if self.num_frames <= self._most_frames():
            return
        if form is not None:
            raise weak_training.too_many(form, self.num_frames)
        raise self._too_many(f"{self.num_frames} labelled frames")

    def _too_many(self, frames: str) -> InputError:
        return InputError(
            f"classifier.features={self.run.config.classifier.features} is fitted in memory, and {frames} "
            "are too many: set classifier.features=still, or label fewer frames"
        )

    def _around(self, form: str | None) -> tuple[pa.Table | None, str | None]:
        """Returns the frames around labelled ones, with weight 0, or the reason why `auto` uses no context.

        Both are None if none is wanted.
        """
        wanted = self.run.config.classifier.context
        if wanted is False:
            return None, None
        if form is not None:
            if wanted:
                raise InputError(
                    f"classifier.features={self.run.config.classifier.features}: context needs labels by "
                    f"frame or by time, and these are by {form}: leave out context, or label ranges of time"
                )
            return None, f"labels are by {form}"
        around = context_frames.around(self.run.tables.current("features"), self.labelled)
        around = around.select(*(name for name in around.columns if name in self.labelled.columns))
        around = around.withColumn("label", F.lit(0.0)).withColumn("weight", F.lit(0.0))
        room = int(self._most_frames()) - self.num_frames
        rows = _in_memory(around.limit(max(0, room) + 1))  # one more shows that there are too many
        if len(rows) <= room:
            return rows, None
        frames = f"{self.num_frames} labelled frames with those around them"
        if wanted:
            raise self._too_many(frames)
        return None, f"{frames} do not fit into memory"

    def write_left_out(
        self, fitted: Fitted, path: str
    ) -> tuple[dict[str, Any] | None, dict[str, Any]] | None:
        """Scores each labelled frame by a classifier that was trained without its group, and writes them.

        Args:
            fitted: the classifier.
            path: where to write the frames, with `prob2`, which is null if there are too few groups.

        Returns:
            Of labels by video, metrics and calibration for the notes; else None.
        """
        in_memory = fitted.rows is not None
        if in_memory or fitted.model.numFeatures * self.num_frames <= most_values(self.run):
            return self._write_left_out_in_memory(fitted, path)
        folds, scored = self.run.config.evaluation.folds, None
        grouped = label_join.with_groups(self.labelled, self.group_of)
        if folds:
            fit = functools.partial(classifier.train, **settings(self.run.config.classifier))
            scored = cross_validation.out_of_fold(grouped, folds=folds, fit=fit, score=scores.score)
        whole = scored if scored is not None else grouped.withColumn("prob2", F.lit(None).cast("double"))
        write_table(whole.select(*_LABELLED), path, piecewise=True)
        return None

    def _write_left_out_in_memory(
        self, fitted: Fitted, path: str
    ) -> tuple[dict[str, Any] | None, dict[str, Any]] | None:
        """Does the same on the driver, where a fit takes milliseconds."""
        rows = _in_memory(self.labelled) if fitted.rows is None else fitted.rows
        blocks = fitted.blocks or Blocks.of_rows(rows, STILLS)
        groups, features, weak = self._groups(rows), blocks.matrix(rows), fitted.weak
        scored = weak.out_of_fold(fitted.fit_in_memory) if weak else None
        if weak:
            probabilities = scored and scored.probabilities
        else:
            probabilities = self._out_of_fold(fitted, rows, features, groups)
        if uses_bursts(fitted.notes):
            # The review page learns from the numbers that candidates have.
            lists = feature_lists(features.astype(np.float32), [None] * len(rows))[0]
            rows = rows.set_column(rows.column_names.index("features"), "features", lists)
        prob2 = pa.nulls(len(rows), pa.float64()) if probabilities is None else pa.array(probabilities)
        whole = rows.append_column("prob2", prob2).append_column("group", pa.array(groups, pa.string()))
        if fitted.context_training is not None:
            whole = whole.filter(pc.greater(whole["weight"], 0))
        written = weak.used(whole).select([*_LABELLED, KNOWN]) if weak else whole.select(_LABELLED)
        feature_files.write_rows(storage.join(path, "part-00000.parquet"), written)
        if weak is None or weak.frames.format != "video":
            return None
        precision_at = self.run.config.evaluation.precision_at
        return weak_training.evaluate_videos(
            scored, rows["video"].to_pylist(), groups.tolist(), precision_at=precision_at
        )

    def _out_of_fold(
        self, fitted: Fitted, rows: pa.Table, features: np.ndarray, groups: np.ndarray
    ) -> np.ndarray | None:
        truth, weights = rows["label"].to_numpy(), rows["weight"].to_numpy()
        folds = self.run.config.evaluation.folds
        in_context = fitted.context_training
        if in_context is None:
            return cross_validation.out_of_fold_in_memory(
                features, truth, weights, groups.tolist(), folds=folds, fit=fitted.fit_in_memory
            )
        return in_context.out_of_fold(features, truth, weights, folds=folds)


def require_both_classes(labels: np.ndarray) -> None:
    """Checks that frames with features have both labels.

    Raises:
        InputError: they have one.
    """
    ones = int(labels.sum())
    if ones in (0, len(labels)):
        raise InputError(
            f"{len(labels)} labelled frames have features, {ones} of them suspicious: training needs both "
            "classes"
        )


def settings(config: ClassifierConfig) -> dict[str, Any]:
    """Returns the arguments of `classifier.train`."""
    names = ("max_iter", "reg_param", "elastic_net_param", "standardization", "class_weights")
    return {name: getattr(config, name) for name in names}


def most_values(run: Run) -> float:
    """Returns how many numbers of labelled frames the driver takes."""
    # Half of what may be sent: a result is more than its numbers.
    return min(_VALUES_IN_MEMORY, largest_result_bytes(run.spark) / _VALUE_BYTES / 2)


def _in_memory(labelled: DataFrame) -> pa.Table:
    """Returns labelled frames with features, sorted."""
    names = ("origin", "video", "timestamp_s", "label", "weight", KNOWN, DISTANCE, *COLUMNS.values())
    return to_arrow(labelled.select(*(name for name in names if name in labelled.columns))).sort_by("origin")
