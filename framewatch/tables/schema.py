"""Defines the tables' schemas in Spark, derived from `tables.columns`."""

from collections.abc import Sequence

import pyarrow as pa
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import DataType, StructField, StructType

from framewatch.errors import SchemaError
from framewatch.models.network_output import NOT_FINITE as NOT_FINITE
from framewatch.tables import columns
from framewatch.tables.metadata import METADATA_KEY as METADATA_KEY

# Databricks displays a column with this annotation as pictures.
JPEG_METADATA = {"spark.contentAnnotation": {"mimeType": "image/jpeg"}}


def from_arrow(schema: pa.Schema) -> StructType:
    """Converts an Arrow schema to Spark's; `columns.VECTOR` becomes MLlib's vector."""
    return StructType(
        [
            StructField(
                field.name,
                VectorUDT() if field.type == columns.VECTOR else from_arrow_type(field.type),
                field.nullable,
            )
            for field in schema
        ]
    )


LISTING = from_arrow(columns.LISTING)
VIDEOS = from_arrow(columns.VIDEOS)
FRAMES = from_arrow(columns.FRAMES)
FRAMES["content"].metadata = JPEG_METADATA
FEATURES = from_arrow(columns.FEATURES)
SCORES = from_arrow(columns.SCORES)
PREDICTIONS = from_arrow(columns.PREDICTIONS)
INCIDENTS = from_arrow(columns.INCIDENTS)
CANDIDATES = from_arrow(columns.CANDIDATES)
CLASSIFICATIONS = from_arrow(columns.CLASSIFICATIONS)
CLASS_CLIPS = from_arrow(columns.CLASS_CLIPS)
CLUSTERS = from_arrow(columns.CLUSTERS)
CLUSTER_FRAMES = from_arrow(columns.CLUSTER_FRAMES)
CLUSTER_TIMES = from_arrow(columns.CLUSTER_TIMES)
OUTLIERS = from_arrow(columns.OUTLIERS)


def require_columns(df: DataFrame, columns: Sequence[StructField], *, table: str) -> None:
    """Checks that `df` has each column with its type; it may have other columns.

    Args:
        df: the DataFrame to check.
        columns: the required columns.
        table: the name of the table for the message.

    Raises:
        SchemaError: a column is missing or has another type.
    """
    have: dict[str, DataType] = {field.name: field.dataType for field in df.schema.fields}
    missing = [field.name for field in columns if field.name not in have]
    if missing:
        raise SchemaError(
            f"{table} lacks the column(s) {', '.join(missing)}: it has {', '.join(have) or 'none'}; "
            f"pass a DataFrame of the {table} table"
        )
    wrong = [
        f"{field.name} is {have[field.name].simpleString()}, not {field.dataType.simpleString()}"
        for field in columns
        if have[field.name] != field.dataType
    ]
    if wrong:
        raise SchemaError(f"{table}: {'; '.join(wrong)}; cast the column or pass the {table} table")


def fields(schema: StructType, *names: str) -> list[StructField]:
    """Returns the fields of `schema` with the given names, in that order."""
    return [schema[name] for name in names]
