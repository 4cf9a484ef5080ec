"""Ranks frames: `features` and a classifier -> `predictions`, and their metrics if labels are given."""

import importlib.util
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from framewatch.errors import InputError
from framewatch.ingest import listing
from framewatch.io import storage
from framewatch.io.command import command, python_command
from framewatch.io.locks import exclusive_lock
from framewatch.io.redact import redact
from framewatch.io.terminal import print_line, show_table
from framewatch.models.identity import require_same_features
from framewatch.pipeline import expected
from framewatch.pipeline.event_kinds import read_kinds
from framewatch.pipeline.feature_blocks import ranking_features
from framewatch.pipeline.featurize import features_identity
from framewatch.pipeline.grouping import group_videos
from framewatch.pipeline.incident_tables import changed_videos, write_incidents
from framewatch.pipeline.run import Run
from framewatch.pipeline.sql import register_for_sql
from framewatch.pipeline.train import measures
from framewatch.pipeline.weak_training import top_means
from framewatch.ranking import (
    classifier,
    evaluation,
    expectation,
    kinds,
    labels,
    model_card,
    scores,
)
from framewatch.ranking.calibration import Calibration
from framewatch.ranking.context import Context
from framewatch.ranking.kinds import Kinds
from framewatch.ranking.threshold import Threshold, choose_threshold
from framewatch.report import write_report
from framewatch.spark.arrow import to_arrow
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
    wanted = None if videos is None else {row["video"] for row in videos.select("video").collect()}
    saved, model, named = _classifier(run)
    identity, names = classifier.identity(model, named), named.names if named else ()
    features = ranking_features(run, saved)
    missing = _not_ranked(run, wanted)
    if not missing.ranked:
        raise InputError(
            "no frame to rank: the videos of videos.test have no features; extract and featurize them"
        )
    chosen = choose_threshold(
        config.ranking,
        saved.notes["cross_validation"],
        lambda: (missing.ranked + missing.undecoded) * run.period_s / 60,
    )
    with task_progress(run.spark, "rank"):
        scored_batches = _score(run, features, saved, model, named)
        scored = scores.predicted(kinds.with_best(tables.current("scores"), names), threshold=chosen.value)
        if videos is not None and not missing.are_all_wanted:
            scored = scored.join(videos, "video", "left_semi")
        changed = changed_videos(run, scored_batches, identity)
        # Without ranking.json no reader opens the tables, which mix two rankings until all are written.
        storage.delete(storage.join(config.output, "ranking.json"))
        tables.replace(scores.rank_scores(scored, num_frames=missing.ranked), "predictions")
        ranks = expected.ranks(run)
        counts, probabilities = write_incidents(
            run, features, chosen, changed, draw=identity, ranks=ranks, kinds=names
        )
        tables.delete_all_staged()
    metrics = _test_metrics(run, saved)
    if metrics:
        storage.write_json(storage.join(config.output, "test_metrics.json"), metrics)
        if config.classifier.path is None:  # a classifier from another output keeps its own card
            _add_test_metrics(run, saved, metrics)
    about = {**_about(run, chosen, saved, identity), **counts, "not_ranked": asdict(missing)}
    about["scores"] = sorted(scored_batches.values())
    footage = about["footage"] = expected.expected(run, saved, counts, probabilities)
    registered = _publish(run, about)
    seconds = round(time.monotonic() - started, 1)
    text = f"{_counted(counts, chosen)}, in {seconds} s{missing.sentence}"
    text += _findings(metrics, footage, minutes=config.ranking.budget_minutes)
    run.summarize(
        "rank", text, **counts, test=metrics, footage=footage, registered=registered, seconds=seconds
    )
    _show_top(tables.read("predictions"), config.ranking.show)
    _show_places(run)


def _findings(metrics: dict[str, Any] | None, footage: dict[str, Any], *, minutes: float | None) -> str:
    text = f"; test labels: {model_card.quality(metrics)}" if metrics else ""
    sentence = expectation.sentence(footage, minutes=minutes)
    return f"{text}; {sentence}" if sentence else text


def _counted(counts: dict[str, int], chosen: Threshold) -> str:
    return (
        f"{counts['frames']} frames, {counts['suspicious']} predicted suspicious (above {chosen.value:.3g}"
        f"{chosen.log_suffix}), {counts['incidents']} incidents"
    )


