"""Running Spark as a user without an entry in /etc/passwd, as containers with arbitrary user IDs do.

Hadoop asks Java for the user's name, Java asks the system, and where that has none Hadoop gives up, whatever
HADOOP_USER_NAME says. Java is then given a class of ours to ask, compiled by Spark's own compiler.
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
    """Options by which Spark's Java finds a name for the user; none where the system has one.

    Args:
        java: the program to compile with.

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
    made = directory / "com/sun/security/auth/module/UnixSystem.class"
    if made.is_file() and made.stat().st_mtime > _SOURCE.stat().st_mtime:
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    command = [java, "-cp", f"{_spark_home()}/jars/*", _COMPILER, "-d", str(directory), str(_SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not made.is_file():
        reason = (done.stderr.strip().splitlines() or ["no class came out"])[-1]
        raise SetupError(
            f"the user with the ID {os.getuid()} has no name on this system, which Hadoop needs ({reason}): "
            "add an entry to /etc/passwd"
        )
    return directory


def _spark_home() -> str:
    if home := os.environ.get("SPARK_HOME"):
        return home
    import pyspark

    return str(Path(pyspark.__file__).parent)
