"""Incidents: groups neighbouring suspicious frames of one video for review."""

from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from framewatch.tables.schema import INCIDENTS, PREDICTIONS, fields, require_columns

# Timestamps are ticks divided by a time base; equal times may differ by less than this.
_ROUNDING_S = 1e-6
_TICKS_PER_S = 1_000_000


@dataclass(frozen=True)
class IncidentSettings:
    """How frames are grouped into incidents.

    Attributes:
        threshold: a frame is suspicious if its smoothed probability is above this.
        gap_s: the longest gap without a suspicious frame within one incident, in seconds.
        min_length_s: shorter incidents are dropped.
        smoothing_s: width of the moving average of probabilities, in seconds; 0 for no smoothing.
        period_s: seconds between frames, and the duration of a frame.
    """

    threshold: float = 0.5
    gap_s: float = 2.0
    min_length_s: float = 0.0
    smoothing_s: float = 0.0
    period_s: float = 1.0


def find_incidents(predictions: DataFrame, *, settings: IncidentSettings) -> DataFrame:
    """Groups neighbouring suspicious frames into incidents.

    Args:
        predictions: scored frames.
        settings: how frames are grouped.

    Returns:
        The `incidents` table. An incident lasts from its first suspicious frame to the end of its last one,
        `[start_s, end_s)`. Its peak is the frame with the highest probability, the earliest if tied.
        Incidents are ranked by peak probability, then number of suspicious frames, video and start.
    """
    columns = ("origin", "video", "timestamp_s", "prob2")
    require_columns(predictions, fields(PREDICTIONS, *columns), table="predictions")
    in_time = Window.partitionBy("video").orderBy("timestamp_s")
    ticks = (F.col("timestamp_s") * _TICKS_PER_S).cast("long")  # PySpark's rangeBetween takes integers
    reach = int((settings.smoothing_s / 2 + _ROUNDING_S) * _TICKS_PER_S)
    near = Window.partitionBy("video").orderBy(ticks).rangeBetween(-reach, reach)
    smoothed = F.avg("prob2").over(near) if settings.smoothing_s > 0 else F.col("prob2")
    # A frame lasts until the next one, which may come slightly early.
    ends = F.least(F.col("timestamp_s") + settings.period_s, F.lead("timestamp_s").over(in_time))
    frames = predictions.select(*columns, smoothed.alias("smoothed"), ends.alias("ends_s"))
    suspicious = frames.where(F.col("smoothed") > settings.threshold)
    apart_s = F.col("timestamp_s") - F.lag("timestamp_s").over(in_time)
    begins = (apart_s > settings.period_s + settings.gap_s + _ROUNDING_S) | apart_s.isNull()
    numbered = suspicious.withColumn("begins", begins.cast("int"))
    numbered = numbered.withColumn("number", F.sum("begins").over(in_time))
    peak = F.max(F.struct("prob2", -F.col("timestamp_s"), "origin"))
    grouped = numbered.groupBy("video", "number").agg(
        F.min("timestamp_s").alias("start_s"),
        F.max("ends_s").alias("end_s"),
        peak.alias("peak"),
        F.count("*").cast("int").alias("num_frames"),
    )
    long_enough = F.col("end_s") - F.col("start_s") >= settings.min_length_s - _ROUNDING_S
    found = grouped.where(long_enough).select(
        "video",
        "start_s",
        "end_s",
        (-F.col("peak")["col2"]).alias("peak_s"),
        F.col("peak")["origin"].alias("peak_origin"),
        F.col("peak")["prob2"].alias("peak_prob2"),
        "num_frames",
    )
    # There are few incidents, so one task can sort them.
    order = Window.partitionBy(F.lit(1)).orderBy(
        F.col("peak_prob2").desc(), F.col("num_frames").desc(), "video", "start_s"
    )
    return found.withColumn("rank", F.row_number().over(order)).select(*INCIDENTS.names)
