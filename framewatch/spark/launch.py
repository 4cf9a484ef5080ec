"""Launches `spark-sql` and `spark-submit` with the right Spark, Java and Python.

The launchers from pip look for Spark with the `python3` on the PATH, which often belongs to another
environment.
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
    """A command line for one of Spark's programs.

    Attributes:
        command: the program and its arguments.
        environment: environment variables to add to those of this process.
    """

    command: Sequence[str]
    environment: Mapping[str, str]

    def __str__(self) -> str:
        return with_environment(self.environment.items(), self.command)

    def execute(self) -> NoReturn:
        """Replaces this process by the program, which gets signals and returns exit codes directly."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(self.command[0], list(self.command), {**os.environ, **self.environment})


def sql(output: str, arguments: Sequence[str]) -> Launch:
    """Returns the command of `spark-sql` for the tables of a run.

    Args:
        output: the run's directory.
        arguments: arguments for `spark-sql`, such as `-e QUERY` or `-f FILE`; it is interactive without.

    Raises:
        InputError: the tables are not registered for SQL.
        SetupError: Spark or Java is missing.
    """
    settings = storage.join(output, "spark-sql.conf")
    path = storage.local_path(settings)
    if path is None or not os.path.isfile(path):
        raise InputError(
            f"{settings} does not exist: register the tables for SQL, {command('rank', f'output={output}')}, "
            "with catalog.enabled=true and a local output"
        )
    environment = _environment()
    program = [f"{environment['SPARK_HOME']}/bin/spark-sql", "--properties-file", path]
    script = os.path.join(os.path.dirname(path), "spark.sql")
    if os.path.isfile(script):  # older versions registered the tables in a metastore
        program += ["-i", script]
    return Launch([*program, *arguments], environment)


def submit(arguments: Sequence[str]) -> Launch:
    """Returns the command of `spark-submit`, with this environment's Python except in cluster mode.

    Args:
        arguments: options of `spark-submit`, a job file, and its arguments.

    Raises:
        SetupError: Spark or Java is missing.
    """
    environment = _environment()
    if not re.search(r"deploy-?mode[= ]cluster", " ".join(arguments), re.IGNORECASE):
        for name in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"):
            environment[name] = os.environ.get(name, sys.executable)
    # Set here, because the JVM starts before the job, and Derby would log to the working directory.
    options = [os.environ.get("SPARK_SUBMIT_OPTS", ""), "-Dderby.stream.error.file=/dev/null"]
    options += user.java_options(session.java_program() or "java")
    environment["SPARK_SUBMIT_OPTS"] = " ".join(filter(None, options))
    return Launch([f"{environment['SPARK_HOME']}/bin/spark-submit", *arguments], environment)


def _environment() -> dict[str, str]:
    """Returns the environment variables for Spark and Java, without the workers' Python."""
    python, before = os.environ.get("PYSPARK_PYTHON"), dict(os.environ)
    session.prepare_java()
    found = {name: value for name, value in os.environ.items() if before.get(name) != value}
    if python is None:
        del os.environ["PYSPARK_PYTHON"], found["PYSPARK_PYTHON"]
    return {"SPARK_HOME": _spark_home(), **found}


def _spark_home() -> str:
    """Returns SPARK_HOME if it is set, else the Spark in the package pyspark."""
    named = os.environ.get("SPARK_HOME")
    spec = importlib.util.find_spec("pyspark")
    package = os.path.dirname(spec.origin) if spec and spec.origin else ""
    # If PYSPARK_HADOOP_VERSION is set, pip downloads a whole Spark distribution into the package.
    homes = [named] if named else [os.path.join(package, "spark-distribution"), package]
    for home in homes:
        if os.path.isfile(os.path.join(home, "bin", "spark-submit")):
            return home
    if named:
        raise SetupError(
            f"SPARK_HOME={named} has no bin/spark-submit: correct it, or unset it for pip's Spark"
        )
    remedy = "pip install 'framewatch[spark]', or set SPARK_HOME"
    if not package:
        raise SetupError(f"PySpark is not installed: {remedy}")
    raise SetupError(f"the package pyspark in {package} has no bin/spark-submit: {remedy}")
