"""Registers the tables and their views for SQL, in Spark and in DuckDB."""

import re
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from framewatch.io import storage
from framewatch.tables import views
from framewatch.tables.layout import BATCHED
from framewatch.tables.spark_tables import Tables

# Tables without pictures and vectors. A named catalog gets copies of them.
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
    """Registers the existing tables and their views in `database`, and makes it the current database.

    Without `catalog`, they are external tables over the output's files. A named catalog, such as Unity
    Catalog, does not accept files on its own storage as external tables. There, the tables without pictures
    and vectors are copied to managed tables, and `frames` and `features` are not registered.

    Args:
        tables: the tables of an output.
        database: the name of the database.
        catalog: the name of a catalog; None for the session's own.

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
    # Full names are valid in any current database, and for engines other than Spark.
    found = {table: f"{schema}.{table}" for table in _NARROW if table in names}
    for view, select in views.selects(found, kinds=_has_kinds(tables)).items():
        spark.sql(f"CREATE OR REPLACE VIEW {schema}.{view} AS {select}")
        names.append(view)
    return [f"{catalog}.{database}.{name}" if catalog else f"{database}.{name}" for name in names]


def write_spark_sql(tables: Tables, *, database: str) -> list[str]:
    """Writes a script that creates the tables and views in `spark-sql`: `spark-sql -i OUTPUT/spark.sql`.

    Args:
        tables: the tables of an output.
        database: the name of the database to create them in.

    Returns:
        The full names of the tables, then of the views.
    """
    found = [table for table in _TABLES if tables.exists(table)]
    full = {table: f"`{database}`.{table}" for table in found}
    statements = [f"CREATE DATABASE IF NOT EXISTS `{database}`", f"USE `{database}`"]
    for table, name in full.items():
        path = storage.absolute(tables.path(table)).replace("\\", "\\\\").replace("'", "\\'")
        # Older versions wrote fewer columns of `videos`.
        merged = " OPTIONS (mergeSchema 'true')" if table == "videos" and tables.format == "parquet" else ""
        statements += [
            f"DROP TABLE IF EXISTS {name}",
            f"CREATE TABLE {name} USING {tables.format}{merged} LOCATION '{path}'",
        ]
    narrow = {table: full[table] for table in _NARROW if table in full}
    selects = views.selects(narrow, kinds=_has_kinds(tables))
    statements += [f"CREATE OR REPLACE VIEW `{database}`.{view} AS\n{sql}" for view, sql in selects.items()]
    script = "".join(f"{statement};\n" for statement in statements)
    storage.write_bytes(storage.join(tables.output, "spark.sql"), script.encode())
    return [f"{database}.{name}" for name in (*found, *selects)]


def write_duckdb(tables: Tables) -> str:
    """Writes a script that creates the tables and views in DuckDB: `duckdb -init OUTPUT/duckdb.sql`.

    It contains absolute paths, so it works from any directory until the output is moved.

    Returns:
        The path of the script.
    """
    path = storage.join(tables.output, "duckdb.sql")
    found = [table for table in _TABLES if tables.exists(table)]
    script = duckdb_script(tables.output, found, tables.format, kinds=_has_kinds(tables))
    storage.write_bytes(path, script.encode())
    return path


def _has_kinds(tables: Tables) -> bool:
    """Returns whether the ranking has the column `kind`, which older versions did not write."""
    path = tables.path("incidents")
    if not tables.exists("incidents"):
        return True
    if tables.format == "delta":
        return "kind" in tables.spark.read.format("delta").load(path).columns
    files, paths = storage.parquet_files(path, "*.parquet")
    return "kind" in pq.read_schema(paths[0], filesystem=files).names


def duckdb_script(
    output: str, tables: Sequence[str], table_format: str = "parquet", *, kinds: bool = True
) -> str:
    """Returns the script that `write_duckdb` writes.

    Args:
        output: the output directory.
        tables: names of the existing tables.
        table_format: `parquet` or `delta`.
        kinds: as for `views.selects`.
    """
    root = storage.readable(storage.absolute(output))
    selects = {table: _duckdb_select(storage.join(root, table), table, table_format) for table in tables}
    selects |= views.selects({table: table for table in _NARROW if table in tables}, kinds=kinds)
    statements = [f"create or replace view {name} as\n{select};\n" for name, select in selects.items()]
    return "\n".join(["-- The tables and views of a framewatch run.\n", *statements])


def _duckdb_select(path: str, table: str, table_format: str) -> str:
    if table_format == "delta":
        return "select *\nfrom delta_scan('{}')".format(path.replace("'", "''"))
    directory = re.sub(r"([*?\[])", r"[\1]", path.replace("'", "''"))
    # DuckDB's partitioning would turn any `key=value` in the path into a column that hides the file's own.
    if table not in BATCHED:
        return f"select *\nfrom read_parquet('{directory}/*.parquet', hive_partitioning = false)"
    batch = "cast(regexp_extract(filename, 'batch=([0-9]+)/[^/]*$', 1) as integer) as batch"
    files = f"'{directory}/batch=*/*.parquet', hive_partitioning = false, filename = true"
    files += ", union_by_name = true" if table == "videos" else ""  # older versions wrote fewer columns
    return f"select * exclude (filename), {batch}\nfrom read_parquet({files})"


def _register_external(tables: Tables, table: str) -> None:
    # Dropping an external table keeps its files. Creating it again reads their current schema.
    tables.spark.sql(f"DROP TABLE IF EXISTS {table}")
    path = storage.absolute(tables.path(table))
    # Older versions wrote fewer columns of `videos`.
    merged: dict[str, Any] = {}
    if table == "videos" and tables.format == "parquet":
        merged["mergeSchema"] = "true"
    tables.spark.catalog.createTable(table, path=path, source=tables.format, **merged)
    if table in BATCHED and tables.format == "parquet":
        tables.spark.catalog.recoverPartitions(table)