def _classifier(run: Run) -> tuple[SavedModel, Any, Kinds | None]:
    """Returns the saved classifier, its model and the kinds that it names.

    Checks that it fits the features and is the one its metrics describe.
    """
    saved = saved_model.require_model(run.model_path)
    require_same_features(
        features_identity(run.tables),
        saved.notes["features"],
        f"the features in {run.tables.output}",
        f"the classifier in {run.model_path}",
        "train anew, or featurize with the classifier's model and weights",
    )
    model = classifier.load(saved.spark_path)
    named = read_kinds(saved)
    saved.require_identity(classifier.identity(model, named))
    return saved, model, named


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


def _score(
    run: Run, features: DataFrame, saved: SavedModel, model: Any, named: Kinds | None
) -> dict[int, str]:
    """Scores the frames that this classifier has not scored; returns an ID of each batch of scores.

    Scores with another context or calibration are scores of another classifier.
    """
    tables = run.tables
    context = Context.of_notes(saved.notes.get("context"))
    calibration = Calibration.of_notes(saved.notes.get("calibration"))
    parts = [part.identity for part in (context, calibration) if part is not None]
    identity = "-".join([classifier.identity(model, named), *parts])
    held = tables.contents("features")
    usable = set(held.filter(pc.is_null(held["error"]))["batch"].to_pylist())
    done = tables.scored_batches(model=identity)
    new = usable - done.keys()
    if not new:
        return done
    prob1 = vector_to_array(F.col("probability"))[0]
    scored = scores.score(features.where(F.col("batch").isin(sorted(new))), model).withColumn("prob1", prob1)
    rows = scores.in_context(kinds.with_log_odds(scored, named), context)
    tables.write_scores(scores.calibrated(rows, calibration), new, model=identity)
    return tables.scored_batches(model=identity)


@dataclass(frozen=True)
class NotRanked:
    """Counts of frames that should be ranked but are not, and of their videos, and of the others.

    Attributes:
        new: frames that are not yet featurized.
        new_videos: videos with such frames.
        undecoded: featurized frames without features: the picture is damaged or the features are not finite.
        undecoded_videos: videos with such frames.
        ranked: frames that can be ranked.
        are_all_wanted: whether these are the frames of all videos.
    """

    new: int
    new_videos: int
    undecoded: int
    undecoded_videos: int
    ranked: int
    are_all_wanted: bool

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


def _not_ranked(run: Run, wanted: Collection[str] | None) -> NotRanked:
    """Counts the frames of the wanted videos; None for all."""
    latest, held = run.tables.latest(), run.tables.contents("features")
    frames = Counter(dict(zip(latest["video"].to_pylist(), latest["num_frames"].to_pylist(), strict=True)))
    featurized, undecoded = Counter[str](), Counter[str]()
    columns = (held[name].to_pylist() for name in ("video", "error", "num_frames"))
    for video, error, number in zip(*columns, strict=True):
        featurized[video] += number
        undecoded[video] += number if error is not None else 0
    are_all = wanted is None or featurized.keys() <= set(wanted)
    if wanted is not None:
        frames, featurized, undecoded = (
            Counter({video: counts[video] for video in wanted if video in counts})
            for counts in (frames, featurized, undecoded)
        )
    new, undecoded = frames - featurized, +undecoded  # only positive numbers
    ranked = featurized.total() - undecoded.total()
    return NotRanked(new.total(), len(new), undecoded.total(), len(undecoded), ranked, are_all)


def _add_test_metrics(run: Run, saved: SavedModel, metrics: dict[str, Any]) -> None:
    """Adds test metrics to the classifier's card, unless the classifier has been retrained meanwhile."""
    with exclusive_lock(run.model_path, "rank", **asdict(run.config.lock)):
        now = saved_model.read(run.model_path)
        if now and now.version == saved.version:
            notes = {**saved.notes, "test": metrics}
            saved_model.publish(run.model_path, replace(saved, notes=notes), model_card.render(notes))


