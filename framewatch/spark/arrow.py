"""Collects rows of Spark as Arrow tables."""

import math
import re

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

_LARGEST = "spark.driver.maxResultSize"
_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def largest_result_bytes(spark: SparkSession) -> float:
    """Returns how many bytes the session lets a job send to the driver; infinity without a limit."""
    value = str(spark.conf.get(_LARGEST, "1g")).strip().lower()
    size = re.fullmatch(r"(\d+)\s*([bkmgt]?)b?", value)
    return (int(size[1]) * _UNITS[size[2]] if size else 2**30) or math.inf


def to_arrow(rows: DataFrame) -> pa.Table:
    """Returns all rows as an Arrow table, in driver memory."""
    if hasattr(rows, "toArrow"):
        return rows.toArrow()
    return pa.Table.from_pandas(rows.toPandas(), preserve_index=False)  # Spark 3.5
