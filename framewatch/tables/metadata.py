"""Reads how frames were sampled and what made features, from columns' metadata. Does not import Spark."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq

from framewatch.io import storage

# The key of framewatch's metadata of a column.
METADATA_KEY = "framewatch"
# The column of a table that has the metadata.
MARKED = {"frames": "content", "features": "features"}

_SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"


def read_metadata(output: str, table: str) -> dict[str, Any]:
    """Returns the metadata of a table from its first file; empty if there is none."""
    files, paths = storage.parquet_files(storage.join(output, table), "batch=*/*.parquet")
    if not paths:
        return {}
    with files.open(paths[0], "rb") as file:
        return file_metadata(pq.ParquetFile(file), table)


def file_metadata(file: Any, table: str) -> dict[str, Any]:
    """Returns the metadata of a table from one of its files, a `pyarrow.parquet.ParquetFile`."""
    schema = json.loads((file.schema_arrow.metadata or {}).get(_SPARK_SCHEMA, b"{}"))
    columns = {entry["name"]: entry.get("metadata", {}) for entry in schema.get("fields", [])}
    return columns.get(MARKED[table], {}).get(METADATA_KEY, {})


def sampling_period_s(sampling: Mapping[str, Any], *, default_fps: float) -> float:
    """Returns the seconds between sampled frames.

    Args:
        sampling: the metadata of `frames`.
        default_fps: samples per second, for when there are no frames.
    """
    return 1 / (sampling.get("fps") or default_fps)
