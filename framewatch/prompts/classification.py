"""features -> classes of videos and their clips, on Spark."""

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)

from framewatch.prompts.class_finder import Find
from framewatch.prompts.scoring import ScoringPlan
from framewatch.prompts.similarity import Background, Compare, Project, backgrounds, total
from framewatch.tables.feature_files import FeatureFiles
from framewatch.tables.schema import (
    CLASS_CLIPS,
    CLASSIFICATIONS,
    FEATURES,
    VIDEOS,
    fields,
    require_columns,
)

_RUNS = StructType(
    [
        *fields(FEATURES, "video"),
        StructField("first_s", DoubleType()),
        StructField("num_frames", IntegerType()),
        StructField("times_s", BinaryType()),
        StructField("similarities", BinaryType()),
    ]
)
_TOTALS = StructType(
    [
        StructField("camera", StringType()),
        StructField("count", LongType()),
        StructField("sums", ArrayType(DoubleType())),
        StructField("squares", ArrayType(DoubleType())),
    ]
)
_FOUND = StructType(
    [
        *fields(CLASSIFICATIONS, "video", "class", "score", "duration_ratio"),
        StructField("calibrated", BooleanType()),
        StructField(
            "clips", ArrayType(StructType(fields(CLASS_CLIPS, "prompt", "start_s", "end_s", "score")))
        ),
    ]
)

# `featurize` writes files of 64 frames.
_FILES_PER_TASK, _FEWEST_TASKS = 200, 8


def compare(spark: SparkSession, features: FeatureFiles, plan: ScoringPlan) -> DataFrame:
    """How similar each frame is to each prompt.

    Args:
        spark: the session.
        features: of the run.
        plan: the request, ready.

    Returns:
        Runs: stretches of one video's frames, a row each.
    """
    paths = spark.createDataFrame([(path,) for path in features.paths], "path string")
    num_tasks = max(min(len(features.paths), _FEWEST_TASKS), len(features.paths) // _FILES_PER_TASK)
    # Only names go to the workers: a closure with all of them would go to each task.
    mine = FeatureFiles(features.directory, (), features.stale)
    return paths.repartition(num_tasks).mapInArrow(Compare(mine, Project(plan.columns)), _RUNS)


def summarize(runs: DataFrame, plan: ScoringPlan) -> Mapping[str, Background]:
    """What is usual in each camera; nothing where no prompt is set against it."""
    if not plan.needs_background:
        return {}
    rows = runs.select(*_RUNS.names).mapInArrow(total, _TOTALS).collect()
    return backgrounds(row.asDict() for row in rows)


def find_classes(runs: DataFrame, videos: DataFrame, wanted: Find) -> DataFrame:
    """The classes that have a clip in a video, a row each, with all of their clips.

    Args:
        runs: as `compare` gives them.
        videos: the ledger, for the videos' durations.
        wanted: what is looked for.
    """
    require_columns(videos, fields(VIDEOS, "video", "duration_s"), table="videos")
    durations = videos.select("video", "duration_s")
    rows = runs.join(durations, "video", "left").select(*_RUNS.names, "duration_s")
    in_order = rows.repartition("video").sortWithinPartitions("video", "first_s")
    return in_order.mapInArrow(wanted, _FOUND)


def classifications_of(found: DataFrame, *, min_duration_ratio: float) -> DataFrame:
    """The `classifications` table: classes that cover enough of a video."""
    given = found.where(F.col("duration_ratio") >= min_duration_ratio)
    return given.select(*CLASSIFICATIONS.names)


def class_clips_of(found: DataFrame) -> DataFrame:
    """The `class_clips` table: all clips, those of classes that cover too little of a video too."""
    clips = found.select("video", "class", F.explode("clips").alias("clip"))
    return clips.select("video", "class", "clip.*").select(*CLASS_CLIPS.names)
