"""`features` and labels -> the classifier, its metrics by leave-whole-videos-out, and its card."""

import functools
import time
from dataclasses import asdict
from typing import Any, Literal, cast

from pyspark.sql import DataFrame

from framewatch import classifier, evaluation, labels, model_card, ranking, storage
from framewatch.config import ClassifierConfig
from framewatch.errors import InputError
from framewatch.pipeline.featurize import features_identity
from framewatch.pipeline.run import Run
from framewatch.progress import task_progress

# 2048 features of 10,000 frames are 160 MB: one task goes through them faster than many tasks are started.
_FRAMES_PER_PART = 10_000


def train(run: Run) -> None:
    """Fits the classifier on all labelled frames, and evaluates it on videos left out.

    Raises:
        InputError: no features, no labels, or labels that do not fit.
    """
    config = run.config
    if not config.labels.train:
        raise InputError("labels.train is not set: give a CSV file of hand labels, labels.train=labels.csv")
    started = time.monotonic()
    features = run.tables.current("features")
    labelled, counts = labels.join_labels(features, labels.read_labels(run.spark, config.labels.train))
    labels.require_both_classes(counts)
    # Sums of floats depend on their order: with rows in order, the same labels give the same classifier.
    num_parts = 1 + counts.labelled_frames // _FRAMES_PER_PART
    without = labelled.where("features is null").count()
    labelled = labelled.where("features is not null").repartition(num_parts, "origin")
    labelled = labelled.sortWithinPartitions("origin").cache()
    settings = _settings(config.classifier)
    fit = functools.partial(classifier.fit, settings=settings)
    try:
        with task_progress(run.spark, "train"):
            classifier.save(fit(labelled), storage.join(run.model_path, "spark"))
        with task_progress(run.spark, "train, on left-out videos"):
            metrics = _cross_validate(run, labelled, fit)
    finally:
        labelled.unpersist()
    notes = {
        "features": features_identity(run.tables),
        "labels": {"file": config.labels.train, **asdict(counts), "without_features": without},
        "settings": asdict(settings),
        "cross_validation": metrics,
    }
    model_card.write(run.model_path, notes)
    quality = (
        model_card.quality(metrics) if metrics else "none, as it takes two videos with suspicious frames"
    )
    seconds = time.monotonic() - started
    left_out = f"; {without} of them left out: their pictures could not be decoded" if without else ""
    run.say(
        "train",
        f"{counts}{left_out}; on left-out videos: {quality}; {seconds:.1f} s",
        **notes,
        seconds=round(seconds, 1),
    )


def _settings(config: ClassifierConfig) -> classifier.ClassifierSettings:
    return classifier.ClassifierSettings(
        max_iter=config.max_iter,
        reg_param=config.reg_param,
        elastic_net_param=config.elastic_net_param,
        standardization=config.standardization,
        class_weights=cast(Literal["none", "balanced"], config.class_weights),
    )


def _cross_validate(run: Run, labelled: DataFrame, fit: Any) -> dict[str, Any] | None:
    wanted = run.config.evaluation
    if wanted.folds == 0:
        return None
    scored = evaluation.out_of_fold(labelled, folds=wanted.folds, fit=fit, score=ranking.score)
    return evaluation.evaluate(scored, precision_at=wanted.precision_at) if scored is not None else None
