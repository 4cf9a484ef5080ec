"""Trains the classifier: `features` and labels -> classifier, metrics on left-out groups, model card."""

import contextlib
import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from framewatch.config import Config
from framewatch.errors import InputError
from framewatch.feedback import VerdictLog, label_ranges
from framewatch.io import storage
from framewatch.io.command import command
from framewatch.io.locks import exclusive_lock
from framewatch.pipeline import event_kinds, feature_blocks, fitting, weak_training
from framewatch.pipeline.featurize import features_identity
from framewatch.pipeline.grouping import group_videos
from framewatch.pipeline.run import Run
from framewatch.ranking import (
    block_notes,
    budgets,
    classifier,
    kind_notes,
    labels,
    left_out,
    model_card,
)
from framewatch.ranking.block_notes import uses_bursts
from framewatch.ranking.blocks import COLUMNS
from framewatch.ranking.weak_labels import extent_sentence
from framewatch.spark.task_progress import task_progress
from framewatch.tables import saved_model
from framewatch.tables.saved_model import SavedModel

# 10,000 frames with 2048 features take 80 MB. One task reads them faster than many tasks start.
_FRAMES_PER_PART = 10_000


def train(run: Run) -> None:
    """Fits the classifier on all labelled frames, and evaluates it on left-out groups of videos.

    Writes a new version of the classifier, with metrics, calibration, card and `labelled`: the labelled
    frames with their features, and their probability from a classifier that was not trained on their
    group. Then it makes this version the current one.

    Raises:
        InputError: there are no features or no labels, or the labels do not match the frames.
    """
    storage.require_writable(run.model_path)
    # Another output may train the same classifier through classifier.path.
    with exclusive_lock(run.model_path, "train", **asdict(run.config.lock)):
        _train(run)


def _train(run: Run) -> None:
    started = time.monotonic()
    names = feature_blocks.wanted_blocks(run.config, run.tables.metadata("frames"))
    labelled, notes = _labelled(run, names)
    # Floating-point sums depend on the order. With sorted rows, the same labels give the same classifier.
    num_parts = 1 + notes["labelled_frames"] // _FRAMES_PER_PART
    labelled = labelled.repartition(num_parts, "origin").sortWithinPartitions("origin")
    with contextlib.suppress(PySparkException):  # some platforms cannot cache; they compute it again
        labelled = labelled.cache()
    try:
        with task_progress(run.spark, "train"):
            videos = _videos(labelled)
            notes["without_features"] = sum(row["without_features"] for row in videos)
            group_of = group_videos(run, {row["video"]: row["group"] for row in videos})
            notes |= _group_counts(videos, group_of)
            usable = labelled.where("features is not null").drop("group")
            usable_frames = sum(row["frames"] for row in videos)
            training = fitting.Training(run, usable, usable_frames, group_of, names)
            fitted = training.fit()
            version, of_kinds = _saved(run, training, fitted)
            notes |= fitted.weak.notes() if fitted.weak else {}
        with task_progress(run.spark, "train, on left-out videos"):
            by_video = training.write_left_out(fitted, version.labelled_path)
        metrics, calibration = _evaluate(run, version) if by_video is None else by_video
    finally:
        with contextlib.suppress(PySparkException):
            labelled.unpersist()
    card = {
        **version.notes,
        "features": features_identity(run.tables),
        "labels": notes,
        "settings": fitting.settings(run.config.classifier),
        "blocks": fitted.notes,
        "cross_validation": metrics,
        "calibration": calibration,
    }
    if fitted.context is not None:
        card["context"] = fitted.context
    if of_kinds:
        card["kinds"] = of_kinds
    saved_model.publish(run.model_path, replace(version, notes=card), model_card.render(card))
    saved_model.delete_older(run.model_path, ranked_by=_ranked_by(run))
    seconds = round(time.monotonic() - started, 1)
    run.summarize("train", _closing_line(run, card, seconds), **card, seconds=seconds)


