"""`run --watch`: new videos through ingest and rank, each exactly once, whatever is killed."""

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FAST_OVERRIDES, ROOT, contents

from framewatch.cli.main import main
from framewatch.ingest import arrivals
from framewatch.pipeline.watch import noted_interrupts
from framewatch.tables.spark_tables import Tables

# The package has a function of this name.
watch = importlib.import_module("framewatch.pipeline.watch")


@pytest.fixture(scope="module")
def common(spark, clips: Path, model_file: Path, tmp_path_factory) -> list[str]:
    """What a watch needs: a network, and a classifier trained on its features."""
    output = tmp_path_factory.mktemp("trained") / "out"
    network = [f"featurizer.model={model_file}", "catalog.enabled=false", "ranking.show=0"]
    train = [f"videos.train={clips}/train", f"labels.train={clips}/labels_train.csv", f"output={output}"]
    train += ["classifier.max_iter=3", "evaluation.folds=0"]
    for stage in ("extract", "featurize", "train"):
        assert main([stage, *network, *train]) == 0
    return [*network, f"classifier.path={output}/model", "extract.videos_per_batch=1"]


def arrive(video: Path, directory: Path) -> None:
    """Copies a video as a careful sender does: under another name first."""
    shutil.copy(video, directory / "part")
    os.rename(directory / "part", directory / video.name)


def start(arguments: list[str], log: Path, **environment: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-u",
        "-m",
        "framewatch.cli",
        "run",
        "--watch",
        *arguments,
        *FAST_OVERRIDES,
    ]
    with log.open("a") as out:
        return subprocess.Popen(
            [*command, "spark.master=local[2]"],
            cwd=ROOT,
            env={**os.environ, **environment},
            start_new_session=True,
            stdout=out,
            stderr=out,
        )


def wait_until(condition: Callable[[], object], process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.02)


def test_a_watch_of_object_storage_sees_what_another_writer_changes(
    bucket, environment, common, make_video, tmp_path: Path
) -> None:
    """One process all the while. Its list names a video that is not there yet."""
    short, long = (make_video(tmp_path / f"{n}.mpg", seconds=n) for n in (2, 3))
    (tmp_path / "list.csv").write_text("video\ns3://clips/a.mpg\ns3://clips/later.mpg\n")
    output, log = tmp_path / "out", tmp_path / "log"
    arguments = [*common, f"videos.test={tmp_path}/list.csv", f"output={output}"]
    arguments += ["watch.period_s=0.2", "watch.settle_s=0"]
    bucket.put(str(short), "clips/a.mpg")
    process = start(arguments, log, **environment)
    try:
        wait_until(lambda: num_ranked(output) == 2, process, log)
        bucket.put(str(long), "clips/a.mpg")
        wait_until(lambda: num_ranked(output) == 3, process, log)
        bucket.put(str(short), "clips/later.mpg")
        wait_until(lambda: num_ranked(output) == 5, process, log)
    finally:
        process.kill()
        process.wait()
    assert "watch: 1 videos are empty, or not there" in log.read_text()


def num_ranked(output: Path) -> int:
    try:
        return json.loads((output / "ranking.json").read_text())["frames"]
    except FileNotFoundError:  # not yet, or a ranking is under way
        return 0


def test_videos_that_come_between_and_during_batches_a_kill_and_a_restart(
    spark, common, make_video, tmp_path: Path
) -> None:
    videos = [
        make_video(tmp_path / "sent" / f"Cam{n}.mp4", seconds=3, codec="libx264", shade=60 + 20 * n)
        for n in range(5)
    ]
    incoming, output, log = tmp_path / "incoming" / "north", tmp_path / "out", tmp_path / "log"
    incoming.mkdir(parents=True)
    arguments = [*common, f"videos.test={incoming.parent}", f"output={output}"]
    arguments += ["watch.period_s=0.2", "watch.settle_s=0.3"]
    arrive(videos[0], incoming)
    process = start(arguments, log)
    try:
        wait_until(lambda: num_ranked(output) == 3, process, log)
        arrive(videos[1], incoming)
        wait_until((output / "_staging" / "ingest_1" / "_temporary").exists, process, log)
        arrive(videos[2], incoming)  # while another is being read
        wait_until(
            (output / "features" / "batch=1").exists, process, log
        )  # half written; test_extract kills earlier
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    arrive(videos[3], incoming)  # while nobody watches
    process = start(arguments, log)
    try:
        wait_until(lambda: num_ranked(output) == 12, process, log)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()
    assert "new videos in" in log.read_text() and "Ctrl-C ends it" in log.read_text()
    plain = [*common, f"videos.test={incoming.parent}", f"output={tmp_path}/plain"]
    assert main(["run", "--debug", *plain]) == 0
    assert contents(spark, output, batches=False) == contents(spark, tmp_path / "plain", batches=False)
    origins = Tables(spark, str(output)).read("frames").select("origin")
    assert origins.count() == origins.distinct().count() == 12
    assert {json.loads(path.read_text())["stage"] for path in (output / "runs").iterdir()} == {"watch"}


