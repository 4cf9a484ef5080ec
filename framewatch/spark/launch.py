"""Spark's own programs, `spark-sql` and `spark-submit`, with Spark, Java and Python found for them.

pip's launchers of both ask the `python3` on the PATH for Spark, and often it is not the environment's.
"""

import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from framewatch.errors import InputError, SetupError
from framewatch.io import storage
from framewatch.io.command import command, with_environment
from framewatch.spark import session, user


@dataclass(frozen=True)
class Launch:
    """A program of Spark's.

    Attributes:
        command: the program and its arguments.
        environment: variables that are set for it, beside those of this process.
    """

    command: Sequence[str]
    environment: Mapping[str, str]

    def __str__(self) -> str:
        return with_environment(self.environment.items(), self.command)

    def execute(self) -> NoReturn:
        """Becomes the program: signals and exit codes are its own."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(self.command[0], list(self.command), {**os.environ, **self.environment})


def sql(output: str, arguments: Sequence[str]) -> Launch:
    """`spark-sql` on the tables of a run.

    Args:
        output: the run's directory.
        arguments: passed on, such as `-e QUERY` or `-f FILE`; without them it asks for queries.

    Raises:
        InputError: there is nothing registered for SQL.
        SetupError: Spark or Java is missing.
    """
    settings = storage.join(output, "spark-sql.conf")
    path = storage.local_path(settings)
    if path is None or not os.path.isfile(path):
        raise InputError(
            f"there is no {settings}: register the tables for SQL, {command('rank', f'output={output}')}, "
            "with catalog.enabled=true and a local output"
        )
    environment = _environment()
    return Launch(
        [f"{environment['SPARK_HOME']}/bin/spark-sql", "--properties-file", path, *arguments], environment
    )


def submit(arguments: Sequence[str]) -> Launch:
    """`spark-submit` of a job, with the environment's Python unless the cluster's runs the driver.

    Args:
        arguments: passed on: options of `spark-submit`, a job file, and its arguments.

    Raises:
        SetupError: Spark or Java is missing.
    """
    environment = _environment()
    if not re.search(r"deploy-?mode[= ]cluster", " ".join(arguments), re.IGNORECASE):
        for name in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"):
            environment[name] = os.environ.get(name, sys.executable)
    # The JVM starts before a job can set options: Derby would write its log into the working directory.
    options = [os.environ.get("SPARK_SUBMIT_OPTS", ""), "-Dderby.stream.error.file=/dev/null"]
    options += user.java_options(session.java_program() or "java")
    environment["SPARK_SUBMIT_OPTS"] = " ".join(filter(None, options))
    return Launch([f"{environment['SPARK_HOME']}/bin/spark-submit", *arguments], environment)


def _environment() -> dict[str, str]:
    """What Spark and Java take from the environment, beside the Python of the workers."""
    python, before = os.environ.get("PYSPARK_PYTHON"), dict(os.environ)
    session.prepare_java()
    found = {name: value for name, value in os.environ.items() if before.get(name) != value}
    if python is None:
        del os.environ["PYSPARK_PYTHON"], found["PYSPARK_PYTHON"]
    return {"SPARK_HOME": _spark_home(), **found}


def _spark_home() -> str:
    """SPARK_HOME where it is set, else the Spark inside the package pyspark."""
    named = os.environ.get("SPARK_HOME")
    spec = importlib.util.find_spec("pyspark")
    package = os.path.dirname(spec.origin) if spec and spec.origin else ""
    # With PYSPARK_HADOOP_VERSION set, pip downloads a whole Spark into the package.
    places = [named] if named else [os.path.join(package, "spark-distribution"), package]
    for place in places:
        if os.path.isfile(os.path.join(place, "bin", "spark-submit")):
            return place
    if named:
        raise SetupError(
            f"SPARK_HOME={named} has no bin/spark-submit: correct it, or unset it for pip's Spark"
        )
    remedy = "pip install 'framewatch[spark]', or set SPARK_HOME"
    if not package:
        raise SetupError(f"PySpark is not installed: {remedy}")
    raise SetupError(f"the package pyspark in {package} has no bin/spark-submit: {remedy}")
