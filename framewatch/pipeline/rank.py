"""Ranks frames: `features` and a classifier -> `predictions`, and their metrics if labels are given."""

import functools
import importlib.util
import shlex
import shutil
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from framewatch.errors import InputError
from framewatch.ingest import listing
from framewatch.io import storage
from framewatch.io.command import command, python_command
from framewatch.io.locks import exclusive_lock
from framewatch.io.redact import redact
from framewatch.io.terminal import print_line, show_table
from framewatch.models.identity import require_same_features
from framewatch.pipeline.featurize import features_identity
from framewatch.pipeline.run import Run
from framewatch.pipeline.train import measures
from framewatch.ranking import (
    candidates,
    classifier,
    evaluation,
    incidents,
    labels,
    model_card,
    scores,
)
from framewatch.ranking.threshold import Threshold, choose_threshold
from framewatch.report import write_report
from framewatch.spark.arrow import to_arrow
from framewatch.spark.session import write_sql_settings
from framewatch.spark.task_progress import task_progress
from framewatch.tables import catalog, feature_files, saved_model
from framewatch.tables.saved_model import SavedModel


def rank(run: Run, videos: DataFrame | None = None) -> None:
    """Ranks the frames of `videos.test`, or of all videos if it is not set, with the saved classifier.

    Args:
        run: the current call.
        videos: videos to rank instead, with a column `video` of URIs.

    Raises:
        InputError: there are no features, there is no classifier, or another model made the features.
    """
    config, tables = run.config, run.tables
    started = time.monotonic()
    if videos is None and config.videos.test:
        videos = listing.list_videos(run.spark, config.videos.test, root=config.videos.root)
    features = run.tables.current("features")
    if videos is not None:
        features = features.join(videos, "video", "left_semi")
    saved, model = _classifier(run)
    identity = classifier.identity(model)
    chosen = choose_threshold(
        config.ranking, saved.notes["cross_validation"], lambda: features.count() * run.period_s / 60
    )
    # Without ranking.json no reader opens the tables, which mix two rankings until all of them are written.
    storage.delete(storage.join(config.output, "ranking.json"))
    with task_progress(run.spark, "rank"):
        tables.replace(scores.rank(scores.score(features, model, threshold=chosen.value)), "predictions")
        counts = _write_incidents(run, chosen, features, draw=identity)
    if counts["frames"] == 0:
        raise InputError(
            "no frame to rank: the videos of videos.test have no features; extract and featurize them"
        )
    metrics = _test_metrics(run, saved)
    if metrics:
        storage.write_json(storage.join(config.output, "test_metrics.json"), metrics)
        if config.classifier.path is None:  # a classifier from another output keeps its own card
            _add_test_metrics(run, saved, metrics)
    missing = _not_ranked(run, videos)
    about = {**_about(run, chosen, saved, identity), **counts, "not_ranked": asdict(missing)}
    registered = _publish(run, about)
    seconds = time.monotonic() - started
    text = f"{counts['frames']} frames, {counts['suspicious']} predicted suspicious "
    text += (
        f"(above {chosen.value:.3g}{chosen.log_suffix}), {counts['incidents']} incidents, in {seconds:.1f} s"
    )
    text += missing.sentence
    text += f"; test labels: {model_card.quality(metrics)}" if metrics else ""
    run.summarize("rank", text, **counts, test=metrics, registered=registered, seconds=round(seconds, 1))
    _show_top(tables.read("predictions"), config.ranking.show)
    _show_places(run)


def _classifier(run: Run) -> tuple[SavedModel, Any]:
    """Returns the saved classifier; checks that it fits the features and is the one its metrics describe."""
    saved = saved_model.require_model(run.model_path)
    require_same_features(
        features_identity(run.tables),
        saved.notes["features"],
        f"the features in {run.tables.output}",
        f"the classifier in {run.model_path}",
        "train anew, or featurize with the classifier's model and weights",
    )
    model = classifier.load(saved.spark_path)
    saved.require_identity(classifier.identity(model))
    return saved, model


def _publish(run: Run, about: dict[str, Any]) -> list[str]:
    """Publishes the tables, regenerates SQL tables and report, and returns the names of the SQL tables."""
    path = storage.join(run.config.output, "ranking.json")
    # SQL tables and the report are stale until they are regenerated.
    storage.write_json(path, {**about, "stale": ["SQL", "report"]})
    registered = register_for_sql(run)
    catalog.write_duckdb(run.tables)
    write_report(run.config.output)
    storage.write_json(path, {**about, "stale": []})
    return registered


