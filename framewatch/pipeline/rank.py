"""`features` and a classifier -> `predictions`, and what they are worth where labels are given."""

import time
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from rich.table import Table

from framewatch import (
    catalog,
    classifier,
    evaluation,
    incidents,
    labels,
    listing,
    model_card,
    ranking,
    storage,
)
from framewatch.errors import InputError
from framewatch.pipeline.featurize import features_identity, require_same_features
from framewatch.pipeline.run import Run, metastore_directory
from framewatch.progress import console, task_progress, tell
from framewatch.session import write_sql_settings


def rank(run: Run) -> None:
    """Ranks the frames of `videos.test`, or all where it is not set, with the saved classifier.

    Raises:
        InputError: no features, no classifier, or features of another model.
    """
    config, tables = run.config, run.tables
    started = time.monotonic()
    features = _features_to_rank(run)
    notes = _model_notes(run)
    require_same_features(
        features_identity(tables),
        notes["features"],
        f"the features in {tables.output}",
        f"the classifier in {run.model_path}",
        "train anew, or featurize with the classifier's model and weights",
    )
    model = classifier.load(storage.join(run.model_path, "spark"))
    with task_progress(run.spark, "rank"):
        scored = ranking.score(features, model, threshold=config.ranking.threshold)
        tables.replace(ranking.rank(scored), "predictions")
    predictions = tables.read("predictions")
    num_incidents = _write_incidents(run, predictions)
    totals = predictions.agg(F.count("*").alias("frames"), F.sum("prediction").alias("suspicious")).collect()[
        0
    ]
    counts = {"frames": totals["frames"], "suspicious": int(totals["suspicious"] or 0)}
    counts["incidents"] = num_incidents
    if counts["frames"] == 0:
        raise InputError(
            "no frame to rank: the videos of videos.test have no features; extract and featurize them"
        )
    metrics = _test_metrics(run, predictions)
    if metrics:
        storage.write_json(storage.join(config.output, "test_metrics.json"), metrics)
        if config.classifier.path is None:  # a classifier from elsewhere keeps the card it came with
            model_card.write(run.model_path, {**notes, "test": metrics})
    registered = _register(run)
    seconds = time.monotonic() - started
    text = f"{counts['frames']} frames, {counts['suspicious']} predicted suspicious, "
    text += f"{num_incidents} incidents, in {seconds:.1f} s"
    text += f"; test labels: {model_card.quality(metrics)}" if metrics else ""
    run.say("rank", text, **counts, test=metrics, registered=registered, seconds=round(seconds, 1))
    _show_top(predictions, config.ranking.show)
    _show_places(run)


def _write_incidents(run: Run, predictions: DataFrame) -> int:
    config = run.config
    settings = incidents.IncidentSettings(
        threshold=config.ranking.threshold,
        gap_s=config.incidents.gap_s,
        min_length_s=config.incidents.min_length_s,
        smoothing_s=config.incidents.smoothing_s,
        period_s=1 / run.tables.sampling_fps(default=config.sampling.fps),
    )
    found = incidents.find_incidents(predictions, settings=settings)
    run.tables.replace(found.coalesce(1), "incidents")
    return run.tables.read("incidents").count()


def _features_to_rank(run: Run) -> DataFrame:
    features = run.tables.current("features")
    if not run.config.videos.test:
        return features
    wanted = listing.list_videos(run.spark, run.config.videos.test, root=run.config.videos.root)
    return features.join(wanted, "video", "left_semi")


def _model_notes(run: Run) -> dict[str, Any]:
    notes = model_card.read(run.model_path)
    if notes is None:
        raise InputError(
            f"there is no classifier in {run.model_path}: run `framewatch train`, or set classifier.path"
        )
    return notes


def _test_metrics(run: Run, predictions: DataFrame) -> dict[str, Any] | None:
    path = run.config.labels.test
    if not path:
        return None
    labelled, counts = labels.join_labels(predictions, labels.read_labels(run.spark, path))
    run.say("test labels", str(counts))
    return evaluation.evaluate(labelled, precision_at=run.config.evaluation.precision_at)


def _register(run: Run) -> list[str]:
    config = run.config.catalog
    if not config.enabled:
        return []
    names = catalog.register(run.tables, database=config.database, catalog=config.name)
    metastore = metastore_directory(run.config)
    if metastore is not None:
        write_sql_settings(storage.join(run.config.output, "spark-sql.conf"), metastore, config.database)
    return names


def _show_top(predictions: DataFrame, number: int) -> None:
    """Prints the most suspicious frames."""
    if number == 0:
        return
    table = Table(title=f"The {number} most suspicious frames")
    for column in ("rank", "video", "second", "probability"):
        table.add_column(column, justify="left" if column == "video" else "right")
    for row in predictions.where(predictions["rank"] <= number).orderBy("rank").collect():
        table.add_row(
            str(row["rank"]),
            row["video"].rsplit("/", 1)[-1],
            f"{row['timestamp_s']:.1f}",
            f"{row['prob2']:.3f}",
        )
    console.print(table)


def _show_places(run: Run) -> None:
    """Prints where the results are."""
    output = run.config.output
    tell(f"tables: {output}/{{videos,frames,features,predictions,incidents}} (Parquet)")
    tell(f"report: {run.model_path}/model_card.md, {run.model_path}/metrics.json")
    if run.config.catalog.enabled and metastore_directory(run.config) is not None:
        tell(f"SQL: spark-sql --properties-file {output}/spark-sql.conf")
