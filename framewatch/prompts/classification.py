"""Classifies videos on Spark: features -> classes of videos, and their clips."""

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from framewatch.prompts.class_finder import FOUND, Find
from framewatch.prompts.frame_runs import RUNS, TOTALS, Background, Compare, backgrounds, total
from framewatch.prompts.scoring import ScoringPlan
from framewatch.tables.feature_files import FeatureFiles
from framewatch.tables.schema import (
    CLASS_CLIPS,
    CLASSIFICATIONS,
    VIDEOS,
    fields,
    from_arrow,
    require_columns,
)

_FILES_PER_TASK, _FEWEST_TASKS = 200, 8


def compare(spark: SparkSession, features: FeatureFiles, plan: ScoringPlan) -> DataFrame:
    """Computes the similarity of each frame to each prompt and class.

    Args:
        spark: the session.
        features: the files of `features`.
        plan: the prepared request.

    Returns:
        One row per run, a stretch of one video's frames, with the columns of `frame_runs.RUNS`.
    """
    paths = spark.createDataFrame([(path,) for path in features.paths], "path string")
    num_tasks = max(min(len(features.paths), _FEWEST_TASKS), len(features.paths) // _FILES_PER_TASK)
    compared = Compare(features.for_workers(), plan.project)
    return paths.repartition(num_tasks).mapInArrow(compared, from_arrow(RUNS))


def summarize(runs: DataFrame, plan: ScoringPlan) -> Mapping[str, Background]:
    """Returns the background of each camera; empty if no prompt is compared with it."""
    if not plan.needs_background:
        return {}
    rows = runs.select(*RUNS.names).mapInArrow(total, from_arrow(TOTALS)).collect()
    return backgrounds(row.asDict() for row in rows)


def find_classes(runs: DataFrame, videos: DataFrame, wanted: Find) -> DataFrame:
    """Returns a row for each class with a clip in a video, with all clips of the class.

    Args:
        runs: the rows returned by `compare`.
        videos: the ledger, for durations.
        wanted: the request, backgrounds, calibrations and settings.
    """
    require_columns(videos, fields(VIDEOS, "video", "duration_s"), table="videos")
    durations = videos.select("video", "duration_s")
    rows = runs.join(durations, "video", "left").select(*RUNS.names, "duration_s")
    in_order = rows.repartition("video").sortWithinPartitions("video", "first_s")
    return in_order.mapInArrow(wanted, from_arrow(FOUND))


def classifications_of(found: DataFrame, *, min_duration_ratio: float) -> DataFrame:
    """Returns the `classifications` table: classes whose clips cover enough of a video."""
    given = found.where(F.col("duration_ratio") >= min_duration_ratio)
    return given.select(*CLASSIFICATIONS.names)


def class_clips_of(found: DataFrame) -> DataFrame:
    """Returns the `class_clips` table: all clips, including those of classes that cover too little."""
    clips = found.select("video", "class", F.explode("clips").alias("clip"))
    return clips.select("video", "class", "clip.*").select(*CLASS_CLIPS.names)