def _about(run: Run, chosen: Threshold, saved: SavedModel, identity: str) -> dict[str, Any]:
    """Returns the contents of `ranking.json` without the counts."""
    # Relative if possible, so that a copied output stays complete.
    model_path = storage.absolute(run.model_path) if run.config.classifier.path else "model"
    return {
        "threshold": chosen.value,
        "threshold_from": chosen.reason,
        "model": identity,
        "model_version": saved.version,
        "model_path": model_path if storage.local_path(model_path) else redact(model_path),
        "period_s": run.period_s,
        # The first batch that is not fully ranked. Once it exists, there is more to rank.
        "next_batch": min(run.tables.batches_without_features(), default=run.tables.next_batch()),
        "ranked_at": datetime.now(UTC).isoformat(),
    }


def _write_incidents(run: Run, chosen: Threshold, features: DataFrame, *, draw: str) -> dict[str, int]:
    """Writes `incidents` and `candidates`; returns counts of frames and incidents."""
    config, tables = run.config, run.tables
    predictions = tables.read("predictions")
    found = incidents.find_incidents(
        predictions, threshold=chosen.value, period_s=run.period_s, **asdict(config.incidents)
    )
    tables.replace(found.coalesce(1), "incidents")
    found = tables.read("incidents")
    kept = candidates.choose_candidates(
        predictions, found, features, most=config.review.candidates, period_s=run.period_s, draw=draw
    )
    tables.replace(kept.coalesce(1), "candidates")
    totals = candidates.with_incident(predictions, found).agg(
        F.count("*").alias("frames"),
        F.sum("prediction").alias("suspicious"),
        F.count_distinct("in_incident").alias("incidents"),
        F.count_if(F.col("in_incident").isNull()).alias("outside"),
    )
    row = totals.collect()[0]
    return {
        "frames": row["frames"],
        "suspicious": int(row["suspicious"] or 0),
        "incidents": row["incidents"],
        "frames_outside_incidents": row["outside"],
    }


@dataclass(frozen=True)
class NotRanked:
    """Counts of frames that should be ranked but are not, and of their videos.

    Attributes:
        new: frames that are not yet featurized.
        new_videos: videos with such frames.
        undecoded: featurized frames without features: the picture is damaged or the features are not finite.
        undecoded_videos: videos with such frames.
    """

    new: int
    new_videos: int
    undecoded: int
    undecoded_videos: int

    @property
    def sentence(self) -> str:
        """A clause for the closing line; empty if all frames are ranked."""
        text = ""
        if self.new:
            text += f"; not ranked: {self.new} frames of {self.new_videos} videos without features, run "
            text += "`framewatch featurize`"
        if self.undecoded:
            text += f"; not ranked: {self.undecoded} frames of {self.undecoded_videos} videos whose pictures "
            text += "could not be featurized"
        return text


def _not_ranked(run: Run, videos: DataFrame | None) -> NotRanked:
    ledger = run.tables.ledger().select("video", F.col("num_frames").alias("frames"))
    one = F.lit(1)
    parts = [
        ledger,
        run.tables.current("features").select("video", one.alias("featurized")),
        run.tables.read("predictions").select("video", one.alias("ranked")),
        ledger.select("video", one.alias("wanted"))
        if videos is None
        else videos.select("video", one.alias("wanted")),
    ]
    rows = functools.reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), parts)
    counts = [F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in ("frames", "featurized", "ranked")]
    by_video = rows.groupBy("video").agg(*counts, F.max("wanted").alias("wanted")).where("wanted = 1")
    new = F.greatest(F.col("frames") - F.col("featurized"), F.lit(0))
    undecoded = F.col("featurized") - F.col("ranked")
    totals = by_video.agg(
        F.sum(new), F.count_if(new > 0), F.sum(undecoded), F.count_if(undecoded > 0)
    ).collect()[0]
    return NotRanked(*(int(total or 0) for total in totals))


def _add_test_metrics(run: Run, saved: SavedModel, metrics: dict[str, Any]) -> None:
    """Adds test metrics to the classifier's card, unless the classifier has been retrained meanwhile."""
    with exclusive_lock(run.model_path, "rank", **asdict(run.config.lock)):
        now = saved_model.read(run.model_path)
        if now and now.version == saved.version:
            notes = {**saved.notes, "test": metrics}
            saved_model.publish(run.model_path, replace(saved, notes=notes), model_card.render(notes))


