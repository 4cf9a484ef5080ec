"""Scores frames with a fitted classifier, and ranks them, the most suspicious first."""

from pyspark.ml import Model
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from framewatch.tables.schema import FEATURES, PREDICTIONS, fields, finite_vectors, require_columns


def score(features: DataFrame, classifier: Model, *, threshold: float = 0.5) -> DataFrame:
    """Scores frames with a fitted classifier.

    Args:
        features: rows with `features` (vector). Rows whose features are null or not finite are left out.
        classifier: a binary classifier of Spark ML, such as `train` returns.
        threshold: `prediction` is 1.0 where `prob2` is above this, else 0.0.

    Returns:
        The rows with `probability` (vector), `prob2` (P(suspicious), 0 to 1) and `prediction`.

    Raises:
        SchemaError: `features` is missing or has another type.

    Example:
        >>> scored = score(features, classifier)
        >>> scored.where("prob2 > 0.5").count() == scored.where("prediction = 1").count()
        True
    """
    require_columns(features, fields(FEATURES, "features"), table="features")
    scored = classifier.transform(features.where(finite_vectors().isNotNull()))
    prob2 = vector_to_array(F.col("probability"))[1]
    prediction = F.when(prob2 > threshold, 1.0).otherwise(0.0)
    return scored.withColumn("prob2", prob2).withColumn("prediction", prediction)


def rank(scored: DataFrame) -> DataFrame:
    """Ranks scored frames: the most suspicious is 1.

    Args:
        scored: what `score` returns, with `origin`, `video`, `frame_index` and `timestamp_s`.

    Returns:
        The `predictions` table: one row per frame with `rank`. Equal probabilities are ranked by origin, so
        that ranks are stable.

    Raises:
        SchemaError: a column is missing or has another type.

    Example:
        >>> ranked = rank(scored)
        >>> ranked.orderBy("rank").select("rank", "prediction").first()
        Row(rank=1, prediction=1.0)
    """
    require_columns(scored, [f for f in PREDICTIONS.fields if f.name != "rank"], table="scored features")
    # A global order needs one task. It sorts narrow rows, without pictures and features.
    narrow = scored.select(*[name for name in PREDICTIONS.names if name != "rank"])
    order = Window.partitionBy(F.lit(1)).orderBy(F.col("prob2").desc(), "origin")
    return narrow.withColumn("rank", F.row_number().over(order)).select(*PREDICTIONS.names)
