"""Runs Spark as a user without an entry in /etc/passwd, as in containers with arbitrary user IDs.

Hadoop gets the user's name from Java, and Java from the system. Without a name Hadoop fails, even if
HADOOP_USER_NAME is set. For such users, framewatch replaces the Java class that looks up the name by one
that it compiles with Spark's own compiler.
"""

import os
import pwd
import subprocess
from pathlib import Path

from framewatch.errors import SetupError
from framewatch.models.weights import cache_directory, home_directory

_SOURCE = Path(__file__).with_name("UnixSystem.java")
_COMPILER = "org.codehaus.commons.compiler.samples.CompilerDemo"


def java_options(java: str) -> list[str]:
    """Returns Java options that provide a user name; empty if the system has one.

    Args:
        java: path of the Java program, which also runs the compiler.

    Raises:
        SetupError: the class does not compile with this Java and this Spark.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        pass
    else:
        return []
    names = (os.environ.get(name) for name in ("HADOOP_USER_NAME", "USER", "LOGNAME"))
    return [
        f'"--patch-module=jdk.security.auth={_classes(java)}"',
        f"-Dframewatch.user={next(filter(None, names), f'user{os.getuid()}')}",
        f"-Dframewatch.uid={os.getuid()}",
        f"-Dframewatch.gid={os.getgid()}",
        f'"-Duser.home={home_directory()}"',
    ]


def _classes(java: str) -> Path:
    directory = cache_directory() / "java" / "user"
    compiled = directory / "com/sun/security/auth/module/UnixSystem.class"
    if compiled.is_file() and compiled.stat().st_mtime > _SOURCE.stat().st_mtime:
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    command = [java, "-cp", f"{_spark_home()}/jars/*", _COMPILER, "-d", str(directory), str(_SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not compiled.is_file():
        reason = (done.stderr.strip().splitlines() or ["the compiler wrote no class"])[-1]
        raise SetupError(
            f"user ID {os.getuid()} has no name on this system, but Hadoop needs one ({reason}): "
            "add an entry to /etc/passwd"
        )
    return directory


def _spark_home() -> str:
    if home := os.environ.get("SPARK_HOME"):
        return home
    import pyspark

    return str(Path(pyspark.__file__).parent)
