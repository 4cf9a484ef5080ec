"""Converts the column `features` between `array<float>`, as tables store it, and the vectors of Spark ML."""

import math
from dataclasses import dataclass
from typing import Any

from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, FloatType, StructType

from framewatch.errors import SchemaError
from framewatch.tables.metadata import METADATA_KEY, STORED, stored_precision

# In double precision, this factor splits a number after its first 8 significant bits (Veltkamp 1968).
_SPLIT = float(2**45 + 1)


def require_features(df: DataFrame, *, table: str) -> None:
    """Checks that `df` has a column `features` of MLlib vectors, or of arrays of floating-point numbers.

    Args:
        df: the DataFrame to check.
        table: the name of the table for the message.

    Raises:
        SchemaError: the column is missing or has another type.
    """
    if "features" not in df.columns:
        raise SchemaError(
            f"{table} lacks the column(s) features: it has {', '.join(df.columns) or 'none'}; pass a "
            "DataFrame of the features table"
        )
    kind = df.schema["features"].dataType
    is_numbers = isinstance(kind, ArrayType) and isinstance(kind.elementType, FloatType | DoubleType)
    if not is_numbers and not isinstance(kind, VectorUDT):
        raise SchemaError(
            f"{table}: features is {kind.simpleString()}, not array<float> or vector; cast the column or "
            "pass the features table"
        )


def is_finite(df: DataFrame) -> Column:
    """Returns whether a row's features are finite; null or false if they are null."""
    numbers = F.col("features")
    if has_vectors(df.schema):  # vector_to_array fails on null
        numbers = F.when(numbers.isNotNull(), vector_to_array(numbers))
    # Spark orders NaN above all other numbers.
    return (F.array_max(numbers) < math.inf) & (F.array_min(numbers) > -math.inf)


def as_vectors(df: DataFrame) -> Column:
    """Returns `features` as MLlib vectors."""
    if has_vectors(df.schema):
        return F.col("features")
    return F.when(F.col("features").isNotNull(), array_to_vector(F.col("features"))).alias("features")


def as_arrays(df: DataFrame) -> Column:
    """Returns `features` as `array<float>`."""
    numbers = F.col("features")
    if has_vectors(df.schema):
        numbers = F.when(numbers.isNotNull(), vector_to_array(numbers, "float32"))
    return numbers.cast("array<float>").alias("features")


def has_vectors(schema: StructType) -> bool:
    """Returns whether `features` are MLlib vectors, as in tables of older versions."""
    return isinstance(schema["features"].dataType, VectorUDT)


@dataclass(frozen=True)
class FeatureStorage:
    """How a table stores features; all its batches do it in the same way.

    Attributes:
        precision: `single` or `half`.
        in_vectors: whether it has MLlib vectors, as older versions wrote them, and not `array<float>`.
    """

    precision: str = "single"
    in_vectors: bool = False

    @staticmethod
    def of(schema: StructType) -> "FeatureStorage":
        """Returns the storage of an existing table with this schema."""
        return FeatureStorage(stored_precision(_metadata(schema)), has_vectors(schema))

    def stored(self, df: DataFrame) -> DataFrame:
        """Returns rows with features, as they are written to the table.

        Single precision keeps float32. Half precision rounds to the 8 significant bits of bfloat16. The
        column stays `array<float>`: with few different numbers, Parquet's dictionaries make it small.
        """
        if self.in_vectors:
            stored = as_vectors(df)
        elif self.precision == "half":
            stored = F.transform(as_arrays(df), _rounded)
        else:
            stored = as_arrays(df)
        if self.precision == "half" and "change" in df.columns:
            df = df.withColumn("change", F.transform("change", _rounded))
        metadata = {key: value for key, value in _metadata(df.schema).items() if key != STORED}
        if self.precision != "single":
            metadata[STORED] = self.precision
        return df.withColumn("features", stored).withMetadata("features", {METADATA_KEY: metadata})


def _metadata(schema: StructType) -> dict[str, Any]:
    return schema["features"].metadata.get(METADATA_KEY, {})


def _rounded(number: Column) -> Column:
    scaled = number.cast("double") * _SPLIT
    return (scaled - (scaled - number)).cast("float")
