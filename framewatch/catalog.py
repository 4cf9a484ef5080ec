"""Tables for SQL: what reviewers query as `predictions` and its friends."""

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from framewatch import storage
from framewatch.errors import InputError
from framewatch.tables import BATCHED, Tables

_TABLES = ("predictions", "incidents", "videos", "features", "frames")
# Those without pictures and vectors.
_NARROW = ("predictions", "incidents", "videos")


def register(tables: Tables, *, database: str, catalog: str | None = None) -> list[str]:
    """Registers the tables there are, in `database`, and makes it the current one.

    Without `catalog`, they are external tables over the Parquet files. A named catalog, such as Unity
    Catalog's, does not take files on its own storage as external tables: there, `predictions`,
    `incidents` and `videos` are saved as tables of its own, and the pictures and vectors stay where they are.

    Returns:
        The full names of the registered tables.
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
        names.append(f"{catalog}.{database}.{table}" if catalog else f"{database}.{table}")
    return names


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


def _register_external(tables: Tables, table: str) -> None:
    # Dropping an external table leaves its files alone; creating it again takes the files' schema of now.
    tables.spark.sql(f"DROP TABLE IF EXISTS {table}")
    tables.spark.catalog.createTable(table, path=storage.absolute(tables.path(table)), source="parquet")
    if table in BATCHED:
        tables.spark.catalog.recoverPartitions(table)