def _test_metrics(run: Run, saved: SavedModel) -> dict[str, Any] | None:
    """Returns the metrics on `labels.test`, without groups of videos that the classifier was trained on.

    None if there are no test labels, or none outside these groups.
    """
    path = run.config.labels.test
    for older in ("labelled", "test_metrics.json"):
        storage.delete(storage.join(run.config.output, older))
    if not path:
        return None
    predictions, read = run.tables.read("predictions"), labels.read_labels(run.spark, path)
    if read.format == "video":
        return _test_metrics_of_videos(run, saved, predictions, read)
    frames = _shown_frames(run, predictions) if read.format == "point" else predictions
    labelled, counts = labels.join_labels(frames, read, period_s=run.period_s)
    labelled = labelled.where("prob2 is not null")
    run.summarize("test labels", str(counts))
    given = ["group"] if "group" in labelled.columns else []
    # A few numbers per labelled frame: hand labels are few.
    rows = to_arrow(labelled.select("origin", "video", "timestamp_s", "prob2", "label", *given))
    rows = _apart_from_training(run, rows, saved)
    if not len(rows):
        return None
    path = storage.join(run.config.output, "labelled", "part-00000.parquet")
    feature_files.write_rows(path, rows.select(["video", "timestamp_s", "label"]))
    return evaluation.evaluate_rows(rows, **measures(run))


def _shown_frames(run: Run, predictions: DataFrame) -> DataFrame:
    """Returns all frames of ranked videos, with null `prob2` where one has no features: it is shown too."""
    frames = run.tables.current("features").select("origin", "video", "timestamp_s")
    frames = frames.join(predictions.select("video").distinct(), "video", "left_semi")
    return frames.join(predictions.select("origin", "prob2"), "origin", "left")


def _test_metrics_of_videos(
    run: Run, saved: SavedModel, predictions: DataFrame, read: labels.Labels
) -> dict[str, Any] | None:
    """Does the same for test labels by video. A video's score is the mean `prob2` of its highest frames."""
    labelled, counts = labels.join_weak_labels(predictions, read, period_s=run.period_s)
    run.summarize("test labels", str(counts))
    rows = _apart_from_training(run, to_arrow(top_means(labelled, saved.notes)), saved)
    precision_at = run.config.evaluation.precision_at
    return evaluation.evaluate_videos(rows, precision_at=precision_at) if len(rows) else None


def _apart_from_training(run: Run, rows: pa.Table, saved: SavedModel) -> pa.Table:
    """Returns the rows, with `group`, without groups of the classifier's training; prints what it omits."""
    if "group" not in rows.column_names:
        rows = rows.append_column("group", pa.nulls(len(rows), pa.string()))
    videos, of_training = rows["video"].to_pylist(), _training_groups(saved)
    of_labels: dict[str, str | None] = dict.fromkeys(of_training)
    of_labels |= dict(zip(videos, rows["group"].to_pylist(), strict=True))
    known = {video: group for video, group in of_training.items() if group is not None}
    group_of = group_videos(run, of_labels, of_training=known)
    learned = {*known.values(), *(group_of[video] for video in of_training)}
    omitted = {video for video in videos if group_of[video] in learned}
    if omitted:
        text = f"left out are {len(omitted)} videos of groups that the classifier learned from"
        print_line(f"test labels: {text}")
    place = rows.column_names.index("group")
    rows = rows.set_column(place, "group", pa.array([group_of[video] for video in videos], pa.string()))
    return rows.filter(pa.array([video not in omitted for video in videos], pa.bool_()))


def _training_groups(saved: SavedModel) -> dict[str, str | None]:
    """Returns the videos of the classifier's training frames, with their groups.

    Empty if the classifier came without its frames. Older versions wrote no groups, which are then None.
    """
    files, paths = storage.parquet_files(saved.labelled_path, "*.parquet")
    if not paths:
        return {}
    rows = ds.dataset(paths, format="parquet", filesystem=files)
    columns = [name for name in ("video", "group") if name in rows.schema.names]
    table = rows.to_table(columns=columns)
    if "group" not in columns:
        table = table.append_column("group", pa.nulls(len(table), pa.string()))
    found = table.group_by("video").aggregate([("group", "max")])
    return dict(zip(found["video"].to_pylist(), found["group_max"].to_pylist(), strict=True))


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
