"""Archives the classes that Spark loads, so that the many JVMs of the tests start in half the time.

python tests/archive_classes.py DIRECTORY: writes the archive that tests/conftest.py hands to JVMs, of a
session that did a little of everything. A JVM that it does not fit ignores it.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import pyspark
from pyspark.ml.classification import LogisticRegression, LogisticRegressionModel
from pyspark.ml.functions import array_to_vector
from pyspark.sql import Window
from pyspark.sql import functions as F

from framewatch.spark.session import get_spark


def main(place: str) -> None:
    """Runs the session, and waits for its JVM to write the archive."""
    archive = Path(place).resolve() / f"classes-{pyspark.__version__}.jsa"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        spark = get_spark(
            master="local[2]",
            conf={
                "spark.driver.extraJavaOptions": f"-XX:ArchiveClassesAtExit={archive} -Xlog:cds*=off",
                "spark.sql.shuffle.partitions": "2",
                "spark.local.dir": str(directory / "local"),
                "spark.sql.warehouse.dir": str(directory / "warehouse"),
            },
        )
        rows = spark.range(1000).select("id", (F.col("id") % 7).alias("x"), F.lit(b"x").alias("content"))
        rows.mapInArrow(lambda batches: batches, rows.schema).write.partitionBy("x").parquet(
            f"{directory}/rows"
        )
        read = spark.read.parquet(f"{directory}/rows")
        by_x = Window.partitionBy("x").orderBy("id")
        ranked = read.withColumn("rank", F.row_number().over(by_x)).join(read.groupBy("x").count(), "x")
        ranked.orderBy("rank").limit(5).collect()
        spark.read.format("binaryFile").load(f"{directory}/rows/x=1").select("path").collect()
        vectors = read.select(
            array_to_vector(F.array(F.col("id") * 1.0)).alias("features"), (F.col("id") % 2.0).alias("label")
        )
        model = LogisticRegression(maxIter=1).fit(vectors)
        model.save(f"{directory}/model")
        LogisticRegressionModel.load(f"{directory}/model").transform(vectors).collect()
        spark.sql("CREATE DATABASE d")
        spark.sql(f"CREATE TABLE d.t USING parquet LOCATION '{directory}/rows'")
        spark.sql("CREATE VIEW d.v AS SELECT * FROM d.t")
        spark.sql("SELECT count(*) FROM d.v").collect()
        process = spark.sparkContext._gateway.proc
        spark.stop()
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.wait()


if __name__ == "__main__":
    main(sys.argv[1])
