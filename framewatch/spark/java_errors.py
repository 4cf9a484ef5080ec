"""Explains errors of Java, Spark and the operating system in one line: cause, original text, remedy.

Only matches the text of errors, because classic sessions and Spark Connect raise different classes for the
same error. The exception is a missing PySpark, which has one class.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from framewatch import errors
from framewatch.errors import FramewatchError, InputError, SetupError

_LONGEST = 500
_DISK = "free some space, or move output=DIR and Spark's temporary files, spark.conf.spark.local.dir=DIR"
_PERMISSION = (
    "access to a file or directory was denied ({words}): check its permissions, or give another path"
)
_MEMORY = (
    "run fewer tasks at once, such as spark.master=local[2], or give Spark more, such as "
    "spark.conf.spark.driver.memory=8g (on a cluster spark.conf.spark.executor.memory)"
)
_WORKER_MEMORY = (
    "the usual reason is too little memory: run fewer tasks at once, such as spark.master=local[2], or on a "
    "cluster raise spark.conf.spark.executor.memoryOverhead"
)
_JAVA = "install Java 17 or newer, or pip install 'framewatch[java]'"
_NO_PYSPARK = "PySpark is not installed: pip install 'framewatch[spark]'"
_NO_GATEWAY = (
    "Java exited before Spark started: see its message above; check JAVA_HOME and "
    "spark.conf.spark.driver.memory"
)
_JAVA_DIED = f"Spark's Java process has died: {_MEMORY}"
_PACKAGES = {
    "s3": "org.apache.hadoop:hadoop-aws:{hadoop}",
    "abfs": "org.apache.hadoop:hadoop-azure:{hadoop}",
    "gs": "org.apache.hadoop:hadoop-gcp:{hadoop}",
    "oss": "org.apache.hadoop:hadoop-aliyun:{hadoop}",
    "cosn": "org.apache.hadoop:hadoop-cos:{hadoop}",
}
_PORTS = {
    "SparkUI": "spark.ui.port",
    "sparkDriver": "spark.driver.port",
    "SparkConnectService": "spark.connect.grpc.binding.port",
}
# Substrings of schemes and of connector classes.
_CONNECTORS = {
    "s3": "s3", "azure": "abfs", "abfs": "abfs", "wasb": "abfs", "gs": "gs", "google": "gs", "aliyun": "oss",
    "oss": "oss", "cos": "cosn",
}  # fmt: skip


def explain(error: BaseException) -> FramewatchError | None:
    """Returns a one-line error with a remedy; None if the error is unknown."""
    if isinstance(error, FramewatchError):
        return error
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, ModuleNotFoundError) and (cause.name or "").partition(".")[0] == "pyspark":
            return SetupError(_NO_PYSPARK)
        if explained_error := _match(f"{_own_text(cause)}\n{type(cause).__name__}"):
            return explained_error
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None


def _match(text: str) -> FramewatchError | None:
    if raised := re.findall(r"^(?:.*: )?framewatch\.errors\.(\w+): (.+)$", text, re.MULTILINE):
        name, message = raised[-1]  # raised by framewatch on a worker
        return getattr(errors, name, FramewatchError)(message)
    for pattern, line in _PATTERNS:
        for found in list(re.finditer(pattern, text))[-1:]:  # the last match is nearest to the cause
            if isinstance(line, str):
                return SetupError(line.replace("{words}", _words(text, found)))
            message = line(text, found)
            return message if isinstance(message, FramewatchError) else SetupError(message)
    return None


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Context that converts known Spark errors to one-line framewatch errors."""
    try:
        yield
    except Exception as error:
        explained_error = explain(error)
        if explained_error is None or explained_error is error:
            raise
        raise explained_error from error


def last_cause(error: BaseException) -> str:
    """Returns class and message of the last cause of an error, in one line."""
    text = _own_text(error)
    causes = re.findall(r"^Caused by: (.+)$", text, re.MULTILINE)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if causes:
        cause = causes[-1]
    elif type(error).__name__ == "Py4JJavaError" and len(lines) > 1:  # the first line names the Py4J call
        cause = lines[1].removeprefix(": ")
    elif details := re.search(r'^\s*details = "(.*)"$', text, re.MULTILINE):  # Spark Connect
        cause = f"{type(error).__name__}: {details.group(1)}"
    elif "Traceback (most recent call last)" in text:  # a Python worker
        cause = next((line for line in reversed(lines) if re.match(r"[\w.]+(:|$)", line)), lines[-1])
    else:
        connect = re.match(r"\(([\w.$]+)\) (.*)", lines[0]) if lines else None
        cause = ": ".join(connect.groups()) if connect else f"{type(error).__name__}: {next(iter(lines), '')}"
    short = re.sub(r"^(?:[\w$]+\.)+([\w$]+)(?=:|$)", r"\1", cause)
    return re.sub(r"\s+SQLSTATE: \w+$", "", short)[:_LONGEST]


def _own_text(error: BaseException) -> str:
    return f"{error}\n{getattr(error, '_stackTrace', None) or ''}"


