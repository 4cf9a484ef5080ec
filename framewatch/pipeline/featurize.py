"""Computes features: `frames` -> `features`, for batches without complete features."""

import time
from typing import Any, cast

from pyspark.sql import functions as F

from framewatch.config import FeaturizerConfig, ImagesConfig
from framewatch.errors import InputError
from framewatch.featurizer.transformer import DeepImageFeaturizer
from framewatch.io.terminal import print_line
from framewatch.models.identity import require_same_features
from framewatch.models.registry import Pooling, is_model_file, is_onnx_file
from framewatch.models.spec import FeatureSpec
from framewatch.pipeline.run import Run
from framewatch.pipeline.video_batches import require_full_pictures
from framewatch.spark.task_progress import task_progress
from framewatch.tables.metadata import require_stored_precision
from framewatch.tables.spark_tables import Tables


def featurize(run: Run) -> None:
    """Writes `features` for the batches of `frames` without complete features.

    Raises:
        InputError: there are no frames, their pictures are not full, or existing features were made by
            another model, or are stored with another precision.
    """
    tables, settings = run.tables, run.config.featurizer
    require_full_pictures(tables.output, tables.metadata("frames"), "featurize")
    if tables.read("frames").isEmpty():
        raise InputError(
            f"there are no frames in {tables.output}: {tables.path('videos')} says what became of the videos"
        )
    featurizer = make_featurizer(settings, run.config.images)
    if settings.mode == "overwrite":
        tables.delete("features")
    spec = featurizer.feature_spec(spark=run.spark, on_message=print_line)
    require_features_like(run, spec, overwriting="featurizer.mode=overwrite")
    started = time.monotonic()
    todo = tables.batches_without_features()
    for batch, num_frames in todo.items():
        _featurize_batch(run, featurizer, batch, num_frames)
    num_frames, seconds = sum(todo.values()), time.monotonic() - started
    without, reasons = frames_without_features(tables)
    counts = {"frames": num_frames, **reasons, **spec.identity()}
    made_by = network_in_words(settings, spec)
    if todo:
        rate = f"{num_frames} frames in {seconds:.1f} s, {num_frames / seconds:.1f} frames/s"
        run.summarize("featurize", f"{rate}; {made_by}{without}", **counts, seconds=round(seconds, 1))
    else:
        run.summarize("featurize", f"nothing new: all frames have features; {made_by}{without}", **counts)


def require_features_like(run: Run, spec: FeatureSpec, *, overwriting: str) -> None:
    """Checks that the existing features, if any, were made and are stored as this run would.

    Args:
        run: the current call.
        spec: the network of this run.
        overwriting: the setting that makes all features again, for the message.

    Raises:
        InputError: they were made by another network, or are stored with another precision.
    """
    tables = run.tables
    if not tables.exists("features"):
        return
    require_same_features(
        features_identity(tables),
        spec.identity(),
        f"the features in {tables.output}",
        "this run",
        f"set another output, or {overwriting} to make all anew",
        also=("precision",),  # a table records a single precision
    )
    require_stored_precision(features_identity(tables), run.config.features.precision, tables.output)


def network_in_words(settings: FeaturizerConfig, spec: FeatureSpec) -> str:
    """Returns what made the features, for the closing line of a stage."""
    weights = spec.network.weights
    return (
        f"{settings.model}, weights {weights.name} (SHA-256 {weights.sha256}), {spec.engine} {spec.precision}"
    )


def frames_without_features(tables: Tables) -> tuple[str, dict[str, Any]]:
    """Counts the frames without features by reason, the most frequent first.

    Returns:
        A clause for the closing line, empty if all frames have features; and the counts for the manifest.
    """
    rows = tables.contents("features").group_by("error").aggregate([("num_frames", "sum")]).to_pylist()
    counts = {row["error"]: row["num_frames_sum"] for row in rows if row["error"] is not None}
    reasons = dict(sorted(counts.items(), key=lambda it: (-it[1], it[0])))
    total = sum(reasons.values())
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    text = f"; {total} frames have no features ({listed})" if reasons else ""
    return text, {"without_features": total, "reasons": reasons}


def make_featurizer(settings: FeaturizerConfig, images: ImagesConfig) -> DeepImageFeaturizer:
    """Returns the configured featurizer, from the column `content` to `features` and `error`."""
    featurizer = DeepImageFeaturizer(
        inputCol="content",
        outputCol="features",
        modelName=settings.model,
        scaleHint=settings.scale_hint,
        engine=settings.engine,
        precision=settings.precision,
        batchSize=settings.batch_size,
        numThreads=settings.threads,
        arrowBatchRows=settings.arrow_batch_rows,
        maxPixels=images.max_pixels,
        errorCol="error",
    )
    if is_onnx_file(settings.model):  # it declares the rest
        return featurizer
    featurizer.setPooling(cast(Pooling, settings.pooling))
    if is_model_file(settings.model):
        return featurizer.setParams(layer=settings.layer, preprocessing=settings.preprocessing)
    return featurizer.setWeights(settings.weights)


def features_identity(tables: Tables) -> dict[str, str]:
    """Returns the model, weights and other settings that made the features, from their column's metadata."""
    return tables.metadata("features")


def _featurize_batch(run: Run, featurizer: DeepImageFeaturizer, batch: int, num_frames: int) -> None:
    rows = run.tables.read("frames").where(F.col("batch") == batch)
    rows = rows.select("origin", "video", "frame_index", "timestamp_s", "content")
    # Small tasks keep every core busy to the end; the model stays in its worker from task to task.
    num_tasks = max(1, -(-num_frames // run.config.featurizer.frames_per_task))
    # Sorted, so that each batch of the network holds the same frames in every run and gives the same numbers.
    order = ["video", "frame_index"]
    rows = rows.repartitionByRange(num_tasks, *order).sortWithinPartitions(*order)
    features = featurizer.transform(rows).drop("content")
    with task_progress(
        run.spark, f"featurize, batch {batch}", f"tasks of {-(-num_frames // num_tasks)} frames"
    ):
        run.tables.write_batch(features, "features", batch)
