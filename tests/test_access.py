"""Which users may read what is written: the user alone, unless configured; under an ordinary umask."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_client import Client

from framewatch.cli.main import main
from framewatch.feedback import Verdict, VerdictLog
from framewatch.io import access, storage


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    access.set_access("private")
    os.umask(before)


def modes(directory: Path) -> dict[str, set[str]]:
    """The modes of a directory and of all in it, of files and of directories."""
    found: dict[str, set[str]] = {"files": set(), "directories": set()}
    for path in [directory, *directory.rglob("*")]:
        kind = "directories" if path.is_dir() else "files"
        found[kind].add(f"{stat.S_IMODE(path.stat().st_mode):o}")
    return found


@pytest.mark.parametrize(
    ("who", "files", "directories"),
    [("private", "600", "700"), ("group", "660", "770"), ("all", "644", "755")],
)
def test_small_files_and_verdicts(tmp_path: Path, who: str, files: str, directories: str) -> None:
    access.set_access(who)
    output = tmp_path / "out"
    storage.write_json(f"{output}/report/a.json", {})
    storage.write_json(f"{output}/report/a.json", {"again": True})
    VerdictLog(str(output)).append(Verdict("file:/a.mpg", 0, 1, "not", "ann"))
    assert modes(output / "report") == modes(output / "verdicts") == {
        "files": {files}, "directories": {directories}
    }  # fmt: skip


def test_clips_that_the_page_cuts(server: str, tmp_path: Path) -> None:
    client = Client(server)
    assert client.open(client.get("api/moments/0")["clip"]["url"])[0] == 200
    assert modes(tmp_path / "home" / "clips") == {"files": {"600"}, "directories": {"700"}}


def test_clips_of_an_older_version_are_closed(output: Path, tmp_path: Path) -> None:
    from framewatch.review.clip_cache import ClipCache

    (tmp_path / "clips").mkdir(mode=0o755)
    ClipCache(tmp_path / "clips", most_bytes=1)
    assert modes(tmp_path / "clips")["directories"] == {"700"}


def test_the_index_of_moments(output: Path) -> None:
    pytest.importorskip("pymilvus", reason="pymilvus is missing: pip install 'framewatch[search]'")
    assert main(["index", str(output)]) == 0
    assert modes(output / "search") == {"files": {"600"}, "directories": {"700"}}


def test_the_access_is_a_setting(output: Path) -> None:
    assert main(["report", str(output), "files.access=group"]) == 0
    assert modes(output / "report") == {"files": {"660"}, "directories": {"770"}}
    assert main(["report", str(output), "files.access=everybody"]) == 2


_SPARK = """
import os, sys
os.umask(0o022)
from framewatch.spark.session import get_spark
conf = {"spark.local.dir": sys.argv[1], "spark.sql.shuffle.partitions": "1"}
spark = get_spark(master="local[1]", conf=conf)
spark.range(100).repartition(2).write.parquet(sys.argv[2])
"""


def test_what_spark_writes_tables_and_scratch(tmp_path: Path) -> None:
    """Frames pass through its shuffles: their files lie in /tmp, where nothing else guards them."""
    scratch, table = tmp_path / "scratch", tmp_path / "table"
    scratch.mkdir()
    # The scratch goes with the process: what it was is seen before it ends.
    watch = "import stat; print(*{oct(os.stat(os.path.join(d, n)).st_mode & 0o77) " \
        "for d, ds, fs in os.walk(sys.argv[1]) for n in ds + fs})"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", _SPARK + watch, str(scratch), str(table)], capture_output=True, text=True
    )
    assert done.stdout.split() == ["0o0"], done.stderr[-2000:]
    assert modes(table) == {"files": {"600"}, "directories": {"700"}}