def _test_metrics(run: Run, saved: SavedModel) -> dict[str, Any] | None:
    """Returns the metrics on `labels.test`, without videos that the classifier was trained on.

    None if there are no test labels, or none outside the training videos.
    """
    path = run.config.labels.test
    for older in ("labelled", "test_metrics.json"):
        storage.delete(storage.join(run.config.output, older))
    if not path:
        return None
    predictions = run.tables.read("predictions")
    labelled, counts = labels.join_labels(predictions, labels.read_labels(run.spark, path))
    run.summarize("test labels", str(counts))
    # A few numbers per labelled frame: hand labels are few.
    rows = to_arrow(labelled.select("origin", "video", "timestamp_s", "prob2", "label"))
    learned = pc.is_in(rows["video"], value_set=_training_videos(saved))
    if num_learned := len(rows.filter(learned)["video"].unique()):
        rows = rows.filter(pc.invert(learned))
        print_line(f"test labels: left out are {num_learned} videos that the classifier learned from")
        if not len(rows):
            return None
    path = storage.join(run.config.output, "labelled", "part-00000.parquet")
    feature_files.write_rows(path, rows.select(["video", "timestamp_s", "label"]))
    return evaluation.evaluate_rows(rows, **measures(run))


def _training_videos(saved: SavedModel) -> pa.Array:
    """Returns the videos of the classifier's training frames; none if it came without them."""
    files, paths = storage.parquet_files(saved.labelled_path, "*.parquet")
    if not paths:
        return pa.array([], pa.string())
    rows = ds.dataset(paths, format="parquet", filesystem=files)
    return pc.unique(rows.to_table(columns=["video"])["video"])


def register_for_sql(run: Run) -> list[str]:
    """Makes the existing tables available for SQL if `catalog.enabled`; returns their names.

    They are registered in a catalog that outlives this call. Without one, two files let `spark-sql` open
    them.
    """
    config = run.config.catalog
    if not config.enabled:
        return []
    if config.name is None and run.is_ours and not _has_metastore(run.spark):
        output = storage.local_path(run.config.output)
        if output is None or run.config.spark.remote is not None:
            return []
        write_sql_settings(storage.join(output, "spark-sql.conf"), storage.join(output, "catalog"))
        return catalog.write_spark_sql(run.tables, database=config.database)
    return catalog.register(run.tables, database=config.database, catalog=config.name)


def _has_metastore(spark: SparkSession) -> bool:
    """Returns whether the session's catalog is stored in a Hive metastore."""
    return spark.conf.get("spark.sql.catalogImplementation", "in-memory") == "hive"


def _show_top(predictions: DataFrame, number: int) -> None:
    """Prints the most suspicious frames."""
    if number == 0:
        return
    top = predictions.where(predictions["rank"] <= number)
    rows = [
        (
            str(row["rank"]),
            storage.basename(row["video"]),
            f"{row['timestamp_s']:.1f}",
            f"{row['prob2']:.3f}",
        )
        for row in sorted(top.collect(), key=lambda row: row["rank"])
    ]
    columns = ("rank", "video", "second", "probability")
    show_table(columns, rows, title=f"The {number} most suspicious frames")


def _show_places(run: Run) -> None:
    """Prints where the results are."""
    output = run.config.output
    print_line(f"tables: {output}/{{videos,frames,features,predictions,incidents}} (Parquet)")
    print_line(f"model: {run.model_path}/model_card.md, {run.model_path}/metrics.json")
    for line in _sql_commands(run):
        print_line(f"SQL: {line}")
    print_line(f"report: {output}/report/index.html")
    print_line(f"review: {command('review', output)}")


def _sql_commands(run: Run) -> list[str]:
    """Returns shell commands that open the tables for SQL, for the installed programs."""
    output, found = run.config.output, []
    script = storage.join(output, "duckdb.sql")
    path = storage.local_path(script)
    if shutil.which("duckdb"):
        found.append(shlex.join(["duckdb", "-init", script]))
    elif importlib.util.find_spec("duckdb") and path is not None:
        code = f"import duckdb; duckdb.sql(open({path!r}).read()); print(duckdb.sql('show tables'))"
        found.append(python_command(code, "-i"))
    if storage.local_path(output) and storage.exists(storage.join(output, "spark.sql")):
        found.append(command("sql", output))
    return found
