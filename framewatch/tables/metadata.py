"""Reads how frames were sampled and what made features, from columns' metadata. Does not import Spark."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq

from framewatch.errors import InputError
from framewatch.io import storage

# The key of framewatch's metadata of a column.
METADATA_KEY = "framewatch"
# The column of a table that has the metadata.
MARKED = {"frames": "content", "features": "features"}
# The key in the metadata of `features` for their precision in the table; missing if it is single.
STORED = "stored"

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


def stored_precision(identity: Mapping[str, Any]) -> str:
    """Returns the precision of stored features from the metadata of their column."""
    return identity.get(STORED, "single")


def require_stored_precision(identity: Mapping[str, Any], precision: str, output: str) -> None:
    """Checks that existing features are stored with the configured precision.

    Args:
        identity: the metadata of `features`.
        precision: the value of `features.precision`.
        output: the output directory.

    Raises:
        InputError: they are stored with another precision.
    """
    stored = stored_precision(identity)
    if stored != precision:
        raise InputError(
            f"features.precision={precision}, and the features in {output} are stored as {stored}: set "
            f"features.precision={stored}, another output, or featurizer.mode=overwrite to make all anew"
        )


def sampling_period_s(sampling: Mapping[str, Any], *, default_fps: float) -> float:
    """Returns the seconds between sampled frames.

    Args:
        sampling: the metadata of `frames`.
        default_fps: samples per second, for when there are no frames.
    """
    return 1 / (sampling.get("fps") or default_fps)