def test_once_it_takes_what_is_there_and_ends(spark, common, make_video, tmp_path: Path, capsys) -> None:
    """A bad file costs itself only, one that is being written waits, and nothing is done twice."""
    incoming, output = tmp_path / "incoming", tmp_path / "out"
    make_video(incoming / "a.mp4", seconds=2, codec="libx264")
    (incoming / "bad.mpg").write_text("no video")
    (incoming / "notes.txt").write_text("no video, and not said to be one")
    for path in incoming.iterdir():
        os.utime(path, (1e9, 1e9))
    growing = make_video(incoming / "growing.mp4", seconds=1, codec="libx264")
    os.utime(growing, (4e9, 4e9))
    command = ["run", "--watch", "--debug", *common, f"videos.test={incoming}", f"output={output}"]
    command += ["watch.period_s=0"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert (
        "ingest: 1 videos (0 ok, 0 partial, 1 failed)" in said
        or "2 videos (1 ok, 0 partial, 1 failed)" in said
    )
    assert "watch: 1 videos were written to in the last 10 s: left for the next round" in said
    assert num_ranked(output) == 2
    make_video(growing, seconds=4, codec="libx264")  # by now whole
    os.utime(growing, (1.1e9, 1.1e9))
    assert main(command) == 0
    assert "ingest: 1 videos (1 ok, 0 partial, 0 failed), 4 frames" in capsys.readouterr().out
    assert num_ranked(output) == 6
    before = contents(spark, output)
    written = {path: path.stat().st_mtime_ns for path in (output / "predictions").iterdir()}
    assert main(command) == 0
    assert not re.search("^(ingest|rank):", capsys.readouterr().out, re.MULTILINE)
    assert contents(spark, output) == before
    assert written == {path: path.stat().st_mtime_ns for path in (output / "predictions").iterdir()}


class Clock:
    """Stands for `time` in a watch: only sleep takes time.

    A list has what happens while it sleeps; then it is interrupted.
    """

    def __init__(self, steps: list[Callable[[], object]]) -> None:
        self._steps, self._now_s = list(steps), time.time()
        self.waits: list[float] = []

    def time(self) -> float:
        return self._now_s

    def monotonic(self) -> float:
        return self.time()

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._now_s += seconds
        if not self._steps:
            raise KeyboardInterrupt
        self._steps.pop(0)()


def write(video: Path, target: Path, *, share: float = 1.0, time_s: float | None = None) -> None:
    """Writes the first part of a video under its final name, as an upload does."""
    target.write_bytes(video.read_bytes()[: int(video.stat().st_size * share)])
    if time_s is not None:
        os.utime(target, (time_s, time_s))


def test_files_that_are_written_again_or_slowly_are_read_when_they_are_whole(
    spark, common, make_video, tmp_path: Path, monkeypatch, capsys
) -> None:
    incoming, output = tmp_path / "incoming", tmp_path / "out"
    incoming.mkdir()
    sent = {
        seconds: make_video(tmp_path / "sent" / f"{seconds}.mpg", seconds=seconds, shade=50 + 10 * seconds)
        for seconds in (2, 4, 5, 6)
    }
    write(sent[2], incoming / "again.mpg", time_s=1e9)
    slow, kept = incoming / "slow.mpg", incoming / "kept.mpg"
    found: list[dict[str, tuple]] = []

    def read() -> dict[str, tuple]:
        ledger = Tables(spark, str(output)).ledger().collect()
        return {row["video"].rsplit("/", 1)[-1]: (row["num_frames"], row["status"]) for row in ledger}

    steps: list[Callable[[], object]] = [
        lambda: (
            write(sent[4], incoming / "again.mpg", time_s=clock.time()),
            write(sent[5], slow, share=0.3, time_s=clock.time()),
            write(sent[6], kept, share=0.3, time_s=1e9),  # a sender that keeps the time of the original
        ),
        lambda: (
            found.append(read()),
            write(sent[5], slow, share=0.6, time_s=clock.time()),
            write(sent[6], kept, share=0.6, time_s=1e9),
        ),
        lambda: (
            found.append(read()),
            write(sent[5], slow, time_s=clock.time()),
            write(sent[6], kept, time_s=1e9),
        ),
        lambda: found.append(read()),
        lambda: found.append(read()),
        # As a share that keeps one removed and one that a camera's clock dates to the future.
        lambda: (incoming.joinpath("again.mpg").unlink(), os.utime(slow, (4e9, 4e9))),
        lambda: None,
    ]
    clock = Clock(steps)
    monkeypatch.setattr(watch, "time", clock)
    command = ["run", "--watch", *common, f"videos.test={incoming}", f"output={output}"]
    assert main([*command, "watch.period_s=20", "watch.settle_s=30"]) == 0
    assert found[0]["again.mpg"] == (2, "ok") and "slow.mpg" not in found[0], found
    assert found[0]["kept.mpg"][1] == "partial" or found[0]["kept.mpg"][0] < 6
    assert found[0]["kept.mpg"] == found[1]["kept.mpg"] == found[2]["kept.mpg"], "it still grows"
    assert "slow.mpg" not in found[1]
    assert read() == {"again.mpg": (4, "ok"), "slow.mpg": (5, "ok"), "kept.mpg": (6, "ok")}
    assert num_ranked(output) == 15  # of the removed one, too
    assert Tables(spark, str(output)).read("frames").count() == 15


def test_a_failed_round_is_repeated_and_at_last_ends_the_watch(
    spark, common, make_video, tmp_path: Path, monkeypatch, capsys
) -> None:
    """Spark's own errors: a ledger that cannot be read for a while, and then for good."""
    incoming, output = tmp_path / "incoming", tmp_path / "out"
    make_video(incoming / "a.mpg", seconds=2)
    os.utime(incoming / "a.mpg", (1e9, 1e9))
    good: dict[Path, bytes] = {}

    def damage() -> None:
        for path in (output / "videos").rglob("*.parquet"):
            good[path] = path.read_bytes()
            path.write_bytes(b"damaged")

    def mend() -> None:
        for path, data in good.items():
            path.write_bytes(data)
        shutil.copy(incoming / "a.mpg", incoming / "b.mpg")
        os.utime(incoming / "b.mpg", (1e9, 1e9))

    clock = Clock([damage, lambda: None, mend, damage, *[lambda: None] * 9])
    monkeypatch.setattr(watch, "time", clock)
    command = ["run", "--watch", *common, f"videos.test={incoming}", f"output={output}"]
    assert main([*command, "watch.period_s=20", "watch.max_failures=3"]) == 2
    captured = capsys.readouterr()
    assert clock.waits == [20, 20, 40, 20, 20, 40]
    assert captured.out.count("watch: this round failed, 2 of 3 in a row; the next comes in 40 s: ") == 2
    assert "ingest: 1 videos (1 ok, 0 partial, 0 failed), 2 frames" in captured.out.split("this round")[-3]
    last = captured.err.splitlines()[-1]
    assert last.startswith("error: watch: 3 rounds in a row failed (watch.max_failures), the last by: ")
    assert "Traceback" not in captured.err
    mend()
    assert main([*command, "watch.period_s=0"]) == 0
    assert num_ranked(output) == 4


def test_auto_loader_s_files_are_noted_once(spark, tmp_path: Path) -> None:
    """With Spark's own source in its place, which is to be had here."""
    incoming, place = tmp_path / "incoming", str(tmp_path / "arrivals")
    incoming.mkdir()
    schema = "path string, modificationTime timestamp, length long, content binary"
    where = {"directory": place, "table_format": "parquet"}

    def noted() -> list[str]:
        stream = spark.readStream.format("binaryFile").schema(schema).load(str(incoming))
        arrivals.record_arrivals(stream, str(incoming), **where)
        rows = arrivals.read_arrivals(spark, [str(incoming)], **where).collect()
        return sorted(row["video"].rsplit("/", 1)[-1] for row in rows)

    for name in ("a.mp4", "notes.txt"):
        (incoming / name).write_bytes(b"x")
    assert noted() == ["a.mp4"]
    (incoming / "b.mp4").write_bytes(b"x")
    assert noted() == noted() == ["a.mp4", "b.mp4"]
    come = arrivals.read_arrivals(spark, [str(incoming)], **where)
    now_ms = {path.name: path.stat().st_mtime_ns // 1_000_000 for path in incoming.iterdir()}
    tables = Tables(spark, str(tmp_path / "out"))
    for status, modified_ms, left in (
        ("ok", now_ms["a.mp4"], ["b.mp4"]),
        ("failed", now_ms["a.mp4"] + 1, ["b.mp4"]),
        ("ok", now_ms["a.mp4"] - 1, ["a.mp4", "b.mp4"]),
        ("unreadable", now_ms["a.mp4"], ["a.mp4", "b.mp4"]),
    ):
        row = {"video": f"file:{incoming}/a.mp4", "status": status, "modified_ms": modified_ms}
        tables.write_ledger([row], 0)
        rows = arrivals.without_done(come, tables.ledger()).collect()
        assert sorted(row["video"].rsplit("/", 1)[-1] for row in rows) == left


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/cams/test", ["file:/cams/test/a.mp4", "file:/cams/test/x/b.mp4"]),
        ("/cams/test/", ["file:/cams/test/a.mp4", "file:/cams/test/x/b.mp4"]),
        ("/cams/*/a.mp4", ["file:/cams/test/a.mp4", "file:/cams/train/a.mp4"]),
        ("/cams/t{est,urn}/?.mp4", ["file:/cams/test/a.mp4"]),
        ("/cams/north [1]", ["file:/cams/north [1]/c+d.mp4"]),
        ("/cams/north [[]1]/*", ["file:/cams/north [1]/c+d.mp4"]),
        ("/cams/north [!a-z]1]", ["file:/cams/north [1]/c+d.mp4"]),
        ("/cams/test,train", []),
        ("s3://bucket/live", ["s3://bucket/live/a.mp4"]),
    ],
)
def test_what_has_come_before_is_what_a_pattern_matches(spark, pattern: str, found: list[str]) -> None:
    videos = ["test/a", "test/x/b", "train/a", "north [1]/c+d"]
    videos = [f"file:/cams/{name}.mp4" for name in videos]
    videos += ["s3://bucket/live/a.mp4", "s3://bucket/lives/a.mp4"]
    ledger = spark.createDataFrame([(video,) for video in videos], "video string")
    assert [row["video"] for row in arrivals.read_before(ledger, [pattern]).collect()] == found


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_while_an_object_is_freed_is_not_lost() -> None:
    class Freed:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    before = signal.getsignal(signal.SIGINT)
    with noted_interrupts() as interrupts:
        Freed()  # and no KeyboardInterrupt comes out of it
        assert interrupts == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before


BAD = [
    (["videos.test=[]"], "videos.test is not set: give the directory to watch"),
    (["videos.test=nowhere"], "there is no directory 'nowhere' to watch: make it first"),
    (["classifier.path=nowhere"], "there is no classifier in nowhere to rank new videos by"),
    (["watch.source=cloudFiles"], "watch.source=cloudFiles needs Databricks Auto Loader"),
    (["watch.options.a=b"], "they are for watch.source=cloudFiles"),
    (["watch.max_failures=0"], "watch.max_failures=0 is not valid: give 1 or more"),
    (["watch.period_s=-1"], "watch.period_s=-1.0 is not valid: give seconds, or 0 to look once"),
]


@pytest.mark.parametrize(("bad", "says"), BAD, ids=[" ".join(bad) for bad, _ in BAD])
def test_what_cannot_be_watched_is_told_in_one_line(
    spark, common, tmp_path: Path, capsys, bad: list[str], says: str
) -> None:
    (tmp_path / "incoming").mkdir()
    command = [*common, f"videos.test={tmp_path}/incoming", f"output={tmp_path}/out", "watch.period_s=0"]
    assert main(["run", "--watch", *command, *bad]) != 0
    assert says in capsys.readouterr().err.splitlines()[-1]