def _words(text: str, found: re.Match[str]) -> str:
    """Returns the line of a match, without the exception class before it."""
    begin, end = text.rfind("\n", 0, found.start()) + 1, text.find("\n", found.end())
    line = re.sub(r'^debug_error_string = "\w+:|"$', "", text[begin : end if end >= 0 else None].strip())
    line = re.sub(r"^(?:Caused by: |: )?\(?(?:(?:[\w$]+\.)+[\w$]+|\w+Error)(?:: |\) )", "", line)
    return re.sub(r"^\[Errno \d+\] ", "", line)[:_LONGEST]


def _written_file(text: str) -> str:
    found = re.search(r"writing rows to (?:file:)?(\S+?)\.?(?:\s|$)", text)
    return f", writing {found.group(1)}" if found else ""


def _disk(text: str, found: re.Match[str]) -> str:
    return f"no space is left on a disk ({found.group(0)}{_written_file(text)}): {_DISK}"


def _connector(text: str, found: re.Match[str]) -> FramewatchError:
    asked = found.group("scheme") or found.group("class")
    family = next((name for part, name in _CONNECTORS.items() if part in asked.lower()), None)
    instead = "give a list of URIs in a CSV file, which needs no connector"
    if family is None:
        return InputError(f"Spark has no connector for {asked}: copy the files, or {instead}")
    package = _PACKAGES[family].format(hadoop=_hadoop_version())
    scheme = " and write s3a://" if family == "s3" else ""
    return SetupError(
        f"Spark has no connector for {found.group('scheme') or family}: add one, "
        f"spark.conf.spark.jars.packages={package}{scheme}, or {instead}"
    )


def _hadoop_version() -> str:
    import pyspark

    home = os.environ.get("SPARK_HOME") or Path(pyspark.__file__).parent
    jars = Path(home, "jars").glob("hadoop-client-api-*.jar")
    return next((jar.stem.rpartition("-")[2] for jar in jars), "VERSION")


def _port(text: str, found: re.Match[str]) -> str:
    service = re.search(
        r"[Ss]ervice '(?:\w+\.)*(\w+)' failed after \d+ retries \(starting from (\d+)\)", text
    )
    if not service:
        return f"a port is in use ({_words(text, found)}): set another port, or 0 for any free port"
    name, port = service.groups()
    remedy = "stop another session, or raise spark.conf.spark.port.maxRetries"
    if name in _PORTS:
        remedy = f"set spark.conf.{_PORTS[name]} to a free port"
    return f"port {port} of Spark's {name} is in use: {remedy}"


def _bad_uri(text: str, found: re.Match[str]) -> FramewatchError:
    return InputError(
        f"Spark takes '{found.group(2)}' for a URI, but it is not valid ({found.group(1)}): the text before "
        "a colon is the scheme; give an absolute path, or a URI such as s3a://bucket/key"
    )


def _refused(text: str, found: re.Match[str]) -> FramewatchError:
    return InputError(f"{found.group(1)} refuses connections: check the URI, and whether the service runs")


def _host(text: str, found: re.Match[str]) -> FramewatchError:
    return InputError(f"the host '{found.group(1)}' is unknown: check the URI and the DNS settings")


# The first match counts, so causes precede their consequences. `{words}` is the line of the match.
_PATTERNS: tuple[tuple[str, str | Callable[[str, re.Match[str]], str | FramewatchError]], ...] = (
    (r"No space left on device|Disk quota exceeded|File too large", _disk),
    (
        r"No FileSystem for scheme:? \"?(?P<scheme>\w+)|"
        r"Class (?P<class>(?:org\.apache|com\.google\.cloud)\.hadoop\.fs\.[\w.]+) not found",
        _connector,
    ),
    (r"URISyntaxException: ([^:\n]+): (.*)", _bad_uri),
    (r"UnknownHostException: ([\w.-]+)", _host),
    (r"Answer from Java side is empty|trying to connect to the Java server", _JAVA_DIED),
    (r"StatusCode\.UNAVAILABLE", f"the Spark Connect server has stopped or cannot be reached: {_MEMORY}"),
    (r"Call From \S+ to (\S+) failed on connection exception", _refused),
    (r"OutOfMemoryError|Java heap space|GC overhead limit", f"Java ran out of memory ({{words}}): {_MEMORY}"),
    (r"(?m)^(?:.*: )?MemoryError\b", f"a Python worker ran out of memory: {_MEMORY}"),
    (r"Cannot allocate memory", f"the machine has no memory left ({{words}}): {_MEMORY}"),
    (
        r"Container killed by YARN|exceeding memory limits|OOMKilled|exit code 137",
        f"an executor was killed ({{words}}): {_WORKER_MEMORY}",
    ),
    (
        r"Python worker exited unexpectedly|Python worker process terminated",
        f"a Python worker was killed: {_WORKER_MEMORY}",
    ),
    (r"ExecutorLostFailure \(", f"an executor was lost ({{words}}): {_WORKER_MEMORY}"),
    (r"BindException|Address already in use", _port),
    (r"UnsupportedClassVersionError", f"Java is too old for this Spark ({{words}}): {_JAVA}"),
    (r"JAVA_GATEWAY_EXITED|Java gateway process exited", _NO_GATEWAY),
    (
        r"Permission denied|Operation not permitted|Mkdirs failed to create|Unable to create [^\n]*directory|"
        r"Parent path is not a directory|Invalid directory or I/O error|Read-only file system",
        _PERMISSION,
    ),
    (r"AccessDeniedException|AccessControlException", _PERMISSION),
)
