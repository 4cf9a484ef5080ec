"""Collects rows of Spark as Arrow tables."""

import pyarrow as pa
from pyspark.sql import DataFrame


def to_arrow(rows: DataFrame) -> pa.Table:
    """Returns all rows as an Arrow table, in driver memory."""
    if hasattr(rows, "toArrow"):
        return rows.toArrow()
    return pa.Table.from_pandas(rows.toPandas(), preserve_index=False)  # Spark 3.5