def _saved(
    run: Run, training: fitting.Training, fitted: fitting.Fitted
) -> tuple[SavedModel, dict[str, Any] | None]:
    """Fits the kinds of events, and writes a new version; returns it and the notes on its kinds, if any."""
    kinds, notes = event_kinds.train_kinds(
        fitted.weak.trained_on(training.labelled) if fitted.weak else training.labelled,
        training.group_of,
        fitted.blocks if uses_bursts(fitted.notes) else None,
        folds=run.config.evaluation.folds,
        most_values=fitting.most_values(run),
    )
    version = saved_model.new_version(run.model_path, classifier.identity(fitted.model, kinds))
    classifier.save(fitted.model, version.spark_path)
    if fitted.blocks is not None:
        feature_blocks.save_blocks(version, fitted.blocks)
    if kinds is not None:
        event_kinds.save_kinds(version, kinds)
    return version, notes


def _closing_line(run: Run, card: Mapping[str, Any], seconds: float) -> str:
    notes, metrics, calibration = card["labels"], card["cross_validation"], card["calibration"]
    without = notes["without_features"]
    left_out = f"; {without} of them left out, as they have no features" if without else ""
    text = (
        f"{notes['summary']}{left_out}; on left-out videos: {_quality(run, metrics, notes)}; {seconds:.1f} s"
    )
    if notes.get("format"):
        text += f"; {extent_sentence(notes)}"
    if card["blocks"]:
        text += f"; {block_notes.sentence(card['blocks'])}"
    if card.get("context"):
        text += f"; {block_notes.context_sentence(card['context'])}"
    if card.get("kinds"):
        text += f"; {kind_notes.sentence(card['kinds'])}"
    if metrics and metrics["budgets"]:
        text += f"; on the labelled footage, not on new footage, {budgets.best_sentence(metrics['budgets'])}"
    if calibration.get("warning"):
        text += f"; {model_card.calibration_sentence(calibration)}"
    return text


def _labelled(run: Run, names: Sequence[str]) -> tuple[DataFrame, dict[str, Any]]:
    """Returns the labelled frames with these blocks and a `weight`, and the summary for the model card.

    If the labels have kinds of events, the frames have a column `kind`.
    """
    config = run.config
    require_labels(config)
    features = run.tables.current("features")
    features = features.drop(*(column for name, column in COLUMNS.items() if name not in ("still", *names)))
    ranges, note = verdict_ranges(config.output) if config.labels.verdicts else ([], "")
    parts, summaries = [], []
    notes: dict[str, Any] = {"file": config.labels.train, "verdicts": len(ranges)}
    if ranges:
        judged, counts = labels.join_labels(
            features, labels.from_ranges(ranges, f"the verdicts of {config.output}")
        )
        parts.append(judged.withColumn("weight", F.lit(config.classifier.verdict_weight)))
        summaries.append(f"verdicts: {counts}" + (f", {note}" if note else ""))
    if config.labels.train:
        by_hand, counts = weak_training.join_labels(run, features, config.labels.train)
        if parts and "group" in by_hand.columns:
            group_of = by_hand.select("video", "group").distinct()
            parts[0] = parts[0].join(F.broadcast(group_of), "video", "left")
        if parts and "kind" in by_hand.columns:  # a verdict names none, and leaves that of the hand label
            named = parts[0].join(by_hand.select("origin", "kind"), "origin", "left")
            parts[0] = named.withColumn("kind", F.when(F.col("label") == 1, F.col("kind")))
        if parts:  # a verdict replaces the frame's hand label
            by_hand = by_hand.join(parts[0], "origin", "left_anti")
        parts.append(by_hand.withColumn("weight", F.lit(1.0)))
        summaries.append(str(counts))
    labelled = functools.reduce(functools.partial(DataFrame.unionByName, allowMissingColumns=True), parts)
    if len(parts) > 1:
        totals = (
            labelled.where(weak_training.is_given(labelled)).agg(F.count("*"), F.sum("label")).collect()[0]
        )
        counts = _of_both(counts, totals[0], int(totals[1]))
    labels.require_both_classes(counts)
    if "group" not in labelled.columns:
        labelled = labelled.withColumn("group", F.lit(None).cast("string"))
    about = {name: value for name, value in asdict(counts).items() if value or name != "kind_overlaps"}
    return labelled, {**notes, **about, "summary": "; ".join(summaries)}


