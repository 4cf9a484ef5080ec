"""Spark Connect: all stages on a session without a JVM, as on Databricks' serverless and shared clusters."""

import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest
from conftest import FAST_OPTIONS, FAST_OVERRIDES, ROOT, contents

from framewatch.cli.main import main

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        pyspark.__version__ < "4", reason="a local Connect server comes with PySpark 4 or newer"
    ),
]

# A session of its own process: one process has either a JVM or a connection.
SCRIPT = """
import sys
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
from pyspark.sql import functions as F
from framewatch.featurizer.transformer import DeepImageFeaturizer
from framewatch.cli.main import main
from framewatch.spark.session import get_spark
network, output, *stages = sys.argv[1:]
assert main(["run", "--debug", *stages, f"output={output}"]) == 0
spark = get_spark(remote="local[2]")
try:
    spark.sparkContext
except Exception as error:
    print("no context:", type(error).__name__)
label = (F.col("frame_index") % 2).cast("double").alias("label")
df = spark.read.parquet(output + "/frames").select("content", label)
featurizer = DeepImageFeaturizer(inputCol="content", outputCol="features", modelName=network)
rows = Pipeline(stages=[featurizer, LogisticRegression(maxIter=2)]).fit(df).transform(df)
print("rows:", rows.where("probability is not null").count())
featurizer.save(output + "/featurizer")
print("loaded:", DeepImageFeaturizer.load(output + "/featurizer").getModelName() == network)
"""


@pytest.fixture(scope="module")
def arguments(labelled: list[str], model_file: Path) -> list[str]:
    return [
        *labelled,
        f"featurizer.model={model_file}",
        "classifier.max_iter=3",
        "evaluation.folds=2",
        "catalog.enabled=false",
        "ranking.show=1",
    ]


def run_python(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "JAVA_TOOL_OPTIONS": FAST_OPTIONS},
    )


def test_the_stages_give_the_tables_of_a_session_with_a_jvm(spark, arguments, tmp_path: Path) -> None:
    stages = [*arguments, *FAST_OVERRIDES, "spark.remote=local[2]"]
    network = next(it for it in arguments if it.startswith("featurizer.model=")).partition("=")[2]
    done = run_python("-c", SCRIPT, network, f"{tmp_path}/remote", *stages)
    assert done.returncode == 0, done.stderr[-3000:]
    assert " ERROR " not in done.stderr and "Traceback" not in done.stderr, done.stderr[-3000:]
    assert "rank: 4 frames" in done.stdout
    assert main(["run", "--debug", *arguments, f"output={tmp_path}/local"]) == 0
    assert contents(spark, tmp_path / "remote") == contents(spark, tmp_path / "local")
    assert "no context:" in done.stdout and "rows: 16" in done.stdout and "loaded: True" in done.stdout


def test_a_server_out_of_reach_is_told_in_one_line(arguments, tmp_path: Path) -> None:
    done = run_python(
        "-m",
        "framewatch.cli",
        "extract",
        *arguments[:2],
        f"output={tmp_path}/out",
        "spark.remote=sc://127.0.0.1:9",
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: spark.remote=sc://127.0.0.1:9 cannot be reached")
