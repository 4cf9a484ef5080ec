"""Incidents: groups neighbouring suspicious frames of one video for review."""

from collections.abc import Sequence

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from framewatch.ranking.kinds import best_of
from framewatch.tables.schema import INCIDENTS, PREDICTIONS, SCORES, fields, require_columns

# Timestamps are ticks divided by a time base; equal times may differ by less than this.
_ROUNDING_S = 1e-6
_TICKS_PER_S = 1_000_000


def find_incidents(
    predictions: DataFrame,
    *,
    threshold: float = 0.5,
    gap_s: float = 2.0,
    min_length_s: float = 0.0,
    smoothing_s: float = 0.0,
    period_s: float = 1.0,
) -> DataFrame:
    """Joins suspicious frames that are near each other in time into incidents.

    Args:
        predictions: scored frames, with `origin`, `video`, `timestamp_s` and `prob2`.
        threshold: a frame is suspicious where its smoothed probability is above this.
        gap_s: seconds without a suspicious frame that an incident may span.
        min_length_s: shorter incidents are left out.
        smoothing_s: probabilities are averaged over the frames at most half of this away; 0 for none.
        period_s: seconds from one frame to the next, and how long a frame lasts.

    Returns:
        The `incidents` table: `video`, `start_s`, `end_s`, `peak_s`, `peak_origin`, `peak_prob2`,
        `num_frames`, `rank`, `kind`. An incident lasts from its first suspicious frame to the end of its
        last, `[start_s, end_s)`. `kind` is null: see `with_kinds`.
        Its peak is its most probable frame, the earliest of several. Ranks go by the peak's probability, then
        by the number of suspicious frames, video and start.

    Raises:
        SchemaError: a column is missing or has another type.

    Example:
        >>> incidents = find_incidents(ranked, threshold=0.5, gap_s=2)
        >>> incidents.select("start_s", "end_s", "rank").first()
        Row(start_s=2.0, end_s=4.0, rank=1)
    """
    columns = ("origin", "video", "timestamp_s", "prob2")
    require_columns(predictions, fields(PREDICTIONS, *columns), table="predictions")
    numbered = _numbered(
        predictions.select(*columns), threshold, gap_s=gap_s, smoothing_s=smoothing_s, period_s=period_s
    )
    found = _grouped(numbered, min_length_s=min_length_s)
    # There are few incidents, so one task can sort them.
    order = Window.partitionBy(F.lit(1)).orderBy(
        F.col("peak_prob2").desc(), F.col("num_frames").desc(), "video", "start_s"
    )
    return found.withColumn("rank", F.row_number().over(order)).select(*INCIDENTS.names)


def _grouped(numbered: DataFrame, *, min_length_s: float) -> DataFrame:
    """Returns the incidents of numbered frames, without `rank`."""
    peak = F.max(F.struct("prob2", -F.col("timestamp_s"), "origin"))
    grouped = numbered.groupBy("video", "number").agg(
        F.min("timestamp_s").alias("start_s"),
        F.max("ends_s").alias("end_s"),
        peak.alias("peak"),
        F.count("*").cast("int").alias("num_frames"),
    )
    long_enough = F.col("end_s") - F.col("start_s") >= min_length_s - _ROUNDING_S
    return grouped.where(long_enough).select(
        "video",
        "start_s",
        "end_s",
        (-F.col("peak")["col2"]).alias("peak_s"),
        F.col("peak")["origin"].alias("peak_origin"),
        F.col("peak")["prob2"].alias("peak_prob2"),
        "num_frames",
        F.lit(None).cast("string").alias("kind"),
    )


def with_kinds(incidents: DataFrame, scored: DataFrame, names: Sequence[str]) -> DataFrame:
    """Replaces `kind` by the kind with the highest mean log-odds over the frames in an incident's range.

    Args:
        incidents: the incidents.
        scored: the table `scores` of their frames.
        names: the kinds, in the order of `scores.kinds`.
    """
    require_columns(incidents, fields(INCIDENTS, "video", "start_s", "end_s", "rank"), table="incidents")
    require_columns(scored, fields(SCORES, "video", "timestamp_s", "kinds"), table="scores")
    ranges = incidents.select(F.col("video").alias("of"), "start_s", "end_s", "rank")
    inside = (F.col("video") == F.col("of")) & (F.col("timestamp_s") >= F.col("start_s"))
    inside &= F.col("timestamp_s") < F.col("end_s") - _ROUNDING_S
    frames = scored.select("video", "timestamp_s", "kinds").join(ranges, inside)
    means = [F.avg(F.element_at("kinds", place)) for place in range(1, len(names) + 1)]
    kinds = frames.groupBy("rank").agg(best_of(F.array(*means), names).alias("kind"))
    return incidents.drop("kind").join(kinds, "rank", "left").select(*INCIDENTS.names)


def _numbered(
    predictions: DataFrame, threshold: float, *, gap_s: float, smoothing_s: float, period_s: float
) -> DataFrame:
    """Returns the suspicious frames, with `ends_s` and the `number` of their incident in the video."""
    in_time = Window.partitionBy("video").orderBy("timestamp_s")
    ticks = (F.col("timestamp_s") * _TICKS_PER_S).cast("long")  # a range of doubles is none to Spark
    reach = int((smoothing_s / 2 + _ROUNDING_S) * _TICKS_PER_S)
    near = Window.partitionBy("video").orderBy(ticks).rangeBetween(-reach, reach)
    smoothed = F.avg("prob2").over(near) if smoothing_s > 0 else F.col("prob2")
    # A frame lasts until the next, which may come a little early.
    ends = F.least(F.col("timestamp_s") + period_s, F.lead("timestamp_s").over(in_time))
    frames = predictions.select("*", smoothed.alias("smoothed"), ends.alias("ends_s"))
    suspicious = frames.where(F.col("smoothed") > threshold)
    apart_s = F.col("timestamp_s") - F.lag("timestamp_s").over(in_time)
    begins = (apart_s > period_s + gap_s + _ROUNDING_S) | apart_s.isNull()
    numbered = suspicious.withColumn("begins", begins.cast("int"))
    return numbered.withColumn("number", F.sum("begins").over(in_time))
