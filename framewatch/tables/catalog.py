"""Tables and views for SQL: what reviewers query as `predictions` and its friends, in Spark and in DuckDB."""

import re
from collections.abc import Sequence
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.tables import views
from framewatch.tables.layout import BATCHED
from framewatch.tables.spark_tables import Tables

# Those without pictures and vectors, which a named catalog gets copies of.
_NARROW = (
    "predictions",
    "incidents",
    "videos",
    "classifications",
    "class_clips",
    "clusters",
    "cluster_frames",
    "cluster_times",
    "outliers",
)
_TABLES = (*_NARROW, "features", "frames")


def register(tables: Tables, *, database: str, catalog: str | None = None) -> list[str]:
    """Registers the tables there are, and views on them, in `database`, and makes it the current one.

    Without `catalog`, they are external tables over the run's files. A named catalog, such as Unity
    Catalog's, does not take files on its own storage as external tables: there, `predictions`,
    `incidents` and `videos` are saved as tables of its own, and the pictures and vectors stay where they are.

    Returns:
        The full names of the registered tables, then of the views.
    """
    spark = tables.spark
    schema = f"`{catalog}`.`{database}`" if catalog else f"`{database}`"
    if not spark.catalog.databaseExists(schema):
        spark.sql(f"CREATE DATABASE IF NOT EXISTS {schema}")
    spark.sql(f"USE {schema}")
    names = []
    for table in _TABLES:
        if not tables.exists(table):
            continue
        if catalog is None:
            _register_external(tables, table)
        elif table in _NARROW:
            tables.read(table).write.mode("overwrite").saveAsTable(f"{schema}.{table}")
        else:
            continue
        names.append(table)
    # With their full names the tables are found from any database, by engines other than Spark as well.
    found = {table: f"{schema}.{table}" for table in _NARROW if table in names}
    for view, select in views.selects(found).items():
        spark.sql(f"CREATE OR REPLACE VIEW {schema}.{view} AS {select}")
        names.append(view)
    return [f"{catalog}.{database}.{name}" if catalog else f"{database}.{name}" for name in names]


def write_duckdb(tables: Tables) -> str:
    """Writes a script that makes the same tables and views in DuckDB: `duckdb -init OUTPUT/duckdb.sql`.

    It names the files by their absolute paths, so it works from any directory until they are moved.

    Returns:
        Where the script lies.
    """
    path = storage.join(tables.output, "duckdb.sql")
    found = [table for table in _TABLES if tables.exists(table)]
    storage.write_bytes(path, duckdb_script(tables.output, found, tables.format).encode())
    return path


def duckdb_script(output: str, tables: Sequence[str], table_format: str = "parquet") -> str:
    """The script of `write_duckdb`.

    Args:
        output: the run's directory.
        tables: the tables there are.
        table_format: of all of them.
    """
    root = storage.readable(storage.absolute(output))
    selects = {table: _duckdb_select(storage.join(root, table), table, table_format) for table in tables}
    selects |= views.selects({table: table for table in _NARROW if table in tables})
    statements = [f"create or replace view {name} as\n{select};\n" for name, select in selects.items()]
    return "\n".join(["-- The tables and views of a framewatch run.\n", *statements])


def require_free(spark: SparkSession, directory: str) -> None:
    """Checks that the embedded metastore opens: it serves one session at a time.

    Raises:
        InputError: another session has it open.
    """
    try:
        spark.catalog.databaseExists("default")
    except AnalysisException as error:
        if "MetaStoreClient" not in str(error):
            raise
        raise InputError(
            f"the SQL metastore {directory} is in use, perhaps by an open spark-sql: close it, or go on "
            "without SQL tables, catalog.enabled=false"
        ) from error


def _duckdb_select(path: str, table: str, table_format: str) -> str:
    if table_format == "delta":
        return "select *\nfrom delta_scan('{}')".format(path.replace("'", "''"))
    directory = re.sub(r"([*?\[])", r"[\1]", path.replace("'", "''"))
    # DuckDB's own partitions would take any `key=value` of the path for a column, over those in the files.
    if table not in BATCHED:
        return f"select *\nfrom read_parquet('{directory}/*.parquet', hive_partitioning = false)"
    batch = "cast(regexp_extract(filename, 'batch=([0-9]+)/[^/]*$', 1) as integer) as batch"
    files = f"'{directory}/batch=*/*.parquet', hive_partitioning = false, filename = true"
    files += ", union_by_name = true" if table == "videos" else ""  # older versions wrote fewer columns
    return f"select * exclude (filename), {batch}\nfrom read_parquet({files})"


def _register_external(tables: Tables, table: str) -> None:
    # Dropping an external table leaves its files alone; creating it again takes the files' schema of now.
    tables.spark.sql(f"DROP TABLE IF EXISTS {table}")
    path = storage.absolute(tables.path(table))
    # Older versions wrote fewer columns of `videos`.
    merged: dict[str, Any] = {}
    if table == "videos" and tables.format == "parquet":
        merged["mergeSchema"] = "true"
    tables.spark.catalog.createTable(table, path=path, source=tables.format, **merged)
    if table in BATCHED and tables.format == "parquet":
        tables.spark.catalog.recoverPartitions(table)
