"""The stage `extract` through the command line: resume, retry, kills, and two runs at once."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import FAST_OVERRIDES, ROOT, contents
from pyspark.sql import SparkSession

from framewatch.cli.main import main
from framewatch.tables.results import Results
from framewatch.tables.spark_tables import Tables

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
POINTS = ["_staging/extract_0/_temporary", "videos/batch=0"]


def test_a_driver_killed_at_several_points(spark, clips, undisturbed: Path, tmp_path: Path) -> None:
    """Each time as soon as a step begins to write; the next run goes on from there."""
    output = tmp_path / "out"
    for point in POINTS:
        process = start(clips, output, "spark.master=local[2]")
        wait_until((output / point).exists, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert main(["extract", f"videos.train={clips}/train", f"output={output}", *CHUNKED]) == 0
    # Batches may be committed in another order than they begin.
    one, other = (contents(spark, where, batches=False) for where in (output, undisturbed))
    assert one == other
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
    assert (
        "/out is in use by another run (extract, process 1 on here, since 10:00): wait until it ends" in said
    )
    assert main(command) == 0


def test_too_many_failed_videos_end_the_run_after_writing(spark, make_video, tmp_path, capsys) -> None:
    make_video(tmp_path / "videos" / "good.mpg", seconds=2)
    (tmp_path / "videos" / "bad.mpg").write_text("not a video")
    command = ["extract", f"videos.train={tmp_path}/videos", f"output={tmp_path}/out"]
    assert main(command) == 2
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert "2 videos (1 ok, 0 partial, 1 failed), 2 frames" in said
    reason = re.search("error: 1 of 2 videos failed, such as file:.*extract.max_failed_share above 0.1", said)
    assert reason
    assert Tables(spark, f"{tmp_path}/out").read("frames").count() == 2
    assert main(command) == 2  # a scheduler that tries again must not take the failure for mended
    captured = capsys.readouterr()
    assert "extract: nothing new: the ledger has all 2 videos (1 ok, 0 partial, 1 failed)" in captured.out
    assert reason[0] in captured.err
    # What is not listed any more is not judged.
    assert main([*command, f"videos.train={tmp_path}/videos/good.mpg"]) == 0


def test_what_the_storage_does_not_give_is_taken_again_some_times(
    spark, make_video, tmp_path: Path, capsys
) -> None:
    gone, kept = tmp_path / "gone.mpg", make_video(tmp_path / "kept.mpg", seconds=2)
    (tmp_path / "list.csv").write_text(f"video\n{gone}\n{kept}\n")
    command = ["extract", f"videos.train={tmp_path}/list.csv", f"output={tmp_path}/out"]
    command += ["extract.max_attempts=2", "extract.max_failed_share=0.5"]
    bad = r"\(0 ok, 0 partial, 0 failed, 1 unreadable\), 0 frames in .* frames/s"
    summaries = [
        ([], r"extract: 2 videos \(1 ok, 0 partial, 0 failed, 1 unreadable\), 2 frames in .* frames/s; "
         "the next run tries 1 unreadable again"),
        ([], f"extract: 1 videos {bad}; 1 stay unreadable after all attempts: extract.mode=retry tries them"),
        ([], "extract: nothing new: the ledger has all 2 videos "
         r"\(1 ok, 0 partial, 0 failed, 1 unreadable\); 1 stay unreadable"),
        (["extract.mode=retry"], f"extract: 1 videos {bad}"),
    ]  # fmt: skip
    for more, summary in summaries:
        assert main([*command, *more]) == 0
        said = capsys.readouterr().out
        assert re.search(summary, said), said
    row = Tables(spark, f"{tmp_path}/out").ledger().where("status = 'unreadable'").first()
    assert row["attempts"] == 3 and row["error"] == "the file cannot be read: No such file or directory"
    assert main([*command, "extract.max_failed_share=0.4"]) == 2
    assert "1 of 2 videos failed or are unreadable, such as file:" in capsys.readouterr().err
    gone.write_bytes(kept.read_bytes())
    assert main(command) == 0
    assert "extract: 1 videos (1 ok, 0 partial, 0 failed), 2 frames" in capsys.readouterr().out


def test_a_retry_that_gives_fewer_frames_keeps_those_that_are_there(
    spark, make_video, tmp_path: Path, capsys
) -> None:
    cut = make_video(tmp_path / "videos" / "cut.avi", seconds=20, codec="mpeg4", size=(192, 128))
    make_video(tmp_path / "videos" / "whole.mpg", seconds=2)
    os.truncate(cut, cut.stat().st_size * 6 // 10)
    os.utime(cut, (1e9, 1e9))
    command = ["extract", f"videos.train={tmp_path}/videos", f"output={tmp_path}/out"]
    assert main(command) == 0
    tables = Tables(spark, f"{tmp_path}/out")
    origins = tables.current("frames").select("origin", "content").orderBy("origin").collect()
    whole, size = cut.read_bytes(), cut.stat().st_size
    for num_bytes in (size // 2, 0):
        cut.write_bytes(whole[:num_bytes] + bytes(size - num_bytes))
        os.utime(cut, (1e9, 1e9))
        capsys.readouterr()
        assert main([*command, "extract.mode=retry"]) == 0
        assert "1 gave fewer frames than before, which are kept" in capsys.readouterr().out
        assert tables.read("frames").count() == len(origins)  # and none twice
        assert tables.current("frames").select("origin", "content").orderBy("origin").collect() == origins
    row = tables.ledger().where("status = 'partial'").first()
    assert (row["attempts"], row["num_frames"]) == (3, len(origins) - 2)


def test_the_queries_of_the_documentation(spark, undisturbed: Path) -> None:
    for name in ("videos", "frames"):
        Tables(spark, str(undisturbed)).read(name).createOrReplaceTempView(name)
    page = (ROOT / "docs" / "reference" / "videos.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)
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


# Both readings of a local time in the hour that the end of summer time repeats, and what they are off by.
REPEATED_HOURS = [
    ("America/New_York", ("2024-11-03T05:30:00", "2024-11-03T06:30:00"), 3600),
    ("Australia/Lord_Howe", ("2024-04-06T14:45:00", "2024-04-06T15:15:00"), 1800),
]


_NEW_COLUMNS = ("warning", "attempts", "modified_ms")


def epoch_s(time: str) -> float:
    return datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp()


@pytest.fixture(params=REPEATED_HOURS, ids=[zone for zone, *_ in REPEATED_HOURS])
def repeated_hour(request, monkeypatch) -> Iterator[tuple[tuple[float, float], int]]:
    """Two times of one clock reading, and the shift between them, in a process in that zone."""
    zone, times, shift_s = request.param
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    yield (epoch_s(times[0]), epoch_s(times[1])), shift_s
    monkeypatch.undo()
    time.tzset()


def test_files_of_the_hour_that_summer_time_repeats_are_read_once(
    spark, make_video, repeated_hour, tmp_path: Path, capsys
) -> None:
    """With this version's ledger and with an older one's, whose times may be off by the shift."""
    times_s, shift_s = repeated_hour
    assert time.localtime(times_s[0])[:5] == time.localtime(times_s[1])[:5]
    first = make_video(tmp_path / "videos" / "a.mpg", seconds=1)
    for name, time_s in zip("abc", (*times_s, times_s[0] + 86_400), strict=True):
        path = first.with_name(f"{name}.mpg")
        path.write_bytes(first.read_bytes())
        os.utime(path, (time_s, time_s))
    command = ["extract", f"videos.train={tmp_path}/videos", f"output={tmp_path}/out"]
    assert main(command) == 0
    modified_ms = [round(path.stat().st_mtime * 1000) for path in sorted(first.parent.iterdir())]
    rows = Tables(spark, f"{tmp_path}/out").read("videos").orderBy("video")
    assert [row["modified_ms"] for row in rows.collect()] == modified_ms
    assert [row[0] for row in rows.selectExpr("unix_millis(modified_at)").collect()] == modified_ms
    capsys.readouterr()
    assert main(command) == 0
    assert "extract: nothing new: the ledger has all 3 videos" in capsys.readouterr().out
    (tmp_path / "out" / "ranking.json").write_text("{}")
    for shifts_s in ((shift_s, 0, 0), (0, -shift_s, 0)):  # the C library decides which reading it takes
        old_ms = [ms + 1000 * shift for ms, shift in zip(modified_ms, shifts_s, strict=True)]
        write_as_older_version(tmp_path / "out", old_ms)
        assert main(command) == 0
        assert "extract: nothing new: the ledger has all 3 videos" in capsys.readouterr().out
        assert [row["modified_ms"] for row in Results(f"{tmp_path}/out").videos()] == old_ms
    write_as_older_version(tmp_path / "out", [*modified_ms[:2], modified_ms[2] + 60_000])
    assert main(command) == 0
    assert "extract: 1 videos (1 ok, 0 partial, 0 failed), 1 frames" in capsys.readouterr().out


def write_as_older_version(output: Path, modified_ms: list[int]) -> None:
    """Writes the ledger with other times, and only the columns of versions that lacked `modified_ms`."""
    [path] = (output / "videos").rglob("*.parquet")
    rows = pq.read_table(path)
    rows = rows.select([name for name in rows.column_names if name not in _NEW_COLUMNS])
    at = pa.array(modified_ms, pa.int64()).cast(pa.timestamp("ms"))
    rows = rows.set_column(rows.column_names.index("modified_at"), "modified_at", at)
    pq.write_table(rows, path, use_deprecated_int96_timestamps=True)  # as Spark writes times
    path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
