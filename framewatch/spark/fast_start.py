"""JVM options for a fast start: an archive of loaded classes, and a late second compiler.

A session loads 20,000 classes. Mapped from an archive (class-data sharing), they take half of the time. The
JVM's second compiler takes a core of a short job and pays off in a long one, so methods must run ten times
as often before it compiles them.
"""

import os
import re
from pathlib import Path

from framewatch.models.weights import cache_directory

_LATE_COMPILER = (
    "-XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 "
    "-XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)
# Cheaper than the JVM's default where the heap has a few gigabytes.
_COLLECTOR = "-XX:+UseParallelGC"
# A JVM that is given two collectors does not start.
_VARIABLES = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "SPARK_SUBMIT_OPTS")


def options(java: str, given: str, *, write_archive: bool) -> str:
    """Returns the options for a JVM, without those that the user has set.

    Args:
        java: the path of Java.
        given: the user's own options; those in environment variables are read here.
        write_archive: whether the JVM writes the archive at its exit if there is none, which takes seconds.
    """
    given = " ".join([given, *(os.environ.get(name, "") for name in _VARIABLES)])
    found = [_LATE_COMPILER] if "-XX:Tier" not in given else []
    if not re.search(r"-XX:\+Use\w*GC\b", given):
        found.append(_COLLECTOR)
    if "SharedArchiveFile" not in given and "ArchiveClassesAtExit" not in given:
        archive = _archive(java)
        if _is_whole(archive):
            found.append(f'"-XX:SharedArchiveFile={archive}" -Xlog:cds*=off')
        elif write_archive and _is_writable(archive.parent):
            found.append(f'"-XX:ArchiveClassesAtExit={archive}" -Xlog:cds*=off')
    return " ".join(found)


def _archive(java: str) -> Path:
    """Returns the path of the archive for this Java and this Spark; the JVM rejects that of another."""
    import pyspark

    real = os.path.realpath(java)
    size = os.stat(real).st_size if os.path.exists(real) else 0
    name = re.sub(r"[^\w.-]+", "_", f"{real}-{size}-spark-{pyspark.__version__}").strip("_")
    return cache_directory() / "java" / f"{name}.jsa"


def _is_whole(archive: Path) -> bool:
    """Returns whether a JVM has finished writing the archive; it writes the header last."""
    try:
        with archive.open("rb") as file:
            return any(file.read(4))
    except OSError:
        return False


def _is_writable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK)
