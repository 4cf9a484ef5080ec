"""Reads tables of older versions with the current columns."""

from pyspark.sql import DataFrame, DataFrameReader
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from framewatch.tables.feature_columns import as_arrays, has_vectors, is_finite
from framewatch.tables.schema import FEATURES, NOT_FINITE, VIDEOS


def videos(reader: DataFrameReader, path: str, table_format: str) -> DataFrame:
    """Reads `videos`; adds the columns that older versions did not write."""
    if table_format == "parquet":  # Spark would apply the schema of one file to all
        reader = reader.schema(VIDEOS)
    rows = with_missing(reader.load(path), VIDEOS)
    modified_ms = F.coalesce("modified_ms", F.unix_millis("modified_at")).alias("modified_ms")
    return rows.select(*(modified_ms if name == "modified_ms" else name for name in VIDEOS.names))


def with_missing(rows: DataFrame, schema: StructType) -> DataFrame:
    """Adds the columns that older versions did not write, as null."""
    for field in schema.fields:
        if field.name not in rows.columns:
            rows = rows.withColumn(field.name, F.lit(None).cast(field.dataType))
    return rows


def features(reader: DataFrameReader, path: str, table_format: str) -> DataFrame:
    """Reads `features` as arrays; older versions wrote MLlib vectors, not all finite, and fewer columns.

    `error` is null exactly where a frame has features, so that frames without are counted without vectors.
    """
    rows = reader.load(path)
    missing = [field for field in FEATURES.fields if field.name not in rows.columns]
    if missing and table_format == "parquet":  # other files may have the columns
        rows = reader.schema(StructType([*rows.schema.fields, *missing])).load(path)
    else:
        rows = with_missing(rows, FEATURES)
    if not has_vectors(rows.schema):
        return rows
    metadata = rows.schema["features"].metadata
    rows = rows.withColumn("features", as_arrays(rows))
    finite = F.when(is_finite(rows), F.col("features"))
    error = (
        F.when(F.col("features").isNotNull() & finite.isNull(), NOT_FINITE)
        .when(finite.isNull(), F.coalesce("error", F.lit("damaged")))
        .otherwise(F.col("error"))
    )
    rows = rows.withColumn("error", error).withColumn("features", finite)
    return rows.withMetadata("features", metadata)
