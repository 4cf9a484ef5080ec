"""Real errors of Spark, Java and the system, on classic sessions and on Connect: one line with a remedy."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest
from conftest import FAST_OPTIONS, FAST_OVERRIDES, ROOT

from framewatch.errors import InputError, SetupError, WeightsError
from framewatch.spark.java_errors import explain, explained, last_cause

SCRIPT = """
import contextlib, json, os, pathlib, resource, signal, sys
from pyspark.sql import functions as F
from framewatch.spark.session import get_spark
from framewatch.spark.java_errors import explain, last_cause

remote, directory = sys.argv[1] or None, sys.argv[2]
spark = get_spark(master="local[2]", remote=remote)
spark.range(3).write.parquet(f"{directory}/closed")
os.chmod(f"{directory}/closed", 0)
found = {}

def provoke(name, work):
    try:
        work()
    except Exception as error:
        known = explain(error)
        found[name] = [type(known).__name__, str(known), last_cause(error)]

def java_below(pid):
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                is_java = (path / "comm").read_text().strip() == "java"
                yield from [int(path.name)] if is_java else java_below(int(path.name))

@contextlib.contextmanager
def small_files():
    # What a full disk is to Java: a file that takes no more bytes.
    java, = java_below(os.getpid())
    before = resource.prlimit(java, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    yield
    resource.prlimit(java, resource.RLIMIT_FSIZE, before)

def in_worker(work):
    def batches(them):
        work()
        yield from them
    return lambda: spark.range(2).mapInArrow(batches, "id long").collect()

def want_memory():
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    bytearray(8 << 30)

def write_much():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    pathlib.Path(directory, "large").write_bytes(bytes(100_000))

def fail_in_framewatch():
    from framewatch.errors import WeightsError
    raise WeightsError("the file of weights is damaged: fetch it again")

rows = spark.range(200_000).select(F.sha2(F.col("id").cast("string"), 256).alias("text"))
with small_files():
    provoke("disk full", lambda: rows.write.parquet(f"{directory}/much"))
provoke("disk full in a worker", in_worker(write_much))
provoke("no right to write", lambda: spark.range(3).write.parquet("/proc/framewatch"))
provoke("no directory", lambda: spark.range(3).write.parquet(f"{__file__}/below"))
provoke("no right to read", lambda: spark.read.parquet(f"{directory}/closed").count())
provoke("no right in a worker", in_worker(lambda: os.listdir(f"{directory}/closed")))
provoke("no URI", lambda: spark.read.parquet("cam:1/x.parquet").count())
provoke("no host", lambda: spark.read.parquet("hdfs://no-such-host.invalid/x").count())
provoke("no service", lambda: spark.read.parquet("hdfs://127.0.0.1:9/x").count())
for scheme in ("s3", "s3a", "abfss", "nonsense"):
    where = "c@a.dfs.core.windows.net" if scheme == "abfss" else "bucket"
    provoke(scheme, lambda: spark.read.parquet(f"{scheme}://{where}/x").count())
provoke("memory of a worker", in_worker(want_memory))
provoke("worker killed", in_worker(lambda: os.kill(os.getpid(), signal.SIGKILL)))
provoke("framewatch", in_worker(fail_in_framewatch))
provoke("unknown", lambda: spark.range(1).select(F.raise_error(F.lit("the moon is full"))).collect())
provoke("memory of Java", lambda: spark.range(1).select(F.array_repeat(F.lit(0), 1_000_000_000)).collect())
print(json.dumps(found))
"""

EXPECTED = {
    "disk full": r"no space is left on a disk \(File too large, writing /.*/much\): free some space, or move",
    "disk full in a worker": r"no space is left on a disk \(File too large\): free some",
    "no right to write": r"was denied \(Mkdirs failed to create file:/proc/framewatch.*\): check",
    "no directory": r"was denied \(Parent path is not a directory: file:/.*\): check its permissions",
    "no right to read": r"was denied \(.*Permission denied.*\): check its permissions",
    "no right in a worker": r"was denied \(Permission denied: '/.*/closed'\): check its permissions",
    "no URI": r"takes 'cam:1/x.parquet' for a URI.*: the text before a colon is the scheme",
    "no host": r"the host 'no-such-host.invalid' is unknown: check the URI",
    "no service": r"localhost:9 refuses connections: check the URI",
    "s3": r"no connector for s3: add one, .*=org.apache.hadoop:hadoop-aws:3\.\d.* and write s3a://, or",
    "s3a": r"no connector for s3: add one, .*=org.apache.hadoop:hadoop-aws:3\.\d",
    "abfss": r"no connector for abfs: add one, .*=org.apache.hadoop:hadoop-azure:3\.\d",
    "nonsense": r"no connector for nonsense: copy the files, or give a list of URIs",
    "memory of a worker": r"a Python worker ran out of memory: run fewer tasks at once",
    "worker killed": r"a Python worker was killed: the usual reason is too little memory",
    "memory of Java": r"Java ran out of memory \(.*\): run fewer tasks",
    "framewatch": r"^the file of weights is damaged: fetch it again$",
}  # fmt: skip


def without_rights() -> list[str]:
    """What a command begins with to have no more rights to files than their modes give."""
    if os.geteuid():
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and setpriv is missing to take that right from it")
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]


@pytest.mark.parametrize("remote", ["", "local[2]"], ids=["classic", "connect"])
def test_each_error_is_one_line_with_its_remedy(tmp_path: Path, remote: str) -> None:
    if remote and pyspark.__version__ < "4":
        pytest.skip("a local Connect server comes with PySpark 4 or newer")
    (tmp_path / "script.py").write_text(SCRIPT)
    # SPARK_TESTING makes a Connect server of this machine take any port that is free.
    done = subprocess.run(
        [*without_rights(), sys.executable, "-W", "ignore", f"{tmp_path}/script.py", remote, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "JAVA_TOOL_OPTIONS": FAST_OPTIONS, "PYTHONPATH": str(ROOT), "SPARK_TESTING": "1"},
    )  # fmt: skip
    (tmp_path / "closed").chmod(0o700)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for name, line in EXPECTED.items():
        kind, message, _ = found[name]
        assert re.search(line, message), f"{name}: {found[name]}"
        assert "\n" not in message and "calling o" not in message and len(message) < 700
        assert kind != "NoneType"
    assert found["framewatch"][0] == "WeightsError"
    assert found["no URI"][0] == "InputError" and found["s3a"][0] == "SetupError"
    assert found["unknown"][0] == "NoneType"
    assert re.fullmatch(r"\w+: .*the moon is full.*", found["unknown"][2])
    assert found["no service"][2].startswith("ConnectException: Connection refused")
    # What comes back as an exception is not logged on the console too.
    lines = done.stderr.splitlines()
    assert not [line for line in lines if "ERROR" in line]
    # When busy, Spark's Connect server may complete a stream twice; the JVM prints that thread's trace.
    if "streamLifecycleAlreadyCompleted" not in done.stderr:
        assert not [line for line in lines if line.startswith("\tat ")]


def test_the_systems_own_errors(tmp_path: Path) -> None:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        first.listen()
        with pytest.raises(SetupError, match=r"port is in use \(Address already in use\): set"), explained():
            second.bind(first.getsockname())
    with (
        pytest.raises(SetupError, match=r"no space is left on a disk \(No space left on device\)"),
        explained(),
    ):
        Path("/dev/full").write_text("x")


def test_others_stay_as_they_are() -> None:
    error = ValueError("it is something else\nin two lines")
    assert explain(error) is None
    assert last_cause(error) == "ValueError: it is something else"
    with pytest.raises(ValueError, match="something else"), explained():
        raise error
    own = WeightsError("mend it")
    assert explain(own) is own


def test_a_port_of_sparks_that_is_taken(tmp_path: Path, clips: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = {"spark.ui.enabled": "true", "spark.ui.port": port, "spark.port.maxRetries": 0}
        done = subprocess.run(
            [
                sys.executable, "-m", "framewatch.cli", "extract", f"videos.train={clips}/train",
                f"output={tmp_path}/out", "spark.master=local[1]", *FAST_OVERRIDES,
                *(f"spark.conf.{key}={value}" for key, value in settings.items()),
            ],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    line = (
        f"error: port {port} of Spark's SparkUI is in use: set spark.conf.spark.ui.port to a free port, or "
    )
    assert done.stderr.splitlines() == [f"{line}spark.conf.spark.ui.enabled=false"]


def test_what_is_asked_of_a_missing_file_system(spark) -> None:
    with pytest.raises(InputError, match="no connector for nonsense"), explained():
        spark.read.parquet("nonsense://x/y").count()
