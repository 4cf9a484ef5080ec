"""`frames` -> `features`, for the batches that have none yet."""

import time
from typing import cast

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from framewatch.errors import InputError
from framewatch.featurizer.models import Pooling
from framewatch.featurizer.transformer import DeepImageFeaturizer
from framewatch.pipeline.run import Run
from framewatch.progress import task_progress, tell
from framewatch.schema import METADATA_KEY
from framewatch.tables import Tables

# Features that differ in one of these cannot be compared.
_IDENTITY = ("model", "weights_sha256", "pooling", "resize")


def featurize(run: Run) -> None:
    """`frames` -> `features`, for the batches that have none yet.

    Raises:
        InputError: no frames, or features of another model are there.
    """
    config, tables = run.config, run.tables
    settings = config.featurizer
    if tables.read("frames").isEmpty():
        raise InputError(
            f"there are no frames in {tables.output}: {tables.path('videos')} says what became of the videos"
        )
    featurizer = DeepImageFeaturizer(
        inputCol="content",
        outputCol="features",
        modelName=settings.model,
        weights=settings.weights,
        pooling=cast(Pooling, settings.pooling),
        batchSize=settings.batch_size,
    )
    if settings.mode == "overwrite":
        tables.delete("features")
    spec = featurizer.feature_spec(say=tell)
    if tables.exists("features"):
        require_same_features(
            features_identity(tables),
            spec.identity(),
            f"the features in {tables.output}",
            "this run",
            "set another output, or featurizer.mode=overwrite to make all anew",
        )
    started = time.monotonic()
    todo = _batches_without_features(tables)
    for batch, num_frames in todo.items():
        _featurize_batch(run, featurizer, batch, num_frames)
    num_frames, seconds = sum(todo.values()), time.monotonic() - started
    nulls = tables.current("features").where("features is null").count()
    counts = {"frames": num_frames, "without_features": nulls, **spec.identity()}
    made_by = f"{settings.model}, weights {spec.weights.name} (SHA-256 {spec.weights.sha256})"
    without = f"; {nulls} pictures could not be decoded" if nulls else ""
    if todo:
        rate = f"{num_frames} frames in {seconds:.1f} s, {num_frames / seconds:.1f} frames/s"
        run.say("featurize", f"{rate}; {made_by}{without}", **counts, seconds=round(seconds, 1))
    else:
        run.say("featurize", f"nothing new: all frames have features; {made_by}{without}", **counts)


def features_identity(tables: Tables) -> dict[str, str]:
    """What made the features: the metadata of their column."""
    return tables.read("features").schema["features"].metadata.get(METADATA_KEY, {})


def require_same_features(
    have: dict[str, str], want: dict[str, str], one: str, other: str, remedy: str
) -> None:
    """Checks that two sets of features can be compared.

    Raises:
        InputError: they differ in model, weights, pooling or resize; says in which, and the `remedy`.
    """
    differ = [key for key in _IDENTITY if have.get(key) != want.get(key)]
    if differ:
        details = "; ".join(
            f"{key} is {have.get(key)} in {one} and {want.get(key)} in {other}" for key in differ
        )
        raise InputError(f"features that differ cannot be compared: {details}: {remedy}")


def _batches_without_features(tables: Tables) -> dict[int, int]:
    """Frames to featurize in each batch that is not complete."""
    frames_in = _rows_by_batch(tables.read("frames").join(tables.ledger(), "batch", "left_semi"))
    features_in = _rows_by_batch(tables.read("features")) if tables.exists("features") else {}
    return {batch: n for batch, n in sorted(frames_in.items()) if features_in.get(batch) != n}


def _rows_by_batch(df: DataFrame) -> dict[int, int]:
    return {row["batch"]: row["count"] for row in df.groupBy("batch").count().collect()}


def _featurize_batch(run: Run, featurizer: DeepImageFeaturizer, batch: int, num_frames: int) -> None:
    rows = run.tables.read("frames").where(F.col("batch") == batch)
    rows = rows.select("origin", "video", "frame_index", "timestamp_s", "content")
    # Small tasks keep every core busy to the end; the model stays in its worker from task to task.
    num_tasks = max(1, -(-num_frames // run.config.featurizer.frames_per_task))
    # In order, so that a batch of the network holds the same frames in every run, and gives the same numbers.
    order = ["video", "frame_index"]
    rows = rows.repartitionByRange(num_tasks, *order).sortWithinPartitions(*order)
    features = featurizer.transform(rows).drop("content")
    with task_progress(
        run.spark, f"featurize, batch {batch}", f"tasks of {-(-num_frames // num_tasks)} frames"
    ):
        run.tables.write_batch(features, "features", batch)
