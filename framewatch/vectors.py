"""The vectors of `features`: what older versions wrote."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from framewatch.schema import NOT_FINITE, finite_vectors


def upgrade_features(rows: DataFrame) -> DataFrame:
    """`features` as this version writes it: older ones hold vectors that are not finite, and no reasons."""
    vectors, metadata = finite_vectors(), rows.schema["features"].metadata
    error = F.col("error") if "error" in rows.columns else F.lit(None).cast("string")
    error = F.when(F.col("features").isNotNull() & vectors.isNull(), NOT_FINITE).otherwise(error)
    rows = rows.withColumn("error", error).withColumn("features", vectors)
    return rows.withMetadata("features", metadata)
