"""`run --watch`: new videos through extract, featurize and rank, each exactly once, whatever is killed."""

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

from framewatch.cli import main
from framewatch.pipeline.watch import noted_interrupts
from framewatch.tables import Tables


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


def start(arguments: list[str], log: Path) -> subprocess.Popen:
    command = [sys.executable, "-u", "-m", "framewatch.cli", "run", "--watch", *arguments, *FAST_OVERRIDES]
    with log.open("a") as out:
        return subprocess.Popen(
            [*command, "spark.master=local[2]"], cwd=ROOT, start_new_session=True, stdout=out, stderr=out
        )


def wait_until(condition: Callable[[], object], process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.02)


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
        wait_until((output / "_staging" / "extract" / "_temporary").exists, process, log)
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
        "extract: 1 videos (0 ok, 0 partial, 1 failed)" in said
        or "2 videos (1 ok, 0 partial, 1 failed)" in said
    )
    assert "watch: 1 videos were written to in the last 10 s: left for the next round" in said
    assert num_ranked(output) == 2
    make_video(growing, seconds=4, codec="libx264")  # by now whole
    os.utime(growing, (1.1e9, 1.1e9))
    assert main(command) == 0
    assert "extract: 1 videos (1 ok, 0 partial, 0 failed), 4 frames" in capsys.readouterr().out
    assert num_ranked(output) == 6
    before = contents(spark, output)
    written = {path: path.stat().st_mtime_ns for path in (output / "predictions").iterdir()}
    assert main(command) == 0
    assert not re.search("^(extract|featurize|rank):", capsys.readouterr().out, re.MULTILINE)
    assert contents(spark, output) == before
    assert written == {path: path.stat().st_mtime_ns for path in (output / "predictions").iterdir()}


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
    (["watch.source=cloudFiles"], "watch.source=cloudFiles is Databricks' Auto Loader"),
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
