"""Tables of older runs, as this version writes them."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from framewatch.schema import NOT_FINITE, VIDEOS, finite_vectors


def videos(rows: DataFrame) -> DataFrame:
    """`videos`: older ones lack columns."""
    for field in VIDEOS.fields:
        if field.name not in rows.columns:
            rows = rows.withColumn(field.name, F.lit(None).cast(field.dataType))
    modified_ms = F.coalesce("modified_ms", F.unix_millis("modified_at")).alias("modified_ms")
    return rows.select(*(modified_ms if name == "modified_ms" else name for name in VIDEOS.names))


def features(rows: DataFrame) -> DataFrame:
    """`features`: older ones hold vectors that are not finite, and no reasons for those that are null."""
    vectors, metadata = finite_vectors(), rows.schema["features"].metadata
    error = F.col("error") if "error" in rows.columns else F.lit(None).cast("string")
    error = F.when(F.col("features").isNotNull() & vectors.isNull(), NOT_FINITE).otherwise(error)
    rows = rows.withColumn("error", error).withColumn("features", vectors)
    return rows.withMetadata("features", metadata)
