"""The frames around labelled ones, which are their context."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from framewatch.ranking.context import REACH_S
from framewatch.tables.feature_columns import is_finite

_MARKED, _TIME = "_marked", "timestamp_s"


def around(features: DataFrame, labelled: DataFrame) -> DataFrame:
    """Returns the frames with features that are near a labelled frame of their video and not labelled.

    Args:
        features: the table `features`.
        labelled: the labelled frames.
    """
    marks = labelled.select("origin", F.lit(True).alias(_MARKED))
    videos = F.broadcast(labelled.select("video").distinct())
    usable = features.where(is_finite(features)).join(videos, "video", "left_semi")
    marked = usable.select("origin", "video", _TIME).join(marks, "origin", "left")
    order = Window.partitionBy("video").orderBy(_TIME)
    so_far = order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    from_now = order.rowsBetween(Window.currentRow, Window.unboundedFollowing)
    time = F.when(F.col(_MARKED), F.col(_TIME))
    distances = (
        F.col(_TIME) - F.last(time, ignorenulls=True).over(so_far),
        F.first(time, ignorenulls=True).over(from_now) - F.col(_TIME),
    )
    near = marked.withColumn("_distance_s", F.least(*distances))  # `least` skips nulls
    chosen = near.where(F.col(_MARKED).isNull() & (F.col("_distance_s") <= REACH_S)).select("origin")
    return usable.join(chosen, "origin", "left_semi")
