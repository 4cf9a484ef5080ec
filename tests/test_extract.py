"""The stage `extract` through the command line: resume, retry, kills, and two runs at once."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FAST_OVERRIDES, ROOT, contents
from pyspark.sql import SparkSession

from framewatch.cli import main
from framewatch.tables import Tables

CHUNKED = ["extract.chunk_s=1", "extract.videos_per_batch=2", "sampling.fps=5"]


@pytest.fixture(scope="module")
def undisturbed(spark: SparkSession, clips: Path, tmp_path_factory) -> Path:
    """The output of one undisturbed run over the training clips."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    assert main(["extract", "--debug", f"videos.train={clips}/train", f"output={output}", *CHUNKED]) == 0
    return output


def start(clips: Path, output: Path, *more: str) -> subprocess.Popen:
    """Extraction in a process group of its own."""
    command = [sys.executable, "-m", "framewatch.cli", "extract", f"videos.train={clips}/train"]
    return subprocess.Popen(
        [*command, f"output={output}", *CHUNKED, *FAST_OVERRIDES, *more],
        cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_until(condition: Callable[[], object], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition() or process.poll() is not None


# tests/test_pipeline.py has others, tests/test_cluster.py kills executors.
POINTS = ["_staging/extract/_temporary", "videos/batch=0"]


def test_a_driver_killed_at_several_points(spark, clips, undisturbed: Path, tmp_path: Path) -> None:
    """Each time as soon as a step begins to write; the next run goes on from there."""
    output = tmp_path / "out"
    for point in POINTS:
        process = start(clips, output, "spark.master=local[2]")
        wait_until((output / point).exists, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert main(["extract", f"videos.train={clips}/train", f"output={output}", *CHUNKED]) == 0
    assert contents(spark, output) == contents(spark, undisturbed)
    assert not (output / "_staging").exists()


def test_retry_takes_failed_videos_again(spark, make_video, tmp_path: Path, capsys) -> None:
    """A file that could not be read for a while, such as on a share that was away."""
    good = make_video(tmp_path / "videos" / "good.mpg", seconds=2)
    bad = tmp_path / "videos" / "bad.mpg"
    bad.write_bytes(bytes(good.stat().st_size))
    os.utime(bad, (1e9, 1e9))
    common = [f"videos.train={tmp_path}/videos", f"output={tmp_path}/out", "extract.max_failed_share=1"]
    assert main(["extract", *common]) == 0
    bad.write_bytes(good.read_bytes())
    os.utime(bad, (1e9, 1e9))
    assert main(["extract", *common]) == 0
    assert "nothing new: the ledger has all 2 videos" in capsys.readouterr().out
    assert main(["extract", *common, "extract.mode=retry"]) == 0
    assert "extract: 1 videos (1 ok, 0 partial, 0 failed), 2 frames" in capsys.readouterr().out
    tables = Tables(spark, f"{tmp_path}/out")
    assert [row["status"] for row in tables.read("videos").collect()] == ["ok", "ok"]
    assert tables.read("frames").count() == 4


def test_two_runs_at_once_on_one_output(clips, tmp_path: Path, capsys) -> None:
    command = ["extract", f"videos.train={clips}/train", f"output={tmp_path}/out"]
    (tmp_path / "out").mkdir()
    with open(tmp_path / "out" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("extract, process 1 on here, since 10:00")
        lock.flush()
        assert main(command) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "/out is in use by another run (extract, process 1 on here, since 10:00): wait for its end" in said
    assert main(command) == 0


def test_too_many_failed_videos_end_the_run_after_writing(spark, make_video, tmp_path, capsys) -> None:
    make_video(tmp_path / "videos" / "good.mpg", seconds=2)
    (tmp_path / "videos" / "bad.mpg").write_text("not a video")
    command = ["extract", f"videos.train={tmp_path}/videos", f"output={tmp_path}/out"]
    assert main(command) == 2
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert "2 videos (1 ok, 0 partial, 1 failed), 2 frames" in said
    assert "1 of 2 videos failed, such as file:" in said and "extract.max_failed_share above 0.1" in said
    assert Tables(spark, f"{tmp_path}/out").read("frames").count() == 2


def test_the_queries_of_the_documentation(spark, undisturbed: Path) -> None:
    for name in ("videos", "frames"):
        Tables(spark, str(undisturbed)).read(name).createOrReplaceTempView(name)
    blocks = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "videos.md").read_text(), flags=re.DOTALL)
    queries = [query for block in blocks for query in block.split(";") if query.strip()]
    answers = [spark.sql(query).collect() for query in queries]
    assert len(answers) >= 4
    assert answers[0][0]["status"] == "ok" and answers[0][0]["hours"] >= 0
    for name in ("videos", "frames"):
        spark.catalog.dropTempView(name)


def test_a_video_out_of_reach_keeps_its_rows(spark, make_video, tmp_path: Path, capsys) -> None:
    """A share that is away for a night, or recordings that were deleted after they were read."""
    video = make_video(tmp_path / "videos" / "a.mpg", seconds=2)
    (tmp_path / "list.csv").write_text(f"video\n{video}\n")
    common = [f"videos.train={tmp_path}/list.csv", f"output={tmp_path}/out"]
    assert main(["extract", *common]) == 0
    before = contents(spark, tmp_path / "out")
    video.rename(tmp_path / "away.mpg")
    assert main(["extract", *common]) == 0
    assert "extract: nothing new" in capsys.readouterr().out
    assert contents(spark, tmp_path / "out") == before
