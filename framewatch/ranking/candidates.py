"""Candidates: the ranked frames that the review page loads together with their features."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from framewatch.tables.feature_columns import as_arrays, require_features
from framewatch.tables.schema import CANDIDATES, FEATURES, INCIDENTS, PREDICTIONS, fields, require_columns

# The largest audit sample. If 300 random frames contain no suspicious one, the share is below 1% (95%).
_AUDITED = 1000


def with_incident(predictions: DataFrame, incidents: DataFrame) -> DataFrame:
    """Adds `in_incident` to ranked frames: the rank of the incident that contains the frame, or null."""
    ranges = incidents.select(
        F.col("video").alias("of"), "start_s", "end_s", F.col("rank").alias("in_incident")
    )
    inside = (F.col("video") == F.col("of")) & (F.col("timestamp_s") >= F.col("start_s"))
    joined = predictions.join(ranges, inside & (F.col("timestamp_s") < F.col("end_s")), "left")
    return joined.select(*predictions.columns, "in_incident")


def choose_candidates(
    predictions: DataFrame, incidents: DataFrame, *, most: int, period_s: float, draw: str
) -> DataFrame:
    """Chooses the frames that the review page can rerank by verdicts without Spark.

    Args:
        predictions: ranked frames.
        incidents: the incidents of these frames.
        most: the maximum number of incidents, and of frames outside incidents.
        period_s: seconds that a frame lasts, unless the next one comes earlier.
        draw: seed of the audit sample; another string draws other frames.

    Returns:
        The `candidates` table without `features`: the peaks of the top incidents (`incident` is their rank),
        the top frames outside incidents, and a random sample of the frames outside incidents. `audit` is set
        for the sample: the frames with the n smallest values are a simple random sample of size n.
    """
    require_columns(predictions, fields(PREDICTIONS, "origin", "timestamp_s", "rank"), table="predictions")
    require_columns(incidents, fields(INCIDENTS, "peak_origin", "rank"), table="incidents")
    peaks = incidents.where(F.col("rank") <= most).select(
        F.col("peak_origin").alias("origin"), "video", F.col("rank").alias("incident")
    )
    outside = with_incident(predictions, incidents).where("in_incident is null")
    outside = outside.select("origin", "video", "rank")
    best = outside.orderBy("rank").limit(most).select("origin", "video")
    drawn = outside.select("origin", "video", F.xxhash64(F.lit(draw), "origin").alias("audit"))
    drawn = drawn.orderBy("audit", "origin").limit(_AUDITED)
    union = peaks.unionByName(drawn, allowMissingColumns=True).unionByName(best, allowMissingColumns=True)
    chosen = union.groupBy("origin").agg(F.max("incident").alias("incident"), F.max("audit").alias("audit"))
    # When the next frame begins is asked only of videos with a chosen frame.
    of_videos = predictions.join(F.broadcast(union.select("video").distinct()), "video", "left_semi")
    following = F.lead("timestamp_s").over(Window.partitionBy("video").orderBy("timestamp_s"))
    ends = F.least(F.col("timestamp_s") + period_s, following)  # `least` ignores nulls
    ranked = of_videos.select("origin", "video", "timestamp_s", ends.alias("end_s"), "prob2", "rank", "kind")
    rows = ranked.join(F.broadcast(chosen), "origin")
    return rows.select(*[name for name in CANDIDATES.names if name != "features"])


def with_features(chosen: DataFrame, features: DataFrame) -> DataFrame:
    """Adds their features to chosen frames, which gives the `candidates` table.

    Args:
        chosen: the result of `choose_candidates`.
        features: rows of `features` that include these frames.
    """
    require_columns(features, fields(FEATURES, "origin"), table="features")
    require_features(features, table="features")
    # The few rows are broadcast, so that the features are not shuffled.
    usable = features.where(F.col("features").isNotNull())
    rows = usable.select("origin", as_arrays(usable)).join(F.broadcast(chosen), "origin")
    return rows.select(*CANDIDATES.names)
