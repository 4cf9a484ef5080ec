"""Scores frames with a fitted classifier, and ranks them, the most suspicious first."""

from pyspark.ml import Model
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from framewatch.tables.feature_columns import as_vectors, has_vectors, is_finite, require_features
from framewatch.tables.schema import PREDICTIONS, require_columns

_ARRAYS = "_arrays"


def score(features: DataFrame, classifier: Model, *, threshold: float = 0.5) -> DataFrame:
    """Scores frames with a fitted classifier.

    Args:
        features: rows with `features` (array<float> or vector). Rows whose features are null or not finite
            are left out.
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
    require_features(features, table="features")
    scored = _transform(classifier, features.where(is_finite(features)))
    prob2 = vector_to_array(F.col("probability"))[1]
    prediction = F.when(prob2 > threshold, 1.0).otherwise(0.0)
    return scored.withColumn("prob2", prob2).withColumn("prediction", prediction)


def _transform(classifier: Model, features: DataFrame) -> DataFrame:
    """Applies a classifier, which needs vectors; arrays stay arrays."""
    if has_vectors(features.schema):
        return classifier.transform(features)
    rows = features.withColumn(_ARRAYS, F.col("features")).withColumn("features", as_vectors(features))
    scored = classifier.transform(rows)
    added = [name for name in scored.columns if name not in rows.columns]
    kept = [F.col(_ARRAYS).alias(name) if name == "features" else F.col(name) for name in features.columns]
    return scored.select(*kept, *added)


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