def _videos(labelled: DataFrame) -> list[Row]:
    """Returns each labelled video with its group, and counts its frames."""
    usable = F.col("features").isNotNull()
    return (
        labelled.groupBy("video")
        .agg(
            F.max("group").alias("group"),
            F.count_if(~usable & weak_training.is_given(labelled)).alias("without_features"),
            F.count_if(usable).alias("frames"),
            F.count_if(usable & (F.col("label") == 1)).alias("suspicious"),
        )
        .collect()
    )


def _group_counts(videos: Sequence[Row], group_of: Mapping[str, str]) -> dict[str, int]:
    """Returns the number of groups, and of those with suspicious frames, for the model card."""
    return {
        "groups": len({group_of[row["video"]] for row in videos if row["frames"]}),
        "suspicious_groups": len({group_of[row["video"]] for row in videos if row["suspicious"]}),
    }


def _of_both(counts: labels.LabelCounts, labelled: int, suspicious: int) -> labels.LabelCounts:
    """Returns `counts` with the numbers of frames replaced by those of hand labels and verdicts together."""
    frames = counts.labelled_frames + counts.unlabelled_frames
    return replace(
        counts,
        labelled_frames=labelled,
        suspicious_frames=suspicious,
        unlabelled_frames=frames - labelled,
    )


def require_labels(config: Config) -> None:
    """Checks that training labels or verdicts are configured, without reading the label file.

    Raises:
        InputError: there is neither a label file nor any verdict.
    """
    if config.labels.verdicts:
        verdict_ranges(config.output)
    elif not config.labels.train:
        raise InputError("labels.train is not set: give a CSV file of hand labels, labels.train=labels.csv")


def verdict_ranges(
    output: str, *, otherwise: str = "leave out --with-verdicts"
) -> tuple[list[tuple[str, float, float, int]], str]:
    """Returns the verdicts as ranges with labels.

    Args:
        output: the output directory.
        otherwise: for the error message, an alternative to reviewing.

    Returns:
        (video, start_s, end_s, label) of each range, and one line on problems with the files of verdicts; it
        is empty if there are none.

    Raises:
        InputError: there are no verdicts that are sure.
    """
    log = VerdictLog(output)
    ranges = label_ranges(log.verdicts())
    if not ranges:
        raise InputError(
            f"there are no verdicts in {output} that are sure: review first, {command('review', output)}, or "
            f"{otherwise}" + (f"; {log.file_summary}" if log.file_summary else "")
        )
    return ranges, log.file_summary


def _quality(run: Run, metrics: dict[str, Any] | None, notes: Mapping[str, Any]) -> str:
    if metrics:
        return model_card.quality(metrics)
    if not run.config.evaluation.folds:
        return "not measured, as evaluation.folds=0"
    return model_card.not_measured(notes)


def _ranked_by(run: Run) -> str | None:
    try:
        scores = storage.read_json(storage.join(run.config.output, "ranking.json"))
    except FileNotFoundError:
        return None
    return scores.get("model_version")


def _evaluate(run: Run, version: SavedModel) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Returns the metrics on left-out groups, None without any, and the calibration for the notes."""
    rows = left_out.read(version)
    if rows is None:
        return None, {"kind": "none", "reason": "as no videos were left out of training"}
    config = run.config
    return left_out.evaluate(
        rows,
        folds=config.evaluation.folds,
        wanted=config.classifier.calibration,
        recall=config.ranking.recall,
        **measures(run),
    )


def measures(run: Run) -> dict[str, Any]:
    """Returns the arguments of `evaluation.evaluate`."""
    return {
        "precision_at": run.config.evaluation.precision_at,
        "budgets_minutes": run.config.evaluation.budgets_minutes,
        "period_s": run.period_s,
        "gap_s": run.config.incidents.gap_s,
    }
