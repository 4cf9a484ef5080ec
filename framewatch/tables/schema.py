"""Defines the tables' column names and types, the only interface between stages."""

import math
from collections.abc import Sequence

from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from framewatch.errors import SchemaError
from framewatch.models.network_output import NOT_FINITE as NOT_FINITE

# Databricks displays a column with this annotation as pictures.
JPEG_METADATA = {"spark.contentAnnotation": {"mimeType": "image/jpeg"}}

# The key of framewatch's metadata of a column: sampling settings of frames, or model and weights of features.
METADATA_KEY = "framewatch"

_ORIGIN = StructField("origin", StringType())
_VIDEO = StructField("video", StringType())
_FRAME_INDEX = StructField("frame_index", IntegerType())
_TIMESTAMP_S = StructField("timestamp_s", DoubleType())
_BATCH = StructField("batch", IntegerType())

LISTING = StructType(
    [
        _VIDEO,
        StructField("size_bytes", LongType()),
        StructField("modified_ms", LongType()),
        StructField("name", StringType()),
    ]
)

VIDEOS = StructType(
    [
        _VIDEO,
        StructField("status", StringType()),
        StructField("error", StringType()),
        StructField("warning", StringType()),
        StructField("duration_s", DoubleType()),
        StructField("fps", DoubleType()),
        StructField("width", IntegerType()),
        StructField("height", IntegerType()),
        StructField("codec", StringType()),
        StructField("num_frames", IntegerType()),
        StructField("attempts", IntegerType()),
        StructField("size_bytes", LongType()),
        StructField("modified_ms", LongType()),
        StructField("modified_at", TimestampType()),
        _BATCH,
    ]
)

FRAMES = StructType(
    [
        _ORIGIN,
        _VIDEO,
        _FRAME_INDEX,
        _TIMESTAMP_S,
        StructField("width", IntegerType()),
        StructField("height", IntegerType()),
        StructField("content", BinaryType(), True, JPEG_METADATA),
        _BATCH,
    ]
)

FEATURES = StructType(
    [
        _ORIGIN,
        _VIDEO,
        _FRAME_INDEX,
        _TIMESTAMP_S,
        StructField("features", VectorUDT()),
        # Why a frame has no features.
        StructField("error", StringType()),
        _BATCH,
    ]
)

PREDICTIONS = StructType(
    [
        _ORIGIN,
        _VIDEO,
        _FRAME_INDEX,
        _TIMESTAMP_S,
        StructField("probability", VectorUDT()),
        StructField("prob2", DoubleType()),
        StructField("prediction", DoubleType()),
        StructField("rank", IntegerType()),
    ]
)

INCIDENTS = StructType(
    [
        _VIDEO,
        StructField("start_s", DoubleType()),
        StructField("end_s", DoubleType()),
        StructField("peak_s", DoubleType()),
        StructField("peak_origin", StringType()),
        StructField("peak_prob2", DoubleType()),
        StructField("num_frames", IntegerType()),
        StructField("rank", IntegerType()),
    ]
)

CANDIDATES = StructType(
    [
        _ORIGIN,
        _VIDEO,
        _TIMESTAMP_S,
        StructField("end_s", DoubleType()),
        StructField("prob2", DoubleType()),
        StructField("rank", IntegerType()),
        StructField("incident", IntegerType()),
        StructField("audit", LongType()),
        StructField("features", ArrayType(FloatType())),
    ]
)


CLASSIFICATIONS = StructType(
    [
        _VIDEO,
        StructField("class", StringType()),
        StructField("score", DoubleType()),
        StructField("duration_ratio", DoubleType()),
        StructField("calibrated", BooleanType()),
    ]
)

CLASS_CLIPS = StructType(
    [
        _VIDEO,
        StructField("class", StringType()),
        StructField("prompt", StringType()),
        StructField("start_s", DoubleType()),
        StructField("end_s", DoubleType()),
        StructField("score", DoubleType()),
    ]
)


CLUSTERS = StructType(
    [
        StructField("cluster", IntegerType()),
        StructField("num_frames", LongType()),
        StructField("num_still", LongType()),
        StructField("num_videos", LongType()),
        StructField("mean_prob2", DoubleType()),
        StructField("example", StringType()),
        StructField("example_video", StringType()),
        StructField("example_s", DoubleType()),
    ]
)

CLUSTER_FRAMES = StructType(
    [
        _ORIGIN,
        _VIDEO,
        _TIMESTAMP_S,
        StructField("cluster", IntegerType()),
        StructField("distance", DoubleType()),
        StructField("still", BooleanType()),
    ]
)

CLUSTER_TIMES = StructType(
    [
        _VIDEO,
        StructField("from_s", DoubleType()),
        StructField("cluster", IntegerType()),
        StructField("num_frames", LongType()),
    ]
)

OUTLIERS = StructType(
    [_ORIGIN, _VIDEO, _TIMESTAMP_S, StructField("distance", DoubleType()), StructField("rank", IntegerType())]
)


def finite_vectors(name: str = "features") -> Column:
    """Returns a column of vectors, with null in place of vectors that contain NaN or infinity."""
    numbers = F.when(F.col(name).isNotNull(), vector_to_array(F.col(name)))  # vector_to_array fails on null
    # Spark orders NaN above all other numbers.
    is_finite = (F.array_max(numbers) < math.inf) & (F.array_min(numbers) > -math.inf)
    return F.when(is_finite, F.col(name))


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
