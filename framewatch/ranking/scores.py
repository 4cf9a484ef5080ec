"""Scores frames with a fitted classifier, and ranks them, the most suspicious first."""

from pyspark.ml import Model
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from framewatch.tables.schema import FEATURES, PREDICTIONS, fields, finite_vectors, require_columns


def score(features: DataFrame, classifier: Model, *, threshold: float = 0.5) -> DataFrame:
    """Adds `probability` (vector), `prob2` (P(suspicious)) and `prediction` (1.0 above `threshold`).

    Drops frames whose features are null or not finite.
    """
    require_columns(features, fields(FEATURES, "features"), table="features")
    scored = classifier.transform(features.where(finite_vectors().isNotNull()))
    prob2 = vector_to_array(F.col("probability"))[1]
    prediction = F.when(prob2 > threshold, 1.0).otherwise(0.0)
    return scored.withColumn("prob2", prob2).withColumn("prediction", prediction)


def rank(scored: DataFrame) -> DataFrame:
    """Returns the `predictions` table. Ties are ordered by origin, so that ranks are deterministic."""
    require_columns(scored, [f for f in PREDICTIONS.fields if f.name != "rank"], table="scored features")
    # A global order needs one task. It sorts narrow rows, without pictures and features.
    narrow = scored.select(*[name for name in PREDICTIONS.names if name != "rank"])
    order = Window.partitionBy(F.lit(1)).orderBy(F.col("prob2").desc(), "origin")
    return narrow.withColumn("rank", F.row_number().over(order)).select(*PREDICTIONS.names)
