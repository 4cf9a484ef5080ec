"""Makes the tables of an output available for SQL."""

from pyspark.sql import SparkSession

from framewatch.io import storage
from framewatch.pipeline.run import Run
from framewatch.spark.session import write_sql_settings
from framewatch.tables import catalog


def register_for_sql(run: Run) -> list[str]:
    """Makes the existing tables available for SQL if `catalog.enabled`; returns their names.

    They are registered in a catalog that outlives this call. Without one, two files let `spark-sql` open
    them.
    """
    config = run.config.catalog
    if not config.enabled:
        return []
    if config.name is None and run.is_ours and not _has_metastore(run.spark):
        output = storage.local_path(run.config.output)
        if output is None or run.config.spark.remote is not None:
            return []
        write_sql_settings(storage.join(output, "spark-sql.conf"), storage.join(output, "catalog"))
        return catalog.write_spark_sql(run.tables, database=config.database)
    return catalog.register(run.tables, database=config.database, catalog=config.name)


def _has_metastore(spark: SparkSession) -> bool:
    """Returns whether the session's catalog is stored in a Hive metastore."""
    return spark.conf.get("spark.sql.catalogImplementation", "in-memory") == "hive"
