"""Delta, written by an engine of Spark Connect that has it: Sail. No connector for the JVM is to be had."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytest.importorskip("pysail", reason="Sail is not installed: make test-old-spark runs this")

# A session of its own process: one process has either a JVM or a connection.
WRITES = """
import os, sys
from pysail.spark import SparkConnectServer
from pyspark.sql import SparkSession
from framewatch.tables.spark_tables import Tables

server = SparkConnectServer("127.0.0.1", 0)
server.start(background=True)
spark = SparkSession.builder.remote(f"sc://127.0.0.1:{server.listening_address[1]}").getOrCreate()
spark.version  # an error where Sail does not speak with it
tables = Tables(spark, sys.argv[1], "delta")

def rows(batch, *names):
    values = [(name, "ok", batch) for name in names]
    return spark.createDataFrame(values, "video string, status string, batch int")

def found(df):
    return sorted((row["video"], row["batch"]) for row in df.collect())

tables.require_format()
tables.write_batch(rows(0, "a", "b"), "videos", 0)
tables.write_ledger([{"video": "c", "modified_ms": 1_730_615_400_000}], 1)  # a newer version's columns
tables.write_batch(rows(1, "c"), "videos", 1)
tables.write_batch(rows(1, "a", "d"), "videos", 1)  # over what a killed run left
print(found(tables.read("videos")), found(tables.ledger()), tables.next_batch())
tables.delete_superseded()
print(found(tables.read("videos")))
tables.replace(rows(7, "x"), "videos")
tables.replace(rows(8, "y"), "videos")
print(found(tables.read("videos")))
sys.stdout.flush()
os._exit(0)  # the server's threads
"""


def test_batches_are_written_replaced_and_deleted(tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", WRITES, str(output)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if "unsupported PySpark version" in done.stderr:
        pytest.skip("Sail does not speak with this PySpark: make test-old-spark runs this")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [
        "[('a', 0), ('a', 1), ('b', 0), ('d', 1)] [('a', 1), ('b', 0), ('d', 1)] 2",
        "[('a', 1), ('b', 2), ('d', 1)]",
        "[('y', 8)]",
    ]
    assert len(list((output / "videos" / "_delta_log").glob("*.json"))) >= 6
