"""Checks which tables an output has, and in which format. Does not import Spark."""

from typing import Literal

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.tables.results import WRITTEN_BY

Format = Literal["parquet", "delta"]
# Tables that grow batch by batch, one partition each.
BATCHED = ("videos", "frames", "features", "scores")
# Those of them whose files `contents` describes.
RECORDED = ("frames", "features")


def table_exists(output: str, table: str, table_format: Format) -> bool:
    """Returns whether a table has any file; a killed run may leave empty directories."""
    path = storage.join(output, table)
    if table_format == "delta":
        return storage.is_delta(path)
    return storage.matches(path, "batch=*/*.parquet" if table in BATCHED else "*.parquet")


def require_table(output: str, table: str, table_format: Format) -> None:
    """Checks that a table exists.

    Raises:
        InputError: it does not exist; the message names the stage that writes it.
    """
    if not table_exists(output, table, table_format):
        raise InputError(
            f"there is no table {storage.join(output, table)}: run `framewatch {WRITTEN_BY[table]}` with "
            "this output first"
        )


def require_format(output: str, table_format: Format) -> None:
    """Checks that the existing tables have the given format.

    Raises:
        InputError: a table has another format.
    """
    other: Format = "parquet" if table_format == "delta" else "delta"
    for table in WRITTEN_BY:
        if table_exists(output, table, other) and not table_exists(output, table, table_format):
            raise InputError(
                f"{storage.join(output, table)} is {other}, and tables.format={table_format}: set another "
                f"output, or tables.format={other}"
            )
